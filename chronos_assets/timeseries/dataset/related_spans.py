"""Where the values of related time series lie: the cells of each series, and the periods that have rows.

Elsewhere: the rows and files (`related_writing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.gridding import NOTHING, Cells
from chronos_assets.timeseries.dataset.related_columns import RelatedColumn
from chronos_assets.timeseries.dataset.series_keys import Key, key_list
from chronos_assets.timeseries.dataset.shards import HASHES

_ROWS_AT_ONCE = 1 << 19  # rows of the grid that a thread makes at once


@dataclass(frozen=True)
class Spans:
    """(k,) first ordinal and number of periods of each series; none where nothing is known of it."""

    first: Integers
    length: Integers

    def followed_by(self, later: Spans) -> Spans:
        """These and later ones, with what lies between them."""
        first = np.where(self.length > 0, self.first, later.first)
        end = np.where(later.length > 0, later.first + later.length, self.first + self.length)
        return Spans(first, np.where((self.length > 0) | (later.length > 0), end - first, 0))


def spans_of(picked: Sequence[Picked], columns: Sequence[RelatedColumn], low: int, last: int, horizon: int) -> Spans:
    """From the first value of any attribute to the last, or to where an attribute is filled; within [low, horizon]."""
    first = np.full(len(picked[0].first), horizon + 1, dtype=np.int64)
    end = np.full(len(first), NOTHING, dtype=np.int64)
    for one, column in zip(picked, columns, strict=True):
        some = one.counts > 0
        first[some] = np.minimum(first[some], one.first[some])
        reach = one.last[some]
        if column.filling.backfill != "nan":
            reach = np.maximum(reach, last)
        if column.filling.futurefill != "nan":
            reach = np.full_like(reach, horizon)
        end[some] = np.maximum(end[some], reach)
    first = np.maximum(first, low)
    return Spans(first, np.maximum(np.minimum(end, horizon) - first + 1, 0))


def runs_of_series(series: Integers, length: Integers) -> Iterable[Integers]:
    """Runs of series with at most `_ROWS_AT_ONCE` rows, or one longer series."""
    ends = np.cumsum(length[series])
    cuts, start = [], 0
    while start < len(series):
        before = int(ends[start - 1]) if start else 0
        end = max(int(np.searchsorted(ends, before + _ROWS_AT_ONCE, side="right")), start + 1)
        cuts.append(series[start:end])
        start = end
    return cuts


@dataclass(frozen=True)
class _Flat:
    """Cells of some series: counts (k,), ordinals and values (m,)."""

    counts: Integers
    ordinals: Integers
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Picked:
    """Cells of an attribute for k series: where each series' cells lie among all; counts are 0 where there are none."""

    cells: Cells | None
    rows: Integers
    counts: Integers
    first: Integers
    last: Integers
    starts: Integers

    @classmethod
    def of(cls, cells: Cells | None, keys: Sequence[Key]) -> Picked:
        """The cells of these keys."""
        rows = np.full(len(keys), -1, dtype=np.int64)
        if cells is not None:
            places = {key: place for place, key in enumerate(key_list(cells.keys))}
            rows = np.fromiter((places.get(key, -1) for key in keys), dtype=np.int64, count=len(keys))
        return cls.at(cells, rows)

    @classmethod
    def at(cls, cells: Cells | None, rows: Integers) -> Picked:
        """The cells of series by their places, -1 for none."""
        nothing = np.zeros(len(rows), dtype=np.int64)
        if cells is None:
            return cls(None, rows, nothing, nothing, np.full(len(rows), NOTHING, dtype=np.int64), nothing)
        there = rows >= 0
        starts = np.cumsum(cells.counts) - cells.counts
        return cls(
            cells,
            rows,
            np.where(there, cells.counts[rows], 0),
            np.where(there, cells.first[rows], 0),
            np.where(there, cells.last[rows], NOTHING),
            starts,
        )

    def take(self, chunk: Integers) -> _Flat:
        """The cells of some of the series."""
        counts = self.counts[chunk]
        if self.cells is None or not counts.sum():
            return _Flat(np.zeros_like(counts), np.empty(0, dtype=np.int64), np.empty(0))
        rows = self.rows[chunk][counts > 0]
        some = counts[counts > 0]
        begins = self.starts[rows]
        places = np.repeat(begins - (np.cumsum(some) - some), some) + np.arange(int(some.sum()))
        ordinals = np.repeat(self.cells.first[rows], some) + self.cells.offsets[places]
        return _Flat(counts, ordinals, self.cells.values[places])


class SharedCells:
    """Cells of an attribute that apply to all series that share some parts of their key."""

    def __init__(self, column: RelatedColumn) -> None:
        self._parts = column.parts
        self._cells = column.cells(0, HASHES)
        self._places: dict[Key, int] = {}
        if self._cells is not None:
            self._places = {key: place for place, key in enumerate(key_list(self._cells.keys))}

    def pick(self, keys: Sequence[Key]) -> Picked:
        """The cells that apply to these series."""
        if not self._parts:  # the only series there is
            rows = np.zeros(len(keys), dtype=np.int64) if self._cells is not None else np.full(len(keys), -1)
            return Picked.at(self._cells, rows.astype(np.int64))
        found = (self._places.get(tuple(key[part] for part in self._parts), -1) for key in keys)
        return Picked.at(self._cells, np.fromiter(found, dtype=np.int64, count=len(keys)))
