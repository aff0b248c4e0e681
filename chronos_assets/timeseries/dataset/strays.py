"""Rows far ahead of all others: one slip of the keyboard (2042 for 2024) that would move the end of the whole dataset.

Here: telling such rows from data. Every series is kept up to the dataset's last period, so a single row years ahead
would leave nothing to forecast from. What is left out is reported, with its number and series.
"""

from __future__ import annotations

import numpy as np

from chronos_assets.timeseries.dataset.unfinished import Extents

# Periods that it takes to know how far data reach.
_LEAST_PERIODS = 20
# The share of the rows that may stray, and rows that may always.
_FEW_ROWS = 0.01
_ALWAYS = 1
# How much longer the leap is than any other gap.
_LONGER = 5


def far_ahead(periods: Extents) -> list[int]:
    """Ordinals of periods at the end that no data lead to, ascending.

    A leap divides them from the rest: longer than the rest altogether, and many times any gap within it. Behind it lie
    hardly any rows, so that a shop that opens again after years is not taken for a slip for long.
    """
    ordinals = periods.ordinals
    if len(ordinals) <= _LEAST_PERIODS:
        return []
    gaps = np.diff(ordinals)
    behind = np.cumsum(periods.rows[::-1])[::-1]
    few = max(_ALWAYS, int(_FEW_ROWS * behind[0]))
    for place in range(_LEAST_PERIODS, len(ordinals)):
        leap = int(gaps[place - 1])
        span = int(ordinals[place - 1] - ordinals[0]) + 1
        if behind[place] <= few and leap > span and leap > _LONGER * int(gaps[: place - 1].max()):
            return [int(ordinal) for ordinal in ordinals[place:]]
    return []
