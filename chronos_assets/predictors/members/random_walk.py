"""The last value, for prices, rates and levels whose next change can't be predicted.

Bands are the quantiles of the steps between neighbouring periods, around their median, growing with the root of the time. They
keep what steps are like: rare and large, or bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chronos_assets.predictors.members.base import LEVELS, MEDIAN, Contexts, Panel, PanelMember
from chronos_assets.predictors.members.seasonal_naive import quantiles_of_known
from chronos_assets.timeseries.arrays import Floats

_LATEST = 512  # steps that bands are read from


@dataclass(frozen=True)
class RandomWalk(PanelMember):
    """See the module."""

    name: str = "random_walk"

    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        ahead = np.sqrt(np.arange(1.0, contexts.horizon + 1))
        for panel in contexts.panels:
            start = max(1, panel.width - _LATEST)
            steps = panel.values[:, start:] - panel.values[:, start - 1 : -1]
            known = panel.observed[:, start:] & (np.arange(start, panel.width) > panel.first[:, None])
            # A series of one observation has no step: its band is the value itself.
            none = known.sum(axis=1) == 0
            spread = quantiles_of_known(np.where(none[:, None], 0.0, steps), known | none[:, None])
            spread = spread - spread[:, MEDIAN, None]
            last = panel.values[:, -1]
            made = last[:, None, None] + ahead[None, :, None] * spread[:, None, :]
            yield panel, np.broadcast_to(made, (len(last), contexts.horizon, len(LEVELS)))
