"""Which columns make a series: the item and the dimensions, chosen by what each choice would make of the rows.

Here: measuring choices (how many series, how many rows repeat a timestamp, how many periods are empty), and taking
one only where the others are worse. What a single column holds is in `columns`.

The rules:

- A column with an item's name is the item, unless it numbers the rows. Otherwise a column is looked for that tells rows of
  one timestamp apart.
- A name that only ends as an item's (`store_name`, but `holiday_name` and `promo_id` as well) is one where rows need it to be
  told apart, or where it splits one series into full ones, see below.
- Without repeated timestamps there is one series, whatever texts stand beside it (weather, holidays), unless a text splits
  it into series that are as full: then it names them, unless these take turns, which leaves both readings.
- A flag is never a part of a key, nor is what all rows of a timestamp share (a holiday, a temperature), nor what is a part of
  the time (a weekday, a month, an hour).
- What is named as a remark on the row (a status, a version) is no part of a key; a status is where nothing else is, and most
  timestamps have rows of each of its texts, with values of their own: open and closed tickets, no corrections.
- Numbers are a part of a key by themselves only where their name says that they stand for something (Store, dept_id).
- Where more than a few rows repeat a timestamp of their series, nothing is taken: the candidates are named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.rhythm import find_rhythm
from chronos_assets.params.columns import (
    FEW_BAD,
    ITEM_NAMES,
    TOTALS,
    Column,
    InferenceError,
    Times,
    best_known,
    is_number,
    is_remark,
    is_status,
    listed,
    rank,
)
from chronos_assets.params.time_parts import is_time_part

# Up to this share of rows may repeat a timestamp of their series before columns are in doubt.
FEW_REPEATS = 0.05
# A text splits one series into full ones where they have hardly more empty periods than it.
_HARDLY_EMPTIER = 0.1
_MOST_KEYS = 3
# Fewer rows don't make a series; a sample of fewer timestamps doesn't show it.
_LEAST_ROWS = 3
_HALF = 0.5
# Statuses that several rows of one value have.
_VERSIONS = frozenset(
    {
        *("actual", "actuals", "budget", "forecast", "plan", "planned", "estimate", "estimated", "provisional"),
        *("preliminary", "prelim", "revised", "final", "corrected", "draft", "original"),
    }
)
# How far a correction is from what it corrects: of what values usually differ by.
NEAR = 0.25
_ENOUGH_MOMENTS = 20
_MOST_TRIED = 10
_WORKING_DAYS, _TWO_WEEKS = 5, 14
_WEEK = 7 * 24 * 60  # in minutes
# What a spreadsheet makes of a long number.
_CUT_NUMBER = re.compile(r"\d[.,]\d+[Ee]\+\d+")


@dataclass(frozen=True)
class KeyOutlook:
    """What a choice of columns makes of the rows.

    series: how many; rows: of the middle one. repeats: the share of rows whose series has their timestamp in the same file
    already. empty: the share of periods without a row between the first and last of their series, None where that isn't
    known.
    """

    keys: tuple[str, ...]
    series: int
    rows: int
    repeats: float
    empty: float | None

    def __str__(self) -> str:
        count = "one series" if self.series == 1 else f"{self.series:,} series"
        empty = "" if self.empty is None else f", {self.empty:.0%} of the periods empty"
        return f"{count} of about {self.rows:,} rows, {self.repeats:.0%} of the rows repeat a timestamp{empty}"


@dataclass(frozen=True)
class Keys:
    """The columns of a series' key, and what they make of the rows."""

    item: Column | None
    dimensions: tuple[Column, ...]
    outlook: KeyOutlook

    @property
    def columns(self) -> tuple[Column, ...]:
        """Item and dimensions."""
        return ((self.item,) if self.item is not None else ()) + self.dimensions


