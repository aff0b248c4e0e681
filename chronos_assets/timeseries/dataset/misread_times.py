"""Files whose timestamps read well by `TimestampFormat`, and mean something else.

Dates that have day and month the other way round are bad rows mostly: there is no 31st month. Those of the first twelve days
of months, and of rows once a month, read well. Hours from 1 to 12 without AM or PM make two rows of every time.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.calendar.timestamp_format import parse_pattern
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.casting import Reason
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.import_memory import FileFacts

_MONTHS, _HALF_DAY = 12, 12
_HOUR = 3600
# Rows of each series and timestamp, where nearly all are there twice; more series than these share hashes.
_NEARLY_TWO, _MOST_SERIES = 1.8, 5000
# Days of a month that are enough to expect one after the twelfth, and periods that are enough to tell full from not.
_SEVERAL = 8
_FULL, _HARDLY = 0.95, 0.5


def misread(facts: FileFacts, params: ForecastParams) -> FileProblem | None:
    """What is wrong with a CSV file whose timestamps mean something else than they were read for."""
    if facts.contents.format != "csv" or facts.instants is None or not len(facts.instants):
        return None
    moments = facts.instants.astype("datetime64[us]")
    return _exchanged(facts, moments, params) or _halved(facts, moments, params)


def _halved(facts: FileFacts, moments: NDArray[np.datetime64], params: ForecastParams) -> FileProblem | None:
    """Whether hours are those of half days, of which nothing says which it is."""
    letters = {token.letter for token in parse_pattern(params.timestamp_format)}
    dates = moments.astype("datetime64[D]")
    hours = np.unique((moments.astype("datetime64[h]") - dates).astype(np.int64))
    series = int(np.unpackbits(facts.hashes).sum())  # or fewer, of many
    rows = facts.contents.rows - facts.contents.rejected
    if (
        "a" in letters
        or params.data_frequency.approximate_seconds > _HOUR
        or hours.tolist() != list(range(1, _HALF_DAY + 1))
        or series > _MOST_SERIES
        or rows < _NEARLY_TWO * series * len(moments)
    ):
        return None
    reason = "its hours go from 1 to 12, each twice, as those of half days do, and nothing says which half"
    fix = (
        "write hours from 0 to 23, or AM and PM behind them (hh:mm a); if they are right, add up the rows of each hour"
    )
    return FileProblem(facts.key, reason, fix)


def _exchanged(facts: FileFacts, moments: NDArray[np.datetime64], params: ForecastParams) -> FileProblem | None:
    """Whether day and month seem to be exchanged in dates that were read by a format of numbers."""
    widths = {token.letter: len(token.text) for token in parse_pattern(params.timestamp_format)}
    order = "".join(letter for letter in widths if letter in "yMd")
    # Nobody writes the year first and means the day by what follows.
    if order not in {"dMy", "Mdy", "ydM"} or widths["M"] > 2:
        return None
    dates = moments.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    days = (dates - months).astype(np.int64) + 1
    if days.max() > _MONTHS:
        return None
    there, either = (_filled(each, params.data_frequency) for each in (moments, _turned(moments, months, days)))
    lost = facts.rejected.get(Reason.BAD_TIMESTAMP.label, 0)
    is_sparse = there < _HARDLY and either >= _FULL and len(dates) >= _SEVERAL
    # Of the days of a month 19 in 31 are lost.
    is_lost = 2 * lost >= facts.contents.rows and len(np.unique(days)) >= _SEVERAL and len(np.unique(months)) > 1
    if not is_sparse and not is_lost:
        return None
    parts = re.split(r"('[^']*')", params.timestamp_format)
    pattern = "".join(part if part.startswith("'") else part.translate(_OTHER) for part in parts)
    why = (
        f"{there:.0%} of its periods have a row, and {either:.0%} the other way round"
        if is_sparse
        else f"no day after the 12th can be read, and {lost:,} rows can't"
    )
    reason = f"day and month seem to be exchanged: as {params.timestamp_format} {why}"
    return FileProblem(
        facts.key, reason, f"set TimestampFormat to {pattern}, or, if the dates are right, write yyyy-MM-dd"
    )


_OTHER = str.maketrans("dM", "Md")


def _turned(moments: NDArray[np.datetime64], months: NDArray[np.datetime64], days: Integers) -> NDArray[np.datetime64]:
    """The same moments with day and month exchanged."""
    years = months.astype("datetime64[Y]")
    number = (months - years.astype("datetime64[M]")).astype(np.int64)
    turned: NDArray[np.datetime64] = (years.astype("datetime64[M]") + (days - 1)).astype("datetime64[D]") + number
    result: NDArray[np.datetime64] = turned + (moments - moments.astype("datetime64[D]"))
    return result


def _filled(moments: NDArray[np.datetime64], frequency: Frequency) -> float:
    """The share of the periods from the first to the last moment that have one."""
    ordinals = np.unique(Grid(frequency).ordinal(moments))
    return float(len(ordinals) / (ordinals[-1] - ordinals[0] + 1))
