"""The files of a dataset that is there, wherever they are: what an import needs of them, one by one.

Here: the protocol, and a folder. Elsewhere: files of a store (`platforms`) and of a job (`container.remote_files`), what is in
them (`shards`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chronos_assets.timeseries.dataset.shards import DatasetError, Manifest, shard_name
from chronos_assets.timeseries.published_files import DATASET_MANIFEST


class ShardFiles(Protocol):
    """The files of a dataset; from any thread."""

    def read(self, name: str) -> bytes:
        """The content of a file. Raises `OSError` if there is none."""

    def keep(self, name: str, target: Path) -> str:
        """Let a file be a part of the next dataset, too: at `target`, or where it is, at the URL that this returns.

        Raises `OSError` if there is none.
        """


@dataclass(frozen=True)
class FolderFiles:
    """`ShardFiles` of a folder."""

    folder: Path

    def read(self, name: str) -> bytes:
        """See `ShardFiles.read`."""
        return (self.folder / name).read_bytes()

    def keep(self, name: str, target: Path) -> str:
        """See `ShardFiles.keep`: a link where that is possible."""
        target.unlink(missing_ok=True)
        link_or_copy(self.folder / name, target)
        return ""


def link_or_copy(source: Path, target: Path) -> None:
    """Show a file at another path, too. Raises `FileNotFoundError` if there is none."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system
        shutil.copyfile(source, target)


def manifest_in(files: ShardFiles) -> Manifest:
    """The manifest of a dataset.

    Raises:
        DatasetError: there is none, or it can't be read.
    """
    try:
        return Manifest.from_json(files.read(DATASET_MANIFEST))
    except FileNotFoundError as error:
        raise DatasetError(f"there is no dataset ({error}): import the train files first") from error


def all_series(files: ShardFiles, manifest: Manifest, number: int) -> Iterator[bytes]:
    """The content of a file that has a row of every series of a shard; nothing where no series came into it."""
    name = shard_name(number)
    return (files.read(list(shard.files)[-1]) for shard in manifest.shards if shard.name == name)
