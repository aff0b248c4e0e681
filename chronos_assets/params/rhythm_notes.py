"""What was guessed of the periods of a sample's rows: where they start, which rows were moved, how many are empty."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Grid, Unit
from chronos_assets.calendar.rhythm import Rhythm, duration
from chronos_assets.calendar.timestamp_format import has_offset
from chronos_assets.params.columns import Times
from chronos_assets.params.forecast import ForecastParams

# Fewer periods with a row than this are reported.
_MOSTLY = 0.8


def rhythm_notes(params: ForecastParams, steps: Rhythm, times: Times) -> Iterator[str]:
    """A sentence for each guess."""
    if params.alignment != DEFAULT_ALIGNMENT:
        where = "Chronos.Anchor" if params.alignment.anchor is not None else "Predictor.TimeAlignmentBoundary"
        yield f"Periods start where the rows' timestamps lie, see {where}."
    if steps.apart is not None:
        first, last = (str(moment.astype("datetime64[s]")).removesuffix("T00:00:00") for moment in steps.apart)
        yield (
            f"Some series are stamped at the start of a period ({first}) and others at its end ({last}): each row counts for "
            "the period that it lies in, see Chronos.SnapSeconds."
        )
    elif params.snap_seconds is not None:
        yield (
            f"Timestamps stray from the starts of periods: rows up to {duration(steps.snap)} before one belong to the "
            f"period that it starts, see Chronos.SnapSeconds."
        )
    elif steps.finer is None:
        yield from _straying(params.grid, times)
    yield from _of_weeks(params, times)
    if params.time_zone is not None:
        yield f"Timestamps are read on the clock of {params.time_zone}, which fits their offsets, see Chronos.TimeZone."
    elif has_offset(params.timestamp_format):
        yield "Timestamps with an offset become times in UTC; set Chronos.TimeZone to have them on the clock of a place."
    if steps.observed < _MOSTLY:
        yield (
            f"{1 - steps.observed:.0%} of the periods between the first and the last row of a series have no row; they "
            f"count as missing, not as 0, see middlefill."
        )


def _of_weeks(params: ForecastParams, times: Times) -> Iterator[str]:
    """Whether months are those of a calendar of whole weeks, 4-4-5."""
    moments = np.unique(np.array([moment for moment in times.moments if moment is not None], dtype="datetime64[D]"))
    weeks, rest = np.divmod(np.diff(moments).astype(np.int64), 7)
    if params.frequency.unit is Unit.MONTH and np.mean(rest == 0) > _MOSTLY:
        low, high = int(weeks.min()), int(weeks.max())
        every = f"{low} or {high}" if high == low + 1 else f"{low} to {high}" if high > low else f"{low}"
        yield (
            f"Rows come every {every} weeks and are read as calendar months: a forecast is dated by the month, and nothing "
            "tells a period of more weeks from others; use weeks, if you have them."
        )


def _straying(grid: Grid, times: Times) -> Iterator[str]:
    """Which rows lie within a period instead of at its start; they count for that period."""
    moments = np.array([moment for moment in times.moments if moment is not None], dtype="datetime64[us]")
    odd = moments[grid.floor(moments) != moments]
    if len(odd):
        yield (
            f"{len(odd):,} of {len(moments):,} rows looked at do not lie where a period starts, such as that of "
            f"{str(odd[0].astype('datetime64[s]')).removesuffix('T00:00:00')}: each counts for the period that it lies in."
        )
