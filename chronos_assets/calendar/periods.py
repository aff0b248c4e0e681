"""Periods by the calendar: the n-th after a moment, and how many lie between two."""

from __future__ import annotations

from datetime import datetime, timedelta

from chronos_assets.calendar.frequencies import Frequency, Unit

# Time

_LENGTHS = {
    Unit.MINUTE: timedelta(minutes=1),
    Unit.HOUR: timedelta(hours=1),
    Unit.DAY: timedelta(days=1),
    Unit.WEEK: timedelta(weeks=1),
}


def period(start: datetime, frequency: Frequency, number: int) -> datetime:
    """Start of the period `number` periods after the one that starts at `start`.

    Months and years keep the day of the month, the last day where a month is too short; a series of months that starts
    on the last day of a month stays on last days.

    Raises:
        OverflowError: after the year 9999.
    """
    if frequency.unit in _LENGTHS:
        return start + number * frequency.n * _LENGTHS[frequency.unit]
    months = start.year * 12 + start.month - 1 + number * frequency.n * (12 if frequency.unit is Unit.YEAR else 1)
    year, month = divmod(months, 12)
    if year > 9999:
        raise OverflowError(f"the year {year}")
    longest = _days_in(year, month + 1)
    at_end = frequency.unit is Unit.MONTH and start.day == _days_in(start.year, start.month)
    return start.replace(year=year, month=month + 1, day=longest if at_end else min(start.day, longest))


def _days_in(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def steps_between(start: datetime, time: datetime, frequency: Frequency) -> int | None:
    """How many periods `time` is after `start`; None where that is no whole number."""
    if frequency.unit in _LENGTHS:
        steps, rest = divmod(time - start, frequency.n * _LENGTHS[frequency.unit])
        return None if rest else steps
    months = 12 * (time.year - start.year) + time.month - start.month
    steps, rest_of_months = divmod(months, frequency.n * (12 if frequency.unit is Unit.YEAR else 1))
    return None if rest_of_months or period(start, frequency, steps) != time else steps
