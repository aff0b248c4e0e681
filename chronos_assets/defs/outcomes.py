"""A finished run -> the notice people get.

Here: what Dagster's event log says of a run. Elsewhere: when one is sent (`sensors`, `launcher`), how (`platforms.notices`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG

from chronos_assets.defs.failures import TRANSIENT
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.notices import Notice, Outcome

RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
NAMED_ANOMALIES = 5
ACCURACY_NAMES = ("wql", "wql_seasonal_naive", "mase", "mase_seasonal_naive")

# A signal (Ctrl-C, a shutdown) that Dagster turned into an error of the step.
INTERRUPTED = "DagsterExecutionInterruptedError"
# How Dagster begins to say that a run ended which its process didn't end, for whatever reason.
FROM_OUTSIDE = "This run has been marked as failed from outside"
_EXITED = re.compile(r"unexpectedly exited with code (-?\d+)")  # of a run's process, by the server that started it

OUTCOMES: dict[dg.DagsterRunStatus, Outcome] = {
    dg.DagsterRunStatus.SUCCESS: "success",
    dg.DagsterRunStatus.FAILURE: "failure",
    dg.DagsterRunStatus.CANCELED: "canceled",
}


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed.

    Attributes:
        asset: the step, empty if none failed by itself.
        reason: what people read.
        foreseen: the code itself refused (`dagster.Failure`), for a reason that isn't transient: the same run would fail
            again.
    """

    asset: str
    reason: str
    foreseen: bool


NO_FAILURE = RunFailure("", "", foreseen=False)


def notice_of(instance: dg.DagsterInstance, record: dg.RunRecord, group: Group, dataset_group: str) -> Notice:
    """Describe a finished run: what it made on success, which asset failed and why otherwise."""
    run = record.dagster_run
    made = _materializations(instance, run.run_id)
    job, names = job_of(run), ", ".join(sorted({item.asset_key.path[-1] for item in made}))
    failure = NO_FAILURE if run.status == dg.DagsterRunStatus.SUCCESS else failure_of(instance, run.run_id)
    return Notice(
        outcome=OUTCOMES[run.status],
        group=dataset_group,
        run_id=run.run_id,
        time=datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), UTC),
        job=job,
        run_url=f"{group.settings.ui_url}/runs/{run.run_id}",
        as_of=_as_of(made, run),
        made="" if names == job else names,
        model=next((text for item in made if (text := _text(item, "model"))), ""),
        accuracy=_accuracy(instance, made, group),
        anomalies=anomalies_of(made, group),
        files=tuple(dict.fromkeys(uri for item in made if (uri := _text(item, "dagster/uri")))),
        asset=failure.asset,
        reason=f"{failure.reason}; it is tried once more" if is_made_again(run) else failure.reason,
        notes=next((_text(item, "notes") for item in made if item.asset_key == group.key("target_time_series")), ""),
    )


def is_made_again(run: dg.DagsterRun) -> bool:
    """Whether Dagster makes another run of one that failed, by itself: where its process crashed (`run_retries`)."""
    return run.status == dg.DagsterRunStatus.FAILURE and run.tags.get(WILL_RETRY_TAG) == "true"


def job_of(run: dg.DagsterRun) -> str:
    """What people know a run by: its job, or the assets that were chosen in the UI, for which Dagster makes a job up."""
    if not run.job_name.startswith("__") or not run.asset_selection:
        return run.job_name
    return ", ".join(sorted(key.path[-1] for key in run.asset_selection))


def is_of_group(run: dg.DagsterRun, group: Group, job_names: frozenset[str]) -> bool:
    """Whether a run made, or tried to make, assets of `group`."""
    if run.asset_selection:
        return any(key.path[: len(group.settings.key_prefix)] == _prefix(group) for key in run.asset_selection)
    return run.job_name in job_names


def _prefix(group: Group) -> list[str]:
    return list(group.settings.key_prefix)


def _materializations(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetMaterialization]:
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return [entry.asset_materialization for entry in entries if entry.asset_materialization]


