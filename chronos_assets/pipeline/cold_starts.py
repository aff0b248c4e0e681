"""Items without a past in a published forecast: adding them to what a job has made, and telling who they are.

Here: what of the store that takes. Elsewhere: their forecasts (`predictors.cold_start`), when they are added
(`pipeline.forecasts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos_assets.pipeline.covariates import item_metadata
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.moments import timestamp
from chronos_assets.pipeline.state import GroupState
from chronos_assets.store_layout import DATASET_KEY, history_key
from chronos_assets.timeseries.forecast.files import cold_start_keys

if TYPE_CHECKING:
    from chronos_assets.predictors.few_observations import StoredValues


def with_cold_starts(
    state: GroupState, made: Path, manifest: dict[str, Any], folder: Path
) -> tuple[Path, dict[str, Any]]:
    """A window's folder and manifest with the forecasts of items without a past, where metadata say who is like them."""
    metadata = None if state.params.cold_start is False else item_metadata(state.group, state.covariates)
    if metadata is None:
        return made, manifest
    from chronos_assets.predictors.cold_start import add_cold_starts

    target = folder / "cold_starts" / made.name
    added = add_cold_starts(
        made,
        target,
        metadata,
        state.params.cold_start,
        _recent_values(state, manifest),
        state.params.frequency.seasonality,
    )
    return (made, manifest) if added is None else (target, added)


def _recent_values(state: GroupState, manifest: Mapping[str, Any]) -> StoredValues:
    """Reads what was observed by a forecast's as-of."""
    from chronos_assets.predictors.few_observations import StoredValues

    dataset = state.require_manifest()
    grid = dataset.resolve(state.params).grid
    ordinal = grid.number_of(timestamp(manifest["context_end"]))
    folder = partial(state.group.store.snapshot, DATASET_KEY)
    return StoredValues(folder, dataset.n_shards, state.params.dimensions, grid, ordinal)


def cold_starts(group: Group, manifest: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """Series of a forecast that are forecast from others, by the forecast's manifest."""
    if "cold_start" not in manifest:
        return set()
    return cold_start_keys(group.store.snapshot(history_key(manifest["as_of"])), manifest["dimensions"])
