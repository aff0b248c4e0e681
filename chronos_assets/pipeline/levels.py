"""Publishing forecasts of sums of series, beside each partition's forecast, and finding them again to be scored.

Here: when they are made, and where they are put. Elsewhere: the arithmetic (`predictors.reconciliation`), their scores
(`timeseries.scoring.sums`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chronos_assets.pipeline.covariates import item_metadata, published_metadata
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.shown_dataset import ShownDataset
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.store import manifest_of
from chronos_assets.predictors.hierarchy import LevelsError, find_hierarchy
from chronos_assets.store_layout import levels_key
from chronos_assets.system import write_json
from chronos_assets.timeseries.dataset.series_keys import keys_of
from chronos_assets.timeseries.dataset.shards import shard_files
from chronos_assets.timeseries.forecast.files import WindowFolder
from chronos_assets.timeseries.published_files import MANIFEST
from chronos_assets.timeseries.scoring.sums import PublishedLevels


def check_levels(state: GroupState) -> None:
    """See that the series of the dataset make the levels that `params.json` asks for, before anything is forecast.

    Raises:
        ChronosAssetsError: they don't.
    """
    reconcile = state.params.reconcile
    if reconcile is None:
        return
    from chronos_assets.predictors.reconciliation import check_size

    dataset, dimensions = ShownDataset.of(state.group), state.params.dimensions
    keys = {
        key for _, shard in dataset.each(dataset.manifest.shards) for key in keys_of(shard_files(shard), dimensions)
    }
    metadata = item_metadata(state.group, state.covariates)
    if metadata is not None and not dimensions and state.params.cold_start is not False:
        keys |= {(item,) for item in metadata.items}  # items without a past may be forecast, too
    hierarchy = find_hierarchy(sorted(keys), reconcile.levels, dimensions, metadata)
    check_size(hierarchy, reconcile.method)


def publish_levels(state: GroupState, key: str, forecast: Path, folder: Path) -> None:
    """Publish the sums of a partition's forecast; withdraw them where nobody asks for any.

    Args:
        state: of the group.
        key: of the partition.
        forecast: folder of its forecast, not yet published: whoever sees the forecast finds its sums.
        folder: for what is staged.

    Raises:
        ChronosAssetsError: the series don't make the levels.
    """
    group, reconcile = state.group, state.params.reconcile
    if reconcile is None:
        group.store.withdraw(levels_key(key))
        return
    from chronos_assets.predictors.reconciliation import LEVELS_FILE, series_of, write_levels

    window = WindowFolder.read(forecast)
    if not window.manifest["series"]:
        group.store.withdraw(levels_key(key))
        return
    staged = folder / f"levels-{key}"
    staged.mkdir()
    try:
        hierarchy = find_hierarchy(
            series_of(window), reconcile.levels, window.layout.dimensions, item_metadata(state.group, state.covariates)
        )
        made = write_levels(
            staged / LEVELS_FILE,
            window,
            ShownDataset.of(group),
            hierarchy,
            reconcile.method,
            state.params.grid,
        )
    except LevelsError as error:
        raise StepError(f"partition {key}: {error}") from error
    write_json(staged / MANIFEST, made)
    group.store.publish(levels_key(key), staged, data=LEVELS_FILE)


def levels_to_score(state: GroupState, key: str, forecast: Path, log: Any) -> PublishedLevels | None:
    """The forecasts of a partition's sums, of the levels in which the same series count as then; None without any.

    Args:
        state: of the group.
        key: of the partition.
        forecast: folder of its forecast.
        log: gets a warning where today's item metadata don't make the levels of the forecast, or make others.
    """
    from chronos_assets.predictors.reconciliation import LEVELS_FILE, series_of

    published = published_levels(state.group, key)
    if published is None:
        return None
    window, (_, *levels) = WindowFolder.read(forecast), published["levels"]
    try:
        hierarchy = find_hierarchy(series_of(window), levels, window.layout.dimensions, published_metadata(state.group))
    except LevelsError as error:
        log.warning(f"partition {key}: its sums are not scored: {error}")
        return None
    members = hierarchy.members()
    then = published.get("members", members)  # which earlier releases didn't write
    same = frozenset(name for name, digest in members.items() if then.get(name) == digest)
    if changed := [name for name in hierarchy.levels if name not in same]:
        log.warning(f"partition {key}: its sums by {', '.join(changed)} are not scored: items belong to others by now")
    return PublishedLevels(state.group.store.snapshot(levels_key(key)) / LEVELS_FILE, hierarchy, same)


def published_levels(group: Group, key: str) -> Mapping[str, Any] | None:
    """What the sums of a partition are: `levels` (name -> nodes), `method`; None where there are none."""
    return manifest_of(group.store, levels_key(key))
