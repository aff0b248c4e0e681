"""Locks between processes of one machine, freed by the kernel when their holder dies.

A lock is `flock(2)` on a file, which holds the file and not its name: a file that was renamed or removed while one
waited for it is let go, and the name tried again. So a lock's file may itself be renamed or removed by its holder.
Children that inherit the descriptor hold the lock too.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock_file(path: Path, *, seconds: float | None = None) -> int:
    """Descriptor of `path`, open for reading and writing and locked; the file is made if it isn't there.

    Args:
        path: the file.
        seconds: how long to wait, None: until it is free.

    Raises:
        TimeoutError: someone else held it all along.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, deadline)
            if _is_named(descriptor, path):
                return descriptor
        except TimeoutError:
            os.close(descriptor)
            raise TimeoutError(f"{path} is locked by another process") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextmanager
def locked_file(path: Path) -> Iterator[int]:
    """`lock_file` for the time of a block."""
    descriptor = lock_file(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, deadline: float | None) -> None:
    if deadline is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            time.sleep(0.05)


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))
