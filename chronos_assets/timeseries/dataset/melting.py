"""A wide file, one column for each series, as rows: timestamp, item_id, target_value.

Here: the rewriting of one file, out of core. Which columns are series, and which tell rows of one timestamp apart, is
the user's to say. A timestamp that is spread over columns (`params.spread_timestamps`) is written as one, and columns that are
times (`params.wide_times`) become timestamps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.columns import Column, decimal_commas, is_number
from chronos_assets.params.headers import column_name, folded
from chronos_assets.params.spread_timestamps import Spread
from chronos_assets.params.timestamp_columns import is_dated, joined_timestamp, timestamp_readings
from chronos_assets.params.wide_times import WideTimes, wide_times
from chronos_assets.timeseries.dataset.csv_records import is_parquet, plain_csv
from chronos_assets.timeseries.dataset.duckdb_sql import identifier, parquet_argument, scratch_connection, text_literal
from chronos_assets.timeseries.dataset.sampling import Sample, csv_form, sample_files
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets.wording import first_line

_REGULAR = "see that all rows have its columns, end alike (LF or CR LF), and are UTF-8"


class MeltError(ChronosAssetsError, ValueError):
    """A file that can't be melted: why, and what to do."""


def melt(
    source: TrainFile, target: Path, columns: Sequence[str] = (), keep: Sequence[str] = ()
) -> tuple[int, tuple[str, ...]]:
    """Write the columns of a wide CSV or Parquet file as rows of a CSV file, and a spread timestamp as one column.

    Columns that are times (hours of a date, months of a year, dates) make rows of one series, or of one for each combination of
    the other columns, of which those that hold texts or identifiers are kept.

    Args:
        source: the wide file; it has a header.
        target: the CSV file to write: timestamp, the columns kept, item_id, target_value; a single series among columns
            kept needs no item_id. Cells that are empty are no rows.
        columns: headers of the columns that are series; all that hold numbers when empty.
        keep: headers of columns that tell rows of one timestamp apart, written as they are.

    Returns:
        How many rows were written, and the columns that became series.

    Raises:
        MeltError: the file has no header, or not the columns, or several rows of one timestamp; or it isn't regular.
        FileProblem: the file can't be read.
        InferenceError: it has no timestamps, or they stand in columns that can't be joined.
    """
    sample = sample_files([source])
    header, below = sample.header, sample.rows
    if header is None and wide_times(_columns(below[0], below[1:])) is not None:
        header, below = below[0], below[1:]  # dates look like values
    if header is None:
        raise MeltError(f"{source.key} has no header: give its columns names, which become the item ids")
    found = _columns(header, below)
    _check(source, sample, found)
    wide = None if columns else wide_times(found)
    kept = _chosen(source, found, keep)
    if wide is not None:
        if wide.unclear:
            raise MeltError(f"{source.key}: {wide}")
        based = wide.base.columns if wide.base is not None else ()
        others = [column for column in found if column not in wide.columns and column not in based]
        kept = kept or [c for c in others if c.present and (not c.is_numeric or c.is_identifying)]
        series, single = list(wide.columns), True
    else:
        when, parts = _timestamp(found)
        others = [column for column in found if column not in parts and column not in kept]
        series = _chosen(source, others, columns) or [
            c for c in others if (c.is_numeric and not c.is_index) or c.has_commas
        ]
        single = len(series) == 1
    _check_series(source, series, kept, single=single)
    keys = [identifier(column.header) for column in kept]
    if wide is not None:
        base = [] if wide.base is None else [_joined(wide.base)]
        rows = _WideRows([*base, *keys], _of_times(wide, base, keys))
    else:
        rows = _WideRows([when, *keys], _of_series(when, keys, series))
    try:
        written = _write(source, target, header, rows)
    except duckdb.Error as error:
        raise MeltError(f"{source.key} can't be read ({first_line(error)}): {_REGULAR}") from error
    return written, tuple(column.header for column in series)


@dataclass(frozen=True)
class _WideRows:
    """What rows are made of a row of the file: SQL for what tells it apart from others, and for the columns to select."""

    key: list[str]
    select: str


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Column]:
    """The columns that have a name, and those with timestamps."""
    columns = [
        Column(place, column_name(name), name, tuple(row[place].strip() for row in rows))
        for place, name in enumerate(_names(header))
    ]
    return [column for column in columns if header[column.index].strip() or is_dated(column)]


def _names(header: Sequence[str]) -> list[str]:
    return [name if name.strip() else f"column {place}" for place, name in enumerate(header)]


def _check_series(source: TrainFile, series: Sequence[Column], kept: Sequence[Column], *, single: bool) -> None:
    """Refuse columns that can't be written as values beside those that are kept.

    Raises:
        MeltError: which they are.
    """
    commas = [column for column in series if column.has_commas]
    if commas and not decimal_commas(series):  # which the import reads as they are
        example = next(value for value in commas[0].present if "," in value)
        raise MeltError(
            f"{source.key}: {example!r} in the column {commas[0].header} is not a number; write it with a decimal point, and "
            "without thousands separators"
        )
    if odd := [column for column in series if column.present and not column.is_numeric and column not in commas]:
        example = next(value for value in odd[0].present if not is_number(value))
        raise MeltError(
            f"{source.key}: {example!r} in the column {odd[0].header} is not a number; write it without signs and marks, and "
            "leave it empty if it is missing"
        )
    if not series:
        raise MeltError(f"{source.key} has no columns to melt: none but those of the timestamp holds numbers")
    clash = sorted({"timestamp", "item_id", "target_value"} & {folded(column.header) for column in kept})
    if clash and not (single and clash == ["item_id"]):
        raise MeltError(f"{source.key}: the column {clash[0]} can't be kept beside the one that is written: rename it")


