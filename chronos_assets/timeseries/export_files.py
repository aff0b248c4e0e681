"""Rows of a query as files for others to load: CSV, gzipped or not, or Parquet; in one file or in parts of bounded size.

Here: names, formats and sizes of the files. Elsewhere: what is in them (`forecast.csv_export`,
`scoring.backtest_export`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chronos_assets.params.exports import ExportParams
from chronos_assets.timeseries.dataset.duckdb_sql import first_row, text_literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_CSV = "FORMAT csv, HEADER true, DELIMITER ',', QUOTE '\"', ESCAPE '\"'"
# Rows of a group, after each of which a Parquet file may end.
_PARQUET = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880"
_PARTS = ".parts"


def write_export(
    connection: DuckDBPyConnection, query: str, folder: Path, stem: str, export: ExportParams
) -> tuple[int, tuple[Path, ...]]:
    """Write the rows of a query, in its order; every file has the header.

    Args:
        connection: that knows what the query asks for; it is left with one thread where there are parts.
        query: SQL, ordered, so that the same rows give the same bytes.
        folder: for the files.
        stem: of their names: `<stem>.csv`, or `<stem>_part0.csv`, `<stem>_part1.csv`, … where their size is bounded.
        export: format, compression and size.

    Returns:
        How many rows there are, and the files in the order of the rows.
    """
    options = _PARQUET if export.format == "PARQUET" else _CSV
    if export.format == "CSV" and export.compression == "GZIP":
        options += ", COMPRESSION gzip"
    if export.max_megabytes is None:
        path = folder / f"{stem}{export.suffix}"
        (rows,) = first_row(connection, f"COPY ({query}) TO {text_literal(str(path))} ({options})")
        return rows, (path,)
    # Several threads would deal the rows out to the files in whatever order they come.
    connection.execute("SET threads = 1")
    parts = folder / _PARTS
    (rows,) = first_row(
        connection,
        f"COPY ({query}) TO {text_literal(str(parts))} ({options}, FILE_SIZE_BYTES {export.max_megabytes * 1_000_000}, "
        "FILENAME_PATTERN '{i}')",
    )
    made = sorted(parts.iterdir(), key=lambda path: int(path.name.partition(".")[0]))
    files = tuple(path.rename(folder / f"{stem}_part{number}{export.suffix}") for number, path in enumerate(made))
    parts.rmdir()
    return rows, files
