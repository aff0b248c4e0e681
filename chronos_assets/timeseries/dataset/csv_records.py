"""Train files as they come: what kind of file it is, and its records with their line numbers.

Here belong bytes and text: compression, encoding, delimiters, quotes. Which record is a header and where columns are belongs
to `csv_layout`, what a text means (a timestamp, a number) to `casting`, what becomes of the rows to `importing`.

How a CSV file is read, stated once and held by both readers (DuckDB's for files without a flaw, `scan_records` for the
others):

- UTF-8, with or without a byte order mark. A record ends at LF, CR LF or CR outside of quotes; empty lines are skipped, and
  those of delimiters alone, which spreadsheets leave below the rows.
- A field may be quoted by `"`, with a quote inside doubled; spaces around the quotes do not count. A quote elsewhere in
  a field is a character like any other (`5" pipe`).
- Empty fields past the last column are ignored (a trailing delimiter); any other wrong number of fields is a flaw.
- A record longer than 1 MiB is a flaw, and so is a quote that does not close within it. Reading continues at the line
  after the one where the flawed record began, so one stray quote costs one line and not the rest of the file.
- The line number of a record is that of its first character, counted as an editor does: line ends inside quotes count.
- Above the first record there may be a preamble: Excel's line `sep=;`, and comments, which start with `#` and don't have
  the columns of the rows below. It is left out, and said.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from chronos_assets.errors import ChronosAssetsError

MAX_RECORD_BYTES = 1 << 20
DELIMITERS = (",", ";", "\t", "|")

# A file may unpack to a gigabyte, or to so many times its own size: real data shrink to a tenth, seldom to a fiftieth.
SMALL_UNPACKED = 1 << 30
MOST_EXPANSION = 100

_HEAD_BYTES = 4096  # that are looked at for the kind of file

_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20
_LINE_ENDS = (b"\r\n", b"\n", b"\r")
_ENDS = b"\r\n"
# A stretch of empty lines that comes as one, so that megabytes of them take no time.
_MANY = 512
_EMPTY_LINES = re.compile(rb"((?<=\n)(?:(?:\r\n){%d,}|\n{%d,})|(?<=\r)\r{%d,}(?!\n))" % (_MANY, _MANY, _MANY))
# A stretch of empty lines that DuckDB is not trusted with: from some megabytes on it drops the rows behind them.
_BLANK_BLOCK = 1 << 15


class FileProblem(ChronosAssetsError, ValueError):
    """A file that can't be read at all: which, why, and what to do."""

    def __init__(self, file: str, reason: str, fix: str) -> None:
        self.file = file
        self.reason = reason
        self.fix = fix
        super().__init__(f"{file}: {reason}; {fix}")

    def __reduce__(self) -> tuple[type[FileProblem], tuple[str, str, str]]:
        return type(self), (self.file, self.reason, self.fix)


class NoRows(FileProblem):
    """A file without a row: blank, or nothing but a header. It takes no part, which is no error beside other files."""

    def __init__(self, file: str, reason: str, fix: str = "put rows into it, or remove it") -> None:
        super().__init__(file, reason, fix)


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


def is_parquet(path: Path, name: str) -> bool:
    """Whether a file is Parquet, by its first bytes; its name decides only what is an error.

    Raises FileProblem for formats that are neither CSV nor Parquet, and where name and content disagree; NoRows for an
    empty file. `name` is what the user calls the file (its key in the store).
    """
    with _opened(path, name) as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise NoRows(name, "the file is empty")
    if head.startswith(b"PAR1"):
        return True
    if name.casefold().endswith((".parquet", ".parq", ".pqt")):
        raise FileProblem(
            name, "the name says Parquet but the content is not", "write it again as Parquet, or rename it to .csv"
        )
    _check_text(head, name)
    return False


def _check_text(head: bytes, name: str) -> None:
    """Refuse a file whose first bytes are those of something other than text in UTF-8 (or gzip). Raises FileProblem."""
    for magic, kind in (
        (b"PK\x03\x04", "a zip archive (or an Excel file)"),
        (b"\xd0\xcf\x11\xe0", "an old Excel file"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
        (b"{", "JSON"),
        (b"[{", "JSON"),
        (b"<", "HTML or XML"),
    ):
        if head.removeprefix(_BOM).lstrip(b" \t\r\n").startswith(magic):
            raise FileProblem(name, f"the file is {kind}", "store it as CSV, gzipped CSV or Parquet")
    if head[257:262] == b"ustar":
        raise FileProblem(name, "the file is a tar archive", "put the files in it there one by one")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileProblem(name, "the file is UTF-16", "save it as UTF-8")
    if b"\0" in head and not head.startswith(b"\x1f\x8b"):
        if max(head[::2].count(0), head[1::2].count(0)) > len(head) // 8:
            raise FileProblem(name, "the file is UTF-16 (without a byte order mark)", "save it as UTF-8")
        raise FileProblem(
            name, "the file holds zero bytes, so it is no text", "store it as CSV in UTF-8, or as Parquet"
        )


def _opened(path: Path, name: str) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: OSError) -> FileProblem:
    """The problem of a file that can no longer be read, such as one removed in the meantime."""
    return FileProblem(
        name,
        f"the file can't be read ({error.strerror or error})",
        "see that it is there and complete, and import again",
    )


