"""Timestamps that are spread over several columns: a date and a time of day, a date and an hour, a year and a month.

Here: noticing them, and how their parts make one timestamp. An import reads one column only, since a date by itself
would be taken for a period that holds all its hours; `melt` writes files whose parts are joined.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median

from chronos_assets.calendar.month_names import NUMBER_OF_MONTH
from chronos_assets.params.columns import Column, has_word, last_word

_TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?")
_HALF_DAYS = re.compile(r"\d{1,2}:\d\d(:\d\d)? ?[AaPp][Mm]")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}[- ][A-Za-z]{3}[- ]\d{2,4}")
_DIGITS = re.compile(r"(19|20)\d{6}")
_DATED = frozenset({"date", "datum", "day", "fecha"})
_TIME_BEHIND = re.compile(r".*\d[ T]\d{1,2}:\d\d.*")
# Different hours of a date, from which on they are hours of a day and not something that happened once on it.
_SEVERAL = 3
_HOURS = frozenset({"hour", "hours", "hr", "hod", "stunde", "heure", "hora"})
# Words of the names of columns that number the parts of a day (time_id, settlement_period, half_hour_no), words that may stand
# beside them, and whole names. A time_zone_id and an hh_id (of a household) number something else.
_SLOTS = _HOURS | frozenset({"time", "period", "interval", "slot", "settlement", "halfhour", "quarterhour"})
_SLOTS |= {"viertelstunde", "zeitscheibe", "tranche"}
_BESIDE_SLOTS = frozenset(
    {"id", "no", "nr", "num", "number", "index", "idx", "of", "day", "half", "quarter", "start", "end"}
)
_BESIDE_SLOTS |= {"ending", "trading", "delivery", "dispatch", "market", ""}
_SLOT_NAMES = frozenset({"sp", "hh"})
_SLOTS_OF_A_DAY = (24, 48, 96, 144, 288)
_HOUR_24 = (
    "; its hours count to 24: if hour 1 begins at midnight, write 00:00 for 1 and 23:00 for 24, otherwise 01:00 for 1 and "
    "00:00 of the next day for 24"
)
FISCAL = frozenset({"fiscal", "fy", "financial"})
_YEARS = frozenset({"year", "yr", "jahr", "annee", "ano"})
# Months from the first one that a part stands for.
_PARTS = {
    **dict.fromkeys(("month", "mon", "monat", "mois", "mes"), 12),
    **dict.fromkeys(("quarter", "qtr", "quartal", "trimestre"), 4),
    **dict.fromkeys(("week", "wk", "woche", "semaine", "semana", "weekofyear"), 53),
    **dict.fromkeys(("day", "dom", "tag", "jour", "dia"), 31),
}
# SQL for the number of a month of which {} is the name.
_NUMBER_OF_NAME = (
    f"CAST(map({list(NUMBER_OF_MONTH)}, {list(NUMBER_OF_MONTH.values())})[rtrim(lower(trim({{}})), '.')] AS VARCHAR)"
)
QUARTER = re.compile(r"(?:q|qtr|quarter|quartal|trimestre|t)[ _]?([1-4])|([1-4])[ _]?(?:q|qtr|quarter)", re.I)
# Names of columns with a part of the time.
PARTS = _HOURS | frozenset(_PARTS)


@dataclass(frozen=True)
class Spread:
    """Columns that make a timestamp together.

    Attributes:
        columns: the parts, the coarsest first.
        joined: SQL for the timestamp as text, of SQL for each part as text; None where people would have to say what the
            parts mean (week numbers, the hour 24, a fiscal year).
        unclear: what they would have to say, behind a semicolon; empty where that is plain.
        is_guessed: whether the last part may be something else than a time, such as the slot of a machine.
    """

    columns: tuple[Column, ...]
    joined: Callable[..., str] | None
    unclear: str = ""
    is_guessed: bool = False

    @property
    def names(self) -> str:
        """The columns' headers, for people."""
        *first, last = (column.header for column in self.columns)
        return f"{', '.join(first)} and {last}"


def spread_timestamp(columns: Sequence[Column]) -> Spread | None:
    """The columns over which the timestamp is spread; None where one column may hold it."""
    present = [column for column in columns if column.present]
    if any(_all_match(column, _TIME_BEHIND) for column in present):
        return None
    dates = [column for column in present if is_date(column)]
    if not dates:
        return _by_year(present)
    if clock := [column for column in present if _all_match(column, _TIME_OF_DAY)]:
        return Spread((dates[0], clock[0]), "trim({}) || ' ' || trim({})".format)
    halves = [column for column in present if _all_match(column, _HALF_DAYS)]
    if halves and _hours_of_a_date(dates[0], halves[0]) >= _SEVERAL:  # a sunrise is one time of each date
        spaced = "regexp_replace(upper(trim({1})), ' ?([AP]M)$', ' \\1')"
        return Spread((dates[0], halves[0]), f"trim({{0}}) || ' ' || {spaced}".format)
    hours = [column for column in present if _is_count(column, _HOURS, 24)]
    if not hours or _hours_of_a_date(dates[0], hours[0]) < _SEVERAL:
        return next(filter(None, (_with_slot(dates[0], column) for column in present)), None)
    return _with_hour((dates[0],), "trim({})", hours[0])


