"""Rows far ahead of all others: one slip of the keyboard (2042 for 2024) that would move the end of the whole dataset.

Here: telling such rows from data. Every series is kept up to the dataset's last period, so a single row years ahead
would leave nothing to forecast from. What is left out is reported, with its number and series.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.dataset.unfinished import Extents

# Periods that it takes to know how far data reach.
_LEAST_PERIODS = 20
# The share of the rows that may stray; of those that stay where they are; rows that may always.
_FEW_ROWS = 0.01
_SOME_ROWS = 0.1
_ALWAYS = 1
# How much longer the leap is than any other gap.
_LONGER = 5


def far_ahead(periods: Extents) -> list[int]:
    """Ordinals of periods at the end that no data lead to, ascending.

    A leap divides them from the rest: longer than the rest altogether, and many times any gap within it. Behind it lie
    hardly any rows, so that a shop that opens again after years is not taken for a slip for long.
    """
    place = _leap(periods.ordinals, periods.rows, _FEW_ROWS)
    return [] if place is None else periods.ordinals[place:].tolist()


def far_before(periods: Extents) -> int | None:
    """The first period that is not far before all others, if some are: 1970 or 1900, which stand for a missing date."""
    place = _leap(-periods.ordinals[::-1], periods.rows[::-1], _SOME_ROWS)
    return None if place is None else int(periods.ordinals[len(periods.ordinals) - place])


def _leap(ordinals: NDArray[np.int64], rows: NDArray[np.int64], share: float) -> int | None:
    """The place behind the leap that divides strays from the rest; None without one."""
    if len(ordinals) <= _LEAST_PERIODS:
        return None
    gaps = np.diff(ordinals)
    behind = np.cumsum(rows[::-1])[::-1]
    few = max(_ALWAYS, int(share * behind[0]))
    for place in range(_LEAST_PERIODS, len(ordinals)):
        leap = int(gaps[place - 1])
        span = int(ordinals[place - 1] - ordinals[0]) + 1
        if behind[place] <= few and leap > span and leap > _LONGER * int(gaps[: place - 1].max()):
            return place
    return None
