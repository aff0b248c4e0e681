"""Group forecasts: scenarios beside the current forecast."""

import dagster as dg

from chronos_assets.defs import what_if_metadata
from chronos_assets.defs.failures import failures
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.partitions import scenario_partitions
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.what_if import make_what_if

WHAT_IF_FORECASTS = """The current forecast under other covariates: one partition for each scenario.

A scenario is a file in `what_if/`: `<name>.json` with the `TimeSeriesTransformations` of Amazon Forecast ("multiply price by
0.9 where colour is red"), or `<name>.csv` with rows that replace planned values. Only attributes known in advance can be
changed, and only in the horizon. `what_if_sensor` adds a partition for each file and forecasts it, again whenever the file or
the current forecast changes.

The result lies in `what_if_forecasts/scenario=<name>/`: `forecast.parquet`, and `forecast.csv` and `what_if.parquet` with the
baseline and the difference beside it. An unknown attribute or item, or a past-only attribute, fails with the reason.
"""


def what_if_assets(group: Group) -> list[dg.AssetsDefinition]:
    """`what_if_forecasts`, partitioned by scenario."""

    @dg.asset(
        key=group.key("what_if_forecasts"),
        # The forecast with the latest data behind it, nearly always that of the last window.
        deps=[dg.AssetDep(group.key("forecasts"), partition_mapping=dg.LastPartitionMapping())],
        partitions_def=scenario_partitions(group.named("what_if_scenarios")),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name="forecasts",
        description=WHAT_IF_FORECASTS,
        owners=group.settings.owners,
        kinds={"pytorch", "parquet"},
        metadata={"dagster/uri": f"{group.settings.store}/what_if_forecasts"},
        pool=group.named("model"),
    )
    def what_if_forecasts(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            made = make_what_if(GroupState(group), context, context.partition_key)
            return dg.MaterializeResult(metadata=what_if_metadata.what_if(group, made))

    return [what_if_forecasts]
