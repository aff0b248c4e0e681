"""Where the periods of a frequency start, inferred from the timestamps of rows: weekday, day of month, hour, phase.

Here: the search for the `Alignment` that timestamps share, and how far they stray from it. Choosing a frequency
belongs to `params.inference`; the arithmetic of periods to `frequencies`.

Rows that are stamped once per period agree on where periods start, a few of them aside (one odd date, a holiday). Three
kinds of straying are distinguished:

- *Exact*: nearly all timestamps (`MOST`) are starts of periods.
- *Jitter*: timestamps lie close together around one point of the period, within `WIDEST` of its length. Sensors that
  report some seconds before or after the full hour, the last business day of a month. Where rows come too early, those
  within `snap` before a start belong to the period that it starts.
- *None*: timestamps are spread over the period. The rows are finer than the periods and say nothing of where these start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Alignment, Frequency, Grid, Unit

Moments = NDArray[np.datetime64]

# Timestamps agree when this share of them does.
MOST = 0.9
# Jitter is inferred from finer rows by the width of the arc that holds nearly all timestamps, as a share of the period.
WIDEST = 0.3
_NEARLY_ALL = 0.95
# A single row that comes this much too early, as a share of the period, belongs to the period that follows.
_STRAY = 0.15

_MICROSECONDS = {Unit.MINUTE: 1_000_000, Unit.HOUR: 60_000_000, Unit.DAY: 3_600_000_000, Unit.WEEK: 86_400_000_000}
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
# Days that the business calendar moves a month's last day, or first, at most.
_MOVED_DAYS = 9


@dataclass(frozen=True)
class Fit:
    """The alignment that timestamps share.

    snap: a row at most this many microseconds before a period's start belongs to that period. share: of timestamps that
    are starts of periods exactly.
    """

    alignment: Alignment
    snap: int
    share: float


def fit_alignment(frequency: Frequency, moments: Moments, given: Alignment = DEFAULT_ALIGNMENT) -> Fit | None:
    """The alignment of rows that come once per period; None where timestamps are spread over the period.

    Args:
        frequency: of the periods.
        moments: (n,) timestamps, at least one, of one series or of several that share their periods.
        given: parts that are known; only the phase of a multiple is looked for when it has any.
    """
    if given != DEFAULT_ALIGNMENT:
        return _phased(frequency, moments, given, snap=0)
    if frequency.microseconds is None:
        return _by_month(frequency, moments)
    return _by_length(frequency, frequency.microseconds, moments)


def exact_share(grid: Grid, moments: Moments) -> float:
    """The share of timestamps that are starts of periods."""
    return float(np.mean(grid.floor(moments) == moments))


# --- Periods of fixed length


def _by_length(frequency: Frequency, length: int, moments: Moments) -> Fit | None:
    micros = moments.astype("datetime64[us]").astype(np.int64)
    places, counts = np.unique(micros % length, return_counts=True)
    mode = int(places[np.argmax(counts)])
    share = float(counts.max() / counts.sum())
    if share >= MOST:
        early = (mode - places) % length
        strays = early[(early > 0) & (early <= _STRAY * length)]
        return _fit(frequency, mode, moments, snap=_generous(int(strays.max(initial=0)), int(2 * _STRAY * length)))
    low, width = _arc(places, counts, length)
    if width > WIDEST * length:
        return None
    usual = Grid(frequency)
    if frequency.has_convention:
        before = (_usual_place(frequency, length) - low) % length
        if before <= width:
            return Fit(DEFAULT_ALIGNMENT, _generous(before, length), exact_share(usual, moments))
        if frequency.unit is not Unit.WEEK:
            return Fit(DEFAULT_ALIGNMENT, 0, exact_share(usual, moments))
    if share >= 0.5:
        return _fit(frequency, mode, moments, snap=_generous((mode - low) % length, length))
    grain = _MICROSECONDS[frequency.unit]
    return _fit(frequency, low // grain * grain, moments, snap=0)


def _usual_place(frequency: Frequency, length: int) -> int:
    """Where the periods start that the calendar names, in microseconds after a multiple of their length."""
    return int(Grid(frequency).start(0).astype(np.int64)) % length


def _arc(places: NDArray[np.int64], counts: NDArray[np.int64], length: int) -> tuple[int, int]:
    """Start and width of the shortest arc of a circle that holds nearly all of the weight of ascending places."""
    around = np.concatenate([places, places + length])
    weight = np.concatenate([[0], np.cumsum(np.concatenate([counts, counts]))])
    wanted = _NEARLY_ALL * counts.sum()
    ends = np.searchsorted(weight, weight[: len(places)] + wanted, side="left") - 1
    widths = around[np.minimum(ends, len(around) - 1)] - places
    best = int(np.argmin(widths))
    return int(places[best]), int(widths[best])


def _generous(early: int, length: int) -> int:
    """How early a row may be, when the earliest so far was `early`: twice as much, in whole seconds, below half a period."""
    seconds = -(-2 * early // 1_000_000)
    return min(seconds * 1_000_000, length // 2 // 1_000_000 * 1_000_000)


def _fit(frequency: Frequency, place: int, moments: Moments, *, snap: int) -> Fit:
    """The fit whose periods start `place` microseconds after a multiple of their length, and name parts where it can."""
    start = datetime.fromisoformat(str(np.datetime64(place, "us")))
    by_place = Grid(frequency, Alignment(anchor=start.isoformat()))
    share = exact_share(by_place, moments)
    if frequency.has_convention and place == _usual_place(frequency, frequency.microseconds or 1):
        return Fit(DEFAULT_ALIGNMENT, snap, share)
    hour, rest = divmod(place % _DAY, _HOUR)
    if frequency.n == 1 and not rest and frequency.unit is Unit.DAY:
        return Fit(Alignment(hour=hour), snap, share)
    if frequency.n == 1 and not rest and frequency.unit is Unit.WEEK:
        return Fit(Alignment(day_of_week=start.weekday(), hour=hour or None), snap, share)
    return Fit(Alignment(anchor=_anchor(by_place, moments, snap)), snap, share)


def _anchor(grid: Grid, moments: Moments, snap: int) -> str:
    """The start of the first period with a row, as text: a date where it is midnight."""
    first = grid.floor(moments.min(keepdims=True) + np.timedelta64(snap, "us"))[0]
    moment: datetime = first.astype("datetime64[us]").item()
    return (
        moment.date().isoformat()
        if moment == moment.replace(hour=0, minute=0, second=0, microsecond=0)
        else (moment.isoformat())
    )


# --- Months and years


def _stray_snap(grid: Grid, moments: Moments) -> int:
    """How early the rows come that stray from the starts of periods, but are near enough to one."""
    following = grid.start(grid.ordinal(moments) + 1)
    early = (following - moments).astype(np.int64)
    strays = early[(grid.floor(moments) != moments) & (early <= _STRAY * 30 * _DAY)]
    return int(strays.max(initial=0))


def _by_month(frequency: Frequency, moments: Moments) -> Fit | None:
    """The day of the month that rows share (31: the last one), their hour, and the phase of a multiple."""
    days, lengths = _days_of_month(moments)
    hour, rest = _common_time(moments)
    from_end = lengths - days
    common = int(np.bincount(days).argmax())
    candidates = [31] if common >= 28 and np.mean(from_end == 0) >= np.mean(days == common) else [common]
    candidates += [31] if candidates != [31] else [common]
    for day in candidates:
        fit = _with_day(frequency, moments, day, hour, rest, snap=0)
        if fit is not None and fit.share >= MOST:
            return replace(fit, snap=_stray_snap(Grid(frequency, fit.alignment), moments))
    return _near_a_day(frequency, moments, days, from_end)


def _near_a_day(
    frequency: Frequency, moments: Moments, days: NDArray[np.int64], from_end: NDArray[np.int64]
) -> Fit | None:
    """The day around which rows lie: the month's last or first where they are near it, else the first of theirs."""
    late = from_end < _MOVED_DAYS  # before the month's end
    early = days <= _MOVED_DAYS
    if np.mean(late) >= _NEARLY_ALL:
        return _with_day(frequency, moments, 31, 0, 0, snap=(int(from_end[late].max()) + 1) * _DAY)
    if np.mean(early) >= _NEARLY_ALL:
        return _with_day(frequency, moments, 1, 0, 0, snap=0)
    if np.mean(early | late) >= _NEARLY_ALL:  # around the first
        return _with_day(frequency, moments, 1, 0, 0, snap=(int(from_end[late].max()) + 2) * _DAY)
    low, width = _arc(*np.unique(days, return_counts=True), length=31)
    if width > _MOVED_DAYS:
        return None
    return _with_day(frequency, moments, low, 0, 0, snap=0)


