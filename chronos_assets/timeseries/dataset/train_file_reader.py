"""One train file after another, read into good rows and bad rows.

DuckDB does the reading: a CSV file without a flaw in parallel, in one go; a file with a flaw record by record, found by
`csv_records.scan_records`, because only that gives exact line numbers; Parquet with the row numbers it has anyway. What a
text means is the same SQL for all (`casting`). What becomes of the rows belongs to `importing`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from duckdb import DuckDBPyConnection

from chronos_assets.calendar.timestamp_format import has_offset, is_iso_timestamp
from chronos_assets.params.columns import MISSING_MARKERS
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.bad_rows import BadRows
from chronos_assets.timeseries.dataset.casting import (
    BadRow,
    Cast,
    CastValue,
    Reason,
    RowShape,
    explain,
    on_clock,
    sql_number,
    sql_rows,
    sql_timestamp,
)
from chronos_assets.timeseries.dataset.csv_columns import csv_line, csv_text, read_csv, records_table
from chronos_assets.timeseries.dataset.csv_layout import ColumnLayout, CsvLayout, csv_layout, named_layout
from chronos_assets.timeseries.dataset.csv_records import (
    FileProblem,
    NoRows,
    Record,
    has_long_blanks,
    is_parquet,
    plain_csv,
    scan_records,
    too_large,
    unpacked_limit,
    unreadable,
)
from chronos_assets.timeseries.dataset.duckdb_sql import first_row, identifier, parquet_argument, text_literal
from chronos_assets.timeseries.dataset.parquet_columns import (
    EXACT,
    INTEGERS,
    check_types,
    column_names_of,
    damaged_parquet,
    text_of,
    typed_value,
)
from chronos_assets.timeseries.dataset.train_files import (
    CovariateReading,
    FileContents,
    RenamedColumns,
    TrainFile,
    schema_of,
)
from chronos_assets.wording import first_line

# A relation makes no copy of its rows but has its statement planned twice, which takes longer where a file is small.
warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)

# Rows handed over at once by the readers.
_BATCH_ROWS = 1 << 17
_RECORDS_AT_ONCE = 1 << 15
# A CSV file whose rows are held in memory until it is known that all are good; a larger one is read twice.
_READ_ONCE_BYTES = 4 << 20
# What a row takes on the way through an import, at the least; a column chunk that no writer makes on purpose.
_ROW_BYTES = 16
_LARGEST_CHUNK = 4 << 30
_PARQUET_SIZE = (
    "SELECT coalesce(sum(total_uncompressed_size), 0), coalesce(max(total_uncompressed_size), 0), "
    "coalesce((SELECT sum(num_rows) FROM parquet_file_metadata({path})), 0) FROM parquet_metadata({path})"
)
# Types of DuckDB that hold instants; pandas writes the second.
_WITH_ZONE = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS")
Advance = Callable[[float], None]


class TrainFileReader:
    """Reads files, one after another.

    several: whether rows must be comparable between files. unpacked: the bytes that a compressed file may unpack to,
    see `csv_records.unpacked_limit`. reading: of covariates instead of the target. renamed: as it was after other files were
    read; afterwards it knows these files', too.
    """

    def __init__(
        self,
        connection: DuckDBPyConnection,
        params: ForecastParams,
        bad: BadRows,
        *,
        several: bool,
        unpacked: int | None = None,
        reading: CovariateReading | None = None,
        renamed: RenamedColumns | None = None,
    ) -> None:
        self._connection = connection
        self._params = params
        self._schema = schema_of(params) if reading is None else reading.schema
        self._clock = params.clock if reading is None else reading.clock
        self._bad = bad
        self._several = several
        self._unpacked = unpacked
        self.renamed: RenamedColumns = dict(renamed or {})

    def read(
        self, file: TrainFile, take: Callable[[pa.RecordBatch], None], scratch: Path, advance: Advance
    ) -> FileContents:
        """Read one file: its good rows go to `take` in batches, in order, its bad ones to the collection.

        The batches have the columns k0, k1, … (item and dimensions), instant, value and hash, others with `several`, and
        v0, v1, … with the covariates of the schema. scratch: a folder of this file's own. advance is called with how much of
        the file is done, 0 to 1.
        A file without rows is read as such, and said. Raises FileProblem for a file that can't be read at all.
        """
        try:
            return self._read(file, take, scratch, advance)
        except NoRows as nothing:
            kind = "parquet" if file.key.casefold().endswith((".parquet", ".parq", ".pqt")) else "csv"
            return FileContents(file.key, kind, 0, 0, False, (), (f"left out: {nothing.reason}",))
        except OSError as error:
            raise unreadable(file.key, error) from error
        except duckdb.OutOfMemoryException:
            raise  # nothing is wrong with the file
        except duckdb.Error as error:
            reason = first_line(error).replace(str(file.path), file.key)
            raise FileProblem(
                file.key, f"the file can't be read ({reason})", "see that it is complete, and import again"
            ) from error

    def _read(
        self, file: TrainFile, take: Callable[[pa.RecordBatch], None], scratch: Path, advance: Advance
    ) -> FileContents:
        before, count = self._bad.total, 0
        layout: ColumnLayout
        if is_parquet(file.path, file.key):
            layout, batches = self._parquet(file, advance)
        else:
            layout, batches = self._csv(file, scratch, advance)
        for batch in batches:
            count += batch.num_rows
            take(self._good(batch))
        csv = isinstance(layout, CsvLayout)
        header = isinstance(layout, CsvLayout) and layout.header_line is not None
        rejected = self._bad.total - before
        notes = layout.notes if isinstance(layout, CsvLayout) else ()
        if not count:
            notes = (*notes, "left out: the file has no rows" + (", only a header" if header else ""))
        return FileContents(file.key, "csv" if csv else "parquet", count, rejected, header, layout.ignored, notes)

    def _good(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The good rows of a batch, and of its columns those that the series are made of."""
        reason = batch.column("reason").to_numpy()
        if reason.any():
            batch = batch.filter(pa.array(reason == 0))
        keys = [f"k{place}" for place in range(1 + len(self._schema.dimensions))]
        values = [f"v{place}" for place in range(len(self._schema.values))]
        return batch.select([*keys, "instant", "value", "hash", *(["others"] if self._several else []), *values])

    def _rows_sql(self, source: str, cast: Cast, details: dict[str, str] | None = None) -> str:
        params = self._params
        return sql_rows(
            source,
            cast,
            pattern=params.timestamp_format,
            time_zone=params.time_zone,
            clock=self._clock,
            decimal_comma=params.decimal_comma,
            details=details,
        )

    def _cast(self, texts: dict[str, str], **changes: Any) -> Cast:
        """How rows are read whose columns are the SQL expressions `texts`, by schema name."""
        item = self._params.constant_item
        first = text_literal(item) if item is not None else texts[self._schema.item or ""]
        values: dict[str, Any] = {
            "keys": (first, *(texts[name] for name in self._schema.dimensions)),
            "timestamp": "TIMESTAMP '2000-01-01'",
            "target": None if self._schema.target is None else texts[self._schema.target],
            "values": tuple(CastValue(texts[name], name in self._schema.numbers) for name in self._schema.values),
            "others": tuple(texts.get(name, "''") for name in self._schema.others) if self._several else (),
        }
        if self._schema.timestamp is None:
            values["typed_timestamp"] = True
        else:
            values["timestamp"] = texts[self._schema.timestamp]
        return Cast(**(values | changes))

    def _explain(self, key: str, line: int, reason: int, values: dict[str, str], shape: RowShape) -> BadRow:
        pattern = self._params.timestamp_format
        return explain(Reason(reason), key, line, values, shape=shape, schema=self._schema, pattern=pattern)

    # --------------------------------------------------------------------------------------------------- CSV

    def _csv(self, file: TrainFile, scratch: Path, advance: Advance) -> tuple[CsvLayout, Iterator[pa.RecordBatch]]:
        path = plain_csv(file.path, file.key, scratch, self._unpacked)
        layout = csv_layout(path, file.key, self._schema, self._is_timestamp, self._is_target)
        self._check_order(file.key, layout)
        if note := self._offset_note(layout.first_time):
            layout = replace(layout, notes=(*layout.notes, note))
        texts = {name: csv_text(f"coalesce(c{place}, '')", place) for name, place in layout.positions.items()}
        sql = self._rows_sql(read_csv(path, layout), self._cast(texts))
        simple = layout.header_line in {None, 1} and not layout.preamble and not has_long_blanks(path)
        batches = self._flawless(file.key, path, sql, advance) if simple else None
        return layout, self._records(file.key, path, layout, advance) if batches is None else batches

    def _offset_note(self, text: str) -> str:
        """What to tell the user of timestamps with an offset where no zone is given and forecasts will be written without."""
        params = self._params
        if (
            params.time_zone
            or has_offset(params.timestamp_format)
            or not re.search(r":\d\d\S* ?[+-]\d\d(:?\d\d)?\s*$", text)
        ):
            return ""
        return f"timestamps such as {text!r} become times in UTC; Chronos.TimeZone sets another clock"

    def _check_order(self, key: str, layout: CsvLayout) -> None:
        """See that files whose columns only their place tells have them all in one order. Raises FileProblem."""
        if not layout.renamed:
            return
        names = tuple(sorted(header for header, _ in layout.renamed))
        other, renamed = self.renamed.setdefault(names, (key, layout.renamed))
        if renamed != layout.renamed:
            raise FileProblem(
                key,
                f"its header has the names of {other} in another order, and the schema knows none of them",
                "give the columns the schema's names, or the same order in all files",
            )

    def _flawless(self, key: str, path: Path, sql: str, advance: Advance) -> Iterator[pa.RecordBatch] | None:
        """The rows as DuckDB finds them, None when it can't read the file or any row is bad."""
        try:
            if path.stat().st_size <= _READ_ONCE_BYTES:
                rows: Any = self._connection.execute(sql).to_arrow_table()
                return None if rows.column("reason").to_numpy().any() else iter(rows.to_batches(_BATCH_ROWS))
            count, flaws = first_row(self._connection, f"SELECT count(*), count_if(reason <> 0) FROM ({sql})")  # noqa: S608
        except (duckdb.InvalidInputException, duckdb.ConversionException):
            return None  # what exactly is wrong, and on which line, is for `_records` to say
        return None if flaws else self._flawless_rows(key, sql, int(count), advance)

    def _flawless_rows(self, key: str, sql: str, count: int, advance: Advance) -> Iterator[pa.RecordBatch]:
        read = 0
        for batch in self._connection.sql(sql).to_arrow_reader(_BATCH_ROWS):
            read += batch.num_rows
            yield batch
            advance(read / count)
        if read != count:
            raise FileProblem(key, "the file changed while it was read", "import again once it is complete")

    def _records(self, key: str, path: Path, layout: CsvLayout, advance: Advance) -> Iterator[pa.RecordBatch]:
        """The rows of a CSV file found record by record; bad ones are collected with their lines."""
        places = layout.positions.items()
        texts = {name: csv_text(f"c{number}", place) for number, (name, place) in enumerate(places)}
        sql = self._rows_sql("records", self._cast(texts, problem="problem"))
        size = path.stat().st_size
        with path.open("rb") as stream:
            above = layout.header_line or layout.preamble
            records = (record for record in scan_records(stream, layout.delimiter) if record.line > above)
            while chunk := list(islice(records, _RECORDS_AT_ONCE)):
                table = records_table(chunk, layout)
                self._connection.register("records", table)
                found = self._connection.sql(sql).to_arrow_table().combine_chunks().to_batches()[0]
                self._connection.unregister("records")
                self._collect_records(key, layout, chunk, table, found)
                yield found
                advance(min(stream.tell() / size, 1.0) if size else 1.0)

    def _collect_records(
        self, key: str, layout: CsvLayout, records: Sequence[Record], table: pa.Table, found: pa.RecordBatch
    ) -> None:
        bad = []
        reasons = found.column("reason").to_numpy()
        for place in np.flatnonzero(reasons).tolist():
            record = records[place]
            raw = record.raw.decode(errors="backslashreplace")
            found_columns = len(record.fields or ())
            values = {name: table.column(f"c{number}")[place].as_py() for number, name in enumerate(layout.positions)}
            bad.append(
                (
                    self._explain(
                        key, record.line, int(reasons[place]), values, RowShape(raw, found_columns, layout.columns)
                    ),
                    raw,
                )
            )
        self._bad.add(bad)

    def _is_timestamp(self, text: str) -> bool:
        if not any(map(str.isdigit, text)):
            return False  # a column's name: every timestamp has a year
        if is_iso_timestamp(text, self._params.timestamp_format):
            return True
        sql = sql_timestamp("t", self._params.timestamp_format, self._params.time_zone, self._clock)
        sql = f"SELECT ({sql}) IS NOT NULL FROM (SELECT ?::VARCHAR AS t)"  # noqa: S608 - made of constants and `t`
        return bool(first_row(self._connection, sql, [text])[0])

    def _is_target(self, text: str) -> bool:
        if text.strip(" \t").lower() in MISSING_MARKERS:
            return True
        sql = f"SELECT {sql_number('t', decimal_comma=self._params.decimal_comma)} IS NOT NULL FROM (SELECT ?::VARCHAR AS t)"  # noqa: S608 - made of constants and `t`
        return bool(first_row(self._connection, sql, [text])[0])

    # ----------------------------------------------------------------------------------------------- Parquet

    def _parquet(self, file: TrainFile, advance: Advance) -> tuple[ColumnLayout, Iterator[pa.RecordBatch]]:
        path = text_literal(parquet_argument(file.path))
        source = f"read_parquet({path}, file_row_number=true, binary_as_string=true)"
        try:
            described = f"DESCRIBE SELECT * EXCLUDE (file_row_number) FROM {source}"  # noqa: S608 - quoted path
            types = {str(row[0]): str(row[1]) for row in self._connection.execute(described).fetchall()}
            count = int(first_row(self._connection, f"SELECT count(*) FROM {source}")[0])  # noqa: S608 - quoted path
            size, chunks, rows = first_row(self._connection, _PARQUET_SIZE.format(path=path))
        except duckdb.Error as error:
            raise damaged_parquet(file, error) from error
        most = unpacked_limit(file.path.stat().st_size, self._unpacked)
        if max(size, rows * _ROW_BYTES) > most:
            raise too_large(file.key, f"its {rows:,} rows unpack to {max(size, rows * _ROW_BYTES):,} bytes", most)
        if chunks > _LARGEST_CHUNK:
            raise too_large(file.key, f"a column of one row group unpacks to {chunks:,} bytes", _LARGEST_CHUNK)
        layout = named_layout(file.key, column_names_of(file, list(types)), self._schema)
        columns = {name: list(types)[place] for name, place in layout.positions.items()}
        check_types(file.key, {name: types[column] for name, column in columns.items()}, self._schema, self._params)
        keys = set(self._schema.keys)
        texts = {name: text_of(column, types[column], key=name in keys) for name, column in columns.items()}
        floats = [columns[name] for name in self._schema.required if name in keys and types[columns[name]] in EXACT]
        imprecise = tuple(f"abs({identifier(column)}) > {EXACT[types[column]]}" for column in floats)
        cast = self._cast(texts, **self._typed(columns, types), imprecise=imprecise)
        details = {f"t{place}": texts[name] for place, name in enumerate(layout.positions)}
        sql = self._rows_sql(source, cast, {"line": "file_row_number + 1", **details})
        return layout, self._parquet_rows(file, layout, sql, count, advance)

    def _typed(self, columns: dict[str, str], types: dict[str, str]) -> dict[str, Any]:
        """The parts of a cast that need no text, because the column has the type already."""
        changes: dict[str, Any] = {}
        schema = self._schema
        changes["values"] = tuple(
            typed_value(columns[name], types[columns[name]], is_number=name in schema.numbers) for name in schema.values
        )
        when = columns[schema.timestamp] if schema.timestamp is not None else None
        target = columns[schema.target] if schema.target is not None else None
        if when is None:
            pass
        elif types[when] in _WITH_ZONE:
            zone = text_literal(self._clock or "UTC")
            changes |= {"timestamp": f"timezone({zone}, {identifier(when)})", "typed_timestamp": True}
        elif types[when] not in {"VARCHAR", *INTEGERS}:
            moment, stated = f"CAST({identifier(when)} AS TIMESTAMP)", self._params.time_zone
            if (self._clock or stated) != stated:
                moment = on_clock(moment, stated, self._clock)
            changes |= {"timestamp": moment, "typed_timestamp": True}
        if target is not None and types[target] != "VARCHAR":
            changes |= {"target": f"CAST({identifier(target)} AS DOUBLE)", "typed_target": True}
        return changes

    def _parquet_rows(
        self, file: TrainFile, layout: ColumnLayout, sql: str, count: int, advance: Advance
    ) -> Iterator[pa.RecordBatch]:
        read = 0
        try:
            for batch in self._connection.sql(sql).to_arrow_reader(_BATCH_ROWS):
                self._collect_parquet(file.key, layout, batch)
                read += batch.num_rows
                yield batch
                advance(read / count)
        except (duckdb.Error, pa.ArrowException) as error:
            raise damaged_parquet(file, error) from error

    def _collect_parquet(self, key: str, layout: ColumnLayout, batch: pa.RecordBatch) -> None:
        bad = []
        reasons = batch.column("reason").to_numpy()
        for place in np.flatnonzero(reasons).tolist():
            values = {name: batch.column(f"t{number}")[place].as_py() for number, name in enumerate(layout.positions)}
            raw = csv_line(values.values())
            line = batch.column("line")[place].as_py()
            shape = RowShape(raw, layout.columns, layout.columns)
            bad.append((self._explain(key, line, int(reasons[place]), values, shape), raw))
        self._bad.add(bad)
