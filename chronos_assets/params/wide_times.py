"""Wide files whose columns are times: the hours of a date, the months of a year, or dates in the header.

Here: noticing them, and which timestamp each of their columns stands for, or why nobody can tell. An import reads no such
file; `melt` writes it as rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from chronos_assets.calendar.month_names import NUMBER_OF_MONTH
from chronos_assets.params.columns import TARGET_NAMES, Column, best_known, has_word
from chronos_assets.params.spread_timestamps import (
    FISCAL,
    QUARTER,
    Spread,
    is_date,
    is_year,
    spread_timestamp,
)
from chronos_assets.params.time_parts import PERIODS, SHORT_WEEKDAYS, WEEKDAYS
from chronos_assets.params.timestamp_columns import is_dated, reads_as_time

# A time of day, or from when to when; an hour by its number. What an hour is called that comes twice in a day.
_UNTIL = r"(?:[ _]?(?:-|\u2013|to|bis)[ _]?\d{1,2}(?::\d\d(?::00)?)?[ _]?(?:h|uhr|[ap]\.?m\.?)?)?"
_CLOCK = re.compile(
    rf"(\d{{1,2}})(?::([0-5]\d)(?::00)?)?[ _]?([ap])\.?m\.?{_UNTIL}|(\d{{1,2}}):([0-5]\d)(?::00)?{_UNTIL}", re.I
)
_HOUR = re.compile(
    rf"(?:h|hr|hour|hours|he|hb|stunde|uhr|hora|heure)?[ _]?(\d{{1,2}})(?::00(?::00)?)?[ _]?(?:h|uhr)?{_UNTIL}", re.I
)
_AGAIN = re.compile(r"(.*\d)(?:[ _]?(?:\*|x|a|b|'|dst|\(2\))|_2|\.1)", re.I)
_MONTH = re.compile(r"(?:m|month|mon|monat|mois|mes)?[ _]?(\d{1,2})", re.I)
_DAY = re.compile(r"(?:d|day|tag|dia|jour)?[ _]?(\d{1,2})", re.I)
_DAY_OF_WEEK = re.compile(r"(?:d|day|tag|dia|jour|weekday)[ _]?([1-7])", re.IGNORECASE)
_NUMBER = re.compile(r"(\d{1,2})")
_WEEK = re.compile(r"(?:w|wk|week|kw|woche|semana|semaine)?[ _]?(\d{1,2})", re.I)
_MIDNIGHT = re.compile(r"\d[ T]00:00(:00)?$")
_YEAR = re.compile(r"(19|20)\d\d")
_YEAR_AND_MONTH = re.compile(r"(19|20)\d\d-(0[1-9]|1[0-2])")
_PERIOD = re.compile(r"(?:[dwmtq]|day|week|month|period|wk)[ _]?(\d{1,4})", re.IGNORECASE)
_BEGINS_WITH_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?\b(?![-/:])")
_MANY = 12  # of a file without any date that are numbered
_LEAST = 3  # parts of a time in a header, from which on they are no names
_WORKING_DAYS = 5
_OF_DAY = 24 * 60
_WRITE = "; write rows of a timestamp and a value, or choose columns that are series of their own by --column"


@dataclass(frozen=True)
class WideTimes:
    """Columns that hold the values of one time each.

    Attributes:
        what: they are, for people.
        columns: in the order of the file.
        times: of each, what completes the text of `base` to a timestamp; all of it without a base.
        base: the columns with the date, the month or the year.
        unclear: why which times these are can't be told, and what to do; empty where it can.
    """

    what: str
    columns: tuple[Column, ...]
    times: tuple[str, ...] = ()
    base: Spread | None = None
    unclear: str = ""

    def __str__(self) -> str:
        first, second, *_, last = (column.header for column in self.columns)
        return f"{first}, {second}, … {last} are {self.what}, one column for each{self.unclear}"


def wide_times(columns: Sequence[Column]) -> WideTimes | None:
    """The columns of a file that are times; None in a file that has its timestamps in a column."""
    present = [column for column in columns if column.present]
    parts = [column for column in present if column.is_numeric or column.has_commas]
    found = _wide_times(present, parts)
    if found is None:
        return None
    # A month whose numbers have marks behind them (12.3 p) is one of the others all the same.
    marked = [column for column in present if column in parts or any(map(_BEGINS_WITH_NUMBER.match, column.present))]
    more = _wide_times(present, marked)
    return more if more is not None and set(found.columns) < set(more.columns) else found


def _wide_times(present: Sequence[Column], parts: Sequence[Column]) -> WideTimes | None:
    """`wide_times` among columns that hold values: some of those that are not empty."""
    found = [_of_dates(parts, base) for base in _dates(present)]
    found += [_of_months(parts, base) for base in _months(present)]
    found += [_of_years(parts, column) for column in _years(present)]
    wide = next(filter(None, found), None)
    if wide is not None:  # of 0 and 1 alone, the columns say which hour or day a row is of
        return None if all(column.is_flag for column in wide.columns) else wide
    if any(is_dated(column) for column in present):
        return None
    dates = [column for column in parts if reads_as_time(column.header)]
    if len(dates) >= _LEAST:
        return WideTimes("dates", tuple(dates), tuple(column.header for column in dates))
    dated = [column for column in parts if _YEAR.fullmatch(column.header)]
    numbers = [int(column.header) for column in dated]
    if len(dated) >= _LEAST and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return WideTimes("years", tuple(dated), tuple(f"{number}-01-01" for number in numbers))
    numbered = [
        column for column in parts if PERIODS.fullmatch(re.sub(r"[ (\[]*YR\d{4}[)\]]*$", "/01", column.header.strip()))
    ]
    if len(numbered) < _LEAST:
        numbered = _from_one(parts, _PERIOD, *range(_MANY, len(parts) + 1))
    if len(numbered) >= _LEAST:
        return WideTimes("periods", tuple(numbered), unclear=f", whose dates are not said{_WRITE}")
    return None


def values_as_times(columns: Sequence[Column]) -> WideTimes | None:
    """`wide_times` that hold the value to forecast: a few columns may be lags or readings beside one that is named as it."""
    wide = wide_times(columns)
    if wide is None or (len(wide.columns) >= _MANY and not wide.unclear):
        return wide
    known = best_known([column for column in columns if column not in wide.columns], TARGET_NAMES)
    return None if len(known) == 1 and known[0].is_numeric else wide


def below_first_row(columns: Sequence[Column]) -> list[Column]:
    """Columns of a file without a header as they would be if its first row was one: dates and years look like values."""
    return [replace(column, header=column.texts[0], texts=column.texts[1:]) for column in columns]


# --- The columns that the others are parts of


def _dates(columns: Sequence[Column]) -> Iterator[Spread]:
    days = [column for column in columns if is_date(column) or all(map(_MIDNIGHT.search, column.present))]
    if len(days) == 1:
        yield Spread((days[0],), "regexp_replace(trim({}), '[ T]00:00(:00)?$', '')".format)
    spread = None if days else spread_timestamp(columns)
    if spread is not None and len(spread.columns) == 3:
        yield spread


def _months(columns: Sequence[Column]) -> Iterator[Spread]:
    """Bases whose text is completed by a day."""
    written = [column for column in columns if all(map(_YEAR_AND_MONTH.fullmatch, column.present))]
    if len(written) == 1:
        yield Spread((written[0],), "trim({})".format)
    years = _years(columns)
    months = [column for column in columns if column.header.casefold() in {"month", "mon", "monat", "mois", "mes"}]
    if len(years) == len(months) == 1 and months[0].is_whole:
        yield Spread((years[0], months[0]), "lpad(trim({}), 4, '0') || '-' || lpad(trim({}), 2, '0')".format)


def _years(columns: Sequence[Column]) -> list[Column]:
    years = [column for column in columns if is_year(column)]
    return years if len(years) == 1 else []


# --- Their parts


def _of_dates(columns: Sequence[Column], base: Spread) -> WideTimes | None:
    names = {column.header.casefold().rstrip("."): column for column in columns}
    days = [names[name] for name in names if name in WEEKDAYS | SHORT_WEEKDAYS]
    days = days if len(days) >= _WORKING_DAYS else _from_one(columns, _DAY_OF_WEEK, 7)
    if days:
        reason = f", and which of them {base.columns[-1].header} names is not said{_WRITE}"
        return WideTimes("the days of a week", tuple(days), base=base, unclear=reason)
    minutes = {column.index: minute for column in columns if (minute := _minute(column.header)) is not None}
    found = [column for column in columns if column.index in minutes]
    if _ends_at_midnight([minutes[column.index] for column in found]):
        minutes[found[-1].index] = _OF_DAY
    again = [c for c in columns if (match := _AGAIN.fullmatch(c.header.strip())) and _minute(match[1]) is not None]
    places = sorted(minutes.values())
    steps = {after - before for before, after in pairwise(places)}
    if len(found) < _LEAST or 0 in steps:
        return None
    step, count = min(steps), len(found) + len(again)
    regular, first = len(steps) == 1 and not again, places[0]
    on_clock = all(_CLOCK.fullmatch(column.header.strip()) for column in found)
    if regular and step * count == _OF_DAY and first in (0, step):
        # The first of 24 hours is that from midnight to one, whether it is called 0 or 1.
        return _told(
            "the hours of a date", found, {index: _time(minute - first) for index, minute in minutes.items()}, base
        )
    if again or (step == 60 and count in (23, 25) and (regular or not on_clock)):
        reason = f", {count} of them: which one comes twice or is missing where clocks are changed is not said"
        return WideTimes(
            "the hours of a date",
            tuple(sorted((*found, *again), key=lambda c: c.index)),
            base=base,
            unclear=reason + _WRITE,
        )
    if on_clock and places[-1] < _OF_DAY:
        return _told("times of a date", found, {index: _time(minute) for index, minute in minutes.items()}, base)
    what = {48: "half-hours of a date", 96: "quarter-hours of a date"}.get(count)
    what = "days of a month" if 28 <= count <= 31 else what
    if what is not None and regular and step == 60 and first <= 60:
        return WideTimes(f"perhaps {what}", tuple(found), base=base, unclear=_WRITE)
    return None


def _ends_at_midnight(order: Sequence[int]) -> bool:
    """Whether the minutes of the columns, in the order of the file, ascend to a midnight that ends the day."""
    *before, last = order or [1]
    return last == 0 < len(before) and before == sorted(before)


def _of_months(columns: Sequence[Column], base: Spread) -> WideTimes | None:
    found = _from_one(columns, _DAY, 28, 29, 30, 31)
    times = {index: f"-{day:02d}" for index, day in _numbered(columns, _DAY).items()}
    return _told("the days of a month", found, times, base) if found else None


def _of_years(columns: Sequence[Column], year: Column) -> WideTimes | None:
    base = Spread((year,), "trim({})".format)
    columns = [column for column in columns if column is not year]
    named = {
        c.index: m for c in columns if (m := NUMBER_OF_MONTH.get(c.header.strip().casefold().rstrip("."))) is not None
    }
    months = named if len(named) >= _LEAST else _numbered(columns, _MONTH)
    if (months is named and len(set(months.values())) == len(months)) or sorted(months.values()) == list(range(1, 13)):
        return _of_year("the months of a year", columns, {index: (month - 1) for index, month in months.items()}, base)
    quarters = _numbered(columns, QUARTER)
    if sorted(quarters.values()) == [1, 2, 3, 4]:
        return _of_year(
            "the quarters of a year", columns, {index: 3 * number - 3 for index, number in quarters.items()}, base
        )
    if weeks := _from_one(columns, _WEEK, 52, 53):
        return WideTimes(
            "the weeks of a year", tuple(weeks), base=base, unclear=f", whose first days are not said{_WRITE}"
        )
    if perhaps := _from_one(columns, _NUMBER, 4):
        return WideTimes("perhaps the quarters of a year", tuple(perhaps), base=base, unclear=_WRITE)
    return None


def _of_year(what: str, columns: Sequence[Column], months: Mapping[int, int], base: Spread) -> WideTimes | None:
    """Columns by how many months after January they begin; unclear where the year is a company's."""
    found = [column for column in columns if column.index in months]
    year = base.columns[0].header
    order = [months[column.index] for column in found]
    if has_word(year, FISCAL) or order not in (sorted(order), sorted(order, reverse=True)):
        reason = f", and {year} seems to begin with another month than January{_WRITE}"
        return WideTimes(what, tuple(found), base=base, unclear=reason)
    return _told(what, found, {index: f"-{month + 1:02d}-01" for index, month in months.items()}, base)


