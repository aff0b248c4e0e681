"""Where a train file has its columns: what stands above the rows, the delimiter, the header, names and places.

Here belongs what tells columns. How records are read is for `csv_records` to say, what a text means for `casting`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO

from chronos_assets.params.columns import item_of
from chronos_assets.params.headers import as_in_schema, folded, names_all
from chronos_assets.timeseries.dataset.csv_records import (
    DELIMITERS,
    FileProblem,
    NoRows,
    Record,
    scan_records,
    split_numbered,
    without_end,
)
from chronos_assets.wording import counted

# Lines at the top of a file that are looked at for a preamble, and records for a header.
_TOP_LINES = 200
TOP_RECORDS = 50


@dataclass(frozen=True)
class TrainSchema:
    """The columns that an import needs: names in schema order, and the parts some of them play.

    item is None when the files hold one series without a column that says so. timestamp is None in item metadata, target in
    all covariates; values are then the columns that are read, numbers those of them that hold numbers. others are text columns
    that play no part in the series; they only tell rows of different files apart. decimal_comma: see `params.options`.
    """

    names: tuple[str, ...]
    item: str | None
    dimensions: tuple[str, ...]
    timestamp: str | None
    target: str | None
    others: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    decimal_comma: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Item and dimensions."""
        return (*((self.item,) if self.item else ()), *self.dimensions)

    @property
    def required(self) -> tuple[str, ...]:
        """Names without which a row has no place: item, dimensions, timestamp, target, values."""
        known = (name for name in (self.timestamp, self.target) if name is not None)
        return (*self.keys, *known, *self.values)


@dataclass(frozen=True)
class ColumnLayout:
    """Where a file has the schema's columns.

    positions: schema name -> 0-based column of the file, for the names that the file has. columns: how many columns
    the file has. ignored: names of columns of the file that the schema does not know.
    """

    positions: dict[str, int]
    columns: int
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class CsvLayout(ColumnLayout):
    """A `ColumnLayout` of a CSV file.

    header_line: the line of the header record, None without one. preamble: the last line above the header or the first
    row that is neither. renamed: (the header's name, the schema's) of the columns that were found by their place.
    notes: what was assumed, for people. first_time: the text of the first row's timestamp.
    """

    delimiter: str = ","
    header_line: int | None = None
    preamble: int = 0
    renamed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    first_time: str = field(default="", compare=False)


@dataclass(frozen=True)
class Preamble:
    """What stands above the header or the first row. lines: how many; delimiter: the one that it names; notes."""

    lines: int = 0
    delimiter: str | None = None
    notes: tuple[str, ...] = ()


def preamble(path: Path) -> Preamble:
    """Lines at the top of a CSV file that are no rows: Excel's `sep=;`, and comments.

    A comment starts with `#` and does not have as many fields as the first line that doesn't start so.
    """
    with path.open("rb") as stream:
        top = [(number, without_end(line)) for number, line in islice(split_numbered(stream), _TOP_LINES)]
    top = [(number, line) for number, line in top if line.strip(b" \t\r\n")]
    lines, delimiter, notes = 0, None, []
    if top and (declared := re.fullmatch(rb'"?sep=([^"\r\n])"?[,;\t|]*', top[0][1].strip(b" "), re.IGNORECASE)):
        lines, delimiter = top[0][0], declared[1].decode(errors="replace")
        notes.append(f"line {lines} ({top[0][1].decode(errors='replace').strip()}) names the delimiter and is no row")
        top = top[1:]
    first = next((line for _, line in top if not line.startswith(b"#")), None)
    if first is None:
        return Preamble(lines, delimiter, tuple(notes))
    separator = max([delimiter] if delimiter else DELIMITERS, key=lambda mark: first.count(mark.encode())).encode()
    comments = 0
    for number, line in top:
        if not line.startswith(b"#") or line.count(separator) == first.count(separator):
            break
        lines, comments = number, comments + 1
    if comments:
        notes.append(
            f"{'a comment' if comments == 1 else f'{comments} comments'} above the rows left out, to line {lines}"
        )
    return Preamble(lines, delimiter, tuple(notes))


