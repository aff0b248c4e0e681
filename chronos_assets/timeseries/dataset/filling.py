"""Gap filling: the one home of the rule for values that nobody observed.

Used by the import (many series at once, `fill_many`) and again by a forecast at its as-of (`context_as_of`), because
cutting a series turns a gap in its middle into a gap at its end. Regular grids and aggregation belong to `gridding`.

The rule is Amazon Forecast's (developer guide, "Handling Missing Values"):

- *middlefill* is for gaps between two observations of a series, *backfill* for the gap after its last one.
- Nothing is filled before the first observation ("frontfill" is always `none` in the service), so a series without any
  observation stays as it is.
- `nan` (our default; Chronos reads it natively), `zero`, `value` with its number, or `mean`, `median`, `min`, `max` of
  the 64 most recent observations before the gap. Filled values are not observations: they never feed a later fill.

A statistic looks only backwards, so a later observation never changes an earlier fill.
"""

from __future__ import annotations

import numpy as np

from chronos_assets.params.attributes import Filling
from chronos_assets.timeseries.arrays import Booleans, Floats, Integers
from chronos_assets.timeseries.dataset.shards import Series

WINDOW = 64
METHODS = ("zero", "value", "nan", "median", "mean", "min", "max")


# Gaps whose windows are gathered at once: 8192 windows of 64 doubles are 4 MiB.
_GAPS_AT_ONCE = 8192


def fill(values: Floats, observed: Booleans, filling: Filling) -> Floats:
    """One series with its gaps filled: (n,) float64, a new array.

    `values` (n,) are in time order; where `observed` (n,) is false, or the value is NaN, there is a gap and the value
    is ignored. Gaps without an observation before them, and those filled by `nan`, are NaN in the answer.

    Raises:
        ValueError: for a method that does not exist, or `value` without its number.
    """
    return fill_many(values, observed, np.zeros(1, dtype=np.int64), filling)


def fill_many(values: Floats, observed: Booleans, starts: Integers, filling: Filling) -> Floats:
    """`fill` for k series that lie one after another: (n,) float64, a new array.

    `starts` (k,) are the ascending positions at which the series begin, the first being 0; no series is empty.
    """
    values = np.asarray(values, dtype=np.float64)
    present = np.asarray(observed, dtype=bool) & ~np.isnan(values)
    filled = np.where(present, values, np.nan)
    middle = _constant(filling.middlefill, filling.middlefill_value, "middlefill")
    back = _constant(filling.backfill, filling.backfill_value, "backfill")
    if present.all():
        return filled
    if not len(starts) or starts[0] != 0:
        raise ValueError("the first series must start at position 0")
    gaps = _Gaps(present, np.asarray(starts, dtype=np.int64))
    per_gap = np.full(len(gaps.first), np.nan)
    for method, constant, chosen in ((filling.middlefill, middle, ~gaps.last), (filling.backfill, back, gaps.last)):
        where = np.flatnonzero(chosen & (gaps.seen > 0))
        if constant is not None:
            per_gap[where] = constant
        elif method != "nan":
            per_gap[where] = _statistics(method, values[present], gaps.before[where], gaps.seen[where])
    filled[~present] = per_gap[gaps.number]
    return filled


def context_as_of(series: Series, cut: int, length: int, filling: Filling) -> Floats:
    """The last `length` values of the first `cut` periods of a series, filled from what was known then: a new array."""
    return filled_as_of(series.target[:cut], series.observed[:cut], length, filling)


def filled_as_of(values: Floats, observed: Booleans, length: int, filling: Filling) -> Floats:
    """The last `length` of (n,) values that end at an as-of, filled from what was known then: a new array.

    `observed` (n,) says which are no gaps.
    """
    start = max(0, len(values) - length)
    if observed[start:].all():
        return values[start:].copy()
    # A fill depends on the 64 observations before its gap, and on nothing earlier.
    before = np.flatnonzero(observed[:start])
    lowest = int(before[-WINDOW]) if len(before) >= WINDOW else 0
    return fill(values[lowest:], observed[lowest:], filling)[start - lowest :]


def _constant(method: str, value: float | None, name: str) -> float | None:
    """The number that a method fills with, None where it depends on the series."""
    if method not in METHODS:
        raise ValueError(f"{name} {method!r} is not a filling method; use one of {', '.join(METHODS)}")
    if method == "zero":
        return 0.0
    if method != "value":
        return None
    if value is None:
        raise ValueError(f"{name} is 'value', so {name}_value must say which")
    return float(value)


class _Gaps:
    """Every run of missing entries within one series.

    first (g,): position of the run; last (g,): whether it reaches the end of its series; before (g,): observations
    before it, over all series; seen (g,): how many of those are of its own series, at most WINDOW;
    number (missing,): the run of each missing entry.
    """

    def __init__(self, present: Booleans, starts: Integers) -> None:
        missing = ~present
        opens = missing.copy()
        opens[1:] &= present[:-1]
        opens[starts] = missing[starts]
        self.first = np.flatnonzero(opens)
        self.number = (np.cumsum(opens) - 1)[missing]
        count = np.concatenate(([0], np.cumsum(present)))
        ends = np.append(starts[1:], len(present))
        series = np.searchsorted(starts, self.first, side="right") - 1
        self.before = count[self.first]
        self.seen = np.minimum(self.before - count[starts[series]], WINDOW)
        # A gap reaches the end when no observation of its series follows.
        self.last = count[ends[series]] == self.before


def _statistics(method: str, observations: Floats, before: Integers, seen: Integers) -> Floats:
    """The statistic of the `seen` observations that end at `before`, for every gap: (g,) float64."""
    answer = np.empty(len(before))
    for low in range(0, len(before), _GAPS_AT_ONCE):
        chosen = slice(low, low + _GAPS_AT_ONCE)
        count = seen[chosen, None]
        steps = np.arange(WINDOW)[None, :]
        inside = steps < count
        window = observations[np.where(inside, before[chosen, None] - 1 - steps, 0)]
        answer[chosen] = _of_windows(method, window, inside, count[:, 0])
    return answer


def _of_windows(method: str, window: Floats, inside: Booleans, count: Integers) -> Floats:
    """One statistic of each row of `window` (g, 64), of the entries that are `inside`."""
    if method == "min":
        return np.asarray(np.min(window, axis=1, where=inside, initial=np.inf))
    if method == "max":
        return np.asarray(np.max(window, axis=1, where=inside, initial=-np.inf))
    if method == "mean":
        # Halves of halves: 64 values near the largest double would overflow as a plain sum.
        return np.asarray(np.sum(np.where(inside, window, 0.0) / WINDOW, axis=1) * (WINDOW / count))
    ordered = np.sort(np.where(inside, window, np.inf), axis=1)
    rows = np.arange(len(count))
    return 0.5 * ordered[rows, (count - 1) // 2] + 0.5 * ordered[rows, count // 2]
