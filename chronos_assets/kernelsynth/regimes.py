"""Processes that switch between regimes: levels that recur or change, calm and rough times, on and off.

Here belongs whatever is governed by a hidden state that holds for a while. All functions return (n, length).
"""

import numpy as np

from chronos_assets.kernelsynth import noise, seasons
from chronos_assets.kernelsynth.noise import Array


def hidden_states(rng: np.random.Generator, n: int, length: int, number: int = 3) -> Array:
    """Return states (n, length) from 0 to `number` - 1, each held for 8 steps to the whole series on average."""
    rate = np.exp(rng.uniform(np.log(1.0 / length), np.log(0.125), (n, 1)))
    changes = rng.random((n, length)) < rate
    changes[:, 0] = True
    last = np.maximum.accumulate(np.where(changes, np.arange(length), 0), axis=1)
    return np.take_along_axis(rng.integers(0, number, (n, length)), last, axis=1)


def switching(rng: np.random.Generator, n: int, length: int) -> Array:
    """Ornstein-Uhlenbeck processes whose mean and volatility depend on a hidden state, some with a season on top."""
    state = hidden_states(rng, n, length)
    mean = np.take_along_axis(rng.standard_normal((n, 3)), state, axis=1) * (rng.random((n, 1)) < 0.7)
    volatility = np.take_along_axis(np.exp(rng.normal(0.0, 0.8, (n, 3))), state, axis=1)
    keep = 1.0 - np.exp(rng.uniform(np.log(0.004), np.log(0.9), (n, 1)))
    shocks = np.exp(rng.uniform(np.log(0.03), np.log(1.0), (n, 1))) * volatility * noise.white(rng, n, length)
    values = noise.decaying_sum((1.0 - keep) * mean + np.sqrt(1.0 - keep**2) * shocks, keep)
    cyclic = (rng.random((n, 1)) < 0.5) * rng.uniform(0.1, 2.0, (n, 1)) * seasons.season(rng, n, length, 0.2)
    return values + cyclic + 0.02 * noise.white(rng, n, length)
