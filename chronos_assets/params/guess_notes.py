"""What was guessed of a sample of train files, told in lines for its user to check.

Elsewhere: the guesses (`inference`, `keys`), and what their own modules say of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chronos_assets.calendar.rhythm import Rhythm
from chronos_assets.calendar.time_zones import zones_that_repeat
from chronos_assets.calendar.timestamp_format import has_offset
from chronos_assets.params.columns import Column, Times, listed
from chronos_assets.params.covariate_inference import offers
from chronos_assets.params.default_horizon import default_horizon
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.params.keys import Keys, name_notes
from chronos_assets.params.overlaps import Overlap
from chronos_assets.params.target_values import course_notes, value_notes
from chronos_assets.params.timestamp_patterns import form_notes

_COMBINED = {"sum": "added up", "avg": "averaged"}
_MOST_REPEATED = 100  # timestamps that are looked up


@dataclass(frozen=True)
class Roles:
    """What the columns of the sample are."""

    times: Times
    target: Column
    keys: Keys
    overlap: Overlap


def guess_notes(
    params: ForecastParams, roles: Roles, columns: Sequence[Column], steps: Rhythm, periods: int
) -> Iterator[str]:
    """What was guessed, a line for each guess, for the user to check."""
    yield f"Guessed: {_label(roles.times.column, params.timestamp_column)} is the timestamp ({params.timestamp_format})."
    yield from form_notes(roles.times)
    yield f"Guessed: {_label(roles.target, params.target_column)} is the target."
    yield from value_notes(roles.target)
    yield from course_notes(roles.target, roles.times, roles.keys.columns)
    item = _label(roles.keys.item, params.item_column or "") if roles.keys.item is not None else ""
    if params.item_column is None:
        yield f"Guessed: all rows are one series ({roles.keys.outlook})."
    elif params.dimensions:
        yield (
            f"Guessed: each {item} with each value of {', '.join(params.dimensions)} makes a series of its own "
            f"({roles.keys.outlook})."
        )
    else:
        yield f"Guessed: each {item} is a series ({roles.keys.outlook})."
    yield from name_notes(roles.keys.columns)
    yield from _overlap_notes(roles.overlap, roles.target)
    if roles.keys.outlook.repeats:
        if zones_of_repeats(params, roles):
            yield (
                "Guessed: timestamps repeat where clocks were put back, and the mean of such an hour counts; "
                f"Chronos.TimeZone is {params.time_zone}, or any other place whose clock changes with it."
            )
        else:
            yield f"Guessed: rows of one series and period are {_COMBINED[params.aggregation]} ({params.aggregation})."
    if steps.finer is not None:
        yield f"Guessed: rows come every {steps.finer} and are {_COMBINED[params.aggregation]} by the minute."
    else:
        yield f"Guessed: rows come {params.frequency.description} ({params.frequency})."
    usual = default_horizon(params.frequency)
    short = f", not {usual}, because the longest series has {periods}" if params.horizon != usual else ""
    yield f"Guessed: {params.horizon} periods are forecast{short}."
    used = {params.item_column, params.timestamp_column, params.target_column, *params.dimensions}
    parts = {roles.times.column.index, roles.target.index, *(column.index for column in roles.keys.columns)}
    unused = [column for column in columns if column.name not in used and column.index not in parts]
    if unused:
        yield f"Not used: {', '.join(column.name for column in unused)}."
        useful = [column for column in unused if column not in roles.overlap.remarks]
        yield from offers(useful, roles.times, roles.target, roles.keys.item)


def _overlap_notes(overlap: Overlap, target: Column) -> Iterator[str]:
    """What rows of several files with one series and timestamp were taken for."""
    if overlap.remarks:
        yield (
            f"Guessed: where files have rows of one series and timestamp, the newest file's count, whatever "
            f"{listed(overlap.remarks)} says, and those of older files don't."
        )
    places, conflicts = overlap.corrected
    if 2 * conflicts > places:
        yield (
            f"Guessed: of the {places:,} times that several files have a series' row of one timestamp, {conflicts:,} correct "
            f"{target.name} (the newest file's counts); if each file is a series of its own, add a column that names it."
        )


def zones_of_repeats(params: ForecastParams, roles: Roles) -> list[str]:
    """Zones whose clocks were put back wherever rows without an offset repeat a timestamp; none where they don't."""
    if params.frequency.approximate_seconds > 3600 or has_offset(params.timestamp_format):
        return []
    keys = (column.texts for column in roles.keys.columns)
    counts = Counter(row for row in zip(roles.times.moments, *keys, strict=True) if row[0] is not None)
    twice = {row[0] for row, count in counts.items() if count > 1 and row[0] is not None}
    return zones_that_repeat(sorted(twice)[:_MOST_REPEATED])


def _label(column: Column, name: str) -> str:
    """A column's name, with its header where a schema can't hold that."""
    return name if column.header.isascii() else f"{column.header} ({name} in params.json)"
