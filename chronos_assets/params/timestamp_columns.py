"""Columns of a sample that hold timestamps: how they are written, and on which clock they are read.

Here: the patterns that are tried, every reading that fits a column, the zone that explains offsets. How often rows
come is up to `calendar.rhythm`.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.calendar.rhythm import Rhythm, find_rhythm
from chronos_assets.calendar.time_zones import find_time_zone, zone_of_midnights
from chronos_assets.calendar.timestamp_format import EPOCHS, format_timestamps, has_offset, parse_timestamp, read_offset
from chronos_assets.params.columns import (
    FEW_BAD,
    REWRITE,
    TIMESTAMP_NAMES,
    Column,
    InferenceError,
    Times,
    best_known,
    has_word,
    is_identifying,
    is_number,
    last_word,
    listed,
    rank,
)
from chronos_assets.params.keys import Rows
from chronos_assets.params.spread_timestamps import FISCAL, Spread, is_year, spread_timestamp
from chronos_assets.params.time_parts import PERIODS
from chronos_assets.params.timestamp_patterns import (
    DIGITS_ONLY,
    NUMBERS,
    PARTIAL_DATES,
    QUARTERS_OR_WEEKS,
    is_code,
    may_be_names,
    patterns_by_shape,
    shape_of,
)

_HALF = 0.6  # of two files with dates of their own, a little more
_NAMED = 8  # columns of a file without timestamps
_SHOWN = 40  # characters of a cell
_MIDNIGHTS = 10  # that show on which clock they are
_LOOKED_AT = 50  # values of a column that may be a timestamp
_CLOCKS = 14 * 3_600_000_000  # microseconds that clocks of two places differ by at most
# What stands behind microseconds, which is as fine as timestamps are kept.
_FINER = re.compile(r"(:\d\d\.\d{6})\d{1,3}(?!\d)")
# Days of a year beyond the 16 periods that books may have in one.
_PERIODS_OF_BOOKS = 16
# What 202405 and 2024-05 mean, a week or a month, is for the column's name to say; what 1800 means under "time", for nobody.
_NUMBERED = re.compile(
    r"(^|[^a-z])(iso|year|fiscal)?(weeks?|wk|kw|woche|semaine|semana|quarters?|qtr|quartal|trimestre)([^a-z]|no$|$)"
)
_MONTHS = frozenset({"month", "months", "monat", "mois", "mes", "yearmonth"})
_OF_EPOCH = re.compile("epoch|unix|timestamp")
_QUARTER = re.compile(r"quarter|qtr|quartal|trimestre")
# A period of a fiscal year as ERP systems write it: 001.2024, 2024/001, 2024001.
_PERIOD_OF_BOOKS = re.compile(r"0(0\d|1[0-6])[./](19|20)\d\d|(19|20)\d\d[./-]?0(0\d|1[0-6])")
_EPOCH = re.compile(r"1\d{9}(\d{3}){0,3}(\.\d+)?")
_FIRST_EPOCH = 1990
_FISCAL_YEAR = re.compile(r"FY ?'?(\d\d|\d{4})\b", re.IGNORECASE)
_EIGHT_DIGITS = re.compile(r"(19|20)\d{6}")
_NO_TIME = "name it in Predictor.FeaturizationConfig.ForecastDimensions of a params.json"
_NO_YEARS = frozenset({"time", "ts", "datetime", "day", "week", "month"})


def is_value(text: str) -> bool:
    """Whether a text is a number or a timestamp, so that it can't be a column's name."""
    return is_number(text) or reads_as_time(text)


def is_dated(column: Column) -> bool:
    """Whether a column holds timestamps, whatever they are for."""
    return not column.is_numeric and bool(column.present) and all(map(_is_named_date, column.present[:_LOOKED_AT]))


def reads_as_time(text: str) -> bool:
    """Whether a text is a timestamp, of more than digits."""
    return any(parse_timestamp(text, pattern) is not None for pattern in _forms(text))


def _forms(text: str) -> list[str]:
    """The patterns that could read a text as a timestamp of more than digits."""
    return [pattern for pattern in patterns_by_shape().get(shape_of(text), []) if pattern not in DIGITS_ONLY]


def _is_named_date(text: str) -> bool:
    """Whether a text is a timestamp that can't be a name: Gen 10 is January 2010 in Italian, and a product's generation."""
    return any(parse_timestamp(text, form) is not None for form in _forms(text) if not may_be_names(form, [text]))


def _is_period(text: str) -> bool:
    """Whether a text is a quarter or a week."""
    return any(parse_timestamp(text, form) is not None for form in _forms(text) if form in QUARTERS_OR_WEEKS)


def forms_of(texts: Collection[str]) -> list[str]:
    """The patterns that read all of some timestamps, of those that read the same one."""
    column = Column(0, TIMESTAMP_NAMES[0], TIMESTAMP_NAMES[0], tuple(texts))
    if not texts:
        return []
    dates, others = (_read_times(column, digits_only=True, tolerated=0, dates=each) for each in (True, False))
    return [times.pattern for times in dates or others]


def timestamp_readings(columns: Sequence[Column], named: Column | None) -> list[Times]:
    """The timestamp column, in every reading that fits its values (several when day and month could be swapped)."""
    candidates = [named] if named is not None else [column for column in columns if not column.is_empty]
    spread = joined_timestamp(candidates)
    if spread is not None:
        raise InferenceError(
            f"the timestamp is spread over the columns {spread.names}: join them into one, such as 2024-01-31 15:00:00"
            + (" (`chronos-assets melt FILE OUTPUT` does)" if spread.joined is not None else spread.unclear)
            + (f"; or, if {spread.columns[-1].header} is no time of a day, {_NO_TIME}" if spread.is_guessed else "")
        )
    readings = _readings(candidates, named, dates=True)
    patterns = {found[0].pattern for found in readings.values()}
    # Periods and seconds are read where no column has dates but the year that periods repeat.
    if patterns <= {"yyyy"}:
        others = _readings(candidates, named, dates=False)
        if patterns:
            others = {index: found for index, found in others.items() if found[0].pattern not in EPOCHS}
        if others and (spoiled := _spoiled_dates(candidates, [c for c in candidates if c.index in others])):
            raise InferenceError(spoiled)
        readings = others or readings
    if not readings:
        raise InferenceError(_no_timestamp(columns, named))
    _refuse_fiscal(columns, readings)
    times = [column for column in candidates if column.index in readings]
    chosen = times if len(times) == 1 else best_known(times, TIMESTAMP_NAMES)
    if len(chosen) == 1:
        chosen += [
            c
            for c in times
            if c is not chosen[0] and _is_of_other_periods(readings[chosen[0].index], readings[c.index])
        ]
    if len(chosen) != 1:
        raise InferenceError(
            f"several columns could hold the timestamp: {listed(chosen or times)}\nWrite a params.json that lists the columns "
            f'in Datasets[0].Schema.Attributes and says which it is: Chronos.Columns = {{"timestamp": "{times[0].name}"}}',
            role="timestamp",
            candidates=[column.name for column in chosen or times],
        )
    return readings[chosen[0].index]


def _readings(candidates: Sequence[Column], named: Column | None, *, dates: bool) -> dict[int, list[Times]]:
    """The readings of the columns that hold timestamps, by their place; dates: see `_read_times`."""
    # A few bad values are tolerated, and digits of any name read, only if no column reads without.
    for bad, any_name in ((0.0, False), (FEW_BAD, False), (0.0, True)):
        readings: dict[int, list[Times]] = {}
        for column in candidates:
            known = named is not None or rank(column.name, TIMESTAMP_NAMES) < math.inf
            known = known or (any_name and all(map(_EIGHT_DIGITS.fullmatch, column.present)))
            known = known or _may_be_epoch(column.name)
            if found := _read_times(column, digits_only=known, tolerated=bad, dates=dates):
                readings[column.index] = found
        if readings:
            return readings
    return {}


def _may_be_epoch(name: str) -> bool:
    """Whether a column's name speaks of seconds since 1970, and not of a row's number as `timestamp_id` does."""
    return _OF_EPOCH.search(name.casefold()) is not None and not is_identifying(last_word(name))


def _spoiled_dates(candidates: Sequence[Column], instead: Sequence[Column]) -> str:
    """What is the matter with dates that would be passed over for periods or seconds beside them; empty where nothing is."""
    best = min(rank(column.name, TIMESTAMP_NAMES) for column in instead)
    rivals = [c for c in candidates if c not in instead and rank(c.name, TIMESTAMP_NAMES) <= best]
    return _serial_days(rivals) or _mostly_timestamps(rivals)


def _refuse_fiscal(columns: Sequence[Column], readings: Mapping[int, Sequence[Times]]) -> None:
    """Refuse quarters and weeks beside a fiscal year, which may begin in any month.

    Raises:
        InferenceError: a column has the year's name, or its number as `FY24`.
    """
    numbered = [c for c in columns if c.index in readings and readings[c.index][0].pattern in QUARTERS_OR_WEEKS]
    fiscal = [
        c for c in columns if has_word(c.header, FISCAL) or (c.present and all(map(_FISCAL_YEAR.match, c.present)))
    ]
    if numbered and len(numbered) == len(readings) and fiscal:
        raise InferenceError(
            f"{numbered[0].name} ({numbered[0].present[0]!r}) seems to number periods of the fiscal year in {fiscal[0].name}, "
            "which may begin in any month: write the first day of each, such as 2024-01-01"
        )


def joined_timestamp(columns: Sequence[Column]) -> Spread | None:
    """`spread_timestamp`, unless a column holds whole timestamps (Jan 5, 2024) and others repeat their year and month."""
    spread = spread_timestamp(columns)
    if spread is not None and is_year(spread.columns[0]):
        others = [column for column in columns if column not in spread.columns and is_dated(column)]
        return spread if all(_is_period(column.present[0]) for column in others) else None
    return spread


def _is_of_other_periods(chosen: Sequence[Times], other: Sequence[Times]) -> bool:
    """Whether a second column with a timestamp's own name has rows count for other periods: a day beside when it was written.

    It must be about as fine; another clock (UTC beside local time) is none.
    """
    if rank(other[0].column.name, TIMESTAMP_NAMES) >= len(TIMESTAMP_NAMES):
        return False
    first = chosen[0].moments
    distinct = sorted({moment for moment in first if moment is not None})
    if len(distinct) < _MIDNIGHTS:
        return False
    step = float(np.median(np.diff(np.array(distinct, dtype="datetime64[us]")).astype(np.int64)))

    def differs(times: Times) -> bool:
        pairs = [(a, b) for a, b in zip(first, times.moments, strict=True) if a is not None and b is not None]
        apart = [(a - b) // timedelta(microseconds=1) for a, b in pairs]
        if 2 * len({b for _, b in pairs}) < len(distinct) or (len(set(apart)) <= 2 and max(map(abs, apart)) <= _CLOCKS):
            return False
        few = FEW_BAD * len(apart)
        return sum(abs(each) >= step for each in apart) > few and _outside(pairs) > few

    return all(map(differs, other))


def _outside(pairs: Sequence[tuple[datetime, datetime]]) -> int:
    """Of how many pairs the second is no beginning, nor end, of the period that the first lies in: 2023 of 2023-12-31."""
    bounds = sorted({bound for _, bound in pairs})
    begins = sum(bounds[max(0, bisect_right(bounds, moment) - 1)] != bound for moment, bound in pairs)
    ends = sum(bounds[min(len(bounds) - 1, bisect_left(bounds, moment))] != bound for moment, bound in pairs)
    return min(begins, ends)


def _no_timestamp(columns: Sequence[Column], named: Column | None) -> str:
    epoch = [c.name for c in columns if c.present and all(map(_EPOCH.fullmatch, c.present))]
    if epoch:
        return (
            f"{epoch[0]} seems to count seconds since 1970, or parts of them; write timestamps such as 2024-01-31 15:00:00, or "
            "whole seconds or milliseconds in a column called timestamp"
        )
    if serial := _serial_days(columns):
        return serial
    if mixed := _mostly_timestamps([named] if named is not None else columns):
        return mixed
    for column in columns:
        if column.present and all(map(_PERIOD_OF_BOOKS.fullmatch, column.present)):
            return (
                f"{column.name} seems to number the periods of a fiscal year ({column.present[0]!r}), which may begin in any "
                "month: write the first day of each, such as 2024-01-01 for 001.2024 if that is January"
            )
        if column.present and (
            PERIODS.fullmatch(column.present[0])
            or (_is_numbered(column) and re.match(r"(19|20)\d\d(?!\d{4})", column.present[0]))
            or _number_quarters(column)
        ):
            return (
                f"{column.name} seems to number weeks, months, quarters or years ({column.present[0]!r}); write the first day "
                "of each, such as 2024-01-01"
            )
    few, rest = columns[:_NAMED], len(columns) - _NAMED
    names = f"{listed(few)} and {rest} more" if rest > 0 else listed(columns)
    where = f"column {named.name} holds" if named is not None else f"none of the columns {names} holds"
    shown = next((row for row in zip(*(column.texts for column in few), strict=True) if all(row)), ())
    row = f" (a row: {', '.join(map(_cut, shown))})" if shown else ""
    return (
        f"{where} timestamps in a form that is known{row}; write them such as 2024-01-31 15:00:00, "
        f"or describe them by TimestampFormat in a params.json"
    )


def _serial_days(columns: Sequence[Column]) -> str:
    """The hint at a column that has a spreadsheet's numbers of days; empty where there is none."""
    serial = [c.name for c in columns if rank(c.name, TIMESTAMP_NAMES) < len(TIMESTAMP_NAMES) and _is_serial(c)]
    if not serial:
        return ""
    return (
        f"{serial[0]} seems to count days since 1900, as spreadsheets do (on a Mac since 1904, in SAS and Stata since "
        "1960); write dates such as 2024-01-31"
    )


