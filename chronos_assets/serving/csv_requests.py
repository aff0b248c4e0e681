"""Requests in CSV."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np

from chronos_assets.calendar.frequencies import MAX_MULTIPLE, Frequency, Unit
from chronos_assets.calendar.periods import period, steps_between
from chronos_assets.params.headers import folded, names_all
from chronos_assets.serving.schema import (
    NUMBER,
    Call,
    InvocationError,
    Limits,
    Parameters,
    Schema,
    SeriesInput,
    check_frequency,
    check_item_id,
    check_joint,
    check_observed,
    last_period,
    parse_start,
    shown_key,
    shown_value,
)
from chronos_assets.timeseries.arrays import LARGEST

_CSV_COLUMNS = ("item_id", "timestamp", "target")
_REQUIRED = ("target",)
_SHORTEST_MONTH = timedelta(days=28)
_TOLD_BY = 100  # rows of an item, at most, that its frequency is told by


# CSV


def parse_csv(text: str, schema: Schema) -> Call:
    """One call of all series, which are distinguished by item_id and keep the order of their first rows."""
    try:
        rows = [(number, row) for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), 1) if row]
    except csv.Error as error:
        raise InvocationError("body", f"not CSV: {error}") from None
    first = rows[0][1] if rows else []
    if names_all(first, _REQUIRED):
        columns, rows = _named_columns(first), rows[1:]
    else:
        columns = _unnamed_columns(first)
    if not rows:
        raise InvocationError("body", "no rows: send lines of item_id,timestamp,target")
    if len(rows) > schema.limits.max_points:
        raise InvocationError("body", f"{len(rows)} rows, more than {schema.limits.max_points}: send parts", 413)
    series: dict[str | None, _CsvSeries] = {}
    for number, row in rows:
        if len(row) != len(columns):
            raise InvocationError(f"line {number}", f"{len(row)} columns, where there should be {len(columns)}")
        cells = dict(zip(columns, row, strict=True))
        item_id = cells.get("item_id")
        if item_id is not None and item_id not in series:
            check_item_id(item_id, f"line {number}, column item_id")
        one = series.setdefault(item_id, _CsvSeries())
        one.lines.append(number)
        one.values.append(_csv_value(cells["target"], f"line {number}, column target"))
        if "timestamp" in cells:
            place = f"line {number}, column timestamp"
            time = parse_start(cells["timestamp"], place)
            if time is None or (one.times and (time.tzinfo is None) != (one.times[0].tzinfo is None)):
                raise InvocationError(place, "times with and without an offset: write all alike")
            if one.times and time <= one.times[-1]:
                raise InvocationError(place, "not after the row before: sort each item's rows by time, one per period")
            one.times.append(time)
    parameters = schema.defaults
    timed = "timestamp" in columns
    if timed and parameters.freq is None:
        frequency = _inferred(list(series.values()))
        check_frequency(frequency, schema, "query.freq")
        parameters = replace(parameters, freq=frequency)
    elif not timed and parameters.freq is not None:
        raise InvocationError("query.freq", "there is no timestamp column: leave freq out, or add the column")
    check_joint(parameters, schema, "")
    inputs = tuple(_csv_series(item_id, one, parameters, schema.limits) for item_id, one in series.items())
    return Call(inputs, parameters)


@dataclass
class _CsvSeries:
    """Rows of one item."""

    lines: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)


def _unnamed_columns(first: Sequence[str]) -> Sequence[str]:
    """What the columns of rows without a header are."""
    if len(first) not in (1, 3):
        raise InvocationError(
            "line 1", f"{len(first)} columns without a header: send item_id,timestamp,target or the target alone"
        )
    return _CSV_COLUMNS if len(first) == 3 else ["target"]


def _named_columns(header: Sequence[str]) -> Sequence[str]:
    columns = [folded(cell) for cell in header]
    for name in columns:
        if name not in _CSV_COLUMNS or columns.count(name) > 1:
            raise InvocationError(
                f"line 1, column {shown_key(name)}", f"unknown or given twice: there are {', '.join(_CSV_COLUMNS)}"
            )
    return columns


def _csv_value(cell: str, place: str) -> float:
    text = cell.strip()
    if text.lower() in ("", "nan", "null"):
        return math.nan
    if not NUMBER.fullmatch(text):
        raise InvocationError(place, f"{shown_value(text)} is not a number: leave it empty where nothing was observed")
    value = float(text)
    if abs(value) > LARGEST:
        raise InvocationError(place, f"beyond {LARGEST:g}: scale the values down")
    return value


def _csv_series(item_id: str | None, one: _CsvSeries, parameters: Parameters, limits: Limits) -> SeriesInput:
    """A series on its grid: periods without a row get no value."""
    values, start = np.array(one.values), None
    if one.times and parameters.freq is not None:
        start = one.times[0]
        places = [steps_between(start, time, parameters.freq) for time in one.times]
        for place, line in zip(places, one.lines, strict=True):
            if place is None:
                raise InvocationError(
                    f"line {line}, column timestamp",
                    f"not a whole number of periods of {parameters.freq} after line {one.lines[0]}: correct it, or freq",
                )
        known = [place for place in places if place is not None]
        if known[-1] >= limits.max_points:
            raise InvocationError("body", f"{known[-1] + 1} periods of {parameters.freq}: send a shorter history", 413)
        grid = np.full(known[-1] + 1, np.nan)
        grid[known] = values
        values = grid
        last_period(
            start, parameters.freq, len(grid) + parameters.prediction_length, f"line {one.lines[0]}, column timestamp"
        )
    where = f"line {one.lines[0]}"
    check_observed(values, f"{where}, column target")
    return SeriesInput(where, values, item_id, start)


def _inferred(series: Sequence[_CsvSeries]) -> Frequency:
    """The frequency that most successive rows are apart, of two as frequent ones the shorter.

    Raises:
        InvocationError: rows of some item come in other steps than those of others, or it can't be told.
    """
    steps = [
        (one, Counter(map(_step, one.times[:_TOLD_BY], one.times[1:_TOLD_BY]))) for one in series if len(one.times) > 1
    ]
    if not steps:
        raise InvocationError("query.freq", "required, since no item has two rows to tell it from")
    total = sum((counted for _, counted in steps), Counter[Frequency | None]())
    frequency = min(total, key=lambda one: (-total[one], math.inf if one is None else one.approximate_seconds))
    if frequency is None:
        raise InvocationError("query.freq", "can't be determined from how far rows are apart: give it, as ?freq=h")
    for one, counted in steps:
        if counted.total() > 1 and len(counted) == 1 and (other := next(iter(counted))) != frequency:
            raise InvocationError(
                f"line {one.lines[0]}",
                f"the rows of this item come every {other or 'other step'}, those of others every {frequency}: send items of "
                "one frequency at once, or give freq",
            )
    return frequency


def _step(time: datetime, following: datetime) -> Frequency | None:
    """The frequency of which two rows are one period apart; None without one."""
    apart = following - time
    if apart < _SHORTEST_MONTH:
        return _of_length(apart)
    months = 12 * (following.year - time.year) + following.month - time.month
    for number, unit in ((months, Unit.MONTH), (months / 12, Unit.YEAR)):
        if number == int(number) and 1 <= number <= MAX_MULTIPLE[unit]:
            frequency = Frequency(int(number), unit)
            # Before weeks: from February to March are 28 days.
            if period(time, frequency, 1) == following:
                return frequency
    return _of_length(apart)


@lru_cache(maxsize=1024)
def _of_length(apart: timedelta) -> Frequency | None:
    seconds = apart.total_seconds()
    for size, unit in ((60, Unit.MINUTE), (3600, Unit.HOUR), (86400, Unit.DAY), (604800, Unit.WEEK)):
        if seconds % size == 0 and 1 <= seconds // size <= MAX_MULTIPLE[unit]:
            return Frequency(int(seconds // size), unit)
    return None