def _with_slot(date: Column, slot: Column) -> Spread | None:
    """A date with the number of a part of the day, where a date has nearly all of them: 1 to 48."""
    if not _is_slot(slot.header) or not all(re.fullmatch(r"\d{1,3}", value) for value in slot.present):
        return None
    numbers = set(map(int, slot.present))
    first, usual = min(numbers), _hours_of_a_date(date, slot)
    count = next((many for many in _SLOTS_OF_A_DAY if usual == many), None)
    if count is None or first > 1 or max(numbers) >= first + count * 25 / 24:
        return None
    # What an hour 1 is is for people to say, and so is the time of an hour that clocks show twice.
    if len(numbers) > count or (count == 24 and first == 1):
        return Spread((date, slot), None, _HOUR_24 if count == 24 == len(numbers) else "", is_guessed=True)
    minutes = f"to_minutes(CAST({1440 // count} * (CAST(trim({{1}}) AS INTEGER) - {first}) AS BIGINT))"
    joined = f"trim({{0}}) || ' ' || strftime(TIMESTAMP '2000-01-01' + {minutes}, '%H:%M:%S')".format
    return Spread((date, slot), joined, is_guessed=True)


def _is_slot(header: str) -> bool:
    """Whether a column is named as one that numbers the parts of a day."""
    words = {word.casefold() for word in re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", header)}
    return header.casefold() in _SLOT_NAMES or (bool(words & _SLOTS) and words <= _SLOTS | _BESIDE_SLOTS)


def _with_hour(date: tuple[Column, ...], joined: str, hour: Column) -> Spread:
    # Whether hour 1 begins or ends at one o'clock is for people to say.
    counted_to_24 = "24" in hour.present
    joined += " || ' ' || lpad(trim({}), 2, '0') || ':00:00'"
    return Spread((*date, hour), *((None, _HOUR_24) if counted_to_24 else (joined.format,)))


def is_date(column: Column) -> bool:
    """Whether a column holds dates without a time of day."""
    return _all_match(column, _DATE) or (last_word(column.header) in _DATED and _all_match(column, _DIGITS))


def is_year(column: Column) -> bool:
    """Whether a column holds years, by its name."""
    return last_word(column.header) in _YEARS and column.is_whole


def _hours_of_a_date(date: Column, hour: Column) -> float:
    """How many different hours a date has, usually."""
    pairs = set(zip(date.texts, hour.texts, strict=True))
    return median(Counter(day for day, _ in pairs).values())


def _by_year(columns: Sequence[Column]) -> Spread | None:
    """A year and its parts: those of the calendar, or of a company where there are no others."""
    plain = _year_and_parts([column for column in columns if not has_word(column.header, FISCAL)])
    found = plain or _year_and_parts(columns)
    if found is None or (plain and not _begins_late(*plain.columns[:2])):
        return found
    unclear = f"; {found.columns[0].header} seems to begin with another month than January"
    return replace(found, joined=None, unclear=unclear)


def _begins_late(year: Column, part: Column) -> bool:
    """Whether the rows of each year run beyond the end of a calendar's: from July to June, or backwards."""
    count = _PARTS[last_word(part.header)]
    late = []
    for _, rows in groupby(zip(year.texts, map(_number, part.texts), strict=True), key=lambda row: row[0]):
        order = [number for number, _ in groupby(number for _, number in rows if number)][:count]
        if len(order) == count:
            steps = {(after - before) % count for before, after in pairwise(order)}
            late.append((steps == {1} and order[0] != 1) or (steps == {count - 1} and order[0] != count))
    return bool(late) and all(late)


def _number(text: str) -> int:
    """The number of a month or a quarter; 0 where there is none."""
    digits = re.search(r"\d+", text)
    return int(digits[0]) if digits else NUMBER_OF_MONTH.get(text.casefold().rstrip("."), 0)


def _year_and_parts(columns: Sequence[Column]) -> Spread | None:
    years = [column for column in columns if is_year(column)]
    parts = {most: c for c in columns for name, most in _PARTS.items() if _is_part(c, name, most)}
    if not {12, 31} <= parts.keys():  # a part by itself that is always the same tells no times apart
        parts = {most: column for most, column in parts.items() if len(column.distinct) > 1}
    if not years or not parts:
        return None
    year, month = years[0], parts.get(12)
    start = "lpad(trim({}), 4, '0') || '-' || "
    monthly = start + "lpad({}, 2, '0')".format("trim({})" if month is None or month.is_numeric else _NUMBER_OF_NAME)
    if month is not None and 31 in parts:
        day, whole = parts[31], monthly + " || '-' || lpad(trim({}), 2, '0')"
        hours = [column for column in columns if _is_count(column, _HOURS, 24)]
        return _with_hour((year, month, day), whole, hours[0]) if hours else Spread((year, month, day), whole.format)
    if month is not None:
        return Spread((year, month), f"{monthly} || '-01'".format)
    if 4 in parts:
        quarter = start + "lpad(CAST(3 * CAST(regexp_extract({}, '[1-4]') AS INTEGER) - 2 AS VARCHAR), 2, '0') || '-01'"
        return Spread((year, parts[4]), quarter.format)
    return Spread((year, parts[53]), None) if 53 in parts else None


def _all_match(column: Column, pattern: re.Pattern[str]) -> bool:
    return all(pattern.fullmatch(value) for value in column.present)


def _is_part(column: Column, name: str, most: int) -> bool:
    """Whether a column of this name numbers months, quarters, weeks or days, or names months or quarters ("Qtr 1")."""
    texts = {text.casefold().rstrip(".") for text in column.present}
    named = (most == 12 and texts <= NUMBER_OF_MONTH.keys()) or (most == 4 and all(map(QUARTER.fullmatch, texts)))
    return (named and last_word(column.header) == name) or _is_count(column, frozenset({name}), most)


def _is_count(column: Column, names: frozenset[str], most: int) -> bool:
    """Whether a column of one of these names holds whole numbers up to `most`."""
    if last_word(column.header) not in names or not all(re.fullmatch(r"\d{1,2}", value) for value in column.present):
        return False
    return all(int(value) <= most for value in column.present)
