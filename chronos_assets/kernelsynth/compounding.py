"""Records that compound: sales, output and money, whose growth is itself a process and whose season swings with the level.

Here belong series of business and economy that are smooth enough for growth and season to be told apart in a few years.
Dividing by the last value, not by the mean, is what makes them predictable: a forecast must start where they end.
"""

import numpy as np

from chronos_assets.kernelsynth import noise, seasons
from chronos_assets.kernelsynth.noise import Array

PERIODS = (12, 4, 1, 52, 7, 6)
"""Steps in a season: months, quarters, none, weeks, days, two months."""

_SHARES = (0.4, 0.22, 0.25, 0.04, 0.06, 0.03)

MOST_GROWTH = 12.0
"""Range of a row's logarithm beyond which its growth is slowed down, where the row is short."""

MOST_GROWTH_OF_LONG = 4.0
"""The same for rows of more than `SHORT_ROW` steps, most of which would be flat beside their end otherwise."""

SHORT_ROW = 192


def compounding(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return growth times season times noise (n, length), on a level of 1 in the middle; half of the rows positive.

    The rate of growth has a lasting part, which may fade (a damped trend), and an autoregressive one (business cycles,
    momentum). A quarter of the short rows grows by 2 to 12% a year or the like all the time, as a few decades of yearly
    records do, which bend upwards more than anything long can. Noise is 0.05 to 10% of the level, of those rows a third
    of that, so that many rows are as good as free of it.
    """
    steady = (rng.random((n, 1)) < 0.25) & (length <= SHORT_ROW)
    period = rng.choice(PERIODS, (n, 1), p=_SHARES)
    period = np.where(steady & (rng.random((n, 1)) < 0.5), 1, period)
    yearly = np.where(period > 1, np.minimum(period, 12), 1)
    lasting = rng.normal(0.3, 1.0, (n, 1)) * noise.log_uniform(rng, n, 0.01, 0.4) / yearly
    pace = noise.log_uniform(rng, n, 0.02, 0.12) / np.sqrt(np.minimum(period, 12))
    lasting = np.where(steady, pace * np.where(rng.random((n, 1)) < 0.85, 1.0, -1.0), lasting)
    fading = np.where((rng.random((n, 1)) < 0.35) & ~steady, 1.0 - noise.log_uniform(rng, n, 0.005, 0.1), 1.0)
    persistence = np.where(rng.random((n, 1)) < 0.6, rng.uniform(-0.3, 0.98, (n, 1)), 0.0)
    moved = noise.log_uniform(rng, n, 0.0005, 0.05) * (rng.random((n, 1)) < 0.8)
    cycle = noise.decaying_sum(np.sqrt(1.0 - persistence**2) * moved * noise.white(rng, n, length), persistence)
    log_level = np.cumsum(lasting * fading ** np.arange(length) + cycle, axis=1)
    most = MOST_GROWTH if length <= SHORT_ROW else MOST_GROWTH_OF_LONG
    log_level *= np.minimum(1.0, most / (np.ptp(log_level, axis=1, keepdims=True) + 1e-9))
    log_level -= log_level[:, [length // 2]]

    phase = (np.arange(length) + rng.integers(0, 365, (n, 1))) / period
    season = seasons.read_profile(seasons.profiles(rng, n), phase) * (period > 1) * (rng.random((n, 1)) < 0.8)
    season *= noise.log_uniform(rng, n, 0.01, 0.5)
    season *= np.exp(0.3 * noise.smooth_walk(rng, n, length) * (rng.random((n, 1)) < 0.25))
    rough = noise.log_uniform(rng, n, 0.0005, 0.1) * noise.white(rng, n, length)
    rough *= np.where(steady, 1.0 / 3.0, 1.0)
    product = np.exp((log_level + season + rough).clip(-8.0, 8.0))
    total = 1.0 + log_level + season + rough
    values: Array = np.where(rng.random((n, 1)) < 0.6, product, total)
    return values
