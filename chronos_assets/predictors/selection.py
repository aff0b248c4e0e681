"""How much each member counts: weights learned on past windows, pooled and per item.

Here belongs arithmetic on the members' forecasts of windows whose actuals are known. Making those forecasts is in
`learning`, correcting bands in `calibration`.

**Pooled weights** are exp(-15 (loss / least loss - 1)): they look at each member alone, and spread over all that are nearly as
good. They are averaged over resamples of the items (bagging; Breiman, Machine Learning 1996), so that what other series would
have turned over is spread as well; what looks at combinations instead grasps at noise in few windows. A member's loss is its
metric's, which a few series of large scale may rule, averaged (geometrically) with the same where all windows count alike,
and, where the metric is of quantiles, with the error of its median likewise: that is less noisy, and a good median is what all
quantiles need. In that error windows of series without a season count by how hard they were, as in MASE: by the typical
member's error beside the series' usual step. Where all members are nearly right, being a little nearer is worth little. Weights
are shrunk to the prior ones where windows are few.

A member whose errors are its own adds more than its loss says, since the others average them out (Bates & Granger, Operational
Research Quarterly 1969). That can be learned of one member, where weights that minimise the combination's loss grasp at noise:
`with_more_of` mixes in as much of it as the combination is best with.

**An item's weights** are the pooled ones tilted by how its own losses differ from the pooled ones. What of that difference is
the item's own and what is chance follows from the data: the share of the variance between items that is left after the
variance between windows of one item is taken off (an empirical Bayes estimate, normal and of one factor for all).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from chronos_assets.params.predictor import DEFAULT_METRIC, OptimizationMetric
from chronos_assets.predictors.losses import Actuals
from chronos_assets.timeseries.arrays import Floats

SHARPNESS = 15.0  # of the exponential weights
ITEM_SHARPNESS = 8.0  # of an item's own differences, which even shrunk are less certain
MEDIAN_SHARE = 0.7  # of the median's error in a member's loss, where the metric is of quantiles
RESAMPLES = 64  # that pooled weights are averaged over
PRIOR_WINDOWS = 4.0  # windows that the prior weights count as
NEGLIGIBLE = 0.02  # a smaller weight isn't worth a member's pass
_LEAST_LOSS = 1e-12
_LEAST_PRIOR = 1e-3  # so that a member that the prior doesn't know isn't ruled out
_MOST_DIFFERENCE = 1.0
_MOST_TIMES = 5.0  # a typical loss; one window must not decide
_SHARES = (0.0, 0.1, 0.2, 0.3)  # that are tried of a member beside all others
_CREDIT = 0.04  # by how much its loss is likely to be lower than in backtests: what forecasts was fitted to more than was tried
_SHARE_PRIOR = 60.0  # windows that nothing should be mixed in counts as
_HARDEST = 5.0  # times as much as the median window: what one counts at most


def combine(forecasts: Floats, weights: Floats) -> Floats:
    """Weighted average of the members' quantiles, level by level.

    Args:
        forecasts: (M, N, horizon, Q); NaN where a member has no forecast of a series.
        weights: (M,), or (N, M) of each series.

    Returns:
        (N, horizon, Q), by the weights of the members that have one; NaN where no member with a weight has.
    """
    able = np.asarray(np.isfinite(forecasts).all(axis=(2, 3)))  # (M, N)
    shares = np.broadcast_to(np.atleast_2d(weights), (forecasts.shape[1], len(forecasts))).T * able
    total = np.zeros(forecasts.shape[1])
    result = np.zeros(forecasts.shape[1:])
    for share, forecast in zip(shares, forecasts, strict=True):
        used = share > 0
        total += share
        result[used] += share[used, None, None] * forecast[used]
    return np.where((total > 0)[:, None, None], result / np.where(total > 0, total, 1.0)[:, None, None], np.nan)


def member_losses(forecasts: Floats, actuals: Actuals, metric: OptimizationMetric) -> Floats:
    """Loss of each member on each window, (M, N); where it has no forecast, the worst loss of those that have one."""
    able = np.asarray(np.isfinite(forecasts).all(axis=(2, 3)))
    losses = np.stack([actuals.losses(metric, np.where(np.isfinite(made), made, 0.0)) for made in forecasts])
    worst = np.where(able, losses, -np.inf).max(axis=0)
    return np.where(able, losses, np.where(np.isfinite(worst), worst, 0.0))


def blended_losses(forecasts: Floats, actuals: Actuals, metric: OptimizationMetric) -> Floats:
    """Loss of each member on each window, (M, N): the metric's, averaged with the median's error where it is of quantiles."""
    losses = member_losses(forecasts, actuals, metric)
    if metric != DEFAULT_METRIC:
        return losses
    errors = member_losses(forecasts, actuals, "WAPE")
    return np.asarray(losses ** (1 - MEDIAN_SHARE) * errors**MEDIAN_SHARE)


def exponential_weights(losses: Floats) -> Floats:
    """Weights (M,) of the members' pooled losses (M,): exp(-15 (loss / least - 1)), summing to 1."""
    least = max(float(losses.min()), _LEAST_LOSS)
    weights = np.exp(-SHARPNESS * (losses / least - 1))
    return np.asarray(weights / weights.sum())


