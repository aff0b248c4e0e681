"""Series seen at another rate than they were made at: means over several steps, and points in between.

Here belongs the change of rate alone. A model that is asked at several rates (hours as days, months as weeks) must have
seen what that makes of noise, and of seasons that are no whole number of steps.
"""

from collections.abc import Mapping

import numpy as np

from chronos_assets.kernelsynth import families
from chronos_assets.kernelsynth.noise import Array

COARSER = (2, 3, 4, 6)
"""Steps whose mean becomes one."""

FINER = (2, 3)
"""Steps that one becomes, by a straight line to the next."""

COARSER_SHARE, FINER_SHARE = 0.14, 0.08


def draw(rng: np.random.Generator, weights: Mapping[str, float], n: int, length: int) -> Array:
    """Return `n` series (n, length) as `families.draw` does, some at another rate: one coarser and one finer each time."""
    coarser, finer, plain = rng.multinomial(n, [COARSER_SHARE, FINER_SHARE, 1.0 - COARSER_SHARE - FINER_SHARE])
    parts = [families.draw(rng, weights, int(plain), length)] if plain else []
    if coarser:
        factor = int(rng.choice(COARSER))
        parts.append(aggregated(families.draw(rng, weights, int(coarser), factor * length), factor))
    if finer:
        factor = int(rng.choice(FINER))
        parts.append(
            interpolated(families.draw(rng, weights, int(finer), -(-length // factor) + 1), factor)[:, :length]
        )
    return np.concatenate(parts)[rng.permutation(n)]


def aggregated(values: Array, factor: int) -> Array:
    """Return means over every `factor` steps of `values` (n, length), (n, length // factor)."""
    whole = values.shape[1] // factor * factor
    means: Array = values[:, :whole].reshape(len(values), -1, factor).mean(axis=2)
    return means


def interpolated(values: Array, factor: int) -> Array:
    """Return `values` (n, length) with `factor` - 1 points on the line to each next one, (n, factor * (length - 1) + 1)."""
    share = np.arange(factor) / factor
    lines = values[:, :-1, None] + share * np.diff(values, axis=1)[:, :, None]
    return np.concatenate([lines.reshape(len(values), -1), values[:, -1:]], axis=1)
