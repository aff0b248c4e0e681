"""Forecasts that a model has to beat. Only the seasonal naive one so far.

Here belong forecasts that need no model. Metrics that compare them are in `metrics`, the comparison in `accuracy`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
