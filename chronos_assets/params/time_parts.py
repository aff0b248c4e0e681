"""Columns whose texts are parts of the time: names of months and weekdays, quarters, hours. They name no series.

Here: telling them by what they hold, and by their names where that could be anything; and numbers that repeat what the
timestamps beside them say. Numbers that can be joined to a timestamp are found in `spread_timestamps`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from chronos_assets.calendar.month_names import NUMBER_OF_MONTH
from chronos_assets.params.columns import FEW_BAD, TOTALS, Column, has_word, last_word
from chronos_assets.params.spread_timestamps import PARTS

_MONTHS = NUMBER_OF_MONTH.keys()
WEEKDAYS = frozenset(
    {
        *("mon", "tue", "tues", "wed", "thu", "thur", "thurs", "fri", "sat", "sun", "monday", "tuesday", "wednesday"),
        *("thursday", "friday", "saturday", "sunday", "montag", "dienstag"),
        *("mittwoch", "donnerstag", "freitag", "samstag", "sonnabend", "sonntag", "lundi", "mardi", "mercredi"),
        *("jeudi", "vendredi", "samedi", "dimanche", "lunes", "martes", "miércoles", "jueves", "viernes", "sábado"),
        "domingo",
    }
)
# Of which two alone may be countries or states.
SHORT_WEEKDAYS = frozenset({"mo", "di", "mi", "do", "fr", "sa", "so"})
_SEVERAL, _WORKING_DAYS, _MONTHS_OF_A_YEAR = 3, 5, 12
# What may stand behind the part in a column's name: week_no, day of week.
_NUMBER_OF = frozenset({"no", "nr", "num", "number", "name", "label"})
_SEASONS = frozenset(
    {
        *("spring", "summer", "autumn", "fall", "winter", "frühling", "frühjahr", "sommer", "herbst"),
        *("printemps", "été", "automne", "hiver", "primavera", "verano", "otoño", "invierno"),
    }
)
# Numbered periods of a year, which are no timestamps.
PERIODS = re.compile(
    r"(19|20)\d\d[-/ ]?(Q[1-4]|W\d\d?|KW ?\d\d?|H[12]|[MP]\d\d?)|(Q[1-4]|H[12]|W\d\d?|KW ?\d\d?|[MP]\d\d?)[-/ ]?(19|20)\d\d|"
    r"FY ?(19|20)?\d\d[-/ ]*[QPMWH]?\d{0,2}|(19|20)\d\d/\d\d",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\d{1,2}(:\d\d)? ?[ap]\.?m\.?|\d{1,2}(:\d\d)? ?(-|to|bis) ?\d{1,2}:\d\d( ?h| uhr)?")
_NUMBERED = re.compile(r"[a-z]{1,7}[ .-]?\d{1,2}|\d{1,2}[ .]?(h|uhr|hrs?)")


# What a number beside a timestamp may repeat of it.
_NUMBERS: tuple[Callable[[datetime], int], ...] = (
    lambda t: t.year,
    lambda t: t.month,
    lambda t: t.day,
    lambda t: t.hour,
    lambda t: t.minute,
    lambda t: (t.month + 2) // 3,
    lambda t: t.weekday(),
    lambda t: t.isoweekday(),
    lambda t: t.isoweekday() % 7,
    lambda t: t.isoweekday() % 7 + 1,
    lambda t: t.timetuple().tm_yday,
    lambda t: t.isocalendar()[1],
    lambda t: (t.timetuple().tm_yday + 6) // 7,
    lambda t: t.isocalendar()[0] * 100 + t.isocalendar()[1],
    lambda t: t.year * 100 + t.month,
    lambda t: (t.year * 100 + t.month) * 100 + t.day,
)


def repeats_time(column: Column, moments: Sequence[datetime | None]) -> bool:
    """Whether numbers say no more than the timestamps beside them: a year, a month, a week, a weekday, an hour."""
    if not column.is_whole:
        return False
    pairs = [(int(float(v)), t) for v, t in zip(column.values, moments, strict=True) if v is not None and t is not None]
    if not pairs:
        return False
    few = FEW_BAD * len(pairs)
    (most, count), *_ = Counter(number for number, _ in pairs).most_common(1)
    if len(pairs) - count <= few and most not in {t.year for _, t in pairs}:
        return False  # nothing but zeros, a few aside: the hour of days, and how often something rare happened
    return any(sum(number != part(t) for number, t in pairs) <= few for part in _NUMBERS)


def is_time_part(column: Column) -> bool:
    """Whether a column holds months, weekdays or hours by name, or numbers of such that its own name explains."""
    words = {value.casefold().rstrip(".") for value in column.present if not TOTALS.fullmatch(value)}
    if len(words) < 2 or column.is_numeric or column.has_key_name:
        return False
    named = has_word(column.header, PARTS) and last_word(column.header) in PARTS | _NUMBER_OF
    return (
        ((named or len(words) >= _SEVERAL) and (words <= _MONTHS or words <= WEEKDAYS))
        or words <= _SEASONS
        or (len(words) >= _WORKING_DAYS and words <= SHORT_WEEKDAYS)
        or all(map(PERIODS.fullmatch, words))
        or all(map(_CLOCK.fullmatch, words))
        or (named and (len(words) == _MONTHS_OF_A_YEAR or all(map(_NUMBERED.fullmatch, words))))  # in whatever language
    )