def _with_day(frequency: Frequency, moments: Moments, day: int, hour: int, rest: int, *, snap: int) -> Fit | None:
    alignment = Alignment(day_of_month=day if day > 1 else None, hour=hour or None)
    if rest:  # of the hour, which a boundary can't tell
        some = Grid(Frequency(1, Unit.MONTH), Alignment(day_of_month=day)).floor(moments[:1])[0]
        time = np.timedelta64(hour * _HOUR + rest, "us")
        alignment = Alignment(day_of_month=alignment.day_of_month, anchor=str(some + time))
    return _phased(frequency, moments, alignment, snap=snap)


def _phased(frequency: Frequency, moments: Moments, alignment: Alignment, *, snap: int) -> Fit | None:
    """The alignment with the phase of a multiple, or the month of a year, that rows share; None if they share none."""
    shifted = moments + np.timedelta64(snap, "us")
    if frequency.unit is Unit.YEAR:
        return _in_year(frequency, shifted, moments, alignment, snap)
    if frequency.n == 1 or (alignment.anchor is None and not Grid(frequency, alignment).phase_is_open):
        return Fit(alignment, snap, exact_share(Grid(frequency, alignment), moments))
    unit = Grid(Frequency(1, frequency.unit), replace(alignment, month=None))
    phases = unit.ordinal(shifted) % frequency.n
    counts = np.bincount(phases)
    if counts.max() < MOST * len(phases):
        return None
    of_phase = shifted[phases == counts.argmax()]
    anchored = replace(alignment, anchor=_anchor(unit, of_phase, 0))
    usual, grid = Grid(frequency, alignment), Grid(frequency, anchored)
    if (
        frequency.has_convention
        and alignment.anchor is None
        and np.array_equal(usual.floor(of_phase), grid.floor(of_phase))
    ):
        anchored = alignment
    return Fit(anchored, snap, exact_share(grid, moments))


