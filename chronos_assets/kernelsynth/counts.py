"""Series of counts: demand driven by a rate, from busy shops to parts that sell twice a year.

Here belongs whatever takes whole, non-negative values. All functions return float arrays of shape (n, length).
"""

import numpy as np

from chronos_assets.kernelsynth.noise import Array, log_uniform, smooth_walk
from chronos_assets.kernelsynth.seasons import calendar, season
from chronos_assets.kernelsynth.trends import growth


def rate(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return positive rates (n, length) with geometric mean near 1: seasonal, drifting, growing, or constant."""
    cyclic = np.where(rng.random((n, 1)) < 0.6, season(rng, n, length), calendar(rng, n, length))
    seasonal = cyclic * rng.uniform(0.0, 1.0, (n, 1)) * (rng.random((n, 1)) < 0.7)
    drift = 0.5 * smooth_walk(rng, n, length) * rng.random((n, 1)) * (rng.random((n, 1)) < 0.5)
    return np.asarray(np.exp((seasonal + drift).clip(-3.0, 3.0)) * growth(rng, n, length) ** (rng.random((n, 1)) < 0.3))


def counts(rng: np.random.Generator, n: int, length: int) -> Array:
    """Poisson and over-dispersed (negative binomial) counts with a mean of 0.3 to 1000 per step."""
    mean = rate(rng, n, length) * log_uniform(rng, n, 0.3, 1000.0)
    dispersion = log_uniform(rng, n, 0.5, 50.0)
    mixed = mean * rng.gamma(dispersion, 1.0 / dispersion, (n, length))
    return rng.poisson(np.where(rng.random((n, 1)) < 0.5, mean, mixed)).astype(float)


def intermittent(rng: np.random.Generator, n: int, length: int) -> Array:
    """Mostly zeros: demand comes with a probability of 2 to 60% per step, its size apart from its timing."""
    probability = log_uniform(rng, n, 0.02, 0.6) * rate(rng, n, length)
    occurs = rng.random((n, length)) < probability.clip(0.0, 0.95)
    size = 1.0 + rng.poisson(log_uniform(rng, n, 0.1, 30.0), (n, length))
    return occurs * size
