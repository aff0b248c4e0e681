"""The records of a CSV file as columns of texts, by DuckDB or one after another.

Elsewhere: what a record is (`csv_records`), which column is where (`csv_layout`), reading the rows (`train_file_reader`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from chronos_assets.timeseries.dataset.casting import Reason
from chronos_assets.timeseries.dataset.csv_layout import CsvLayout
from chronos_assets.timeseries.dataset.csv_records import MAX_RECORD_BYTES, Flaw, Record
from chronos_assets.timeseries.dataset.duckdb_sql import parquet_argument, text_literal

_FLAWS = {Flaw.QUOTE: Reason.MISPLACED_QUOTE, Flaw.TOO_LONG: Reason.TOO_LONG}


def read_csv(path: Path, layout: CsvLayout) -> str:
    """A FROM clause that reads a CSV file by the rules of `csv_records`; nothing is left to DuckDB's detection."""
    columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(layout.columns))
    header = "true" if layout.header_line else "false"
    return (
        f"read_csv({text_literal(parquet_argument(path))}, auto_detect=false, columns={{{columns}}}, header={header}, "
        f"delim={text_literal(layout.delimiter)}, quote='\"', escape='\"', strict_mode=true, null_padding=false, "
        f"ignore_errors=false, compression='none', encoding='utf-8', comment='', max_line_size={MAX_RECORD_BYTES})"
    )


def csv_text(sql: str, place: int) -> str:
    """SQL for a column's text without the mark of byte order that a line has where another file was appended.

    Behind the mark, quotes around the text are read as characters of it.
    """
    return sql if place else f"CASE WHEN starts_with({sql}, '\ufeff') THEN trim(substr({sql}, 2), '\"') ELSE {sql} END"


def records_table(records: Sequence[Record], layout: CsvLayout) -> pa.Table:
    """Records as a table: c0, c1, … in the order of `layout.positions`, empty where `problem` (a `Reason`) is not 0."""
    places = list(layout.positions.values())
    texts: list[list[str]] = [[] for _ in places]
    problems: list[int] = []
    for record in records:
        problem, values = _values(record, places, layout.columns)
        problems.append(problem)
        for column, value in zip(texts, values, strict=True):
            column.append(value)
    arrays = {f"c{number}": pa.array(column, pa.string()) for number, column in enumerate(texts)}
    return pa.table({**arrays, "problem": pa.array(problems, pa.uint8())})


def _values(record: Record, places: Sequence[int], columns: int) -> tuple[int, list[str]]:
    """The record's problem (0 for none) and its texts at `places`."""
    nothing = [""] * len(places)
    fields = record.fields
    if fields is None:
        return _FLAWS[record.flaw or Flaw.QUOTE].value, nothing
    if len(fields) < columns or any(fields[columns:]):
        return Reason.WRONG_COLUMNS.value, nothing
    try:
        record.raw.decode()  # a column that nobody needs must be text too, as DuckDB has it
        return 0, [fields[place].decode() for place in places]
    except UnicodeDecodeError:
        return Reason.NOT_UTF8.value, nothing


def csv_line(values: Iterable[str]) -> str:
    """Values as one line of CSV."""
    return ",".join('"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text for text in values)
