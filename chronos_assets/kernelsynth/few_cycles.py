"""Records of few cycles: quarters, months and years of which a decade is known, and whose season moves as they grow.

Here belong series that are too short for a cycle to be averaged out. What a forecast must learn from them is how much of a
difference between two cycles is growth, how much a season that changes, a level that has shifted, or noise, and that growth
seldom lasts.
"""

import numpy as np

from chronos_assets.kernelsynth import noise, smoothing, trends
from chronos_assets.kernelsynth.noise import Array

PERIODS = (4, 12, 1, 6, 7, 52, 3, 2, 24)
"""Steps in a season: quarters, months, none, two months, days of a week, weeks, four months, halves of a year, hours."""

_SHARES = (0.37, 0.32, 0.14, 0.03, 0.04, 0.03, 0.02, 0.02, 0.03)

MOST_GROWTH = 4.0
"""Range of a row's logarithm beyond which its growth is slowed down."""


def few_cycles(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return levels times, or plus, seasons and noise (n, length), on a level of 1 in the middle.

    Growth fades, turns or lasts; a third of the levels shift once or more; most wander. Half of the seasons are moved by
    shocks of their own, a third swells or shrinks over the whole. Three fifths of the rows swing in proportion to their
    level, the others by a power of it from 0 to 1.
    """
    period = rng.choice(PERIODS, n, p=_SHARES)
    yearly = np.minimum(period, 12)[:, None]
    log_level = _growth(rng, n, length, yearly)
    shifted = (rng.random((n, 1)) < 0.35) * noise.log_uniform(rng, n, 0.03, 0.6)
    log_level += shifted * trends.steps(rng, n, length)
    wandering = (rng.random((n, 1)) < 0.75) * noise.log_uniform(rng, n, 0.003, 0.15) / np.sqrt(yearly)
    log_level += wandering * np.cumsum(noise.white(rng, n, length), axis=1)
    log_level *= np.minimum(1.0, MOST_GROWTH / (np.ptp(log_level, axis=1, keepdims=True) + 1e-9))
    log_level -= log_level[:, [length // 2]]

    moves = (rng.random((n, 1)) < 0.5) * noise.log_uniform(rng, n, 0.003, 0.08) * noise.white(rng, n, length)
    season = smoothing.season_states(rng, period, moves * (period > 1)[:, None])
    swelling = (rng.random((n, 1)) < 0.35) * rng.normal(0.0, 0.5, (n, 1)) * np.linspace(-1.0, 1.0, length)
    season *= np.exp(swelling)
    kept = np.where(rng.random((n, 1)) < 0.4, rng.uniform(-0.4, 0.8, (n, 1)), 0.0)
    rough = noise.log_uniform(rng, n, 0.003, 0.25) * noise.decaying_sum(noise.white(rng, n, length), kept)

    power = np.where(rng.random((n, 1)) < 0.6, 1.0, rng.uniform(0.0, 1.0, (n, 1)))
    level = np.exp(log_level)
    product = level * np.exp((season + rough).clip(-4.0, 4.0))
    total = level + level**power * (season + rough)
    return np.asarray(np.where((power == 1.0) & (rng.random((n, 1)) < 0.7), product, total))


def _growth(rng: np.random.Generator, n: int, length: int, yearly: Array) -> Array:
    """Return the logarithm of levels (n, length) whose growth lasts, fades from some step on, or turns at one.

    `yearly` (n, 1) is how many steps a year has, in which a level grows by some per cent.
    """
    time = np.arange(length)
    pace = rng.normal(0.02, 0.07, (n, 1)) / yearly * (rng.random((n, 1)) < 0.85)
    other = rng.normal(0.0, 0.06, (n, 1)) / yearly
    start = rng.integers(0, length, (n, 1))
    since = np.maximum(time - start, 0)
    fading = pace * np.exp(-since / (yearly * noise.log_uniform(rng, n, 0.5, 8.0)))
    turning = np.where(since > 0, other, pace)
    kind = rng.choice(3, (n, 1), p=[0.3, 0.45, 0.25])
    return np.cumsum(np.select([kind == 0, kind == 1], [np.broadcast_to(pace, fading.shape), fading], turning), axis=1)
