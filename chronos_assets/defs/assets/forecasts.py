"""Group forecasts: quantile forecasts by as-of window, and the SQL tables over all of them."""

from datetime import UTC, datetime

import dagster as dg

from chronos_assets.defs import measurements, metadata, training_metadata
from chronos_assets.defs.failures import failures
from chronos_assets.pipeline.clean_up import clean_up
from chronos_assets.pipeline.exports import publish_exports
from chronos_assets.pipeline.forecasts import make_forecasts
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.tables import refresh_tables, tables_lineage
from chronos_assets.pipeline.what_if import withdraw_gone_scenarios

FORECASTS = """Quantile forecasts of every series, made with the data up to the end of the partition's window.

### Partition semantics: read this before backfilling
A partition is a time window, and its end is the *as-of*. The forecast uses observations **stamped before the end of the
window, never later**, whatever the dataset holds by now, and gaps are filled as if later rows weren't there. Partition
`2025-06-29` of hourly data sees everything up to 2025-06-29 23:00 and forecasts from 2025-06-30 00:00 on.

- Backfilling a past window gives the forecast that would have been made then. It is written to `history/as_of=<key>/`
  and **leaves a newer current forecast alone**; the newest window of a run is also published to `forecast/`, unless that shows
  a newer one.
- A range runs as one process with one model load; each partition's bytes are the same as if it had run alone.
- A window that ends before the first observation fails, naming the first that can be forecast. A window after the last
  observation gives the same forecast as the window that holds it.
- The model is the approved version of `model_package`, the zero-shot base model while none is approved (`model_note` says
  which). A past window may be forecast by a model that was trained on later data: `trained_on_later_data` says so.
- If a period is longer than a window (monthly data, daily windows), it counts from its first instant on: choose windows at
  least as long as the frequency if values become known only at the period's end.
"""

FORECAST_TABLES = """A DuckDB database, `tables/forecast.duckdb`, for SQL clients and notebooks.

Tables `train` (the dataset), `forecast` (the current one), `forecast_history` (every as-of), `accuracy` (scores by as-of),
`members` (what made each forecast) and the views `forecast_vs_history` (observations and current quantiles, one row per
timestamp and type), `leaderboard`, `weights` and `best_member` (what each member counts for each series). A refresh writes a
new file and swaps it in: readers, also those with an open connection, are never locked out and never see half of it.

The exports `backtest/` and `monitor/` are written with it, as
[Amazon Forecast](https://docs.aws.amazon.com/forecast/latest/dg/metrics.html) had them.

With `PerformDelete` in `params.json` the endpoint is stopped and the tuned checkpoints are deleted here, once everything is
published; forecasts, their history and the registry stay.
"""


def forecast_assets(group: Group) -> list[dg.AssetsDefinition]:
    """`forecasts` (partitioned) and `forecast_tables`."""

    @dg.asset(
        key=group.key("forecasts"),
        deps=[
            group.key(name) for name in ("target_time_series", "related_time_series", "item_metadata", "model_package")
        ],
        partitions_def=group.partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="forecasts",
        description=FORECASTS,
        owners=group.settings.owners,
        kinds={"pytorch", "parquet"},
        metadata={"dagster/uri": f"{group.settings.store}/history"},
        pool=group.named("model"),
    )
    def forecasts(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            made = make_forecasts(GroupState(group), context, context.partition_keys)
            measurements.keep(
                group, context.log, made.params.dataset_group, measurements.of_forecasts(made, datetime.now(UTC))
            )
            for window in made.windows:
                # Metadata of the result would be copied to every partition of the run, in front of its own.
                context.add_asset_metadata(metadata.forecast(group, made, window), partition_key=window.key)
            return dg.MaterializeResult(data_version=dg.DataVersion(made.data_version))

    @dg.asset(
        key=group.key("forecast_tables"),
        deps=[group.key("forecasts"), group.key("forecast_accuracy")],
        group_name="forecasts",
        description=FORECAST_TABLES,
        owners=group.settings.owners,
        kinds={"duckdb", "sql"},
    )
    def forecast_tables(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            state = GroupState(group)
            withdraw_gone_scenarios(group)
            # Taken before: what is published meanwhile may not be in them.
            made_from = tables_lineage(state)
            made = metadata.tables(group, refresh_tables(state), made_from)
            exported = publish_exports(state)
            context.log.info(f"exports made again: {', '.join(exported) or 'none, nothing is new'}")
            removed = clean_up(state) if state.params.perform_delete else None
            return dg.MaterializeResult(metadata=made | training_metadata.cleaned_up(removed))

    return [forecasts, forecast_tables]
