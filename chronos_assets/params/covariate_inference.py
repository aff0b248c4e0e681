"""Covariates in a store without params.json: which columns of the train files may be some, and what files beside them hold.

Here: what a sample says. Columns of the train files are only offered, in the notes and the draft, since a column that
nobody meant could fail an import; files in `related/` and `item_metadata/` are declared, since somebody put them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Frequency, Grid, Unit
from chronos_assets.calendar.rhythm import find_rhythm
from chronos_assets.calendar.timestamp_format import has_offset, read_offset
from chronos_assets.params.attributes import Attribute, CovariateSchema, MetadataParams, RelatedParams
from chronos_assets.params.columns import REWRITE, Column, InferenceError, Times, item_of, listed, with_points
from chronos_assets.params.forecast import DOMAINS, ForecastParams
from chronos_assets.params.headers import column_name
from chronos_assets.params.keys import FEW_REPEATS, Rows
from chronos_assets.params.target_values import check_point, unit_notes, value_notes
from chronos_assets.params.timestamp_columns import regular_reading, timestamp_readings
from chronos_assets.params.wide_times import wide_times

_KEYS = {"item_id", "timestamp"}
# A text that is another one in so large a share of the rows names the row, and describes nothing.
_MOSTLY_UNIQUE = 0.5
_MOSTLY = 0.5  # of rows
_MOSTLY_REGULAR = 0.5  # the share of steps that are alike, from which on they tell days from months
_PRICED = re.compile(r"[-+]?[$€£¥] ?[-+]?[\d.,]+|[-+]?[\d.,]+ ?[$€£¥%]")


@dataclass(frozen=True)
class TargetSample:
    """What a sample of the target says of files beside it.

    Attributes:
        in_utc: whether its timestamps have offsets, all of them 0.
        items: names in it.
    """

    in_utc: bool = False
    items: frozenset[str] = frozenset()

    @classmethod
    def of(cls, params: ForecastParams, header: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> TargetSample:
        """Of the rows that the parameters were inferred from."""
        names = [column_name(name) for name in header or ()]
        times, items = (
            [row[names.index(name)].strip() for row in rows] if name in names else []
            for name in (params.timestamp_column, params.item_column)
        )
        return cls(has_offset(params.timestamp_format) and bool(times) and _are_zero(times), frozenset(items))


def offers(unused: Sequence[Column], times: Times, target: Column, item: Column | None) -> Iterator[str]:
    """What to tell the user of columns of the train files that may explain the target."""
    useful = [column for column in unused if _may_explain(column)]
    if commas := [column for column in unused if column.has_commas]:
        example = next(value for value in commas[0].present if "," in value)
        yield f"Numbers such as {example} in {commas[0].name} could explain the target if they had a decimal point."
    metadata = [column for column in useful if item is not None and _is_constant(column, item)]
    related = [column for column in useful if column not in metadata]
    parts = []
    if related:
        parts.append(f'"Related": [{", ".join(_quoted(column) for column in related)}]')
    if metadata:
        parts.append(f'"Metadata": [{", ".join(_quoted(column) for column in metadata)}]')
    if not parts:
        return
    ahead = [column.name for column in related if _is_ahead(column, times, target)]
    known = f"; known in advance, since filled beyond the target's end: {', '.join(ahead)}" if ahead else ""
    yield f"Offered: other columns may explain the target; to use them, add {', '.join(parts)} to Chronos{known}."


def _quoted(column: Column) -> str:
    return f'"{column.name}"'


def _may_explain(column: Column) -> bool:
    """Whether a column has several values, and does not name its row."""
    if len(set(column.present)) < 2 or column.is_row_number or column.name.casefold() in _KEYS or column.has_commas:
        return False
    return column.is_numeric or len(column.distinct) <= max(_MOSTLY_UNIQUE * len(column.texts), 2)


def _is_constant(column: Column, item: Column) -> bool:
    """Whether all rows of an item have one value."""
    values: dict[str, str] = {}
    for key, value in zip(item.texts, column.values, strict=True):
        if value is not None and values.setdefault(key, value) != value:
            return False
    return len(item.distinct) > 1


def _is_ahead(column: Column, times: Times, target: Column) -> bool:
    """Whether a column has a value after the last one of the target."""

    def last(values: Sequence[str | None]) -> datetime | None:
        moments = (when for when, value in zip(times.moments, values, strict=True) if value is not None and when)
        return max(moments, default=None)

    own, end = last(column.values), last(target.values)
    return own is not None and end is not None and own > end


def with_related(
    params: ForecastParams,
    header: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    files: Sequence[int] | None = None,
    stretches: Sequence[int] | None = None,
    *,
    target: TargetSample = TargetSample(),
) -> ForecastParams:
    """The parameters with the related time series that a sample of files in `related/` shows.

    Args:
        params: of the target.
        header: names of the columns.
        rows: text, one cell per column.
        files: of each row, a number for its file; all of one file when None.
        stretches: of each row, a number for the run of rows that it belongs to; one when None.
        target: what else is known of it.

    Raises:
        InferenceError: the sample has no header, no timestamp, or nothing but keys; or its timestamps, or the series of its
            rows, leave more than one reading.
    """
    header, rows = _with_header(params, header, rows)
    columns = _columns(header, rows, "related", params.dimensions)
    columns = with_points(columns) if params.decimal_comma else columns
    places = [list(given)[-len(rows) :] if given else [0] * len(rows) for given in (files, stretches)]
    readings = timestamp_readings(
        columns, _column_named(columns, params.timestamp_column, DOMAINS[params.domain].timestamp)
    )
    timestamp = readings[0].column
    item = _item(params, columns)
    dimensions = tuple(column for column in columns if column.name in params.dimensions)
    series = [*([item] if item else []), *dimensions]
    sample = Rows(readings[0], *places)
    times = _reading(readings, sample, series, params.timestamp_format)
    wide = wide_times(columns)
    if wide is not None and not wide.unclear:
        raise InferenceError(f"related/: {wide}; write rows of a timestamp and a value", role=REWRITE)
    clocks = list(_clock_notes(params, times, in_utc=target.in_utc))
    clocks += _place_notes(params, sample.series(series, times))
    repeats = sample.repeats(series)
    if item is None:
        _refuse_missing_item(params, columns, timestamp, dimensions, repeats, target)
    keys = {timestamp.name, *(column.name for column in series)}
    schema = CovariateSchema(
        attributes=tuple(_attribute(column, keys, timestamp.name) for column in columns if _is_usable(column, keys)),
        item_column=item.name if item else None,
        timestamp_column=timestamp.name,
        dimensions=tuple(name for name in params.dimensions if name in keys),
        timestamp_format=None if times.pattern == params.timestamp_format else times.pattern,
    )
    notes = [_note("related/", "related time series", schema), *clocks]
    notes += _number_notes(schema, columns, times, places[0], series)
    if repeats > FEW_REPEATS:
        _refuse_contradictions([column for column in columns if column.name not in keys], series, times, repeats)
        notes.append(
            f"Guessed: rows of related/ that share a series and a timestamp ({repeats:.0%} repeat one) count as their mean, "
            "and the most frequent of their texts."
        )
    return replace(params, related=RelatedParams(schema), notes=(*params.notes, *notes))


def _number_notes(
    schema: CovariateSchema, columns: Sequence[Column], times: Times, files: Sequence[int], series: Sequence[Column]
) -> Iterator[str]:
    """What to check of the columns that are read as numbers."""
    numbers = {attribute.name for attribute in schema.covariates if attribute.type != "string"}
    for column in columns:
        if column.name in numbers:
            check_point(column)
            yield from value_notes(column)
            yield from unit_notes(column, times, files, series)


def _refuse_contradictions(columns: Sequence[Column], series: Sequence[Column], times: Times, repeats: float) -> None:
    """Refuse rows of one series and timestamp that differ in a text, which may be what tells them apart."""
    for column in columns:
        if column.is_numeric and not column.is_identifying:
            continue
        seen: dict[tuple[object, ...], str] = {}
        for text, *place in zip(column.texts, times.moments, *(key.texts for key in series), strict=True):
            if text and seen.setdefault(tuple(place), text) != text:
                raise InferenceError(
                    f"{repeats:.0%} of the rows of related/ repeat a timestamp of their series and differ in {column.name}: "
                    "keep one row for each, or give the rows of train/ that column, too"
                )


def _refuse_missing_item(
    params: ForecastParams,
    columns: Sequence[Column],
    timestamp: Column,
    dimensions: Sequence[Column],
    repeats: float,
    target: TargetSample,
) -> None:
    """Refuse rows without an item where columns are called as items are, or where rows must be of several items."""
    called = [
        column for column in columns if column not in (timestamp, *dimensions) and column.header.strip() in target.items
    ]
    if len(called) > 1:
        raise InferenceError(
            f"the columns {listed(called)} of related/ are called as items are: `chronos-assets melt FILE OUTPUT` writes them "
            "as rows; then call target_value what it is, such as price",
            role=REWRITE,
        )
    if repeats > FEW_REPEATS and params.item_column is not None:
        raise InferenceError(
            f"{repeats:.0%} of the rows of related/ repeat a timestamp, and none of the columns {listed(columns)} is called as "
            f"the item is, {params.item_column}: rename the one that names the items, or keep one row for each time"
        )


def _are_zero(texts: Iterable[str | None]) -> bool:
    return not any(map(read_offset, filter(None, texts)))


def _clock_notes(params: ForecastParams, times: Times, *, in_utc: bool) -> Iterator[str]:
    """What is taken for granted where only the target's timestamps, or only those of related files, have an offset.

    Raises:
        InferenceError: the offset is not that of UTC, so that the others may be on either clock.
    """
    own, theirs = has_offset(params.timestamp_format), has_offset(times.pattern)
    if own == theirs or params.time_zone is not None:
        return
    if not (in_utc if own else _are_zero(times.column.values)):
        raise InferenceError(
            f"timestamps of related/ ({times.pattern}) and of train/ ({params.timestamp_format}) are on two clocks, since only "
            "one of them has an offset: write both alike, or set Chronos.TimeZone in a params.json",
            role=REWRITE,
        )
    without = "related/" if own else "train/"
    yield (
        f"Guessed: timestamps of {without} are in UTC, as those beside them say of themselves; if they are on the clock of a "
        "place, set Chronos.TimeZone."
    )


def _place_notes(params: ForecastParams, series: Sequence[NDArray[np.datetime64]]) -> Iterator[str]:
    """What rows within periods count for, where those of the target begin at other times than the usual.

    Dates of the target that are the last days of months begin periods here, so that rows within a month would count for the
    one after.

    Raises:
        InferenceError: they might count for other periods than the target's.
    """
    moments = np.concatenate([*series, np.array([], dtype="datetime64[us]")])
    if params.alignment == DEFAULT_ALIGNMENT or not len(moments):
        return
    snap = np.timedelta64(round((params.snap_seconds or 0) * 1_000_000), "us")
    starts = params.grid.start(params.grid.ordinal((moments + snap).astype("datetime64[us]")))
    if np.mean(moments <= starts) >= _MOSTLY_REGULAR:
        return
    first, start = (str(each[0].astype("datetime64[m]")).removesuffix("T00:00") for each in (moments, starts))
    place = (
        f"rows of related/ lie elsewhere in a period than those of train/: {first} would count for the one of {start}"
    )
    calendar = Grid(Frequency(1, params.frequency.unit))
    earlier = np.mean(calendar.ordinal(moments.astype("datetime64[us]")) > calendar.ordinal(starts)) > _MOSTLY
    if (earlier and find_rhythm(series).frequency == params.frequency) or (
        params.frequency.unit in (Unit.MONTH, Unit.YEAR) and start[8:10] >= "28"
    ):
        raise InferenceError(f"{place}; date both alike, by the start of a period", role=REWRITE)
    if params.frequency.unit in (Unit.WEEK, Unit.MONTH, Unit.YEAR):
        yield f"Guessed: {place}; if the dates of train/ are the last days of periods, write the first."


def _reading(readings: Sequence[Times], rows: Rows, series: Sequence[Column], own: str) -> Times:
    """Of the readings of the timestamps, the target's own; the most regular one where that is none of them.

    Values that apply to some days only, as prices of sales do, have no regular steps to go by.

    Raises:
        InferenceError: several are as regular, or none is.
    """
    written = next((times for times in readings if times.pattern == own), None)
    return written or regular_reading(readings, rows, series, _MOSTLY_REGULAR)[0]


def with_metadata(
    params: ForecastParams, header: Sequence[str] | None, rows: Sequence[Sequence[str]]
) -> ForecastParams:
    """The parameters with the item metadata that a sample of files in `item_metadata/` shows.

    Raises:
        InferenceError: the sample has no header, no item, or nothing but keys.
    """
    header, rows = _with_header(params, header, rows)
    columns = _columns(header, rows, "item_metadata")
    columns = with_points(columns) if params.decimal_comma else columns
    item = _item(params, columns)
    if item is None:
        names = ", ".join(column.name for column in columns)
        raise InferenceError(f"none of the columns {names} of item_metadata/ is called as the item is")
    keys = {item.name}
    schema = CovariateSchema(
        tuple(_attribute(column, keys, None) for column in columns if _is_usable(column, keys)), item.name
    )
    note = _note("item_metadata/", "item metadata", schema)
    return replace(params, metadata=MetadataParams(schema), notes=(*params.notes, note))


def _with_header(
    params: ForecastParams, header: Sequence[str] | None, rows: Sequence[Sequence[str]]
) -> tuple[Sequence[str] | None, Sequence[Sequence[str]]]:
    """The header and the rows: a first row of texts over texts is one where it names the item."""
    names = {name.casefold() for name in (params.item_column, DOMAINS[params.domain].item) if name is not None}
    first = [column_name(cell) for cell in rows[0] if cell.strip()] if header is None and rows else []
    if names & {name.casefold() for name in first} or item_of(first) is not None:
        return rows[0], rows[1:]
    return header, rows


def _columns(
    header: Sequence[str] | None, rows: Sequence[Sequence[str]], folder: str, dimensions: Sequence[str] = ()
) -> list[Column]:
    """The columns that have a name, which of a dimension is the target's own in whatever case it is written."""
    if header is None:
        raise InferenceError(f"the files of {folder}/ have no header, so it isn't clear which column is which")
    own = {name.casefold(): name for name in dimensions}
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    return [
        Column(
            place,
            own.get(column_name(name).casefold(), column_name(name)),
            name,
            tuple("" if cell is None else cell.strip() for cell in cells[place]),
        )
        for place, name in enumerate(header)
        if name.strip()
    ]


