"""Parameters guessed from a sample of the train files, for a store without params.json.

Which column holds the timestamp, the item, the target; how timestamps are written; how often rows come. A guess is made
only where the sample leaves one reading, and every guess is a line of the notes; otherwise `InferenceError` names the
candidates, what each would mean, and the key of params.json that settles it. Reading files does not belong here: rows come
in as text.

Rules, in order:

1. Timestamp: the one column whose every value reads by one of the known patterns, names such as "timestamp" or "date"
   first. Day and month are distinguished by values above 12, else by which reading gives the more regular steps. See
   `timestamp_columns`.
2. Target: by name (a domain's own, or "y", "sales", "Order_Quantity", …), else the only column of numbers left that are no
   identifiers, flags or row numbers.
3. Item and dimensions: by what they make of the rows, see `keys`.
4. Frequency: see `calendar.rhythm`.
5. The alignment, where timestamps agree on a weekday, day of month, hour or phase, see `calendar.alignment`. Timestamps
   with offsets whose local time shows days or longer are read on the clock of a zone that has these offsets.
6. Horizon: `DEFAULT_HORIZON` of the unit (the M4 competition's: H 48, D 14, W 13, M 18, Y 6; a day of minutes, at most
   60 periods), divided by the multiple; a third of the longest series where no past window would be left to score.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.calendar.rhythm import Rhythm, change_of_rhythm
from chronos_assets.params.attributes import Attribute, AttributeType
from chronos_assets.params.columns import (
    REWRITE,
    TIMESTAMP_NAMES,
    Column,
    InferenceError,
    Times,
    decimal_commas,
    is_height,
    listed,
    rank,
    with_points,
)
from chronos_assets.params.default_horizon import default_horizon
from chronos_assets.params.draft import draft_of, skeleton
from chronos_assets.params.forecast import DOMAINS, Domain, ForecastParams, ParamsError, to_document
from chronos_assets.params.guess_notes import Roles, guess_notes, zones_of_repeats
from chronos_assets.params.headers import column_name, renamed
from chronos_assets.params.keys import Keys, Rows, choose_keys
from chronos_assets.params.overlaps import check_versions, find_overlap, versions
from chronos_assets.params.reader import parse_params
from chronos_assets.params.rhythm_notes import rhythm_notes
from chronos_assets.params.row_kinds import check_constant, check_planned, taken_back_notes
from chronos_assets.params.sections import RESERVED, RESERVED_PATTERN
from chronos_assets.params.target_column import target_column
from chronos_assets.params.target_values import check_point, unit_notes
from chronos_assets.params.timestamp_checks import check_century, check_days, check_order, check_weeks
from chronos_assets.params.timestamp_columns import (
    in_local_time,
    is_dated,
    regular_reading,
    timestamp_readings,
)
from chronos_assets.params.wide_times import below_first_row, values_as_times

_FREQUENCIES = ("D", "H", "W", "M")  # that a draft offers

# Names that forecast.csv uses itself: a column that plays no part is left out of the schema if it is called so.
_TAKEN = frozenset({"type"})


def infer(
    header: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    *,
    timestamp: str | None = None,
    item: str | None = None,
    target: str | None = None,
    files: Sequence[int] | None = None,
    stretches: Sequence[int] | None = None,
    complete: bool = True,
) -> ForecastParams:
    """Parameters for files that look like this sample of some thousand rows.

    Args:
        header: the files' column names, None when they have none (columns are then called by their role).
        rows: text, one cell per column; rows that follow each other in a file are best, a series with too few rows says
            nothing of the frequency.
        timestamp: the column that holds it, if that is known already; `item` and `target` likewise.
        item: see `timestamp`.
        target: see `timestamp`.
        files: of each row, a number for its file; all of one file when None.
        complete: whether these are all rows; otherwise counts are reported as those of a sample.
        stretches: of each row, a number for the run of rows that it belongs to, without a gap in the file; one when None.

    Returns:
        The parameters; the notes have a line for each guess.

    Raises:
        InferenceError: when the sample leaves more than one reading, or none.
    """
    named = {"timestamp": timestamp, "item": item, "target": target}
    columns = _columns(header, rows)
    commas = decimal_commas(columns)
    columns = with_points(columns) if commas else columns
    places = (list(files or [0] * len(rows)), list(stretches or [0] * len(rows)))

    def attempt(given: Mapping[str, str | None]) -> ForecastParams:
        params = _infer(columns, places, given, has_header=header is not None)
        if commas:
            params = replace(params, decimal_comma=True, notes=(*params.notes, _comma_note(commas)))
        return params if complete else replace(params, notes=tuple(map(_of_a_sample, params.notes)))

    try:
        return attempt(named)
    except InferenceError as error:
        if twins := _called_alike(columns):
            raise _ambiguous(twins) from error
        if error.role != REWRITE:
            error.draft = draft_of(error, attempt, named) or skeleton(error, [(c.name, c.is_numeric) for c in columns])
            if commas:
                error.draft["Chronos"]["DecimalComma"] = True
        raise


def likely_keys(header: Sequence[str], rows: Sequence[Sequence[str]], files: Sequence[int]) -> list[str]:
    """Headers of the columns that seem to make a series, so that whole series can be sampled; empty if that is open."""
    try:
        columns = _columns(header, rows)
        columns = with_points(columns) if decimal_commas(columns) else columns
        readings = timestamp_readings(columns, None)
        sample = Rows(readings[0], files, range(len(rows)))
        others = [column for column in columns if column is not readings[0].column]
        target = target_column(others, sample, has_header=True)
        keys = choose_keys(sample, [column for column in others if column is not target], None, has_header=True)
    except InferenceError:
        return []
    return [column.header for column in keys.columns]


def _infer(
    columns: Sequence[Column],
    places: tuple[Sequence[int], Sequence[int]],
    named: Mapping[str, str | None],
    *,
    has_header: bool,
) -> ForecastParams:
    if wide := values_as_times(columns if has_header else below_first_row(columns)):
        way = ": `chronos-assets melt FILE OUTPUT` writes them as rows of a timestamp and target_value"
        raise InferenceError(f"{wide}{'' if wide.unclear else way}", role=REWRITE)
    readings = timestamp_readings(columns, _named(columns, named, "timestamp"))
    if chosen := named.get("format"):
        readings = [times for times in readings if times.pattern == chosen] or readings
    rows, roles, unused = _series_of(columns, readings[0], places, named, has_header=has_header)
    target, keys, overlap = roles.target, roles.keys, roles.overlap
    times, steps = regular_reading(readings, rows, keys.columns)
    check_century(times)
    check_days(times)
    check_weeks(times, keys.columns)
    if named.get("frequency") is None:
        _refuse_change_of_rhythm(rows, keys.columns, times, steps)
    check_order(times, steps, rows, keys.columns)
    times, steps, zone = in_local_time(times, steps, rows, keys.columns)
    if times is not readings[0]:
        rows = Rows(times, rows.files, rows.stretches)
        keys = replace(keys, outlook=rows.outlook(keys.columns))
    if frequency := named.get("frequency"):
        steps = replace(steps, frequency=Frequency.parse(frequency))
    if steps.frequency is None:
        raise _no_frequency(steps)
    if {*(twins := _called_alike(columns))} & {times.column, target, *keys.columns}:
        raise _ambiguous(twins)
    columns = [column for column in columns if column not in twins]
    roles = Roles(times, target, keys, overlap)
    params = _assemble(columns, roles, steps.frequency, has_header=has_header)
    snap = steps.snap / 1_000_000 if steps.snap or steps.apart else None
    put_back = zones_of_repeats(params, roles)
    params = replace(params, alignment=steps.alignment, snap_seconds=snap, time_zone=zone or next(iter(put_back), None))
    if is_height(target.header) and (keys.outlook.repeats or steps.finer is not None):
        params = replace(params, aggregation="avg")
    periods = _longest(params.grid, rows, roles)
    params = _checked(replace(params, horizon=default_horizon(steps.frequency, periods)))
    copies = () if put_back else _copy_notes(rows, keys, columns)
    taken_back = (*copies, *taken_back_notes(target, unused))
    guesses = (
        *guess_notes(params, roles, columns, steps, periods),
        *([f"Not used, because other columns are called so, too: {listed(twins)}."] if twins else []),
        *taken_back,
        *unit_notes(target, times, places[0], keys.columns),
    )
    return replace(params, notes=(*guesses, *rhythm_notes(params, steps, times)))


def _series_of(
    columns: Sequence[Column],
    times: Times,
    places: tuple[Sequence[int], Sequence[int]],
    named: Mapping[str, str | None],
    *,
    has_header: bool,
) -> tuple[Rows, Roles, list[Column]]:
    """The rows of the series, what the columns are by one reading of the timestamps, and the columns without a part."""
    others = [c for c in columns if c is not times.column and (not c.is_empty or c.distinct)]
    rows = Rows(times, *places)
    item = _named(columns, named, "item")
    target = _named(columns, named, "target") or target_column([c for c in others if c is not item], rows, has_header)
    if named.get("decimals") is None:
        check_point(target)
    candidates = [column for column in others if column is not target]
    dated = [column for column in candidates if is_dated(column)]
    try:
        keys = choose_keys(rows, candidates, item, has_header=has_header, values=target, dated=dated)
    except InferenceError as error:
        if error.role != "repeats" or named.get("repeats") != "sum":
            raise
        keys = Keys(item or _item_by_name(rows, candidates, has_header), (), rows.outlook([]))
        keys = replace(keys, outlook=rows.outlook(keys.columns))
    unused = [column for column in candidates if column not in keys.columns]
    if named.get("repeats") != "sum":
        check_versions(rows, keys.columns, unused)
    check_planned(unused, keys.columns)
    if named.get("target") is None:
        check_constant(target, unused, keys.columns)
    overlap = find_overlap(rows, keys.columns, unused, target, newest_counts=named.get("files") is not None)
    if overlap.keys:
        rows = Rows(times, versions(rows, [*keys.columns, *overlap.keys]), rows.stretches)
        keys = choose_keys(
            rows, [*keys.columns, *overlap.keys], item or keys.item, has_header=has_header, values=target
        )
    return rows, Roles(times, target, keys, overlap), unused


def _copy_notes(rows: Rows, keys: Keys, columns: Sequence[Column]) -> Iterator[str]:
    """Whether the few rows that repeat a timestamp equal another throughout, which may have been written twice."""
    repeats = keys.outlook.repeats
    if repeats and rows.copies(columns) >= repeats:
        yield (
            f"Guessed: rows that equal another in every column ({repeats:.1%} of the rows looked at) count beside it; if they "
            "were written twice, leave one out."
        )


def _refuse_change_of_rhythm(rows: Rows, keys: Sequence[Column], times: Times, steps: Rhythm) -> None:
    """Refuse rows that come more or less often from some time on."""
    if steps.frequency is None:
        return
    grid = Grid(steps.frequency, steps.alignment)
    if change := change_of_rhythm(rows.series(keys, times), grid, steps.snap):
        raise InferenceError(
            f"{change}: a value may be of another size then; keep the rows of one kind, or write a params.json whose "
            "ForecastFrequency adds the finer ones up, or leaves them as they are",
            role="frequency",
            candidates=_FREQUENCIES,
        )


def _no_frequency(steps: Rhythm) -> InferenceError:
    return InferenceError(
        f"how often rows come can't be determined: {steps.reason}; write a params.json that sets "
        f"Datasets[0].DataFrequency and Predictor.FeaturizationConfig.ForecastFrequency",
        role="frequency",
        candidates=_FREQUENCIES,
    )


# --- Columns


def _columns(header: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> list[Column]:
    """The columns that have a name, or all of a file without a header."""
    if not rows:
        raise InferenceError("the train files hold no rows: there is nothing to infer parameters from")
    width = len(header) if header is not None else len(rows[0])
    ragged = next((index for index, row in enumerate(rows) if len(row) != width), None)
    if ragged is not None:
        raise InferenceError(f"row {ragged + 1} of the sample has {len(rows[ragged])} columns, not {width}")
    headers = [f"column_{index + 1}" for index in range(width)] if header is None else [name.strip() for name in header]
    names = [column_name(name) for name in headers]
    cells = list(zip(*rows, strict=True))
    columns = [
        Column(index, name, headers[index], tuple("" if cell is None else cell.strip() for cell in cells[index]))
        for index, name in enumerate(names)
    ]
    named = [column for column in columns if column.header]
    # The index of a table without a name, as a script writes it, where nothing else holds the times.
    indexes = [column for column in columns if not column.header and is_dated(column)]
    if len(indexes) != 1 or any(is_dated(c) or rank(c.name, TIMESTAMP_NAMES) < math.inf for c in named):
        return named
    return sorted([*named, replace(indexes[0], name="timestamp")], key=lambda column: column.index)


def _comma_note(columns: Sequence[Column]) -> str:
    example = next(value for value in columns[0].present if "," in value)
    return f"Guessed: the comma in {listed(columns)} separates decimals, as in {example} (Chronos.DecimalComma)."


def _called_alike(columns: Sequence[Column]) -> list[Column]:
    """The columns whose name in a schema is that of another, too."""
    counts = Counter(column.name.casefold() for column in columns)
    return [column for column in columns if counts[column.name.casefold()] > 1]


def _ambiguous(twins: Sequence[Column]) -> InferenceError:
    """The message where a column may be needed that another is called like."""
    name = twins[0].name.casefold()
    same = [column.header for column in twins if column.name.casefold() == name]
    return InferenceError(
        f"two columns are called {name} ({', '.join(map(repr, same))} in the header; names hold ASCII letters, digits and _ "
        "only): give every column of the header a name of its own",
        role=REWRITE,
    )


def _named(columns: Sequence[Column], named: Mapping[str, str | None], role: str) -> Column | None:
    """The column that the caller named for a role."""
    name = named.get(role)
    if name is None:
        return None
    wanted = column_name(name).casefold()
    for column in columns:
        if column.name.casefold() == wanted:
            return column
    raise InferenceError(f"there is no column {name} for the {role}; there are {listed(columns)}")


def _item_by_name(rows: Rows, columns: Sequence[Column], has_header: bool) -> Column | None:
    """The item of rows to be added up: what `keys` would have started from."""
    try:
        return choose_keys(
            Rows(rows.times, range(len(rows.files)), rows.stretches), columns, None, has_header=has_header
        ).item
    except InferenceError:
        return None


# --- The result


def _longest(grid: Grid, rows: Rows, roles: Roles) -> int:
    """Periods of the longest series, from its first to its last row in the sample."""
    ends: dict[tuple[str, ...], tuple[datetime, datetime]] = {}
    for moment, *key in zip(roles.times.moments, *(column.texts for column in roles.keys.columns), strict=True):
        if moment is not None:
            first, last = ends.get(tuple(key), (moment, moment))
            ends[tuple(key)] = (min(first, moment), max(last, moment))
    spans = np.array(list(ends.values()), dtype="datetime64[us]")
    return int((grid.ordinal(spans[:, 1]) - grid.ordinal(spans[:, 0])).max()) + 1


def _domain(names: set[str]) -> tuple[str, Domain]:
    """The domain whose three fields are all among the columns, else CUSTOM."""
    for name, domain in DOMAINS.items():
        if {domain.item, domain.timestamp, domain.target} <= names:
            return name, domain
    return "CUSTOM", DOMAINS["CUSTOM"]


def _assemble(columns: Sequence[Column], roles: Roles, frequency: Frequency, *, has_header: bool) -> ForecastParams:
    domain_name, domain = _domain({column.name for column in columns})
    fields = {roles.times.column.index: domain.timestamp, roles.target.index: domain.target}
    item = roles.keys.item
    if item is not None:
        fields[item.index] = domain.item
    parts = {roles.times.column, roles.target, *roles.keys.columns}
    columns = [column for column in columns if column in parts or column.name.casefold() not in _TAKEN]
    if has_header:  # without one, the columns' places are all there is
        columns = [column for column in columns if column not in roles.overlap.remarks]
    names = {c.index: c.name if has_header else fields.get(c.index, c.name) for c in columns}
    for column in roles.keys.dimensions:
        if column.name.casefold() in RESERVED or RESERVED_PATTERN.fullmatch(column.name.casefold()):
            names[column.index] = renamed(column.name)
    return ForecastParams(
        dataset_group="dataset",
        domain=domain_name,
        attributes=tuple(Attribute(names[column.index], _type(column, roles)) for column in columns),
        item_column=None if item is None else names[item.index],
        timestamp_column=names[roles.times.column.index],
        target_column=names[roles.target.index],
        dimensions=tuple(names[column.index] for column in roles.keys.dimensions),
        data_frequency=frequency,
        frequency=frequency,
        horizon=default_horizon(frequency),
        timestamp_format=roles.times.pattern,
    )


def _type(column: Column, roles: Roles) -> AttributeType:
    """The type of an attribute; numbers are floats, since a later file may bring decimals."""
    if column is roles.times.column:
        return "timestamp"
    if column is roles.target:
        return "float"
    if column in roles.keys.columns:
        return "string"
    return "float" if column.is_numeric or column.has_commas else "string"


def _of_a_sample(note: str) -> str:
    """A guess that counts series, said of the sample that was counted."""
    return re.sub(r"\((?=[^()]* rows, )", "(in a sample: ", note)


def _checked(params: ForecastParams) -> ForecastParams:
    """The parameters, once a file written from them is known to be readable (a column may have a reserved name)."""
    try:
        parse_params(to_document(params))
    except ParamsError as error:
        reasons = "; ".join(str(problem) for problem in error.problems)
        raise InferenceError(f"the columns of the train files can't be used as they are called: {reasons}") from error
    return params
