"""The files of a folder to publish: their names, and one digest of them all.

Here: reading a folder. Elsewhere: showing it to readers (`local/publishing.py`, `aws/publishing.py`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from chronos_assets.platforms.store import PublishError
from chronos_assets.system import file_digest


def folder_digest(folder: Path, known: Mapping[str, str] | None = None) -> str:
    """SHA-256 over the names and contents of all files below `folder`; times and permissions don't count.

    known: SHA-256 of files, by their path below the folder: these are not read.
    """
    names = (path.relative_to(folder).as_posix() for path in plain_files(folder))
    return names_digest(names, lambda name: file_digest(folder / name), known)


def names_digest(names: Iterable[str], content: Callable[[str], str], known: Mapping[str, str] | None = None) -> str:
    """`folder_digest` of files by their names; `content` tells the SHA-256 of one that isn't known."""
    total, given = hashlib.sha256(), known or {}
    for name in sorted(names, key=lambda name: PurePosixPath(name).parts):
        total.update(f"{name}\0{given.get(name) or content(name)}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def plain_files(folder: Path) -> list[Path]:
    """Plain files below `folder`, sorted by their path; anything but files and folders is refused."""
    found = []
    for root, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(root, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise PublishError(f"can't publish {path}: only plain files and folders")
        found += [Path(root, name) for name in names]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)