def failure_of(instance: dg.DagsterInstance, run_id: str) -> RunFailure:
    """The step that failed first, and why: what the code said of it, else the error at the root of the chain."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        if entry.dagster_event is None:
            continue
        data = entry.dagster_event.step_failure_data
        described = data.user_failure_data.description if data.user_failure_data else None
        reason = described or root_message(data.error)
        refused = data.user_failure_data is not None and TRANSIENT not in data.user_failure_data.metadata
        return RunFailure(entry.dagster_event.step_key or "", reason, foreseen=refused)
    for kind in (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED):
        for entry in instance.all_logs(run_id, of_type=kind):
            event = entry.dagster_event
            message = event.message if event else None
            if message and message.startswith(FROM_OUTSIDE):
                message = _why_from_outside(instance, run_id) or message
            elif event and kind == dg.DagsterEventType.RUN_FAILURE and (error := event.job_failure_data.error):
                message = root_message(error)  # of Dagster itself: of its storage, its logs, what it has to load
            return RunFailure("", message or "the run ended early", foreseen=False)
    return RunFailure("", "the run ended without saying why", foreseen=False)


def _why_from_outside(instance: dg.DagsterInstance, run_id: str) -> str:
    """What ended a run from outside, or kept Dagster from starting it, in its own words; empty if nothing is known."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if found := _EXITED.search((entry.dagster_event.message if entry.dagster_event else None) or ""):
            return f"its process ended unexpectedly (exit status {found[1]}); what Dagster's code server printed may say why"
        data = entry.dagster_event.engine_event_data if entry.dagster_event else None
        if data is not None and data.error is not None:
            (line, *_) = data.error.message.strip().splitlines() or [data.error.cls_name or "an error"]
            return f"it couldn't be started: {line.rpartition('Error: ')[2]}"
    return ""


def root_message(error: Any) -> str:
    """First line of the error at the end of the chain of causes."""
    while error is not None and error.cause is not None:
        error = error.cause
    if error is not None and error.cls_name == INTERRUPTED:
        return "interrupted; run it again to continue"
    lines = error.message.strip().splitlines() if error is not None else []
    return lines[0] if lines else "the step failed"


def _as_of(made: list[dg.AssetMaterialization], run: dg.DagsterRun) -> str:
    """Partition key, or first and last, of what the run made, or was to make."""
    keys = sorted({item.partition for item in made if item.partition})
    if not keys:
        tags = run.tags
        keys = [tags[name] for name in (*RANGE_TAGS, "dagster/partition") if name in tags]
    return keys[0] if keys and keys[0] == keys[-1] else " … ".join(dict.fromkeys([*keys[:1], *keys[-1:]]))


def _accuracy(instance: dg.DagsterInstance, made: list[dg.AssetMaterialization], group: Group) -> dict[str, float]:
    """The scores that the run computed, of its newest partition; else the newest known ones, named with their as-of.

    A forecast's own scores come when its horizon is observed: until then people want to know how good the last were.
    """
    key = group.key("forecast_accuracy")
    scored = [item for item in made if item.asset_key == key]
    if scored:
        return _scores(max(scored, key=lambda item: item.partition or ""))
    if not any(item.asset_key == group.key("forecasts") for item in made):
        return {}
    known = instance.get_latest_materialization_event(key)
    latest = known.asset_materialization if known else None
    if latest is None:
        return {}
    return {f"{name} as of {latest.partition}": value for name, value in _scores(latest).items()}


def anomalies_of(made: list[dg.AssetMaterialization], group: Group) -> str:
    """The worst anomalies of the newest partition that the run scored; empty if it has none."""
    scored = [item for item in made if item.asset_key == group.key("forecast_accuracy")]
    if not scored:
        return ""
    newest = max(scored, key=lambda item: item.partition or "")
    count, worst = newest.metadata.get("anomalies"), newest.metadata.get("worst_anomalies")
    if count is None or not count.value or not isinstance(worst, dg.TableMetadataValue):
        return ""
    total = int(str(count.value))
    rows = [record.data for record in worst.records[:NAMED_ANOMALIES]]
    named = "; ".join(
        f"{row['series']} at {row['timestamp']}: {row['actual']:.4g}, expected {row['low']:.4g} to {row['high']:.4g}"
        for row in rows
    )
    more = f"; and {total - len(rows):,} more" if total > len(rows) else ""
    return f"{total:,} as of {newest.partition}: {named}{more}"


def _scores(item: dg.AssetMaterialization) -> dict[str, float]:
    values = {name: item.metadata[name].value for name in ACCURACY_NAMES if name in item.metadata}
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def _text(item: dg.AssetMaterialization, name: str) -> str:
    value = item.metadata.get(name)
    return str(value.value) if value is not None and value.value is not None else ""