def _told(what: str, columns: Sequence[Column], times: Mapping[int, str], base: Spread) -> WideTimes:
    return WideTimes(what, tuple(columns), tuple(times[column.index] for column in columns), base)


def _time(minute: int) -> str:
    return f" {minute // 60:02d}:{minute % 60:02d}:00"


def _minute(header: str) -> int | None:
    """The minute of the day that a column's name begins with; hours are counted to 24, and on."""
    text = header.strip()
    if match := _CLOCK.fullmatch(text):
        hour, minute, half, whole, past = match.groups()
        if half:
            return (int(hour) % 12 + 12 * (half.casefold() == "p")) * 60 + int(minute or 0)
        return int(whole) * 60 + int(past)
    match = _HOUR.fullmatch(text)
    return int(match[1]) * 60 if match else None


def _numbered(columns: Sequence[Column], pattern: re.Pattern[str]) -> dict[int, int]:
    """The numbers of columns that are called by one, by their places."""
    matches = ((column.index, pattern.fullmatch(column.header.strip())) for column in columns)
    return {index: int(next(filter(None, match.groups()))) for index, match in matches if match}


def _from_one(columns: Sequence[Column], pattern: re.Pattern[str], *counts: int) -> list[Column]:
    """The columns that a pattern numbers from 1 to one of the counts; none if they are others."""
    numbers = _numbered(columns, pattern)
    whole = len(numbers) in counts and sorted(numbers.values()) == list(range(1, len(numbers) + 1))
    return [column for column in columns if whole and column.index in numbers]
