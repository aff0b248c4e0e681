"""Frequencies of a time series and the regular grid of periods that one defines.

Here belong: the names Amazon Forecast gives to frequencies, their length and season, and the arithmetic between
timestamps and period numbers. Reading timestamps from text does not (see `timestamp_format`), nor does choosing a
frequency for a file (see `inference`).

A `Grid` cuts the whole time line into periods numbered by *ordinals*. Multiples need a *phase*: which weeks make up
"2W", at which hours "8H" begins. `Alignment.anchor`, the start of any one period, gives it; so do a boundary's hour for
multiples of hours that divide a day, and its month for multiples of months that divide a year. Without them the periods
are counted from here (before the boundary of `Alignment` is added):

========  =======================================================================================
unit      period 0 starts
========  =======================================================================================
min, H    1970-01-01 00:00: "15min" and "6H" fall on round clock times
D         1970-01-01, at the boundary's hour
W         the week that starts on Monday 1969-12-29 (the week of 1970-01-01), moved to the boundary's weekday
M         January 1970: "3M" are the calendar quarters, "6M" the half years
Y         1970
========  =======================================================================================

That is a convention where the multiple divides the next larger unit (`has_convention`), and arbitrary elsewhere: an
import takes an open phase from the data (`alignment`), or refuses. Without a boundary the periods are those of the
service's "default time boundaries": midnight, Monday, the first of the month, the first of January.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Timestamps = NDArray[np.datetime64]
Ordinals = NDArray[np.int64]

_SECOND = 1_000_000  # in microseconds, the resolution of every timestamp of the project
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY

# Monday of the week of 1970-01-01 (a Thursday), in microseconds since the epoch.
_MONDAY = -3 * _DAY

DAY_NAMES = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
MONTH_NAMES = (
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
)


class Unit(StrEnum):
    """A unit of time, by the name the service gives it."""

    MINUTE = "min"
    HOUR = "H"
    DAY = "D"
    WEEK = "W"
    MONTH = "M"
    YEAR = "Y"


# The service's bounds of n: a multiple must not reach the next larger unit ("60min" is "H").
MAX_MULTIPLE = {Unit.MINUTE: 59, Unit.HOUR: 23, Unit.DAY: 6, Unit.WEEK: 4, Unit.MONTH: 11, Unit.YEAR: 1}

_MICROSECONDS = {Unit.MINUTE: _MINUTE, Unit.HOUR: _HOUR, Unit.DAY: _DAY, Unit.WEEK: _WEEK}

# Mean lengths in the Gregorian calendar, whose cycle is 146,097 days in 400 years.
_SECONDS = {
    Unit.MINUTE: 60.0,
    Unit.HOUR: 3600.0,
    Unit.DAY: 86400.0,
    Unit.WEEK: 604800.0,
    Unit.MONTH: 146097 * 86400.0 / 4800,
    Unit.YEAR: 146097 * 86400.0 / 400,
}

# Periods in one season of n = 1, as gluonts.time_feature.get_seasonality has them.
_SEASONS = {Unit.MINUTE: 1440, Unit.HOUR: 24, Unit.DAY: 1, Unit.WEEK: 1, Unit.MONTH: 12, Unit.YEAR: 1}

# Periods of n = 1 in a day, a week and a year.
_CANDIDATES = {
    Unit.MINUTE: (1440, 10080),
    Unit.HOUR: (24, 168),
    Unit.DAY: (7,),
    Unit.WEEK: (52,),
    Unit.MONTH: (12,),
}

_WORDS = {
    Unit.MINUTE: "minute",
    Unit.HOUR: "hour",
    Unit.DAY: "day",
    Unit.WEEK: "week",
    Unit.MONTH: "month",
    Unit.YEAR: "year",
}

# Spellings other than the service's own: pandas' names (old and new), and small letters where they can't be mistaken.
# A lone "m" is left out on purpose: it is a minute to some and a month to others.
_ALIASES: dict[str, tuple[int, Unit]] = {
    **{unit.value: (1, unit) for unit in Unit},
    "T": (1, Unit.MINUTE),
    "h": (1, Unit.HOUR),
    "d": (1, Unit.DAY),
    "w": (1, Unit.WEEK),
    "ME": (1, Unit.MONTH),
    "MS": (1, Unit.MONTH),
    "Q": (3, Unit.MONTH),
    "QE": (3, Unit.MONTH),
    "QS": (3, Unit.MONTH),
    "A": (1, Unit.YEAR),
    "y": (1, Unit.YEAR),
    "YE": (1, Unit.YEAR),
    "YS": (1, Unit.YEAR),
}
# Words for them, in any case.
_ALIAS_WORDS: dict[str, tuple[int, Unit]] = {
    **{f"{word}{ending}": (1, unit) for unit, word in _WORDS.items() for ending in ("", "s")},
    **{f"{word}ly": (1, unit) for unit, word in _WORDS.items() if unit is not Unit.DAY},
    "mins": (1, Unit.MINUTE),
    "hr": (1, Unit.HOUR),
    "hrs": (1, Unit.HOUR),
    "daily": (1, Unit.DAY),
    "quarter": (3, Unit.MONTH),
    "quarters": (3, Unit.MONTH),
    "quarterly": (3, Unit.MONTH),
    "annual": (1, Unit.YEAR),
    "annually": (1, Unit.YEAR),
}

_PATTERN = re.compile(r"([0-9]{0,6}) ?([A-Za-z]+)")

VALID_FREQUENCIES = "Y, M, W, D, H, 1min, or a multiple: 1-11M, 1-4W, 1-6D, 1-23H, 1-59min"


@dataclass(frozen=True)
class Frequency:
    """`n` units of time, within the service's bounds (1-59 min, 1-23 H, 1-6 D, 1-4 W, 1-11 M, 1 Y).

    Raises ValueError when `n` is outside of them.
    """

    n: int
    unit: Unit

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MAX_MULTIPLE[self.unit]:
            raise ValueError(
                f"'{self.n}{self.unit.value}' is not a frequency; multiples of {self.unit.value} "
                f"go from 1 to {MAX_MULTIPLE[self.unit]}{_larger_hint(self.n, self.unit)}"
            )

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """The frequency of a name such as "H", "30min" or "3M", or of pandas' names for the same (h, T, ME, MS, QS …).

        Raises:
            ValueError: for anything else, saying what is valid.
        """
        match = _PATTERN.fullmatch(text.strip())
        alias = (_ALIASES.get(match[2]) or _ALIAS_WORDS.get(match[2].casefold())) if match else None
        if match is None or alias is None:
            hint = "write min for minutes, M for months; " if match and match[2] == "m" else ""
            if re.fullmatch(r"\d?W-[A-Z]{3}", text.strip()):  # of pandas
                hint = "write W, and say on which day weeks begin by TimeAlignmentBoundary; "
            raise ValueError(f"{text!r} is not a frequency; {hint}use {VALID_FREQUENCIES}")
        factor, unit = alias
        return cls(factor * int(match[1] or 1), unit)

    def __str__(self) -> str:
        """The service's name: "H", "2W", "30min", and "1min" for one minute."""
        if self.n == 1 and self.unit is not Unit.MINUTE:
            return self.unit.value
        return f"{self.n}{self.unit.value}"

    @property
    def has_convention(self) -> bool:
        """Whether the calendar says where periods start: n = 1, or a multiple that divides the next larger unit.

        "3M" are the calendar quarters and "6H" starts at midnight; nobody can say which weeks make up "2W".
        """
        larger = {Unit.MINUTE: 60, Unit.HOUR: 24, Unit.MONTH: 12}.get(self.unit, 1)
        return self.n == 1 or (larger > 1 and larger % self.n == 0)

    @property
    def microseconds(self) -> int | None:
        """Length of a period in microseconds, None where it varies (months and years)."""
        unit = _MICROSECONDS.get(self.unit)
        return None if unit is None else self.n * unit

    @property
    def approximate_seconds(self) -> float:
        """Length of a period in seconds: exact up to weeks, the Gregorian mean for months and years."""
        return self.n * _SECONDS[self.unit]

    @property
    def description(self) -> str:
        """For people: "every hour", "every 15 minutes"."""
        word = _WORDS[self.unit]
        return f"every {word}" if self.n == 1 else f"every {self.n} {word}s"

    @property
    def seasonality(self) -> int:
        """Periods in one season, by GluonTS's defaults (H 24, D 1, W 1, M 12, 3M 4, Y 1, 1min 1440).

        As there, a multiple that does not divide the season falls back to 1. MASE and the seasonal naive forecast
        use this number, so that they compare with published results.
        """
        season, remainder = divmod(_SEASONS[self.unit], self.n)
        return 1 if remainder else season

    @property
    def candidate_seasons(self) -> tuple[int, ...]:
        """Periods in a day, a week and a year, where they are whole numbers from 2; ascending.

        Forecasters test them on the data. A year is left to periods of a week and longer: shorter ones seldom have two.
        """
        lengths = _CANDIDATES.get(self.unit, ())
        return tuple(length // self.n for length in lengths if length % self.n == 0 and length // self.n >= 2)


def _larger_hint(n: int, unit: Unit) -> str:
    """The larger unit that `n` units make up, as a hint such as ', write "2H"'; empty when there is none."""
    ladder = {
        Unit.MINUTE: (60, Unit.HOUR),
        Unit.HOUR: (24, Unit.DAY),
        Unit.DAY: (7, Unit.WEEK),
        Unit.MONTH: (12, Unit.YEAR),
    }
    while n > MAX_MULTIPLE[unit] and unit in ladder:
        size, larger = ladder[unit]
        if n % size:
            return ""
        n, unit = n // size, larger
    return f', write "{Frequency(n, unit)}"' if 1 <= n <= MAX_MULTIPLE[unit] else ""


@dataclass(frozen=True)
class Alignment:
    """Where periods start: the service's `TimeAlignmentBoundary`. `None` is the unit's own default.

    month: 1-12, for years. day_of_month: 1-31, for months and years; a month that is too short starts on its last day
    (the service stops at 28, where the question can't arise). day_of_week: 0 = Monday … 6 = Sunday, for weeks.
    hour: 0-23, for days and everything longer. Where multiples divide a year or a day, month and hour also say which
    months or hours their periods start at. anchor: start of any one period, ISO text, to the microsecond; it gives every
    multiple its phase, and what of the other parts is not set. Parts that don't apply to a grid's unit, or contradict
    the anchor, are refused by `Grid`.
    """

    month: int | None = None
    day_of_month: int | None = None
    day_of_week: int | None = None
    hour: int | None = None
    anchor: str | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("month", 1, 12), ("day_of_month", 1, 31), ("day_of_week", 0, 6), ("hour", 0, 23)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} of a time alignment goes from {low} to {high}, not {value!r}")
        if self.anchor is not None:
            try:
                moment = datetime.fromisoformat(self.anchor)
            except ValueError:
                raise ValueError(f"{self.anchor!r} is not an ISO date or time such as 2024-01-29") from None
            if moment.tzinfo is not None:
                raise ValueError(f"{self.anchor!r} has an offset; write it in the clock of the data, without one")


