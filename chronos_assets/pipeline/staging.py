"""Scratch folders, JSON objects of the store, and values kept by Dagster's materializations."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import dagster as dg
import numpy as np

from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.file_locks import lock_file, locked_file
from chronos_assets.platforms.store import StoreError

_STAGING, _LOCK = "staging-", ".lock"


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


def read_json(group: Group, key: str) -> dict[str, Any] | None:
    """The object in a file; None if there is no file, or none that holds one."""
    try:
        document = json.loads(group.store.get(key))
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None


@contextmanager
def staging(group: Group) -> Iterator[Path]:
    """A folder on this machine for files that are not published yet; removed at the end.

    Its owner holds a lock beside it for as long as it lives: what a killed run left is removed by the next one.
    """
    root = group.store.scratch
    _remove_abandoned(root)
    folder = root / f"{_STAGING}{uuid4().hex}"
    with locked_file(lock := folder.with_suffix(_LOCK)), memory_limit_named(group):
        try:
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _remove_abandoned(root: Path) -> None:
    """Remove the folders whose owners are gone, and whatever else has lain there for a day."""
    for lock in root.glob(f"{_STAGING}*{_LOCK}"):
        try:
            descriptor = lock_file(lock, seconds=0)
        except TimeoutError:
            continue
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)
    oldest = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    for entry in os.scandir(root):
        if not entry.name.startswith(_STAGING) and entry.stat(follow_symlinks=False).st_mtime < oldest:
            shutil.rmtree(entry.path, ignore_errors=True)


@contextmanager
def memory_limit_named(group: Group) -> Iterator[None]:
    """DuckDB says how much memory it lacks, but not which setting of ours holds it back."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        limit = group.settings.memory_limit
        reason = str(error).splitlines()[0]
        raise StepError(f"CHRONOS_MEMORY_LIMIT={limit} is too little, set it higher: {reason}") from error


def timestamp(text: str) -> np.datetime64:
    """An ISO time as the dataset's timestamps are."""
    return np.datetime64(text, "us")


def as_datetime(moment: np.datetime64) -> datetime:
    """A moment as Python's datetime, without a zone."""
    return cast(datetime, moment.astype("datetime64[us]").item())
