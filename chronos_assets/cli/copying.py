"""A user's data folder -> the store: the store holds what the folder holds, beside what was dropped into the store itself.

Here: which files are copied, which leave the store again, and that a copy is one moment of its file. The folder is
only read.

What came from a folder is remembered in the store (`MIRROR_KEY`), so that a file that is removed or renamed in the folder
leaves the store, while one that somebody dropped into the store stays. A file counts as unchanged by what the system can't
be set at will: its change time and inode beside its size and modification time. In doubt its content is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from chronos_assets.cli.common import UsageError
from chronos_assets.platforms.store import ObjectInfo, Store
from chronos_assets.store_layout import (
    METADATA_FILES_KEY,
    MIRROR_KEY,
    PARAMS_KEY,
    RELATED_FILES_KEY,
    TRAIN_KEY,
    WHAT_IF_KEY,
)
from chronos_assets.system import file_digest
from chronos_assets.wording import first_of

if TYPE_CHECKING:
    from chronos_assets.pipeline.group import Group

FOLDERS = (TRAIN_KEY, RELATED_FILES_KEY, METADATA_FILES_KEY, WHAT_IF_KEY)
# What the pipelines of `ml_ops` call them.
OTHER_NAMES = {TRAIN_KEY: "tts", RELATED_FILES_KEY: "rts", METADATA_FILES_KEY: "item"}
_ATTEMPTS = 5
_PAUSE = 0.2  # seconds between two attempts at a file that is being written
_GRAIN = 2.0  # seconds: a file changed so shortly before it was looked at may change again without a new time
_PIECE = 1 << 20
_NAMED = 5  # files in a message


@dataclass(frozen=True)
class Mirrored:
    """What became of a folder's files.

    Attributes:
        copied: keys of the files that were new or changed.
        removed: keys that left the store, since they left the folder.
        kept: keys of data files that the store has and the folder never had.
        ignored: files of the folder that are no data, and why; empty if there are none.
    """

    copied: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    ignored: str = ""

    def lines(self) -> Iterator[str]:
        """What to tell the user."""
        if self.ignored:
            yield self.ignored
        if self.removed:
            yield f"removed from the store, as they are no longer in the folder: {first_of(self.removed, _NAMED)}"
        if self.kept:
            yield f"kept in the store, where they were dropped; the folder does not have them: {first_of(self.kept, _NAMED)}"


@dataclass(frozen=True)
class _CopiedFile:
    """A file that came from a folder.

    Attributes:
        size: of the file, bytes.
        mtime_ns: its modification time.
        ctime_ns: its change time.
        inode: of the file.
        sha256: of its content.
        seen: when it was looked at, seconds since 1970.
        tag: of the object in the store that the copy made.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str
    seen: float
    tag: str

    def is_of(self, status: os.stat_result) -> bool:
        """Whether the file is surely the one that was copied."""
        same = (self.size, self.mtime_ns, self.ctime_ns, self.inode) == _identity(status)
        return same and self.seen - status.st_ctime > _GRAIN


def copy_data(data: Path, group: Group) -> Mirrored:
    """Make the store hold what a folder holds: `params.json`, `train/` and the folders of covariates.

    Times are kept where the store can keep them: of two files with the same timestamps, the newer one's rows win.

    Raises:
        UsageError: there is no `train/`, nothing in it where there was before, or a file that never rests.
    """
    if problem := folder_problem(data):
        raise UsageError(problem)
    store = group.store
    before = _read_record(store)
    sources, ignored = _sources(data)
    _check_not_emptied(data, sources, before)
    after: dict[str, _CopiedFile] = {}
    copied = []
    try:
        for key, path in sources.items():
            entry, new = _copy_if_new(store, key, path, before.get(key))
            after[key] = entry
            copied += [key] if new else []
        removed = [key for key in sorted(before.keys() - sources.keys()) if _remove(store, key, before[key])]
    except BaseException:
        # What is in the store by now is remembered, so that it can leave it again.
        _write_record(store, {**before, **after})
        raise
    if after != before:
        _write_record(store, after)
    kept = tuple(sorted(info.key for info in store.list(TRAIN_KEY) if info.key not in after and _is_data(info)))
    return Mirrored(tuple(copied), tuple(removed), kept, ignored)