class Rows:
    """The rows of a sample, by what makes them comparable: their timestamps, files, and stretches.

    times: of the rows. files: the file of each; rows of different files are never repeats. stretches: of rows that follow
    each other in a file; the periods between two of them say nothing.
    """

    def __init__(self, times: Times, files: Sequence[int], stretches: Sequence[int]) -> None:
        self.times = times
        self.files = files
        self.stretches = stretches
        self._outlooks: dict[tuple[int, ...], KeyOutlook] = {}
        self._series: dict[tuple[Times, tuple[int, ...]], list[NDArray[np.datetime64]]] = {}

    def outlook(self, keys: Sequence[Column]) -> KeyOutlook:
        """What these key columns make of the rows."""
        place = tuple(sorted(column.index for column in keys))
        if place not in self._outlooks:
            self._outlooks[place] = self._measure(keys)
        return self._outlooks[place]

    def repeats(self, keys: Sequence[Column]) -> float:
        """The share of rows whose series and timestamp occurred before in their file."""
        rows = [row for row in zip(self.times.moments, self.files, *(c.texts for c in keys), strict=True) if row[0]]
        return 1 - len(set(rows)) / len(rows)

    @cached_property
    def are_apart(self) -> bool:
        """Whether hardly any timestamp occurs twice, in whatever files."""
        moments = [moment for moment in self.times.moments if moment]
        return len(moments) - len(set(moments)) <= FEW_REPEATS * len(moments)

    def copies(self, columns: Sequence[Column]) -> float:
        """The share of rows that equal another of their file in all columns."""
        cells = list(zip(self.times.moments, self.files, *(column.texts for column in columns), strict=True))
        return 1 - len(set(cells)) / len(cells)

    def series(self, keys: Sequence[Column], times: Times | None = None) -> list[NDArray[np.datetime64]]:
        """Distinct ascending timestamps of each series, each stretch by itself."""
        place = times or self.times, tuple(sorted(column.index for column in keys))
        if place not in self._series:
            found: dict[tuple[object, ...], set[datetime]] = {}
            for moment, *key in zip(place[0].moments, self.stretches, *(c.texts for c in keys), strict=True):
                if moment is not None:
                    found.setdefault(tuple(key), set()).add(moment)
            self._series[place] = [np.array(sorted(each), dtype="datetime64[us]") for each in found.values()]
        return self._series[place]

    def _measure(self, keys: Sequence[Column]) -> KeyOutlook:
        counts: dict[tuple[str, ...], int] = {}
        for moment, *key in zip(self.times.moments, *(column.texts for column in keys), strict=True):
            if moment is not None:
                counts[tuple(key)] = counts.get(tuple(key), 0) + 1
        rhythm = find_rhythm(self.series(keys))
        return KeyOutlook(
            keys=tuple(column.name for column in keys),
            series=len(counts),
            rows=int(np.median(list(counts.values()))),
            repeats=self.repeats(keys),
            empty=None if rhythm.frequency is None else max(0.0, 1 - rhythm.observed),
        )


def choose_keys(
    rows: Rows,
    columns: Sequence[Column],
    item: Column | None,
    *,
    has_header: bool,
    values: Column | None = None,
    dated: Sequence[Column] = (),
) -> Keys:
    """Item and dimensions among columns that are neither the timestamp nor the target.

    `item` is the one that the caller knows already; `values` the target, for the message about repeated rows; `dated` are
    columns of timestamps, which name no series unless they are called so.

    Raises:
        InferenceError: more than a few rows repeat a timestamp of their series, or several columns could name the series.
    """
    open_columns = [c for c in columns if _may_be_key(c, rows) and c is not item]
    remarks = [column for column in open_columns if is_remark(column.header)]
    # Dates tell versions of a row apart, unless they are called as an item.
    open_columns = [c for c in open_columns if c not in remarks and (c not in dated or c.has_key_name)]
    choose = partial(_choose, rows, columns, item, has_header=has_header, values=values)
    try:
        return choose(open_columns)
    except InferenceError as error:
        panels = [c for c in remarks if c not in dated and values is not None and _is_panel(c, rows, values)]
        if error.role != "repeats" or not panels:
            raise
        return choose([*open_columns, *panels])


def _choose(
    rows: Rows,
    columns: Sequence[Column],
    item: Column | None,
    open_columns: Sequence[Column],
    *,
    has_header: bool,
    values: Column | None,
) -> Keys:
    ending: list[Column] = []
    if item is None and has_header:
        if rows.are_apart:
            ending = [column for column in open_columns if _ends_as_item(column)]
        item = _known_item(rows, [c for c in columns if not (rows.are_apart and _ends_as_item(c))])
        open_columns = [column for column in open_columns if column is not item]
        if item is not None:
            return _named_or_better(rows, item, open_columns, columns, values)
    if item is not None:
        return _with_dimensions(rows, item, open_columns, columns, values)
    if rows.repeats([]) <= FEW_REPEATS:
        texts = [column for column in open_columns if not column.is_numeric]
        return _single(rows, texts, ending, has_header=has_header)
    found = list(_smallest(rows, open_columns, []))
    if not found:
        raise _repeated(rows, [], columns, values)
    best = _clearest(rows, found)
    if best is None:
        raise _several_keys(rows, found)
    return _led_by_itself(rows, best)


