"""How many periods are forecast where nobody said."""

from __future__ import annotations

import math

from chronos_assets.calendar.frequencies import Frequency, Unit

DEFAULT_HORIZON = {Unit.MINUTE: 60, Unit.HOUR: 48, Unit.DAY: 14, Unit.WEEK: 13, Unit.MONTH: 18, Unit.YEAR: 6}


def default_horizon(frequency: Frequency, periods: int | None = None) -> int:
    """Periods to forecast when nobody said: `DEFAULT_HORIZON` divided by the multiple, at least 4.

    Minutes cover a day, but at most 60 periods. Where the longest series, of `periods`, is shorter than two horizons, a
    third of it is forecast, so that a past window with twice as much history is left to score.
    """
    if frequency.unit is Unit.MINUTE:
        horizon = min(DEFAULT_HORIZON[Unit.MINUTE], 1440 // frequency.n)
    else:
        horizon = max(4, math.ceil(DEFAULT_HORIZON[frequency.unit] / frequency.n))
    return horizon if periods is None or 2 * horizon <= periods else max(1, periods // 3)
