"""The import as a person would do it on paper: row by row, with dictionaries. The reference for property tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

WINDOW = 64

Row = tuple[str, datetime, float | None]


def period(moment: datetime, frequency: str) -> datetime:
    """The start of the period that holds a moment."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    match frequency:
        case "H":
            return moment.replace(minute=0, second=0, microsecond=0)
        case "30min":
            return moment.replace(minute=moment.minute // 30 * 30, second=0, microsecond=0)
        case "D":
            return midnight
        case "W":
            return midnight - timedelta(days=moment.weekday())
        case "M":
            return midnight.replace(day=1)
        case _:
            raise ValueError(frequency)


def following(start: datetime, frequency: str) -> datetime:
    """The start of the next period."""
    days = {"H": 1 / 24, "30min": 1 / 48, "D": 1, "W": 7, "M": 31}[frequency]
    return period(start + timedelta(days=days), frequency)


def whole_periods(rows: Sequence[tuple[str, datetime]], frequency: str) -> set[tuple[str, datetime]]:
    """Item and start of the periods that rows fill: all but some first and last ones, see `timeseries.dataset.unfinished`.

    rows: item and time of each observed row.
    """
    periods: dict[str, dict[datetime, list[datetime]]] = {}
    for item, when in rows:
        periods.setdefault(item, {}).setdefault(period(when, frequency), []).append(when)
    kept = {(item, start) for item, found in periods.items() for start in found}
    spread = [len(set(times)) > 1 for found in periods.values() for times in found.values()]
    for item, found in periods.items():
        kept -= {(item, start) for start in not_filled(found, frequency)}
        inner = sorted(found)[1:-1]
        if len(inner) < 3 or sum(len(set(found[start])) > 1 for start in inner) < 0.5 * len(inner):
            continue
        for place, gap in ((0, head), (-1, tail)):
            usual = [gap(start, found[start], frequency) for start in inner]
            end = sorted(found)[place]
            most = min(usual) + timedelta(days=4 * (min(usual) >= timedelta(days=27)))  # months differ
            if sum(each <= most for each in usual) >= 0.8 * len(usual) and gap(end, found[end], frequency) > most:
                kept.discard((item, end))
    together: dict[datetime, list[datetime]] = {}
    for found in periods.values():
        for start, times in found.items():
            together.setdefault(start, []).extend(times)
    inner = sorted(together)[1:-1]
    if not inner or sum(spread) <= 0.1 * len(spread):
        return kept
    dropped = set()
    for place, gap in ((0, head), (-1, tail)):
        usual = sorted(gap(start, together[start], frequency) for start in inner)
        end = sorted(together)[place]
        most = usual[min(int(0.9 * len(usual)), len(usual) - 1)]
        if len(usual) < 3 and (len(usual) == 1 or usual[0] != usual[1]):
            most += 0.2 * (following(end, frequency) - end)
        if gap(end, together[end], frequency) > most:
            dropped.add(end)
    return {(item, start) for item, start in kept if start not in dropped}


def not_filled(found: dict[datetime, list[datetime]], frequency: str) -> set[datetime]:
    """The first and the last of a few periods of a series whose rows come evenly, where they don't fill it."""
    starts = sorted(found)
    times = sorted(when for each in found.values() for when in each)
    several = sum(len(set(each)) > 1 for each in found.values())
    if not 1 < len(starts) < 5 or len(times) < 4 or 2 * several < len(starts):
        return set()
    step = (times[-1] - times[0]) // (len(times) - 1)
    month = step >= timedelta(days=27)
    slack, rounding = timedelta(days=4 * month), timedelta(microseconds=len(times))
    even = all(abs(max(w) - min(w) - (len(w) - 1) * step) <= slack + rounding for w in found.values())
    if not even or 2 * (times[-1] - times[0]) < following(starts[0], frequency) - starts[0]:
        return set()
    places = {starts[0]: head(starts[0], found[starts[0]], frequency) >= step}
    last = tail(starts[-1], found[starts[-1]], frequency) > step + slack
    return {start for start, short in places.items() if short} | ({starts[-1]} if last else set())


def head(start: datetime, times: Sequence[datetime], _frequency: str) -> timedelta:
    """What lies between a period's start and its first row."""
    return min(times) - start


def tail(start: datetime, times: Sequence[datetime], frequency: str) -> timedelta:
    """What lies between a period's last row and its end."""
    return following(start, frequency) - max(times)


def combine(values: Sequence[float], method: str) -> float:
    """The aggregate of values in time order."""
    return {
        "sum": lambda: math.fsum(values),
        "avg": lambda: math.fsum(values) / len(values),
        "first": lambda: values[0],
        "min": lambda: min(values),
        "max": lambda: max(values),
    }[method]()


def fill(series: Sequence[float | None], middle: str, back: str, numbers: tuple[float, float]) -> list[float]:
    """The service's filling rule, entry by entry; numbers: what "value" means in the middle and at the back."""
    filled = []
    for place, value in enumerate(series):
        if value is not None:
            filled.append(value)
            continue
        before = [entry for entry in series[:place] if entry is not None][-WINDOW:]
        in_middle = any(entry is not None for entry in series[place:])
        filled.append(_fill_one(before, middle if in_middle else back, numbers[0 if in_middle else 1]))
    return filled


def _fill_one(before: Sequence[float], method: str, number: float) -> float:
    if not before or method == "nan":
        return math.nan
    ordered = sorted(before)
    return {
        "zero": 0.0,
        "value": number,
        "mean": math.fsum(before) / len(before),
        "median": (ordered[(len(before) - 1) // 2] + ordered[len(before) // 2]) / 2,
        "min": ordered[0],
        "max": ordered[-1],
    }[method]


def slow_import(
    files: Sequence[Sequence[Row]],
    frequency: str,
    aggregation: str,
    middle: str,
    back: str,
    numbers: tuple[float, float],
) -> dict[str, list[tuple[datetime, float, bool]]]:
    """Series by item: (start of the period, value, filled). files: rows from the oldest file to the newest."""
    newest = {(item, when): rank for rank, rows in enumerate(files) for item, when, _ in rows}
    kept = [
        (item, when, value)
        for rank, rows in enumerate(files)
        for item, when, value in rows
        if newest[item, when] == rank
    ]
    whole = whole_periods([(item, when) for item, when, value in kept if value is not None], frequency)
    first_rows: dict[str, datetime] = {}
    cells: dict[str, dict[datetime, list[float]]] = {}
    for item, when, value in sorted(kept, key=lambda row: row[1]):
        start = period(when, frequency)
        first_rows.setdefault(item, start)
        found = cells.setdefault(item, {})
        if value is not None and (item, start) in whole:
            found.setdefault(start, []).append(value)
    last = max((start for found in cells.values() for start in found), default=None)
    if last is None:
        return {}
    answer = {}
    for item, found in cells.items():
        start = min(found) if found else min(first_rows[item], last)
        starts = [start]
        while starts[-1] < last:
            starts.append(following(starts[-1], frequency))
        values = [combine(found[start], aggregation) if start in found else None for start in starts]
        filled = fill(values, middle, back, numbers)
        answer[item] = [(start, value, start not in found) for start, value in zip(starts, filled, strict=True)]
    return answer