def csv_layout(
    path: Path, name: str, schema: TrainSchema, is_timestamp: Callable[[str], bool], is_target: Callable[[str], bool]
) -> CsvLayout:
    """Delimiter, header and columns of a CSV file, and what was assumed about it.

    See `_layout` for the rules, and for what is raised.
    """
    layout, records = _layout(path, name, schema, is_timestamp, is_target)
    rows = [record.fields for record in records if record.line != layout.header_line and record.fields is not None]
    place = layout.positions.get(schema.timestamp or "", layout.columns)
    if rows and place < len(rows[0]):
        layout = replace(layout, first_time=rows[0][place].decode(errors="replace"))
    wider = next((record for record in records if len(record.fields or ()) > layout.columns), None)
    if wider is None or any((wider.fields or [])[layout.columns :]):
        return layout
    note = f"rows end in a delimiter (line {wider.line}, say): the empty field past the last column was left out"
    return replace(layout, notes=(*layout.notes, note))


def _layout(
    path: Path, name: str, schema: TrainSchema, is_timestamp: Callable[[str], bool], is_target: Callable[[str], bool]
) -> tuple[CsvLayout, list[Record]]:
    """Delimiter, header and columns of a CSV file, and its first records.

    The delimiter is the first of `, ; tab |` with which the first record has every needed name, or as many fields as
    the schema (comma when there is none). The first record is a header when

    - it names every needed column (case and surrounding spaces do not matter); then titles may stand above it, or
    - the field at the schema's place for the timestamp is no timestamp, and either some field is a name of the schema,
      or the record has the schema's number of fields and the one at the target's place is no number.

    Columns are then found by name, otherwise by the schema's order. A header that lacks a needed name is read by the
    schema's order, too, as Amazon Forecast did, where it has the schema's number of columns, every name that the schema
    knows in its place, and timestamps and numbers below where the schema says. Raises FileProblem for any other header
    that lacks a needed column, has it twice, or is not UTF-8; NoRows for a file without records.
    """
    above = preamble(path)
    with path.open("rb") as stream:
        marks = (above.delimiter,) if above.delimiter else DELIMITERS
        candidates = {mark: _first_records(stream, mark, above.lines) for mark in marks}
    candidates = {mark: records for mark, records in candidates.items() if records}
    if not candidates:
        raise NoRows(name, "the file has no rows, only empty lines")
    delimiter, titles, records = _choose(candidates, schema, is_timestamp)
    if titles:
        first = titles[0].raw[:80].decode(errors="replace")
        lines = counted(len(titles), "line")
        note = f"{lines} of text above the header left out, to line {titles[-1].line}: {first!r}"
        above = replace(above, lines=titles[-1].line, notes=(*above.notes, note))
    names = _names(records[0], schema)
    if not _is_header(names, schema, is_timestamp, is_target):
        positions = {column: place for place, column in enumerate(schema.names)}
        return CsvLayout(positions, len(schema.names), (), delimiter, None, above.lines, (), above.notes), records
    line = records[0].line
    below = [
        [field.decode(errors="replace") for field in record.fields]
        for record in records[1:]
        if record.fields is not None
    ]
    if renamed := _by_place(names, below, schema, is_timestamp, is_target):
        positions = {column: place for place, column in enumerate(schema.names)}
        listed = ", ".join(f"{header!r} as {column}" for header, column in renamed)
        notes = (*above.notes, f"columns read by their place, because the header has other names: {listed}")
        return CsvLayout(positions, len(names), (), delimiter, line, above.lines, renamed, notes), records
    found = named_layout(name, names, schema)
    layout = CsvLayout(found.positions, found.columns, found.ignored, delimiter, line, above.lines, (), above.notes)
    return layout, records


def _by_place(
    names: Sequence[str],
    below: Sequence[Sequence[str]],
    schema: TrainSchema,
    is_timestamp: Callable[[str], bool],
    is_target: Callable[[str], bool],
) -> tuple[tuple[str, str], ...]:
    """(the header's name, the schema's) of each column that only its place tells; empty where names tell, or nothing."""
    if len(names) != len(schema.names) or names_all(names, schema.required):
        return ()
    known = {folded(column) for column in schema.names}
    pairs = list(zip(names, schema.names, strict=True))
    if any(folded(header) in known and folded(header) != folded(column) for header, column in pairs):
        return ()
    if schema.timestamp is None or schema.target is None:
        return ()  # a covariate of another name may be another covariate
    when, target = schema.names.index(schema.timestamp), schema.names.index(schema.target)
    if item_of([names[target]]) is not None:
        return ()  # an item's name over what would be read as values
    rows = [row for row in below if len(row) >= len(names)]
    if not rows or not any(is_timestamp(row[when]) and is_target(row[target]) for row in rows):
        return ()
    return tuple((header, column) for header, column in pairs if folded(header) != folded(column))


