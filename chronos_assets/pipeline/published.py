"""What is published of forecasts and their scores: manifests, and the first series of what is shown.

Here: reading it. Elsewhere: making and publishing it (`pipeline.forecasts`, `pipeline.accuracy`).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from chronos_assets.pipeline.cold_starts import cold_starts
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.store import manifest_of
from chronos_assets.store_layout import FORECAST_KEY, history_key
from chronos_assets.timeseries.published_files import FORECAST, MANIFEST


def published_manifest(group: Group) -> dict[str, Any] | None:
    """Manifest of the current forecast, None if none is published; also where it is damaged: it is published again."""
    try:
        manifest = manifest_of(group.store, FORECAST_KEY)
    except ValueError:
        return None
    return manifest if manifest is not None and "model" in manifest else None


def published_series(group: Group, most: int) -> dict[tuple[str, ...], dict[str, Any]]:
    """The first series of the current forecast, except for cold starts among them: key -> column -> values (horizon,)."""
    import pyarrow.parquet as pq

    folder = group.store.snapshot(FORECAST_KEY)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    horizon, names = int(manifest["horizon"]), ["item_id", *manifest["dimensions"]]
    with pq.ParquetFile(folder / FORECAST) as file:
        rows = next(file.iter_batches(batch_size=most * horizon), None)
    if rows is None:
        return {}
    found, cold = {}, cold_starts(group, manifest)
    for start in range(0, rows.num_rows, horizon):
        part = rows.slice(start, horizon)
        key = tuple(str(part.column(name)[0].as_py()) for name in names)
        if key in cold:
            continue
        found[key] = {name: np.asarray(part.column(name)) for name in manifest["columns"]}
    return found


def forecast_manifest(group: Group, key: str) -> dict[str, Any]:
    """Manifest of partition `key`'s forecast; `StepError` if it has none."""
    manifest = manifest_of(group.store, history_key(key))
    if manifest is None:
        raise StepError(f"partition {key} has no forecast to score: materialize forecasts[{key}] first")
    return manifest
