"""A sample of the train files as text, for inference: what columns there are and what they look like.

The sample is drawn over all files, and over all of each: its beginning, its end, and stretches between. Rows of a stretch
follow each other, so that the steps between them are those of the data. Where series lie side by side (a date, all shops,
the next date), stretches would hold few rows of each: then whole series are drawn instead.

Here: which rows are read. What they mean is for `params.inference` to say; rows that don't have the columns of the
others are left to the import, which names them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import available_timezones

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from chronos_assets.calendar.timestamp_format import format_timestamps
from chronos_assets.params.headers import folded, looks_like_header, names_below_titles, time_column
from chronos_assets.params.timestamp_columns import forms_of, is_value, reads_as_time
from chronos_assets.system import made_folder
from chronos_assets.timeseries.dataset.csv_layout import TOP_RECORDS, preamble
from chronos_assets.timeseries.dataset.csv_records import (
    DELIMITERS,
    FileProblem,
    NoRows,
    Record,
    is_parquet,
    plain_csv,
    scan_records,
    unreadable,
)
from chronos_assets.timeseries.dataset.duckdb_sql import identifier, parquet_argument, scratch_connection, text_literal
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets.wording import counted, first_line

SAMPLE_ROWS = 20_000
# Files that are looked at, at most, and stretches of each.
_FILES = 50
_STRETCHES = 8
_LEAST_ROWS = 200
# Rows that must agree on the number of columns.
_MOST = 0.5
# Types that hold more than one value, or none that text could show.
_NESTED = ("STRUCT", "MAP", "UNION", "BLOB", "LIST")
_NUMBERS: tuple[str, ...] = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
_NUMBERS += ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")


@dataclass(frozen=True)
class Sample:
    """Rows of files that have the same columns.

    Attributes:
        header: the files' column names, None when they have none.
        rows: cells as text.
        files: of each row, the number of its file.
        stretches: of each row, the number of the run of rows that it belongs to.
        odd: what is odd about files or rows that are not in the sample, one clause each.
        complete: whether all rows of all files are in it.
    """

    header: list[str] | None
    rows: list[list[str]]
    files: list[int]
    stretches: list[int]
    odd: tuple[str, ...] = ()
    complete: bool = True


@dataclass
class _Found:
    """What was found in one file.

    header, rows and their stretches. ragged: rows of another width, as people read them. delimiter; above: lines above the
    header. complete: whether these are all rows.
    """

    header: list[str] | None
    rows: list[list[str]]
    stretches: list[int]
    ragged: list[str] = field(default_factory=list)
    delimiter: str = ","
    above: int = 0
    complete: bool = True


def sample_files(files: Sequence[TrainFile], limit: int = SAMPLE_ROWS, unpacked: int | None = None) -> Sample:
    """A sample of about `limit` rows of all files; `unpacked` as for an import.

    The newest file says what the columns are; files with others are left out, and named.

    Raises:
        FileProblem: no file has rows that can be read: what is wrong with the newest.
    """
    ordered = sorted(files, key=lambda file: (file.last_modified, file.key), reverse=True)
    chosen = [ordered[place * len(ordered) // _FILES] for place in range(_FILES)] if len(ordered) > _FILES else ordered
    share = max(limit // max(len(chosen), 1), _LEAST_ROWS)
    problems: list[FileProblem] = []
    first: _Found | None = None
    sample = Sample(None, [], [], [])
    odd: list[str] = []
    complete = True
    for number, file in enumerate(chosen):
        try:
            with TemporaryDirectory() as folder:
                found = _file(file, share, Path(folder), unpacked)
        except FileProblem as problem:
            problems.append(problem)
            continue
        odd += found.ragged[:1]
        first = first or found
        complete = complete and found.complete
        places = _places(first, found)
        if places is None:
            odd.append(f"{file.key} has other columns than the newest file")
            continue
        sample.rows.extend([[row[place] if place is not None else "" for place in places] for row in found.rows])
        sample.files.extend([number] * len(found.rows))
        sample.stretches.extend(number * (_STRETCHES + 1) + stretch for stretch in found.stretches)
    if first is None:
        unreadable_ones = [problem for problem in problems if not isinstance(problem, NoRows)]
        raise (unreadable_ones or problems)[0]
    complete = complete and len(chosen) == len(ordered)
    _write_times_alike(first.header, sample.rows, sample.files, chosen)
    return Sample(first.header, sample.rows, sample.files, sample.stretches, tuple(odd), complete)


def _write_times_alike(
    header: Sequence[str] | None, rows: Sequence[list[str]], numbers: Sequence[int], files: Sequence[TrainFile]
) -> None:
    """Write times that Parquet holds as such as the CSV files beside it write theirs, where these have one form.

    Args:
        header: names of the columns.
        rows: are changed.
        numbers: of each row, the place of its file.
        files: of the sample.
    """
    kinds = {number: _times(files[number]) for number in set(numbers)}
    texts = [number for number, names in kinds.items() if names is None]
    if not texts or len(texts) == len(kinds):
        return
    for place, name in enumerate(header or ()):
        typed = {number for number, names in kinds.items() if names is not None and folded(name) in names}
        if not typed:
            continue
        forms = forms_of(
            {row[place] for row, number in zip(rows, numbers, strict=True) if kinds[number] is None} - {""}
        )
        if len(forms) == 1:
            for row, number in zip(rows, numbers, strict=True):
                if number in typed and row[place]:
                    row[place] = format_timestamps(np.array([row[place]], dtype="datetime64[us]"), forms[0])[0]


def _times(file: TrainFile) -> frozenset[str] | None:
    """The columns of a Parquet file that are times without an offset; None of a CSV file."""
    if not is_parquet(file.path, file.key):
        return None
    schema = pq.read_schema(file.path)
    return frozenset(
        folded(field.name)
        for field in schema
        if pa.types.is_temporal(field.type) and not getattr(field.type, "tz", None)
    )


def csv_form(path: Path, key: str) -> tuple[str, int]:
    """The delimiter of a CSV file (unpacked), and how many lines stand above its header.

    Raises:
        FileProblem: it has no columns, or no rows.
    """
    found = _csv(path, key, _LEAST_ROWS)
    return found.delimiter, found.above


def _places(first: _Found, found: _Found) -> list[int | None] | None:
    """Where a file has the columns of the first; None where it has others."""
    if first.header is None or found.header is None:
        width = len(first.rows[0])
        return list(range(width)) if len(found.rows[0]) == width else None
    names = [folded(name) for name in found.header]
    places = [names.index(folded(name)) if folded(name) in names else None for name in first.header]
    known = sum(place is not None for place in places)
    return places if 2 * known >= len(places) else None


def _file(file: TrainFile, limit: int, scratch: Path, unpacked: int | None) -> _Found:
    try:
        if is_parquet(file.path, file.key):
            found = _parquet(file, limit)
        else:
            found = _csv(plain_csv(file.path, file.key, scratch, unpacked), file.key, limit)
    except OSError as error:
        raise unreadable(file.key, error) from error
    if not found.rows:
        raise NoRows(file.key, "the file has no rows")
    return found


# ------------------------------------------------------------------------------------------------------- Parquet


def _parquet(file: TrainFile, limit: int) -> _Found:
    """Rows of a Parquet file as text; columns that hold more than one value each are left out."""
    source = f"read_parquet({text_literal(parquet_argument(file.path))}, binary_as_string=true)"
    try:
        with TemporaryDirectory() as folder, scratch_connection(Path(folder)) as connection:
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted path
            kinds = [(str(name), str(kind)) for name, kind, *_ in described]
            if zone := _zone(file.path):
                connection.execute(f"SET TimeZone = {text_literal(zone)}")
            names = [(name, kind) for name, kind in kinds if not kind.endswith("]") and not kind.startswith(_NESTED)]
            _check_lists(file.key, kinds)
            count = int(connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0])  # noqa: S608
            cells = ", ".join(_as_text(name, kind) for name, kind in names)
            rows: list[list[str]] = []
            stretches: list[int] = []
            numbered = source.replace("binary_as_string=true", "binary_as_string=true, file_row_number=true")
            for stretch, (start, length) in enumerate(_stretches(count, limit)):
                # By row number and not by LIMIT, which would hold whole texts before they are cut.
                where = f"file_row_number BETWEEN {start} AND {start + length - 1}"
                # Nothing of the data is in this text: quoted columns and the path.
                sql = f"SELECT {cells} FROM {numbered} WHERE {where}"  # noqa: S608
                found = [list(row) for row in connection.execute(sql).fetchall()]
                rows += found
                stretches += [stretch] * len(found)
    except duckdb.Error as error:
        reason = first_line(error).replace(str(file.path), file.key)
        raise FileProblem(file.key, f"the Parquet file can't be read ({reason})", "write it again") from error
    return _Found([name for name, _ in names], rows, stretches, complete=count <= limit)


def _check_lists(key: str, kinds: Sequence[tuple[str, str]]) -> None:
    """Refuse a file whose numbers all stand in lists, a row for each series, as libraries of forecasting keep them.

    Raises:
        FileProblem: which columns they are.
    """
    lists = [name for name, kind in kinds if kind.endswith("]") and kind.startswith(_NUMBERS)]
    if lists and not any(kind.startswith(_NUMBERS) and not kind.endswith("]") for _, kind in kinds):
        reason = f"{', '.join(lists)} holds lists of numbers, one for each row"
        raise FileProblem(key, reason, "write a row for each value, with the item and the timestamp")


def _zone(path: Path) -> str | None:
    """The time zone that the file names for its times, with a day at midnight there; None where it names none."""
    zones = {field.type.tz for field in pq.read_schema(path) if pa.types.is_timestamp(field.type)} - {None}
    zone = zones.pop() if len(zones) == 1 else None
    return zone if zone in available_timezones() else None


def _as_text(name: str, kind: str) -> str:
    column = identifier(name)
    if kind == "VARCHAR":
        # Cut before anything else: a few long texts, repeated by a dictionary, could fill any memory.
        return f"coalesce(left({column}, 1024), '')"
    text = f"CAST({column} AS VARCHAR)"
    if kind in {"DOUBLE", "FLOAT"}:
        # As the import writes identifiers; a quantity is the same number either way.
        whole = f"{column} = trunc({column}) AND abs({column}) < 1e15"
        text = f"CASE WHEN {whole} THEN CAST(TRY_CAST({column} AS BIGINT) AS VARCHAR) ELSE {text} END"
    return f"left(coalesce({text}, ''), 1024)"


def _stretches(count: int, limit: int) -> list[tuple[int, int]]:
    """(first row, rows) of the stretches: half of the limit at the beginning, the rest evenly to the very end."""
    if count <= limit:
        return [(0, count)]
    head, length = limit // 2, limit // 2 // (_STRETCHES - 1)
    gap = (count - head - length) / (_STRETCHES - 2)
    return [(0, head), *((head + round(gap * number), length) for number in range(_STRETCHES - 1))]


# ----------------------------------------------------------------------------------------------------------- CSV


def _csv(path: Path, key: str, limit: int) -> _Found:
    above = preamble(path)
    marks = (above.delimiter,) if above.delimiter else DELIMITERS
    heads = {mark: _head(path, mark, above.lines, limit) for mark in marks}
    if not any(heads.values()):
        raise NoRows(key, "the file has no rows, only empty lines")
    # The delimiter that gives the most columns of those whose rows agree on how many there are, with timestamps and the header
    # best of all.
    widths = {mark: _width(head) for mark, head in heads.items()}
    shapes = {mark: (_agreement(head, widths[mark]) > _MOST, widths[mark] > 1) for mark, head in heads.items()}
    best = max(shapes.values())
    titles = {mark: _titles(heads[mark]) for mark in marks if shapes[mark] == best}
    delimiter = max(
        titles,
        key=lambda mark: (
            time_column(_top(heads[mark]), reads_as_time) is not None,
            bool(heads[mark]) and len(heads[mark][titles[mark]].fields or []) == widths[mark],
            widths[mark],
        ),
    )
    whole, title = heads[delimiter], titles[delimiter]
    head = whole[title:]
    width = _width(head)
    _refuse_head(key, whole, title, width)
    records = list(_spread(path, delimiter, whole, limit))[title:]
    _check_encoding(key, records)
    first = _cells(head[0], width)
    below = [cells for record in head[1:] if (cells := _cells(record, width)) is not None]
    header: list[str] | None = None
    if first is None and looks_like_header(_texts(head[0]), below, is_value):
        names = len(head[0].fields or [])
        line = next((record for record in head[1:] if _cells(record, width) is not None), head[0])
        raise FileProblem(
            key,
            f"line {line.line} has {width} columns where the header (line {head[0].line}) has {names}: {_shown(line)}",
            "name every column in the header, or quote values that hold the delimiter"
            + (
                f"; or delete what stands above line {line.line}, if that is the header"
                if len(head) > 1 and line is not head[1]
                else ""
            ),
        )
    if first is not None and looks_like_header(first, below, is_value):
        header, records = first, records[1:]
    above_header = head[0].line - 1 if header is not None else above.lines
    found = _Found(header, [], [], [], delimiter, above_header, len(whole) <= limit)
    for stretch, record in records:
        cells = _cells(record, width)
        if cells is not None:
            found.rows.append(cells)
            found.stretches.append(stretch)
        elif stretch == 0:  # elsewhere a stretch may begin within a quoted value, and lines aren't counted
            columns = len(record.fields or [])
            found.ragged.append(
                f"{key}, line {record.line} has {counted(columns, 'column')} instead of {width}: {_shown(record)}"
            )
    return found


def _refuse_head(key: str, whole: Sequence[Record], title: int, width: int) -> None:
    """Refuse a file whose first records have one column, a quote that closes no value, or two headers.

    Args:
        key: of the file.
        whole: its first records.
        title: how many of them are titles above the table.
        width: columns of the others.
    """
    head = whole[title:]
    if width == 1:
        raise FileProblem(
            key,
            f"the file has one column only (line {head[0].line} is {_shown(head[0])})",
            f"separate timestamp and value by one of {' '.join(repr(mark) for mark in DELIMITERS)}",
        )
    flawed = next((record for record in head if record.fields is None), None)
    if flawed is not None and all(record.fields is None for record in head[1:]):
        raise FileProblem(
            key,
            f"line {flawed.line} has a quote that closes no value: {_shown(flawed)}",
            'write a quote within a quoted value twice ("5"" pipe"), not with a backslash',
        )
    if title and _are_names(whole[title - 1], head[0], width):
        raise FileProblem(
            key,
            f"lines {head[0].line - 1} and {head[0].line} both look like the header: {_shown(whole[title - 1])} and "
            f"{_shown(head[0])}",
            "keep one of them",
        )


def _head(path: Path, delimiter: str, above: int, limit: int) -> list[Record]:
    with path.open("rb") as stream:
        below = (record for record in scan_records(stream, delimiter) if record.line > above)
        return list(islice(below, limit + 1))


def _check_encoding(key: str, records: Sequence[tuple[int, Record]]) -> None:
    """Refuse a file whose letters an import can't read, before names are inferred without them.

    Raises:
        FileProblem: a record is not UTF-8.
    """
    whole = ((stretch, record) for stretch, record in records if record.fields is not None)
    for stretch, record in whole:
        try:
            record.raw.decode()
        except UnicodeDecodeError:
            line = f"line {record.line}" if stretch == 0 else "a line"
            raise FileProblem(
                key, f"{line} is not UTF-8: {_shown(record)}", 'save the file as UTF-8 (in Excel as "CSV UTF-8")'
            ) from None


def _titles(head: Sequence[Record]) -> int:
    """How many records stand above the header, see `headers.names_below_titles`."""
    return names_below_titles(_top(head), is_value, reads_as_time)


def _top(head: Sequence[Record]) -> list[list[str] | None]:
    width = _width(head)
    return [_cells(record, width) for record in head[:TOP_RECORDS]]


def _are_names(record: Record, below: Record, width: int) -> bool:
    """Whether a record right above the names has as many of them: the units of a table, or its other names."""
    texts, names = _cells(record, width), _cells(below, width)
    if texts is None or names is None or record.line != below.line - 1 or any(map(is_value, texts)):
        return False
    return sum(map(bool, texts)) >= sum(map(bool, names))


def _texts(record: Record) -> list[str]:
    return [field.decode("utf-8", errors="replace").removeprefix("\ufeff") for field in record.fields or []]


def _cells(record: Record, width: int) -> list[str] | None:
    """The record's cells, without empty ones past the last column; None where it has another number."""
    return _texts(record)[:width] if _has_columns(record, width) else None


