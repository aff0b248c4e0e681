"""Forecasts that a model has to beat: the seasonal naive one, and which season makes it hard to beat.

Here belong forecasts that need no model. Metrics that compare them are in `metrics`, the comparison in `accuracy`.

GluonTS's season of days and weeks is 1, that of hours and minutes a day: a weekly pattern is then invisible to the
baseline, and any model that sees it looks good. `choose_baseline` tries every season that the calendar suggests on
windows of the past, and takes the one with the smallest error. Benchmarks keep GluonTS's (`Frequency.seasonality`), so
that they compare with published numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Frequency, Unit
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.wording import counted

MAX_TRIED_SERIES = 500  # enough to tell seasons apart; more of them only cost time
_MARGIN = 0.05  # by which another season has to do better than GluonTS's: less than that is chance
_WINDOWS = 8  # of the past, for each series

# What repeats, in minutes, days or months: an hour (of minutes), a day, a week; 52 weeks rather than a year, so that a
# weekday meets its like.
_MINUTES = {Unit.MINUTE: 1, Unit.HOUR: 60}
_CYCLES_OF_MINUTES: tuple[int, ...] = (60, 1440, 7 * 1440)
_CYCLES: Mapping[Unit, tuple[int, ...]] = {Unit.DAY: (7, 364), Unit.WEEK: (52,), Unit.MONTH: (12,), Unit.YEAR: ()}
_WORDS = {Unit.DAY: "day", Unit.WEEK: "week", Unit.MONTH: "month", Unit.YEAR: "year"}


@dataclass(frozen=True)
class Baseline:
    """The seasonal naive forecast that a model is compared with.

    Attributes:
        season: periods after which it repeats; 1 repeats the last value.
        name: for people, "seasonal naive, 168 h".
        errors: season -> Σ |error| / Σ |actual| on windows of the past, of every season that was tried; empty where the
            history was too short to try any.
    """

    season: int
    name: str
    errors: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, season: int, frequency: Frequency | None, errors: Mapping[int, float] | None = None) -> Baseline:
        """The baseline of a season; without a frequency its length is reported in periods."""
        return cls(season, season_name(season, frequency), errors or {})

    def to_document(self) -> dict[str, Any]:
        """JSON values: `season`, `name` and `errors` by season."""
        return {
            "season": self.season,
            "name": self.name,
            "errors": {str(season): round(error, 6) for season, error in self.errors.items()},
        }


def season_name(season: int, frequency: Frequency | None) -> str:
    """What people call the seasonal naive forecast of a season: its length in hours, days, weeks or months."""
    if season == 1:
        return "naive (last value)"
    if frequency is None:
        return f"seasonal naive, {season} periods"
    if frequency.unit in _MINUTES:
        minutes = season * frequency.n * _MINUTES[frequency.unit]
        length = f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
    else:
        count = season * frequency.n
        length = counted(count, _WORDS[frequency.unit])
    return f"seasonal naive, {length}"


def plausible_seasons(frequency: Frequency) -> tuple[int, ...]:
    """Seasons worth trying, in periods, ascending: 1, GluonTS's, and every cycle that is a whole number of periods.

    Hours: 1, 24, 168. Days: 1, 7, 364. Weeks: 1, 52. Months: 1, 12. 15 minutes: 1, 4, 96, 672.
    """
    in_minutes = frequency.unit in _MINUTES
    length = frequency.n * _MINUTES.get(frequency.unit, 1)
    cycles = _CYCLES_OF_MINUTES if in_minutes else _CYCLES[frequency.unit]
    whole = {cycle // length for cycle in cycles if cycle % length == 0}
    return tuple(sorted({1, frequency.seasonality, *whole}))


@dataclass(frozen=True)
class Past:
    """What is known of a series up to some moment.

    Attributes:
        history: (n,) as a forecast reads it, gaps filled.
        observed: (n,) the same without what filling made: NaN there.
    """

    history: Floats
    observed: Floats


def choose_baseline(pasts: Iterable[Past], frequency: Frequency, horizon: int) -> Baseline:
    """The seasonal naive forecast with the smallest error on past windows of some series.

    Up to eight windows of each series, spread over the last two of the longest season (or the last eight horizons, if
    those are longer), are forecast from what was before them with every plausible season. The errors of all series are
    added up over observed values, as wQL does. A season that most windows have less than one of before them isn't one.
    Another season than GluonTS's has to do 5 % better; of equal ones the shorter wins.

    Args:
        pasts: of series up to the same moment; the first `MAX_TRIED_SERIES` are used.
        frequency: of the series.
        horizon: periods that are forecast.

    Returns:
        The baseline; with GluonTS's season and without `errors` where no history is longer than the horizon.
    """
    seasons = plausible_seasons(frequency)
    errors, seen = np.zeros(len(seasons)), np.zeros(len(seasons), dtype=np.int64)
    scale, windows = 0.0, 0
    for past in islice(pasts, MAX_TRIED_SERIES):
        for origin in _origins(len(past.history), horizon, seasons):
            actual = past.observed[origin : origin + horizon]
            known = np.isfinite(actual)
            if not known.any() or not np.isfinite(past.observed[:origin]).any():
                continue
            made = np.stack([seasonal_naive(past.history[:origin], season, horizon) for season in seasons])
            errors += np.abs(made[:, known] - actual[known]).sum(axis=1)
            seen += np.array([origin >= season for season in seasons])
            scale += float(np.abs(actual[known]).sum())
            windows += 1
    default = frequency.seasonality
    tried = [place for place in range(len(seasons)) if windows and 2 * seen[place] > windows]
    if not tried:
        return Baseline.of(default, frequency)
    best = min(tried, key=lambda place: (errors[place], seasons[place]))
    usual = seasons.index(default)
    if usual in tried and errors[best] >= (1 - _MARGIN) * errors[usual]:
        best = usual
    shares = {seasons[place]: float(errors[place] / scale) if scale else 0.0 for place in tried}
    return Baseline.of(seasons[best], frequency, shares)


def _origins(length: int, horizon: int, seasons: tuple[int, ...]) -> list[int]:
    """Where the past windows of a history of `length` begin, ascending; none where it is no longer than the horizon."""
    newest = length - horizon
    if newest < 1:
        return []
    longest = max((season for season in seasons if season <= newest), default=1)
    oldest = max(longest, length - max(_WINDOWS * horizon, 2 * longest))
    return sorted(set(np.linspace(oldest, newest, _WINDOWS).astype(int).tolist()))


def seasonal_naive(history: Floats, season: int, horizon: int) -> Floats:
    """The seasonal naive forecast (horizon,): the last season of a history (n,), repeated.

    It is the one that published Chronos benchmarks compare with, GluonTS's `SeasonalNaivePredictor`: a history shorter
    than a season is forecast by its mean, one without any value by zero. It is a point forecast, which stands for
    every quantile and for the mean.

    Missing values (NaN) of the last season are those of the last season that has one at the same phase; a phase that
    was never observed gets the last value before it. Where none of the last season is missing, or the season is 1,
    this is exactly GluonTS's rule (which takes the last value whatever its phase).
    """
    if season < 1 or horizon < 0:
        raise ValueError(f"a season of {season} and a horizon of {horizon} can't be forecast")
    known = np.isfinite(history)
    if not known.any():
        return np.zeros(horizon)
    if len(history) < season:
        return np.full(horizon, history[known].mean())
    last = _last_season(history, known, season)
    return last[np.arange(horizon) % season]


def spread_to_quantiles(points: Floats, count: int) -> Floats:
    """A point forecast (…, steps) as the forecast of `count` quantiles, (…, steps, count)."""
    return np.repeat(points[..., None], count, axis=-1)


def _last_season(history: Floats, known: NDArray[np.bool_], season: int) -> Floats:
    """The last season (season,) with its gaps filled; `history` has a known value and is not shorter than a season."""
    if known[-season:].all():
        return history[-season:]
    seasons = -(-len(history) // season)
    padding = seasons * season - len(history)
    values = np.concatenate([np.full(padding, np.nan), history]).reshape(seasons, season)
    present = np.concatenate([np.zeros(padding, np.bool_), known]).reshape(seasons, season)
    # Position of the last present row of each phase, counted from the end; 0 where there is none at all.
    row = seasons - 1 - np.argmax(present[::-1], axis=0)
    last = np.where(present.any(axis=0), values[row, np.arange(season)], np.nan)
    return _carried_forward(last)


def _carried_forward(values: Floats) -> Floats:
    """Each missing value replaced by the last before it, those at the start by the first value there is."""
    known = np.isfinite(values)
    position = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    first = int(np.argmax(known))
    return np.asarray(values[np.where(position < 0, first, position)])
