"""The sensor of scenarios: files in `what_if/` become partitions of `what_if_forecasts`, and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from chronos_assets.defs.sensor_parts import running_sensor, skipped
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.partitions import scenario_partitions
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.what_if import baseline_problem, scenario_files
from chronos_assets.planning.cursor import digest_of
from chronos_assets.planning.scenarios import plan_scenarios
from chronos_assets.store_layout import FORECAST_KEY

WHAT_IF_SENSOR = (
    """New or changed scenarios in what_if/, or another current forecast → the forecasts of the scenarios."""
)


def what_if_sensor(group: Group, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """See the module."""
    partitions = scenario_partitions(group.named("what_if_scenarios"))

    @running_sensor(group, "what_if_sensor", WHAT_IF_SENSOR, jobs=jobs, launches=["forecast_scenarios"])
    def what_if(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        files = {
            name: digest_of(*(f"{info.key} {info.etag}" for info in found))
            for name, found in scenario_files(group).items()
        }
        baseline = None
        if files:
            try:
                if baseline_problem(GroupState(group)) is None:
                    baseline = group.store.shown(FORECAST_KEY)
            except ChronosAssetsError as error:
                # Broken parameters or a missing model: runs would fail alike.
                return skipped(context, error)
        plan = plan_scenarios(files, baseline, context.cursor)
        known = set(context.instance.get_dynamic_partitions(partitions.name)) if partitions.name else set()
        added = [name for name in plan.scenarios if name not in known]
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=f"what-if-{request.run_key}",
                    job_name=group.named("forecast_scenarios"),
                    asset_selection=[group.key("what_if_forecasts"), group.key("forecast_tables")],
                    partition_key=request.scenario,
                )
                for request in plan.requests
            ],
            dynamic_partitions_requests=[partitions.build_add_request(added)] if added else [],
            skip_reason=None if plan.requests else plan.message,
            cursor=plan.cursor,
        )

    return what_if