def _keys(rows: Rows, item: Column | None, dimensions: Sequence[Column]) -> Keys:
    ordered = tuple(sorted(dimensions, key=lambda column: column.index))
    return Keys(item, ordered, rows.outlook([*([item] if item is not None else []), *ordered]))


def _led_by_itself(rows: Rows, columns: Sequence[Column]) -> Keys:
    """Keys none of which has an item's name."""
    first = max(columns, key=lambda column: (not column.is_numeric, len(column.distinct)))
    return _keys(rows, first, [column for column in columns if column is not first])


def name_notes(columns: Sequence[Column]) -> Iterator[str]:
    """What is odd about the names of series, a line for each guess."""
    for column in columns:
        totals = sorted(text for text in column.distinct if TOTALS.fullmatch(text))
        if totals and len(column.distinct) > len(totals):
            yield (
                f"Guessed: {totals[0]} in {column.name} is a series like any other; if it is the sum of others, leave its rows "
                "out (Chronos.Reconcile forecasts sums)."
            )
        if is_remark(column.header):
            yield (
                f"Guessed: {column.name} tells series apart; if it holds versions of the same rows, keep those that count."
            )
        cut = sorted(text for text in column.distinct if _CUT_NUMBER.fullmatch(text))
        if cut:
            yield (
                f"Guessed: {cut[0]} in {column.name} is a name; a spreadsheet seems to have cut a long number, so that several "
                "may have become one."
            )


def _may_be_key(column: Column, rows: Rows) -> bool:
    """Whether a column may be a part of a key without being named one."""
    return _may_name(column) and not _follows_weekdays(column, rows) and not _is_shared(column, rows)


def _may_name(column: Column) -> bool:
    """Whether a column's texts may be names, whatever rows they stand in."""
    if column.is_empty and not column.distinct:
        return False
    if column.is_flag or column.is_row_number or _is_unique(column) or not column.is_complete:
        return False
    return not (is_time_part(column) or column.has_commas or (column.is_numeric and not column.is_identifying))


def _is_panel(column: Column, rows: Rows, values: Column) -> bool:
    """Whether a status has rows of each text at most timestamps, and values of these are no versions of each other."""
    if not is_status(column.header) or any(text.casefold() in _VERSIONS for text in column.distinct):
        return False
    sums: dict[datetime, dict[str, float]] = {}
    for moment, text, value in zip(rows.times.moments, column.texts, values.texts, strict=True):
        if moment is not None:
            each = sums.setdefault(moment, {})
            each[text] = each.get(text, 0.0) + (float(value) if is_number(value) else 0.0)
    texts = sorted(column.distinct)
    full = [each for each in sums.values() if len(each) == len(texts)]
    if len(texts) < 2 or len(full) < max(_LEAST_ROWS, _HALF * len(sums)):
        return False
    courses = np.array([[each[text] for text in texts] for each in full])
    usual = np.median(np.abs(courses - np.median(courses, axis=0)))
    return bool(np.median(np.abs(np.diff(courses, axis=1))) > NEAR * usual)


def _is_unique(column: Column) -> bool:
    """Whether (nearly) every row has a text of its own, as a receipt's number is."""
    return len(column.texts) > 2 and len(column.distinct) >= (1 - FEW_BAD) * len(column.texts)


def _is_shared(column: Column, rows: Rows) -> bool:
    """Whether all rows of a timestamp share the column's value, where it has several rows: a holiday, not a key."""
    values: dict[object, set[str]] = {}
    counts: dict[object, int] = {}
    for moment, text in zip(rows.times.moments, column.texts, strict=True):
        if moment is not None:
            values.setdefault(moment, set()).add(text)
            counts[moment] = counts.get(moment, 0) + 1
    several = [moment for moment, count in counts.items() if count > 1]
    alone = sum(len(values[moment]) == 1 for moment in several)
    return len(column.distinct) > 1 and bool(several) and alone >= (1 - FEW_BAD) * len(several)


