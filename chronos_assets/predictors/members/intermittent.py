"""Demand that is zero most of the time: TSB with a distribution of counts.

Teunter, Syntetos & Babai (European Journal of Operational Research 2011) smooth the probability of a demand and its size
apart, so that a forecast falls when demand ends. The quantiles are those of zero with the probability that is left, and else
of a negative binomial (of a Poisson where the sizes vary no more than one) shifted by one, with the smoothed size as mean;
series that aren't counts, or are seldom zero, are left to the other members.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chronos_assets.predictors.members.base import LEVELS, Contexts, Panel, PanelMember, row_sum
from chronos_assets.timeseries.arrays import Floats

_SPARSE = 0.25  # share of zeros from which a series is intermittent
_SMOOTHING = (0.05, 0.1, 0.2)
_LARGEST_SIZE = 200.0  # mean demand up to which counts are enumerated
_TERMS = 1024


@dataclass(frozen=True)
class Intermittent(PanelMember):
    """See the module."""

    name: str = "intermittent"

    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        for panel in contexts.panels:
            result = np.full((len(panel.rows), contexts.horizon, len(LEVELS)), np.nan)
            chosen = np.flatnonzero(_is_intermittent(panel))
            if len(chosen):
                quantiles = _quantiles(*_smooth(panel.values[chosen], panel.observed[chosen]))
                result[chosen] = quantiles[:, None, :]
            yield panel, result


def _is_intermittent(panel: Panel) -> np.ndarray:
    """Whether each series is of counts that are often zero, and of a size that can be enumerated, (n,)."""
    seen = panel.observed.sum(axis=1)
    zeros = ((panel.values == 0) & panel.observed).sum(axis=1)
    counts = np.where(panel.observed, (panel.values >= 0) & (panel.values == np.rint(panel.values)), True).all(axis=1)
    size = row_sum(np.where(panel.observed, panel.values, 0.0)) / np.maximum(seen - zeros, 1)
    return np.asarray((seen >= 8) & counts & (zeros >= _SPARSE * seen) & (zeros < seen) & (size <= _LARGEST_SIZE))


def _smooth(values: Floats, observed: np.ndarray) -> tuple[Floats, Floats, Floats]:
    """Probability of a demand, its mean size and the sizes' variance, each (n,), by the best of `_SMOOTHING`."""
    demand = observed & (values > 0)
    number = np.maximum(demand.sum(axis=1), 1)
    size = row_sum(np.where(demand, values, 0.0)) / number
    variance = row_sum(np.where(demand, (values - size[:, None]) ** 2, 0.0)) / number
    best = np.full(len(values), np.inf)
    chosen = (np.full(len(values), np.nan), size.copy())
    start = number / np.maximum(observed.sum(axis=1), 1)
    for alpha in _SMOOTHING:
        probability, mean, error = start.copy(), size.copy(), np.zeros(len(values))
        for column in range(values.shape[1]):
            seen, sold, value = observed[:, column], demand[:, column], values[:, column]
            error += np.where(seen, (value - probability * mean) ** 2, 0.0)
            probability += np.where(seen, alpha * (sold - probability), 0.0)
            mean += np.where(sold, alpha * (value - mean), 0.0)
        better = error < best
        best = np.where(better, error, best)
        chosen = (np.where(better, probability, chosen[0]), np.where(better, mean, chosen[1]))
    return chosen[0], np.maximum(chosen[1], 1.0), variance


def _quantiles(probability: Floats, size: Floats, variance: Floats) -> Floats:
    """Quantiles (n, LEVELS) of the mixture; counts, with the share of the step below added so that they average well."""
    mean = np.maximum(size - 1, 1e-9)  # of what goes beyond the first piece
    over = variance > mean * (1 + 1e-9)
    shape = np.where(over, mean**2 / np.where(over, variance - mean, 1.0), np.inf)
    ratio = np.where(over, mean / (mean + np.where(over, shape, 1.0)), 0.0)
    mass = np.where(over, np.exp(np.where(over, shape, 0.0) * np.log1p(-np.where(over, ratio, 0.0))), np.exp(-mean))
    total = 1 - probability
    result = np.zeros((len(size), len(LEVELS)))
    reached = total[:, None] >= np.array(LEVELS)
    for count in range(_TERMS):
        total = total + probability * mass
        now = ~reached & (total[:, None] >= np.array(LEVELS))
        result[now] = count + 1.0
        reached |= now
        if reached.all():
            break
        poisson = mass * mean / (count + 1)
        mass = np.where(over, mass * ratio * (count + np.where(over, shape, 0.0)) / (count + 1), poisson)
    result[~reached] = _TERMS
    return result