def named_layout(name: str, columns: Sequence[str], schema: TrainSchema) -> ColumnLayout:
    """Columns by name, without regard to case and to characters that no schema may hold; one that is there twice is ignored.

    Raises FileProblem where a needed one is missing or there twice.
    """
    places: dict[str, list[int]] = {}
    columns = as_in_schema(columns, schema.names)
    for place, column in enumerate(columns):
        places.setdefault(folded(column), []).append(place)
    missing = [column for column in schema.required if folded(column) not in places]
    if missing:
        listed = " or ".join(repr(column) for column in missing)
        raise FileProblem(
            name,
            f"there is no column {listed}; the file has {', '.join(repr(column) for column in columns)}",
            "rename the file's columns, or say in params.json which they are (Schema, or Chronos.Columns)",
        )
    twice = [column for column in schema.names if len(places.get(folded(column), ())) > 1]
    if needed := [column for column in twice if column in schema.required]:
        raise FileProblem(name, f"the column {needed[0]!r} is there more than once", "keep one of them")
    known = {folded(column): column for column in schema.names if column not in twice}
    positions = {known[key]: found[0] for key, found in places.items() if key in known}
    several = {folded(column) for column in twice}
    ignored = tuple(
        f"{column} (there more than once)" if folded(column) in several else column
        for column in columns
        if column.strip() and folded(column) not in known
    )
    return ColumnLayout(positions, len(columns), ignored)


def _first_records(stream: IO[bytes], delimiter: str, above: int) -> list[Record]:
    """The first few records below line `above`."""
    stream.seek(0)
    below = (record for record in scan_records(stream, delimiter) if record.line > above)
    return list(islice(below, TOP_RECORDS))


def _choose(
    candidates: dict[str, list[Record]], schema: TrainSchema, is_timestamp: Callable[[str], bool]
) -> tuple[str, list[Record], list[Record]]:
    """The delimiter that fits the first records, and the records split by it: titles above the header, and the others."""
    for delimiter, records in candidates.items():
        place = _place_of_names(records, schema, is_timestamp)
        if place is not None:
            return delimiter, records[:place], records[place:]
    for delimiter, records in candidates.items():
        if len(records[0].fields or []) >= len(schema.names):
            return delimiter, [], records
    delimiter, records = next(iter(candidates.items()))
    return delimiter, [], records


def _place_of_names(records: Sequence[Record], schema: TrainSchema, is_timestamp: Callable[[str], bool]) -> int | None:
    """The place of the record that names every needed column, with none above it that may be a row; None without one."""
    for place, record in enumerate(records):
        names = _names(record, schema)
        if not names_all(names, schema.required):
            continue
        when = 0 if schema.timestamp is None else [folded(name) for name in names].index(folded(schema.timestamp))
        above = [cells[when] for each in records[:place] if len(cells := _names(each, schema)) > when]
        return None if any(map(is_timestamp, above)) or (above and schema.timestamp is None) else place
    return None


def _names(record: Record, schema: TrainSchema) -> list[str]:
    """A record's cells, names by those of the schema."""
    return as_in_schema([field.decode(errors="replace").strip() for field in record.fields or []], schema.names)


def _is_header(
    names: Sequence[str], schema: TrainSchema, is_timestamp: Callable[[str], bool], is_target: Callable[[str], bool]
) -> bool:
    if names_all(names, schema.required):
        return True
    if schema.timestamp is not None:
        when = schema.names.index(schema.timestamp)
        if len(names) > when and is_timestamp(names[when]):
            return False
    if {folded(column) for column in names} & {folded(column) for column in schema.names}:
        return True
    if schema.target is None:
        return False
    return len(names) == len(schema.names) and not is_target(names[schema.names.index(schema.target)])
