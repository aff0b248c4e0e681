"""Cells that know of their rows: what tells whether finer rows fill a period, kept from one import to the next.

Here: such cells, those of some periods in place of others, and their form in the notes of an import. Which periods are whole
belongs to `unfinished` and `gridding`, cells as the dataset has them to `cells` and `cell_merging`.

Whether a period of a series is whole depends on its other periods, so that one more day can change what became of an earlier
one. So the cells here are all that were observed, those that were left out, too.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.cell_merging import (
    Columns,
    UnknownRowsError,
    columns_of,
    merged_columns,
    series_of_both,
)
from chronos_assets.timeseries.dataset.cells import take_series
from chronos_assets.timeseries.dataset.gridding import Cells, Condensed, LeftOut
from chronos_assets.timeseries.dataset.unfinished import Ends

_NEVER = np.iinfo(np.int64).max
_OF_ROWS = ("rows", "lead", "trail")


@dataclass(frozen=True)
class RowCells(Cells):
    """k series with all of their m observed periods; `first` (k,) is the ordinal of a series' first row, observed or not.

    rows: (m,) in the period. lead, trail: (m,) microseconds from the period's start to its first and to its last row.
    """

    rows: Integers
    lead: Integers
    trail: Integers

    @classmethod
    def of(cls, condensed: Condensed, grid: Grid) -> RowCells:
        """Of rows by series and period."""
        ends = condensed.ends
        starts = _starts(ends.ordinals, grid)
        counts = np.bincount(ends.codes, minlength=len(condensed.first))
        offsets = (ends.ordinals - condensed.first[ends.codes]).astype(np.int32)
        own = (ends.rows, ends.first - starts, ends.last - starts)
        return cls(condensed.keys, condensed.hash, condensed.first, counts, offsets, condensed.values, *own)

    def condensed(self, grid: Grid) -> Condensed:
        """What `of` was given, but for rows that observe nothing."""
        series, ordinals, *_ = columns_of(self, np.arange(len(self.first)))
        starts = _starts(ordinals, grid)
        ends = Ends(series, ordinals, starts + self.lead, starts + self.trail, self.rows)
        return Condensed(self.keys, self.hash, self.first, ends, self.values, LeftOut(), 0)


def _starts(ordinals: Integers, grid: Grid) -> Integers:
    """(m,) microseconds at which periods start."""
    distinct, inverse = np.unique(ordinals, return_inverse=True)
    return grid.start(distinct).astype(np.int64)[inverse] if len(distinct) else ordinals


def with_rows_of(old: RowCells | None, new: RowCells | None, replaced: Integers, *, may_miss: bool) -> RowCells | None:
    """The cells of `old` with those of `new` in place of the periods `replaced`; None when no series is left.

    Args:
        old: series with the same hashes, sorted by key.
        new: theirs of all rows that there are now in the periods replaced, and no other.
        replaced: (p,) ordinals, ascending.
        may_miss: whether there are rows without a value in other periods.

    Raises:
        UnknownRowsError: where a series begins depends on such rows.
    """
    if old is None and new is None:
        return None
    keys, hashes, mine, theirs = series_of_both(old, new)
    merged: Columns = ()
    first = np.full(len(hashes), _NEVER)
    if new is not None:
        first[theirs] = new.first
        merged = columns_of(new, theirs, names=_OF_ROWS)
    if old is not None:
        kept = columns_of(old, mine, replaced, _OF_ROWS)
        merged = merged_columns(kept, merged) if merged else kept
        stays = ~np.isin(old.first, replaced)
        first[mine[stays]] = np.minimum(first[mine[stays]], old.first[stays])
        if may_miss and (first[mine[~stays]] > old.first[~stays]).any():
            raise UnknownRowsError("a series may begin with rows that have no value")
    series, ordinals, values, *own = merged
    np.minimum.at(first, series, ordinals)
    counts = np.bincount(series, minlength=len(hashes))
    offsets = (ordinals - first[series]).astype(np.int32)
    together = RowCells(keys, hashes, first, counts, offsets, values, *own)
    left = np.flatnonzero(first != _NEVER)
    return take_series(together, left) if len(left) else None


# --- notes ------------------------------------------------------------------------------------------------------------


def noted(found: RowCells, cells: Cells) -> bytes:
    """What cells know beyond those of them that a dataset has, with the same series; see `recalled`."""
    series, ordinals, values, *own = columns_of(found, np.arange(len(found.first)), names=_OF_ROWS)
    there = columns_of(cells, np.arange(len(cells.first)))
    out = ~_among(series, ordinals, there[0], there[1])
    arrays: dict[str, NDArray[Any]] = {"out": values[out]}
    numbers = {
        **dict(zip(_OF_ROWS, own, strict=True)),
        "counts": found.counts,
        "first": found.first,
        "out_series": series[out],
        "out_ordinals": ordinals[out],
    }
    for name, column in numbers.items():
        arrays[name], arrays[f"{name}_scale"] = _packed(column)
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def recalled(cells: Cells, note: bytes) -> RowCells:
    """The cells that `noted` was given, from those of the dataset.

    Raises:
        ValueError: they don't fit.
    """
    with np.load(io.BytesIO(note), allow_pickle=False) as found:
        names = (*_OF_ROWS, "counts", "first", "out_series", "out_ordinals")
        numbers = {name: _unpacked(found[name], found[f"{name}_scale"]) for name in names}
        out = (numbers["out_series"], numbers["out_ordinals"], found["out"])
    there = columns_of(cells, np.arange(len(cells.first)))
    series, ordinals, values = merged_columns(there, out)
    counts, first = numbers["counts"], numbers["first"]
    if not np.array_equal(np.bincount(series, minlength=len(counts)), counts) or len(counts) != len(cells.first):
        raise ValueError("what was noted of rows is not of these series")
    own = [numbers[name] for name in _OF_ROWS]
    if {len(values)} != {len(column) for column in own}:
        raise ValueError("what was noted of rows is not of these periods")
    offsets = (ordinals - first[series]).astype(np.int32)
    return RowCells(cells.keys, cells.hash, first, counts, offsets, values, *own)


def _among(series: Integers, ordinals: Integers, others: Integers, their_ordinals: Integers) -> NDArray[np.bool_]:
    """(m,) whether a pair is among others; both are sorted."""
    if not len(others):
        return np.zeros(len(series), dtype=bool)
    lowest = min(int(ordinals.min()), int(their_ordinals.min()))
    span = max(int(ordinals.max()), int(their_ordinals.max())) - lowest + 1
    wanted, there = series * span + (ordinals - lowest), others * span + (their_ordinals - lowest)
    place = np.minimum(np.searchsorted(there, wanted), len(there) - 1)
    among: NDArray[np.bool_] = there[place] == wanted
    return among


def _packed(numbers: Integers) -> tuple[NDArray[Any], Integers]:
    """Numbers in as few bytes as they take, and their lowest one and unit."""
    if not len(numbers):
        return numbers, np.array([0, 1])
    lowest = int(numbers.min())
    unit = int(np.gcd.reduce(numbers - lowest)) or 1
    packed = (numbers - lowest) // unit
    return packed.astype(np.min_scalar_type(int(packed.max()))), np.array([lowest, unit])


def _unpacked(packed: NDArray[Any], scale: Integers) -> Integers:
    numbers: Integers = packed.astype(np.int64) * scale[1] + scale[0]
    return numbers
