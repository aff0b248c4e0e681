"""Holidays as numbers on a grid: which days they are, and columns that are known in advance.

Here: the calendar of countries (the `holidays` library) and of a user's own days. What `params.json` says about them
belongs to `params`, their use in a forecast to `predictors`.

For a country or a set of own days called NAME there are these columns:

- Periods of a day or less: `holiday:NAME` is 1 on the day and 0 elsewhere; `holiday:NAME:before` is how many days it is to the
  next one, `holiday:NAME:after` how many since the last, both 0 on the day and at most `NEAR` (no holiday is near).
- Longer periods: `holiday:NAME` is how many of its days are holidays.

A day is that of the period's start on the data's clock. Observed days (a Monday instead of a Sunday) count as holidays, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.errors import ChronosAssetsError

NEAR = 8
PREFIX = "holiday:"
_SECONDS_OF_A_DAY = 86_400

Days = NDArray[np.datetime64]


class HolidayError(ChronosAssetsError, ValueError):
    """A country without a calendar, or days that are none."""


@dataclass(frozen=True)
class HolidayCalendar:
    """Whose holidays count.

    Attributes:
        countries: ISO 3166 codes of countries, "DE", or of their subdivisions, "DE-BY".
        days: the user's own, by name: dates as "2024-11-29".
        file: key in the store of a CSV with more of them; `with_file` adds what it holds.
    """

    countries: tuple[str, ...] = ()
    days: tuple[tuple[str, tuple[str, ...]], ...] = ()
    file: str | None = None

    def with_file(self, text: str) -> HolidayCalendar:
        """This calendar with the days of its file, see `read_days`.

        Raises:
            HolidayError: the file is no list of days.
        """
        found = {name: set(days) for name, days in self.days}
        for name, days in read_days(text, self.file or "the holiday file").items():
            found.setdefault(name, set()).update(days)
        return HolidayCalendar(self.countries, tuple((name, tuple(sorted(found[name]))) for name in found), self.file)


@lru_cache(maxsize=4096)
def country_problem(code: str) -> str | None:
    """Why a code names no calendar; None if it does."""
    try:
        _holidays_of(code, 2024)
    except NotImplementedError:
        country, _, part = code.partition("-")
        return f"there is no calendar of the {'subdivision ' + part + ' of ' if part else 'country '}{country}"
    return None


def known_countries() -> list[str]:
    """Codes of all countries that have a calendar."""
    import holidays

    return sorted(holidays.list_supported_countries())


def known_subdivisions(country: str) -> list[str]:
    """Codes of the subdivisions of a country, such as "DE-BY"."""
    import holidays

    return [f"{country}-{part}" for part in holidays.list_supported_countries().get(country, [])]


_HOW_TO_WRITE = "write a date and a name, such as 2024-11-29,Black Friday"


def read_days(text: str, source: str) -> dict[str, tuple[str, ...]]:
    """The user's own days by name, from a CSV with a date and, if there are several kinds, a name: `2024-11-29,Black Friday`.

    The name may stand in front. A first line without a date is a header. Days without a name are called "own".

    Raises:
        HolidayError: a line has no date, or no line has one.
    """
    import csv

    found: dict[str, list[str]] = {}
    for number, row in enumerate(csv.reader(text.removeprefix("\ufeff").splitlines()), start=1):
        if not any(cell.strip() for cell in row):
            continue
        day, names = parse_day(row[0]), row[1:]
        if day is None and len(row) > 1:
            day, names = parse_day(row[1]), row[:1]
        if day is None:
            if number == 1 and not any(map(str.isdigit, "".join(row))):
                continue
            line = ",".join(row)
            raise HolidayError(f"{source}, line {number}: {line!r} has no date; {_HOW_TO_WRITE}")
        found.setdefault(names[0].strip() if names and names[0].strip() else "own", []).append(day)
    if not found:
        raise HolidayError(f"{source} has no days; {_HOW_TO_WRITE}")
    return {name: tuple(sorted(set(days))) for name, days in found.items()}


def parse_day(text: str) -> str | None:
    """A date as ISO 8601, None for what is none."""
    try:
        return date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        return None


def holiday_names(grid: Grid, calendar: HolidayCalendar) -> tuple[str, ...]:
    """Names of the columns that `holiday_columns` makes."""
    own = (name for name, _ in calendar.days)
    names = [PREFIX + name for name in dict.fromkeys((*calendar.countries, *own))]
    if _is_coarse(grid):
        return tuple(names)
    return tuple(column for name in names for column in (name, f"{name}:before", f"{name}:after"))


def holiday_columns(
    grid: Grid, first_ordinal: int, periods: int, calendar: HolidayCalendar
) -> dict[str, NDArray[np.float64]]:
    """The columns of the calendar at some periods of a grid.

    Args:
        grid: of the dataset.
        first_ordinal: of the first period.
        periods: how many.
        calendar: whose holidays.

    Returns:
        By name, (periods,) float64; see the module's docstring.

    Raises:
        HolidayError: a country has no calendar.
    """
    bounds = grid.start(first_ordinal + np.arange(periods + 1)).astype("datetime64[D]")
    columns: dict[str, NDArray[np.float64]] = {}
    for name, days in _sets_of_days(calendar, bounds):
        if _is_coarse(grid):
            columns[PREFIX + name] = np.diff(np.searchsorted(days, bounds)).astype(np.float64)
        else:
            columns |= _daily(PREFIX + name, bounds[:-1], days)
    return columns


def _is_coarse(grid: Grid) -> bool:
    return grid.frequency.approximate_seconds > _SECONDS_OF_A_DAY


def _sets_of_days(calendar: HolidayCalendar, bounds: Days) -> Iterable[tuple[str, Days]]:
    """Holidays by name, ascending, from `NEAR` days before the first bound to `NEAR` days after the last.

    Days of one's own that are called as a country are added to the country's.
    """
    low, high = bounds[0] - NEAR, bounds[-1] + NEAR
    years = range(low.item().year, high.item().year + 2)
    found: dict[str, list[Days]] = {}
    for country in calendar.countries:
        # An observed day may lie in the year before.
        found[country] = [_country_days(country, year) for year in years]
    for name, days in calendar.days:
        found.setdefault(name, []).append(np.array(days, dtype="datetime64[D]"))
    for name, parts in found.items():
        yield name, np.unique(np.concatenate(parts))


def _daily(name: str, days: Days, holidays: Days) -> dict[str, NDArray[np.float64]]:
    """On the day, days before and days after, for (n,) days."""
    far = np.timedelta64(NEAR, "D")
    if not len(holidays):
        nothing, none_near = np.zeros(len(days)), np.full(len(days), float(NEAR))
        return {name: nothing, f"{name}:before": none_near, f"{name}:after": none_near.copy()}
    next_place = np.searchsorted(holidays, days)
    following = holidays[np.minimum(next_place, len(holidays) - 1)]
    until = np.where(next_place < len(holidays), following - days, far)
    last_place = np.searchsorted(holidays, days, side="right") - 1
    since = np.where(last_place >= 0, days - holidays[np.maximum(last_place, 0)], far)
    return {
        name: (until == np.timedelta64(0, "D")).astype(np.float64),
        f"{name}:before": np.minimum(until, far).astype(np.float64),
        f"{name}:after": np.minimum(since, far).astype(np.float64),
    }


@lru_cache(maxsize=4096)
def _country_days(code: str, year: int) -> Days:
    try:
        return np.array(sorted(_holidays_of(code, year)), dtype="datetime64[D]")
    except NotImplementedError as error:
        raise HolidayError(f"{country_problem(code)}; write a code such as DE, US or DE-BY") from error


def _holidays_of(code: str, year: int) -> Sequence[date]:
    """The days of one year. Raises NotImplementedError for a code without a calendar."""
    import holidays

    country, _, part = code.partition("-")
    return list(holidays.country_holidays(country, subdiv=part or None, years=year))
