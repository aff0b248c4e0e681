"""Files whose dates have day and month the other way round than `TimestampFormat` says.

Most of such dates are bad rows: there is no 31st month. Those of the first twelve days of months, and of rows once a month,
read well and mean another day.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.calendar.timestamp_format import parse_pattern
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.casting import Reason
from chronos_assets.timeseries.dataset.csv_records import FileProblem

if TYPE_CHECKING:
    from chronos_assets.params.forecast import ForecastParams
    from chronos_assets.timeseries.dataset.import_memory import FileFacts

_MONTHS = 12
# Days of a month that are enough to expect one after the twelfth, and periods that are enough to tell full from not.
_SEVERAL = 8
_FULL, _HARDLY = 0.95, 0.5


def exchanged(facts: FileFacts, params: ForecastParams) -> FileProblem | None:
    """What is wrong with a CSV file that was read by a format of numbers, if day and month seem to be exchanged in it."""
    widths = {token.letter: len(token.text) for token in parse_pattern(params.timestamp_format)}
    order = "".join(letter for letter in widths if letter in "yMd")
    # Nobody writes the year first and means the day by what follows.
    if (
        order not in {"dMy", "Mdy", "ydM"}
        or widths["M"] > 2
        or facts.contents.format != "csv"
        or facts.instants is None
        or not len(facts.instants)
    ):
        return None
    moments = facts.instants.astype("datetime64[us]")
    dates = moments.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    days = (dates - months).astype(np.int64) + 1
    if days.max() > _MONTHS:
        return None
    there, either = (_filled(each, params.data_frequency) for each in (moments, _turned(moments, months, days)))
    lost = facts.rejected.get(Reason.BAD_TIMESTAMP.label, 0)
    is_sparse = there < _HARDLY and either >= _FULL and len(dates) >= _SEVERAL
    if not is_sparse and not (lost and len(np.unique(days)) >= _SEVERAL and len(np.unique(months)) > 1):
        return None
    parts = re.split(r"('[^']*')", params.timestamp_format)
    pattern = "".join(part if part.startswith("'") else part.translate(_OTHER) for part in parts)
    why = (
        f"{there:.0%} of its periods have a row, and {either:.0%} the other way round"
        if is_sparse
        else f"no day after the 12th can be read, and {lost:,} rows can't"
    )
    reason = f"day and month seem to be exchanged: as {params.timestamp_format} {why}"
    return FileProblem(facts.key, reason, f"set TimestampFormat to {pattern}")


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
