"""Processes that switch between regimes: levels that recur or change, calm and rough times, on and off.

Here belongs whatever is governed by a hidden state that holds for a while. All functions return (n, length).
"""

import numpy as np

from chronos_assets.kernelsynth import noise, seasons
from chronos_assets.kernelsynth.noise import Array

STATES = 3


def hidden_states(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return states (n, length) from 0 to `STATES` - 1, each held for 8 steps to the whole series on average."""
    rate = noise.log_uniform(rng, n, 1.0 / length, 0.125)
    changes = rng.random((n, length)) < rate
    changes[:, 0] = True
    last = np.maximum.accumulate(np.where(changes, np.arange(length), 0), axis=1)
    return np.take_along_axis(rng.integers(0, STATES, (n, length)), last, axis=1)


def switching(rng: np.random.Generator, n: int, length: int) -> Array:
    """Ornstein-Uhlenbeck processes whose mean and volatility depend on a hidden state, some with a season on top."""
    state = hidden_states(rng, n, length)
    mean = np.take_along_axis(rng.standard_normal((n, STATES)), state, axis=1) * (rng.random((n, 1)) < 0.7)
    volatility = np.take_along_axis(np.exp(rng.normal(0.0, 0.8, (n, STATES))), state, axis=1)
    keep = 1.0 - noise.log_uniform(rng, n, 0.004, 0.9)
    shocks = noise.log_uniform(rng, n, 0.03, 1.0) * volatility * noise.white(rng, n, length)
    values = noise.decaying_sum((1.0 - keep) * mean + np.sqrt(1.0 - keep**2) * shocks, keep)
    cyclic = (rng.random((n, 1)) < 0.5) * rng.uniform(0.1, 2.0, (n, 1)) * seasons.season(rng, n, length, 0.2)
    return values + cyclic + 0.02 * noise.white(rng, n, length)
