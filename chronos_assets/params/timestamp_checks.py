"""Timestamps that read well and mean something else: years and days taken for another, weeks of another year, exchanged dates.

Here: refusing a reading of a column that its values speak against. The readings are those of `timestamp_columns`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise

from chronos_assets.calendar.rhythm import Rhythm, find_rhythm
from chronos_assets.params.columns import REWRITE, Column, InferenceError, Times
from chronos_assets.params.keys import Rows
from chronos_assets.params.timestamp_patterns import WEEKS

_MIXED = 0.2  # of a series' steps go back in time, and at least as many forward, where its rows are in no order
# What two digits of a year stand for from here on is more likely to be past.
_FAR_YEAR = 2040
# Two digits at the beginning of a date stand for a year from here on; before, more likely for a day.
_FIRST_YEAR = 2010
_MOST_DAYS = 31  # of a month
_FIRST_DAYS = 7  # that the first row of a month may have, behind days off
# Periods with a row, from which on dates are beyond doubt.
_FULL = 0.95


def check_century(times: Times) -> None:
    """Refuse years of two digits that would be far ahead.

    Raises:
        InferenceError: 60 may be 1960.
    """
    if "yy" not in times.pattern.replace("yyyy", ""):
        return
    pairs = zip(times.column.values, times.moments, strict=True)
    far = next((pair for pair in pairs if pair[1] is not None and pair[1].year >= _FAR_YEAR), None)
    if far is not None and far[1] is not None:
        raise InferenceError(
            f"years in {times.column.name} have two digits, so that {far[0]} would be in {far[1].year}: write them with four"
        )


def check_weeks(times: Times, keys: Sequence[Column]) -> None:
    """Refuse weeks that have the year of a calendar: December 30, 2024 lies in 2025-W01, and would be a year early as 2024-W01.

    Raises:
        InferenceError: in a series, the first week of a year is next to its last, or to the second of the next.
    """
    series: dict[tuple[str, ...], list[tuple[datetime, str]]] = defaultdict(list)
    for text, moment, *key in zip(times.column.texts, times.moments, *(c.texts for c in keys), strict=True):
        if times.pattern in WEEKS and moment is not None:
            series[tuple(key)].append((moment, text))
    for weeks in series.values():
        pairs = list(pairwise(weeks))
        back = sum(after < before for (before, _), (after, _) in pairs)
        if _MIXED * len(pairs) < back < (1 - _MIXED) * len(pairs):
            continue  # in no order, so that neighbours say nothing
        for (before, _), (after, text) in pairs:
            (year, week, _), (later, other, _) = (each.isocalendar() for each in sorted((before, after)))
            if week == 1 and (other >= 52 if year == later else (later, other) == (year + 1, 2)):
                raise InferenceError(
                    f"{times.column.name} seems to have the weeks of ISO 8601 with years of the calendar, of which 2024-12-30 "
                    f"lies in 2025-W01: {text} is next to the week of {before:%Y-%m-%d}; write the first day of each week",
                    role=REWRITE,
                )


def check_days(times: Times) -> None:
    """Refuse days of a month that read as years of two digits.

    Raises:
        InferenceError: `Jan-05` is followed by `Jan-06`, or `24/01/05` by `24/01/06`.
    """
    dates = list(dict.fromkeys(moment.date() for moment in times.moments if moment is not None))
    is_month = times.pattern in {"MMM-yy", "MMM yy"}
    # The first of three parts may be a year only if it is a recent one.
    latest = datetime.now(UTC).year + 1
    parts = [re.match(r"(\d\d)\D", value) for value in times.column.present]
    may_begin_with_year = re.match(r"d\D|dd\D", times.pattern) is not None and all(
        part and _FIRST_YEAR <= 2000 + int(part[1]) <= latest for part in parts
    )
    if not re.search(r"[^y]yy($|[^y])", times.pattern) or not (is_month or may_begin_with_year):
        return
    if is_month and not _may_be_days(dates):
        return
    steps = [
        (before.month, before.day) == (after.month, after.day) and abs(after.year - before.year) == 1
        for before, after in pairwise(dates)
    ]
    if 2 * sum(steps) > len(steps):
        first = next(value for value in times.column.values if value is not None)
        raise InferenceError(
            f"{first} in {times.column.name} may be a day of the month or the month of a year: write dates such as "
            f"{dates[0]}"
            if is_month
            else f"{first} in {times.column.name} may be of {dates[0].year} or of 20{first[:2]}: write years with four digits"
        )


def _may_be_days(dates: Sequence[date]) -> bool:
    """Whether years of two digits may be days: all numbers are those of days, and each month begins with a low one."""
    firsts = (after.year % 100 for before, after in pairwise(dates) if before.month != after.month)
    return all(1 <= each.year % 100 <= _MOST_DAYS for each in dates) and max(firsts, default=1) <= _FIRST_DAYS


def check_order(times: Times, steps: Rhythm, rows: Rows, keys: Sequence[Column]) -> None:
    """Refuse dates of which some have day and month exchanged, as spreadsheets leave them.

    Raises:
        InferenceError: with days up to the 12th taken for months the series are full, and as they stand they are not.
    """
    if steps.observed >= _FULL:
        return
    moments = tuple(m.replace(month=m.day, day=m.month) if m is not None and m.day <= 12 else m for m in times.moments)
    exchanged = find_rhythm(rows.series(keys, replace(times, moments=moments)))
    if exchanged.frequency is None or exchanged.observed < _FULL:
        return
    pairs = zip(times.column.values, times.moments, moments, strict=True)
    odd, meant = next((text, moment) for text, was, moment in pairs if moment is not None and was != moment)
    raise InferenceError(
        f"day and month seem to be exchanged in some values of {times.column.name}: {odd} would be {meant:%Y-%m-%d}, and "
        f"{exchanged.observed:.0%} of the periods had a row instead of {steps.observed:.0%}; write all dates in one order"
    )
