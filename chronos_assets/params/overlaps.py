"""Rows of several files about the same series and time: corrections of older rows, or series that only the files tell apart.

Here: telling the two apart in a sample. An import lets the newest file's row count, but only where the rows agree in all
text columns of the schema that play no part: those of two regions are added up, and so would be an export's rows and their
corrections where a column says when they were exported. So such a column must be no part of the schema.

The rules, for rows whose series and timestamp are in several files:

- A column of dates, one that is named as a remark on the row (status, comment, version), and one that differs here and there
  only, is a remark: rows that differ in it are corrections.
- A column that always differs, and is named as an identifier, tells series apart.
- Any other column that always differs leaves both readings.
- Where nothing but the values differs, throughout: a correction is near the value that it corrects, or comes in a file that
  begins and ends later than the one before. A file of another series has values of its own.

Within one file, rows of a series and timestamp that differ in a remark are versions, too: adding them up would count them
twice. And a unit that changes within a series makes other numbers of the same amounts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median

from chronos_assets.params.columns import Column, InferenceError, has_word, is_number, is_remark, last_word, listed
from chronos_assets.params.keys import FEW_REPEATS, NEAR, Rows
from chronos_assets.params.timestamp_columns import is_dated

# Beside what names a series anyway: names of places that a file may be of.
_OF_A_FILE = frozenset({"country", "city", "town", "county", "province", "district", "market", "territory", "outlet"})
_UNITS = frozenset(
    {"unit", "units", "uom", "einheit", "currency", "ccy", "curr", "waehrung", "wahrung", "unite", "devise"}
)
_COMPANY = re.compile(r"business|operating|org(?![a-z])|organi[sz]ation", re.IGNORECASE)
_NUMBER = re.compile(r"\d[.,]?\d")
_ALWAYS = 0.95
_MOSTLY = 0.5
_SEVERAL = 3


@dataclass(frozen=True)
class Overlap:
    """What rows of several files with one series and timestamp have in common.

    remarks: columns in which they differ without being other series. keys: columns that tell other series apart.
    corrected: where nothing but their values tells them apart, how many such places there are, and how many with other values.
    """

    remarks: tuple[Column, ...] = ()
    keys: tuple[Column, ...] = ()
    corrected: tuple[int, int] = (0, 0)


def find_overlap(
    rows: Rows, keys: Sequence[Column], unused: Sequence[Column], target: Column, *, newest_counts: bool = False
) -> Overlap:
    """What the rows of several files that share a series and a timestamp are.

    Args:
        rows: of the sample.
        keys: columns of a series' key.
        unused: columns that play no part.
        target: the values.
        newest_counts: whether such rows are known to be corrections.

    Raises:
        InferenceError: they may be corrections, or other series.
    """
    places = _shared_places(rows, keys)
    if not places:
        return Overlap()
    differing = {c: sum(len({c.texts[row] for row in place}) > 1 for place in places) / len(places) for c in unused}
    often = sum(map(len, places)) > FEW_REPEATS * len(rows.files)
    always = [c for c, share in differing.items() if often and share >= _ALWAYS and not _is_remark(c)]
    naming = [c for c in always if _names_series(c)]
    if naming and not newest_counts:
        return Overlap(keys=tuple(naming))
    values = [{target.texts[row] for row in place} for place in places]
    conflicts = sum(len(each) > 1 for each in values)
    many = conflicts > _MOSTLY * len(places)
    open_columns = [c for c in always if not c.is_numeric or (many and _is_code_of_file(c, rows))]
    if open_columns and not newest_counts:
        raise _undecided(f"differ in {listed(open_columns)}", len(places))
    throughout = sum(map(len, places)) > _MOSTLY * len(rows.files) and many
    if throughout and not newest_counts and not _are_versions(rows, keys, target, places):
        raise _undecided(f"have other values of {target.name}", len(places))
    remarks = tuple(c for c, share in differing.items() if share and not c.is_numeric)
    return Overlap(remarks, (), (len(places), conflicts) if often and not remarks else (0, 0))


def check_versions(rows: Rows, keys: Sequence[Column], unused: Sequence[Column]) -> None:
    """Refuse rows of one file that are versions of each other, and values of several units in one series.

    Raises:
        InferenceError: which column says so.
    """
    found: dict[tuple[object, ...], list[int]] = {}
    for row, place in enumerate(zip(rows.times.moments, rows.files, *(column.texts for column in keys), strict=True)):
        if place[0] is not None:
            found.setdefault(place, []).append(row)
    repeated = [place for place in found.values() if len(place) > 1]
    for column in unused:
        if not is_remark(column.header) or not repeated:
            continue
        differ = [place for place in repeated if len({column.texts[row] for row in place}) > 1]
        if len(differ) > _MOSTLY * len(repeated):
            shown = " and ".join(sorted({column.texts[row] or "nothing" for row in differ[0]})[:_SEVERAL])
            raise InferenceError(
                f"rows of one series and timestamp differ in {listed([column])} ({shown}): keep the row that counts, or write "
                "a params.json without that column to have such rows added up (timestamps with several rows: "
                f"{len(repeated):,})",
                role="repeats",
                candidates=("sum",),
            )
    for column in unused:
        if not _is_unit(column):
            continue
        units: dict[tuple[str, ...], set[str]] = {}
        for text, *key in zip(column.values, *(key.texts for key in keys), strict=True):
            if text is not None:
                units.setdefault(tuple(key), set()).add(text)
        mixed = next((each for each in units.values() if len(each) > 1), None)
        if mixed is not None:
            raise InferenceError(
                f"values of one series have several units: {listed([column])} is {' and '.join(sorted(mixed)[:_SEVERAL])}; "
                "write all values of a series in one unit"
            )


def versions(rows: Rows, keys: Sequence[Column]) -> list[int]:
    """Of each row, how many files before its own have a row of its series and timestamp: one version has one row of each."""
    seen: dict[tuple[object, ...], dict[int, int]] = {}
    numbers = []
    for moment, file, *key in zip(rows.times.moments, rows.files, *(column.texts for column in keys), strict=True):
        files = seen.setdefault((moment, *key), {})
        numbers.append(files.setdefault(file, len(files)))
    return numbers


def _shared_places(rows: Rows, keys: Sequence[Column]) -> list[list[int]]:
    """Rows of one series and timestamp, where these are of several files."""
    found: dict[tuple[object, ...], list[int]] = {}
    for row, (moment, *key) in enumerate(zip(rows.times.moments, *(column.texts for column in keys), strict=True)):
        if moment is not None:
            found.setdefault((moment, *key), []).append(row)
    return [place for place in found.values() if len({rows.files[row] for row in place}) > 1]


def _are_versions(rows: Rows, keys: Sequence[Column], target: Column, places: Sequence[Sequence[int]]) -> bool:
    """Whether files correct each other, though nearly all values differ."""
    spans: dict[int, tuple[datetime, datetime]] = {}
    for moment, file in zip(rows.times.moments, rows.files, strict=True):
        if moment is not None:
            first, last = spans.get(file, (moment, moment))
            spans[file] = min(first, moment), max(last, moment)
    ordered = [spans[file] for file in sorted(spans)]
    starts, ends = (_one_way([span[side] for span in ordered]) for side in (0, 1))
    if starts and starts == ends:
        return True
    return _are_near(keys, target, places) and (max(map(len, places)) < _SEVERAL or ends != 0)


def _one_way(moments: Sequence[datetime]) -> int:
    """1 where each is later than the one before, -1 where each is earlier, else 0."""
    ways = {(after > before) - (after < before) for before, after in pairwise(moments)}
    return ways.pop() if len(ways) == 1 else 0


def _are_near(keys: Sequence[Column], target: Column, places: Sequence[Sequence[int]]) -> bool:
    """Whether the values of a place, file after file, are much nearer to each other than those of a series usually are."""
    apart: list[float] = []
    of_series: dict[tuple[str, ...], list[float]] = {}
    for place in places:
        values = [float(target.texts[row]) for row in place if is_number(target.texts[row])]
        if len(values) > 1:
            apart.append(median(abs(after - before) for before, after in pairwise(values)))
            of_series.setdefault(tuple(key.texts[place[0]] for key in keys), []).append(values[0])
    if not apart:
        return True
    middles = {key: median(values) for key, values in of_series.items()}
    usual = median(abs(value - middles[key]) for key, values in of_series.items() for value in values)
    return not usual or median(apart) <= NEAR * usual  # nothing tells constants apart


def _names_series(column: Column) -> bool:
    if column.is_numeric:
        return column.is_identifying and column.is_complete
    return column.is_complete and (column.has_key_name or last_word(column.header) in _OF_A_FILE)


def _is_code_of_file(column: Column, rows: Rows) -> bool:
    """Whether each file has one whole number throughout its rows, as a code of what it is about."""
    if not column.is_whole or _MOSTLY * len(rows.files) < len(set(rows.files)):
        return False
    return len(set(zip(rows.files, column.texts, strict=True))) == len(set(rows.files))


def _is_remark(column: Column) -> bool:
    return is_dated(column) or is_remark(column.header)


def _is_unit(column: Column) -> bool:
    """Whether a column holds units, neither a price of one nor a part of a company, by its name and its texts."""
    if not has_word(column.header, _UNITS) or _COMPANY.search(column.header):
        return False
    return not any(text[:1].isdigit() or _NUMBER.search(text) for text in column.present)


def _undecided(how: str, places: int) -> InferenceError:
    return InferenceError(
        f"several files have rows of the same series and timestamp ({places:,} times in what was looked at), which {how}: give "
        "each series a column that names it, and list it in params.json (Chronos.Columns, ForecastDimensions), or write a "
        "params.json without such a column, so that the row of the newest file counts",
        role="files",
        candidates=("newest",),
    )
