"""Learning a predictor from past windows: its members' forecasts, weights, calibration, leaderboard.

Here belongs the order of things, on windows that the caller cut; which windows may be used as of when is decided there
(`backtests` for the zero-shot predictor, the workloads for a trained one). Nothing here knows files or calendars.

Weights are pooled first, then changed by what a series looks like (`traits`), and by how an item or its segment differs
from what that says.

Calibration comes from forecasts whose weights were learned without them: the items (windows, where there is one item) are
halved, each half is forecast with the other's weights, and the factors are those of both together. The leaderboard's
ensemble is that one, too, so that it isn't flattered by windows it was fitted to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.params.predictor import DEFAULT_METRIC, POOLED, OptimizationMetric
from chronos_assets.predictors import selection
from chronos_assets.predictors.calibration import Calibration, calibrate, coverage, likeness
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS, Contexts, Covariates, Member
from chronos_assets.predictors.members.catalogue import cost_of, untuned, without_covariates
from chronos_assets.predictors.members.covariate_chronos import forms
from chronos_assets.predictors.members.pooled_autoregression import PooledAutoregression
from chronos_assets.predictors.members.regression import History, Regression
from chronos_assets.predictors.predictor import Key, Predictor, Segment, Standing, rounded
from chronos_assets.predictors.prior import prior_weights, votes
from chronos_assets.predictors.traits import LEAST_ITEMS, TraitEffects, learn_effects, traits_of
from chronos_assets.timeseries.arrays import Floats

_VALUES = 16_000_000  # quantiles of all members held at once: 128 MB
_PASS = 512  # windows forecast between two reports of progress
WORTHWHILE = 0.01  # relative loss that covariates, or a training, have to lower, and more than chance would
_LEAST_ITEMS = 3  # of each segment on average
COST_PENALTY = 0.02  # relative loss that a plain pass of the network has to be worth


@dataclass(frozen=True)
class PastWindow:
    """A stretch of a series whose values are known, and what was known before it.

    Attributes:
        key: item id and dimensions.
        history: (T,) everything before it, NaN where nothing was observed.
        actual: (horizon,), NaN where nothing was observed.
        scale: seasonal error of the history; what MASE divides by; NaN where there is none.
        end: number of its last period, on whatever scale: windows of one key differ in it, or in their length.
        covariates: at the periods of the history and of the window, as they were known before it; None without any.
    """

    key: Key
    history: Floats
    actual: Floats
    scale: float
    end: int
    covariates: Covariates | None = None

    @property
    def identity(self) -> tuple[Key, int, int]:
        """What tells it from other windows of the same data."""
        return self.key, self.end, len(self.actual)

    def begins_by(self, period: int) -> bool:
        """Whether its first period is the one of this number, or an earlier one."""
        return self.end - len(self.actual) < period


@dataclass(frozen=True)
class Recipe:
    """How to learn a predictor.

    Attributes:
        horizon: periods that it will forecast; windows may be shorter.
        seasons: candidate seasons in periods.
        metric: that weights lower.
        max_cost: plain passes of the network that the members may take together.
        per_item: whether items get weights of their own.
    """

    horizon: int
    seasons: tuple[int, ...]
    metric: OptimizationMetric = DEFAULT_METRIC
    max_cost: float = 8.0
    per_item: bool = False

    @property
    def season(self) -> int:
        """The shortest season that series may have; 1 without any."""
        return min(self.seasons, default=1)


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
        weights = selection.affordable(selection.pruned(prior), _costs(names), recipe.max_cost)
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
    every = _backtest(windows, backtester, recipe, progress)
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
    rows, gain = _leaderboard(backtest, weights, finished)
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
    backtest: _Backtest, pooled: Floats, effects: TraitEffects | None, categories: Mapping[str, Mapping[str, str]]
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
    backtest: _Backtest,
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


@dataclass(frozen=True)
class _Backtest:
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

    def members(self, places: NDArray[np.intp]) -> _Backtest:
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
        costs, seasonal = _costs(self.names), bool(recipe.seasons)
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


def _costs(names: Sequence[str]) -> Floats:
    return np.array([cost_of(name) for name in names])


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
        if all(_clearly_lower(losses[place], losses[names.index(rival)]) for rival in rivals if rival in names):
            kept.append(place)
    return np.array(kept, dtype=np.intp)


def _clearly_lower(after: Floats, before: Floats) -> bool:
    gain = before - after
    return bool(gain.sum() > max(WORTHWHILE * before.sum(), _by_chance(gain)))


def _by_chance(gains: Floats) -> float:
    """Standard deviation of the sum of gains (N,) that have nothing to do with one another."""
    return float(gains.std()) * float(np.sqrt(len(gains)))


class Backtester:
    """Forecasts of past windows by every member, each made once: predictors of successive as-ofs share most of their windows.

    Args:
        members: that forecast.
        seasons: candidate seasons in periods.
    """

    def __init__(self, members: Sequence[Member], seasons: tuple[int, ...]) -> None:
        self.members = tuple(members)
        self.seasons = seasons
        self.forecast_windows = 0
        self.seconds = np.zeros(len(self.members))
        self._made: dict[tuple[Key, int, int], Floats] = {}

    def forecast(self, windows: Sequence[PastWindow]) -> Floats:
        """Quantiles (M, N, horizon, LEVELS) of windows of one length."""
        missing = [window for window in windows if window.identity not in self._made]
        if missing:
            made = self._forecast(missing)
            self.forecast_windows += len(missing)
            for place, window in enumerate(missing):
                self._made[window.identity] = made[:, place]
        return np.stack([self._made[window.identity] for window in windows], axis=1)

    @property
    def speeds(self) -> Floats:
        """Windows per second of each member, (M,)."""
        return self.forecast_windows / np.maximum(self.seconds, 1e-9)

    def forget_all_but(self, windows: Sequence[PastWindow]) -> None:
        """Let go of the forecasts of other windows, so that memory is that of one predictor's."""
        kept = {window.identity for window in windows}
        self._made = {identity: made for identity, made in self._made.items() if identity in kept}

    def _forecast(self, windows: Sequence[PastWindow]) -> Floats:
        horizon = len(windows[0].actual)
        covariates = [window.covariates or Covariates() for window in windows]
        contexts = Contexts([window.history for window in windows], horizon, self.seasons, covariates)
        made = np.empty((len(self.members), len(windows), horizon, len(LEVELS)))
        for place, member in enumerate(self.members):
            began = time.perf_counter()
            made[place] = member.forecast(contexts)
            self.seconds[place] += time.perf_counter() - began
        return made


