"""The distribution of recent values, the newest weighing most: the service's NPTS for many series at once.

Amazon Forecast's Non-Parametric Time Series forecaster samples past values with exponentially decaying weights, its seasonal
form only those of the same phase. Here the weighted quantiles are computed instead of sampled. Good where a level holds and
values are sparse, skewed or bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chronos_assets.predictors.members.base import LEVELS, Contexts, Panel, PanelMember
from chronos_assets.predictors.members.seasonal_naive import empirical_quantiles
from chronos_assets.predictors.members.seasons import adjust
from chronos_assets.timeseries.arrays import Floats

_MEMORY = 28.0  # periods, or seasons where there is a season, after which a value counts e times less
_SEASONS_KEPT = 8.0


@dataclass(frozen=True)
class RecentValues(PanelMember):
    """See the module."""

    name: str = "npts"

    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        for panel in contexts.panels:
            season = adjust(panel, contexts.seasons, contexts.horizon).season
            result = np.empty((len(panel.rows), contexts.horizon, len(LEVELS)))
            for length in np.unique(season).tolist():
                chosen = np.flatnonzero(season == length)
                result[chosen] = self._of_season(panel, chosen, length, contexts.horizon)
            yield panel, result

    @staticmethod
    def _of_season(panel: Panel, chosen: np.ndarray, season: int, horizon: int) -> Floats:
        values, observed = panel.values[chosen], panel.observed[chosen]
        age = panel.width - 1 - np.arange(panel.width)
        if season == 1:
            weights = np.where(observed, np.exp(-age / _MEMORY), 0.0)
            return empirical_quantiles(values, weights)[:, None, :].repeat(horizon, axis=1)
        result = np.empty((len(chosen), horizon, len(LEVELS)))
        for step in range(min(season, horizon)):
            columns = np.flatnonzero(age % season == (season - 1 - step) % season)
            kept = np.where(observed[:, columns], np.exp(-age[columns] / (_SEASONS_KEPT * season)), 0.0)
            known = kept.sum(axis=1) > 0
            made = empirical_quantiles(values[:, columns], np.where(known[:, None], kept, 1.0))
            result[:, step::season] = np.where(known[:, None], made, np.nan)[:, None, :]
        never = np.flatnonzero(np.isnan(result).any(axis=(1, 2)))  # a phase that was never observed: all values
        if len(never):
            weights = np.where(observed[never], np.exp(-age / (_SEASONS_KEPT * season)), 0.0)
            everything = empirical_quantiles(values[never], weights)[:, None, :]
            result[never] = np.where(np.isnan(result[never]), everything, result[never])
        return result
