"""Periods that rows don't fill: the last ones, which are not over in the data, and the first ones, which began before them.

Here: telling such periods from whole ones. They are left out of the dataset, and so of contexts, actuals, the gate
and scores: two days of a week are not a week. Periods without any row are gaps, and not dealt with here.

Whether a period is whole is inferred from the others of its kind, since shops close at six and offices on Friday. Of each
period the *tail* is what lies between its last row and its end, the *head* what lies between its start and its first row:

- The dataset's last period is whole when its tail is no longer than nine in ten of the other periods have, over the rows
  of all series. With too few others the declared DataFrequency says how long a tail may be; without one the one or two others
  do, roughly.
- The last period of a series is whole by the same measure of its own, if its rows come regularly (four in five of its
  periods have the very same tail). Rows that come now and then say nothing: what is not there did not happen. Of a short
  series the step between rows decides: the declared one, or its own where rows come evenly across periods.

The same for first periods, by heads. A period in between is *thin* where it has at most half of the rows that its series has
in nearly every other: an outage in data that come by the hour. None of it applies where periods have one timestamp each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.calendar.rhythm import shown_moment
from chronos_assets.timeseries.arrays import Booleans, Integers
from chronos_assets.timeseries.dataset.series_keys import series_name

if TYPE_CHECKING:
    import pyarrow as pa


# Other periods that it takes to know what is usual.
_OTHERS = 3
# Of a series, the share of periods that are alike; of a dataset, the share whose head or tail is usual.
_ALIKE = 0.8
_USUAL = 0.9
# Periods are made up of finer rows when this share of them has several timestamps.
_SEVERAL = 0.1
_OF_A_SERIES = 0.5
# Of a series, what is known to be regular: periods, rows of each, and how far these may be from the usual number.
_LEAST_PERIODS = 5
_LEAST_ROWS = 4
_NEAR = 0.1
# Of a period, how much longer than that of the one or two others its head or tail may be.
_ROUGHLY = 0.2
# Between rows that come by the month; such steps are of 28 to 31 days.
_SHORTEST_MONTH, _MONTHS_DIFFER = 27 * 86_400_000_000, 4 * 86_400_000_000


@dataclass(frozen=True)
class Extents:
    """The rows of each period, over several series.

    ordinals: (p,) ascending. head, tail: (p,) microseconds from the period's start to its first row, and from its last row
    to its end. cells, rows: (p,) of series in the period, those left out not among them. spread: cells with several
    timestamps, and all cells. lag: microseconds from the start of a period to its row, exceeded by one in twenty of some part.
    late: (p,) microseconds from the period's start to the latest of its cells' first rows.
    """

    ordinals: Integers
    head: Integers
    tail: Integers
    cells: Integers
    rows: Integers
    spread: tuple[int, int]
    lag: int
    late: Integers

    @property
    def several(self) -> bool:
        """Whether periods are made up of finer rows."""
        return self.spread[0] > _SEVERAL * self.spread[1]

    @property
    def is_steady(self) -> bool:
        """Whether all rows of a period have the same timestamp."""
        return not self.spread[0] and bool((self.head == self.late).all())

    @property
    def usual_lag(self) -> int:
        """Microseconds from the start of a period to its row, exceeded by one in twenty."""
        if not self.is_steady or not len(self.head):
            return self.lag
        order = np.argsort(self.head, kind="stable")
        reached = np.cumsum(self.cells[order])
        place = min(int(0.95 * reached[-1]), max(int(reached[-1]) - 1, 0))
        return int(self.head[order][np.searchsorted(reached, place, side="right")]) if reached[-1] else 0

    def without(self, ordinals: Sequence[int]) -> Extents:
        """The other periods."""
        kept = ~np.isin(self.ordinals, ordinals)
        names = ("ordinals", "head", "tail", "cells", "rows", "late")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    @classmethod
    def joined(cls, parts: Sequence[Extents]) -> Extents:
        """Of the series of all parts."""
        if not parts:
            nothing = np.empty(0, dtype=np.int64)
            return cls(nothing, nothing, nothing, nothing, nothing, (0, 0), 0, nothing)
        ordinals, groups = np.unique(np.concatenate([part.ordinals for part in parts]), return_inverse=True)
        order = np.argsort(groups, kind="stable")
        starts = np.flatnonzero(np.diff(groups[order], prepend=-1))

        def reduced(name: str, how: np.ufunc) -> Integers:
            values = np.concatenate([getattr(part, name) for part in parts])
            return how.reduceat(values[order], starts) if len(starts) else values

        return cls(
            ordinals,
            reduced("head", np.minimum),
            reduced("tail", np.minimum),
            reduced("cells", np.add),
            reduced("rows", np.add),
            (sum(part.spread[0] for part in parts), sum(part.spread[1] for part in parts)),
            max(part.lag for part in parts),
            reduced("late", np.maximum),
        )


@dataclass(frozen=True)
class Ends:
    """The first and the last row of each period of each series, sorted by series and period.

    codes: (m,) of the series. ordinals: (m,). first, last: (m,) instants in microseconds. rows: (m,).
    """

    codes: Integers
    ordinals: Integers
    first: Integers
    last: Integers
    rows: Integers

    def gaps(self, grid: Grid) -> tuple[Integers, Integers]:
        """(m,) heads and (m,) tails."""
        ordinals, inverse = np.unique(self.ordinals, return_inverse=True)
        bounds = grid.start(np.append(ordinals, ordinals + 1)).astype(np.int64)
        starts, ends = bounds[: len(ordinals)][inverse], bounds[len(ordinals) :][inverse]
        return np.maximum(self.first - starts, 0), ends - self.last


def extents(ends: Ends, kept: Booleans, head: Integers, tail: Integers) -> Extents:
    """The periods of some series: of all rows, counting those cells that are kept (m,)."""
    order = np.argsort(ends.ordinals, kind="stable")
    ordinals = ends.ordinals[order]
    starts = np.flatnonzero(np.diff(ordinals, prepend=ordinals[:1] - 1)) if len(ordinals) else np.empty(0, np.int64)
    if not len(starts):
        return Extents.joined([])
    weight = kept.astype(np.int64)
    single = ends.first == ends.last
    lags = np.sort(head[single]) if single.any() else np.zeros(1, dtype=np.int64)
    return Extents(
        ordinals[starts],
        np.minimum.reduceat(head[order], starts),
        np.minimum.reduceat(tail[order], starts),
        np.add.reduceat(weight[order], starts),
        np.add.reduceat((ends.rows * weight)[order], starts),
        (int(np.count_nonzero(~single)), len(single)),
        int(lags[min(int(0.95 * len(lags)), len(lags) - 1)]),
        np.maximum.reduceat(head[order], starts),
    )


def whole_in_series(ends: Ends, head: Integers, tail: Integers, step: int | None) -> Booleans:
    """(m,) whether the period is whole, by what is usual in its own series.

    Args:
        ends: of the series, each with at least one period.
        head: (m,) from the start of a period to its first row, see `Ends.gaps`.
        tail: (m,) from its last row to its end.
        step: microseconds between rows, where DataFrequency says that they are finer than periods.
    """
    whole = np.ones(len(ends.codes), dtype=bool)
    opens = np.flatnonzero(np.diff(ends.codes, prepend=-1))
    closes = np.append(opens[1:], len(ends.codes)) - 1
    inner = np.ones(len(whole), dtype=bool)
    inner[opens] = inner[closes] = False
    if inner.any():
        number = np.repeat(np.arange(len(opens)), closes - opens + 1)
        others = np.bincount(number[inner], minlength=len(opens))
        several = np.bincount(number[inner & (ends.first != ends.last)], minlength=len(opens))
        reported = (others >= _OTHERS) & (several >= _OF_A_SERIES * others)
        for gap, place in ((tail, closes), (head, opens)):
            usual = np.full(len(opens), np.iinfo(np.int64).max)
            np.minimum.at(usual, number[inner], gap[inner])
            usual = np.where(reported, usual + _slack(usual), usual)
            near = inner & (gap <= usual[number]) & (gap >= usual[number] - _slack(usual[number]))
            alike = np.bincount(number[near], minlength=len(opens)) >= _ALIKE * others
            whole[place] &= ~(reported & alike & (gap[place] > usual))
    steps = _even_steps(ends, head, tail, opens, closes) if step is None else np.full(len(opens), step)
    return whole & _whole_by_step(ends, head, tail, steps, opens, closes)


def _even_steps(ends: Ends, head: Integers, tail: Integers, opens: Integers, closes: Integers) -> Integers:
    """(k,) microseconds between the rows of each series, at most; 0 where they don't come evenly, or for too short a time."""
    lengths = closes - opens + 1
    number = np.repeat(np.arange(len(opens)), lengths)
    rows = np.add.reduceat(ends.rows, opens)
    span = ends.last[closes] - ends.first[opens]
    steps = span // np.maximum(rows - 1, 1)
    slack = _slack(steps)
    off = np.abs(ends.last - ends.first - (ends.rows - 1) * steps[number])
    even = np.logical_and.reduceat(off <= slack[number] + ends.rows, opens)
    several = np.add.reduceat(ends.first != ends.last, opens, dtype=np.int64)
    period = (head + ends.last - ends.first + tail)[opens]
    known = even & (several >= _OF_A_SERIES * lengths) & (lengths > 1) & (rows >= _LEAST_ROWS) & (2 * span >= period)
    return np.where(known, steps + slack, 0)


