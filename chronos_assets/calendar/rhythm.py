"""How often rows come: the frequency that the timestamps of series show.

Here: telling a rhythm from timestamps, whatever they came from. Where its periods start is in `alignment`,
which columns hold the timestamps in `params.inference`.

The first rule that holds is taken:

1. The calendar: timestamps share a day of the month, and steps are months or years.
2. The most common step, if it is a frequency of the service's and nearly all timestamps are on its beat. One odd date does
   not change that.
3. The calendar, loosely: one row a month (quarter, year), within a few days of each other (last business day).
4. A beat with jitter: steps are multiples of a frequency, up to a share of it (sensors that report some seconds off).
5. The greatest common divisor of the steps: days with sales only. Not where steps are all alike but longer (every tenth day
   of a month), nor below a day where hardly any period has a row: there the frequency can't be determined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.alignment import MOST, WIDEST, Moments, fit_alignment
from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, MAX_MULTIPLE, Alignment, Frequency, Grid, Unit

Steps = NDArray[np.int64]

_MINUTE = 60_000_000
_DAY = 86_400_000_000
# How far from the end of a week or a month a date lies that names its last day.
_LAST_DAY = (20 * _DAY // 24, _DAY)
# February, less a day for a row that strays.
_SHORTEST_MONTH = 27 * _DAY
_NEARLY_ALL = 0.95
# Irregular rows below a day make a series only where this share of the periods has one.
_TOO_EMPTY = 0.05
# A series of fewer rows is too short to call its last one a slip.
_LEAST_ROWS = 20
# Rows that show how they are stamped.
_LEAST_STAMPS = 4
# Steps of a part of the data that has a rhythm of its own, and how much they may differ: a month of days has 28 to 31.
_LEAST_PART = 10
_EVEN = 0.15
# Series that may be sold each seventh day only.
_FEW = 0.05


@dataclass(frozen=True)
class Rhythm:
    """What the steps between rows show.

    frequency: None where they show none; `reason` says why. alignment, snap: as `alignment.Fit` has them. exact: the share
    of steps that are the most common one. observed: the share of periods, between a series' first and last, with a row.
    apart: the first rows of two series, where some are stamped at the start of a period and others at its end, so that rows
    belong to the period that they lie in. finer: the step, where it is finer than the finest frequency.
    """

    frequency: Frequency | None
    reason: str = ""
    alignment: Alignment = DEFAULT_ALIGNMENT
    snap: int = 0
    exact: float = 0.0
    observed: float = 1.0
    apart: tuple[np.datetime64, np.datetime64] | None = None
    finer: str | None = None


def find_rhythm(series: Sequence[Moments]) -> Rhythm:
    """The rhythm of series, each given by its distinct ascending timestamps."""
    several = [moments for moments in series if len(moments) > 1]
    if not several:
        return Rhythm(None, "no series of the sample has two different timestamps")
    steps = np.concatenate([np.diff(moments).astype("timedelta64[us]").astype(np.int64) for moments in several])
    values, counts = np.unique(steps, return_counts=True)
    common = int(values[np.argmax(counts)])
    exact = float(counts.max() / len(steps))
    reason = f"the most common step is {duration(common)}, at {exact:.0%} of the rows"
    weeks = np.isin(steps, [weeks * 7 * _DAY for weeks in (4, 5, 6)])
    if np.mean(weeks) >= MOST and exact < MOST:
        reason = (
            "rows come every 4 or 5 weeks, as the months of a 4-4-5 calendar do; write rows by the week, or date each by the "
            "first day of the month that it stands for"
        )
    if int(np.gcd.reduce(steps)) < _MINUTE:
        reason = f"rows come at irregular times, and {reason}; choose how to add them up, for example D"
    for frequency, share in _candidates(several, steps, common, exact):
        rhythm = _aligned(frequency, several, steps)
        if rhythm.frequency is not None:
            finer = duration(common) if common < _MINUTE and frequency == Frequency(1, Unit.MINUTE) else None
            return replace(rhythm, exact=share, finer=finer)
        reason = rhythm.reason or reason
    return Rhythm(None, reason, exact=exact)


def _candidates(
    series: Sequence[Moments], steps: Steps, common: int, exact: float
) -> Iterator[tuple[Frequency, float]]:
    """Frequencies to be tried in turn, with the share of steps that are exactly it."""
    calendar = _calendar(series, steps)
    if calendar is not None and calendar[2]:
        yield calendar[:2]
    beat = fixed_frequency(common)
    if beat is not None and _on_beat(series, steps, common) >= MOST:
        yield beat, exact
    if calendar is not None and not calendar[2]:
        yield calendar[:2]
    for frequency in _with_jitter(series, steps):
        yield frequency, exact
    divisor = int(np.gcd.reduce(steps))
    smallest = fixed_frequency(divisor)
    # Seconds that only a divisor explains are events, of which a minute has as many as happened.
    if smallest is not None and divisor != common and divisor >= _MINUTE and not _are_alike(steps, divisor):
        yield smallest, exact


def _aligned(frequency: Frequency, series: Sequence[Moments], steps: Steps) -> Rhythm:
    """The frequency with its alignment; without a frequency where that can't be, and the reason."""
    moments = np.concatenate(series)
    fit = fit_alignment(frequency, moments)
    if fit is None and not frequency.has_convention:
        return Rhythm(None, _several_phases(frequency, series))
    alignment, snap = (DEFAULT_ALIGNMENT, 0) if fit is None else (fit.alignment, fit.snap)
    apart = _starts_and_ends(frequency, series) if snap else None
    if apart is not None:
        alignment, snap = DEFAULT_ALIGNMENT, 0
    observed = _observed(Grid(frequency, alignment), series, snap)
    seldom = np.mean(steps == frequency.microseconds) < 0.5
    if observed < _TOO_EMPTY and frequency.approximate_seconds < 86_400 and seldom:
        return Rhythm(
            None,
            f"rows come at irregular times: of the periods of {frequency}, the step that all others are multiples of, "
            f"{observed:.1%} have a row; choose how to add them up, for example D",
        )
    return Rhythm(frequency, "", alignment, snap, observed=observed, apart=apart)


