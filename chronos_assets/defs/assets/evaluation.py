"""Group evaluation: how good past forecasts were."""

from datetime import UTC, datetime

import dagster as dg

from chronos_assets.defs import measurements, metadata
from chronos_assets.defs.checks import accuracy_check, accuracy_result
from chronos_assets.defs.failures import failures
from chronos_assets.pipeline.accuracy import score_forecasts
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.store import published_partitions

FORECAST_ACCURACY = """Scores of a partition's forecast against what was observed afterwards, beside seasonal naive.

wQL of each quantile and their mean, WAPE, RMSE, MASE (in-sample seasonal error, GluonTS's default season), MAPE, bias,
tracking signal and the coverage of the bands: of the whole, of each value of a dimension and of each series, with the share
that it has in the error of the whole. Actuals far outside their band are anomalies (`Chronos.Anomalies`). Seasonal naive is
given the same data, to the same as-of. Points that were filled rather than observed are left out and counted.

A partition can be scored once its whole horizon is observed: `new_data_sensor` asks for it then. Materializing one
earlier fails, naming the last window that can be scored; nothing is written.
"""


def evaluation_assets(group: Group) -> list[dg.AssetsDefinition]:
    """`forecast_accuracy` (partitioned)."""

    @dg.asset(
        key=group.key("forecast_accuracy"),
        deps=[group.key("forecasts"), group.key("target_time_series")],
        partitions_def=group.partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="evaluation",
        description=FORECAST_ACCURACY,
        owners=group.settings.owners,
        kinds={"python", "parquet"},
        metadata={"dagster/uri": f"{group.settings.store}/accuracy"},
        check_specs=[accuracy_check(group)],
    )
    def forecast_accuracy(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            state = GroupState(group)
            scored = score_forecasts(state, context.log, context.partition_keys)
            known = (key for key, _, _ in published_partitions(group.store, "accuracy"))
            made = measurements.of_scores(scored, known, datetime.now(UTC))
            measurements.keep(group, context.log, state.name, made)
            for window in scored:
                context.add_asset_metadata(metadata.accuracy(group, window), partition_key=window.key)
            return dg.MaterializeResult(check_results=[accuracy_result(scored)])

    return [forecast_accuracy]