def _follows_weekdays(column: Column, rows: Rows) -> bool:
    """Whether each day of the week has one text of its own, or shares it: the day's name, working days and weekends."""
    texts: dict[int, set[str]] = {}
    for moment, text in zip(rows.times.moments, column.texts, strict=True):
        if moment is not None:
            texts.setdefault(moment.weekday(), set()).add(text)
    return (
        not column.has_key_name
        and len(texts) >= _WORKING_DAYS
        and len(column.texts) >= _TWO_WEEKS
        and len(column.distinct) > 1
        and all(len(each) == 1 for each in texts.values())
    )


def _named_or_better(
    rows: Rows, item: Column, candidates: Sequence[Column], columns: Sequence[Column], values: Column | None
) -> Keys:
    """The keys that an item's name leads to, unless they make no series and others do.

    A receipt's or a customer's number names something else than a series.
    """
    named: Keys | None = None
    try:
        named = _with_dimensions(rows, item, candidates, columns, values)
        if named.dimensions and _ends_as_item(item) and rows.repeats(named.dimensions) <= FEW_REPEATS:
            named = _led_by_itself(rows, named.dimensions)  # an attribute of the row, such as a promotion's name
        if _are_series(rows, named.columns):
            return named
    except InferenceError:
        pass  # raised again below, if nothing better is found
    found = [keys for keys in _smallest(rows, candidates, []) if _are_series(rows, keys)]
    best = _clearest(rows, found) if found else None
    if best is None:
        return named if named is not None else _with_dimensions(rows, item, candidates, columns, values)
    return _led_by_itself(rows, best)


def _are_series(rows: Rows, keys: Sequence[Column]) -> bool:
    """Whether the keys tell rows apart and leave the middle series enough of them, where the sample shows it."""
    moments = len(set(rows.times.moments))
    return moments < _ENOUGH_MOMENTS or (rows.repeats(keys) <= FEW_REPEATS and rows.outlook(keys).rows >= _LEAST_ROWS)


def _ends_as_item(column: Column) -> bool:
    """Whether only the last word of a column's name is that of an item: product_name, and holiday_name as well."""
    return rank(column.name, ITEM_NAMES) == len(ITEM_NAMES)


def _known_item(rows: Rows, columns: Sequence[Column]) -> Column | None:
    possible = [c for c in columns if not (c.is_flag or c.is_row_number or _is_unique(c))]
    possible = [c for c in possible if not (_ends_as_item(c) and (is_time_part(c) or _is_shared(c, rows)))]
    known = best_known(possible, ITEM_NAMES)
    if len(known) <= 1:
        return known[0] if known else None
    if rows.repeats([]) > FEW_REPEATS:
        found = list(_smallest(rows, known, []))
        best = _clearest(rows, found) if found else None
        if best is not None:
            return max(best, key=lambda column: len(column.distinct))
        if not found:  # it takes other columns, too
            return None
    raise _several_keys(rows, [(column,) for column in known])


def _single(rows: Rows, texts: Sequence[Column], ending: Sequence[Column], *, has_header: bool) -> Keys:
    """One series, or those of a text, or of a column that is called as an item in the end, that are as full as it."""
    texts, ending = ([c for c in each if not _is_seldom_another(c, rows)] for each in (texts, ending))
    whole = rows.outlook([])
    if whole.empty is None:
        possible = ending or texts
        return _keys(rows, possible[0] if len(possible) == 1 else None, ())
    naming = []
    for column in dict.fromkeys([*texts, *ending]):
        each = rows.outlook([column])
        if each.empty is not None and each.empty <= whole.empty + _HARDLY_EMPTIER and each.rows > 1:
            naming.append(column)
    naming = [column for column in naming if column in ending] or naming
    if len(naming) > 1 and any(len(column.distinct) > 1 for column in naming):
        raise _several_keys(rows, [(column,) for column in naming])
    chosen = naming[0] if len(naming) == 1 else None
    if chosen is not None and has_header and not chosen.has_key_name and _take_turns(chosen, rows):
        first, second = sorted(chosen.distinct, key=chosen.texts.index)[:2]
        raise _one_or_several(rows, chosen, f"is {first} up to some day and {second} after it")
    if not naming and ending and min(whole.empty, _empty_working_hours(rows)) > FEW_BAD:
        raise _one_or_several(
            rows, ending[0], f"has {len(ending[0].distinct):,} values, none of which has a row as often as all"
        )
    return _keys(rows, chosen, ())