def _number_quarters(column: Column) -> bool:
    """Whether a column reads as months and seems to number quarters, see `_are_quarters`."""
    values = list(column.distinct)
    readings = ((pattern, _read_all(values, pattern, 0)) for pattern in PARTIAL_DATES if pattern != "yyyy")
    return any(moments is not None and _are_quarters(pattern, moments) for pattern, moments in readings)


def _cut(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def _is_serial(column: Column) -> bool:
    """Whether a column holds a spreadsheet's dates between 1954 and 2064."""
    return bool(column.present) and all(re.fullmatch(r"[2-5]\d{4}(\.\d+)?", value) for value in column.present)


def _mostly_timestamps(columns: Sequence[Column]) -> str:
    """The hint at a column that mostly reads as timestamps; empty where there is none."""
    for column in columns:
        if not column.present:
            continue
        dates, others = (_read_times(column, digits_only=False, tolerated=_HALF, dates=each) for each in (True, False))
        for times in dates or others:
            pairs = [(v, moment) for v, moment in zip(column.values, times.moments, strict=True) if v is not None]
            odd = [value for value, moment in pairs if moment is None]
            usual = next(value for value, moment in pairs if moment is not None)
            return (
                f"{column.name} holds timestamps such as {usual!r} ({times.pattern}), but {len(odd):,} of "
                f"{len(column.present):,} rows looked at have others, such as {odd[0]!r}: write all in one form"
            )
    return ""


def _read_times(column: Column, *, digits_only: bool, tolerated: float, dates: bool) -> list[Times]:
    """Every reading of a column that differs from the others and leaves at most a tolerated share of values unread.

    Of the patterns that read the same, the one that also writes the values as they stand is kept.

    Args:
        column: the texts.
        digits_only: whether digits alone may be timestamps, because the column is called like one.
        tolerated: share of values.
        dates: by patterns of dates; else by those of quarters, weeks and seconds, and of months that may be names.
    """
    coarse = {value: _FINER.sub(r"\1", value) for value in dict.fromkeys(column.values) if value is not None}
    values = tuple(None if value is None else coarse[value] for value in column.values)
    distinct = list(dict.fromkeys(coarse.values()))
    readings: dict[tuple[datetime | None, ...], str] = {}
    if is_code(distinct):
        return []
    shape = Counter(shape_of(value) for value in distinct).most_common(1)[0][0]
    for pattern in patterns_by_shape().get(shape, []):
        if pattern in DIGITS_ONLY and not (
            digits_only and (pattern in EPOCHS or all(len(value) == len(pattern) for value in distinct))
        ):
            continue
        if dates == (pattern in NUMBERS or may_be_names(pattern, distinct)):
            continue
        if pattern in QUARTERS_OR_WEEKS and has_word(column.header, FISCAL):
            continue
        moments = _read_all(distinct, pattern, int(tolerated * len(distinct)))
        if moments is None or (pattern in PARTIAL_DATES and _may_be_numbers(column, pattern, moments)):
            continue
        if pattern in EPOCHS and not _are_epochs(moments):
            continue
        if pattern == "yyyyDDD" and all(
            moment is None or _day_of_year(moment) <= _PERIODS_OF_BOOKS for moment in moments
        ):
            continue
        if moments not in readings or (
            not _writes(moments, readings[moments], distinct) and _writes(moments, pattern, distinct)
        ):
            readings[moments] = pattern
    times = []
    for moments, pattern in readings.items():
        table = dict(zip(distinct, moments, strict=True))
        times.append(Times(column, pattern, tuple(None if v is None else table[v] for v in values)))
    return times


def _are_epochs(moments: Sequence[datetime | None]) -> bool:
    """Whether counts of seconds lie in the time that people record: 2024010124, an hour 24, would be in 2034."""
    years = [moment.year for moment in moments if moment is not None]
    return min(years, default=0) >= _FIRST_EPOCH and max(years) <= datetime.now(UTC).year + 1


def _day_of_year(moment: datetime) -> int:
    return moment.timetuple().tm_yday


def _read_all(values: Sequence[str], pattern: str, failures: int) -> tuple[datetime | None, ...] | None:
    """All values read by a pattern, None standing for at most `failures` that don't fit; None when more don't."""
    moments: list[datetime | None] = []
    for value in values:
        moment = parse_timestamp(value, pattern)
        # A year such as 14 is a two-digit year that %Y took literally.
        if moment is not None and not 1000 <= moment.year <= 9000:
            moment = None
        if moment is None:
            failures -= 1
            if failures < 0:
                return None
        moments.append(moment)
    return tuple(moments)


def _is_numbered(column: Column) -> bool:
    """Whether a column's name says that it numbers weeks or quarters: yearweek, Fiscal Quarter, KW."""
    return _NUMBERED.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column.header.strip()).casefold()) is not None


