"""Parameters guessed from a sample of the train files, for a store without params.json.

Which column holds the timestamp, the item, the target; how timestamps are written; how often rows come. A guess is made
only where the sample leaves one reading; otherwise `InferenceError` names the candidates and the key of params.json
that settles it. Reading files does not belong here: rows come in as text.

Rules, in order:

1. Timestamp: the one column whose every value reads by one of the known patterns, names such as "timestamp" or "date"
   first. Day and month are told apart by values above 12, else by which reading gives the more regular steps.
2. Item: by name ("item_id", "unique_id", …, or a name that ends in "id"), else the only text column. Without any there
   is no item column: the files hold a single series.
3. Target: by name (a domain's own, or "y", "sales", "Order_Quantity", …), else the only column of numbers left.
4. Other text columns are dimensions when they are needed to tell rows of one item and timestamp apart; else unused.
5. Frequency: see `calendar.rhythm`.
6. The alignment, where timestamps agree on a weekday, day of month, hour or phase, see `calendar.alignment`. Timestamps
   with offsets whose local time shows days or longer are read on the clock of a zone that has these offsets.
7. Horizon: `DEFAULT_HORIZON` of the unit (the M4 competition's: H 48, D 14, W 13, M 18, Y 6; a day of minutes, at most
   60 periods), divided by the multiple.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Frequency, Unit
from chronos_assets.calendar.rhythm import Rhythm, duration, find_rhythm
from chronos_assets.calendar.time_zones import find_time_zone
from chronos_assets.calendar.timestamp_format import format_timestamps, has_offset, parse_timestamp, read_offset
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.forecast import (
    DOMAINS,
    NAME_PATTERN,
    Attribute,
    AttributeType,
    Domain,
    ForecastParams,
    ParamsError,
    to_document,
)
from chronos_assets.params.headers import column_name
from chronos_assets.params.reader import parse_params

DEFAULT_HORIZON = {Unit.MINUTE: 60, Unit.HOUR: 48, Unit.DAY: 14, Unit.WEEK: 13, Unit.MONTH: 18, Unit.YEAR: 6}

_NOT_A_NUMBER = "not a number (write it with a decimal point, and without thousands separators)"

# What files write where a value is missing.
MISSING_MARKERS = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-"})

# Known names, best first; compared without regard to case and to anything but letters and digits.
_TIMESTAMP_NAMES = ("timestamp", "datetime", "date", "ds", "time", "ts", "period", "day", "week", "month", "year")
_ITEM_NAMES: tuple[str, ...] = (
    "itemid",
    "instancetype",
    "workforcetype",
    "metricname",
    "uniqueid",
    "seriesid",
    "item",
    "series",
    "id",
)
_ITEM_NAMES += ("sku", "product", "name", "key")
_TARGET_NAMES: tuple[str, ...] = (
    "targetvalue",
    "demand",
    "numberofinstances",
    "workforcedemand",
    "metricvalue",
    "value",
    "target",
    "y",
)
_TARGET_NAMES += ("sales", "quantity", "qty", "units", "count", "load", "consumption", "usage", "volume", "amount")

# Fewer periods with a row than this are told of.
_MOSTLY = 0.8
# Up to this share of a column's values may be unreadable without changing what the column is: bad rows happen.
_FEW_BAD = 0.05
# Up to this share of rows may repeat a timestamp of their series (overlapping files do) before columns are in doubt.
_FEW_REPEATS = 0.05

_DATES: tuple[str, ...] = (
    "yyyy-MM-dd",
    "yyyy/MM/dd",
    "dd/MM/yyyy",
    "MM/dd/yyyy",
    "dd-MM-yyyy",
    "MM-dd-yyyy",
    "dd.MM.yyyy",
)
_DATES += ("d/M/yyyy", "M/d/yyyy", "d.M.yyyy", "yyyy-M-d", "yyyy/M/d")
_DATES += ("dd/MM/yy", "MM/dd/yy", "d/M/yy", "M/d/yy", "dd.MM.yy", "dd-MMM-yy")
_DATES += ("dd MMM yyyy", "d MMM yyyy", "dd-MMM-yyyy", "MMM d yyyy", "MMM dd, yyyy", "yyyyMMdd")
_TIMES: tuple[str, ...] = ("HH:mm:ss", "HH:mm", "H:mm:ss", "H:mm", "hh:mm:ss a", "hh:mm a", "h:mm:ss a", "h:mm a")
_TIMES += tuple(f"HH:mm:ss.{'S' * digits}" for digits in range(1, 7))
_PARTIAL_DATES = ("yyyy-MM", "yyyy/MM", "MMM yyyy", "yyyy")
# Digits alone could be any number: these patterns need a column with a timestamp's name.
_DIGITS_ONLY = frozenset({"yyyyMMdd", "yyyy"})


def _patterns() -> tuple[str, ...]:
    """Every pattern that is tried, the service's own first."""
    full = [f"{date}{separator}{time}" for separator in (" ", "'T'") for date in _DATES for time in _TIMES]
    with_offset = [f"{pattern}XXX" for pattern in full if "a" not in pattern]
    return (*_DATES, *full, *with_offset, *_PARTIAL_DATES)


