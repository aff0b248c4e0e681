"""Series that depend on one another: graphs of causes over Gaussian processes, after CauKer (Xie et al., 2025).

Here belongs whatever is computed from other series. Only the last node of each graph is kept.
"""

import numpy as np

from chronos_assets.kernelsynth import gaussian
from chronos_assets.kernelsynth.noise import Array, log_uniform, standardised, white

LAYERS = 3
"""Nodes between a root and the node that is kept."""


def causal_graph(rng: np.random.Generator, n: int, length: int) -> Array:
    """Return `n` standardised nodes (n, length), each a nonlinear function of its causes now and up to 24 steps ago.

    All rows grow together: in each layer a row takes another one as a further cause, with a lag of its own.
    """
    lagged = 24
    values = gaussian.composed(rng, n, length + LAYERS * lagged)
    for _ in range(LAYERS):
        lag = rng.integers(0, lagged + 1, (n, 1)) * (rng.random((n, 1)) < 0.6)
        reach = np.arange(lagged, values.shape[1])
        cause = np.take_along_axis(values[rng.permutation(n)], reach - lag, axis=1)
        own = rng.uniform(-1.0, 1.0, (n, 1)) * values[:, lagged:]
        values = standardised(activated(rng, own + rng.uniform(-1.0, 1.0, (n, 1)) * cause))
    return np.asarray(values + log_uniform(rng, n, 1e-3, 0.3) * white(rng, n, length))


def activated(rng: np.random.Generator, values: Array) -> Array:
    """Send each row of `values` (n, length) through a function of its own: a line, tanh, rectifier, sine or square."""
    n = len(values)
    gain = log_uniform(rng, n, 0.5, 3.0)
    x = gain * values + rng.normal(0.0, 0.5, (n, 1))
    kind = rng.choice(5, (n, 1), p=[0.4, 0.2, 0.15, 0.15, 0.1])
    # A trace of the line keeps a row that is wholly rectified from being constant.
    return np.select(
        [kind == 0, kind == 1, kind == 2, kind == 3],
        [x, np.tanh(x), np.maximum(x, 0.05 * x), np.sin(x)],
        x**2 + 0.1 * x,
    )