def _empty_working_hours(rows: Rows) -> float:
    """The share of times without a row, of those from the first to the last at whose minute of the week there is any.

    A shop that is closed at night and on Sundays has none.
    """
    moments = [moment for moment in rows.times.moments if moment]
    minutes = np.unique(np.array(moments, dtype="datetime64[m]").astype(np.int64))
    worked = np.unique(minutes % _WEEK)
    due = (minutes[-1] - worked) // _WEEK - (minutes[0] - 1 - worked) // _WEEK
    again = int(due.sum()) - len(worked)  # the row that shows that there is any says no more
    return 1 - (len(minutes) - len(worked)) / again if again else 1.0


def _is_seldom_another(column: Column, rows: Rows) -> bool:
    """Whether a column has one text, from the first row to the last, but for a few rows: no holiday, and holidays."""
    times = [
        (moment, text) for moment, text in zip(rows.times.moments, column.texts, strict=True) if moment is not None
    ]
    (most, count), *_ = Counter(text for _, text in times).most_common(1)
    few = 0 < len(times) - count <= _HARDLY_EMPTIER * len(times)
    return few and min(times)[1] == max(times)[1] == most


def _one_or_several(rows: Rows, column: Column, how: str) -> InferenceError:
    """The message where a column may name series of which one ends before the next begins, or none."""
    return InferenceError(
        f"{column.name} {how}: each of them may be a series of its own, or all rows are one series\n"
        f'Write a params.json that says which: Chronos.Columns = {{"item_id": "{column.name}"}}, or null for one series',
        role="item",
        candidates=[column.name],
        options={column.name: str(rows.outlook([column])), "null": str(rows.outlook([]))},
    )


def _take_turns(column: Column, rows: Rows) -> bool:
    """Whether a column's texts follow each other, none coming back: a machine and its successor, or another version."""
    spans: dict[str, tuple[datetime, datetime]] = {}
    for moment, text in zip(rows.times.moments, column.texts, strict=True):
        if moment is not None:
            first, last = spans.get(text, (moment, moment))
            spans[text] = min(first, moment), max(last, moment)
    ordered = sorted(spans.values())
    return len(ordered) > 1 and all(before[1] < after[0] for before, after in pairwise(ordered))


def _with_dimensions(
    rows: Rows, item: Column, candidates: Sequence[Column], columns: Sequence[Column], values: Column | None
) -> Keys:
    repeats = rows.repeats([item])
    if repeats <= FEW_REPEATS:
        return _keys(rows, item, _newly_split(rows, item, columns) if repeats else ())
    found = list(_smallest(rows, candidates, [item]))
    if not found:
        raise _repeated(rows, [item], columns, values)
    best = _clearest(rows, found)
    if best is None:
        # Texts that tell the same series apart (a shop and its town) are as good as each other.
        best = found[0]
    return _keys(rows, item, best)


def _newly_split(rows: Rows, item: Column, columns: Sequence[Column]) -> tuple[Column, ...]:
    """The column that tells all of a few repeated rows apart, into series as full as the item's: a shop opened lately."""
    whole = rows.outlook([item]).empty
    if whole is None or not _go_on_beside(rows, item):
        return ()
    naming = [c for c in columns if c is not item and _may_name(c) and not is_remark(c.header)]
    found = []
    for column in naming:
        each = rows.outlook([item, column]) if not rows.repeats([item, column]) else None
        if each is not None and each.rows >= _LEAST_ROWS and (each.empty or 0.0) <= whole + _HARDLY_EMPTIER:
            found.append((column,))
    return (_clearest(rows, found) or ()) if found else ()


def _go_on_beside(rows: Rows, item: Column) -> bool:
    """Whether repeated rows last to the end of their items: where they end before, one supplier took over from another."""
    counts: dict[str, Counter[datetime]] = {}
    for text, moment in zip(item.texts, rows.times.moments, strict=True):
        if moment is not None:
            counts.setdefault(text, Counter())[moment] += 1
    for each in counts.values():
        repeated = [moment for moment, count in each.items() if count > 1]
        if repeated:
            last = max(repeated)
            if sum(moment > last for moment in each) >= len(repeated):
                return False
    return True


