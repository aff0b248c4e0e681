"""What an import of related time series leaves for the next one, so that it need not read files again that haven't changed.

Here: what is known of files and of what lies before the tails, and the one file that holds it: a cache, as `import_memory` is
for the target. How it is used belongs to `related_changes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.gridding import NOTHING
from chronos_assets.timeseries.dataset.import_memory import (
    FileFacts,
    file_document,
    load_noted,
    read_files,
    read_renamed,
    renamed_document,
    save_noted,
)
from chronos_assets.timeseries.dataset.related_form import EarlyCells, RelatedForm
from chronos_assets.timeseries.dataset.train_files import RenamedColumns


@dataclass(frozen=True)
class SourceMemory:
    """What was known of a source.

    Attributes:
        files: from the oldest to the newest.
        renamed: see `TrainFileReader`.
        texts: of categories by place among the covariates, in the order in which they were seen.
    """

    files: tuple[FileFacts, ...]
    renamed: RenamedColumns
    texts: Mapping[int, tuple[str, ...]]


@dataclass(frozen=True)
class RelatedMemory:
    """What an import knew.

    Attributes:
        recipe: digest of the parameters, of the code, and of the dataset's grid and shards.
        version: data version of what it wrote.
        form: where rows lie.
        sources: in order.
        early: by shard.
        obstacle: why only an import of everything will do next time; nothing else is known then.
    """

    depends_on: ClassVar[str] = "the parameters, the program or the dataset's shards"

    recipe: str
    version: str
    form: RelatedForm
    sources: tuple[SourceMemory, ...] = ()
    early: tuple[EarlyCells, ...] = ()
    obstacle: str = ""

    @property
    def by_source(self) -> tuple[tuple[FileFacts, ...], ...]:
        """The files of each source."""
        return tuple(source.files for source in self.sources)

    def save(self, path: Path) -> None:
        """Write it to one file."""
        files = [file for source in self.sources for file in source.files]
        document = {
            "recipe": self.recipe,
            "version": self.version,
            "form": asdict(self.form),
            "obstacle": self.obstacle,
            "sources": [
                {
                    "files": [file_document(file) for file in source.files],
                    "renamed": renamed_document(source.renamed),
                    "texts": sorted(source.texts.items()),
                }
                for source in self.sources
            ],
            "early": [{"keys": early.keys, "cells": early.cells.tolist()} for early in self.early],
        }
        names = ("firsts", "lasts", "lows", "highs")
        arrays = {name: _flat([getattr(early, name) for early in self.early]) for name in names}
        save_noted(path, document, files, **arrays)

    @classmethod
    def load(cls, path: Path) -> RelatedMemory:
        """What `save` wrote.

        Raises:
            MemoryUnusableError: it is damaged, or of another version.
        """
        return load_noted(path, _read)


def _flat(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """All numbers of some arrays; those of periods in half the bytes, as they are all but `NOTHING`."""
    if not parts:
        return np.empty(0)
    together = np.concatenate([part.ravel() for part in parts])
    if together.dtype != np.int64:
        return together
    packed = np.where(together == NOTHING, _NO_PERIOD, together)
    return packed.astype(np.int32) if len(packed) and packed.max() < -_NO_PERIOD else packed


_NO_PERIOD = -(1 << 31)


def _read(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> RelatedMemory:
    """What a document and its arrays say; any error for those that don't fit."""
    sources, at = [], 0
    starts = 0
    for source in document["sources"]:
        count = sum(file["instants"] or 0 for file in source["files"])
        hashes = arrays["hashes"][at : at + len(source["files"])]
        files = read_files(source["files"], arrays["instants"][starts : starts + count], hashes)
        renamed = read_renamed(source["renamed"])
        texts = {int(place): tuple(found) for place, found in source["texts"]}
        sources.append(SourceMemory(tuple(files), renamed, texts))
        at, starts = at + len(files), starts + count
    early, place, column = [], 0, 0
    for one in document["early"]:
        keys, cells = [tuple(key) for key in one["keys"]], np.array(one["cells"], dtype=np.int64)
        width, size = len(cells), len(cells) * len(keys)
        firsts, lasts = (_periods(arrays[name][place : place + size], width) for name in ("firsts", "lasts"))
        lows, highs = (arrays[name][column : column + width] for name in ("lows", "highs"))
        early.append(EarlyCells(keys, firsts, lasts, lows, highs, cells))
        place, column = place + size, column + width
    if (place, column) != (len(arrays["lasts"]), len(arrays["lows"])):
        raise ValueError("it names another number of series")
    form = RelatedForm(**document["form"])
    return RelatedMemory(
        document["recipe"], document["version"], form, tuple(sources), tuple(early), document["obstacle"]
    )


def _periods(packed: NDArray[Any], width: int) -> Integers:
    """(columns, k) periods, as they were before `_flat`."""
    found = packed.astype(np.int64)
    periods: Integers = np.where(found == _NO_PERIOD, NOTHING, found).reshape(width, -1)
    return periods