def _column_named(columns: Sequence[Column], *names: str | None) -> Column | None:
    """The first column that has one of these names."""
    for name in names:
        for column in columns:
            if name is not None and column.name.casefold() == name.casefold():
                return column
    return None


def _item(params: ForecastParams, columns: Sequence[Column]) -> Column | None:
    """The column that holds the target's item; None where rows apply to all."""
    if params.item_column is None:
        return None
    other = item_of(column.name for column in columns if column.name not in params.dimensions)
    return _column_named(columns, params.item_column, DOMAINS[params.domain].item, other)


def _is_usable(column: Column, keys: set[str]) -> bool:
    return column.name in keys or (not column.is_row_number and column.name.casefold() not in _KEYS)


def _attribute(column: Column, keys: set[str], timestamp: str | None) -> Attribute:
    """The column in a schema.

    Raises:
        InferenceError: it would be a category of numbers.
    """
    if column.has_commas and column.name not in keys:
        example = next(value for value in column.present if "," in value)
        raise InferenceError(
            f"{column.name} holds numbers with commas, such as {example}: write them with a point, or, where a comma separates "
            'decimals in all files, set "Chronos": {"DecimalComma": true} in params.json'
        )
    priced = [value for value in column.present if _PRICED.fullmatch(value)]
    if priced and 2 * len(priced) > len(column.present) and column.name not in keys:
        raise InferenceError(f"{column.name} holds numbers with signs, such as {priced[0]}: write them without")
    if column.name == timestamp:
        return Attribute(column.name, "timestamp")
    if column.name in keys:
        return Attribute(column.name, "string")
    return Attribute(column.name, "float" if column.is_numeric and not column.is_identifying else "string")


def _note(folder: str, what: str, schema: CovariateSchema) -> str:
    if not schema.covariates:
        raise InferenceError(f"the files of {folder} have nothing but keys")
    parts = [f"{each.name} ({'category' if each.type == 'string' else 'number'})" for each in schema.covariates]
    return f"Guessed: {folder} holds {what}: {', '.join(parts)}."
