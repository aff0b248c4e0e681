"""What several rooms ask the operating system for: cores, digests of files, folders, and writes that survive a power cut."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def usable_cores() -> int:
    """Cores that this process may use; macOS only knows how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def made_folder(folder: Path) -> Path:
    """The folder, made where it isn't there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write a file's new content: it takes the file's place at the end of the block, whole and on the disk.

    Whatever is killed when, there is the old file or the new one. An error leaves the old one.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)  # of a writer that was killed
    yield part
    sync(part)
    os.replace(part, path)
