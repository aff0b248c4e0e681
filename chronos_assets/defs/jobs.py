"""Jobs: named selections of assets that people and sensors launch together."""

from __future__ import annotations

from typing import Any

import dagster as dg

from chronos_assets.defs.group import Group

# (name, assets, description). The selections only wait on other processes, so their steps run in the run's process: a
# process per step would import the code location anew, a few seconds each.
SELECTIONS = (
    (
        "refresh_forecasts",
        ("target_time_series", "forecasts", "forecast_tables"),
        "Import the train files, forecast the chosen partition, refresh the SQL tables.",
    ),
    (
        "score_forecasts",
        ("forecast_accuracy", "forecast_tables"),
        "Score the chosen partitions against what was observed since, refresh the SQL tables.",
    ),
)


def jobs(group: Group) -> list[Any]:
    """`refresh_forecasts` and `score_forecasts`."""
    return [
        dg.define_asset_job(
            group.named(name),
            selection=dg.AssetSelection.assets(*(group.key(asset) for asset in assets)),
            description=description,
            executor_def=dg.in_process_executor,
        )
        for name, assets, description in SELECTIONS
    ]