def _in_year(frequency: Frequency, shifted: Moments, moments: Moments, alignment: Alignment, snap: int) -> Fit | None:
    monthly = Grid(Frequency(1, Unit.MONTH), alignment)
    months = monthly.ordinal(shifted) % 12 + 1
    counts = np.bincount(months, minlength=13)
    if counts.max() < MOST * len(months):
        return None
    month = int(counts.argmax())
    if alignment.anchor is not None:
        alignment = replace(alignment, anchor=_anchor(monthly, shifted[months == month], 0))
    elif month > 1:
        alignment = replace(alignment, month=month)
    return Fit(alignment, snap, exact_share(Grid(frequency, alignment), moments))


def _days_of_month(moments: Moments) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) day of month from 1, and (n,) days of that month."""
    months = moments.astype("datetime64[M]")
    first: Any = months.astype("datetime64[D]")
    days = (moments.astype("datetime64[D]") - first).astype(np.int64) + 1
    lengths = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    return days, lengths


def _common_time(moments: Moments) -> tuple[int, int]:
    """The most common time of day: its hour, and the microseconds beyond it."""
    micros = moments.astype("datetime64[us]").astype(np.int64) % _DAY
    times, counts = np.unique(micros, return_counts=True)
    hour, rest = divmod(int(times[np.argmax(counts)]), _HOUR)
    return hour, rest