def _check(source: TrainFile, sample: Sample, found: Sequence[Column]) -> None:
    """Refuse a file whose columns can't be told apart, and rows that have others.

    Raises:
        MeltError: which they are.
    """
    if sample.odd:
        raise MeltError(f"{sample.odd[0]}; complete the row, or quote a value that holds the delimiter")
    names = Counter(column.header.strip().casefold() for column in found)
    twice = [column.header for column in found if names[column.header.strip().casefold()] > 1]
    if twice:
        raise MeltError(f"{source.key} has two columns called {twice[0]}: give every column a name of its own")


def _write(source: TrainFile, target: Path, header: Sequence[str], rows: _WideRows) -> int:
    """Write the rows; how many there are.

    Raises:
        MeltError: several rows have one timestamp, or there are none.
        duckdb.Error: the file isn't what its sample is.
    """
    with TemporaryDirectory() as folder, scratch_connection(Path(folder)) as connection:
        read = _read(source, Path(folder), header)
        # Nothing of the data is in these texts but its header, quoted.
        counted = f"SELECT count(*), count(DISTINCT ({', '.join(rows.key) or '1'})) FROM {read}"  # noqa: S608
        ((count, distinct),) = connection.execute(counted).fetchall()
        if not count:  # a sample was there: DuckDB takes all for one line where the first ends otherwise than the rest
            raise MeltError(f"{source.key} can't be read (no row was found): {_REGULAR}")
        repeats = count - distinct
        if repeats:
            raise MeltError(
                f"{source.key} has {repeats:,} rows whose timestamp {'and columns kept were' if rows.key[1:] else 'was'} there "
                "before: name the columns that tell them apart by --keep"
            )
        filled = f"SELECT * FROM (SELECT {rows.select} FROM {read}) WHERE trim(coalesce(target_value, '')) <> ''"  # noqa: S608
        copy = f"COPY ({filled}) TO {text_literal(str(target))} (FORMAT csv, HEADER)"
        return int(connection.execute(copy).fetchall()[0][0])


def _timestamp(found: Sequence[Column]) -> tuple[str, tuple[Column, ...]]:
    """SQL for the timestamp as text, and the columns that make it."""
    spread = joined_timestamp(found)
    if spread is None or spread.joined is None:
        column = timestamp_readings(found, None)[0].column
        return identifier(column.header), (column,)
    return _joined(spread), spread.columns


def _chosen(source: TrainFile, found: Sequence[Column], headers: Sequence[str]) -> list[Column]:
    """The columns of these headers.

    Raises:
        MeltError: one isn't there.
    """
    known = {folded(column.header): column for column in found}
    missing = [header for header in headers if folded(header) not in known]
    if missing:
        there = ", ".join(column.header for column in found)
        raise MeltError(f"{source.key} has no column {missing[0]} to choose; there are {there or 'none'}")
    return [known[folded(header)] for header in headers]


def _read(source: TrainFile, scratch: Path, header: Sequence[str]) -> str:
    """A FROM clause for the file, with its columns under their headers; rows of delimiters alone are none."""
    if is_parquet(source.path, source.key):
        return f"read_parquet({text_literal(parquet_argument(source.path))})"
    path = plain_csv(source.path, source.key, scratch)
    delimiter, above = csv_form(path, source.key)
    names = _names(header)
    columns = ", ".join(f"{text_literal(name)}: 'VARCHAR'" for name in names)
    cells = ", ".join(map(identifier, names))
    # Nothing of the data is in this text but its header, quoted, and the path.
    return (
        f"(SELECT * FROM read_csv({text_literal(parquet_argument(path))}, auto_detect=false, columns={{{columns}}}, "  # noqa: S608
        f"header=true, delim={text_literal(delimiter)}, quote='\"', escape='\"', skip={above}, null_padding=false, "
        f"compression='none') WHERE trim(concat_ws('', {cells})) <> '')"
    )


def _of_series(when: str, keys: Sequence[str], series: Sequence[Column]) -> str:
    """What to select where each column is a series."""
    kept = "".join(f"{key}, " for key in keys)
    if keys and len(series) == 1:
        return f"{when} AS timestamp, {kept}{_text(series[0])} AS target_value"
    cells = ", ".join(f"{{'item_id': {text_literal(c.header)}, 'target_value': {_text(c)}}}" for c in series)
    return f"{when} AS timestamp, {kept}unnest([{cells}], recursive := true)"


def _of_times(wide: WideTimes, base: Sequence[str], keys: Sequence[str]) -> str:
    """What to select where each column is a time."""
    cells = ", ".join(
        f"{{'timestamp': {' || '.join([*base, text_literal(time)])}, 'target_value': {_text(column)}}}"
        for column, time in zip(wide.columns, wide.times, strict=True)
    )
    return f"{''.join(f'{key}, ' for key in keys)}unnest([{cells}], recursive := true)"


def _joined(spread: Spread) -> str:
    """SQL for what the columns of a timestamp's parts are together, as text."""
    assert spread.joined is not None  # noqa: S101 - else nobody could tell
    return spread.joined(*map(_text, spread.columns))


def _text(column: Column) -> str:
    return f"CAST({identifier(column.header)} AS VARCHAR)"
