"""Group evaluation: what drove a forecast."""

import dagster as dg

from chronos_assets.defs.explanation_metadata import explanation
from chronos_assets.defs.failures import failures
from chronos_assets.pipeline.explanations import explain_forecast
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState

FORECAST_EXPLANATIONS = """What each attribute adds to a partition's forecast, for each item and period of the horizon.

Impacts are against the usual: the mean effect of the attribute over the latest periods of the series. `impact_units` are in
units of the target and add up to what drives the forecast away from the usual; `impact` is the same divided by the largest of
the series, from -1 to 1. For the regression on covariates they come from the SHAP values of its
trees and the slopes of its lines; for a Chronos-2 model that reads covariates itself, from its forecasts with an attribute as
usual or left out. `weight` is the share of the forecast that comes from such members.
Materialize the partitions that you want explained.

`explanations/as_of=<key>/explanations.csv` has a column for each attribute's raw and normalized impact score.
"""


def explanation_assets(group: Group) -> list[dg.AssetsDefinition]:
    """`forecast_explanations` (partitioned as `forecasts`)."""

    @dg.asset(
        key=group.key("forecast_explanations"),
        deps=[group.key("forecasts")],
        partitions_def=group.partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name="evaluation",
        description=FORECAST_EXPLANATIONS,
        owners=group.settings.owners,
        kinds={"python", "parquet"},
        metadata={"dagster/uri": f"{group.settings.store}/explanations"},
    )
    def forecast_explanations(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            made = explain_forecast(GroupState(group), context, context.partition_key)
            return dg.MaterializeResult(metadata=explanation(group, made))

    return [forecast_explanations]
