"""Scratch folders, and values kept by Dagster's materializations."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.store import StoreError

if TYPE_CHECKING:
    import numpy as np


# --- shared -----------------------------------------------------------------------------------------------------------


def place(group: Group, key: str) -> str:
    """Where an object or folder is, for people: a path on this machine, or a URL."""
    try:
        return str(group.store.local_path(key))
    except StoreError:
        return group.store.uri(key)


def latest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> dict[str, Any]:
    """Metadata values of an asset's (or partition's) latest materialization; empty if there is none."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return {}
    return materialization_values(records[0].asset_materialization)


def materialization_values(materialization: dg.AssetMaterialization) -> dict[str, Any]:
    """The values of a materialization's metadata."""
    return {name: value.value for name, value in materialization.metadata.items()}


@contextmanager
def staging(group: Group) -> Iterator[Path]:
    """A folder on this machine for files that are not published yet; removed at the end.

    What a killed run left is removed by the next one, after a day in which it might still be alive.
    """
    root = group.store.scratch
    oldest = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    for entry in os.scandir(root):
        if entry.stat(follow_symlinks=False).st_mtime < oldest:
            shutil.rmtree(entry.path, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=root) as folder, memory_limit_named(group):
        yield Path(folder)


@contextmanager
def memory_limit_named(group: Group) -> Iterator[None]:
    """DuckDB says how much memory it lacks, but not which setting of ours holds it back."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        limit = group.settings.memory_limit
        reason = str(error).splitlines()[0]
        raise dg.Failure(f"CHRONOS_MEMORY_LIMIT={limit} is too little, set it higher: {reason}") from error


def timestamp(text: str) -> np.datetime64:
    """An ISO time as the dataset's timestamps are."""
    import numpy as np

    return np.datetime64(text, "us")


def as_datetime(moment: np.datetime64) -> datetime:
    """A moment as Python's datetime, without a zone."""
    return cast(datetime, moment.astype("datetime64[us]").item())
