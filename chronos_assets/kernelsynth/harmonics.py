"""Draws of products of periodic kernels: sums of harmonics with independent Gaussian amplitudes.

Here: the spectrum of such a product, and the evaluation of its draws on the grid. Elsewhere:
anything about other kernels.

With θ = 2π d / p, a periodic kernel is exp(cos θ - 1) = Σ_k e⁻¹ I_k(1) cos kθ: harmonics whose weights (modified Bessel
functions) fall faster than exponentially. The m-th power of the kernel has the weights e⁻ᵐ I_k(m). In a product of
kernels frequencies add and weights multiply.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.kernelsynth.bank import Floats

TOLERANCE = 2e-10
"""Variance that may be left out of a process of variance 1, at ten steps at most that leave out a tenth of it."""

_TAPS = 13  # grid cells that a frequency is spread over: an error of about 1e-12
_SHAPE = 2.3 * _TAPS  # of the spreading kernel, for a grid twice as fine as the frequencies need
_TAPS_AT_ONCE = 2_000_000


@lru_cache(maxsize=64)
def harmonic_weights(power: int) -> Floats:
    """Weights of cos kθ, k = 0, 1, ..., in exp(power (cos θ - 1)), up to a tail of `TOLERANCE` / 10.

    Computed as a discrete Fourier transform, which for so smooth a periodic function is exact to rounding.
    """
    points = 128 * int(np.ceil(np.sqrt(power)))
    samples = np.exp(power * (np.cos(2.0 * np.pi * np.arange(points) / points) - 1.0))
    weights = np.fft.rfft(samples).real / points
    weights[1:] *= 2.0
    tail = 1.0 - np.cumsum(weights)
    kept: Floats = np.maximum(weights[: int(np.argmax(tail <= TOLERANCE / 10)) + 1], 0.0)
    return kept


def angular_frequency(period: int, length: int) -> float:
    """Radians per step of the grid, which has `length` - 1 steps for `length` / `period` turns."""
    return 2.0 * np.pi * length / (period * (length - 1))


@lru_cache(maxsize=128)
def periodic_rows(period: int, power: int, length: int) -> Floats:
    """Rows P (harmonics, length) with PᵀP the covariance of a power of one periodic kernel."""
    weights = harmonic_weights(power)
    angles = angular_frequency(period, length) * np.outer(np.arange(len(weights)), np.arange(length))
    rows = np.sqrt(weights)[:, None]
    made: Floats = np.vstack([rows * np.cos(angles), rows[1:] * np.sin(angles[1:])])
    made.setflags(write=False)
    return made


def spectrum(periods: Sequence[int], length: int) -> tuple[Floats, Floats]:
    """Frequencies (radians per step) and weights of cosines that add up to a product of periodic kernels.

    Args:
        periods: one per kernel; a period given twice stands for the kernel's square.
        length: of the series.

    Returns:
        Two arrays of the same size: about 150 harmonics for two periods, and twelve times as many for each further one.
        The weights add up to 1 less at most `TOLERANCE`.
    """
    frequencies, weights = np.zeros(1), np.ones(1)
    for period, power in Counter(periods).items():
        half = harmonic_weights(power)
        both = np.concatenate([half[:0:-1] / 2.0, half[:1], half[1:] / 2.0])
        steps = angular_frequency(period, length) * np.arange(1 - len(half), len(half))
        frequencies = np.add.outer(frequencies, steps).ravel()
        weights = np.multiply.outer(weights, both).ravel()
        kept = _heaviest(weights)
        frequencies, weights = frequencies[kept], weights[kept]
    # Frequencies ω and -ω stand at mirrored places and have the same cosine.
    middle = len(weights) // 2
    return frequencies[middle:], np.concatenate([weights[middle : middle + 1], 2.0 * weights[middle + 1 :]])


def _heaviest(weights: Floats) -> NDArray[np.bool_]:
    """Which weights to keep so that those left out add up to little: all above a threshold, so that mirrors stay."""
    total = float(weights.sum())
    threshold = TOLERANCE / 10
    while True:
        kept: NDArray[np.bool_] = weights > threshold
        if total - float(weights[kept].sum()) <= TOLERANCE / 10:
            return kept
        threshold /= 4


@dataclass(frozen=True)
class HarmonicSum:
    """Sums of many cosines with any frequencies at `length` points, by a non-uniform fast Fourier transform.

    Each frequency is spread over a few cells of a regular grid of frequencies, with a smooth bump; the transform of the
    grid, divided by that of the bump, is the sum. Source of the bump: Barnett, Magland and af Klinteberg, 2019, "A
    parallel nonuniform fast Fourier transform library based on an exponential of semicircle kernel".

    Attributes:
        length: points of the series.
        scale: (harmonics,) standard deviation of each amplitude.
        cells: (harmonics, taps) cells, of the half of the grid that a real series needs.
        taps: (harmonics, taps) bump there.
        signs: (harmonics, taps) -1 where a cell is the mirror of one in the other half.
        correction: (length,) one over the transform of the bump.
    """

    length: int
    scale: Floats
    cells: NDArray[np.int64]
    taps: Floats
    signs: Floats
    correction: Floats

    @classmethod
    def plan(cls, periods: Sequence[int], length: int) -> HarmonicSum:
        """Prepare sums for the product of the periodic kernels with `periods`."""
        frequencies, weights = spectrum(periods, length)
        cells_around = _cells_around(length)
        position = np.mod(frequencies * (cells_around / (2.0 * np.pi)), cells_around)
        first = np.ceil(position - _TAPS / 2.0)
        cell = first[:, None] + np.arange(_TAPS)
        taps = _bump((cell - position[:, None]) * (2.0 / _TAPS))
        cells = np.mod(cell.astype(np.int64), cells_around)
        mirrored = cells > cells_around // 2
        cells = np.where(mirrored, cells_around - cells, cells)
        # The two cells without a mirror count once, the others for themselves and their mirrors.
        taps *= np.where((cells == 0) | (cells == cells_around // 2), 1.0, 0.5)
        return cls(length, np.sqrt(weights), cells, taps, np.where(mirrored, -1.0, 1.0), _correction(length))

    @property
    def harmonics(self) -> int:
        """Number of cosines."""
        return len(self.scale)

    def evaluate(self, real: Floats, imaginary: Floats) -> Floats:
        """Sums of harmonics with amplitudes of unit variance (n, harmonics): an array (n, length)."""
        half = _cells_around(self.length) // 2 + 1
        made = np.empty((len(real), self.length))
        signed = self.taps * self.signs
        block = max(1, _TAPS_AT_ONCE // self.cells.size)
        for start in range(0, len(real), block):
            rows = slice(start, min(start + block, len(real)))
            count = rows.stop - rows.start
            cells = (self.cells + half * np.arange(count)[:, None, None]).ravel()
            grid = np.empty((count, half), dtype=np.complex128)
            for part, amplitudes, taps in ((grid.real, real, self.taps), (grid.imag, imaginary, signed)):
                spread = (amplitudes[rows] * self.scale)[:, :, None] * taps
                part[:] = np.bincount(cells, spread.ravel(), minlength=count * half).reshape(count, half)
            series = np.fft.irfft(grid, n=2 * (half - 1), axis=1, norm="forward")
            # The bump's transform is flat around time 0; the process is stationary, so time may start before it.
            before = self.length // 2
            made[rows, :before] = series[:, -before:]
            made[rows, before:] = series[:, : self.length - before]
        made *= self.correction
        return made


@lru_cache(maxsize=256)
def pair_sum(first: int, second: int, length: int) -> HarmonicSum:
    """The plan for two periods, kept: products of more are many and large, and rarely come twice."""
    return HarmonicSum.plan((first, second), length)


def harmonic_sum(periods: Sequence[int], length: int) -> HarmonicSum:
    """The plan for the product of the periodic kernels with `periods`."""
    ordered = sorted(periods)
    return pair_sum(ordered[0], ordered[1], length) if len(ordered) == 2 else HarmonicSum.plan(ordered, length)


def _cells_around(length: int) -> int:
    """Cells of the grid of frequencies: a power of two that is at least twice the length."""
    return 1 << (2 * length - 1).bit_length()


def _bump(z: NDArray[np.floating[Any]]) -> Floats:
    return np.exp(_SHAPE * (np.sqrt(np.maximum(1.0 - z * z, 0.0)) - 1.0))


@lru_cache(maxsize=16)
def _correction(length: int) -> Floats:
    nodes, weights = np.polynomial.legendre.leggauss(128)
    times = np.arange(length) - length // 2
    waves = np.cos(np.pi * _TAPS * np.outer(times, nodes) / _cells_around(length))
    made: Floats = 1.0 / (waves @ (weights * _bump(nodes)) * (_TAPS / 2.0))
    made.setflags(write=False)
    return made
