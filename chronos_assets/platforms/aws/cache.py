"""Copies of a bucket's objects on this machine, for programs that read files.

Here: where copies lie, that they are complete, when they go. Elsewhere: where they come from.

A copy is made in a temporary folder and renamed, so that one that is there is whole. It is named after its content
(a version, an etag) and never changed. Of each thing the two newest stay; older ones go once nobody has asked for them
for a day. Processes share the folder; a name that two make at once is the same content, and the first one stays.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from chronos_assets.platforms.store import StoreError, check_key
from chronos_assets.system import made_folder, text_digest

TEMPORARY = ".incoming-"
KEPT = 2
CONCURRENCY = 8  # files of a folder fetched at once
UNUSED_SECONDS = 86_400.0
MAX_NAME_BYTES = 200  # of a file; what file systems take less what is added


class Cache:
    """Copies of one store below `root`.

    Args:
        unused_seconds: age from which an old copy goes.
    """

    def __init__(self, root: Path, url: str, *, unused_seconds: float = UNUSED_SECONDS) -> None:
        self.root = root.expanduser().absolute() / text_digest(url)[:16]
        self._unused = unused_seconds

    @property
    def scratch(self) -> Path:
        """A folder for files under way."""
        return made_folder(self.root / "staging")

    def folder(self, key: str, name: str, sizes: Mapping[str, int], fill: Callable[[str, Path], object]) -> Path:
        """The copy `name` of the published folder `key`.

        Args:
            key: of the published folder.
            name: of the copy, one for each version.
            sizes: its files (path below the folder -> bytes).
            fill: writes one of them to a path.
        """
        return self._copy(self.root / "folders" / check_key(key) / name, sizes, fill)

    def file(self, key: str, etag: str, size: int, fill: Callable[[str, Path], object]) -> Path:
        """The copy of the object `key` with this etag, under the object's own name."""
        base = check_key(key).rpartition("/")[2]
        if len(base.encode()) > MAX_NAME_BYTES:
            suffix = Path(base).suffix
            base = f"object{suffix if len(suffix) < MAX_NAME_BYTES // 4 else ''}"
        copy = self.root / "objects" / _digest(key) / _digest(f"{etag}-{size}")
        return self._copy(copy, {base: size}, fill) / base

    def _copy(self, target: Path, sizes: Mapping[str, int], fill: Callable[[str, Path], object]) -> Path:
        if not _is_complete(target, sizes):
            incoming = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=made_folder(target.parent)))
            try:
                for name in sizes:
                    (incoming / check_key(name)).parent.mkdir(parents=True, exist_ok=True)
                with ThreadPoolExecutor(CONCURRENCY) as pool:
                    for _ in pool.map(lambda name: fill(name, incoming / name), sizes):
                        pass
                if not _is_complete(incoming, sizes):
                    raise StoreError(
                        f"a copy of {target.parent.name} came with other sizes than it should have: run again"
                    )
                self._show(incoming, target, sizes)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
            self._remove_unused(target)
        os.utime(target)
        return target

    @staticmethod
    def _show(incoming: Path, target: Path, sizes: Mapping[str, int]) -> None:
        try:
            os.rename(incoming, target)
        except OSError:
            # Another process was faster; or what lies there was cut short by a power failure.
            if _is_complete(target, sizes):
                return
            os.rename(target, f"{incoming}.broken")
            os.rename(incoming, target)

    def _remove_unused(self, newest: Path) -> None:
        """The copies beside the newest that nobody has asked for lately, and what killed processes left."""
        copies: list[tuple[float, Path]] = []
        others: list[tuple[float, Path]] = []
        for entry in os.scandir(newest.parent):
            with suppress(FileNotFoundError):  # another process removes it at the same time
                used = entry.stat().st_mtime
                (others if entry.name.startswith(TEMPORARY) else copies).append((used, Path(entry.path)))
        copies.sort(key=lambda copy: (copy[1] == newest, copy[0]))
        old = time.time() - self._unused
        for used, path in [*copies[:-KEPT], *others]:
            if used < old:
                aside = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
                with suppress(FileNotFoundError):
                    os.rename(path, aside)  # nobody finds it half removed
                shutil.rmtree(aside, ignore_errors=True)


def _is_complete(folder: Path, sizes: Mapping[str, int]) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError):
        return all((folder / name).stat().st_size == size for name, size in sizes.items()) and folder.is_dir()
    return False


def _digest(text: str) -> str:
    return text_digest(text)[:16]
