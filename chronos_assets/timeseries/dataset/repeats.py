"""Rows that have their series and their timestamp in common with others: none of them is finer than the other.

Here: how many there are, and whether they agree. What becomes of them belongs to `gridding`, what is said of them to
`related_notes`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from chronos_assets.timeseries.arrays import Floats, Integers

MOST_INSTANTS = 100  # that are kept


@dataclass(frozen=True)
class Example:
    """The first of the timestamps whose rows differ: of which series, microseconds, the smallest and the largest value."""

    key: tuple[str, ...]
    instant: int
    low: float
    high: float


@dataclass(frozen=True)
class Repeats:
    """Rows with a timestamp that another row of their series has.

    Attributes:
        rows: beyond the first one of each timestamp.
        differing: timestamps of series at which they have different values.
        instants: the first of these timestamps, in microseconds, ascending.
        example: the first one; None without any.
    """

    rows: int = 0
    differing: int = 0
    instants: tuple[int, ...] = ()
    example: Example | None = None

    @classmethod
    def of(cls, keys: pa.Table, codes: Integers, instants: Integers, values: Floats) -> Repeats:
        """Of observed rows (n,), sorted by the code of their series in `keys` and by instant, in microseconds."""
        changes = (np.diff(codes) != 0) | (np.diff(instants) != 0)
        if changes.all():
            return cls()
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        odd = np.flatnonzero(low < high)
        rows = len(values) - len(starts)
        if not len(odd):
            return cls(rows)
        at = instants[starts[odd]]
        first = int(odd[np.lexsort((codes[starts[odd]], at))[0]])
        key = tuple(str(column[int(codes[starts[first]])].as_py()) for column in keys.columns)
        example = Example(key, int(instants[starts[first]]), float(low[first]), float(high[first]))
        return cls(rows, len(odd), tuple(np.unique(at)[:MOST_INSTANTS].tolist()), example)

    def renumbered(self, numbers: Integers) -> Repeats:
        """With other numbers, (n,) of all that there are, for the values of the example."""
        if self.example is None:
            return self
        low, high = (float(numbers[int(value)]) for value in (self.example.low, self.example.high))
        return replace(self, example=replace(self.example, low=low, high=high))

    def __add__(self, other: Repeats) -> Repeats:
        examples = [each for each in (self.example, other.example) if each is not None]
        return Repeats(
            self.rows + other.rows,
            self.differing + other.differing,
            tuple(sorted({*self.instants, *other.instants})[:MOST_INSTANTS]),
            min(examples, key=lambda each: (each.instant, each.key), default=None),
        )