def folder_problem(data: Path) -> str:
    """Why a path isn't a folder of data, and what to give instead; empty if it is one."""
    if not data.exists():
        return f"{data} is not there: give the folder that has train/"
    return "" if _folder(data, TRAIN_KEY).is_dir() else _no_train_folder(data)


def _sources(data: Path) -> tuple[dict[str, Path], str]:
    """Key -> file of everything to copy, the oldest first, and a sentence on each of the others."""
    from chronos_assets.planning.listing import described

    found: dict[str, tuple[int, Path]] = {}
    others = []
    for folder in FOLDERS:
        home = _folder(data, folder)
        for path in home.rglob("*"):
            if not path.is_file():
                continue
            status, key = path.stat(), f"{folder}/{path.relative_to(home).as_posix()}"
            info = ObjectInfo(key, status.st_size, "", datetime.fromtimestamp(status.st_mtime, UTC))
            if _is_data(info):
                found[key] = (status.st_mtime_ns, path)
            elif not path.name.startswith("."):
                others.append(info)
    # Of two files with the same timestamps the later one's rows win: where times can't be kept, their order can.
    ordered = sorted(found, key=lambda key: (found[key][0], key))
    params = {PARAMS_KEY: data / PARAMS_KEY} if (data / PARAMS_KEY).is_file() else {}
    return {key: found[key][1] for key in ordered} | params | _holiday_file(data), described(others)


def _no_train_folder(data: Path) -> str:
    """What to give instead of a path without `train/`: the folder above it, where it is one file too deep."""
    above = data.absolute().parent
    inner = data.absolute() if data.is_dir() else above
    if inner.name == TRAIN_KEY:
        return f"{data} has no folder {TRAIN_KEY}/, but is in one: give {inner.parent}"
    if not data.is_dir():
        return f"{data} is a file: put it into a folder called {TRAIN_KEY}/, and give the folder that has this one"
    loose = any(path.suffix.lower() in (".csv", ".gz", ".parquet") for path in data.iterdir())
    what = "those of the target time series" if loose else "*.csv, *.csv.gz or *.parquet files"
    return f"{data} has no folder {TRAIN_KEY}/: make it, and {'move' if loose else 'put'} {what} into it"


def _folder(data: Path, name: str) -> Path:
    """Where the files of one of the store's folders are: in a folder of that name, or of its other name."""
    other = data / OTHER_NAMES.get(name, name)
    return other if other.is_dir() and not (data / name).is_dir() else data / name


def _holiday_file(data: Path) -> dict[str, Path]:
    """The CSV of holidays that `params.json` names, if it is there; that it is missing is for the import to say."""
    from chronos_assets.params.forecast import ParamsError
    from chronos_assets.params.reader import load_params

    try:
        calendar = load_params((data / PARAMS_KEY).read_bytes()).holidays
    except (FileNotFoundError, ParamsError):
        return {}
    file = None if calendar is None else calendar.file
    if file is None or not (data / file).resolve().is_relative_to(data.resolve()):
        return {}
    return {file: data / file} if (data / file).is_file() else {}


def _is_data(info: ObjectInfo) -> bool:
    from chronos_assets.planning.listing import kind_by_name, why_ignored

    folder = info.key.partition("/")[0]
    if folder == WHAT_IF_KEY:
        return info.size > 0 and info.key.lower().endswith((".json", ".csv"))
    why = why_ignored(info, f"{folder}/")
    return why is None or (info.size > 0 and why == f"{kind_by_name(info.key)} by its name")


def _check_not_emptied(data: Path, sources: Mapping[str, Path], before: Mapping[str, _CopiedFile]) -> None:
    """A folder that lost all its train files at once was emptied by accident, or isn't mounted."""

    def has_train(keys: Mapping[str, object]) -> bool:
        return any(key.startswith(f"{TRAIN_KEY}/") for key in keys)

    if has_train(before) and not has_train(sources):
        raise UsageError(
            f"{data / TRAIN_KEY} has no data files any more, and the store keeps those that it had: "
            "put them back, or remove them from the store by hand"
        )


