"""Backtests of the pooled autoregression, which is fitted to the series that it is then tried on.

Here belongs what it may know: a window is forecast by one that was fitted to what was known before that window, and before
the windows of the other series that are as many windows back. Where that was too little to fit anything, a series' own
autoregression stands in: by those windows the member is no better than that one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from chronos_assets.predictors.backtester import Backtester, PastWindow
from chronos_assets.predictors.members.autoregression import Autoregression
from chronos_assets.predictors.members.base import Contexts, Member
from chronos_assets.predictors.members.pooled_autoregression import PooledAutoregression, fit_pooled
from chronos_assets.predictors.predictor import Key
from chronos_assets.predictors.recipe import Recipe
from chronos_assets.timeseries.arrays import Floats

_Identity = tuple[Key, int, int]


class PooledBacktester(Backtester):
    """A backtester of one member, which is another one for windows of another time.

    Args:
        windows: all that may be asked for, of one length.
        known: the member that knows all of them.
        seasons: candidate seasons in periods.
    """

    def __init__(self, windows: Sequence[PastWindow], known: PooledAutoregression, seasons: tuple[int, ...]) -> None:
        super().__init__([known], seasons)
        self._members: dict[_Identity, Member] = {}
        for alike in _as_many_back(windows):
            histories = [window.history for window in alike]
            fitted = fit_pooled(histories, len(alike[0].actual), seasons)
            self._members |= {window.identity: fitted or Autoregression() for window in alike}

    @property
    def is_fitted(self) -> bool:
        """Whether half of the windows at least are forecast by what was fitted."""
        fitted = sum(isinstance(member, PooledAutoregression) for member in self._members.values())
        return 2 * fitted >= len(self._members)

    def _forecast(self, windows: Sequence[PastWindow]) -> Floats:
        began = time.perf_counter()
        places: dict[int, list[int]] = defaultdict(list)
        for place, window in enumerate(windows):
            places[id(self._members[window.identity])].append(place)
        made = [np.empty(0)] * len(windows)
        for together in places.values():
            contexts = Contexts([windows[place].history for place in together], len(windows[0].actual), self.seasons)
            member = self._members[windows[together[0]].identity]
            for place, quantiles in zip(together, member.forecast(contexts), strict=True):
                made[place] = quantiles
        self.seconds += time.perf_counter() - began
        return np.stack(made)[None]


def open_pooled(
    windows: Sequence[PastWindow], recipe: Recipe
) -> tuple[PooledBacktester | None, PooledAutoregression | None]:
    """A backtester of the pooled autoregression and the member that a predictor learned from it has; or neither.

    Args:
        windows: of the past, all of one length.
        recipe: see `Recipe`.
    """
    whole = [np.concatenate([window.history, window.actual]) for window in next(_as_many_back(windows), [])]
    known = fit_pooled(whole, recipe.horizon, recipe.seasons)
    backtester = PooledBacktester(windows, known, recipe.seasons) if known is not None else None
    return (backtester, known) if backtester is not None and backtester.is_fitted else (None, None)


def _as_many_back(windows: Sequence[PastWindow]) -> Iterator[list[PastWindow]]:
    """The latest window of each series, then the one before it of each that has one, and so on."""
    of_series: dict[Key, list[PastWindow]] = defaultdict(list)
    for window in sorted(windows, key=lambda window: -window.end):
        of_series[window.key].append(window)
    for number in range(max(map(len, of_series.values()), default=0)):
        yield [found[number] for found in of_series.values() if number < len(found)]