class JoinedBacktester:
    """Two backtesters as one: members that forecasts of several as-ofs share, and those that were fitted for one of them.

    Args:
        shared: see `Backtester`; or several, joined.
        own: see `Backtester`.
    """

    def __init__(self, shared: Backtester | JoinedBacktester, own: Backtester) -> None:
        self.members: tuple[Member, ...] = (*shared.members, *own.members)
        self._parts = (shared, own)

    def forecast(self, windows: Sequence[PastWindow]) -> Floats:
        """See `Backtester.forecast`."""
        return np.concatenate([part.forecast(windows) for part in self._parts])

    @property
    def speeds(self) -> Floats:
        """See `Backtester.speeds`."""
        return np.concatenate([part.speeds for part in self._parts])

    def forget_all_but(self, windows: Sequence[PastWindow]) -> None:
        """See `Backtester.forget_all_but`."""
        for part in self._parts:
            part.forget_all_but(windows)


class StandIns:
    """A backtester whose tuned members leave windows that they were trained on to the base model at the same rate.

    What a checkpoint makes of what it has seen says nothing of what it will make of the next windows; windows that neither
    has seen do, but they are few. So the base model stands in with its errors as much smaller as the checkpoint's were on
    those, as far as they can be trusted: what was seen then neither speaks for the checkpoint, nor dilutes what training
    has clearly brought.

    Args:
        backtester: of the members; a tuned one without the base model's beside it must not be asked for windows it has seen.
        trained_until: number of the last period that the checkpoint was trained on, as the windows' `end` counts.
    """

    def __init__(self, backtester: Backtester | JoinedBacktester, trained_until: int) -> None:
        self.members = backtester.members
        self._backtester = backtester
        self._trained_until = trained_until
        names = [member.name for member in self.members]
        self._pairs = [
            (place, names.index(base))
            for place, name in enumerate(names)
            if (base := untuned(name)) != name and base in names
        ]

    def forecast(self, windows: Sequence[PastWindow]) -> Floats:
        """See `Backtester.forecast`."""
        made = self._backtester.forecast(windows)
        known = np.array([window.begins_by(self._trained_until) for window in windows])
        actuals = _actuals(windows)
        seen = actuals.values[known][:, :, None]
        unseen = np.flatnonzero(~known)
        for tuned, base in self._pairs:
            share = _error_share(made[tuned, unseen], made[base, unseen], actuals.take(unseen))
            less = seen + share * (made[base, known] - seen)
            made[tuned, known] = np.where(np.isfinite(seen), less, made[base, known])
        return made

    @property
    def speeds(self) -> Floats:
        """See `Backtester.speeds`."""
        return self._backtester.speeds

    def forget_all_but(self, windows: Sequence[PastWindow]) -> None:
        """See `Backtester.forget_all_but`."""
        self._backtester.forget_all_but(windows)