def change_of_rhythm(series: Sequence[Moments], grid: Grid, snap: int = 0) -> str:
    """What to say where rows come as often as the grid has periods in one part of the data only; empty otherwise.

    The other part has rows at equal steps, too, but more or less often: hours, then quarter-hours; days, beside weeks of
    other items. One frequency can't hold both: their values are of other sizes.
    """
    found: list[tuple[int, Moments]] = []
    for moments in series:
        steps = _periods_between(grid, moments + np.timedelta64(snap, "us"))
        cut = _place_of_change(steps)
        places = [slice(0, cut), slice(cut, None)] if cut is not None else [slice(None)]
        parts = [(_even(steps[place]), moments[place]) for place in places if len(steps[place]) >= _LEAST_PART]
        known = [(rate, part) for rate, part in parts if rate is not None]
        if len({rate for rate, _ in known}) > 1:
            (_, before), (_, after) = known
            return f"rows come every {_step(before)} up to {_day(after[0])} and every {_step(after)} from then on"
        found += known
    often = [part for rate, part in found if rate == 1]
    for others in ([part for rate, part in found if rate > 1], [part for rate, part in found if rate == 0]):
        if often and len(others) > _FEW * len(series):
            return f"rows come every {_step(often[0])} in some series and every {_step(others[0])} in others"
    return ""


def _periods_between(grid: Grid, moments: Moments) -> Steps:
    """(n - 1,) periods from each row to the next; 0 where several rows share one, and jitter does not explain it."""
    steps = np.diff(grid.ordinal(moments))
    length = grid.frequency.microseconds
    if length is None:
        return steps
    spans = np.diff(moments).astype("timedelta64[us]").astype(np.int64)
    return np.where(spans < (1 - WIDEST) * length, 0, np.maximum(steps, 1))