def _copy_if_new(store: Store, key: str, path: Path, known: _CopiedFile | None) -> tuple[_CopiedFile, bool]:
    """The entry of a file that is in the store now, and whether it had to be copied."""
    there, status = store.head(key), path.stat()
    if there is not None:
        if known is not None and there.etag == known.tag and known.is_of(status):
            return known, False
        held = _content_in_store(store, key, there, known)
        if held is not None and held == (status.st_mtime_ns, file_digest(path)):
            return _entry(path.stat(), held[1], there.etag), False
    status, sha256 = _copy(store, key, path)
    copy = store.head(key)
    return _entry(status, sha256, copy.etag if copy is not None else ""), True


def _content_in_store(store: Store, key: str, there: ObjectInfo, known: _CopiedFile | None) -> tuple[int, str] | None:
    """Modification time and digest of what the store holds; None where only its content would say, in a bucket.

    A store that was copied by hand, or made by an older version, has the files but not the tags.
    """
    from chronos_assets.platforms.local.store import store_folder

    if known is not None and there.etag == known.tag:
        return known.mtime_ns, known.sha256
    if store_folder(store.url) is None:
        return None
    copy = store.local_path(key)
    return copy.stat().st_mtime_ns, file_digest(copy)


def _copy(store: Store, key: str, path: Path) -> tuple[os.stat_result, str]:
    """Copy a file as it is at one moment: its state before and its content, and the same state after.

    Raises:
        UsageError: it keeps changing.
    """
    from chronos_assets.platforms.local.store import store_folder

    local = store_folder(store.url) is not None
    folder = store.local_path(key).parent if local else Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".copy-", suffix=".partial", dir=folder)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as target:
            before, sha256 = _read_whole(path, target)
        # Never wider than the file's own mode; its owner may replace the copy.
        partial.chmod(stat.S_IMODE(before.st_mode) | stat.S_IWUSR | stat.S_IRUSR)
        os.utime(partial, ns=(before.st_atime_ns, before.st_mtime_ns))
        if local:
            partial.replace(store.local_path(key))
        else:
            store.put_file(key, partial)
    finally:
        partial.unlink(missing_ok=True)
    return before, sha256


def _read_whole(path: Path, target: BinaryIO) -> tuple[os.stat_result, str]:
    """Write a file's content to `target`; its state, which was the same before and after, and the content's digest."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        target.seek(0)
        target.truncate()
        digest = hashlib.sha256()
        with path.open("rb") as source:
            before = os.fstat(source.fileno())
            while piece := source.read(_PIECE):
                digest.update(piece)
                target.write(piece)
            length = source.tell()
        after = path.stat()
        if _identity(before) == _identity(after) and length == after.st_size:
            return before, digest.hexdigest()
    raise UsageError(f"{path} is being written to: run again once it is complete")


def _remove(store: Store, key: str, entry: _CopiedFile) -> bool:
    """Remove what came from the folder; what somebody has put in its place since stays."""
    there = store.head(key)
    if there is None or _content_in_store(store, key, there, entry) != (entry.mtime_ns, entry.sha256):
        return False
    store.delete(key)
    return True


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _entry(status: os.stat_result, sha256: str, tag: str) -> _CopiedFile:
    return _CopiedFile(*_identity(status), sha256=sha256, seen=time.time(), tag=tag)


def _read_record(store: Store) -> dict[str, _CopiedFile]:
    """What came from a folder so far; a record that can't be read is begun again, and its files stay."""
    if store.head(MIRROR_KEY) is None:
        return {}
    try:
        return {key: _CopiedFile(**entry) for key, entry in json.loads(store.get(MIRROR_KEY))["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write_record(store: Store, entries: Mapping[str, _CopiedFile]) -> None:
    document = {"files": {key: asdict(entry) for key, entry in sorted(entries.items())}}
    store.put(MIRROR_KEY, json.dumps(document, indent=1).encode())