def _may_be_numbers(column: Column, pattern: str, moments: Sequence[datetime | None]) -> bool:
    """Whether what reads as months or years may be numbers of weeks or quarters, or of something else."""
    if "M" not in pattern:
        return last_word(column.header) in _NO_YEARS and not _are_years(moments)
    if _are_quarters(pattern, moments) and not has_word(column.header, _MONTHS):
        return True
    return _is_numbered(column) and not _begin_quarters(column, moments)


def _are_quarters(pattern: str, moments: Sequence[datetime | None]) -> bool:
    """Whether digits number quarters, whatever their name is: 1 to 4 of several years, and never a later month."""
    months = {(moment.year, moment.month) for moment in moments if moment is not None}
    years = {year for year, _ in months}
    return "MMM" not in pattern and len(years) > 1 and {month for _, month in months} == {1, 2, 3, 4}


def _begin_quarters(column: Column, moments: Sequence[datetime | None]) -> bool:
    """Whether months three apart under a quarter's name, such as 2024-07, are beyond the number of quarters."""
    months = {moment.month for moment in moments if moment is not None}
    return bool(_QUARTER.search(column.header.casefold())) and max(months) > 4 and len({m % 3 for m in months}) == 1


def _are_years(moments: Sequence[datetime | None]) -> bool:
    """Whether numbers of the last and this century are years: 1985 is no time of day as 1930 is."""
    years = {moment.year for moment in moments if moment is not None}
    return all(1900 <= year < 2100 for year in years) and any(year % 100 >= 60 for year in years)


