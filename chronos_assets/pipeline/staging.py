"""Scratch folders on this machine, for files that are not published yet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.file_locks import lock_file, locked_file
from chronos_assets.wording import first_line

_STAGING, _LOCK = "staging-", ".lock"


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
        raise StepError(f"CHRONOS_MEMORY_LIMIT={limit} is too little, set it higher: {first_line(error)}") from error
