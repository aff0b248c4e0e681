"""Exponential smoothing with a damped trend for many series at once.

Gardner & McKenzie (Management Science 1985), on the seasonally adjusted series, its three parameters from a grid by the
least squared error one step ahead. Bands are normal, their growth that of the state-space form (Hyndman et al. 2008,
table 6.1, ETS(A,Ad,N)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from chronos_assets.models.quantiles import normal_scores
from chronos_assets.predictors.members.base import LEVELS, Contexts, Panel, PanelMember
from chronos_assets.predictors.members.seasons import adjust
from chronos_assets.timeseries.arrays import Floats

_GRID = np.array(
    [(a, a * b, phi) for a, b, phi in product((0.1, 0.3, 0.5, 0.7, 0.9), (0.05, 0.2, 0.5), (0.8, 0.9, 0.97))]
)


@dataclass(frozen=True)
class DampedTrend(PanelMember):
    """See the module."""

    name: str = "damped_trend"

    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        scores = normal_scores(LEVELS)
        steps = np.arange(1, contexts.horizon + 1)
        for panel in contexts.panels:
            adjusted = adjust(panel, contexts.seasons, contexts.horizon)
            best, level, trend, error = _smooth(adjusted.values, panel)
            alpha, beta, phi = _GRID[best].T[:, :, None]
            damped = phi * (1 - phi**steps) / (1 - phi)
            centre = level[:, None] + trend[:, None] * damped
            weight = alpha + beta * phi * (1 - phi ** (steps - 1)) / (1 - phi)
            growth = 1 + np.concatenate([np.zeros((len(best), 1)), np.cumsum(weight[:, 1:] ** 2, axis=1)], axis=1)
            spread = error[:, None] * np.sqrt(growth)
            yield panel, adjusted.restore(centre[:, :, None] + spread[:, :, None] * scores)


def _smooth(values: Floats, panel: Panel) -> tuple[np.ndarray, Floats, Floats, Floats]:
    """Best row of `_GRID`, last level and trend, and the errors' root mean square, each (n,)."""
    alpha, beta, phi = _GRID.T[:, :, None]
    columns = np.ascontiguousarray(values.T)
    level = np.repeat(columns[:1], len(_GRID), axis=0)
    trend, squared, error, term = (np.zeros_like(level) for _ in range(4))
    for column in columns[1:]:
        trend *= phi
        level += trend
        np.subtract(column, level, out=error)
        squared += np.multiply(error, error, out=term)
        level += np.multiply(alpha, error, out=term)
        trend += np.multiply(beta, error, out=term)
    best = squared.argmin(axis=0)
    rows = np.arange(len(best))
    steps = np.maximum(panel.lengths - 1, 1)
    return best, level[best, rows], trend[best, rows], np.sqrt(squared[best, rows] / steps)
