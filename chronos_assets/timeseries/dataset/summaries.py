"""What an import knows of its cells as a whole: how many series and periods, and where they begin and end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chronos_assets.timeseries.dataset.gridding import NOTHING, CellCounts, Cells
from chronos_assets.timeseries.dataset.look_alikes import Folds, alike, folded_keys
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.dataset.shard_writing import grid_rows
from chronos_assets.timeseries.formulas import count_formulas

if TYPE_CHECKING:
    import pyarrow as pa

NAMED = 5  # series that end early

Periods = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class PartitionSeries:
    """Series of one partition. cells: how many. firsts, lasts: (series,) periods, `NOTHING` for a last that is not.

    first, last: the earliest and the latest period with a series that has it. earliest: some of the series that end first,
    each with its last period. hashes: (series,) of their keys. folds: (series,) see `look_alikes`. formulas: series with a
    name that a spreadsheet runs as one.
    """

    cells: int
    firsts: Periods
    lasts: Periods
    first: tuple[int, Key]
    last: tuple[int, Key]
    earliest: tuple[tuple[int, Key], ...]
    hashes: np.ndarray[Any, np.dtype[np.uint16]]
    folds: Folds
    formulas: int

    @classmethod
    def of(cls, cells: Cells) -> PartitionSeries:
        """Of a partition's cells."""
        return cls.of_series(cells.keys, cells.hash, cells.first, cells.last, len(cells.values))

    @classmethod
    def of_series(
        cls, keys: pa.Table, hashes: np.ndarray[Any, np.dtype[np.uint16]], firsts: Periods, lasts: Periods, cells: int
    ) -> PartitionSeries:
        """Of series, sorted by key."""

        def named(ordinals: Periods, place: int) -> tuple[int, Key]:
            return int(ordinals[place]), tuple(column[place].as_py() for column in keys.columns)

        # Of equals the first key and the last one, as among partitions: how many there are must not show.
        first, last = int(firsts.argmin()), len(lasts) - 1 - int(lasts[::-1].argmax())
        ended = np.argsort(lasts, kind="stable")[np.count_nonzero(lasts == NOTHING) :][:NAMED].tolist()
        earliest = tuple(named(lasts, place) for place in ended)
        ends, folds = (named(firsts, first), named(lasts, last)), folded_keys(keys)
        return cls(cells, firsts, lasts, *ends, earliest, hashes, folds, count_formulas(keys))


@dataclass(frozen=True)
class Summary:
    """The cells as a whole: how many series, cells, and rows on the grid; the first and last period and who has it.

    lasts: (series,) last observed period of each, in no order, `NOTHING` without any. earliest: those that end first.
    alike: what several series share whose names look alike, see `look_alikes`. formulas: see `PartitionSeries`.
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
    alike: Folds = field(default_factory=lambda: np.empty(0, np.uint64), repr=False)
    formulas: int = 0

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
        ended = sorted(pair for part in parts for pair in part.earliest)[:NAMED]
        earliest = tuple((ordinal, ", ".join(key)) for ordinal, key in ended)
        keys = ", ".join(first_key), ", ".join(last_key)
        shared, formulas = alike(part.folds for part in parts), sum(part.formulas for part in parts)
        ends = min(first, last), keys[0], last, keys[1]
        return cls(len(firsts), cells, rows, *ends, lasts, earliest, shared, formulas)


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


def account(read: int, counts: CellCounts, summary: Summary, rejected: int) -> Iterator[str]:
    """Where all rows went, if not every one is an observation of its own."""
    parts = (
        (counts.aggregated, "were combined with another of their period"),
        (sum(counts.duplicates.values()), "gave way to newer files"),
        (counts.missing, "have no value"),
        (counts.unfinished, "lie in a period that rows don't fill"),
        (counts.ahead, "lie far ahead of all others"),
        (rejected, "were set aside"),
    )
    if any(count for count, _ in parts):
        reported = [f"{count:,} {what}" for count, what in ((summary.cells, "are observations"), *parts) if count]
        yield f"of {read:,} rows read, {', '.join(reported)}"
