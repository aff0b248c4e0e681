"""Exponential smoothing averaged over its models: a level alone, with a damped trend, with a lasting one.

The family of Hyndman et al. (Forecasting with Exponential Smoothing, 2008), additive errors, on the seasonally adjusted series.
Models and parameters are those of a grid. None is chosen: each counts by its corrected information criterion, as Kolassa
(International Journal of Forecasting 2011) found to be better. Levels and trends start from a line through the first
observations, whose slope is halved. Bands are normal; the variance is the average of the models', which grows
as their state-space form has it.

In logarithms the same models have multiplicative errors and trends: growth by so many percent, bands that are wider above.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from chronos_assets.models.quantiles import normal_scores
from chronos_assets.predictors.members.base import LEVELS, Contexts, Panel, PanelMember, row_sum
from chronos_assets.predictors.members.logarithms import Logarithms
from chronos_assets.predictors.members.seasons import adjust
from chronos_assets.timeseries.arrays import Floats, Integers

_ALPHAS = (0.1, 0.3, 0.5, 0.75, 1.0)
_SHARES = (0.05, 0.2, 0.5)  # of alpha: the smoothing of the trend
_DAMPING = (0.8, 0.9, 0.97, 1.0)
# Rows of alpha, beta, phi; a level alone has no trend to damp.
_GRID = np.array(
    [(alpha, 0.0, 1.0) for alpha in _ALPHAS] + [(a, a * b, phi) for a, b, phi in product(_ALPHAS, _SHARES, _DAMPING)]
)
_PARAMETERS = np.where(_GRID[:, 1] == 0, 2, np.where(_GRID[:, 2] < 1, 5, 4))
_FIRST = 6  # observations that level and trend start from
_WARM = 2  # of them, errors of which don't count
_LEAST = 1e-300
_MOST_WORSE = 60.0  # points of the criterion; what is worse weighs nothing


@dataclass(frozen=True)
class ExponentialSmoothing(PanelMember):
    """See the module.

    Attributes:
        name: see `Member.name`.
        logarithms: whether series are read in them; series that aren't positive have no forecast then.
    """

    name: str = "ets"
    logarithms: bool = False

    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        scores = normal_scores(LEVELS)
        ahead, growth = _trends_and_variances(contexts.horizon)
        for panel in contexts.panels:
            logarithms = Logarithms.of(panel) if self.logarithms else None
            adjusted = adjust(logarithms.panel if logarithms else panel, contexts.seasons, contexts.horizon)
            squared, level, trend = _smooth(adjusted.values, panel)
            count = np.maximum(panel.lengths - _WARM, 1)
            weights = _weights(squared, count)
            carried = weights * trend
            variances = weights * squared / count[:, None]
            centre = np.empty((len(count), contexts.horizon))
            spread = np.empty_like(centre)
            for step in range(contexts.horizon):
                centre[:, step] = row_sum(weights * level) + row_sum(carried * ahead[step])
                spread[:, step] = np.sqrt(row_sum(variances * growth[step]))
            quantiles = adjusted.restore(centre[:, :, None] + spread[:, :, None] * scores)
            if logarithms:
                quantiles = np.where(logarithms.positive[:, None, None], logarithms.restore(quantiles), np.nan)
            yield panel, quantiles


def _trends_and_variances(horizon: int) -> tuple[Floats, Floats]:
    """How many trends each model has added, and how many times its error's variance, by step, (horizon, models)."""
    alpha, beta, phi = _GRID.T
    steps = np.arange(1, horizon + 1)[:, None]
    below = np.where(phi < 1, 1 - phi, 1.0)
    added = np.where(phi < 1, phi * (1 - phi**steps) / below, steps)
    # What an error does to the forecast so many steps later: nothing to the one it is of.
    effect = alpha + beta * np.concatenate([np.zeros((1, len(_GRID))), added[:-1]])
    effect[0] = 0.0
    return added, 1 + np.cumsum(effect**2, axis=0)


def _smooth(values: Floats, panel: Panel) -> tuple[Floats, Floats, Floats]:
    """Sum of squared errors one step ahead, last level and trend of every model, each (n, models)."""
    # A row for each model: arrays of all series are then added without a stop, in place.
    alpha, beta, phi = _GRID.T[:, :, None]
    start, slope = _start(values, panel.first, panel.lengths)
    level = np.repeat(start[None], len(_GRID), axis=0)
    trend = np.where(beta > 0, slope, 0.0)
    squared, error, term = np.zeros_like(level), np.empty_like(level), np.empty_like(level)
    begun = int(panel.first.max())
    for number, column in enumerate(np.ascontiguousarray(values.T)):
        if number <= begun + _WARM:  # some series haven't begun: their state waits
            since = number - panel.first
            carried = np.where(since >= 0, phi * trend, trend)
            ahead = np.where(since >= 0, level + carried, level)
            error = np.where(since >= 0, column - ahead, 0.0)
            squared += np.where(since >= _WARM, error * error, 0.0)
            level, trend = ahead + alpha * error, carried + beta * error
            continue
        np.multiply(phi, trend, out=trend)
        level += trend
        np.subtract(column, level, out=error)
        squared += np.multiply(error, error, out=term)
        level += np.multiply(alpha, error, out=term)
        trend += np.multiply(beta, error, out=term)
    return np.ascontiguousarray(squared.T), np.ascontiguousarray(level.T), np.ascontiguousarray(trend.T)


def _start(values: Floats, first: Integers, lengths: Integers) -> tuple[Floats, Floats]:
    """Level before the first observation, and the slope, of half a line through the first ones, each (n,)."""
    place = np.arange(_FIRST)
    there = place < lengths[:, None]
    columns = first[:, None] + np.minimum(place, lengths[:, None] - 1)
    seen = np.where(there, np.take_along_axis(values, columns, axis=1), 0.0)
    count = there.sum(axis=1)
    time = np.where(there, place, 0.0)
    middle, mean = row_sum(time) / count, row_sum(seen) / count
    away = np.where(there, time - middle[:, None], 0.0)
    square = row_sum(away**2)
    slope = 0.5 * row_sum(away * np.where(there, seen - mean[:, None], 0.0)) / np.where(square > 0, square, 1.0)
    return mean - slope * (middle + 1), slope


def _weights(squared: Floats, count: Integers) -> Floats:
    """Weight of each model, (n, models): exp(-AICc / 2), summing to 1."""
    number = count[:, None].astype(np.float64)
    correction = 2 * _PARAMETERS * (_PARAMETERS + 1) / np.maximum(number - _PARAMETERS - 1, 1.0)
    criterion = number * np.log(np.maximum(squared / number, _LEAST)) + 2 * _PARAMETERS + correction
    worse = np.minimum(criterion - criterion.min(axis=1, keepdims=True), _MOST_WORSE)
    weights = np.exp(-worse / 2)
    return np.asarray(weights / row_sum(weights)[:, None])
