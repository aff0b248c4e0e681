"""Events: pulses with a rise, a top and a fall, that come by the clock or by chance, and outages.

Here belongs whatever happens at moments and lasts for a while. All functions return (n, length).
"""

import numpy as np

from chronos_assets.kernelsynth import noise, seasons
from chronos_assets.kernelsynth.noise import Array


def pulses(rng: np.random.Generator, n: int, length: int) -> Array:
    """Trains of trapezoid or decaying pulses over a quiet background: machines, promotions, showers of rain."""
    background = noise.log_uniform(rng, n, 0.005, 0.3) * noise.white(rng, n, length)
    background += (rng.random((n, 1)) < 0.3) * rng.uniform(0.1, 0.6, (n, 1)) * seasons.season(rng, n, length)
    return background + shaped(rng, arrivals(rng, n, length), longest=max(length // 8, 4))


def arrivals(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return the heights (n, length) of events where one starts, else 0: half of the rows by the clock, half by chance.

    Clocks are those of `seasons.periods`; a part of them miss ticks. Heights are constant or lognormal.
    """
    period = seasons.periods(rng, n, 0.55 * length)[:, None]
    ticks = np.floor((np.arange(length) + rng.uniform(0.0, 400.0, (n, 1))) / period)
    clock = np.diff(ticks, axis=1, prepend=ticks[:, :1]) > 0
    clock &= rng.random((n, length)) < np.where(rng.random((n, 1)) < 0.5, 1.0, rng.uniform(0.5, 1.0, (n, 1)))
    chance = rng.random((n, length)) < noise.log_uniform(rng, n, min(2.0 / length, 0.1), 0.1)
    heights = np.exp(rng.uniform(0.0, 0.8, (n, 1)) * (rng.random((n, 1)) < 0.6) * rng.standard_normal((n, length)))
    return heights * np.where(rng.random((n, 1)) < 0.5, clock, chance)


def shaped(rng: np.random.Generator, heights: Array, longest: int) -> Array:
    """Give every event of a row, heights (n, length), that row's shape: up to `longest` steps of rise, top and fall."""
    n, length = heights.shape
    step = np.arange(length)
    rise, top, fall = np.exp(rng.uniform(0.0, np.log(longest), (3, n, 1))) * (rng.random((3, n, 1)) < 0.7)
    ends = rise + top
    linear = np.where(step < ends, 1.0, 1.0 - (step - ends) / np.maximum(fall, 1.0))
    decaying = np.where(step < ends, 1.0, np.exp(-np.maximum(step - ends, 0.0) / np.maximum(fall, 0.3)))
    shape = np.where(rng.random((n, 1)) < 0.5, linear, decaying)
    shape = np.minimum(shape, (step + 1.0) / (rise + 1.0)).clip(0.0, 1.0)
    spectrum = np.fft.rfft(heights, 2 * length) * np.fft.rfft(shape, 2 * length)
    values: Array = np.fft.irfft(spectrum, 2 * length)[:, :length]
    return values


def with_outages(rng: np.random.Generator, values: Array) -> Array:
    """Hold each row, (n, length), for up to three stretches at the last value before, or at its lowest."""
    n, length = values.shape
    position = np.arange(length)
    for number in range(3):
        start = rng.integers(0, length, (n, 1))
        steps = noise.log_uniform(rng, n, 2.0, max(length / 6, 3.0))
        out = (position >= start) & (position < start + steps) & ((rng.random((n, 1)) < 0.5) | (number == 0))
        held = np.take_along_axis(values, np.maximum(start - 1, 0), axis=1)
        lowest = values.min(axis=1, keepdims=True)
        values = np.where(out, np.where(rng.random((n, 1)) < 0.5, held, lowest), values)
    return values
