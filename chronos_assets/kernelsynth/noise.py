"""Stochastic components: white, coloured and clustered noise, random walks, autoregressions, chaotic maps.

Here belongs whatever is drawn independently at every step. All functions return float arrays of shape (n, length).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def log_uniform(rng: np.random.Generator, n: int, low: float, high: float) -> Array:
    """Numbers between two others, (n, 1), their logarithms evenly spread."""
    return np.exp(rng.uniform(np.log(low), np.log(high), (n, 1)))


def white(rng: np.random.Generator, n: int, length: int) -> Array:
    """White noise of unit scale: Gaussian in most rows, heavy-tailed (Student t, 3 to 10 degrees) in the others."""
    values = rng.standard_normal((n, length))
    heavy = np.flatnonzero(rng.random(n) < 0.3)
    degrees = rng.uniform(3.0, 10.0, (heavy.size, 1))
    values[heavy] /= np.sqrt(rng.chisquare(degrees, (heavy.size, length)) / degrees)
    return values


def standardised(values: Array) -> Array:
    """Return the rows of `values` (n, length) with mean 0 and standard deviation 1 (constant rows become 0)."""
    centred = values - values.mean(axis=1, keepdims=True)
    return np.asarray(centred / (centred.std(axis=1, keepdims=True) + 1e-9))


def coloured(rng: np.random.Generator, n: int, length: int, exponent: Array) -> Array:
    """Noise whose power falls as frequency**-exponent, standardised; `exponent` has shape (n, 1).

    0 is white, 1 is flicker, 2 is like a random walk. Twice the length is made and half kept, so that the end of a
    series does not join its start.
    """
    bins = np.arange(1, length + 1)
    spectrum = rng.standard_normal((n, length)) + 1j * rng.standard_normal((n, length))
    spectrum *= bins ** (-exponent / 2)
    full = np.fft.irfft(np.concatenate([np.zeros((n, 1)), spectrum], axis=1), n=2 * length, axis=1)
    return standardised(full[:, :length])


def smooth_walk(rng: np.random.Generator, n: int, length: int) -> Array:
    """A slowly wandering curve of unit scale, for what drifts: amplitude, phase, level."""
    return coloured(rng, n, length, rng.uniform(2.0, 3.5, (n, 1)))


def decaying_sum(values: Array, keep: Array) -> Array:
    """Return x (n, length) with x[t] = keep * x[t - 1] + values[t]: a first-order filter from 0.

    `values` is (n, length), `keep` (n, 1) from 0 to 1; at 1 it is the running sum.
    """
    length = values.shape[1]
    kernel = keep ** np.arange(length)
    total: Array = np.fft.irfft(np.fft.rfft(values, 2 * length) * np.fft.rfft(kernel, 2 * length), 2 * length)
    return total[:, :length]


def volatility(rng: np.random.Generator, n: int, length: int) -> Array:
    """Factors of unit mean square by which shocks grow and shrink for a while, as in markets, weather and demand.

    Their logarithms are stationary first-order autoregressions of a deviation of up to 0.8 that forget within 4 to 200
    steps; a quarter of the rows is 1 throughout.
    """
    keep = np.exp(-1.0 / log_uniform(rng, n, 4.0, 200.0))
    shocks = np.sqrt(1.0 - keep**2) * rng.standard_normal((n, length))
    shocks[:, :1] /= np.sqrt(1.0 - keep**2)
    size = rng.uniform(0.0, 0.8, (n, 1)) * (rng.random((n, 1)) < 0.75)
    return np.exp(size * decaying_sum(shocks, keep) - size**2)


def random_walk(rng: np.random.Generator, n: int, length: int) -> Array:
    """Random walks of unit steps, some with drift, some with volatility that clusters, as prices have."""
    steps = white(rng, n, length)
    clustered = rng.random((n, 1)) < 0.3
    steps = steps * np.where(clustered, np.exp(0.7 * smooth_walk(rng, n, length)), 1.0)
    drift = np.where(rng.random((n, 1)) < 0.4, 0.4 * rng.standard_normal((n, 1)), 0.0)
    return np.cumsum(steps + drift, axis=1)


def momentum(rng: np.random.Generator, n: int, length: int) -> Array:
    """Random walks whose steps are themselves autocorrelated: levels of prices, output and money, smooth to the eye."""
    exponent = rng.uniform(0.3, 2.5, (n, 1))
    steps = coloured(rng, n, length, exponent) + log_uniform(rng, n, 0.02, 1.0) * white(rng, n, length)
    return np.cumsum(steps + rng.standard_normal((n, 1)), axis=1)


def autoregression(rng: np.random.Generator, n: int, length: int) -> Array:
    """Second-order autoregressions with random stable roots, real or complex, standardised.

    A complex pair with modulus near 1 gives cycles that keep their period but lose their phase.
    """
    warmup = 100
    modulus = 1.0 - np.exp(rng.uniform(np.log(0.005), np.log(0.9), n))
    angle = np.where(rng.random(n) < 0.5, 2 * np.pi / np.exp(rng.uniform(np.log(3.0), np.log(60.0), n)), 0.0)
    other = np.where(angle > 0, modulus, rng.uniform(-0.5, 0.7, n))
    first = np.where(angle > 0, 2 * modulus * np.cos(angle), modulus + other)
    second = np.where(angle > 0, -(modulus**2), -modulus * other)
    shocks = white(rng, n, length + warmup).T
    values = np.zeros_like(shocks)
    for step in range(2, length + warmup):
        values[step] = first * values[step - 1] + second * values[step - 2] + shocks[step]
    return standardised(values[warmup:].T)


def chaotic_map(rng: np.random.Generator, n: int, length: int) -> Array:
    """Trajectories of the Lorenz or Roessler system, one coordinate, at a random sampling step; standardised."""
    lorenz = rng.random(n) < 0.5
    sampling = np.where(lorenz, rng.uniform(0.01, 0.03, n), rng.uniform(0.04, 0.15, n))
    state = rng.standard_normal((3, n))
    state[2] += np.where(lorenz, 20.0, 0.0)
    sigma, rho, beta = rng.uniform(8, 12, n), rng.uniform(24, 32, n), 8.0 / 3.0
    a, b, c = rng.uniform(0.1, 0.2, n), rng.uniform(0.1, 0.2, n), rng.uniform(4.0, 9.0, n)

    def slope(point: Array) -> Array:
        x, y, z = point
        return np.where(
            lorenz,
            np.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z]),
            np.stack([-y - z, x + a * y, b + z * (x - c)]),
        )

    warmup = 150
    kept = np.empty((length, n))
    for step in range(length + warmup):
        # The midpoint rule is enough: what matters is the look of the curve, not the true orbit.
        state = np.clip(state + sampling * slope(state + 0.5 * sampling * slope(state)), -100.0, 100.0)
        if step >= warmup:
            kept[step - warmup] = state[0]
    return standardised(kept.T)