def _writes(moments: Sequence[datetime | None], pattern: str, values: Sequence[str]) -> bool:
    """Whether the pattern writes the moments exactly as the values stand."""
    read = [(moment, value) for moment, value in zip(moments, values, strict=True) if moment is not None]
    few, rest = read[:50], read[50:]  # most patterns that don't write the values differ in the first of them
    return all(
        format_timestamps(np.array([moment for moment, _ in part], dtype="datetime64[us]"), pattern)
        == [value for _, value in part]
        for part in (few, rest)
    )


def regular_reading(
    readings: Sequence[Times], rows: Rows, keys: Sequence[Column], least: float = 0.0
) -> tuple[Times, Rhythm]:
    """Of the readings of the timestamps, the one with the most regular steps: of several, if at least such a share is."""
    measured = [(times, find_rhythm(rows.series(keys, times))) for times in readings]
    best = max(steps.exact for _, steps in measured)
    leaders = [(times, steps) for times, steps in measured if steps.exact == best or best < least]
    if len(leaders) > 1:
        patterns = [times.pattern for times, _ in leaders]
        raise InferenceError(
            f"day and month can't be distinguished in {leaders[0][0].column.name}: {' or '.join(patterns)}; "
            f"write a params.json that sets TimestampFormat",
            role="format",
            candidates=patterns,
        )
    return leaders[0]


