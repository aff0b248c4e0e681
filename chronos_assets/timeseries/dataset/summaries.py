"""What an import knows of its cells as a whole: how many series and periods, and where they begin and end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chronos_assets.timeseries.dataset.gridding import NOTHING, Cells, grid_rows

NAMED = 5  # series that end early

Periods = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class PartitionSeries:
    """Series of one partition. cells: how many. firsts, lasts: (series,) periods, `NOTHING` for a last that is not.

    first, last: the earliest and the latest period with a series that has it. earliest: some of the series that end first,
    each with its last period.
    """

    cells: int
    firsts: Periods
    lasts: Periods
    first: tuple[int, str]
    last: tuple[int, str]
    earliest: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, cells: Cells) -> PartitionSeries:
        """Of a partition's cells."""
        lasts = cells.last
        # Of equals the first key and the last one, as among partitions: how many there are must not show.
        first, last = int(cells.first.argmin()), len(lasts) - 1 - int(lasts[::-1].argmax())
        ends = (int(cells.first[first]), _key(cells, first)), (int(lasts[last]), _key(cells, last))
        ended = np.argsort(lasts, kind="stable")[np.count_nonzero(lasts == NOTHING) :][:NAMED].tolist()
        earliest = tuple((int(lasts[place]), _key(cells, place)) for place in ended)
        return cls(len(cells.values), cells.first, lasts, *ends, earliest)


@dataclass(frozen=True)
class Summary:
    """The cells as a whole: how many series, cells, and rows on the grid; the first and last period and who has it.

    lasts: (series,) last observed period of each, in no order, `NOTHING` without any. earliest: those that end first.
    """

    series: int
    cells: int
    rows: int
    first: int
    first_key: str
    last: int
    last_key: str
    lasts: Periods = field(repr=False)
    earliest: tuple[tuple[int, str], ...] = ()

    @classmethod
    def of(cls, parts: Sequence[PartitionSeries]) -> Summary:
        """Of all partitions."""
        cells = sum(part.cells for part in parts)
        if not cells:
            return cls(0, 0, 0, 0, "", 0, "", np.empty(0, dtype=np.int64))
        first, first_key = min(part.first for part in parts)
        last, last_key = max(part.last for part in parts)
        firsts, lasts = (np.concatenate([getattr(part, name) for part in parts]) for name in ("firsts", "lasts"))
        rows = int(grid_rows(firsts, last).sum())
        earliest = tuple(sorted(pair for part in parts for pair in part.earliest)[:NAMED])
        return cls(len(firsts), cells, rows, min(first, last), first_key, last, last_key, lasts, earliest)


def long_horizon(summary: Summary, horizon: int) -> Iterator[str]:
    """What to tell the user where the horizon leaves too little of the data to score past windows with."""
    periods = summary.last - summary.first + 1
    if 2 * horizon <= periods:
        return
    scored = (
        "no past window can be scored"
        if horizon >= periods
        else f"past windows are scored with at most {periods - horizon} periods before them"
    )
    yield (
        f"ForecastHorizon {horizon} is long for the {periods} periods of these data: {scored}; {max(1, periods // 3)} would "
        "leave twice as many as it forecasts"
    )


def _key(cells: Cells, series: int) -> str:
    return ", ".join(column[series].as_py() for column in cells.keys.columns)
