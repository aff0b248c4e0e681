"""Wide files whose columns are times: the hours of a date, the months of a year, or dates in the header.

Here: noticing them, and which timestamp each of their columns stands for. An import reads no such file; `melt` writes it as
rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chronos_assets.params.columns import Column
from chronos_assets.params.spread_timestamps import is_date, is_year
from chronos_assets.params.timestamp_columns import is_dated, reads_as_time

_HOUR = re.compile(r"(?:h|hr|hour|he|stunde|uhr)?[ _]?(\d{1,2})(?::00(?::00)?)?[ _]?(?:h|uhr)?", re.IGNORECASE)
_MONTH = re.compile(r"m(?:onth)?[ _]?(\d{1,2})", re.IGNORECASE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL_MONTHS: tuple[str, ...] = ("january", "february", "march", "april", "june", "july", "august", "september", "sept")
_FULL_MONTHS += ("october", "november", "december")
_MIDNIGHT = re.compile(r"\d[ T]00:00(:00)?$")
_YEAR = re.compile(r"(19|20)\d\d")
_LEAST = 3  # dates in a header, from which on they are no names


@dataclass(frozen=True)
class WideTimes:
    """Columns that hold the values of one time each.

    Attributes:
        what: they are, for people.
        columns: in the order of the file.
        times: of each, what completes the text of `base` to a timestamp; all of it without a base.
        base: the column with the date or the year.
    """

    what: str
    columns: tuple[Column, ...]
    times: tuple[str, ...]
    base: Column | None = None

    def __str__(self) -> str:
        first, second, *_, last = (column.header for column in self.columns)
        return f"{first}, {second}, … {last} are {self.what}, one column for each"


def wide_times(columns: Sequence[Column]) -> WideTimes | None:
    """The columns of a file that are times; None in a file that has its timestamps in a column."""
    present = [column for column in columns if column.present]
    days = [column for column in present if is_date(column) or all(map(_MIDNIGHT.search, column.present))]
    years = [column for column in present if is_year(column)]
    if len(days) == 1:
        # The first of 24 hours is that from midnight to one, whether it is called 0 or 1.
        hours = {c.index: hour for c in present if (hour := _hour(c.header)) is not None}
        first = min(hours.values(), default=0)
        times = {index: f" {hour - first:02d}:00:00" for index, hour in hours.items()}
        return _parts(present, days[0], "the hours of a date", times, 24) if first in (0, 1) else None
    if len(years) == 1:
        times = {c.index: f"-{month:02d}-01" for c in present if (month := _month(c.header)) is not None}
        return _parts(present, years[0], "the months of a year", times, 12)
    if any(is_dated(column) for column in present):
        return None
    dates = [column for column in present if reads_as_time(column.header) and _holds_values(column)]
    if len(dates) >= _LEAST:
        return WideTimes("dates", tuple(dates), tuple(column.header for column in dates))
    dated = [column for column in present if _YEAR.fullmatch(column.header) and _holds_values(column)]
    numbers = [int(column.header) for column in dated]
    if len(dated) >= _LEAST and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return WideTimes("years", tuple(dated), tuple(f"{number}-01-01" for number in numbers))
    return None


def below_first_row(columns: Sequence[Column]) -> list[Column]:
    """Columns of a file without a header as they would be if its first row was one: dates and years look like values."""
    return [replace(column, header=column.texts[0], texts=column.texts[1:]) for column in columns]


def _parts(
    columns: Sequence[Column], base: Column, what: str, times: Mapping[int, str], count: int
) -> WideTimes | None:
    """The columns of a date's or a year's parts, by their places; None unless each part has one that holds values."""
    found = [column for column in columns if column.index in times and _holds_values(column)]
    each = tuple(times[column.index] for column in found)
    return WideTimes(what, tuple(found), each, base) if len(each) == len(set(each)) == count else None


def _holds_values(column: Column) -> bool:
    return column.is_numeric or column.has_commas


def _hour(header: str) -> int | None:
    match = _HOUR.fullmatch(header.strip())
    return int(match[1]) if match else None


def _month(header: str) -> int | None:
    name = header.strip().casefold().removesuffix(".")
    if name in _MONTHS or name in _FULL_MONTHS:
        return _MONTHS.index(name[:3]) + 1
    match = _MONTH.fullmatch(name)
    return int(match[1]) if match else None