def _starts_and_ends(frequency: Frequency, series: Sequence[Moments]) -> tuple[np.datetime64, np.datetime64] | None:
    """The first rows of two series that are stamped at the starts and at the ends of periods; None where none are.

    Each of them keeps to its place: what comes early now and then is jitter. Hours before a start are another time zone's.
    """
    if not frequency.has_convention or frequency.approximate_seconds < _DAY // 1_000_000:
        return None
    grid = Grid(frequency)
    at_start, at_end = [], []
    for moments in _stamped_alike(grid, series):
        fit = fit_alignment(frequency, moments)
        ordinals = grid.ordinal(moments)
        if fit is None or fit.share < MOST or len(np.unique(ordinals)) < len(ordinals):
            return None
        early = int(np.median((grid.start(ordinals + 1) - moments).astype("timedelta64[us]").astype(np.int64)))
        if np.mean(grid.start(ordinals) == moments) >= MOST:
            at_start.append(moments[0])
        elif early <= _MINUTE or _LAST_DAY[0] <= early <= _LAST_DAY[1]:
            at_end.append(moments[0])
    return (min(at_start), min(at_end)) if at_start and at_end else None


def _stamped_alike(grid: Grid, series: Sequence[Moments]) -> Iterator[Moments]:
    """Series, of those that are stamped otherwise from some row on the two parts."""
    for moments in series:
        there = grid.start(grid.ordinal(moments)) == moments
        changes = np.flatnonzero(there[1:] != there[:-1]) + 1
        if len(changes) == 1 and _LEAST_STAMPS <= changes[0] <= len(moments) - _LEAST_STAMPS:
            yield from np.split(moments, changes)
        else:
            yield moments


def _several_phases(frequency: Frequency, series: Sequence[Moments]) -> str:
    starts = sorted({str(moments[0].astype("datetime64[s]")) for moments in series})
    shown = " and ".join(starts[:2])
    return (
        f"rows come {frequency.description}, but not all in the same ones (series begin at {shown}): "
        "give series that share their periods, or a finer frequency"
    )


def _observed(grid: Grid, series: Sequence[Moments], snap: int) -> float:
    """The share of the periods between the first and the last of each series that have a row.

    A last row that lies further ahead than all others span is a slip, which an import leaves out.
    """
    there = total = 0
    for moments in series:
        ordinals = grid.ordinal(moments + np.timedelta64(snap, "us"))
        if len(ordinals) > _LEAST_ROWS and ordinals[-1] - ordinals[-2] > ordinals[-2] - ordinals[0]:
            ordinals = ordinals[:-1]
        there += len(np.unique(ordinals))
        total += int(ordinals[-1] - ordinals[0]) + 1
    return there / total


def _on_beat(series: Sequence[Moments], steps: Steps, step: int) -> float:
    """The share of timestamps on the beat of a step, by the steps or by where each series has most of its timestamps."""
    multiples = float(np.mean(steps % step == 0))
    if multiples >= MOST:
        return multiples
    on = sum(
        int(np.unique(moments.astype("datetime64[us]").astype(np.int64) % step, return_counts=True)[1].max())
        for moments in series
    )
    return max(multiples, on / sum(map(len, series)))


# --- The calendar


def _calendar(series: Sequence[Moments], steps: Steps) -> tuple[Frequency, float, bool] | None:
    """Months or years, when each series has at most one row in each; the share of its steps, and whether exactly."""
    if np.mean(steps >= _SHORTEST_MONTH) < MOST:
        return None
    month = Frequency(1, Unit.MONTH)
    fit = fit_alignment(month, np.concatenate(series))
    if fit is None:
        return None
    grid, snap = Grid(month, fit.alignment), np.timedelta64(fit.snap, "us")
    ordinals = [grid.ordinal(moments + snap) for moments in series]
    months = np.concatenate([np.diff(each) for each in ordinals])
    step, count = Counter(months.tolist()).most_common(1)[0]
    exactly = fit.share >= MOST
    if not exactly and (np.mean(months > 0) < 1 or count < MOST * len(months)):
        return None
    if step <= 0:
        return None
    on = sum(int(np.bincount(each % step).max()) for each in ordinals) / sum(map(len, ordinals))
    if max(on, float(np.mean(months % step == 0))) < MOST:
        step = int(np.gcd.reduce(months))
    share = count / len(months)
    if step and step % 12 == 0:
        return Frequency(1, Unit.YEAR), share, exactly
    return (Frequency(step, Unit.MONTH), share, exactly) if 1 <= step <= MAX_MULTIPLE[Unit.MONTH] else None


# --- Jitter


