"""Train files as they come: what kind of file it is, where its columns are, and its records with their line numbers.

Here belong bytes and text: compression, encoding, delimiters, headers, quotes. What a text means (a timestamp, a
number) belongs to `casting`; what becomes of the rows to `importing`.

How a CSV file is read, stated once and held by both readers (DuckDB's for files without a flaw, `scan_records` for the
others):

- UTF-8, with or without a byte order mark. A record ends at LF, CR LF or CR outside of quotes; empty lines are skipped.
- A field may be quoted by `"`, with a quote inside doubled; spaces around the quotes do not count. A quote elsewhere in
  a field is a character like any other (`5" pipe`).
- Empty fields past the last column are ignored (a trailing delimiter); any other wrong number of fields is a flaw.
- A record longer than 1 MiB is a flaw, and so is a quote that does not close within it. Reading goes on at the line
  after the one where the flawed record began, so one stray quote costs one line and not the rest of the file.
- The line number of a record is that of its first character, counted as an editor does: line ends inside quotes count.
"""

from __future__ import annotations

import gzip
import re
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.inference import column_name

MAX_RECORD_BYTES = 1 << 20
DELIMITERS = (",", ";", "\t", "|")

_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20


class FileProblem(ChronosAssetsError, ValueError):
    """A file that can't be read at all: which, why, and what to do."""

    def __init__(self, file: str, reason: str, mend: str) -> None:
        self.file = file
        self.reason = reason
        self.mend = mend
        super().__init__(f"{file}: {reason}; {mend}")

    def __reduce__(self) -> tuple[type[FileProblem], tuple[str, str, str]]:
        return type(self), (self.file, self.reason, self.mend)


