"""Which period a row belongs to: the grid of an import, where `params.json` leaves it open.

Here: holding what `params.json` says about periods against the rows' timestamps. The search itself is in
`calendar.alignment`, what becomes of periods that rows don't fill in `unfinished`.

The rule: what `TimeAlignmentBoundary` and `Chronos.Anchor` say is so. Without them rows that come once per period say where
periods start; rows that are finer don't, and periods are those of the calendar (midnight, Monday, the first, calendar
quarters). Where the calendar has no word either, as for pairs of weeks made up of days, the import is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.alignment import Fit, fit_alignment
from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Alignment, Grid
from chronos_assets.calendar.rhythm import duration
from chronos_assets.calendar.timestamp_format import has_offset
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.import_memory import noted_unit

Instants = NDArray[np.int64]

# Distinct timestamps that are kept to find periods by: far more than it takes, little beside the rows.
_MOST_INSTANTS = 200_000


# With fewer distinct timestamps the calendar's periods are taken, unless it has none.
_FEW_INSTANTS = 4
_NEARLY_ALL = 0.9


@dataclass
class InstantSample:
    """Distinct timestamps of rows, as microseconds, the first `_MOST_INSTANTS` of each file's batches."""

    _instants: Instants = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def add(self, instants: NDArray[np.datetime64]) -> None:
        """Take the timestamps of some rows."""
        distinct = np.unique(instants.astype("datetime64[us]").astype(np.int64))
        if len(self._instants) + len(distinct) > 2 * _MOST_INSTANTS:
            distinct = distinct[:: max(1, len(distinct) // 1000)]
        self._instants = np.union1d(self._instants, distinct)
        if len(self._instants) > _MOST_INSTANTS:
            self._instants = self._instants[:: len(self._instants) // _MOST_INSTANTS + 1]

    @property
    def moments(self) -> NDArray[np.datetime64]:
        """(n,) datetime64[us], ascending."""
        return self._instants.astype("datetime64[us]")


@dataclass(frozen=True)
class Placing:
    """How rows are placed: the alignment of the grid, and how many microseconds too early a row may come."""

    alignment: Alignment
    snap: int
    notes: tuple[str, ...] = ()


def place_rows(params: ForecastParams, moments: NDArray[np.datetime64]) -> Placing:
    """How rows with these timestamps are placed.

    Raises:
        FileProblem: neither `params.json`, the rows nor the calendar say which periods a multiple starts at.
    """
    given = params.alignment
    is_open = Grid(params.frequency, given).phase_is_open
    if not len(moments) or (given != DEFAULT_ALIGNMENT and not is_open):
        return Placing(given, _snap(params, 0), tuple(_within_notes(params, moments)))
    finer = params.data_frequency != params.frequency
    says_little = len(moments) < _FEW_INSTANTS or finer
    fit = None if says_little and not is_open else fit_alignment(params.frequency, moments, given)
    if fit is None or (finer and fit.snap):
        if is_open and not params.frequency.has_convention:
            raise _open_phase(params, moments)
        return Placing(given, _snap(params, 0), tuple(_convention_notes(params, is_open)))
    snap = _snap(params, fit.snap)
    return Placing(fit.alignment, snap, tuple(_notes(params, fit, snap)))


def moments_matter(params: ForecastParams) -> bool:
    """Whether `place_rows` looks at the timestamps at all."""
    is_open = Grid(params.frequency, params.alignment).phase_is_open
    return is_open or (params.alignment == DEFAULT_ALIGNMENT and params.data_frequency == params.frequency)


def clock_notes(params: ForecastParams) -> Iterator[str]:
    """What to tell the user of days and longer periods that are counted in UTC, though the rows' own clock may be another."""
    if (
        params.time_zone is None
        and has_offset(params.timestamp_format)
        and params.frequency.approximate_seconds > 3600 * 23
    ):
        yield (
            f"timestamps with an offset become times in UTC, and periods of {params.frequency} are those of UTC; set "
            "Chronos.TimeZone for those of a place"
        )


def _snap(params: ForecastParams, shown: int) -> int:
    return shown if params.snap_seconds is None else round(params.snap_seconds * 1_000_000)


def _open_phase(params: ForecastParams, moments: NDArray[np.datetime64]) -> FileProblem:
    first = str(moments.min().astype("datetime64[s]"))
    return FileProblem(
        "params.json",
        f"the rows don't say which periods of {params.frequency} they belong to: they are not stamped once per period, "
        "in the same periods for all series",
        f'set Chronos.Anchor to the start of one period, for example "{first}" (the first row)',
    )


def _within_notes(params: ForecastParams, moments: NDArray[np.datetime64]) -> Iterator[str]:
    """What to tell the user of rows once a period that nearly all lie within the periods that `params.json` sets."""
    unit = noted_unit(params.frequency)
    instants = np.unique(moments.astype("datetime64[us]").astype(np.int64) // unit * unit)
    if len(instants) < _FEW_INSTANTS:
        return
    found = instants.astype("datetime64[us]")
    starts = params.grid.floor((instants + _snap(params, 0)).astype("datetime64[us]"))
    once = len(np.unique(starts)) >= _NEARLY_ALL * len(found)
    if once and np.mean(found > starts) >= _NEARLY_ALL:
        row, start = (str(each[0].astype("datetime64[m]")).removesuffix("T00:00") for each in (found, starts))
        key = "Chronos.Anchor" if params.alignment.anchor is not None else "TimeAlignmentBoundary"
        yield f"rows lie within the periods that {key} sets: that of {row} counts for the period of {start}"


def _convention_notes(params: ForecastParams, is_open: bool) -> Iterator[str]:
    if is_open:
        start = Grid(params.frequency, params.alignment).start(0).astype("datetime64[m]")
        yield (
            f"periods of {params.frequency} are counted from {start}, as the calendar has them; Chronos.Anchor sets "
            "another start"
        )


def _notes(params: ForecastParams, fit: Fit, snap: int) -> Iterator[str]:
    if fit.alignment != params.alignment:
        start = Grid(params.frequency, fit.alignment)
        shown = fit.alignment.anchor or str(
            start.floor(np.array(["2024-01-15"], "datetime64[us]"))[0].astype("datetime64[m]")
        )
        yield (
            f"periods of {params.frequency} start where the rows' timestamps lie, such as {shown}; Chronos.Anchor or "
            "TimeAlignmentBoundary would say otherwise"
        )
    if snap and params.snap_seconds is None:
        yield (
            f"timestamps stray from the starts of periods: rows up to {duration(snap)} before one belong to the period "
            "that it starts (Chronos.SnapSeconds)"
        )
