"""Cells between the passes of an import: kept on disk by partition, cut and joined by the hash of their series.

What cells are, and how rows become them, belongs to `gridding`; writing them as shards to `shard_writing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.gridding import Cells
from chronos_assets.timeseries.dataset.shards import HASHES

AnyCells = TypeVar("AnyCells", bound=Cells)

# What cells have for each series beside their keys, and for each cell.
_OF_SERIES, _OF_CELLS = slice(1, 4), slice(4, None)


class CellStore(Generic[AnyCells]):
    """Cells of one kind by partition: in memory when there is one, otherwise in files of `folder`."""

    def __init__(self, folder: Path, partitions: int, kind: type[AnyCells]) -> None:
        self.partitions = partitions
        self._folder = folder
        self._kind = kind
        self._only: AnyCells | None = None

    def put(self, number: int, cells: AnyCells) -> None:
        """Keep the cells of one partition; from any thread."""
        if self.partitions == 1:
            self._only = cells
            return
        path = str(self._folder / f"keys-{number:05d}.arrow")
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, cells.keys.schema) as writer:
            writer.write_table(cells.keys)
        for name in _names(self._kind, slice(1, None)):
            np.save(self._folder / f"{name}-{number:05d}.npy", getattr(cells, name), allow_pickle=False)

    def of_hashes(self, low: int, high: int) -> Iterator[AnyCells]:
        """Cells of the partitions that hold series with low <= hash < high; other series are among them."""
        width = HASHES // self.partitions
        for number in range(low // width, -(-high // width)):
            cells = self.get(number)
            if cells is not None:
                yield cells

    def get(self, number: int) -> AnyCells | None:
        """The cells of one partition, None when no row fell there."""
        if self.partitions == 1:
            return self._only
        path = self._folder / f"keys-{number:05d}.arrow"
        if not path.exists():
            return None
        with pa.OSFile(str(path)) as source:
            keys = pa.ipc.open_file(source).read_all()
        names = _names(self._kind, slice(1, None))
        arrays = [np.load(self._folder / f"{name}-{number:05d}.npy", allow_pickle=False) for name in names]
        return self._kind(keys, *arrays)


def _names(kind: type[Cells], which: slice) -> list[str]:
    return [field.name for field in fields(kind)][which]


def join_cells(parts: Sequence[AnyCells], low: int, high: int) -> AnyCells | None:
    """The series with low <= hash < high of all parts, sorted by key; None when there is none."""
    chosen = [take_series(part, np.flatnonzero((part.hash >= low) & (part.hash < high))) for part in parts]
    chosen = [part for part in chosen if len(part.first)]
    if not chosen:
        return None
    if len(chosen) == 1:
        return chosen[0]
    keys = pa.concat_tables([part.keys for part in chosen]).combine_chunks()
    kind = type(chosen[0])
    names = _names(kind, slice(1, None))
    together = kind(keys, *(np.concatenate([getattr(part, name) for part in chosen]) for name in names))
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    return take_series(together, order.to_numpy().astype(np.int64))


def take_series(cells: AnyCells, series: Integers) -> AnyCells:
    """The given series, in the given order."""
    if len(series) == len(cells.first) and (series == np.arange(len(series))).all():
        return cells
    counts = cells.counts[series]
    starts = (np.cumsum(cells.counts) - cells.counts)[series]
    places = consecutive(starts, counts)
    kind = type(cells)
    of_series = [getattr(cells, name)[series] for name in _names(kind, _OF_SERIES)]
    return kind(
        cells.keys.take(series), *of_series, *(getattr(cells, name)[places] for name in _names(kind, _OF_CELLS))
    )


def consecutive(starts: Integers, counts: Integers) -> Integers:
    """start, start + 1, …, start + count - 1 for each pair, one after another."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
