"""What several rooms ask the operating system for: cores, digests, folders, JSON files, and writes that survive a power cut."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def usable_cores() -> int:
    """Cores that this process may use; macOS only knows how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def document_digest(document: Any, *, sort_keys: bool = False) -> str:
    """SHA-256 of JSON values as they are written, hexadecimal; with `sort_keys`, whatever their keys' order."""
    return text_digest(json.dumps(document, sort_keys=sort_keys))


def made_folder(folder: Path) -> Path:
    """The folder, made where it isn't there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_json(path: Path, document: Any, **how: bool) -> None:
    """Write JSON values for people and programs to read; `how`: see `json.dumps`."""
    path.write_text(json.dumps(document, indent=1, **how) + "\n", encoding="utf-8")  # type: ignore[arg-type]


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
