"""Training windows: a context and the steps that follow it, augmented, in the units a network sees.

Here belongs everything between a family's series and a model's input. A window's values are a pure function of the
seed, so that training can be resumed at any step without storing data.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chronos_assets.kernelsynth import rates, realism
from chronos_assets.kernelsynth.noise import Array

TARGET_LIMIT = 20.0
"""Targets are cut at this many standard deviations of the context, so that one jump cannot rule a batch."""

WEIGHT_FLOOR = 0.02
"""Error, in deviations of the context, below which a step's weight grows no further."""

NEAR_STEPS = 32
"""Steps ahead at which a step counts half as much as the first: most are asked for a few, not for all."""

PATCH = 64
"""The patch of the bundled model: series are padded to the next multiple of it, unless others in the batch are longer."""

SHORTEST_HISTORY = 8
"""Least number of observed steps in a context."""


@dataclass(frozen=True)
class Windows:
    """A batch of standardised windows.

    Attributes:
        context: float32 (n, context_length), NaN where missing and to the left of a short history; every row has
            mean 0 and standard deviation 1 over what is observed.
        target: float32 (n, horizon), in the same units, NaN where missing.
        weight: float32 (n, horizon), mean 1; what each step counts in the loss, from the row's context alone.
    """

    context: Array
    target: Array
    weight: Array


def training_windows(
    seed: tuple[int, ...],
    weights: Mapping[str, float],
    n: int,
    context_length: int,
    horizon: int,
    *,
    missing: bool = True,
) -> Windows:
    """Return `n` windows of the mixture `weights`, fixed by `seed`.

    Args:
        seed: entropy of the batch, such as (seed of the run, step).
        weights: relative frequency of each family, by name.
        n: number of windows.
        context_length: steps of context; a part of the rows has a shorter history, padded with NaN on the left.
        horizon: steps of target.
        missing: whether some rows lose values.
    """
    rng = np.random.default_rng(seed)
    values = _flipped(rng, rates.draw(rng, weights, n, context_length + horizon))
    context, target = values[:, :context_length].copy(), values[:, context_length:].copy()

    history = history_lengths(rng, n, context_length)
    context[np.arange(context_length) < (context_length - history)[:, None]] = np.nan
    if missing:
        gappy = np.flatnonzero((rng.random(n) < 0.08) & (history >= 4 * SHORTEST_HISTORY))
        lost = realism.missing_mask(rng, gappy.size, context_length + horizon)
        context[gappy] = np.where(lost[:, :context_length], np.nan, context[gappy])
        target[gappy] = np.where(lost[:, context_length:], np.nan, target[gappy])
    return standardise(context, target)


def history_lengths(rng: np.random.Generator, n: int, context_length: int) -> Array:
    """Return how many steps before the target each row has observed, (n,): at least `SHORTEST_HISTORY` where they fit.

    A part fills the context, a part ends within its first patch, as a series that is padded by its own length alone does,
    and the others have any length, as one in a batch with longer ones does.
    """
    shortest = min(SHORTEST_HISTORY, context_length)
    padded = rng.integers(max(context_length - PATCH + 1, shortest), context_length + 1, n)
    anything = np.exp(rng.uniform(np.log(shortest), np.log(context_length), n)).astype(int)
    kind = rng.choice(3, n, p=[0.35, 0.35, 0.3])
    return np.select([kind == 0, kind == 1], [np.full(n, context_length), padded], anything)


def standardise(context: Array, target: Array) -> Windows:
    """Scale `context` (n, c) and `target` (n, h) by the mean and deviation of each context, and weigh the steps.

    A context that is constant, or lost but for a step or two, gives no scale: such rows get weight 0.
    """
    observed = ~np.isnan(context)
    count = np.maximum(observed.sum(axis=1, keepdims=True), 1)
    loc = np.where(observed, context, 0.0).sum(axis=1, keepdims=True) / count
    centred = np.where(observed, context - loc, 0.0)
    scale = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    usable = (scale > 1e-6 * (np.abs(loc) + 1e-6)) & (count > 2)
    scale = np.where(usable, scale, 1.0)
    standard = centred / scale
    nearness = 1.0 / (1.0 + np.arange(target.shape[1]) / NEAR_STEPS)
    attainable = attainable_error(standard, observed, target.shape[1])
    weight = np.where(usable, nearness / (WEIGHT_FLOOR + attainable), 0.0)
    return Windows(
        context=np.where(observed, standard, np.nan).astype(np.float32),
        target=((target - loc) / scale).clip(-TARGET_LIMIT, TARGET_LIMIT).astype(np.float32),
        weight=(weight / max(weight.mean(), 1e-9)).astype(np.float32),
    )


