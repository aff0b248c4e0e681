"""Autoregression of the steps from period to period, for many series at once: what ARIMA(p, 1, 0) is, with seasons.

A step follows from the level, the last four steps, and for every candidate season from the distance to the value a season ago,
the step that followed then, and the one two seasons ago. Coefficients are those of a ridge regression on the latest `_LATEST`
periods, so that a dozen observations do; of three ridges each counts by its corrected information criterion. Smoothing methods
know levels, trends and one season; this knows that a level returns, that a step is followed by another one, or taken back.

The forecast is iterated, no farther from the last value than the series has moved in as many periods, and a quarter more. Bands
are normal, from the errors one step ahead and what becomes of them (the response to an impulse).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from chronos_assets.models.quantiles import normal_scores
from chronos_assets.predictors.members.base import LEVELS, Contexts, Panel, PanelMember, row_sum
from chronos_assets.timeseries.arrays import Booleans, Floats

_LATEST = 1024
_STEPS = 4
_RIDGES = (1.0, 10.0, 100.0)
_LEVEL_SHARE = 0.3  # smaller regressors are shrunk more: a level returns slowly, if at all
_FARTHER = 1.25
_TINY = 1e-12
_LARGEST = 1e3  # response to an impulse that is believed
_MOST_WORSE = 60.0  # points of the criterion; what is worse weighs nothing

Lagged = Callable[[int], Floats]


@dataclass(frozen=True)
class Autoregression(PanelMember):
    """See the module."""

    name: str = "autoregression"

    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        return ((panel, _forecast(panel, contexts.seasons, contexts.horizon)) for panel in contexts.panels)


def _forecast(panel: Panel, candidates: tuple[int, ...], horizon: int) -> Floats:
    values, inside = panel.values[:, -_LATEST:], panel.inside[:, -_LATEST:]
    width = values.shape[1]
    count = inside.sum(axis=1)
    mean = row_sum(np.where(inside, values, 0.0)) / count
    size = np.sqrt(row_sum(np.diff(values, axis=1) ** 2) / np.maximum(count - 1, 1))
    size = np.where(size > _TINY * np.abs(mean), size, 1.0)[:, None]
    series = (values - mean[:, None]) / size
    seasons = [season for season in candidates if 2 * season + 2 < width]
    coefficients, error = _fit(series, inside, seasons)
    reach = max(1, min(horizon, width // 3))
    moved = np.abs(series[:, reach:] - series[:, :-reach]).max(axis=1)
    bound = _FARTHER * moved * horizon / reach
    last = series[:, -1]
    path = _iterated(series, coefficients, seasons, horizon, (last - bound, last + bound))
    pulse = np.zeros((len(series), width))
    pulse[:, -1] = 1.0
    limit = np.full(len(series), _LARGEST)
    response = _iterated(pulse, coefficients, seasons, horizon - 1, (-limit, limit), constant=0.0)
    spread = error[:, None] * np.sqrt(1 + np.concatenate([np.zeros((len(series), 1)), np.cumsum(response**2, 1)], 1))
    quantiles = path[:, :, None] + np.minimum(spread, bound[:, None])[:, :, None] * normal_scores(LEVELS)
    return np.asarray(quantiles * size[:, :, None] + mean[:, None, None])


def _regressors(lagged: Lagged, seasons: list[int], constant: float = 1.0) -> Iterator[Floats]:
    """What a step follows from, by the values so many periods before."""
    last = lagged(1)
    yield np.full_like(last, constant)
    yield _LEVEL_SHARE * last
    for lag in range(1, _STEPS + 1):
        yield lagged(lag) - lagged(lag + 1)
    for season in seasons:
        yield lagged(season) - last
        yield lagged(season) - lagged(season + 1)
        yield lagged(2 * season) - lagged(2 * season + 1)


def _fit(series: Floats, inside: Booleans, seasons: list[int]) -> tuple[Floats, Floats]:
    """Coefficients (n, regressors), and the standard deviation of the errors one step ahead, (n,)."""
    rows, width = series.shape
    length = inside.sum(axis=1)
    since = np.cumsum(inside, axis=1) - 1  # periods since the first observation
    counted = since > 0
    known = np.ones((rows, 2 + _STEPS + 3 * len(seasons)), dtype=bool)
    for place, season in enumerate(seasons):
        enough = length > 3 * season
        counted &= ~enough[:, None] | (since > season)
        known[:, 2 + _STEPS + 3 * place : 5 + _STEPS + 3 * place] = enough[:, None]

    def lagged(lag: int) -> Floats:
        return np.concatenate([np.repeat(series[:, :1], min(lag, width), axis=1), series[:, :-lag]], axis=1)[:, :width]

    step = np.where(counted, series - lagged(1), 0.0)
    given = [
        np.where(counted & known[:, place, None], regressor, 0.0)
        for place, regressor in enumerate(_regressors(lagged, seasons))
    ]
    inner, outer = np.empty((rows, len(given), len(given))), np.empty((rows, len(given)))
    for place, one in enumerate(given):
        outer[:, place] = row_sum(one * step)
        for other in range(place, len(given)):
            inner[:, place, other] = inner[:, other, place] = row_sum(one * given[other])
    return _averaged(inner, outer, row_sum(step * step), counted.sum(axis=1).astype(np.float64))


def _averaged(inner: Floats, outer: Floats, total: Floats, number: Floats) -> tuple[Floats, Floats]:
    """Coefficients and deviation of the ridge regressions with these sums of products, averaged by exp(-AICc / 2)."""
    found, variances, criteria = [], [], []
    for ridge in _RIDGES:
        inverse = np.linalg.inv(inner + ridge * np.eye(inner.shape[1]))  # matrix by matrix: rows don't touch each other
        coefficients = row_sum(inverse * outer[:, None, :])
        explained = row_sum(coefficients * (2 * outer - row_sum(inner * coefficients[:, None, :])))
        squared = np.maximum(total - explained, _TINY)
        freedom = row_sum(row_sum(inverse * inner))
        correction = 2 * (freedom + 1) * (freedom + 2) / np.maximum(number - freedom - 2, 1.0)
        criteria.append(number * np.log(squared / np.maximum(number, 1.0)) + 2 * (freedom + 1) + correction)
        found.append(coefficients)
        variances.append(squared / np.maximum(number - freedom, 1.0))
    worse = np.minimum(np.stack(criteria) - np.min(criteria, axis=0), _MOST_WORSE)
    weights = np.exp(-worse / 2)
    weights /= weights.sum(axis=0)
    mean = (weights[:, :, None] * np.stack(found)).sum(axis=0)
    return np.asarray(mean), np.sqrt((weights * np.stack(variances)).sum(axis=0))


def _iterated(
    series: Floats,
    coefficients: Floats,
    seasons: list[int],
    periods: int,
    limits: tuple[Floats, Floats],
    constant: float = 1.0,
) -> Floats:
    """The next periods (n, periods) of series (n, width), within limits (n,)."""
    width = series.shape[1]
    path = np.concatenate([series, np.zeros((len(series), periods))], axis=1)
    for place in range(width, width + periods):
        before = path[:, :place]
        value = before[:, -1].copy()
        lagged = partial(_before, before)
        for weight, regressor in zip(coefficients.T, _regressors(lagged, seasons, constant), strict=True):
            value += weight * regressor
        path[:, place] = np.clip(value, *limits)
    return path[:, width:]


def _before(path: Floats, lag: int) -> Floats:
    """The value so many periods before the next one, (n,); the first one where there are fewer."""
    return np.asarray(path[:, max(path.shape[1] - lag, 0)])
