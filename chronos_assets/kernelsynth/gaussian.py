"""Draws from Gaussian processes with composed kernels, after KernelSynth of the Chronos paper (Ansari et al., 2024).

Exact draws need a Cholesky factor, cubic in the length. A stationary kernel's draw is instead a sum of cosines whose
frequencies follow its spectral density (random Fourier features), linear in the length; sums and products of
kernels become sums and products of draws. A product of draws is not Gaussian, but has the product kernel's covariance.
"""

import numpy as np

from chronos_assets.kernelsynth.noise import Array, log_uniform, standardised, white
from chronos_assets.kernelsynth.seasons import periods

FEATURES = 32
"""Cosines per stationary draw."""
KERNELS = 4


def stationary(rng: np.random.Generator, n: int, length: int) -> Array:
    """Draws of a squared-exponential, rational-quadratic or Matern kernel, of a length scale of 1 to 1/2 of the series."""
    scale = log_uniform(rng, n, 1.0 / length, 0.5)
    # A rational quadratic kernel is a mixture of squared exponentials over length scales: frequencies get a gamma factor.
    rational = rng.gamma(1.0, 1.0, (n, FEATURES)) ** 0.5
    # The spectral density of a Matern kernel is Student's t with twice its smoothness as degrees of freedom.
    degrees = rng.choice([1.0, 3.0, 5.0], (n, 1))
    matern = np.sqrt(degrees / rng.chisquare(degrees, (n, FEATURES)))
    kind = rng.choice(3, (n, 1), p=[0.35, 0.35, 0.3])
    mixed = np.select([kind == 0, kind == 1], [np.ones((n, FEATURES)), rational], matern)
    frequency = rng.standard_normal((n, FEATURES)) * mixed / (scale * length)
    return _cosines(rng, frequency, length)


def periodic(rng: np.random.Generator, n: int, length: int) -> Array:
    """Draws of a periodic kernel: harmonics of one period with a Gaussian-like decay."""
    base = 2 * np.pi / periods(rng, n, 0.55 * length)[:, None]
    harmonic = np.ceil(np.abs(rng.standard_normal((n, FEATURES))) * np.exp(rng.uniform(-0.5, 2.0, (n, 1))))
    return _cosines(rng, base * np.maximum(harmonic, 1.0), length)


def linear(rng: np.random.Generator, n: int, length: int) -> Array:
    """Draws of a linear kernel: straight lines with a random slope and offset."""
    return rng.standard_normal((n, 1)) * np.linspace(-1.0, 1.0, length) + rng.standard_normal((n, 1))


def composed(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return `n` standardised draws (n, length) of `KERNELS` kernels joined by sums and products, plus white noise."""
    values = _any_kernel(rng, n, length)
    for _ in range(KERNELS - 1):
        other = _any_kernel(rng, n, length)
        operation = rng.choice(3, (n, 1), p=[0.35, 0.4, 0.25])
        values = np.select([operation == 0, operation == 1], [values, values + other], values * other)
    noise_scale = log_uniform(rng, n, 1e-3, 0.7)
    return standardised(standardised(values) + noise_scale * white(rng, n, length))


def _any_kernel(rng: np.random.Generator, n: int, length: int) -> Array:
    kind = rng.choice(3, n, p=[0.35, 0.5, 0.15])
    values = np.empty((n, length))
    for number, draw in enumerate((stationary, periodic, linear)):
        rows = np.flatnonzero(kind == number)
        values[rows] = draw(rng, rows.size, length)
    return values


def _cosines(rng: np.random.Generator, frequency: Array, length: int) -> Array:
    """Sum cosines of `frequency` (n, FEATURES), in radians per step, with random phase and weight."""
    time = np.arange(length, dtype=np.float32)
    angle = frequency.astype(np.float32)[:, :, None] * time + rng.uniform(0, 2 * np.pi, (*frequency.shape, 1)).astype(
        np.float32
    )
    weight = rng.standard_normal(frequency.shape).astype(np.float32) * np.float32((2.0 / FEATURES) ** 0.5)
    values: Array = np.einsum("nf,nft->nt", weight, np.cos(angle))
    return values