class Flaw(Enum):
    """What can be wrong with the shape of a CSV record."""

    QUOTE = "quote"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a CSV file. line: 1-based, of its first character. raw: its bytes without the line end.

    fields: its values without their quotes; None where `flaw` says why there are none.
    """

    line: int
    raw: bytes
    fields: list[bytes] | None
    flaw: Flaw | None = None


@dataclass(frozen=True)
class Schema:
    """The columns that an import needs: names in schema order, and the parts some of them play.

    item is None when the files hold one series without a column that says so. others are text columns that play no part
    in the series; they only tell rows of different files apart.
    """

    names: tuple[str, ...]
    item: str | None
    dimensions: tuple[str, ...]
    timestamp: str
    target: str
    others: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """Names without which a row has no place: item, dimensions, timestamp, target."""
        return (*((self.item,) if self.item else ()), *self.dimensions, self.timestamp, self.target)


@dataclass(frozen=True)
class Layout:
    """Where a file has the schema's columns.

    positions: schema name -> 0-based column of the file, for the names that the file has. columns: how many columns
    the file has. ignored: names of columns of the file that the schema does not know.
    """

    positions: dict[str, int]
    columns: int
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class CsvLayout(Layout):
    """A `Layout` of a CSV file. header_line: the line of the header record, None without one."""

    delimiter: str = ","
    header_line: int | None = None


def is_parquet(path: Path, name: str) -> bool:
    """Whether a file is Parquet, by its first bytes; its name decides only what is an error.

    Raises FileProblem for an empty file, for formats that are neither CSV nor Parquet, and where name and content
    disagree. `name` is what the user calls the file (its key in the store).
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    if not head:
        raise FileProblem(name, "the file is empty", "put rows into it, or remove it from train/")
    if head == b"PAR1":
        return True
    if name.casefold().endswith((".parquet", ".parq", ".pqt")):
        raise FileProblem(name, "the name says Parquet but the content is not", "write it again, or rename it to .csv")
    for magic, kind in (
        (b"PK\x03\x04", "a zip archive (or an Excel file)"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
    ):
        if head.startswith(magic):
            raise FileProblem(name, f"the file is {kind}", "store it as CSV, gzipped CSV or Parquet")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileProblem(name, "the file is UTF-16", "save it as UTF-8")
    return False


def plain_csv(path: Path, name: str, scratch: Path) -> Path:
    """The file itself, or its decompressed copy in `scratch` when it is gzip (by content, whatever its name).

    Raises FileProblem when the compressed data is cut short or damaged.
    """
    with path.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return path
    plain = scratch / "plain.csv"
    try:
        with gzip.open(path, "rb") as compressed, plain.open("wb") as out:
            shutil.copyfileobj(compressed, out, _CHUNK)
    except EOFError as error:
        raise FileProblem(name, "the gzip data is cut short", "the upload was not complete: copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FileProblem(name, f"the gzip data is damaged ({error})", "compress and copy it again") from error
    return plain


# ------------------------------------------------------------------------------------------------------- records


def scan_records(stream: IO[bytes], delimiter: str) -> Iterator[Record]:
    """Every record of a CSV file, in order, flawed ones too; the rules are in the module's docstring.

    Memory is bounded by MAX_RECORD_BYTES, not by the file. The number of fields and the encoding are not judged here.
    """
    separator = delimiter.encode()
    field = _field_pattern(separator)
    lines = _Lines(stream)
    while (taken := lines.take()) is not None:
        number, line = taken
        content = _without_end(line)
        if len(line) > MAX_RECORD_BYTES:
            yield Record(number, content, None, Flaw.TOO_LONG)
        elif b'"' not in content:
            if content.strip(b" "):
                yield Record(number, content, content.split(separator))
        else:
            yield _quoted_record(number, line, lines, separator, field)


def _quoted_record(number: int, line: bytes, lines: _Lines, separator: bytes, field: re.Pattern[bytes]) -> Record:
    """The record that starts with `line`, which has a quote; following lines are taken where a quote is open."""
    parts, borrowed, size = [line], list[tuple[int, bytes]](), len(line)
    while True:
        content = _without_end(b"".join(parts))
        fields = _split(content, separator, field)
        if fields is not None and fields is not _OPEN:
            return Record(number, content, fields)
        closing = False
        while fields is _OPEN and size <= MAX_RECORD_BYTES and not closing:
            following = lines.take()
            if following is None:
                break
            borrowed.append(following)
            parts.append(following[1])
            size += len(following[1])
            closing = b'"' in following[1]  # only a quote can end it: splitting again before would be quadratic
        if not closing:
            # Give the lines back: what follows a stray quote is data until shown otherwise.
            lines.give_back(borrowed)
            return Record(number, _without_end(line), None, Flaw.QUOTE)


def _without_end(text: bytes) -> bytes:
    """A record without the one line end that closes it; those inside its quotes stay."""
    for end in (b"\r\n", b"\n", b"\r"):
        if text.endswith(end):
            return text[: -len(end)]
    return text


_OPEN: list[bytes] = []  # the answer "a quote is still open", told apart by identity


def _field_pattern(separator: bytes) -> re.Pattern[bytes]:
    """One quoted field (group 1) up to its separator or the end, or one plain field (group 2)."""
    mark = re.escape(separator)
    return re.compile(rb' *"([^"]*(?:""[^"]*)*)" *(?=' + mark + rb'|\Z)|( *+(?!")[^' + mark + rb"]*)")


def _split(content: bytes, separator: bytes, field: re.Pattern[bytes]) -> list[bytes] | None:
    """The fields of a record; None where a quote is misplaced, `_OPEN` where one is not closed yet."""
    fields: list[bytes] = []
    position = 0
    while True:
        match = field.match(content, position)
        if match is None:
            # The field opens with a quote that either does not close, or closes with text after it.
            return _OPEN if _is_open(content, position) else None
        fields.append(match[2] if match[1] is None else match[1].replace(b'""', b'"'))
        position = match.end()
        if position == len(content):
            return fields
        position += len(separator)


_QUOTED = re.compile(rb' *"[^"]*(?:""[^"]*)*"(?!")')


def _is_open(content: bytes, position: int) -> bool:
    return _QUOTED.match(content, position) is None


class _Lines:
    """The lines of a stream with their numbers, each with its end; lines can be given back."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._source = enumerate(_split_lines(stream), start=1)
        self._returned: deque[tuple[int, bytes]] = deque()

    def take(self) -> tuple[int, bytes] | None:
        if self._returned:
            return self._returned.popleft()
        return next(self._source, None)

    def give_back(self, lines: Iterable[tuple[int, bytes]]) -> None:
        self._returned.extendleft(reversed(list(lines)))


def _split_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines ending in LF, CR LF or CR, ends kept, the byte order mark dropped.

    Of a line longer than MAX_RECORD_BYTES only its beginning is kept, one byte more than the limit.
    """
    pending = b""
    chunk = stream.read(_CHUNK).removeprefix(_BOM)
    while chunk:
        # A CR at the end of a chunk may be the first half of CR LF: look at the next byte before splitting.
        if chunk.endswith(b"\r"):
            chunk += stream.read(1)
        lines = (pending + chunk).splitlines(keepends=True)
        pending = b"" if lines[-1].endswith((b"\n", b"\r")) else lines.pop()[: MAX_RECORD_BYTES + 1]
        for line in lines:
            yield line if len(line) <= MAX_RECORD_BYTES else line[: MAX_RECORD_BYTES + 1]
        chunk = stream.read(_CHUNK)
    if pending:
        yield pending


# -------------------------------------------------------------------------------------------------------- layout


def csv_layout(
    path: Path, name: str, schema: Schema, is_timestamp: Callable[[str], bool], is_target: Callable[[str], bool]
) -> CsvLayout:
    """Delimiter, header and columns of a CSV file.

    The delimiter is the first of `, ; tab |` with which the first record has every needed name, or as many fields as
    the schema (comma when there is none). The first record is a header when

    - it names every needed column (case and surrounding spaces do not matter), or
    - the field at the schema's place for the timestamp is no timestamp, and either some field is a name of the schema,
      or the record has the schema's number of fields and the one at the target's place is no number.

    Columns are then found by name, otherwise by the schema's order. Raises FileProblem for a file without records, a
    header that lacks a needed column or has it twice, and a header that is not UTF-8.
    """
    with path.open("rb") as stream:
        candidates = {delimiter: _first_record(stream, delimiter) for delimiter in DELIMITERS}
    if all(record is None for record in candidates.values()):
        raise FileProblem(name, "the file has no rows, only empty lines", "put rows into it, or remove it from train/")
    delimiter, first = _choose(candidates, schema)
    names = [field.decode(errors="replace").strip() for field in first.fields or []]
    if not _is_header(names, schema, is_timestamp, is_target):
        positions = {column: place for place, column in enumerate(schema.names)}
        return CsvLayout(positions, len(schema.names), (), delimiter, None)
    found = named_layout(name, names, schema)
    return CsvLayout(found.positions, found.columns, found.ignored, delimiter, first.line)


def named_layout(name: str, columns: Sequence[str], schema: Schema) -> Layout:
    """Columns by name, without regard to case and to characters that no schema may hold.

    Raises FileProblem where a needed one is missing or there twice.
    """
    places: dict[str, list[int]] = {}
    for place, column in enumerate(columns):
        places.setdefault(_folded(column), []).append(place)
    missing = [column for column in schema.required if _folded(column) not in places]
    if missing:
        listed = " or ".join(repr(column) for column in missing)
        raise FileProblem(
            name,
            f"there is no column {listed}; the file has {', '.join(repr(column) for column in columns)}",
            "rename the file's columns, or say in params.json which they are (Schema, or Chronos.Columns)",
        )
    for column in schema.names:
        if len(places.get(_folded(column), ())) > 1:
            raise FileProblem(name, f"the column {column!r} is there more than once", "keep one of them")
    known = {_folded(column): column for column in schema.names}
    positions = {known[key]: found[0] for key, found in places.items() if key in known}
    ignored = tuple(column for column in columns if column.strip() and _folded(column) not in known)
    return Layout(positions, len(columns), ignored)


def _folded(name: str) -> str:
    """A header's name as it is compared: "Order Quantity" is the schema's `order_quantity`, which can hold no blank."""
    return column_name(name).casefold() if name.strip() else ""


def _first_record(stream: IO[bytes], delimiter: str) -> Record | None:
    stream.seek(0)
    return next(scan_records(stream, delimiter), None)


def _choose(candidates: dict[str, Record | None], schema: Schema) -> tuple[str, Record]:
    """The delimiter that fits the first record, and the record split by it."""
    records = {delimiter: record for delimiter, record in candidates.items() if record is not None}
    needed = {_folded(column) for column in schema.required}
    for delimiter, record in records.items():
        if needed <= {_folded(field.decode(errors="replace")) for field in record.fields or []}:
            return delimiter, record
    for delimiter, record in records.items():
        if len(record.fields or []) >= len(schema.names):
            return delimiter, record
    return next(iter(records.items()))


def _is_header(
    names: Sequence[str], schema: Schema, is_timestamp: Callable[[str], bool], is_target: Callable[[str], bool]
) -> bool:
    folded = {_folded(column) for column in names}
    if {_folded(column) for column in schema.required} <= folded:
        return True
    when, target = schema.names.index(schema.timestamp), schema.names.index(schema.target)
    if len(names) > when and is_timestamp(names[when]):
        return False
    if folded & {_folded(column) for column in schema.names}:
        return True
    return len(names) == len(schema.names) and not is_target(names[target])
