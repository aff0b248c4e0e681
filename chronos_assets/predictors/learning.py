"""Learning a predictor from past windows: its members' forecasts, weights, calibration, leaderboard.

Here belongs the order of things, on windows that the caller cut; which windows may be used as of when is decided there
(`backtest_windows` for the zero-shot predictor, the workloads for a trained one). Nothing here knows files or calendars.

Weights are pooled first, then changed by what a series looks like (`traits`), and by how an item or its segment differs
from what that says.

Calibration comes from forecasts whose weights were learned without them: the items (windows, where there is one item) are
halved, each half is forecast with the other's weights, and the factors are those of both together. The leaderboard's
ensemble is that one, too, so that it isn't flattered by windows it was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.predictors import selection
from chronos_assets.predictors.backtest import Backtest, costs_of, run_backtest
from chronos_assets.predictors.backtester import AnyBacktester, PastWindow, clearly_lower
from chronos_assets.predictors.calibration import Calibration, calibrate, likeness
from chronos_assets.predictors.leaderboard import leaderboard
from chronos_assets.predictors.members.catalogue import untuned, without_covariates
from chronos_assets.predictors.members.covariate_chronos import forms
from chronos_assets.predictors.members.pooled_autoregression import PooledAutoregression
from chronos_assets.predictors.members.regression import Regression
from chronos_assets.predictors.predictor import Key, Predictor, Segment, rounded
from chronos_assets.predictors.prior import prior_weights
from chronos_assets.predictors.recipe import Recipe
from chronos_assets.predictors.traits import TraitEffects
from chronos_assets.timeseries.arrays import Floats

_LEAST_ITEMS = 3  # of each segment on average


def learn(
    windows: Sequence[PastWindow],
    backtester: AnyBacktester,
    recipe: Recipe,
    *,
    regression: Regression | None = None,
    pooled: PooledAutoregression | None = None,
    base: Mapping[str, str] | None = None,
    learned: Mapping[str, Any] | None = None,
    categories: Mapping[str, Mapping[str, str]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Predictor:
    """A predictor learned from windows; from none, one with the prior weights.

    Args:
        windows: all of one length.
        backtester: of the members that may be chosen.
        recipe: see `Recipe`.
        regression: that the finished predictor's members use; those of the backtester have one that knows less.
        pooled: the finished predictor's, likewise.
        base: copied into the predictor.
        learned: likewise.
        categories: of the items, attribute -> item -> value; none if not given.
        progress: called with how many windows are done, of how many.
    """
    names = tuple(member.name for member in backtester.members)
    facts = {**(learned or {}), "windows": len(windows), "series": len({window.key for window in windows})}
    made = partial(
        Predictor,
        seasons=recipe.seasons,
        horizon=recipe.horizon,
        metric=recipe.metric,
        regression=regression,
        base=base or {},
    )
    if not windows:
        prior = prior_weights(names, seasonal=bool(recipe.seasons))
        weights = selection.affordable(selection.pruned(prior), costs_of(names), recipe.max_cost)
        return rounded(made(names, weights, Calibration.none(), learned=facts).used())
    return rounded(
        _by_backtest(
            partial(made, pooled=pooled), windows, backtester, recipe, facts, categories or {}, progress
        ).used()
    )


def _by_backtest(
    made: Callable[..., Predictor],
    windows: Sequence[PastWindow],
    backtester: AnyBacktester,
    recipe: Recipe,
    facts: Mapping[str, Any],
    categories: Mapping[str, Mapping[str, str]],
    progress: Callable[[int, int], None] | None,
) -> Predictor:
    """A predictor by what its members forecast of windows, `made` of that and of what doesn't follow from it; see `learn`."""
    attributes = forms(window.covariates for window in windows if window.covariates is not None)
    every = run_backtest(windows, backtester, recipe, progress)
    backtest = every.members(worthwhile(every.names, every.losses))
    weights = backtest.weights(np.arange(len(backtest.kept)), recipe)
    out_of_fold = backtest.out_of_fold(recipe)
    combined = backtest.bounded(np.sort(out_of_fold, axis=2))
    calibration = calibrate(combined, backtest.actuals, _likeness(windows)[backtest.kept])
    effects = backtest.trait_effects(weights)
    items: dict[Key, Floats] = {}
    segments: dict[Segment, Floats] = {}
    if recipe.per_item:
        items, segments, trusts = _own_weights(backtest, weights, effects, categories)
        facts = {**facts, **trusts}
    finished = backtest.bounded(calibration.apply(combined))
    rows, gain = leaderboard(backtest, weights, finished)
    return made(
        backtest.names,
        weights,
        calibration,
        items=items,
        segments=segments,
        traits=effects,
        attributes=attributes,
        learned=facts,
        leaderboard=rows,
        gain=gain,
    )


