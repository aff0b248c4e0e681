"""Exponential smoothing as a process: level, damped trend and season, all moved by one and the same shock a step.

Here belong the innovations state space models of Hyndman et al. (2008), which business records are usually forecast by.
No step loops over time: levels and seasons are sums of shocks, a damped trend is a decaying sum of them.
"""

import numpy as np

from chronos_assets.kernelsynth import noise, seasons
from chronos_assets.kernelsynth.noise import Array

PERIODS = (1, 4, 12, 52, 7, 24, 6, 3)
"""Steps in a season: none, quarters, months, weeks, days, hours, two months, four months."""

_SHARES = (0.3, 0.2, 0.3, 0.04, 0.06, 0.06, 0.02, 0.02)


def exponential_smoothing(rng: np.random.Generator, n: int, length: int) -> Array:
    """Draw exponential smoothing processes, additive or of logarithms.

    The half of them that are of logarithms grow and swing in proportion to their level, as sales and money do.

    Returns:
        (n, length), on a level of 1 with shocks of 0.5 to 30% of it; positive for logarithms.
    """
    period = rng.choice(PERIODS, n, p=_SHARES)
    shock = noise.log_uniform(rng, n, 0.005, 0.3) * noise.white(rng, n, length)
    # A season's worth of steps moves a level about as far in any frequency.
    alpha = noise.log_uniform(rng, n, 0.02, 1.0)
    beta = alpha * noise.log_uniform(rng, n, 0.003, 0.3) * (rng.random((n, 1)) < 0.4)
    gamma = (1.0 - alpha) * noise.log_uniform(rng, n, 0.005, 0.3) * (rng.random((n, 1)) < 0.5)
    damping = np.where(rng.random((n, 1)) < 0.5, rng.uniform(0.8, 0.99, (n, 1)), 1.0)

    slope = noise.decaying_sum(beta * shock, damping)
    growth = rng.standard_normal((n, 1)) * np.minimum(0.08 / period, 4.0 / length)[:, None]
    slope += growth * (rng.random((n, 1)) < 0.65) * damping ** np.arange(length)
    level = np.cumsum(_before(alpha * shock) + damping * _before(slope), axis=1)
    values = level + season_states(rng, period, gamma * shock) + shock
    # Nothing grows more than 150-fold in a window.
    tamed = values * np.minimum(1.0, 5.0 / np.ptp(values, axis=1, keepdims=True))
    return np.asarray(np.where(rng.random((n, 1)) < 0.5, np.exp(tamed - tamed[:, :1]), 1.0 + values))


def season_states(rng: np.random.Generator, period: Array, moves: Array) -> Array:
    """Return seasons (n, length) that start from random profiles and are moved once a season at each of their steps.

    Args:
        rng: of the profiles and their strength, 2 to 60%.
        period: steps in each row's season, (n,); 1 is none.
        moves: what is added to a season's step, from its next turn on, (n, length).
    """
    n, length = moves.shape
    strength = noise.log_uniform(rng, n, 0.02, 0.6) * (period > 1)[:, None]
    phase = (np.arange(length) + rng.integers(0, 365, (n, 1))) / period[:, None]
    states = strength * seasons.read_profile(seasons.profiles(rng, n), phase)
    for steps in np.unique(period[period > 1]):
        rows = period == steps
        turns = -(-length // steps)
        padded = np.pad(moves[rows], ((0, 0), (steps, turns * steps - length)))[:, : turns * steps]
        states[rows] += np.cumsum(padded.reshape(-1, turns, steps), axis=1).reshape(len(padded), -1)[:, :length]
    return states


def _before(values: Array) -> Array:
    """Return `values` (n, length) a step later, with 0 first."""
    return np.pad(values, ((0, 0), (1, 0)))[:, :-1]
