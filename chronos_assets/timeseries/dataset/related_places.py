"""Where rows of related time series lie within the periods of the dataset, and whether that is where the target's do.

Rows of the target that are dated by Sundays, by the last days of months or at six o'clock say where periods start. A row of
Monday, of the first of a month or of midnight would then count for the period before the one that it belongs to. One that lies
later in the same calendar week, month or day (noon of a day that begins at six) counts for the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chronos_assets.calendar.frequencies import Frequency, Grid, Unit
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.unfinished import Ends

_NEARLY_ALL = 0.9
_LEAST = 8  # periods, to tell a habit from an event
# How far rows of one place in all periods are apart, as a share of a period: months differ.
_ONE_PLACE = 0.13
# From this day of a month on a date is the end of what it stands for.
_MONTH_END = 28
_NOWHERE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Places:
    """Of periods of series: how many there are, those of a single instant, and those with rows of a later week, month or day.

    low, high: microseconds from the start to the first row, of nearly all of the last. example: the first of these rows, and
    the start of its period, in microseconds.
    """

    cells: int = 0
    alone: int = 0
    within: int = 0
    low: int = _NOWHERE
    high: int = 0
    example: tuple[int, int] = (_NOWHERE, 0)

    @classmethod
    def of(cls, ends: Ends, grid: Grid) -> Places:
        """Of the first and last rows of each period."""
        head = ends.gaps(grid)[0]
        alone = ends.first == ends.last
        starts = grid.start(ends.ordinals).astype("datetime64[us]")
        calendar = Grid(Frequency(1, grid.frequency.unit))
        later = calendar.ordinal(ends.last.astype("datetime64[us]")) > calendar.ordinal(starts)
        late = later & (~alone | (head > 0))
        if not late.any():
            return cls(len(head), int(np.count_nonzero(alone)))
        low, high = np.quantile(head[late], (0.05, 0.95), method="nearest")
        first = int(np.argmin(np.where(late, ends.last, _NOWHERE)))
        row, start = ends.last[first], starts[first].astype(np.int64)
        counts = (len(head), int(np.count_nonzero(alone)), int(np.count_nonzero(late)))
        return cls(*counts, int(low), int(high), (int(row), int(start)))

    def __add__(self, other: Places) -> Places:
        return Places(
            self.cells + other.cells,
            self.alone + other.alone,
            self.within + other.within,
            min(self.low, other.low),
            max(self.high, other.high),
            min(self.example, other.example),
        )

    def problem(self, grid: Grid, name: str) -> FileProblem | None:
        """What is wrong with an attribute's rows, where those of the target alone say that periods start elsewhere."""
        ends_months = (
            grid.frequency.unit in (Unit.MONTH, Unit.YEAR) and (grid.alignment.day_of_month or 1) >= _MONTH_END
        )
        width = _ONE_PLACE * grid.frequency.approximate_seconds * 1_000_000
        most = _NEARLY_ALL * self.cells
        at_one_place = (
            self.cells >= _LEAST
            and 0 < most <= min(self.alone, self.within)
            and self.low > 0
            and self.high - self.low <= width
        )
        if not at_one_place and not (ends_months and 2 * self.within > self.cells):
            return None
        row, start = (str(np.datetime64(each, "us").astype("datetime64[m]")) for each in self.example)
        reason = (
            f"rows of {name} lie elsewhere in a period than those of train/: {row} would count for the one of {start}"
        )
        fix = "date both alike, or say where periods start by Chronos.Anchor or Predictor.TimeAlignmentBoundary"
        return FileProblem("related/", reason, fix)
