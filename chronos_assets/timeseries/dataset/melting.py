"""A wide file, one column for each series, as rows: timestamp, item_id, target_value.

Belongs here: the rewriting of one file, out of core. Which columns are series is the user's to say, all of numbers by
default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.columns import Column
from chronos_assets.params.headers import column_name, folded
from chronos_assets.params.timestamp_columns import timestamp_readings
from chronos_assets.timeseries.dataset.csv_records import is_parquet, plain_csv
from chronos_assets.timeseries.dataset.duckdb_sql import (
    identifier,
    parquet_argument,
    scratch_connection,
    text_literal,
)
from chronos_assets.timeseries.dataset.sampling import sample_files
from chronos_assets.timeseries.dataset.train_files import TrainFile


class MeltError(ChronosAssetsError, ValueError):
    """A file that can't be melted: why, and what to do."""


def melt(source: TrainFile, target: Path, columns: Sequence[str] = ()) -> tuple[int, tuple[str, ...]]:
    """Write the columns of a wide CSV or Parquet file as rows of a CSV file.

    Args:
        source: the wide file; it has a header.
        target: the CSV file to write: timestamp, item_id, target_value. Cells that are empty are no rows.
        columns: headers of the columns that are series; all that hold numbers when empty.

    Returns:
        How many rows were written, and the columns that became series.

    Raises:
        MeltError: the file has no header, or not the columns.
        FileProblem: the file can't be read.
        InferenceError: it has no timestamps, or they stand in several columns.
    """
    sample = sample_files([source])
    if sample.header is None:
        raise MeltError(f"{source.key} has no header: give its columns names, which become the item ids")
    found = [
        Column(place, column_name(name), name, tuple(row[place].strip() for row in sample.rows))
        for place, name in enumerate(sample.header)
        if name.strip()
    ]
    when = timestamp_readings(found, None)[0].column
    numbers = [c for c in found if c is not when and c.is_numeric and not c.is_index]
    wanted = {folded(name) for name in columns}
    series = [c for c in (found if wanted else numbers) if c is not when and (not wanted or folded(c.header) in wanted)]
    if not series or (wanted and len(series) < len(wanted)):
        there = ", ".join(column.header for column in numbers)
        raise MeltError(f"{source.key} has not the columns to melt; those of numbers are {there or 'none'}")
    with TemporaryDirectory() as folder, scratch_connection(Path(folder)) as connection:
        path = source.path if is_parquet(source.path, source.key) else plain_csv(source.path, source.key, Path(folder))
        read = (
            f"read_parquet({text_literal(parquet_argument(path))})"
            if is_parquet(source.path, source.key)
            else f"read_csv({text_literal(parquet_argument(path))}, all_varchar=true, header=true)"
        )
        cells = ", ".join(
            f"{{'item_id': {text_literal(c.header)}, 'target_value': CAST({identifier(c.header)} AS VARCHAR)}}"
            for c in series
        )
        # Nothing of the data is in this text but its header, quoted.
        rows = f"SELECT {identifier(when.header)} AS timestamp, unnest([{cells}], recursive := true) FROM {read}"  # noqa: S608
        filled = f"SELECT * FROM ({rows}) WHERE trim(coalesce(target_value, '')) <> ''"  # noqa: S608
        written = connection.execute(f"COPY ({filled}) TO {text_literal(str(target))} (FORMAT csv, HEADER)").fetchall()
    return int(written[0][0]), tuple(column.header for column in series)
