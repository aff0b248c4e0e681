"""Records that compound: sales, output and money, whose growth is itself a process and whose season swings with the level.

Here belong series of business and economy that are smooth enough for growth and season to be told apart in a few years.
Dividing by the last value, not by the mean, is what makes them predictable: a forecast must start where they end.
"""

import numpy as np

from chronos_assets.kernelsynth import noise, seasons
from chronos_assets.kernelsynth.noise import Array

PERIODS = (12, 4, 1, 52, 7, 6)
"""Steps in a season: months, quarters, none, weeks, days, two months."""

_SHARES = (0.46, 0.24, 0.16, 0.05, 0.06, 0.03)

MOST_GROWTH = 4.0
"""Range of a row's logarithm beyond which its growth is slowed down."""


def compounding(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return growth times season times noise (n, length), on a level of 1 at the start; half of the rows positive.

    The rate of growth has a lasting part, which may fade (a damped trend), and an autoregressive one (business cycles,
    momentum). Noise is 0.05 to 10% of the level, so that many rows are as good as free of it.
    """
    period = rng.choice(PERIODS, (n, 1), p=_SHARES)
    yearly = np.where(period > 1, np.minimum(period, 12), 1)
    lasting = rng.normal(0.03, 1.0, (n, 1)) * _log_uniform(rng, n, 0.01, 0.4) / yearly
    fading = np.where(rng.random((n, 1)) < 0.35, 1.0 - _log_uniform(rng, n, 0.005, 0.1), 1.0)
    persistence = np.where(rng.random((n, 1)) < 0.6, rng.uniform(-0.3, 0.98, (n, 1)), 0.0)
    moved = _log_uniform(rng, n, 0.0005, 0.05) * (rng.random((n, 1)) < 0.8)
    cycle = noise.decaying_sum(np.sqrt(1.0 - persistence**2) * moved * noise.white(rng, n, length), persistence)
    log_level = np.cumsum(lasting * fading ** np.arange(length) + cycle, axis=1)
    log_level *= np.minimum(1.0, MOST_GROWTH / (np.ptp(log_level, axis=1, keepdims=True) + 1e-9))

    phase = (np.arange(length) + rng.integers(0, 365, (n, 1))) / period
    season = seasons.read_profile(seasons.profiles(rng, n), phase) * (period > 1) * (rng.random((n, 1)) < 0.8)
    season *= _log_uniform(rng, n, 0.01, 0.5)
    season *= np.exp(0.3 * noise.smooth_walk(rng, n, length) * (rng.random((n, 1)) < 0.25))
    rough = _log_uniform(rng, n, 0.0005, 0.1) * noise.white(rng, n, length)
    product = np.exp((log_level + season + rough).clip(-8.0, 8.0))
    total = 1.0 + log_level + season + rough
    values: Array = np.where(rng.random((n, 1)) < 0.6, product, total)
    return values


def _log_uniform(rng: np.random.Generator, n: int, low: float, high: float) -> Array:
    return np.exp(rng.uniform(np.log(low), np.log(high), (n, 1)))