def in_local_time(times: Times, steps: Rhythm, rows: Rows, keys: Sequence[Column]) -> tuple[Times, Rhythm, str | None]:
    """Timestamps with offsets on the clock of their own place, and its zone, where that shows days or longer periods.

    Midnight in Berlin is 23:00 or 22:00 the day before in UTC: days, weeks and months are those of the place. Hours and
    minutes stay in UTC, where none is missing or repeated.
    """
    if not has_offset(times.pattern):
        _refuse_midnights_in_utc(times)
        return times, steps, None
    offsets = [None if value is None else read_offset(value) for value in times.column.values]
    if not any(offsets):
        return _in_zone(times, steps, rows, keys)
    pairs = zip(times.moments, offsets, strict=True)
    moments = tuple(None if moment is None or offset is None else moment + offset for moment, offset in pairs)
    local = replace(times, moments=moments)
    there = find_rhythm(rows.series(keys, local))
    if there.frequency is None or there.frequency.approximate_seconds < 86_400:
        return times, steps, None
    known = [(m, o) for m, o in zip(times.moments, offsets, strict=True) if m is not None and o is not None]
    zone = find_time_zone(known)
    if zone is not None:
        return local, there, zone
    _refuse_other_dates(times, local, steps)
    return times, steps, None


def _refuse_midnights_in_utc(times: Times) -> None:
    """Refuse times without an offset at 22:00 in summer and 23:00 in winter: midnights whose dates are one day early.

    Raises:
        InferenceError: they are those of a place.
    """
    moments = {moment for moment in times.moments if moment is not None}
    zone = zone_of_midnights(moments) if len(moments) >= _MIDNIGHTS else None
    if zone is not None:
        raise InferenceError(
            f"times in {times.column.name}, such as {times.column.present[0]}, seem to be midnights in {zone} that were "
            "written in UTC: write the dates of that place, or a Z behind each time",
            role=REWRITE,
        )