def _with_jitter(series: Sequence[Moments], steps: Steps) -> Iterator[Frequency]:
    """Frequencies of which nearly all steps are multiples, up to a share of one, the longest first."""
    moments = np.concatenate(series)
    tried = [_nearest(float(np.quantile(steps, level))) for level in (0.5, 0.25, 0.1)]
    for frequency in dict.fromkeys(tried):
        length = frequency.microseconds
        assert length is not None  # noqa: S101 - of a fixed length, by `_nearest`
        times = np.rint(steps / length)
        off = np.abs(steps - times * length)
        if np.mean((off <= WIDEST * length) & (times >= 1)) < _NEARLY_ALL or np.mean(times == 1) < 1 - _NEARLY_ALL:
            continue
        if fit_alignment(frequency, moments) is not None:
            yield frequency


def _nearest(step: float) -> Frequency:
    """The frequency of fixed length nearest to a step in microseconds, by their ratio."""
    fixed = [Frequency(n, unit) for unit in (Unit.MINUTE, Unit.HOUR, Unit.DAY, Unit.WEEK) for n in _usual(unit)]
    return min(fixed, key=lambda frequency: abs(np.log(step / (frequency.microseconds or 1))))


def _usual(unit: Unit) -> Sequence[int]:
    """Multiples that jitter may hide: 29 minutes are 30."""
    return {
        Unit.MINUTE: (1, 2, 5, 10, 15, 20, 30),
        Unit.HOUR: (1, 2, 3, 4, 6, 8, 12),
        Unit.DAY: (1,),
        Unit.WEEK: (1, 2, 4),
    }[unit]


# --- Parts


def _place_of_change(steps: Steps) -> int | None:
    """The place before which steps are of one kind and from which on of another (none, one, or more periods); or None."""
    kinds = np.minimum(steps, 2)
    most, best = MOST * len(steps), 0
    for kind in np.unique(kinds):
        of_it = np.concatenate([[0], np.cumsum(kinds == kind)])
        other = np.arange(len(of_it)) - of_it
        before = of_it + other[-1] - other  # of the kind before a place, and others behind it
        after = other + of_it[-1] - of_it
        for agreeing in (before, after):
            place = int(np.argmax(agreeing))
            if agreeing[place] >= most:
                most, best = float(agreeing[place]), place
    return best if 0 < best < len(steps) else None


def _even(steps: Steps) -> int | None:
    """The periods from one row to the next, where that is nearly always about the same."""
    middle = float(np.median(steps))
    return round(middle) if np.mean(np.abs(steps - middle) <= _EVEN * middle) >= MOST else None


def _step(moments: Moments) -> str:
    return duration(int(np.median(np.diff(moments).astype("timedelta64[us]").astype(np.int64))))


def _day(moment: np.datetime64) -> str:
    return str(moment.astype("datetime64[D]"))


# --- Divisors


def _are_alike(steps: Steps, divisor: int) -> bool:
    """Whether steps are much the same, and far longer than their divisor: a rhythm of its own that is no frequency."""
    middle = float(np.median(steps))
    near = np.mean(np.abs(steps - middle) <= 0.4 * middle)
    return bool(near >= MOST and middle >= 3 * divisor)


def fixed_frequency(step: int) -> Frequency | None:
    """The service's frequency of exactly this many microseconds; a step of less than a minute counts as a minute."""
    for unit, seconds in ((Unit.WEEK, 604_800), (Unit.DAY, 86_400), (Unit.HOUR, 3600), (Unit.MINUTE, 60)):
        n, rest = divmod(step, seconds * 1_000_000)
        if not rest and 1 <= n <= MAX_MULTIPLE[unit]:
            return Frequency(n, unit)
    return Frequency(1, Unit.MINUTE) if 60_000_000 % step == 0 else None


def duration(microseconds: int) -> str:
    """A length of time for people: "36 hours"."""
    seconds = microseconds / 1_000_000
    sizes = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
    name, size = next(((n, s) for n, s in sizes if seconds >= s and (seconds / s).is_integer()), sizes[-1])
    return f"{seconds / size:g} {name}{'' if seconds == size else 's'}"


def shown_moment(moment: np.datetime64) -> str:
    """A time for people: "2024-01-31 06:00:00", or the date where it is midnight."""
    return str(moment.astype("datetime64[s]")).replace("T", " ").removesuffix(" 00:00:00")
