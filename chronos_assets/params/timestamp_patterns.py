"""The forms of timestamps that are tried on a column whose pattern nobody said, and what has to be assumed of some.

Here: the table of patterns, those that may be something else, and finding the ones that could read a text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

import numpy as np

from chronos_assets.calendar.month_names import foreign_month
from chronos_assets.calendar.timestamp_format import EPOCHS, format_timestamps, has_offset
from chronos_assets.params.columns import Times

_DATES: tuple[str, ...] = (
    "yyyy-MM-dd",
    "yyyy/MM/dd",
    "dd/MM/yyyy",
    "MM/dd/yyyy",
    "dd-MM-yyyy",
    "MM-dd-yyyy",
    "dd.MM.yyyy",
    "yyyy.MM.dd",
)
_DATES += ("d/M/yyyy", "M/d/yyyy", "d.M.yyyy", "yyyy-M-d", "yyyy/M/d")
_DATES += ("dd/MM/yy", "MM/dd/yy", "d/M/yy", "M/d/yy", "dd.MM.yy", "dd-MMM-yy")
_DATES += ("dd MMM yyyy", "d MMM yyyy", "dd-MMM-yyyy", "MMM d yyyy", "MMM dd, yyyy", "yyyyMMdd")
_DATES += ("dd MMMM yyyy", "d MMMM yyyy", "MMMM dd, yyyy", "MMMM d, yyyy", "EEE, dd MMM yyyy", "EEE, d MMM yyyy")
_TIMES: tuple[str, ...] = ("HH:mm:ss", "HH:mm", "H:mm:ss", "H:mm", "hh:mm:ss a", "hh:mm a", "h:mm:ss a", "h:mm a")
_TIMES += tuple(f"HH:mm:ss.{'S' * digits}" for digits in range(1, 7))
PARTIAL_DATES = (
    "yyyy-MM",
    "yyyy/MM",
    "MM/yyyy",
    "MM-yyyy",
    "MMM yyyy",
    "MMMM yyyy",
    "MMM-yyyy",
    "MMM-yy",
    "MMM yy",
    "yyyy-MMM",
    "yyyy MMM",
    "MMM/yyyy",
    "yyyy",
    "yyyyMM",
    "MM.yyyy",
)
_MONTH_AND_YEAR = frozenset(pattern for pattern in PARTIAL_DATES if "MMM" in pattern)
# Forms of one program each: weather services, databases, SAS, spreadsheets, browsers.
_OTHERS: tuple[str, ...] = ("yyyyMMddHH", "yyyyMMddHHmm", "yyyyMMddHHmmss", "yyyyMMdd HHmm", "yyyy-MM-dd HH")
_OTHERS += ("yyyy-MM-dd HH:mm:ss XXX", "yyyy-MM-dd HH:mm:ss 'UTC'", "ddMMMyyyy", "ddMMMyyyy:HH:mm:ss", "dd/MMM/yyyy")
_OTHERS += ("yyyy-MMM-dd", "EEEE, MMMM dd, yyyy", "EEEE, MMMM d, yyyy", "yyyy-MM-dd'T'HH", "dd/MMM/yy h:mm a")
_OTHERS += ("yyyyDDD",)
_OTHERS += ("yyyyMMdd'T'HHmmss", "yyyyMMdd'T'HHmm", "yyyyMMdd'T'HHmmssXXX", "yyyyMMdd'T'HHmmXXX")
_OTHERS += ("dd/MM/yyyy, HH:mm:ss", "MM/dd/yyyy, HH:mm:ss", "d/M/yyyy, h:mm:ss a", "M/d/yyyy, h:mm:ss a")
# Days as Germans and Spaniards write them.
_OTHERS += ("d. MMMM yyyy", "dd. MMMM yyyy", "d. MMM yyyy", "dd. MMM yyyy", "d 'de' MMMM 'de' yyyy")
# Numbers of periods and seconds, read where no column has dates: a quarter or the second a row was written often stand beside.
QUARTERS = ("yyyyQQQ", "yyyy-QQQ", "yyyy QQQ", "yyyy/QQQ", "QQQ yyyy", "QQQ-yyyy", "QQQ/yyyy")
WEEKS: tuple[str, ...] = (
    "YYYY-'W'ww",
    "YYYY'W'ww",
    "YYYY 'W'ww",
    "YYYY/'W'ww",
    "'W'ww YYYY",
    "'W'ww-YYYY",
    "'W'ww/YYYY",
)
WEEKS += tuple(pattern.replace("W", "KW") for pattern in WEEKS)
WEEKS += ("'KW' ww YYYY", "'KW' w YYYY", "'KW' ww/YYYY", "'KW' w/YYYY", "YYYY-'W'ww-e", "YYYY'W'wwe")
_SHORT_MONTH = re.compile(r"([^\W\d_]+)\.?[- ]\d\d")
QUARTERS_OR_WEEKS = frozenset({*QUARTERS, *WEEKS})
NUMBERS = QUARTERS_OR_WEEKS | set(EPOCHS)
# Digits alone could be any number: these patterns need a column with a timestamp's name.
DIGITS_ONLY = frozenset({"yyyyMMdd", "yyyyMM", "yyyy", "MM.yyyy", "yyyyDDD", *_OTHERS[:3], *EPOCHS})


def may_be_names(pattern: str, texts: Sequence[str]) -> bool:
    """Whether months of a year may be names of something else: Set 12 and Gen-10 are products, and months in Italian."""
    return pattern == "MMM yy" or (pattern in _MONTH_AND_YEAR and any(map(foreign_month, texts)))


def _patterns() -> tuple[str, ...]:
    """Every pattern that is tried, the service's own first."""
    full = [f"{date}{separator}{time}" for separator in (" ", "'T'") for date in _DATES for time in _TIMES]
    with_offset = [f"{pattern}XXX" for pattern in full if "a" not in pattern]
    return (*_DATES, *full, *with_offset, *PARTIAL_DATES, *_OTHERS, *QUARTERS, *WEEKS, *EPOCHS)


