"""Deterministic slow movement: straight, bent, growing, damped and saturating trends.

Here belongs whatever has a direction. All functions return float arrays of shape (n, length).
"""

import numpy as np

from chronos_assets.kernelsynth.noise import Array


def trend(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return `n` trends that span about one unit: linear, bent at random places, damped, or S-shaped."""
    time = np.linspace(0.0, 1.0, length)
    linear = np.broadcast_to(time, (n, length))
    bent = np.zeros((n, length))
    for _ in range(4):
        bent += rng.standard_normal((n, 1)) * np.maximum(time - rng.random((n, 1)), 0.0)
    damped = -np.expm1(-rng.uniform(0.5, 6.0, (n, 1)) * time)
    s_shaped = 1.0 / (1.0 + np.exp(-rng.uniform(4.0, 30.0, (n, 1)) * (time - rng.uniform(0.0, 1.2, (n, 1)))))
    kind = rng.integers(4, size=(n, 1))
    shape = np.select([kind == 0, kind == 1, kind == 2], [linear, bent, damped], s_shaped)
    return np.asarray(shape * rng.choice([-1.0, 1.0], (n, 1)))


def growth(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return positive factors starting at 1 that grow or shrink exponentially, by up to e^2 over the series."""
    rate = rng.normal(0.3, 0.8, (n, 1)).clip(-2.0, 2.0)
    return np.exp(rate * np.linspace(0.0, 1.0, length))


def steps(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return levels that start at 0 and jump by about one unit at one to three random places, to stay there."""
    level = np.zeros((n, length))
    for number in range(3):
        present = (rng.random((n, 1)) < 0.4) | (number == 0)
        level += present * rng.standard_normal((n, 1)) * (np.arange(length) >= rng.integers(0, length, (n, 1)))
    return level
