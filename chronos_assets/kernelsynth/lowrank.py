"""Factors of smooth kernels: few rows whose outer products add up to the covariance.

Here: approximation of a covariance matrix by low rank, with a bound. Elsewhere: periodic kernels
(`harmonics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce

import numpy as np

from chronos_assets.kernelsynth.bank import Floats, Smooth, diagonal, grid

TOLERANCE = 1e-12
"""Largest error of an entry of the covariance, relative to the largest variance."""


@lru_cache(maxsize=128)
def smooth_rows(kernels: tuple[Smooth, ...], length: int) -> Floats:
    """Rows S (rank, length) with SᵀS the covariance of the product of `kernels`, to `TOLERANCE`.

    Pivoted Cholesky factorisation, which never forms the matrix: what it leaves is positive semidefinite, so that the
    largest variance left bounds the error of every entry. DotProduct factors make the product's rank exact, RBF and
    RationalQuadratic ones make it 4 to 50. Rows are kept for the 128 products used last: 250 KB each at most, at a length of
    1024.
    """
    x = grid(length)
    variance = reduce(np.multiply, (diagonal(kernel, x) for kernel in kernels))
    limit = TOLERANCE * float(variance.max())
    rows = np.empty((0, length))
    while True:
        pivot = int(variance.argmax())
        left = float(variance[pivot])
        if left <= limit or len(rows) == length:
            rows.setflags(write=False)
            return rows
        row = (_column(kernels, x, pivot) - rows[:, pivot] @ rows) / np.sqrt(left)
        rows = np.vstack([rows, row])
        # A pivot's variance is used up; what rounding leaves of it must not be chosen again.
        variance = np.maximum(variance - row**2, 0.0)
        variance[pivot] = 0.0


def _column(kernels: Sequence[Smooth], x: Floats, pivot: int) -> Floats:
    return reduce(np.multiply, (kernel(x, x[pivot]) for kernel in kernels))