def pooled_weights(
    forecasts: Floats,
    actuals: Actuals,
    metric: OptimizationMetric,
    prior: Floats,
    penalties: Floats | None = None,
    votes: Floats | None = None,
    items: NDArray[np.intp] | None = None,
    *,
    seasonal: bool = True,
) -> Floats:
    """Weights (M,) for all series: see the module.

    Args:
        forecasts: (M, N, horizon, LEVELS).
        actuals: of the N windows; with none, the prior weights are returned.
        metric: to be lowered.
        prior: weights before anything was seen, (M,), summing to 1.
        penalties: relative loss that each member's cost has to be worth, (M,).
        votes: what each member counts before anything tells them apart, (M,); all alike if not given.
        items: number of each window's item, (N,); each is another one's if not given.
        seasonal: whether series may have a season.
    """
    if not len(actuals) or not actuals.denominators(metric).sum() > 0:
        return prior
    parts = _loss_parts(forecasts, actuals, metric, seasonal=seasonal)
    worth = 1.0 if penalties is None else 1 + penalties
    drawn = _resamples(np.arange(len(actuals)) if items is None else items)
    alone = np.mean([exponential_weights(worth * _pooled(parts, counts)) for counts in drawn], axis=0)
    if votes is not None:
        alone = alone * votes / (alone * votes).sum()
    trust = len(actuals) / (len(actuals) + PRIOR_WINDOWS)
    # In logarithms: what fails by far on a few windows gets nothing, however well it is thought of.
    shrunk = alone**trust * np.maximum(prior, _LEAST_PRIOR) ** (1 - trust)
    return pruned(shrunk / shrunk.sum())


def with_more_of(
    place: int,
    weights: Floats,
    forecasts: Floats,
    actuals: Actuals,
    metric: OptimizationMetric,
    items: NDArray[np.intp],
    *,
    seasonal: bool = True,
) -> Floats:
    """The weights (M,) with as much of one member mixed in as the combination is best with.

    Args:
        place: of the member.
        weights: (M,), summing to 1.
        forecasts: (M, N, horizon, LEVELS).
        actuals: of the N windows; with none, the weights are returned.
        metric: to be lowered.
        items: number of each window's item, (N,).
        seasonal: whether series may have a season.
    """
    if not len(actuals) or not actuals.denominators(metric).sum() > 0:
        return weights
    combined = combine(forecasts, weights)
    usable = np.isfinite(forecasts[place]).all(axis=(1, 2)) & np.isfinite(combined).all(axis=(1, 2))
    if not usable.any():
        return weights
    rows = np.flatnonzero(usable)
    apart = forecasts[place, rows] - combined[rows]
    tried = np.stack([combined[rows] + share * apart for share in _SHARES])
    parts = _loss_parts(tried, actuals.take(rows), metric, seasonal=seasonal)
    credit = 1 - _CREDIT * np.array(_SHARES)
    best = [_SHARES[int((credit * _pooled(parts, counts)).argmin())] for counts in _resamples(items[rows])]
    share = float(np.mean(best)) * len(rows) / (len(rows) + _SHARE_PRIOR)
    mixed = (1 - share) * weights
    mixed[place] += share
    return pruned(mixed)


def _loss_parts(
    forecasts: Floats, actuals: Actuals, metric: OptimizationMetric, *, seasonal: bool
) -> list[tuple[Floats, float]]:
    """Losses (M, N) that a member's pooled one is of, and their shares: see the module."""
    losses = member_losses(forecasts, actuals, metric)
    parts = [(losses, 0.5), (_losses_alike(losses), 0.5)]
    if metric != DEFAULT_METRIC:
        return parts
    errors = member_losses(forecasts, actuals, "WAPE")
    of_median = _losses_alike(errors) * (1.0 if seasonal else _hardness(errors, actuals.scale))
    return [*((part, (1 - MEDIAN_SHARE) * share) for part, share in parts), (of_median, MEDIAN_SHARE)]


def _typical(losses: Floats) -> Floats:
    """The members' median loss on each window, (N,), above zero."""
    typical = np.median(losses, axis=0)
    return np.maximum(typical, max(1e-6 * float(typical.mean()), _LEAST_LOSS))