def _refuse_other_dates(times: Times, local: Times, steps: Rhythm) -> None:
    """Refuse midnights of several places where UTC has another date.

    Raises:
        InferenceError: a row would count for the day before or after its own.
    """
    own: NDArray[np.datetime64] = np.array([moment for moment in local.moments if moment], dtype="datetime64[us]")
    if steps.frequency is None or (own != own.astype("datetime64[D]")).any():
        return
    grid = Grid(steps.frequency, steps.alignment)
    read: NDArray[np.datetime64] = np.array([moment for moment in times.moments if moment], dtype="datetime64[us]")
    snap = np.timedelta64(steps.snap or 0, "us")
    places = [grid.ordinal((each + snap).astype("datetime64[us]")) for each in (read, own)]
    odd = np.flatnonzero(places[0] != places[1])
    if len(odd):
        raise InferenceError(
            f"{times.column.name} holds midnights of several places, of which UTC has other dates ({str(own[odd[0]])[:10]} "
            f"would count for {str(read[odd[0]])[:10]}): write the dates alone, without times and offsets",
            role=REWRITE,
        )


def _in_zone(times: Times, steps: Rhythm, rows: Rows, keys: Sequence[Column]) -> tuple[Times, Rhythm, str | None]:
    """Times in UTC on the clock of the place whose midnights they are, at 22:00 in summer and 23:00 in winter."""
    name = zone_of_midnights(moment for moment in times.moments if moment is not None)
    if name is None:
        return times, steps, None
    zone = ZoneInfo(name)
    moments = tuple(
        None if moment is None else moment.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
        for moment in times.moments
    )
    local = replace(times, moments=moments)
    return local, find_rhythm(rows.series(keys, local)), name
