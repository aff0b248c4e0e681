"""A wide file, one column for each series, as rows: timestamp, item_id, target_value.

Here: the rewriting of one file, out of core. Which columns are series, and which tell rows of one timestamp apart, is
the user's to say. A timestamp that is spread over columns (`params.spread_timestamps`) is written as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.columns import Column
from chronos_assets.params.headers import column_name, folded
from chronos_assets.params.spread_timestamps import spread_timestamp
from chronos_assets.params.timestamp_columns import timestamp_readings
from chronos_assets.timeseries.dataset.csv_records import is_parquet, plain_csv
from chronos_assets.timeseries.dataset.duckdb_sql import (
    identifier,
    parquet_argument,
    scratch_connection,
    text_literal,
)
from chronos_assets.timeseries.dataset.sampling import Sample, csv_form, sample_files
from chronos_assets.timeseries.dataset.train_files import TrainFile

_REGULAR = "see that all rows have its columns, end alike (LF or CR LF), and are UTF-8"


class MeltError(ChronosAssetsError, ValueError):
    """A file that can't be melted: why, and what to do."""


def melt(
    source: TrainFile, target: Path, columns: Sequence[str] = (), keep: Sequence[str] = ()
) -> tuple[int, tuple[str, ...]]:
    """Write the columns of a wide CSV or Parquet file as rows of a CSV file, and a spread timestamp as one column.

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
    if sample.header is None:
        raise MeltError(f"{source.key} has no header: give its columns names, which become the item ids")
    found = [
        Column(place, column_name(name), name, tuple(row[place].strip() for row in sample.rows))
        for place, name in enumerate(sample.header)
        if name.strip()
    ]
    _check(source, sample, found)
    when, parts = _timestamp(found)
    kept = _chosen(source, found, keep)
    others = [column for column in found if column not in parts and column not in kept]
    series = _chosen(source, others, columns) or [
        c for c in others if (c.is_numeric and not c.is_index) or c.has_commas
    ]
    if commas := [column for column in series if column.has_commas]:
        example = next(value for value in commas[0].present if "," in value)
        raise MeltError(
            f"{source.key}: {example!r} in the column {commas[0].header} is not a number; write it with a decimal point, and "
            "without thousands separators"
        )
    if not series:
        raise MeltError(f"{source.key} has no columns to melt: none but those of the timestamp holds numbers")
    clash = sorted({"timestamp", "item_id", "target_value"} & {folded(column.header) for column in kept})
    if clash and not (len(series) == 1 and clash == ["item_id"]):
        raise MeltError(f"{source.key}: the column {clash[0]} can't be kept beside the one that is written: rename it")
    import duckdb

    try:
        written = _write(source, target, sample.header, when, kept, series)
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise MeltError(f"{source.key} can't be read ({reason}): {_REGULAR}") from error
    return written, tuple(column.header for column in series)


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


def _write(
    source: TrainFile, target: Path, header: Sequence[str], when: str, kept: Sequence[Column], series: Sequence[Column]
) -> int:
    """Write the rows; how many there are.

    Raises:
        MeltError: several rows have one timestamp, or there are none.
        duckdb.Error: the file isn't what its sample is.
    """
    with TemporaryDirectory() as folder, scratch_connection(Path(folder)) as connection:
        read = _read(source, Path(folder), header)
        keys = [identifier(column.header) for column in kept]
        # Nothing of the data is in these texts but its header, quoted.
        counted = f"SELECT count(*), count(DISTINCT ({', '.join([when, *keys])})) FROM {read}"  # noqa: S608
        ((rows, distinct),) = connection.execute(counted).fetchall()
        if not rows:  # a sample was there: DuckDB takes all for one line where the first ends otherwise than the rest
            raise MeltError(f"{source.key} can't be read (no row was found): {_REGULAR}")
        repeats = rows - distinct
        if repeats:
            raise MeltError(
                f"{source.key} has {repeats:,} rows whose timestamp {'and columns kept were' if kept else 'was'} there "
                "before: name the columns that tell them apart by --keep"
            )
        return int(connection.execute(_copy(read, when, keys, series, target)).fetchall()[0][0])


def _timestamp(found: Sequence[Column]) -> tuple[str, tuple[Column, ...]]:
    """SQL for the timestamp as text, and the columns that make it."""
    spread = spread_timestamp(found)
    if spread is None or spread.joined is None:
        column = timestamp_readings(found, None)[0].column
        return identifier(column.header), (column,)
    parts = [f"CAST({identifier(column.header)} AS VARCHAR)" for column in spread.columns]
    return spread.joined(*parts), spread.columns


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
    names = [name if name.strip() else f"column {place}" for place, name in enumerate(header)]
    columns = ", ".join(f"{text_literal(name)}: 'VARCHAR'" for name in names)
    cells = ", ".join(map(identifier, names))
    # Nothing of the data is in this text but its header, quoted, and the path.
    return (
        f"(SELECT * FROM read_csv({text_literal(parquet_argument(path))}, auto_detect=false, columns={{{columns}}}, "  # noqa: S608
        f"header=true, delim={text_literal(delimiter)}, quote='\"', escape='\"', skip={above}, null_padding=false, "
        f"compression='none') WHERE trim(concat_ws('', {cells})) <> '')"
    )


def _copy(read: str, when: str, keys: Sequence[str], series: Sequence[Column], target: Path) -> str:
    """The statement that writes the rows."""
    kept = "".join(f"{key}, " for key in keys)
    if keys and len(series) == 1:
        value = f"CAST({identifier(series[0].header)} AS VARCHAR)"
        rows = f"SELECT {when} AS timestamp, {kept}{value} AS target_value FROM {read}"  # noqa: S608
    else:
        cells = ", ".join(
            f"{{'item_id': {text_literal(c.header)}, 'target_value': CAST({identifier(c.header)} AS VARCHAR)}}"
            for c in series
        )
        rows = f"SELECT {when} AS timestamp, {kept}unnest([{cells}], recursive := true) FROM {read}"  # noqa: S608
    filled = f"SELECT * FROM ({rows}) WHERE trim(coalesce(target_value, '')) <> ''"  # noqa: S608
    return f"COPY ({filled}) TO {text_literal(str(target))} (FORMAT csv, HEADER)"