def _own_weights(
    backtest: Backtest, pooled: Floats, effects: TraitEffects | None, categories: Mapping[str, Mapping[str, str]]
) -> tuple[dict[Key, Floats], dict[Segment, Floats], dict[str, float]]:
    """Weights of items and of segments, none where they tell nothing, and how much both are trusted."""
    expected = None
    if effects is not None and backtest.traits is not None:
        expected = effects.expected(backtest.traits)[pooled > 0]
    segments, segment_trust = _segments(backtest, pooled, categories, expected)
    own, trust = selection.item_weights(backtest.losses, backtest.items, pooled, expected)
    trusted = zip(backtest.keys, own, strict=True) if trust > 0 else ()
    items = {key: selection.pruned(row) for key, row in trusted}
    return items, segments, {"segment_trust": segment_trust, "item_trust": round(trust, 4)}


def _segments(
    backtest: Backtest,
    pooled: Floats,
    categories: Mapping[str, Mapping[str, str]],
    expected: Floats | None = None,
) -> tuple[dict[Segment, Floats], float]:
    """Weights by what tells most about who forecasts well, a dimension or an attribute, and how much they are trusted.

    They are for items that have no weights of their own. What is nearly another name of the item tells nothing of
    those that were not sampled.
    """
    found: dict[Segment, Floats] = {}
    most = 0.0
    ways: dict[int | str, list[str | None]] = {
        place: [key[place] for key in backtest.keys] for place in range(1, len(backtest.keys[0]))
    }
    ways |= {name: [of_item.get(key[0]) for key in backtest.keys] for name, of_item in categories.items()}
    for place, labels in ways.items():
        values = sorted({label for label in labels if label is not None})
        known = sum(label is not None for label in labels)
        if not 1 < len(values) <= known / _LEAST_ITEMS:
            continue
        numbers = {value: number for number, value in enumerate(values)}
        of_items = np.array([numbers.get(label or "", -1) for label in labels], dtype=np.intp)[backtest.items]
        told = of_items >= 0
        rest = expected[:, told] if expected is not None else None
        own, trust = selection.item_weights(backtest.losses[:, told], of_items[told], pooled, rest)
        if trust > most:
            most = trust
            found = {(place, value): selection.pruned(row) for value, row in zip(values, own, strict=True)}
    return found, round(most, 4)


def worthwhile(names: Sequence[str], losses: Floats) -> NDArray[np.intp]:
    """Places of the members without those that have to earn their place beside another one, and don't clearly lower its loss.

    Those that read covariates have to, beside the member without them, and tuned ones, beside the base model. As good as
    that is not good enough: what was learned from noise would share its weight, and add to its error and its cost.

    Args:
        names: of the members.
        losses: of each on each window, (M, N).
    """
    kept = []
    for place, name in enumerate(names):
        rivals = {without_covariates(name), untuned(name)} - {None, name}
        if all(clearly_lower(losses[place], losses[names.index(rival)]) for rival in rivals if rival in names):
            kept.append(place)
    return np.array(kept, dtype=np.intp)


def _likeness(windows: Sequence[PastWindow]) -> Floats:
    """How much each window counts in the calibration, (N,), by how it lies among those of its series."""
    of_series: dict[Key, list[PastWindow]] = {}
    for window in windows:
        of_series.setdefault(window.key, []).append(window)
    latest = {key: max(found, key=lambda window: window.end) for key, found in of_series.items()}
    ages = [sum(other.end > window.end for other in of_series[window.key]) for window in windows]
    complete = [len(latest[window.key].history) + len(window.actual) for window in windows]
    return likeness([len(window.history) for window in windows], ages, complete)
