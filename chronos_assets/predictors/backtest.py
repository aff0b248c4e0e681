"""What the members of a predictor forecast of past windows, and the weights that follow from it.

Here: one backtest, and what it says of weights. Elsewhere: making the forecasts (`backtester`), the predictor that comes of it
all (`learning`), its ranking (`leaderboard`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chronos_assets.params.predictor import POOLED
from chronos_assets.predictors import selection
from chronos_assets.predictors.backtester import AnyBacktester, PastWindow, actuals_of
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS
from chronos_assets.predictors.members.catalogue import cost_of
from chronos_assets.predictors.predictor import Key
from chronos_assets.predictors.prior import prior_weights, votes
from chronos_assets.predictors.recipe import Recipe
from chronos_assets.predictors.traits import LEAST_ITEMS, TraitEffects, learn_effects, traits_of
from chronos_assets.timeseries.arrays import Floats

_VALUES = 16_000_000  # quantiles of all members held at once: 128 MB
_PASS = 512  # windows forecast between two reports of progress
COST_PENALTY = 0.02  # relative loss that a plain pass of the network has to be worth


@dataclass(frozen=True)
class Backtest:
    """What members forecast of the windows.

    Attributes:
        names: of the members.
        losses: see `selection.blended_losses`, (M, N).
        items: number of each window's item, (N,); keys: the items.
        kept: places of the windows whose forecasts are kept, (K,).
        forecasts: of those, (M, K, horizon, LEVELS); actuals: of those.
        speeds: windows per second of each member, (M,).
        non_negative: whether nothing below zero was observed before each of the kept windows, (K,).
        traits: of the history of each window, (N, traits); None where weights are not to follow from them.
    """

    names: tuple[str, ...]
    losses: Floats
    items: NDArray[np.intp]
    keys: list[Key]
    kept: NDArray[np.intp]
    forecasts: Floats
    actuals: Actuals
    speeds: Floats
    non_negative: NDArray[np.bool_]
    traits: Floats | None

    def bounded(self, quantiles: Floats) -> Floats:
        """Quantiles (K, horizon, LEVELS) as a forecast has them: not below zero where the history isn't."""
        return np.where(self.non_negative[:, None, None], np.maximum(quantiles, 0.0), quantiles)

    def members(self, places: NDArray[np.intp]) -> Backtest:
        """The same of some of the members."""
        if len(places) == len(self.names):
            return self
        return replace(
            self,
            names=tuple(self.names[place] for place in places),
            losses=self.losses[places],
            forecasts=self.forecasts[places],
            speeds=self.speeds[places],
        )

    def weights(self, rows: NDArray[np.intp], recipe: Recipe) -> Floats:
        """Pooled weights from some of the kept windows, within the budget."""
        costs, seasonal = costs_of(self.names), bool(recipe.seasons)
        made, actuals, items = self.forecasts[:, rows], self.actuals.take(rows), self.items[self.kept[rows]]
        prior = prior_weights(self.names, seasonal=seasonal)
        penalties, fair = COST_PENALTY * costs, votes(self.names)
        weights = selection.pooled_weights(
            made, actuals, recipe.metric, prior, penalties, fair, items, seasonal=seasonal
        )
        weights = selection.affordable(weights, costs, recipe.max_cost)
        if POOLED not in self.names:
            return weights
        # The others are much alike, and so are their errors; it alone follows from what all series have in common.
        place = self.names.index(POOLED)
        more = selection.with_more_of(place, weights, made, actuals, recipe.metric, items, seasonal=seasonal)
        return selection.affordable(more, costs, recipe.max_cost)

    def trait_effects(self, pooled: Floats, rows: NDArray[np.intp] | None = None) -> TraitEffects | None:
        """How weights follow from what a series looks like, by some of all windows; None where they are not to."""
        used = np.flatnonzero(pooled > 0)
        if self.traits is None or len(used) < 2:
            return None
        chosen = np.arange(len(self.items)) if rows is None else rows
        found = learn_effects(self.losses[np.ix_(used, chosen)], self.traits[chosen])
        effects = np.zeros((len(found.effects), len(pooled)))
        effects[:, used] = found.effects
        return replace(found, effects=effects)

    def out_of_fold(self, recipe: Recipe) -> Floats:
        """Combined quantiles (K, horizon, LEVELS) of the kept windows, by what has not seen them."""
        items = self.items[self.kept]
        half = (items if len(np.unique(items)) > 1 else np.arange(len(items))) % 2 == 0
        result = np.empty(self.forecasts.shape[1:])
        for part in (half, ~half):
            seen = np.flatnonzero(~part)
            weights = self.weights(seen, recipe)
            effects = self.trait_effects(weights, self.kept[seen])
            if effects is not None and self.traits is not None:
                weights = effects.tilted(weights, self.traits[self.kept[part]])
            result[part] = selection.combine(self.forecasts[:, part], weights)
        lost = ~np.isfinite(result).all(axis=(1, 2))
        if lost.any():
            result[lost] = selection.combine(self.forecasts[:, lost], np.ones(len(self.forecasts)))
        return result


def costs_of(names: Sequence[str]) -> Floats:
    """(M,) plain passes of the network that each member takes."""
    return np.array([cost_of(name) for name in names])


def run_backtest(
    windows: Sequence[PastWindow],
    backtester: AnyBacktester,
    recipe: Recipe,
    progress: Callable[[int, int], None] | None,
) -> Backtest:
    """Have every member forecast the windows, of one length; `progress` is called with how many are done, of how many."""
    horizon, count = len(windows[0].actual), len(backtester.members)
    most = max(64, _VALUES // (count * horizon * len(LEVELS)))
    kept = np.unique(np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(np.intp))
    numbers: dict[Key, int] = {}
    items = np.array([numbers.setdefault(window.key, len(numbers)) for window in windows], dtype=np.intp)
    losses = np.empty((count, len(windows)))
    forecasts = np.empty((count, len(kept), horizon, len(LEVELS)))
    for start in range(0, len(windows), _PASS):
        part = windows[start : start + _PASS]
        made = backtester.forecast(part)
        losses[:, start : start + len(part)] = selection.blended_losses(made, actuals_of(part), recipe.metric)
        here = (kept >= start) & (kept < start + len(part))
        forecasts[:, here] = made[:, kept[here] - start]
        if len(windows) > most:
            backtester.forget_all_but(())
        if progress is not None:
            progress(start + len(part), len(windows))
    backtester.forget_all_but(windows)
    chosen = [windows[place] for place in kept]
    lowest = [np.min(window.history, initial=np.inf, where=np.isfinite(window.history)) for window in chosen]
    by_traits = recipe.per_item and len(numbers) >= LEAST_ITEMS
    return Backtest(
        tuple(member.name for member in backtester.members),
        losses,
        items,
        list(numbers),
        kept,
        forecasts,
        actuals_of(chosen),
        backtester.speeds,
        np.array(lowest) >= 0,
        traits_of([window.history for window in windows], recipe.season) if by_traits else None,
    )
