"""The ways in which real series are spoilt: outliers, level shifts, missing stretches, floors, caps and rounding.

Here belongs whatever happens to a series after its process. Every function takes and returns (n, length).
"""

import numpy as np

from chronos_assets.kernelsynth.noise import Array


def with_outliers(rng: np.random.Generator, values: Array, rate: float = 0.01) -> Array:
    """Add isolated spikes of 2 to 8 standard deviations at a row's own rate, at most `rate` per step."""
    scale = values.std(axis=1, keepdims=True)
    hit = rng.random(values.shape) < rate * rng.random((len(values), 1))
    size = rng.uniform(2.0, 8.0, values.shape) * np.where(rng.random(values.shape) < 0.7, 1.0, -1.0)
    return np.asarray(values + hit * size * scale)


def with_level_shifts(rng: np.random.Generator, values: Array, most: int = 3) -> Array:
    """Add 1 to `most` steps up or down, each of about one standard deviation."""
    length = values.shape[1]
    scale = values.std(axis=1, keepdims=True)
    shifted = values.copy()
    for number in range(most):
        present = (rng.random((len(values), 1)) < 0.5) | (number == 0)
        start = rng.integers(0, length, (len(values), 1))
        shifted += present * scale * rng.standard_normal((len(values), 1)) * (np.arange(length) >= start)
    return shifted


def with_floor_or_cap(rng: np.random.Generator, values: Array) -> Array:
    """Cut each row off below or above a random quantile, as a capacity or an empty shelf does."""
    low = np.quantile(values, rng.uniform(0.0, 0.5), axis=1, keepdims=True)
    high = np.quantile(values, rng.uniform(0.7, 1.0), axis=1, keepdims=True)
    side = rng.random((len(values), 1))
    return np.asarray(np.where(side < 0.7, np.maximum(values, low), np.minimum(values, high)))


def with_rounding(rng: np.random.Generator, values: Array) -> Array:
    """Round each row to 3 to 50 steps per standard deviation, as meters and integer records do."""
    unit = values.std(axis=1, keepdims=True) / np.exp(rng.uniform(np.log(3.0), np.log(50.0), (len(values), 1))) + 1e-9
    return np.asarray(np.rint(values / unit) * unit)


def missing_mask(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return a boolean mask (n, length), true where a value is lost: single values, and whole stretches."""
    scattered = rng.random((n, length)) < rng.uniform(0.0, 0.3, (n, 1)) * (rng.random((n, 1)) < 0.5)
    start = rng.integers(0, length, (n, 1))
    stretch = (rng.random((n, 1)) ** 2 * 0.3 * length).astype(int)
    position = np.arange(length)
    lost: Array = scattered | ((position >= start) & (position < start + stretch))
    return lost