def shape_of(text: str) -> str:
    """What a text looks like: every run of letters an "a", every run of digits a "9"."""
    return re.sub("[0-9]+", "9", re.sub(r"[^\W\d_]+", "a", text.strip()))


@lru_cache(maxsize=1)
def patterns_by_shape() -> dict[str, list[str]]:
    """The patterns that could read a text of a shape: trying all of them on every text would take long."""
    example = np.array(["2024-11-12T13:14:15.161718"], dtype="datetime64[us]")
    index: dict[str, list[str]] = {}
    for pattern in _patterns():
        shape = shape_of(format_timestamps(example, pattern)[0])
        shapes = [shape]
        if has_offset(pattern):  # of which the example shows only the Z
            shapes += [shape[:-1] + offset for offset in ("+9:9", "-9:9", "+9", "-9")]
        if pattern in EPOCHS:
            shapes.append("9.9")  # of a float
        if "MMM" in pattern and "a." not in shape:  # janv.
            shapes += [each.replace("a", "a.", 1) for each in shapes]
        for each in shapes:
            index.setdefault(each, []).append(pattern)
    return index


def is_code(texts: Collection[str]) -> bool:
    """Whether texts such as SET-12 and SET-24, or Gen 10 and Gen 11, are no months: all have one name that isn't English."""
    names = {found[1].casefold() if (found := _SHORT_MONTH.fullmatch(text)) else "" for text in texts}
    return len(names) == 1 and foreign_month(names.pop()) is not None


def form_notes(times: Times) -> Iterator[str]:
    """What was assumed of the form of timestamps, for the user to check."""
    first = times.column.present[0]
    if times.pattern in EPOCHS:
        unit = times.pattern.split()[1]
        yield f"Guessed: {times.column.header} counts {unit} since 1970-01-01 in UTC, as Unix does ({first})."
    elif times.pattern in QUARTERS:
        yield f"Guessed: {times.column.header} has quarters of the calendar year, of which Q1 begins in January ({first})."
    elif times.pattern in WEEKS:
        yield f"Guessed: {times.column.header} has the weeks of ISO 8601, which begin on Monday ({first})."
    elif "MMM" in times.pattern and (foreign := next(filter(None, map(foreign_month, times.column.present)), None)):
        yield (
            f"Guessed: {times.column.header} names months in another language than English ({foreign}); forecasts have "
            "English names."
        )