def _shape(text: str) -> str:
    """What a text looks like: every run of letters an "a", every run of digits a "9"."""
    return re.sub("[0-9]+", "9", re.sub("[A-Za-z]+", "a", text.strip()))


@lru_cache(maxsize=1)
def _patterns_by_shape() -> dict[str, list[str]]:
    """The patterns that could read a text of a shape: trying all of them on every text would take long."""
    example = np.array(["2024-11-12T13:14:15.161718"], dtype="datetime64[us]")
    index: dict[str, list[str]] = {}
    for pattern in _patterns():
        shape = _shape(format_timestamps(example, pattern)[0])
        shapes = [shape]
        if has_offset(pattern):  # of which the example shows only the Z
            shapes += [shape[:-1] + offset for offset in ("+9:9", "-9:9", "+9", "-9")]
        for each in shapes:
            index.setdefault(each, []).append(pattern)
    return index


class InferenceError(ChronosAssetsError, ValueError):
    """The sample does not say what params.json would; the message tells what to write there.

    `candidates` are columns of which one must be chosen for `role` ("item", "target" or "timestamp"), if that was the
    trouble; `infer` takes it under the role's name. `draft` is then a whole parameter file (a JSON value) with the
    first of them, for the user to correct, if the rest of the sample is clear.
    """

    def __init__(self, message: str, *, role: str | None = None, candidates: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.role = role
        self.candidates = tuple(candidates)
        self.draft: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Column:
    """A column of the sample. `values` are stripped, with None where a value is missing."""

    index: int
    name: str
    values: tuple[str | None, ...]

    @property
    def present(self) -> list[str]:
        """The values that are not missing."""
        return [value for value in self.values if value is not None]

    @property
    def is_numeric(self) -> bool:
        """Whether the column holds numbers, a few bad values aside."""
        present = self.present
        numbers = sum(_is_number(value) for value in present)
        return numbers > 0 and numbers >= (1 - _FEW_BAD) * len(present)

    @property
    def is_empty(self) -> bool:
        """Whether all values are missing."""
        return not self.present


@dataclass(frozen=True)
class _Times:
    """A column read as timestamps by one pattern."""

    column: _Column
    pattern: str
    moments: tuple[datetime | None, ...]


@dataclass(frozen=True)
class _Roles:
    """What the columns of the sample are."""

    times: _Times
    target: _Column
    item: _Column | None
    dimensions: tuple[_Column, ...]


def is_value(text: str) -> bool:
    """Whether a text is a number or a timestamp, so that it can't be a column's name."""
    return _is_number(text) or _reads_as_time(text)


def infer(
    header: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    *,
    dataset_group: str = "dataset",
    timestamp: str | None = None,
    item: str | None = None,
    target: str | None = None,
) -> ForecastParams:
    """Parameters for files that look like this sample of a few thousand rows.

    `header` holds the files' column names, None when they have none (columns are then called by their role). `rows`
    hold text, one cell per column; rows that follow each other in a file are best, a series with too few rows says
    nothing of the frequency. `timestamp`, `item` and `target` name columns that are known already. What was guessed is
    told in the notes.

    Raises:
        InferenceError: when the sample leaves more than one reading, or none.
    """
    named = {"timestamp": timestamp, "item": item, "target": target}
    try:
        return _infer(header, rows, dataset_group, named)
    except InferenceError as error:
        error.draft = _draft(header, rows, dataset_group, named, error)
        raise


def _draft(
    header: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    dataset_group: str,
    named: Mapping[str, str | None],
    error: InferenceError,
) -> dict[str, Any] | None:
    """The parameter file with the first candidate for each role that was in doubt, or None if that does not do."""
    while error.role is not None and named[error.role] is None:
        named = {**named, error.role: error.candidates[0]}
        try:
            return to_document(_infer(header, rows, dataset_group, named))
        except InferenceError as other:
            error = other
    return None


def _infer(
    header: Sequence[str] | None, rows: Sequence[Sequence[str]], dataset_group: str, named: Mapping[str, str | None]
) -> ForecastParams:
    columns = _columns(header, rows)
    readings = _timestamp_readings(columns, _named(columns, named, "timestamp"))
    remaining = [column for column in columns if column is not readings[0].column and not column.is_empty]
    wanted_target = _named(columns, named, "target")
    item_column = _named(columns, named, "item")
    if item_column is None:
        item_column = _item_column([c for c in remaining if c is not wanted_target], has_header=header is not None)
    remaining = [column for column in remaining if column is not item_column]
    target_column = wanted_target or _target_column(remaining, has_header=header is not None)
    texts = [column for column in remaining if column is not target_column and not column.is_numeric]
    dimensions = _dimensions(item_column, readings[0], texts)
    keys = [column for column in (item_column, *dimensions) if column is not None]
    times, steps = _regular_reading(readings, keys)
    times, steps, zone = _in_local_time(times, steps, keys)
    if steps.frequency is None:
        raise InferenceError(
            f"how often rows come can't be told: {steps.reason}; write a params.json that sets "
            f"Datasets[0].DataFrequency and Predictor.FeaturizationConfig.ForecastFrequency"
        )
    group = dataset_group if NAME_PATTERN.fullmatch(dataset_group) else column_name(dataset_group)
    roles = _Roles(times, target_column, item_column, tuple(dimensions))
    params = _assemble(columns, roles, steps.frequency, group, has_header=header is not None)
    snap = steps.snap / 1_000_000 if steps.snap else None
    params = _checked(replace(params, alignment=steps.alignment, snap_seconds=snap, time_zone=zone))
    return replace(params, notes=(*_notes(params, steps.finer), *_rhythm_notes(params, steps)))


# --- Columns


def _columns(header: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> list[_Column]:
    if not rows:
        raise InferenceError("the train files hold no rows: there is nothing to infer parameters from")
    width = len(header) if header is not None else len(rows[0])
    ragged = next((index for index, row in enumerate(rows) if len(row) != width), None)
    if ragged is not None:
        raise InferenceError(f"row {ragged + 1} of the sample has {len(rows[ragged])} columns, not {width}")
    names = [f"column_{index + 1}" for index in range(width)] if header is None else [column_name(n) for n in header]
    twice = [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]
    if twice:
        raise InferenceError(f"two columns are called {twice[0]}: give every column of the header a name of its own")
    return [_Column(index, name, tuple(_value(row[index]) for row in rows)) for index, name in enumerate(names)]


def _value(cell: str | None) -> str | None:
    text = "" if cell is None else cell.strip()
    return None if text.casefold() in MISSING_MARKERS else text


def _named(columns: Sequence[_Column], named: Mapping[str, str | None], role: str) -> _Column | None:
    """The column that the caller named for a role."""
    name = named[role]
    if name is None:
        return None
    wanted = column_name(name).casefold()
    for column in columns:
        if column.name.casefold() == wanted:
            return column
    raise InferenceError(f"there is no column {name} for the {role}; there are {_listed(columns)}")


def _listed(columns: Iterable[_Column]) -> str:
    return ", ".join(column.name for column in columns)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _rank(name: str, known: Sequence[str]) -> float:
    """How well a name is known: 0 is best, and a name whose last word is known ("Order_Quantity") comes last."""
    plain = _plain(name)
    if plain in known:
        return known.index(plain)
    last = _plain(re.split(r"_|(?<=[a-z])(?=[A-Z])", name)[-1])
    return len(known) if last in known else math.inf


def _best(columns: Sequence[_Column], known: Sequence[str]) -> list[_Column]:
    """The columns with the best known name; none when no name is known."""
    ranks = [_rank(column.name, known) for column in columns]
    best = min(ranks, default=math.inf)
    return [] if best == math.inf else [column for column, rank in zip(columns, ranks, strict=True) if rank == best]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


# --- Timestamps


def _reads_as_time(text: str) -> bool:
    patterns = _patterns_by_shape().get(_shape(text), [])
    return any(parse_timestamp(text, pattern) is not None for pattern in patterns if pattern not in _DIGITS_ONLY)


def _timestamp_readings(columns: Sequence[_Column], named: _Column | None) -> list[_Times]:
    """The timestamp column, in every reading that fits its values (several when day and month could be swapped)."""
    candidates = [named] if named is not None else [column for column in columns if not column.is_empty]
    clock = [column for column in candidates if _is_time_of_day(column)]
    if clock:
        raise InferenceError(
            f"the time of day stands in a column of its own, {clock[0].name}; join it with the date into one column"
        )
    readings: dict[int, list[_Times]] = {}
    for bad in (0.0, _FEW_BAD):  # a few bad values are tolerated only if no column reads without
        for column in candidates:
            known = named is not None or _rank(column.name, _TIMESTAMP_NAMES) < len(_TIMESTAMP_NAMES)
            if found := _read_times(column, digits_only=known, tolerated=bad):
                readings[column.index] = found
        if readings:
            break
    else:
        raise InferenceError(_no_timestamp(columns, named))
    times = [column for column in candidates if column.index in readings]
    chosen = times if len(times) == 1 else _best(times, _TIMESTAMP_NAMES)
    if len(chosen) != 1:
        raise _several("the timestamp", chosen or times, "timestamp")
    return readings[chosen[0].index]


def _is_time_of_day(column: _Column) -> bool:
    return bool(column.present) and all(re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", value) for value in column.present)


def _no_timestamp(columns: Sequence[_Column], named: _Column | None) -> str:
    epoch = [c.name for c in columns if c.present and all(re.fullmatch(r"1\d{9}(\d{3}){0,3}", v) for v in c.present)]
    if epoch:
        return f"{epoch[0]} seems to count seconds since 1970; write timestamps such as 2024-01-31 15:00:00"
    where = f"column {named.name} holds" if named is not None else f"none of the columns {_listed(columns)} holds"
    return (
        f"{where} timestamps in a form that is known; write them such as 2024-01-31 15:00:00, "
        f"or describe them by TimestampFormat in a params.json"
    )


def _read_times(column: _Column, *, digits_only: bool, tolerated: float) -> list[_Times]:
    """Every reading of a column that differs from the others and leaves at most a tolerated share of values unread.

    Of the patterns that read the same, the one that also writes the values as they stand is kept.
    """
    distinct = list(dict.fromkeys(column.present))
    readings: dict[tuple[datetime | None, ...], str] = {}
    shape = Counter(_shape(value) for value in distinct).most_common(1)[0][0]
    for pattern in _patterns_by_shape().get(shape, []):
        if pattern in _DIGITS_ONLY and not digits_only:
            continue
        moments = _read_all(distinct, pattern, int(tolerated * len(distinct)))
        if moments is None:
            continue
        if moments not in readings or (
            not _writes(moments, readings[moments], distinct) and _writes(moments, pattern, distinct)
        ):
            readings[moments] = pattern
    times = []
    for moments, pattern in readings.items():
        table = dict(zip(distinct, moments, strict=True))
        times.append(_Times(column, pattern, tuple(None if v is None else table[v] for v in column.values)))
    return times


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


def _writes(moments: Sequence[datetime | None], pattern: str, values: Sequence[str]) -> bool:
    """Whether the pattern writes the moments exactly as the values stand."""
    read = [(moment, value) for moment, value in zip(moments, values, strict=True) if moment is not None]
    written = format_timestamps(np.array([moment for moment, _ in read], dtype="datetime64[us]"), pattern)
    return written == [value for _, value in read]


# --- Roles of the other columns


def _item_column(columns: Sequence[_Column], *, has_header: bool) -> _Column | None:
    """The column that names the series; None when there is no text column and no column with an item's name."""
    if has_header:
        known = _best(columns, _ITEM_NAMES)
        if len(known) == 1:
            return known[0]
        if known:
            raise _several("the item", known, "item")
    texts = [column for column in columns if not column.is_numeric]
    if len(texts) > 1:
        raise _several("the item", texts, "item")
    return texts[0] if texts else None


def _target_column(columns: Sequence[_Column], *, has_header: bool) -> _Column:
    known = _best(columns, _TARGET_NAMES) if has_header else []
    if len(known) == 1 and not known[0].is_numeric:
        sample = next(value for value in known[0].present if not _is_number(value))
        raise InferenceError(f"{known[0].name} should hold the value to forecast, but {sample!r} is {_NOT_A_NUMBER}")
    if len(known) == 1:
        return known[0]
    numbers = [column for column in columns if column.is_numeric]
    if not numbers:
        raise InferenceError(f"no value to forecast: none of {_listed(columns) or 'the columns'} holds numbers")
    if len(numbers) > 1:
        raise _several("the value to forecast", known or numbers, "target")
    return numbers[0]


def _several(what: str, columns: Sequence[_Column], role: str) -> InferenceError:
    custom = DOMAINS["CUSTOM"]
    field_name = {"item": custom.item, "timestamp": custom.timestamp, "target": custom.target}[role]
    return InferenceError(
        f"several columns could hold {what}: {_listed(columns)}; write a params.json that lists the columns in "
        f'Datasets[0].Schema.Attributes and says which it is, Chronos.Columns = {{"{field_name}": "{columns[0].name}"}}',
        role=role,
        candidates=[column.name for column in columns],
    )


def _dimensions(item: _Column | None, times: _Times, texts: Sequence[_Column]) -> list[_Column]:
    """The text columns needed, beside the item, to tell rows of one timestamp apart.

    None are needed when the item does it; columns are added while they reduce the repeats. If that does not end them,
    the columns left don't explain them either, and no guess is made.
    """
    chosen: list[_Column] = []
    keys: list[_Column] = [] if item is None else [item]
    repeats = _repeats([*keys, *chosen], times)
    open_columns = [column for column in texts if None not in column.values]
    while repeats > _FEW_REPEATS and open_columns:
        scores = [_repeats([*keys, *chosen, column], times) for column in open_columns]
        best = min(scores)
        if best >= repeats:
            break
        chosen.append(open_columns.pop(scores.index(best)))
        repeats = best
    if repeats > _FEW_REPEATS and (texts or item is None):
        series = item.name if item is not None else "the series (there is no item column)"
        raise InferenceError(
            f"{repeats:.0%} of the rows repeat a timestamp of {series}"
            + (f", and {_listed(texts)} do not tell them apart" if texts else "")
            + "; write a params.json that names the columns of a series in Predictor.FeaturizationConfig."
            "ForecastDimensions, or that leaves them out to have such rows added up"
        )
    return sorted(chosen, key=lambda column: column.index)


def _repeats(keys: Sequence[_Column], times: _Times) -> float:
    """The share of rows whose series and timestamp occurred before."""
    rows = [row for row in zip(times.moments, *(column.values for column in keys), strict=True) if row[0] is not None]
    return 1 - len(set(rows)) / len(rows)


# --- Frequency


def _regular_reading(readings: Sequence[_Times], keys: Sequence[_Column]) -> tuple[_Times, Rhythm]:
    """Of the readings of the timestamps, the one with the most regular steps."""
    measured = [(times, _steps(times, keys)) for times in readings]
    best = max(steps.exact for _, steps in measured)
    leaders = [(times, steps) for times, steps in measured if steps.exact == best]
    if len(leaders) > 1:
        patterns = " or ".join(times.pattern for times, _ in leaders)
        raise InferenceError(
            f"day and month can't be told apart in {leaders[0][0].column.name}: {patterns}; "
            f"write a params.json that sets TimestampFormat"
        )
    return leaders[0]


def _series_moments(times: _Times, keys: Sequence[_Column]) -> list[NDArray[np.datetime64]]:
    """Distinct ascending timestamps of each series."""
    series: dict[tuple[str | None, ...], set[datetime]] = {}
    for moment, *key in zip(times.moments, *(column.values for column in keys), strict=True):
        if moment is not None:
            series.setdefault(tuple(key), set()).add(moment)
    return [np.array(sorted(moments), dtype="datetime64[us]") for moments in series.values()]


def _steps(times: _Times, keys: Sequence[_Column]) -> Rhythm:
    """The frequency that the timestamps of the series show."""
    return find_rhythm(_series_moments(times, keys))


def _in_local_time(times: _Times, steps: Rhythm, keys: Sequence[_Column]) -> tuple[_Times, Rhythm, str | None]:
    """Timestamps with offsets on the clock of their own place, and its zone, where that shows days or longer periods.

    Midnight in Berlin is 23:00 or 22:00 the day before in UTC: days, weeks and months are those of the place. Hours and
    minutes stay in UTC, where none is missing or repeated.
    """
    if not has_offset(times.pattern):
        return times, steps, None
    offsets = [None if value is None else read_offset(value) for value in times.column.values]
    if not any(offsets):
        return times, steps, None
    pairs = zip(times.moments, offsets, strict=True)
    moments = tuple(None if moment is None or offset is None else moment + offset for moment, offset in pairs)
    local = replace(times, moments=moments)
    there = _steps(local, keys)
    if there.frequency is None or there.frequency.approximate_seconds < 86_400:
        return times, steps, None
    known = [(m, o) for m, o in zip(times.moments, offsets, strict=True) if m is not None and o is not None]
    zone = find_time_zone(known)
    return (times, steps, None) if zone is None else (local, there, zone)


def default_horizon(frequency: Frequency) -> int:
    """Periods to forecast when nobody said: `DEFAULT_HORIZON` divided by the multiple, at least 4.

    Minutes cover a day, but at most 60 periods.
    """
    if frequency.unit is Unit.MINUTE:
        return min(DEFAULT_HORIZON[Unit.MINUTE], 1440 // frequency.n)
    return max(4, math.ceil(DEFAULT_HORIZON[frequency.unit] / frequency.n))


# --- The result


def _domain(names: set[str]) -> tuple[str, Domain]:
    """The domain whose three fields are all among the columns, else CUSTOM."""
    for name, domain in DOMAINS.items():
        if {domain.item, domain.timestamp, domain.target} <= names:
            return name, domain
    return "CUSTOM", DOMAINS["CUSTOM"]


def _assemble(
    columns: Sequence[_Column], roles: _Roles, frequency: Frequency, dataset_group: str, *, has_header: bool
) -> ForecastParams:
    domain_name, domain = _domain({column.name for column in columns})
    fields = {roles.times.column.index: domain.timestamp, roles.target.index: domain.target}
    if roles.item is not None:
        fields[roles.item.index] = domain.item
    names = {c.index: c.name if has_header else fields.get(c.index, c.name) for c in columns}
    return ForecastParams(
        dataset_group=dataset_group,
        domain=domain_name,
        attributes=tuple(Attribute(names[column.index], _type(column, roles)) for column in columns),
        item_column=None if roles.item is None else names[roles.item.index],
        timestamp_column=names[roles.times.column.index],
        target_column=names[roles.target.index],
        dimensions=tuple(names[column.index] for column in roles.dimensions),
        data_frequency=frequency,
        frequency=frequency,
        horizon=default_horizon(frequency),
        timestamp_format=roles.times.pattern,
    )


def _type(column: _Column, roles: _Roles) -> AttributeType:
    """The type of an attribute; numbers are floats, since a later file may bring decimals."""
    if column is roles.times.column:
        return "timestamp"
    if column is roles.target:
        return "float"
    if column is roles.item or column in roles.dimensions:
        return "string"
    return "float" if column.is_numeric else "string"


def _notes(params: ForecastParams, finer: str | None) -> tuple[str, ...]:
    """What was guessed, for the user to check."""
    item = f"{params.item_column} as the item" if params.item_column is not None else "all rows as one series"
    notes = [
        f"No params.json: {params.timestamp_column} is read as the timestamp ({params.timestamp_format}), "
        f"{params.target_column} as the target, {item}.",
        f"Rows come {params.frequency.description} ({params.frequency}); {params.horizon} periods are forecast.",
    ]
    if finer is not None:
        notes[1] = f"Rows come every {finer} and are added up by the minute; {params.horizon} minutes are forecast."
    if params.dimensions:
        notes.append(f"Each value of {', '.join(params.dimensions)} makes a series of its own.")
    used = {params.item_column, params.timestamp_column, params.target_column, *params.dimensions}
    unused = [attribute.name for attribute in params.attributes if attribute.name not in used]
    if unused:
        notes.append(f"Not used: {', '.join(unused)}.")
    return tuple(notes)


def _rhythm_notes(params: ForecastParams, steps: Rhythm) -> Iterator[str]:
    """What was guessed of the periods: where they start, which rows were moved, how many are empty."""
    if params.alignment != DEFAULT_ALIGNMENT:
        where = "Chronos.Anchor" if params.alignment.anchor is not None else "Predictor.TimeAlignmentBoundary"
        yield f"Periods start where the rows' timestamps lie, see {where}."
    if params.snap_seconds is not None:
        yield (
            f"Timestamps stray from the starts of periods: rows up to {duration(steps.snap)} before one belong to the "
            f"period that it starts, see Chronos.SnapSeconds."
        )
    if params.time_zone is not None:
        yield f"Timestamps are read on the clock of {params.time_zone}, which fits their offsets, see Chronos.TimeZone."
    elif has_offset(params.timestamp_format):
        yield "Timestamps with an offset become times in UTC; set Chronos.TimeZone to have them on the clock of a place."
    if steps.observed < _MOSTLY:
        yield (
            f"{1 - steps.observed:.0%} of the periods between the first and the last row of a series have no row; they "
            f"count as missing, not as 0, see middlefill."
        )


def _checked(params: ForecastParams) -> ForecastParams:
    """The parameters, once a file written from them is known to be readable (a column may have a reserved name)."""
    try:
        parse_params(to_document(params))
    except ParamsError as error:
        reasons = "; ".join(str(problem) for problem in error.problems)
        raise InferenceError(f"the columns of the train files can't be used as they are called: {reasons}") from error
    return params
