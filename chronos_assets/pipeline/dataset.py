"""What the dataset in the store says about itself: what it was made from, its shards, when its values are known.

Elsewhere: importing it (`dataset_import`), how rows become series (`timeseries.dataset`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.staging import as_datetime, materialization_values
from chronos_assets.pipeline.state import GroupState, train_files
from chronos_assets.planning.forecasts import DatasetState
from chronos_assets.planning.imports import ImportRecord
from chronos_assets.planning.listing import listing_digest
from chronos_assets.store_layout import DATASET_KEY

if TYPE_CHECKING:
    import numpy as np

    from chronos_assets.timeseries.dataset.shards import Manifest, Series

# So that instances which share a dataset get equal shares, whatever series a shard happens to hold.
SHARDS_PER_INSTANCE = 4


def least_shards(group: Group) -> int:
    """How many shards a dataset has at least, so that each of several instances gets its share."""
    instances = group.settings.aws.forecast_instances
    return SHARDS_PER_INSTANCE * instances if instances > 1 else 1


def _too_few_shards(group: Group, manifest: Manifest) -> str:
    """Why the dataset has to be cut finer, as an import does; empty if it is fine enough."""
    if manifest.n_shards >= least_shards(group):
        return ""
    return (
        f"CHRONOS_FORECAST_INSTANCES={group.settings.aws.forecast_instances} takes {least_shards(group)} shards, the "
        f"dataset has {manifest.n_shards}"
    )


def first_series(state: GroupState, params: ForecastParams) -> Series:
    """The first series of the dataset that has an observation: an example for people and for a new endpoint."""
    import numpy as np

    from chronos_assets.timeseries.dataset.shards import iter_series

    for shard in state.require_manifest().shards:

        def only(_: Manifest, name: str = shard.name) -> set[str]:
            return {name}

        _, shards = _shown_shards(state, only)
        for series in chain.from_iterable(iter_series(path, params.dimensions) for path in shards.values()):
            if np.isfinite(series.target).any():
                return series
    raise dg.Failure("no series of the dataset has an observation")


def shards_of(state: GroupState, keys: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], Path]:
    """The shards that hold some series, if they are there at all, by their keys."""
    from chronos_assets.timeseries.dataset.shards import shard_name, shard_number

    def names(manifest: Manifest) -> dict[tuple[str, ...], str]:
        return {key: shard_name(shard_number(key, manifest.n_shards)) for key in keys}

    if not keys:
        return {}
    manifest, shards = _shown_shards(state, lambda manifest: set(names(manifest).values()))
    return {key: shards[name] for key, name in names(manifest).items() if name in shards}


def _shown_shards(state: GroupState, names: Callable[[Manifest], Collection[str]]) -> tuple[Manifest, dict[str, Path]]:
    """Shards of the dataset on this machine, by name, and the manifest beside them; a store elsewhere is asked for no other.

    The dataset may have been imported again, and cut into other shards, since the state was read: what is chosen by one
    manifest is taken only from the folder that has it.

    Args:
        state: of the group.
        names: of the shards that are wanted, by the manifest.
    """
    from chronos_assets.timeseries.dataset.shards import MANIFEST, read_manifest

    manifest = state.require_manifest()
    while True:
        wanted = names(manifest)
        shards = [shard for shard in manifest.shards if shard.name in wanted]
        folder = state.group.store.snapshot(
            DATASET_KEY, [MANIFEST, *chain.from_iterable(shard.files for shard in shards)]
        )
        beside = read_manifest(folder)
        if beside == manifest:
            return manifest, {shard.name: folder / shard.name for shard in shards}
        manifest = beside


def last_observations(state: GroupState, keys: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """When some series were observed last, ISO 8601; those that never were are left out."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from chronos_assets.timeseries.dataset.shards import shard_files

    names, found = ("item_id", *state.require_manifest().dimensions), {}
    for key, shard in shards_of(state, keys).items():
        filters = [*((name, "=", part) for name, part in zip(names, key, strict=True)), ("filled", "=", False)]
        rows = pq.read_table(shard_files(shard), columns=["timestamp"], filters=filters)
        last = pc.max(rows.column("timestamp")).as_py()
        if last is not None:
            found[key] = last.isoformat()
    return found


def dataset_is_current(state: GroupState, instance: dg.DagsterInstance) -> bool:
    """Whether the last import saw just the train files and parameters that are there now, and its result stands."""
    group = state.group
    imported = last_import(state, instance)
    return imported is not None and imported.is_of(listing_digest(train_files(group)), state.params_digest)


def last_import(state: GroupState, instance: dg.DagsterInstance) -> ImportRecord | None:
    """What the dataset that is there now was made from, by its materialization; None if that is not known."""
    group = state.group
    event = instance.get_latest_materialization_event(group.key("target_time_series"))
    manifest = state.manifest
    if event is None or event.asset_materialization is None or manifest is None:
        return None
    seen = materialization_values(event.asset_materialization)
    if seen.get("data_version") != manifest.data_version:
        return None
    return ImportRecord(
        content=str(seen["train_digest"]),
        id=event.run_id,
        params=str(seen["params_digest"]),
        outdated=_too_few_shards(group, manifest),
    )


def dataset_state(state: GroupState, instance: dg.DagsterInstance) -> DatasetState | None:
    """The dataset as `plan_new_data` wants to know it; None if there is none."""
    imported = last_import(state, instance)
    manifest = state.manifest
    if imported is None or manifest is None:
        return None
    first, last = as_datetime(manifest.first_timestamp), as_datetime(last_instant(state.params, manifest))
    return DatasetState(id=imported.id, data_version=manifest.data_version, first=first, last=last)


def last_instant(params: ForecastParams, manifest: Manifest) -> np.datetime64:
    """When the last value is known: at its row's timestamp; at its period's end where finer rows make it up."""
    import numpy as np

    lag = known_after(params, manifest)
    if lag is not None:
        return manifest.last_timestamp + lag
    following = params.grid.ordinal(np.array([manifest.last_timestamp])) + 1
    end: np.datetime64 = params.grid.start(following)[0]
    return end - np.timedelta64(1, "us")


def known_after(params: ForecastParams, manifest: Manifest) -> np.timedelta64 | None:
    """How long after its start a period's value is known; None if only once it is over.

    A period made up of finer rows may hold some from after the as-of.
    """
    return None if params.data_frequency != params.frequency else manifest.lag


def reading_parameters(params: ForecastParams) -> dict[str, Any]:
    """What every workload that reads the dataset gets: its grid, the columns of its keys, how gaps are filled."""
    return {
        "frequency": str(params.frequency),
        "alignment": asdict(params.alignment),
        "dimensions": list(params.dimensions),
        "filling": asdict(params.filling),
    }