DEFAULT_ALIGNMENT = Alignment()

APPLICABLE_ALIGNMENT: dict[Unit, tuple[str, ...]] = {
    Unit.MINUTE: (),
    Unit.HOUR: (),
    Unit.DAY: ("hour",),
    Unit.WEEK: ("day_of_week", "hour"),
    Unit.MONTH: ("day_of_month", "hour"),
    Unit.YEAR: ("month", "day_of_month", "hour"),
}


@dataclass(frozen=True)
class Grid:
    """The regular grid of periods of a frequency: each instant lies in exactly one period, `[start(k), start(k + 1))`.

    Timestamps are naive `datetime64[us]` in the data's own clock; ordinals are int64 and may be negative. `ordinal`
    is monotone and `ordinal(start(k)) == k` for every k. Good for the years 1 to 9999, which is also what DuckDB and
    Python's datetime share.
    """

    frequency: Frequency
    alignment: Alignment = DEFAULT_ALIGNMENT

    def __post_init__(self) -> None:
        for name in ("month", "day_of_month", "day_of_week", "hour"):
            if getattr(self.alignment, name) is not None and name not in self._applicable:
                raise ValueError(self._does_not_apply(name))
        if self.alignment.anchor is not None:
            self._check_anchor(datetime.fromisoformat(self.alignment.anchor))

    @cached_property
    def _applicable(self) -> tuple[str, ...]:
        """The parts of an alignment that say something about this frequency."""
        by_phase = {Unit.HOUR: ("hour",), Unit.MONTH: ("month",)}.get(self.frequency.unit, ())
        multiple = self.frequency.n > 1 and self.frequency.has_convention
        return APPLICABLE_ALIGNMENT[self.frequency.unit] + (by_phase if multiple else ())

    def _does_not_apply(self, name: str) -> str:
        listed = " and ".join(self._applicable) or "nothing"
        return (
            f"a time alignment by {name} does not apply to the frequency {self.frequency}; "
            f"for {_WORDS[self.frequency.unit]}s only {listed} can be set"
        )

    def _check_anchor(self, anchor: datetime) -> None:
        """See that the other parts of the alignment agree with the anchor."""
        alignment, n = self.alignment, self.frequency.n
        month = alignment.month if self.frequency.unit is Unit.YEAR else _same_phase(alignment.month, anchor.month, n)
        hour = _same_phase(alignment.hour, anchor.hour, n) if self.frequency.unit is Unit.HOUR else alignment.hour
        day = alignment.day_of_month and min(alignment.day_of_month, monthrange(anchor.year, anchor.month)[1])
        for name, wanted, found in (
            ("Month", month, anchor.month),
            ("DayOfMonth", day, anchor.day),
            ("DayOfWeek", alignment.day_of_week, anchor.weekday()),
            ("Hour", hour, anchor.hour if anchor == anchor.replace(minute=0, second=0, microsecond=0) else None),
        ):
            if wanted is not None and wanted != found:
                raise ValueError(f"the anchor {alignment.anchor} contradicts {name} of the time alignment")

    @property
    def phase_is_open(self) -> bool:
        """Whether nothing says which periods a multiple starts at: no anchor, and no part of the boundary that tells."""
        part = {Unit.HOUR: "hour", Unit.MONTH: "month"}.get(self.frequency.unit)
        reported = part is not None and getattr(self.alignment, part) is not None
        return self.frequency.n > 1 and self.alignment.anchor is None and not reported

    def ordinal(self, timestamps: Timestamps) -> Ordinals:
        """The number of the period that holds each timestamp, in the shape of `timestamps`.

        Raises:
            ValueError: for NaT.
        """
        micros = _microseconds(timestamps)
        unit, n = self.frequency.unit, self.frequency.n
        numbers: Ordinals
        if unit in _MICROSECONDS:
            numbers = (micros - self._anchor) // (n * _MICROSECONDS[unit])
            return numbers
        months = micros.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        if unit is Unit.MONTH:
            numbers = (months - (micros < self._month_start(months)) - self._phase) // n
        else:
            years = months // 12
            numbers = (years - (micros < self._year_start(years))) // n
        return numbers

    def start(self, ordinals: Ordinals | int) -> Timestamps:
        """The first instant of each period, `datetime64[us]` in the shape of `ordinals`."""
        numbers = np.asarray(ordinals, dtype=np.int64)
        unit, n = self.frequency.unit, self.frequency.n
        if unit in _MICROSECONDS:
            micros = numbers * (n * _MICROSECONDS[unit]) + self._anchor
        elif unit is Unit.MONTH:
            micros = self._month_start(numbers * n + self._phase)
        else:
            micros = self._year_start(numbers * n)
        return np.asarray(micros, dtype=np.int64).astype("datetime64[us]")

    def number_of(self, moment: np.datetime64) -> int:
        """The number of the period that holds a moment."""
        return int(self.ordinal(np.asarray(moment)))

    def instant(self, number: int) -> np.datetime64:
        """The first instant of a period."""
        instant: np.datetime64 = self.start(np.array([number]))[0]
        return instant

    def iso(self, number: int) -> str:
        """`instant`, to the second, as documents have it."""
        return str(self.instant(number).astype("datetime64[s]"))

    def floor(self, timestamps: Timestamps) -> Timestamps:
        """The start of the period that holds each timestamp."""
        return self.start(self.ordinal(timestamps))

    def last_known(self, ends: NDArray[np.datetime64], lag: np.timedelta64 | None) -> NDArray[np.int64]:
        """Number of the last period that is known just before each of `ends` (n,).

        lag: how long after a period's start its value is known: nothing where rows are stamped with the start. None:
            once the period is over, because it is made up of finer rows and may hold some of later.
        """
        if lag is None:
            return self.ordinal(ends) - 1
        return self.ordinal(ends - lag.astype("timedelta64[us]") - np.timedelta64(1, "us"))

    def range(self, first: np.datetime64, count: int) -> Timestamps:
        """The starts of `count` successive periods, from the one that holds `first`."""
        return self.start(self.ordinal(np.asarray(first)) + np.arange(count, dtype=np.int64))

    @cached_property
    def _anchor(self) -> int:
        """Start of period 0 of a unit of fixed length, in microseconds since 1970-01-01."""
        if self.alignment.anchor is not None:
            return _since_epoch(self.alignment.anchor) % (self.frequency.microseconds or 1)
        anchor = (self.alignment.hour or 0) * _HOUR
        if self.frequency.unit is Unit.HOUR:
            return anchor % (self.frequency.n * _HOUR)
        if self.frequency.unit is Unit.WEEK:
            anchor += _MONDAY + (self.alignment.day_of_week or 0) * _DAY
        return anchor

    @cached_property
    def _phase(self) -> int:
        """The month of period 0, counted from January 1970, below the multiple."""
        if self.alignment.anchor is not None:
            moment = datetime.fromisoformat(self.alignment.anchor)
            return (moment.year * 12 + moment.month - 1 - 1970 * 12) % self.frequency.n
        return ((self.alignment.month or 1) - 1) % self.frequency.n

    @cached_property
    def _boundary(self) -> tuple[int, int, int]:
        """Month, day of month and time of day (microseconds) at which months and years start."""
        alignment = self.alignment
        month, day, time = alignment.month, alignment.day_of_month, None
        if alignment.hour is not None:
            time = alignment.hour * _HOUR
        if alignment.anchor is not None:
            moment = datetime.fromisoformat(alignment.anchor)
            month, day = month or moment.month, day or moment.day
            time = _since_epoch(alignment.anchor) % _DAY if time is None else time
        return month or 1, day or 1, time or 0

    def _month_start(self, months: Any) -> Any:
        """Boundary within each month (counted from January 1970), in microseconds since 1970-01-01."""
        first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        length = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - first
        _, day, time = self._boundary
        return (first + np.minimum(day, length) - 1) * _DAY + time

    def _year_start(self, years: Any) -> Any:
        """Boundary within each year (counted from 1970), in microseconds since 1970-01-01."""
        return self._month_start(years * 12 + self._boundary[0] - 1)


def _since_epoch(text: str) -> int:
    """An ISO date or time in microseconds since 1970-01-01."""
    return int(np.datetime64(datetime.fromisoformat(text), "us").astype(np.int64))


def _same_phase(wanted: int | None, found: int, n: int) -> int | None:
    """`found` where a part of the boundary means the same periods as it, by a multiple of n; else the part."""
    return found if wanted is not None and (wanted - found) % n == 0 else wanted


def _microseconds(timestamps: Timestamps) -> Any:
    """Timestamps of any resolution as int64 microseconds since 1970-01-01."""
    array = np.asarray(timestamps)
    if array.dtype.kind != "M":
        raise TypeError(f"timestamps must be numpy datetime64, not {array.dtype}")
    if np.isnat(array).any():
        raise ValueError("a timestamp is missing (NaT); rows without a timestamp have no place on a grid")
    return array.astype("datetime64[us]").astype(np.int64)
