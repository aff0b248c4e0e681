"""Asset checks: the questions of `timeseries` (`dataset`, `forecast`, `scoring`: their `checks`), asked of what is published.

A check of a partitioned asset answers for every partition of the run; in a range its failing rows name the partition,
because Dagster stores one evaluation for the whole range.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from chronos_assets.defs.failures import failures
from chronos_assets.defs.metadata import failing_rows
from chronos_assets.pipeline.accuracy import WindowAccuracy
from chronos_assets.pipeline.endpoint_comparison import compare_endpoint
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.moments import timestamp
from chronos_assets.pipeline.packaging import Packaged
from chronos_assets.pipeline.published import forecast_manifest, published_manifest
from chronos_assets.pipeline.shown_dataset import ShownDataset
from chronos_assets.pipeline.state import GroupState
from chronos_assets.store_layout import history_key
from chronos_assets.timeseries.checks import CheckOutcome
from chronos_assets.timeseries.dataset.checks import check_dataset
from chronos_assets.timeseries.forecast.checks import check_coverage, check_freshness, check_quantiles
from chronos_assets.timeseries.published_files import FORECAST
from chronos_assets.timeseries.scoring.checks import check_accuracy

ACCURACY_CHECK = "not_worse_than_seasonal_naive"
GATE_CHECK = "not_worse_than_what_is_there"


def checks(group: Group) -> list[dg.AssetChecksDefinition]:
    """Every check that can be run by itself; others come with their assets (`accuracy_check`, `gate_check`)."""
    return [
        declared_check(
            group,
            "target_time_series",
            "complete_and_regular",
            "Every shard has the columns of the manifest, and every series is sorted, once, on the regular grid.",
            lambda state, _: check_dataset(ShownDataset.of(group), state.params),
        ),
        declared_check(
            group,
            "forecasts",
            "quantiles_do_not_cross",
            "Every value is a number, and no quantile is above the next higher one.",
            lambda _, key: check_quantiles(group.store.snapshot(history_key(key)) / FORECAST),
            partitions=group.partitions,
        ),
        declared_check(
            group,
            "forecasts",
            "every_series_is_forecast",
            "Every series that had begun by the as-of has all steps; those left out are named with the reason.",
            _coverage,
            partitions=group.partitions,
        ),
        declared_check(
            group,
            "forecast_tables",
            "forecast_is_fresh",
            "The published forecast was made from the newest data, and they are no older than Chronos.MaxDataAge.",
            lambda state, _: check_freshness(
                published_manifest(group), state.require_manifest(), state.params, now=datetime.now(UTC)
            ),
        ),
        _endpoint_check(group),
    ]


def declared_check(
    group: Group,
    asset: str,
    name: str,
    description: str,
    answer: Callable[[GroupState, str], CheckOutcome],
    *,
    partitions: dg.PartitionsDefinition | None = None,
) -> dg.AssetChecksDefinition:
    """Declare a check of an asset.

    Args:
        group: whose asset it is.
        asset: its name.
        name: of the check.
        description: for the UI.
        answer: what came of it for a partition, whose key is given; "" of an asset without partitions.
        partitions: of the asset.
    """

    @dg.asset_check(asset=group.key(asset), name=name, description=description, partitions_def=partitions)
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        keys = [""] if partitions is None else context.op_execution_context.partition_keys
        with failures():
            state = GroupState(group)
            return check_result([(key, answer(state, key)) for key in keys])

    return check


def accuracy_check(group: Group) -> dg.AssetCheckSpec:
    """Spec of the check that `forecast_accuracy` answers while it has the scores at hand."""
    return dg.AssetCheckSpec(
        ACCURACY_CHECK,
        asset=group.key("forecast_accuracy"),
        description="The forecast's wQL is not worse than that of seasonal naive with the same data (a warning if it is).",
    )


def accuracy_result(scored: Sequence[WindowAccuracy]) -> dg.AssetCheckResult:
    """Answer of `accuracy_check` for all partitions of a run."""
    return check_result([(window.key, check_accuracy(window.report)) for window in scored], check_name=ACCURACY_CHECK)


def gate_check(group: Group) -> dg.AssetCheckSpec:
    """Spec of the check that `model_package` answers with the gate's verdict."""
    return dg.AssetCheckSpec(
        GATE_CHECK,
        asset=group.key("model_package"),
        description="The candidate's wQL is not above that of base, version in use or seasonal naive (a warning if it is).",
    )


def gate_result(packaged: Packaged) -> dg.AssetCheckResult:
    """Answer of `gate_check`."""
    return dg.AssetCheckResult(
        check_name=GATE_CHECK,
        passed=packaged.not_worse,
        severity=dg.AssetCheckSeverity.WARN,
        description=packaged.decision.reason,
        metadata={"version": packaged.version.name, "status": packaged.version.status},
    )


def _endpoint_check(group: Group) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=group.key("endpoint"),
        name="answers_like_the_batch_forecast",
        description="Asked for the published forecast's series, the endpoint gives the same numbers (to 1e-5; TF32, bf16: 5%).",
    )
    def answers_like_the_batch_forecast(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with failures():
            compared = compare_endpoint(GroupState(group))
        return dg.AssetCheckResult(
            passed=compared.agree,
            description=compared.note,
            metadata={
                "series": compared.series,
                **({} if compared.difference is None else {"largest_relative_difference": compared.difference}),
            },
        )

    return answers_like_the_batch_forecast


def _coverage(state: GroupState, key: str) -> CheckOutcome:
    manifest = forecast_manifest(state.group, key)
    return check_coverage(
        state.group.store.snapshot(history_key(key)),
        ShownDataset.of(state.group),
        state.params,
        context_end=timestamp(manifest["context_end"]),
        horizon=manifest["horizon"],
    )


def check_result(answers: Sequence[tuple[str, CheckOutcome]], check_name: str | None = None) -> dg.AssetCheckResult:
    """One result of the outcomes of each partition (`""` for an asset without)."""
    failed = [(key, outcome) for key, outcome in answers if not outcome.passed]
    shown = failed or answers[-1:]
    descriptions = [f"{key}: {outcome.description}" if key else outcome.description for key, outcome in shown[:5]]
    errors = any(outcome.severity == "error" for _, outcome in failed)
    metadata: dict[str, Any] = {"partitions_checked": len(answers)} if answers[0][0] else {}
    if len(answers) == 1:
        metadata |= dict(answers[0][1].numbers)
    if failed:
        metadata["failing_rows"] = failing_rows(failed)
        metadata["what_to_do"] = dg.MetadataValue.md(failed[0][1].fix)
    return dg.AssetCheckResult(
        passed=not failed,
        check_name=check_name,
        severity=dg.AssetCheckSeverity.ERROR if errors or not failed else dg.AssetCheckSeverity.WARN,
        description="\n".join(descriptions) + (f"\n… and {len(shown) - 5} more" if len(shown) > 5 else ""),
        metadata=metadata,
    )
