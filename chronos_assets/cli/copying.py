"""A user's data folder -> the store: what is new or changed is copied, and the folder is only read."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from chronos_assets.cli.common import UsageError

if TYPE_CHECKING:
    from chronos_assets.pipeline.group import Group
    from chronos_assets.platforms.store import Store


def copy_data(data: Path, group: Group) -> None:
    """Copy `params.json` and the files of `train/` into the store, those that are new or changed.

    Times are kept where the store can keep them: of two files with the same timestamps, the newer one's rows win.
    """
    from chronos_assets.platforms.local.store import store_folder

    train = data / "train"
    if not train.is_dir():
        raise UsageError(f"{data} has no folder train/: put the *.csv, *.csv.gz or *.parquet files there")
    sources = [path for path in train.rglob("*") if path.is_file() and not path.name.startswith(".")]
    # Of two files with the same timestamps the later one's rows win: where times can't be kept, their order can.
    sources.sort(key=lambda path: (path.stat().st_mtime_ns, path))
    if (data / "params.json").is_file():
        sources.append(data / "params.json")
    for source in sources:
        key = source.relative_to(data).as_posix()
        if store_folder(group.store.url) is None:
            _upload(source, group.store, key)
        else:
            _copy_file(source, group.store.local_path(key))


def _upload(source: Path, store: Store, key: str) -> None:
    """Put a file that is new or changed: of another size, or written after the object was."""
    there, status = store.head(key), source.stat()
    if there is None or there.size != status.st_size or there.last_modified.timestamp() < status.st_mtime:
        store.put_file(key, source)


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file with its time; `target` is the old one or the whole new one, also while another run does the same."""
    if _same_file(source, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".copy-", suffix=".partial", dir=target.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        shutil.copy2(source, partial)
        partial.chmod(0o644)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _same_file(source: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    one, other = source.stat(), target.stat()
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