def _whole_by_step(
    ends: Ends, head: Integers, tail: Integers, steps: Integers, opens: Integers, closes: Integers
) -> Booleans:
    """For series too short to know what is usual: by the step (k,) of each, if rows follow it without a gap; 0 is none."""
    whole = np.ones(len(ends.codes), dtype=bool)
    lengths = closes - opens + 1
    rows = np.add.reduceat(ends.rows, opens)
    slack = _slack(steps)
    short = (rows - 1) * steps - (ends.last[closes] - ends.first[opens])
    most = (rows - 1) * np.maximum(slack, 1)  # a step that was measured is a whole number
    dense = (steps > 0) & (np.abs(short) <= most) & (short >= -rows) & (rows > 1) & (lengths < _OTHERS + 2)
    whole[closes] &= ~(dense & (tail[closes] > steps))
    whole[opens] &= ~(dense & (head[opens] >= steps - slack))
    return whole


def _slack(gaps: Integers) -> Integers:
    """How much gaps may differ that are alike: of months they do."""
    return np.where((gaps >= _SHORTEST_MONTH) & (gaps < np.iinfo(np.int64).max), _MONTHS_DIFFER, 0)


@dataclass(frozen=True)
class Thin:
    """Periods within series that lack rows. count: of them; of the first, its series, ordinal, rows and the usual number."""

    count: int = 0
    key: tuple[str, ...] = ()
    ordinal: int = 0
    rows: int = 0
    usual: int = 0

    @classmethod
    def of(cls, ends: Ends, lacking: Integers, keys: pa.Table) -> Thin:
        """Those where `lacking` (m,) has a number; `keys` (k) of the series."""
        if not lacking.any():
            return cls()
        place = int(np.argmax(lacking > 0))
        key = tuple(str(column[int(ends.codes[place])]) for column in keys.columns)
        numbers = (int(values[place]) for values in (ends.ordinals, ends.rows, lacking))
        return cls(int(np.count_nonzero(lacking)), key, *numbers)

    def __add__(self, other: Thin) -> Thin:
        if not self.count or not other.count:
            return self if self.count else other
        # However series are dealt out over parts, it is the same one.
        example = min(self, other, key=lambda thin: (thin.key, thin.ordinal))
        return replace(example, count=self.count + other.count)

    def notes(self, grid: Grid) -> Iterator[str]:
        """What to tell the user."""
        if self.count:
            start, series = shown_moment(grid.instant(self.ordinal)), series_name(self.key)
            yield (
                f"periods within series that lack rows, left out: {self.count:,}, such as {start} of {series} with "
                f"{self.rows} rows for the usual {self.usual}: deliver the rest, or rows of 0 where nothing happened"
            )