def attainable_error(standard: Array, observed: Array, horizon: int) -> Array:
    """Return (n, horizon): how far off the best moved repetition of the past is, as a root mean square, by steps ahead.

    `standard` (n, c) is standardised with 0 where `observed` (n, c) is false. `h` steps ahead, the past can be repeated at
    any lag of at least `h`, moved by what that lag changes on average, and the one that did best inside the context
    counts: in all of it, or in its later half, since a jump or a bend long ago says nothing of what is known now. A clean
    season or a straight line so has a small error at every step, a random walk one that grows with the steps. Cut to [0, 1].
    """
    later = standard.shape[1] // 2
    best = np.minimum(
        _reaching_error(standard, observed, horizon), _reaching_error(standard[:, later:], observed[:, later:], horizon)
    )
    return np.asarray(np.sqrt(best.clip(0.0, 1.0)))


def _reaching_error(standard: Array, observed: Array, horizon: int) -> Array:
    """Return (n, horizon): the least moved error of the lags from 1, 2, ... `horizon` on; inf where there is none."""
    error = lag_errors(standard, observed, moved=True)
    # From the longest lag down: the best of all lags that reach as far.
    reaching = np.minimum.accumulate(error[:, ::-1], axis=1)[:, ::-1][:, 1 : horizon + 1]
    missing = ((0, 0), (0, horizon - reaching.shape[1]))
    return np.pad(reaching, missing, constant_values=np.inf)


def lag_errors(standard: Array, observed: Array, *, moved: bool = False) -> Array:
    """Return the mean squared difference (n, max(c // 2, 2)) between a row and itself, by lag from 0; inf if unknown.

    A lag seen through few pairs says little, and counts as unknown. With `moved` the mean difference does not count:
    what grows steadily repeats itself on another level.
    """
    length = standard.shape[1]
    present = observed.astype(float)
    product = _lagged_products(standard, standard)
    pairs = np.maximum(_lagged_products(present, present), 1.0)
    energy = _lagged_products(standard**2, present) + _lagged_products(present, standard**2)
    error = (energy - 2.0 * product) / pairs
    if moved:
        change = (_lagged_products(present, standard) - _lagged_products(standard, present)) / pairs
        error = error - change**2
    error = error.clip(0.0, None)
    enough = pairs >= np.maximum(3.0, 0.25 * present.sum(axis=1, keepdims=True))
    return np.where(enough, error, np.inf)[:, : max(length // 2, 2)]


def best_repeat(standard: Array, observed: Array, horizon: int) -> Array:
    """Return, per row, the lag (n,) whose repetition fits best over `horizon` steps inside the context.

    A lag shorter than the horizon counts with its multiples, as a seasonal naive forecast would repeat it.
    """
    error = lag_errors(standard, observed)
    for lag in range(1, min(horizon, error.shape[1])):
        # Longer lags are still untouched when a shorter one is averaged with its multiples.
        error[:, lag] = error[:, lag : lag * -(-horizon // lag) + 1 : lag].mean(axis=1)
    return np.asarray(1 + error[:, 1:].argmin(axis=1))


def repeat_forecast(context: Array, horizon: int) -> Array:
    """Return float32 (n, horizon): the last cycle of each row of a standardised `context`, repeated.

    Missing values are taken as the mean, 0.
    """
    observed = ~np.isnan(context)
    values = np.where(observed, context, 0.0)
    lag = best_repeat(values, observed, horizon)
    position = context.shape[1] - lag[:, None] + np.arange(horizon) % lag[:, None]
    return np.take_along_axis(values, position, axis=1).astype(np.float32)


def _lagged_products(left: Array, right: Array) -> Array:
    """Return sums over t of left[t] * right[t + lag] for every lag >= 0, each (n, length)."""
    length = left.shape[1]
    spectrum = np.conj(np.fft.rfft(left, 2 * length)) * np.fft.rfft(right, 2 * length)
    products: Array = np.fft.irfft(spectrum, 2 * length)[:, :length]
    return products


def _flipped(rng: np.random.Generator, values: Array) -> Array:
    """Turn some rows upside down, and a few back to front."""
    values = values * np.where(rng.random((len(values), 1)) < 0.15, -1.0, 1.0)
    back = rng.random((len(values), 1)) < 0.05
    return np.where(back, values[:, ::-1], values)
