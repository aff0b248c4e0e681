"""The Theta method for many series at once.

Assimakopoulos & Nikolopoulos (International Journal of Forecasting 2000), by the recipe of the M4 competition's benchmark:
remove the season where the test finds one, average the extrapolated straight line with a simple exponential smoothing of
the line whose curvature is doubled, put the season back. The smoothing parameter is that of a grid with the least squared
error. Bands are normal, from the errors one step ahead inside the context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chronos_assets.models.quantiles import normal_scores
from chronos_assets.predictors.members.base import LEVELS, Contexts, Panel, PanelMember, row_sum
from chronos_assets.predictors.members.seasons import adjust
from chronos_assets.timeseries.arrays import Floats

ALPHAS = np.linspace(0.05, 1.0, 20)


@dataclass(frozen=True)
class Theta(PanelMember):
    """See the module."""

    name: str = "theta"

    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        scores = normal_scores(LEVELS)
        steps = np.arange(1, contexts.horizon + 1)
        for panel in contexts.panels:
            adjusted = adjust(panel, contexts.seasons, contexts.horizon)
            intercept, slope = fit_lines(adjusted.values, panel)
            time = np.arange(panel.width) - panel.first[:, None]
            line = intercept[:, None] + slope[:, None] * time
            curved = np.where(panel.inside, 2 * adjusted.values - line, 0.0)
            curved = np.where(panel.inside, curved, curved[np.arange(len(curved)), panel.first][:, None])
            alpha, level, error = smooth(curved, panel)
            ahead = intercept[:, None] + slope[:, None] * (panel.lengths[:, None] - 1 + steps)
            centre = (level[:, None] + ahead) / 2
            deviation = error / 2  # of the doubled line's errors, half is the forecast's
            spread = deviation[:, None] * np.sqrt(1 + (steps - 1) * alpha[:, None] ** 2)
            yield panel, adjusted.restore(centre[:, :, None] + spread[:, :, None] * scores)


def fit_lines(values: Floats, panel: Panel) -> tuple[Floats, Floats]:
    """Intercept at the first observation, and slope, of the least-squares line of each series, (n,) and (n,)."""
    count = panel.lengths.astype(np.float64)
    time = np.where(panel.inside, np.arange(panel.width) - panel.first[:, None], 0.0)
    centre = (count - 1) / 2
    mean = row_sum(np.where(panel.inside, values, 0.0)) / count
    moment = row_sum(np.where(panel.inside, (time - centre[:, None]) * (values - mean[:, None]), 0.0))
    spread = np.maximum(count * (count**2 - 1) / 12, 1.0)
    slope = np.where(count > 1, moment / spread, 0.0)
    return mean - slope * centre, slope


def smooth(values: Floats, panel: Panel) -> tuple[Floats, Floats, Floats]:
    """Simple exponential smoothing from each series' first value.

    Returns:
        The parameter of `ALPHAS` with the least squared error one step ahead, the last level, and the root mean square of
        those errors, each (n,). Before the first observation its value is repeated, which is no error.
    """
    alphas = ALPHAS[:, None]
    columns = np.ascontiguousarray(values.T)
    level = np.repeat(columns[:1], len(ALPHAS), axis=0)
    squared, error, term = (np.zeros_like(level) for _ in range(3))
    for column in columns[1:]:
        np.subtract(column, level, out=error)
        squared += np.multiply(error, error, out=term)
        level += np.multiply(alphas, error, out=term)
    best = squared.argmin(axis=0)
    rows = np.arange(len(best))
    steps = np.maximum(panel.lengths - 1, 1)
    return ALPHAS[best], level[best, rows], np.sqrt(squared[best, rows] / steps)
