"""The bank of KernelSynth: 33 covariance functions of Gaussian processes.

Here: each kernel's formula and hyperparameters. Elsewhere: how kernels are combined
(`expressions`) and how draws are made (`terms`).

Inputs x lie in [0, 1]: a series of `length` values stands at `linspace(0, 1, length)`. Names and formulas are those of
`sklearn.gaussian_process.kernels`, which the paper's script uses; hyperparameters are the script's.
Source: Ansari et al., "Chronos: Learning the Language of Time Series", 2024, https://arxiv.org/abs/2403.07815, 4.2 and
appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ExpSineSquared:
    """exp(-2 sin²(π d / p)) with a length scale of 1: exactly periodic.

    Attributes:
        period: p times the series' length, that is the period in steps (to one part in the length).
    """

    period: int

    def __str__(self) -> str:
        return f"ExpSineSquared({self.period})"


@dataclass(frozen=True)
class RBF:
    """exp(-d² / (2 l²)): smooth curves that change over a length scale l."""

    length_scale: float

    def __call__(self, x: Floats, y: Floats) -> Floats:
        """Covariance of the points `x` and `y`, broadcast."""
        return np.exp(-0.5 * ((x - y) / self.length_scale) ** 2)

    def __str__(self) -> str:
        return f"RBF({self.length_scale:g})"


@dataclass(frozen=True)
class RationalQuadratic:
    """(1 + d² / (2 α))^-α with a length scale of 1: a mixture of RBF kernels over length scales."""

    alpha: float

    def __call__(self, x: Floats, y: Floats) -> Floats:
        """Covariance of the points `x` and `y`, broadcast."""
        return (1.0 + (x - y) ** 2 / (2.0 * self.alpha)) ** -self.alpha

    def __str__(self) -> str:
        return f"RationalQuadratic({self.alpha:g})"


@dataclass(frozen=True)
class DotProduct:
    """σ0² + x y: straight lines of random slope and offset."""

    sigma_0: float

    def __call__(self, x: Floats, y: Floats) -> Floats:
        """Covariance of the points `x` and `y`, broadcast."""
        return self.sigma_0**2 + x * y

    def __str__(self) -> str:
        return f"DotProduct({self.sigma_0:g})"


@dataclass(frozen=True)
class Constant:
    """1 everywhere: a random offset."""

    def __call__(self, x: Floats, y: Floats) -> Floats:
        """Covariance of the points `x` and `y`, broadcast."""
        return np.ones(np.broadcast(x, y).shape)

    def __str__(self) -> str:
        return "Constant"


@dataclass(frozen=True)
class White:
    """Independent noise of variance `noise_level` at every point."""

    noise_level: float

    def __str__(self) -> str:
        return f"White({self.noise_level:g})"


Smooth = RBF | RationalQuadratic | DotProduct | Constant
"""Kernels that are smooth on [0, 1], and so nearly of low rank."""
Kernel = Smooth | ExpSineSquared | White

PERIODS = (24, 48, 96, 168, 336, 672, 7, 14, 30, 60, 365, 730, 4, 26, 52, 4, 6, 12, 4, 40, 10)
"""Hours, halves and quarters of an hour per day and week; days per week to two years; weeks, months, quarters, years."""

BANK: tuple[Kernel, ...] = (
    *(ExpSineSquared(period) for period in PERIODS),
    *(DotProduct(sigma_0) for sigma_0 in (0.0, 1.0, 10.0)),
    *(RBF(length_scale) for length_scale in (0.1, 1.0, 10.0)),
    *(RationalQuadratic(alpha) for alpha in (0.1, 1.0, 10.0)),
    *(White(noise_level) for noise_level in (0.1, 1.0)),
    Constant(),
)


def grid(length: int) -> Floats:
    """The points that a series of `length` values stands at: (length,) from 0 to 1."""
    return np.linspace(0.0, 1.0, length)


def diagonal(kernel: Kernel, x: Floats) -> Floats:
    """Variance of a kernel's draws at the points `x`."""
    if isinstance(kernel, White):
        return np.full(x.shape, kernel.noise_level)
    if isinstance(kernel, ExpSineSquared):
        return np.ones(x.shape)
    return kernel(x, x)
