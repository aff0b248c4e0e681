"""Folders that one holder at a time works in, on this machine.

Here: the lock on a folder's name, and removing the folder with it. Elsewhere: what a folder holds, the
lock itself (`file_locks.py`).

A folder stays locked for as long as this process, a child that inherited the descriptor, or the caller that publishes from
it lives.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.file_locks import lock_file

PATIENCE_SECONDS = 2.0  # how long to wait silently


class FolderBusyError(ChronosAssetsError):
    """Another run works in the folder."""


class LockedFolder:
    """A folder and the lock on its name.

    Args:
        folder: path of the folder, which may not be there yet.
        descriptor: of the locked file `lock_path(folder)`; children that inherit it hold the lock too.
        first: name of a file in the folder that goes before all others, so that a removal cut short is seen as one.
    """

    def __init__(self, folder: Path, descriptor: int, *, first: str | None = None) -> None:
        self.descriptor = descriptor
        self._folder = folder
        self._first = first
        # A result that nobody closed must not block the name for as long as this process lives.
        self._unlock = weakref.finalize(self, os.close, descriptor)

    def close(self, *, keep: bool = False) -> None:
        """Remove the folder, unless it is to be kept, and let the next holder of the name in. Once is enough."""
        if not self._unlock.alive:
            return
        if not keep:
            if self._first is not None:
                (self._folder / self._first).unlink(missing_ok=True)
            if self._folder.exists():
                shutil.rmtree(self._folder)
            lock_path(self._folder).unlink(missing_ok=True)
        self._unlock()


def lock_folder(
    folder: Path, what: str, *, seconds: float, say: Callable[[str], None], first: str | None = None
) -> LockedFolder:
    """Take the lock on a folder's name, waiting up to `seconds` for another run that holds it.

    Args:
        folder: to be locked; it may not be there yet.
        what: is done there, as `job` or `search`, for people.
        seconds: how long to wait for another holder.
        say: called with what is waited for, if it takes more than a moment.
        first: see `LockedFolder`.

    Raises:
        FolderBusyError: the other run holds it still.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = lock_path(folder)
    moment = min(seconds, PATIENCE_SECONDS)
    try:
        return LockedFolder(folder, lock_file(path, seconds=moment), first=first)
    except TimeoutError:
        say(f"waiting up to {seconds - moment:.0f} s for another run of {what} {folder.name}, which holds {path}")
    try:
        return LockedFolder(folder, lock_file(path, seconds=seconds - moment), first=first)
    except TimeoutError:
        raise FolderBusyError(
            f"{what} {folder.name} is already running (another run holds {path}): wait for it or cancel it"
        ) from None


def lock_path(folder: Path) -> Path:
    """The file beside a folder that stands for its name."""
    return folder.parent / f"{folder.name}.lock"