def _has_columns(record: Record, width: int) -> bool:
    """Whether a record has so many columns, not counting empty ones past the last."""
    fields = record.fields
    return fields is not None and (
        len(fields) == width or (len(fields) > width and not any(field.strip() for field in fields[width:]))
    )


def _trimmed(record: Record) -> int:
    """Columns of a record, not counting empty ones at its end beyond the first."""
    fields = record.fields or []
    count = len(fields)
    while count > 1 and not fields[count - 1].strip():
        count -= 1
    return count


def _width(records: Sequence[Record]) -> int:
    """The number of columns that most records have; with the header's, where all beyond it are empty."""
    if not records:
        return 0
    full = Counter(len(record.fields) for record in records if record.fields is not None) or Counter([0])
    width = full.most_common(1)[0][0]
    header = len(records[0].fields or [])
    if 1 < header < width and all(_trimmed(r) <= header for r in records if len(r.fields or []) == width):
        return header
    if header > width > 1 and _trimmed(records[0]) <= width:
        return width
    return width


def _agreement(records: Sequence[Record], width: int) -> float:
    """The share of records that have so many columns."""
    return sum(_has_columns(record, width) for record in records) / max(len(records), 1)


def _shown(record: Record) -> str:
    text = record.raw.decode(errors="backslashreplace")
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _spread(path: Path, delimiter: str, head: list[Record], limit: int) -> Iterator[tuple[int, Record]]:
    """(stretch, record) of the file: all of it where it is short, else its beginning and stretches to its end."""
    if len(head) <= limit:
        yield from ((0, record) for record in head)
        return
    beginning = head[: limit // 2 + 1]
    yield from ((0, record) for record in beginning)
    size = path.stat().st_size
    row = sum(len(record.raw) + 1 for record in head) / len(head)
    # Rows differ in length: stretches are kept so short that they don't meet, which would look like repeated rows.
    length = limit // 3 // (_STRETCHES - 1)
    start = round(row * (limit + 1) * 0.6)
    gap = (size - start - row * (length + 1)) / (_STRETCHES - 2)
    for number in range(1, _STRETCHES):
        with path.open("rb") as stream:
            stream.seek(round(start + gap * (number - 1)))
            stream.readline()
            for record in islice(scan_records(stream, delimiter), length):
                yield number, record


# -------------------------------------------------------------------------------------------------- whole series


def sample_series(
    files: Sequence[TrainFile],
    sample: Sample,
    keys: Sequence[str],
    limit: int = SAMPLE_ROWS,
    unpacked: int | None = None,
) -> Sample:
    """Some whole series instead of stretches: all rows of all files whose `keys` (headers of columns) have certain hashes.

    The sample itself where none is drawn, or a file can't be read so.
    """
    if sample.header is None or not keys:
        return sample
    ordered = sorted(files, key=lambda file: (file.last_modified, file.key), reverse=True)
    try:
        with TemporaryDirectory() as folder, scratch_connection(Path(folder)) as connection:
            sources = [
                source
                for number, file in enumerate(ordered)
                if (
                    source := _source(
                        connection, file, number, sample.header, made_folder(Path(folder) / str(number)), unpacked
                    )
                )
            ]
            everything = " UNION ALL ".join(sources)
            count = int(connection.execute(f"SELECT count(*) FROM ({everything})").fetchall()[0][0])  # noqa: S608
            places = [sample.header.index(key) for key in keys]
            key = ", ".join(f"c{place}" for place in places)
            # Nothing of the data is in this text: columns by number, quoted paths.
            sql = f"SELECT * FROM ({everything}) WHERE hash({key}) % {max(1, count // limit)} = 0 LIMIT {4 * limit}"  # noqa: S608
            found = connection.execute(sql).fetchall()
    except (FileProblem, OSError, duckdb.Error):
        return sample
    if len(found) < _LEAST_ROWS:
        return sample
    rows, numbers = [[str(cell) for cell in row[:-1]] for row in found], [int(row[-1]) for row in found]
    _write_times_alike(sample.header, rows, numbers, ordered)
    return Sample(sample.header, rows, numbers, [0] * len(rows), sample.odd, complete=False)


def _source(
    connection: DuckDBPyConnection,
    file: TrainFile,
    number: int,
    header: Sequence[str],
    scratch: Path,
    unpacked: int | None,
) -> str | None:
    """A query of a file's rows as c0, c1, … in the order of `header`, and its number; None where it has no rows."""
    if is_parquet(file.path, file.key):
        source = f"read_parquet({text_literal(parquet_argument(file.path))}, binary_as_string=true)"
        described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - quoted path
        kinds = {folded(str(name)): (str(name), str(kind)) for name, kind, *_ in described}
        cells = [_as_text(*kinds[folded(name)]) if folded(name) in kinds else "''" for name in header]
    else:
        try:
            path = plain_csv(file.path, file.key, scratch, unpacked)
            found = _csv(path, file.key, _LEAST_ROWS)
        except NoRows:
            return None
        if found.header is None:
            return None
        names = [folded(name) for name in found.header]
        columns = ", ".join(f"'f{place}': 'VARCHAR'" for place in range(len(names)))
        source = (
            f"read_csv({text_literal(parquet_argument(path))}, auto_detect=false, columns={{{columns}}}, header=true, "
            f"delim={text_literal(found.delimiter)}, quote='\"', escape='\"', strict_mode=false, ignore_errors=true, "
            f"null_padding=true, skip={found.above}, compression='none')"
        )
        cells = [
            f"trim(coalesce(f{names.index(folded(name))}, ''))" if folded(name) in names else "''" for name in header
        ]
    listed = ", ".join(f"{cell} AS c{place}" for place, cell in enumerate(cells))
    return f"SELECT {listed}, {number} AS file FROM {source}"  # noqa: S608 - columns by number, quoted path