def _losses_alike(losses: Floats) -> Floats:
    """Losses (M, N) of the members beside the typical ones, where all windows count alike."""
    return np.minimum(losses / _typical(losses), _MOST_TIMES)


def _hardness(errors: Floats, scale: Floats) -> Floats:
    """How hard each window was, (N,): the members' typical error (M, N) beside what the series usually changes (N,); bounded.

    Windows of which that isn't known count as the median one.
    """
    known = np.isfinite(scale) & (scale > 0)
    if not known.any():
        return np.ones(len(scale))
    hardness = _typical(errors) / np.where(known, scale, 1.0)
    median = float(np.median(hardness[known]))
    return np.minimum(np.where(known, hardness, median), _HARDEST * median)


def _pooled(parts: Sequence[tuple[Floats, float]], counts: Floats) -> Floats:
    """Geometric mean (M,) of several losses (M, N), by their shares, each summed over windows that count so much, (N,)."""
    result = np.ones(len(parts[0][0]))
    for losses, share in parts:
        total = (losses * counts).sum(axis=1)
        result *= (total / max(float(total.min()), _LEAST_LOSS)) ** share
    return result


def _resamples(items: NDArray[np.intp]) -> Iterator[Floats]:
    """How often each window (N,) is drawn, with all of its item; alone, where there is one item."""
    numbers, places = np.unique(items, return_inverse=True)
    drawn_from = len(numbers)
    if drawn_from < 2:
        drawn_from, places = len(items), np.arange(len(items))
    rng = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        yield np.bincount(rng.integers(0, drawn_from, drawn_from), minlength=drawn_from)[places].astype(np.float64)


def relative_logs(losses: Floats) -> Floats:
    """Logarithms of the members' losses (M, N) beside the median member's, as far as they differ between windows.

    They are cut off: one window on which a member failed says little about the next.
    """
    logs = np.log(np.maximum(losses, _LEAST_LOSS))
    relative = np.clip(logs - np.median(logs, axis=0), -_MOST_DIFFERENCE, _MOST_DIFFERENCE)
    return np.asarray(relative - relative.mean(axis=1, keepdims=True))


def item_weights(
    losses: Floats, items: NDArray[np.intp], pooled: Floats, expected: Floats | None = None
) -> tuple[Floats, float]:
    """Weights of each item, and how much of its own losses an item is trusted with.

    Args:
        losses: of the members on the windows, (M, N).
        items: number of each window's item, from 0, (N,).
        pooled: pooled weights (M,); a member without one gets none.
        expected: what of the windows' `relative_logs` something else says, (members with a weight, N); nothing if not given.

    Returns:
        (items, M), and the trust, from 0 (all items have the pooled weights) to 1.
    """
    count = int(items.max()) + 1 if len(items) else 0
    used = pooled > 0
    even = np.broadcast_to(pooled, (count, len(pooled))).copy()
    windows = np.bincount(items, minlength=count).astype(np.float64)
    if count < 2 or used.sum() < 2 or windows.max(initial=0) < 2:
        return even, 0.0
    relative = relative_logs(losses[used]) - (0.0 if expected is None else expected)
    means = np.stack([np.bincount(items, row, count) for row in relative]) / windows
    within = ((relative - means[:, items]) ** 2).sum() / max(1.0, float((windows - 1).clip(0).sum()) * used.sum())
    between = (means**2).mean()
    chance = within * (1 / windows).mean()
    own = max(0.0, float(between - chance))
    if own <= 0:
        return even, 0.0
    trust = own / (own + within / windows)  # of each item, by its number of windows
    tilt = np.exp(-ITEM_SHARPNESS * (means * trust))
    tilted = pooled[used, None] * tilt
    even[:, used] = (tilted / tilted.sum(axis=0)).T
    return even, float(trust.mean())


def affordable(weights: Floats, costs: Floats, budget: float) -> Floats:
    """The weights (M,) with members left out until what they cost together is within a budget.

    Left out is always the member with the least weight for its cost; one member stays whatever it costs.
    """
    kept = weights.copy()
    while (kept > 0).sum() > 1 and costs[kept > 0].sum() > budget:
        worth = np.where(kept > 0, kept / np.maximum(costs, 1e-6), np.inf)
        kept[int(worth.argmin())] = 0.0
    return np.asarray(kept / kept.sum())


def pruned(weights: Floats) -> Floats:
    """The weights (..., M) without negligible ones, summing to 1."""
    least = np.minimum(NEGLIGIBLE, weights.max(axis=-1, keepdims=True))
    kept = np.where(weights >= least, weights, 0.0)
    return np.asarray(kept / kept.sum(axis=-1, keepdims=True))
