"""Headers of CSV files: whether a row is one, and what its names are in a schema.

The one home of these rules for the import (which knows the schema), for inference (which doesn't) and for the endpoint's
CSV requests. Where columns are, and what their values mean, belongs to the callers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import inf

from chronos_assets.params.columns import MISSING_MARKERS, TIMESTAMP_NAMES, is_number, rank

LONGEST_NAME = 63

# Letters that decomposing does not turn into ASCII.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "œ": "oe", "Œ": "OE"}
)


@lru_cache(maxsize=4096)
def column_name(text: str) -> str:
    """The name that a schema gives to a column with this header: the service takes letters, digits and _ only.

    "Order Quantity" -> "Order_Quantity", "2nd price" -> "c_2nd_price", "Größe (kg)" -> "Grosse_kg". A name in another
    script is spelled by its code points ("売上" -> "c_58f2_4e0a"), so that two of them never become one.
    """
    composed = unicodedata.normalize("NFC", text.strip().removeprefix("\ufeff")).translate(_LETTERS)
    name = re.sub(r"[^A-Za-z0-9]+", "_", "".join(map(_in_ascii, composed))).strip("_")
    if not name or not name[0].isalpha() or not _in_ascii(composed[0])[0].isalnum():
        name = f"c_{name}"
    return name[:LONGEST_NAME]


def _in_ascii(character: str) -> str:
    """A character without its accent, or a letter of another script as its code point between underscores."""
    if character.isascii() or not character.isalnum():
        return character
    base = unicodedata.normalize("NFKD", character)[0]
    return base if base.isascii() else f"_{ord(character):x}_"


def schema_name(text: str) -> str:
    """A column's name as params.json may write it: "Order Quantity" is `Order_Quantity`; other texts are left as they are.

    Only letters, digits, blanks and a few marks make a name; what else stands there is for the reader to refuse.
    """
    return column_name(text) if re.fullmatch(r"\w[\w .()/%#-]*", text) and not re.fullmatch(r"[0-9_].*", text) else text


def folded(header: str) -> str:
    """A header's name as it is compared: "Order Quantity" is the schema's `order_quantity`, which can hold no blank."""
    return column_name(header).casefold() if header.strip() else ""


def renamed(name: str) -> str:
    """The name in a schema of a column whose own is taken there: "level" -> "c_level"; see `as_in_schema`."""
    return f"c_{name}"


def as_in_schema(headers: Sequence[str], names: Iterable[str]) -> list[str]:
    """Headers, those that a schema renamed (see `renamed`) by their name there."""
    known = {folded(name): name for name in names}
    return [
        known.get(folded(renamed(header)), header) if header.strip() and folded(header) not in known else header
        for header in headers
    ]


def names_all(cells: Iterable[str], needed: Iterable[str]) -> bool:
    """Whether a row names every needed column, without regard to case and to characters that no schema may hold."""
    return {folded(name) for name in needed} <= {folded(cell) for cell in cells}


def looks_like_header(first: Sequence[str], rest: Sequence[Sequence[str]], is_value: Callable[[str], bool]) -> bool:
    """Whether the first row of a file of unknown columns holds names: all texts, none a number or a timestamp.

    Numbers are names (of products, or pandas' 0, 1, …) beside that of a column of timestamps, see `_names_times`.
    A cell may be empty: pandas leaves the header of its index so; and any number of cells over columns that are empty, too, as
    spreadsheets leave them. A text that stands twice is a name only over two columns of values. A row of texts over rows of
    texts alone can't be distinguished, and counts as data. `is_value` says whether a text is a number or a timestamp.
    """
    cells = [cell.strip().removeprefix("\ufeff") for cell in first]
    names = [cell for cell in cells if cell]
    bare = [place for place, cell in enumerate(cells) if not cell]
    filled = [place for place in bare if any(row[place].strip() for row in rest[:100] if place < len(row))]
    if not names or len(filled) > 1 or any(is_value(name) and not is_number(name) for name in names):
        return False
    if any(map(is_number, names)):
        return _names_times(cells, rest[:100], is_value)
    rows = [[is_value(cell.strip()) for cell in row] for row in rest[:100]]
    if len({name.casefold() for name in names}) < len(names):
        columns: list[tuple[bool, ...]] = list(zip(*rows, strict=False))
        return sum(2 * sum(column) > len(rows) for column in columns) > 1
    return not any(rows) or any(map(any, rows))


def _names_times(cells: Sequence[str], rows: Sequence[Sequence[str]], is_value: Callable[[str], bool]) -> bool:
    """Whether a row with numbers names a column of timestamps, or is that of a table whose columns have no names.

    Its cell over them is called as they are, or is the empty one of an index beside 0, 1, ….
    """
    for place, cell in enumerate(cells):
        called = rank(cell, TIMESTAMP_NAMES) < inf or (not cell and cells[1:] == list(map(str, range(len(cells) - 1))))
        below = [row[place].strip() for row in rows if place < len(row)]
        if called and below and all(is_value(text) and not is_number(text) for text in below):
            return True
    return False


def time_column(rows: Sequence[Sequence[str] | None], is_time: Callable[[str], bool]) -> int | None:
    """The place of the column with timestamps, by the lower half of the first rows of a file; None without one.

    `rows` are None where they don't have the columns of most. `is_time` says whether a text is a timestamp.
    """
    lower = [row for row in rows[len(rows) // 2 :] if row is not None]
    shares = [(sum(map(is_time, column)), -place) for place, column in enumerate(zip(*lower, strict=True))]
    count, place = max(shares, default=(0, 0))
    return -place if 2 * count > len(lower) else None


def names_below_titles(
    rows: Sequence[Sequence[str] | None], is_value: Callable[[str], bool], is_time: Callable[[str], bool]
) -> int:
    """The place of the row of names, where a title, the name of a meter or the date of an export stand above it; else 0.

    It is the row above the first one with a timestamp in its column, see `time_column`; not so if a value is missing in it.
    """
    when = time_column(rows, is_time)
    if when is None:
        return 0
    first = next(number for number, row in enumerate(rows) if row is not None and is_time(row[when]))
    names = rows[first - 1] if first > 1 else None
    if names is None or any(cell.strip().casefold() in MISSING_MARKERS - {""} for cell in names):
        return 0
    below = [row for row in rows[first:] if row is not None]
    return first - 1 if looks_like_header(names, below, is_value) else 0
