"""What the values and names of a user's files look like, where `params.json` says which columns are which.

Inference reports the same of the columns that it chose (`target_values`, `keys`): running totals, sums beside what they add up,
zeros of periods that are still to come, another unit in some files, numbers that stand for a missing value, and columns that
call rows forecasts or cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from chronos_assets.calendar.timestamp_format import parse_timestamp
from chronos_assets.params.columns import FEW_BAD, Column, Times, with_points
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.params.headers import folded
from chronos_assets.params.keys import name_notes
from chronos_assets.params.row_kinds import planned_notes, taken_back_notes
from chronos_assets.params.target_values import course_notes, unit_notes, value_notes


def declared_notes(
    params: ForecastParams, header: Sequence[str] | None, rows: Sequence[Sequence[str]], files: Sequence[int]
) -> Iterator[str]:
    """What to tell the user of a sample's rows; nothing where they aren't what the parameters say.

    Args:
        params: with the columns' names and the form of timestamps.
        header: the files' column names; None where they have none.
        rows: text, one cell per column.
        files: of each row, a number for its file.
    """
    places = _places(params, header, len(rows[0]) if rows else 0)
    names = [name for name in (params.item_column, *params.dimensions) if name is not None]
    if places is None:
        return
    columns = {
        name: Column(place, name, name, tuple(row[place].strip() for row in rows)) for name, place in places.items()
    }
    if params.decimal_comma:
        columns = dict(zip(columns, with_points([*columns.values()]), strict=True))
    when, target = columns[params.timestamp_column], columns[params.target_column]
    known = {text: _moment(text, params.timestamp_format) for text in set(when.texts)}
    times = Times(when, params.timestamp_format, tuple(known[text] for text in when.texts))
    if times.moments.count(None) > FEW_BAD * len(rows) or not target.is_numeric:
        return
    keys = [columns[name] for name in names]
    used = set(places.values())
    others = [
        Column(place, name, name, tuple(row[place].strip() for row in rows))
        for place, name in enumerate(header or ())
        if place not in used and all(place < len(row) for row in rows)
    ]
    notes = (
        *value_notes(target),
        *course_notes(target, times, keys),
        *unit_notes(target, times, files, keys),
        *name_notes(keys),
        *planned_notes(others, keys),
        *taken_back_notes(target, others),
    )
    yield from (note.removeprefix("Guessed: ") for note in notes)


def _places(params: ForecastParams, header: Sequence[str] | None, width: int) -> dict[str, int] | None:
    """Where the schema's columns are: by their names, or by their order; None where neither fits."""
    names = [attribute.name for attribute in params.attributes]
    found = {folded(name): place for place, name in enumerate(header or ())}
    needed = {params.timestamp_column, params.target_column, *params.dimensions} | {
        params.item_column or params.target_column
    }
    if all(folded(name) in found for name in needed):
        return {name: found[folded(name)] for name in needed}
    return {name: names.index(name) for name in needed} if width == len(names) else None


def _moment(text: str, pattern: str) -> datetime | None:
    """A timestamp without its offset: all that counts is which rows have one in common, and their order."""
    moment = parse_timestamp(text, pattern)
    if moment is None and pattern.startswith("yyyy-MM"):
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError:
            return None
    return moment
