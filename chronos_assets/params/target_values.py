"""The values of a sample's target: what a point in them separates, and those that may stand for a missing one.

Here: what can only be told from the values together. Whether a single text is a number is said in `columns`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from math import isclose
from statistics import median

from chronos_assets.params.columns import TOTALS, Column, InferenceError, Times, is_number

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_WHOLE = re.compile(r"[+-]?\d{1,3}")
_LEAST = 3
_MOST_MARKS = 4  # that are shown
# Numbers that are written for a missing value.
_MARKER = re.compile(r"-1|-9{2,}|9{3,}")
# Timestamps with nothing but zeros; steps that show a course; what a reading falls to when it starts again, as a part of it.
_MANY_ZEROS = 7
_ENOUGH = 20
_RESET = 4
_SELDOM = 50  # steps for each that falls; more often it is a season
_READING = re.compile(r"reading|meter|counter|total|cumul|ytd|z(ä|ae)hler|stand|index", re.IGNORECASE)
_RESTARTING = re.compile(r"(?<![a-z])(ytd|mtd|qtd|wtd|cum|cumul[a-z]*|kumul[a-z]*|running)(?![a-z])", re.IGNORECASE)
_OTHER_UNIT = 100
_FAR = 2  # how many times as large as all others a marker is, or as long as others an end of zeros


def check_point(target: Column) -> None:
    """Refuse numbers like 987 and 1.234, of which the second is above a thousand.

    Raises:
        InferenceError: every number with a point has three digits behind it, and those without are below a thousand.
    """
    dotted = [value for value in target.present if "." in value]
    whole = {value for value in target.present if "." not in value} - {"0"}
    if len(dotted) < _LEAST or len(whole) < 2 or not all(map(_THOUSANDS.fullmatch, dotted)):
        return
    if all(map(_WHOLE.fullmatch, whole)):
        raise InferenceError(
            f"the point in {target.name} seems to separate thousands: all numbers that have one have three digits behind it, "
            f"such as {dotted[0]!r}, and all others are below 1000; write them without thousands separators",
            role="decimals",
            candidates=("point",),
        )


def value_notes(target: Column) -> Iterator[str]:
    """What was taken for a value, a line for each guess."""
    dotted = [value for value in target.present if "." in value]
    if len(dotted) >= _LEAST and all(map(_THOUSANDS.fullmatch, dotted)):
        yield f"Guessed: the point in {target.name} separates decimals: {dotted[0]} is less than {int(float(dotted[0])) + 1}."
    marks = Counter(text for text, value in zip(target.texts, target.values, strict=True) if text and value is None)
    if marks:
        shown = ", ".join(repr(text) for text, _ in marks.most_common(_MOST_MARKS))
        yield (
            f"Guessed: missing values of {target.name} are written {shown}, and are no zeros ({sum(marks.values()):,} of "
            f"{len(target.texts):,} rows looked at)."
        )
    for marker, count in _markers(target):
        yield (
            f"Guessed: {marker} is a value of {target.name} like any other ({count:,} of {len(target.present):,} rows looked "
            "at, unlike all others); if it marks a missing value, leave it empty."
        )


def course_notes(target: Column, times: Times, keys: Sequence[Column]) -> Iterator[str]:
    """What was taken for a value because of when it comes, a line for each guess."""
    series: dict[tuple[str, ...], list[tuple[datetime, float]]] = {}
    for moment, text, *key in zip(times.moments, target.texts, *(key.texts for key in keys), strict=True):
        if moment is not None and is_number(text):
            series.setdefault(tuple(key), []).append((moment, float(text)))
    if _is_running([[value for _, value in sorted(each)] for each in series.values()], target.header):
        yield (
            f"Guessed: {target.name} is forecast as it is, though it only grows, or starts again from near 0; if it is a "
            "meter's reading or a running total, write what each period adds."
        )
    yield from _sum_notes(target, times, keys)
    sums: Counter[datetime] = Counter()
    for each in series.values():
        sums.update({moment: abs(value) for moment, value in each})
    moments = sorted(sums)
    runs = [(sum(1 for _ in run), zero) for zero, run in groupby(sums[moment] == 0 for moment in moments)]
    count = runs[-1][0] if len(runs) > 1 and runs[-1][1] else 0
    if count >= _MANY_ZEROS and count > _FAR * max((length for length, zero in runs[:-1] if zero), default=0):
        yield (
            f"Guessed: {target.name} is 0 in all series at the last {count:,} timestamps looked at, from {moments[-count]} on; "
            "if these periods are still to come, leave their rows out."
        )


def unit_notes(target: Column, times: Times, files: Sequence[int], keys: Sequence[Column]) -> Iterator[str]:
    """Whether values are of quite another size in some files, or from some time on: grams beside kilograms."""
    series: dict[tuple[str, ...], list[tuple[datetime, int, float]]] = defaultdict(list)
    for moment, text, file, *key in zip(times.moments, target.texts, files, *(key.texts for key in keys), strict=True):
        if moment is not None and is_number(text) and float(text):
            series[tuple(key)].append((moment, file, abs(float(text))))
    ratios = []
    for each in series.values():
        of_file: dict[int, list[float]] = defaultdict(list)
        for _, file, value in each:
            of_file[file].append(value)
        middles = [median(values) for values in of_file.values() if len(values) >= _LEAST]
        ratios += [max(middles) / min(middles)] if len(middles) > 1 else []
    changes = [_change_of_size([value for *_, value in sorted(each)]) for each in series.values()]
    for ratio, where, what in (
        (median(ratios or [1.0]), "in some files as in others", "in all files"),
        (median(changes or [1.0]), "at one end as at the other", "from beginning to end"),
    ):
        if ratio >= _OTHER_UNIT:
            yield (
                f"Guessed: {target.name} has one unit {what}, though values of a series are about {ratio:,.0f} times as large "
                f"{where}; write all in one unit, if it has not."
            )
            return


def _sum_notes(target: Column, times: Times, keys: Sequence[Column]) -> Iterator[str]:
    """Names whose rows are the sum of all others, unless the name says so itself."""
    for column in keys:
        of_name: dict[str, dict[datetime, float]] = defaultdict(lambda: defaultdict(float))
        together: dict[datetime, float] = defaultdict(float)
        for moment, text, name in zip(times.moments, target.texts, column.texts, strict=True):
            if moment is not None and is_number(text) and name:
                of_name[name][moment] += float(text)
                together[moment] += float(text)
        for name, course in of_name.items() if len(of_name) > 2 else ():
            different = len(set(course.values())) > _LEAST and len(course) >= _ENOUGH
            if different and not TOTALS.fullmatch(name) and all(isclose(2 * v, together[m]) for m, v in course.items()):
                yield (
                    f"Guessed: {name} in {column.name} is a series like any other, though it is the sum of all others; leave "
                    "its rows out (Chronos.Reconcile forecasts sums)."
                )


def _change_of_size(values: Sequence[float]) -> float:
    """How many times as large values are at one end of a series as at the other, if one step makes most of it; else 1.0."""
    sizes = [abs(value) for value in values if value]
    quarter = len(sizes) // 4
    if quarter < _LEAST:
        return 1.0
    ends = median(sizes[:quarter]), median(sizes[-quarter:])
    ratio = max(ends) / min(ends)
    if ratio < _OTHER_UNIT:
        return 1.0
    beside = [
        (median(sizes[at - _LEAST : at]), median(sizes[at : at + _LEAST]))
        for at in range(_LEAST, len(sizes) - _LEAST + 1)
    ]
    return ratio if max(max(pair) / min(pair) for pair in beside) ** 2 >= ratio else 1.0


def _is_running(series: Sequence[Sequence[float]], name: str) -> bool:
    """Whether values only grow, and fall to nearly nothing now and then or are called so."""
    steps = [pair for values in series for pair in pairwise(values)]
    rising = sum(before < after for before, after in steps)
    falls = [(before, after) for before, after in steps if after < before]
    near_zero = all(0 <= _RESET * after <= before for before, after in falls)
    if len(steps) < _ENOUGH or 2 * rising <= len(steps):
        return False
    seldom = len(falls) * _SELDOM < len(steps) and near_zero
    return _RESTARTING.search(name) is not None or (seldom and (bool(falls) or _READING.search(name) is not None))


def _markers(target: Column) -> Iterator[tuple[str, int]]:
    """(text, rows) of values that may mark a missing one: -999 where nothing else is negative, 9999 among small numbers."""
    counts = Counter(re.sub(r"\.0*$", "", value) for value in target.present)
    found = [text for text, count in counts.items() if count > 1 and _MARKER.fullmatch(text)]
    others = [float(text) for text in counts if text not in found and is_number(text)]
    if not others:
        return
    low, high = min(others), max(others)
    for text in found:
        if (float(text) < 0 <= low) or float(text) > _FAR * max(high, 0) > 0:
            yield text, counts[text]
