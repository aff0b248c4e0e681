"""The first rows of a train file as text, for `inference`: what columns there are and what they look like."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from chronos_assets.params.headers import looks_like_header
from chronos_assets.params.inference import is_value
from chronos_assets.timeseries.dataset.csv_records import FileProblem, is_parquet, scan_records

SAMPLE_ROWS = 5000
DELIMITERS = (",", ";", "\t", "|")

Rows = list[list[str]]


def sample_rows(path: Path, name: str, limit: int = SAMPLE_ROWS) -> tuple[list[str] | None, Rows]:
    """Column names (None if the file has none) and up to `limit` rows of cells.

    `name` is what the user calls the file. Raises FileProblem for a file that is neither CSV (plain or gzip, UTF-8) nor
    Parquet, or has no rows.
    """
    header, rows = _parquet_sample(path, limit) if is_parquet(path, name) else _csv_sample(path, name, limit)
    if not rows:
        raise FileProblem(name, "the file has no rows", "put rows into it, or remove it from train/")
    return header, rows


def _parquet_sample(path: Path, limit: int) -> tuple[list[str], Rows]:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SELECT COLUMNS(*)::VARCHAR FROM read_parquet(?) LIMIT ?", [str(path), limit])
        names = [column[0] for column in connection.description or ()]
        return names, [["" if cell is None else cell for cell in row] for row in connection.fetchall()]


def _csv_sample(path: Path, name: str, limit: int) -> tuple[list[str] | None, Rows]:
    candidates = [_read(path, delimiter, limit) for delimiter in DELIMITERS]
    # The delimiter that gives the most columns of those whose rows agree on how many there are.
    rows = max(candidates, key=lambda rows: (len(rows) > 0, len({len(row) for row in rows}) == 1, _width(rows)))
    if not rows:
        return None, []
    if _width(rows) == 1:
        raise FileProblem(name, "the file has one column only", "separate timestamp and value by a comma")
    return (rows[0], rows[1:]) if looks_like_header(rows[0], rows[1:], is_value) else (None, rows[:limit])


def _width(rows: Sequence[Sequence[str]]) -> int:
    return len(rows[0]) if rows else 0


def _read(path: Path, delimiter: str, limit: int) -> Rows:
    with _open(path) as stream:
        records = itertools.islice(scan_records(stream, delimiter), limit + 1)
        return [
            [cell.decode("utf-8", errors="replace").removeprefix("\ufeff") for cell in record.fields]
            for record in records
            if record.fields
        ]


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]
