"""Repeating the past: the last season, or the average of the last few, with bands from its own errors.

For each series every candidate season (and 1: the last value) and every number of seasons averaged is tried inside the
context; the pair with the least mean absolute error is taken. The band is made of the quantiles of those errors, wider by
the square root of how many seasons ahead a period is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chronos_assets.predictors.members.base import LEVELS, Contexts, Panel, PanelMember, row_sum
from chronos_assets.timeseries.arrays import Booleans, Floats, Integers

AVERAGED = (1, 2, 4)
_LEAST_ERRORS = 4  # fewer are scaled up: their extremes say little about the tails


@dataclass(frozen=True)
class SeasonalNaive(PanelMember):
    """See the module."""

    name: str = "seasonal_naive"

    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        return ((panel, _forecast(panel, contexts)) for panel in contexts.panels)


def _forecast(panel: Panel, contexts: Contexts) -> Floats:
    count, horizon = len(panel.rows), contexts.horizon
    best, choice = np.full(count, np.inf), np.full(count, -1)
    choices = list(_choices(contexts.seasons, panel.width))
    for number, (season, averaged) in enumerate(choices):
        errors, known = _errors(panel, season, averaged)
        # What an average of seasons is compared on is what all have in common; the last value only helps a horizon of one.
        seen = known.sum(axis=1)
        enough = seen >= max(_LEAST_ERRORS, 1)
        mean = row_sum(np.where(known, np.abs(errors), 0.0)) / np.maximum(seen, 1)
        if season == 1:
            mean = mean * np.sqrt((horizon + 1) / 2)
        better = enough & (mean < best)
        best, choice = np.where(better, mean, best), np.where(better, number, choice)
    result = np.repeat(panel.values[:, -1][:, None, None], horizon, axis=1).repeat(len(LEVELS), axis=2)
    for number in np.unique(choice[choice >= 0]).tolist():
        chosen = np.flatnonzero(choice == number)
        season, averaged = choices[number]
        part = panel.take(chosen)
        errors, known = _errors(part, season, averaged)
        result[chosen] = _quantiles(part.values, errors, known, season, averaged, horizon)
    return result


def _choices(seasons: tuple[int, ...], width: int) -> Iterator[tuple[int, int]]:
    yield 1, 1
    for season in seasons:
        yield from ((season, averaged) for averaged in AVERAGED if season * (averaged + 1) <= width)


def _errors(panel: Panel, season: int, averaged: int) -> tuple[Floats, Booleans]:
    """Errors (n, m) of the forecast one season ahead inside the context, and which count: of observed periods."""
    start = season * averaged
    width = panel.width
    parts = [panel.values[:, start - k * season : width - k * season] for k in range(1, averaged + 1)]
    mean = np.sum(parts, axis=0) / averaged
    errors = panel.values[:, start:] - mean
    reached = np.arange(start, width) - start >= panel.first[:, None]
    return errors, reached & panel.observed[:, start:]


def _quantiles(values: Floats, errors: Floats, known: Booleans, season: int, averaged: int, horizon: int) -> Floats:
    """Quantiles (n, horizon, LEVELS): the repeated average and the errors' quantiles around it."""
    width = values.shape[1]
    place = width - season + np.arange(horizon) % season
    centre = np.sum([values[:, place - k * season] for k in range(averaged)], axis=0) / averaged
    ahead = np.sqrt(np.arange(horizon) // season + 1.0)
    spread = quantiles_of_known(errors, known)
    return np.asarray(centre[:, :, None] + ahead[None, :, None] * spread[:, None, :])


def quantiles_of_known(values: Floats, known: Booleans) -> Floats:
    """Quantiles (n, LEVELS) of the values (n, m) of each row that are known, at least one, which count alike.

    Those of `empirical_quantiles` with weights of one, without an order of weights to keep.
    """
    ordered = np.sort(np.where(known, values, np.inf), axis=1)
    number, of_row = np.unique(known.sum(axis=1), return_inverse=True)
    middles = [(np.arange(1, count + 1) - 0.5) / count for count in number.tolist()]
    above = np.stack([np.minimum(np.searchsorted(middle, LEVELS), len(middle) - 1) for middle in middles])
    below = np.maximum(above - 1, 0)
    low, high = (
        np.stack([middle[place] for middle, place in zip(middles, places, strict=True)]) for places in (below, above)
    )
    return _between(ordered, below[of_row], above[of_row], low[of_row], high[of_row])


def empirical_quantiles(values: Floats, weights: Floats) -> Floats:
    """Weighted quantiles (n, LEVELS) of the values (n, m) of each row, interpolated between the middles of their weights.

    Rows need a positive weight; values of weight zero don't count.
    """
    order = np.argsort(np.where(weights > 0, values, np.inf), axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    mass = np.take_along_axis(weights, order, axis=1)
    total = np.cumsum(mass, axis=1)
    middle = (total - mass / 2) / total[:, -1:]
    last = np.count_nonzero(mass > 0, axis=1)[:, None] - 1
    # Level by level, since all at once would take LEVELS times the memory of the values.
    above = np.minimum(np.stack([np.count_nonzero(middle < level, axis=1) for level in LEVELS], axis=1), last)
    below = np.maximum(above - 1, 0)
    low, high = np.take_along_axis(middle, below, axis=1), np.take_along_axis(middle, above, axis=1)
    return _between(ordered, below, above, low, high)


def _between(ordered: Floats, below: Integers, above: Integers, low: Floats, high: Floats) -> Floats:
    """Values (n, LEVELS) between two of each ordered row (n, m), whose middles are `low`, `high`; the upper if these agree."""
    rises = high > low
    share = np.where(rises, (np.array(LEVELS) - low) / np.where(rises, high - low, 1.0), 1.0).clip(0.0, 1.0)
    under, over = np.take_along_axis(ordered, below, axis=1), np.take_along_axis(ordered, above, axis=1)
    return np.asarray(under + share * (over - under))