def _smallest(rows: Rows, candidates: Sequence[Column], given: Sequence[Column]) -> Iterator[tuple[Column, ...]]:
    """The smallest sets of columns that, beside the `given` ones, leave few repeats: all of the first size that has any."""
    ordered = sorted(candidates, key=lambda column: rows.repeats([*given, column]))[:_MOST_TRIED]
    ordered.sort(key=lambda column: column.index)
    for size in range(1, _MOST_KEYS + 1):
        found = [keys for keys in combinations(ordered, size) if rows.repeats([*given, *keys]) <= FEW_REPEATS]
        if found:
            yield from found
            return


def _clearest(rows: Rows, found: Sequence[tuple[Column, ...]]) -> tuple[Column, ...] | None:
    """The only set of keys, or the one of several that tell the same series apart; None where they differ."""
    if len(found) == 1:
        return found[0]
    series = {rows.outlook(keys).series for keys in found}
    together = rows.outlook(sorted({column for keys in found for column in keys}, key=lambda column: column.index))
    if series == {together.series}:
        return found[0]
    return None


def _repeated(rows: Rows, keys: Sequence[Column], columns: Sequence[Column], values: Column | None) -> InferenceError:
    """The message where more than a few rows repeat a timestamp of their series."""
    repeats = rows.repeats(keys)
    series = listed(keys) if keys else "the series (there is no item column)"
    others = [c for c in columns if c not in keys and not c.is_row_number and not _is_unique(c)]
    options = {f"add {c.name}": str(rows.outlook([*keys, c])) for c in others if len(c.distinct) > 1}
    options["add such rows up"] = str(rows.outlook(keys))
    sparse = next((column for column in keys if not column.is_complete), None)
    helping = [c for c in others if not c.is_flag and rows.repeats([*keys, c]) < repeats - FEW_BAD]
    if sparse is not None:
        empty = sparse.texts.count("") / len(sparse.texts)
        why = f"{sparse.name} is empty in {empty:.0%} of the rows: repeat its value in each"
    elif remarks := [c for c in helping if is_remark(c.header)]:
        shown = " and ".join(sorted(remarks[0].distinct)[:2])
        why = (
            f"what would tell some of them apart is a remark on the row: {listed(remarks)} ({shown}); keep the rows that "
            "count, or make it a dimension"
        )
    elif parts := [c for c in helping if is_time_part(c)]:
        why = (
            f"what would tell some of them apart is a part of the time: {listed(parts)} ({parts[0].present[0]}); write whole "
            "timestamps, such as 2024-01-31 15:00:00"
        )
    elif helping:
        why = f"candidates that would tell some of them apart: {listed(helping)}"
    elif flags := [c for c in others if c.is_flag and rows.repeats([*keys, c]) < repeats - FEW_BAD]:
        why = f"what would tell some of them apart says yes or no, or looks so: {listed(flags)}"
    elif others:
        why = f"{listed(others)} do not tell them apart"
    else:
        why = "no other column tells them apart"
    if sparse is None and rows.copies([*columns, *([values] if values is not None else [])]) >= repeats - FEW_BAD:
        why += " (every repeated row equals another: was a file appended to itself?)"
    return InferenceError(
        f"{repeats:.0%} of the rows repeat a timestamp of {series}, and {why}\nWrite a params.json that names the columns of "
        "a series in Predictor.FeaturizationConfig.ForecastDimensions, or that leaves them out to have such rows added up",
        role="repeats",
        candidates=("sum",),
        options=options,
    )


def _several_keys(rows: Rows, found: Sequence[tuple[Column, ...]]) -> InferenceError:
    names = [" and ".join(column.name for column in keys) for keys in found]
    return InferenceError(
        f"several columns could hold the item: {', '.join(names)}\nWrite a params.json that lists the columns in "
        f'Datasets[0].Schema.Attributes and says which it is: Chronos.Columns = {{"item_id": "{found[0][0].name}"}}',
        role="item",
        candidates=[keys[0].name for keys in found],
        options={name: str(rows.outlook(keys)) for name, keys in zip(names, found, strict=True)},
    )