def unpacked_limit(size: int, limit: int | None) -> int:
    """The bytes that a compressed file of `size` bytes may unpack to; `limit` is the user's own."""
    return limit if limit is not None else max(SMALL_UNPACKED, MOST_EXPANSION * size)


def too_large(name: str, what: str, limit: int) -> FileProblem:
    """The problem of a file that unpacks to more than is allowed."""
    return FileProblem(
        name,
        f"{what}, more than the {limit:,} bytes that a file of its size may",
        "see whether it holds what you think; if it does, set CHRONOS_MAX_UNPACKED (for example 50GB), or split it",
    )


def plain_csv(path: Path, name: str, scratch: Path, limit: int | None = None) -> Path:
    """The file itself, or its decompressed copy in `scratch` when it is gzip (by content, whatever its name).

    Raises FileProblem when the compressed data is cut short, damaged, no text, or unpacks to more than it may (`limit`
    bytes; see `unpacked_limit`).
    """
    with _opened(path, name) as stream:
        if stream.read(2) != b"\x1f\x8b":
            return path
        most = unpacked_limit(stream.seek(0, 2), limit)
    plain = scratch / "plain.csv"
    try:
        with gzip.open(path, "rb") as compressed, plain.open("wb") as out:
            while chunk := compressed.read(_CHUNK):
                if out.tell() + len(chunk) > most:
                    raise too_large(name, "the gzip data unpack to more than that", most)
                out.write(chunk)
    except EOFError as error:
        raise FileProblem(name, "the gzip data is cut short", "the upload was not complete: copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FileProblem(name, f"the gzip data is damaged ({error})", "compress and copy it again") from error
    with plain.open("rb") as stream:
        _check_text(stream.read(_HEAD_BYTES), name)
    return plain


def has_long_blanks(path: Path) -> bool:
    """Whether a file has tens of kilobytes of empty lines in a row."""
    with path.open("rb") as stream:
        while block := stream.read(_BLANK_BLOCK):
            if len(block) == _BLANK_BLOCK and not block.strip(b"\r\n \t"):
                return True
    return False


# ------------------------------------------------------------------------------------------------------- records


def scan_records(stream: IO[bytes], delimiter: str) -> Iterator[Record]:
    """Every record of a CSV file, in order, flawed ones too; the rules are in the module's docstring.

    Memory is bounded by MAX_RECORD_BYTES, not by the file. The number of fields and the encoding are not judged here.
    """
    separator = delimiter.encode()
    blank = b" " + separator
    field = _field_pattern(separator)
    lines = _Lines(stream)
    while (taken := lines.take()) is not None:
        number, line = taken
        if not line.strip(_ENDS):
            continue
        content = without_end(line)
        if len(line) > MAX_RECORD_BYTES:
            yield Record(number, content, None, Flaw.TOO_LONG)
        elif b'"' not in content:
            if content.strip(blank):
                yield Record(number, content, content.split(separator))
        else:
            yield _quoted_record(number, line, lines, separator, field)


def _quoted_record(number: int, line: bytes, lines: _Lines, separator: bytes, field: re.Pattern[bytes]) -> Record:
    """The record that starts with `line`, which has a quote; following lines are taken where a quote is open."""
    parts, borrowed, size = [line], list[tuple[int, bytes]](), len(line)
    while True:
        content = without_end(b"".join(parts))
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
            return Record(number, without_end(line), None, Flaw.QUOTE)


def without_end(text: bytes) -> bytes:
    """A record without the one line end that closes it; those inside its quotes stay."""
    for end in _LINE_ENDS:
        if text.endswith(end):
            return text[: -len(end)]
    return text


_OPEN: list[bytes] = []  # the answer "a quote is still open", distinguished by identity


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
        self._source = split_numbered(stream)
        self._returned: deque[tuple[int, bytes]] = deque()

    def take(self) -> tuple[int, bytes] | None:
        if self._returned:
            return self._returned.popleft()
        return next(self._source, None)

    def give_back(self, lines: Iterable[tuple[int, bytes]]) -> None:
        self._returned.extendleft(reversed(list(lines)))


def split_numbered(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; many empty ones in a row come together, with the number of the first."""
    number = 1
    for line in _split_lines(stream):
        yield number, line
        number += 1 if len(line) <= 2 or line.strip(_ENDS) else len(line.splitlines())


def _split_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines ending in LF, CR LF or CR, ends kept, the byte order mark dropped; many empty ones in a row are one.

    Of a line longer than MAX_RECORD_BYTES only its beginning is kept, one byte more than the limit.
    """
    pending = b""
    chunk = stream.read(_CHUNK).removeprefix(_BOM)
    while chunk:
        # A CR at the end of a chunk may be the first half of CR LF: look at the next byte before splitting.
        if chunk.endswith(b"\r"):
            chunk += stream.read(1)
        lines = _lines_of(pending + chunk)
        pending = b"" if lines[-1].endswith((b"\n", b"\r")) else lines.pop()[: MAX_RECORD_BYTES + 1]
        for line in lines:
            yield line if len(line) <= MAX_RECORD_BYTES else line[: MAX_RECORD_BYTES + 1]
        chunk = stream.read(_CHUNK)
    if pending:
        yield pending


def _lines_of(text: bytes) -> list[bytes]:
    if not any(end * _MANY in text for end in _LINE_ENDS):
        return text.splitlines(keepends=True)
    parts = _EMPTY_LINES.split(text)
    return [line for place, part in enumerate(parts) for line in ([part] if place % 2 else part.splitlines(True))]
