"""What the dataset in the store says about itself: what it was made from, its shards, when its values are known.

Elsewhere: importing it (`dataset_import`), how rows become series (`timeseries.dataset`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.materializations import materialization_values
from chronos_assets.pipeline.moments import as_datetime
from chronos_assets.pipeline.shown_dataset import ShownDataset
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.train_files import train_files
from chronos_assets.planning.forecasts import DatasetState
from chronos_assets.planning.imports import ImportRecord
from chronos_assets.planning.listing import listing_digest
from chronos_assets.timeseries.dataset.shards import (
    Manifest,
    Series,
    iter_series,
    shard_files,
    shard_name,
    shard_number,
)

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


def first_series(state: GroupState) -> Series:
    """The first series of the dataset that has an observation: an example for people and for a new endpoint."""
    state.require_manifest()
    dataset = ShownDataset.of(state.group)
    for _, path in dataset.each(dataset.manifest.shards):
        for series in iter_series(path, state.params.dimensions):
            if np.isfinite(series.target).any():
                return series
    raise StepError("no series of the dataset has an observation")


def shards_of(group: Group, keys: Collection[tuple[str, ...]]) -> Iterator[tuple[Path, list[tuple[str, ...]]]]:
    """The shards that hold some series, one after another, each with the keys of its own; a path is good until the next.

    They are chosen by the manifest beside them: the dataset may have been cut into others since a `GroupState` was read.
    """
    if not keys:
        return
    dataset = ShownDataset.of(group)
    wanted: dict[str, list[tuple[str, ...]]] = {}
    for key in keys:
        wanted.setdefault(shard_name(shard_number(key, dataset.manifest.n_shards)), []).append(key)
    for shard, path in dataset.each(shard for shard in dataset.manifest.shards if shard.name in wanted):
        yield path, wanted[shard.name]


def last_observations(state: GroupState, keys: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """When some series were observed last, ISO 8601; those that never were are left out."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names, found = ("item_id", *state.require_manifest().dimensions), {}
    for shard, held in shards_of(state.group, keys):
        for key in held:
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
    lag = known_after(params, manifest)
    if lag is not None:
        return manifest.last_timestamp + lag
    following = params.grid.number_of(manifest.last_timestamp) + 1
    return params.grid.instant(following) - np.timedelta64(1, "us")


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
