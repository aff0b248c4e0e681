"""What the sensors have in common: how they are declared, which run they requested, why they skip, what a queue reports.

Elsewhere: what each of them looks at (`sensors`, `what_if_sensor`, `redeploy_sensor`, …) and decides (`planning`).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from chronos_assets.defs.outcomes import failure_of, is_made_again
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.group import Group
from chronos_assets.planning.cursor import RunState, RunStatus
from chronos_assets.platforms.news_queue import NewsQueue, QueueError, QueueNews

REASON_TAG = "chronos/reason"
RETRY_PATIENCE = timedelta(minutes=5)  # how long Dagster's own retry of a crashed run may take to appear

_RUN_STATUS = {
    dg.DagsterRunStatus.SUCCESS: RunStatus.SUCCEEDED,
    dg.DagsterRunStatus.FAILURE: RunStatus.FAILED,
    dg.DagsterRunStatus.CANCELED: RunStatus.CANCELED,
}


def running_sensor(
    group: Group,
    name: str,
    description: str,
    *,
    jobs: Sequence[Any] = (),
    launches: Sequence[str] = (),
    seconds: int | None = None,
) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
    """Declare a sensor of a group that runs by default.

    Args:
        group: the group.
        name: of the sensor, without the group's prefix.
        description: for the UI, which shows it as it is: without Markdown.
        jobs: the group's.
        launches: names of those that it launches. The UI shows a job's sensors beside it: no other is to look automated.
        seconds: how often it looks, if not as often as the settings say.
    """
    names = {group.named(job) for job in launches}
    return dg.sensor(
        name=group.named(name),
        jobs=[job for job in jobs if job.name in names] or None,
        minimum_interval_seconds=seconds or group.settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )


def run_state(context: dg.SensorEvaluationContext, run_key: str | None) -> RunState | None:
    """State of the run that this sensor launched for `run_key`; None if there is none."""
    if not run_key:
        return None
    instance = context.instance
    # Two groups with the same files and parameters have the same run keys, but never the same sensor.
    tags = {"dagster/run_key": run_key, "dagster/sensor_name": context.sensor_name}
    records = instance.get_run_records(dg.RunsFilter(tags=tags), limit=1)
    if not records:
        return None
    run = records[0].dagster_run
    status = _RUN_STATUS.get(run.status, RunStatus.RUNNING)
    if is_made_again(run) and _is_recent(records[0]):
        # With the same run key: a run of the sensor's own beside it would do the same work twice.
        return RunState(RunStatus.RUNNING)
    if status != RunStatus.FAILED:
        return RunState(status)
    failure = failure_of(instance, run.run_id)
    return RunState(status, reason=failure.reason, retry=not failure.foreseen)


def _is_recent(record: dg.RunRecord) -> bool:
    """Whether a run changed within `RETRY_PATIENCE`."""
    changed = record.update_timestamp
    return datetime.now(UTC) - (changed if changed.tzinfo else changed.replace(tzinfo=UTC)) < RETRY_PATIENCE


def skipped(context: dg.SensorEvaluationContext, error: ChronosAssetsError) -> dg.SensorResult:
    """A tick without requests: runs would meet the same error, and no tick can fix it.

    Raises:
        ChronosAssetsError: the error itself, if it is transient: this tick fails, the next one may not.
    """
    if error.transient:
        raise error
    return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)


def queue_news(queue: NewsQueue, recorded: str) -> QueueNews:
    """What a queue reports, once what was `recorded` of it is deleted; a broken queue leaves the looking."""
    try:
        queue.settle(recorded)
        return queue.receive()
    except QueueError as error:
        return QueueNews(trouble=str(error))