def _error_share(after: Floats, before: Floats, actuals: Actuals) -> float:
    """How large errors are at most after a training, beside those before, by windows (N, horizon, LEVELS); 1 without any.

    As large as chance may have hidden: validation windows have chosen the checkpoint, and flatter it.
    """
    if not len(actuals):
        return 1.0
    losses = selection.blended_losses(np.stack([after, before]), actuals, DEFAULT_METRIC)
    if not _clearly_lower(*losses):
        return 1.0
    return float((losses[0].sum() + _by_chance(losses[1] - losses[0])) / losses[1].sum())


AnyBacktester = Backtester | JoinedBacktester | StandIns


def histories_before(windows: Sequence[PastWindow]) -> list[History]:
    """What was known of each series before its earliest window: what a regression may be fitted to that is tried on them."""
    earliest: dict[Key, PastWindow] = {}
    for window in windows:
        if window.covariates and (window.key not in earliest or window.end < earliest[window.key].end):
            earliest[window.key] = window
    return [History(window.history, window.covariates) for window in earliest.values() if window.covariates]


def _backtest(
    windows: Sequence[PastWindow],
    backtester: AnyBacktester,
    recipe: Recipe,
    progress: Callable[[int, int], None] | None,
) -> _Backtest:
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
        losses[:, start : start + len(part)] = selection.blended_losses(made, _actuals(part), recipe.metric)
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
    return _Backtest(
        tuple(member.name for member in backtester.members),
        losses,
        items,
        list(numbers),
        kept,
        forecasts,
        _actuals(chosen),
        backtester.speeds,
        np.array(lowest) >= 0,
        traits_of([window.history for window in windows], recipe.season) if by_traits else None,
    )


def _likeness(windows: Sequence[PastWindow]) -> Floats:
    """How much each window counts in the calibration, (N,), by how it lies among those of its series."""
    of_series: dict[Key, list[PastWindow]] = {}
    for window in windows:
        of_series.setdefault(window.key, []).append(window)
    latest = {key: max(found, key=lambda window: window.end) for key, found in of_series.items()}
    ages = [sum(other.end > window.end for other in of_series[window.key]) for window in windows]
    complete = [len(latest[window.key].history) + len(window.actual) for window in windows]
    return likeness([len(window.history) for window in windows], ages, complete)


def _actuals(windows: Sequence[PastWindow]) -> Actuals:
    return Actuals(np.stack([window.actual for window in windows]), np.array([window.scale for window in windows]))


def _leaderboard(backtest: _Backtest, weights: Floats, ensemble: Floats) -> tuple[tuple[Standing, ...], dict[str, Any]]:
    """The rows, the ensemble first and members by their wQL; and the ensemble's gain over the best of them."""
    actuals = backtest.actuals
    rows = []
    for place, name in enumerate(backtest.names):
        made = backtest.forecasts[place]
        able = np.flatnonzero(np.isfinite(made).all(axis=(1, 2)))
        rate = float(backtest.speeds[place])
        standing = _standing(name, made[able], actuals.take(able), float(weights[place]), rate)
        if len(able) == len(actuals) or weights[place] > 0:
            rows.append((standing, place, len(able) == len(actuals)))
    rows.sort(key=lambda row: (row[0].wql is None, row[0].wql or 0.0))
    first = _standing("ensemble", ensemble, actuals, None, None)
    whole = [row for row in rows if row[2] and row[0].wql is not None]
    gain = _gain(whole[0][0].member, ensemble, backtest.forecasts[whole[0][1]], backtest) if whole else {}
    return (first, *(row[0] for row in rows)), gain


def _standing(name: str, made: Floats, actuals: Actuals, weight: float | None, rate: float | None) -> Standing:
    def value(metric: OptimizationMetric) -> float | None:
        found = actuals.value(metric, made) if len(actuals) else float("nan")
        return found if np.isfinite(found) else None

    covered = coverage(made, actuals) if len(actuals) else float("nan")
    return Standing(name, value(DEFAULT_METRIC), value("MASE"), covered if np.isfinite(covered) else None, weight, rate)


def _gain(member: str, ensemble: Floats, best: Floats, backtest: _Backtest) -> dict[str, Any]:
    """The difference of the two wQL with its interval, by resampling items."""
    from chronos_assets.timeseries.scoring.gate import paired_bootstrap

    items = backtest.items[backtest.kept]
    scale = backtest.actuals.denominators(DEFAULT_METRIC)
    losses = [backtest.actuals.losses(DEFAULT_METRIC, made) for made in (ensemble, best)]
    numbers, places = np.unique(items, return_inverse=True)
    width = int(np.bincount(places).max())
    table = [np.full((len(numbers), width), np.nan) for _ in range(3)]
    seen = np.zeros(len(numbers), dtype=int)
    for row, place in enumerate(places):
        for target, source in zip(table, (*losses, scale), strict=True):
            target[place, seen[place]] = source[row]
        seen[place] += 1
    found = paired_bootstrap(table[0], table[1], table[2])
    return {"member": member, "value": found.value, "low": found.low, "high": found.high}