def thin_in_series(ends: Ends) -> Integers:
    """(m,) the rows that its series usually has in a period, for thin ones; 0 for all others."""
    opens = np.flatnonzero(np.diff(ends.codes, prepend=-1))
    closes = np.append(opens[1:], len(ends.codes)) - 1
    lengths = closes - opens + 1
    usual = ends.rows[np.lexsort((ends.rows, ends.codes))][opens + lengths // 2]
    number = np.repeat(np.arange(len(opens)), lengths)
    near = np.abs(ends.rows - usual[number]) <= _NEAR * usual[number]
    regular = np.bincount(number[near], minlength=len(opens)) >= _ALIKE * lengths
    regular &= (lengths >= _LEAST_PERIODS) & (usual >= _LEAST_ROWS)
    thin = regular[number] & (2 * ends.rows <= usual[number])
    thin[opens] = thin[closes] = False
    return np.where(thin, usual[number], 0)


def unfinished(periods: Extents, grid: Grid, step: int | None) -> tuple[int, ...]:
    """Ordinals of the dataset's first and last period where rows don't fill them.

    Args:
        periods: of all series.
        grid: that they lie on.
        step: microseconds between rows, where DataFrequency says that they are finer than periods.
    """
    if not len(periods.ordinals) or not (periods.several or step is not None):
        return ()
    inner = slice(1, -1)
    found = []
    for gap, place in ((periods.head, 0), (periods.tail, -1)):
        others = gap[inner]
        if len(others) >= _OTHERS:
            limit = int(np.sort(others)[min(int(_USUAL * len(others)), len(others) - 1)])
        elif step is not None:
            limit = step if place else step - int(_slack(np.array(step))) - 1
        elif len(others):
            start, end = grid.start(periods.ordinals[place] + np.arange(2)).astype(np.int64)
            alike = len(others) > 1 and others.min() == others.max()
            limit = int(others.max() + (0 if alike else _ROUGHLY * (end - start)))
        else:
            continue
        if gap[place] > limit:
            found.append(int(periods.ordinals[place]))
    return tuple(dict.fromkeys(found))
