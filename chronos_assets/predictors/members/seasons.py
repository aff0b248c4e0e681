"""Which season a series has, and the series without it.

Here belong the test of candidate seasons and the classical decomposition by moving averages, for panels of many series at
once. As in the M competitions' Theta benchmark, a season counts if the autocorrelation at its lag passes a one-sided 97.5%
test, and is removed as a factor where all values are positive. Unlike there, the autocorrelation is that of what a moving
average over the season leaves, or of the steps from period to period where a series fills the season less than three times: so
that neither a trend nor a random walk passes for a season.

A series may have several candidates (a day and a week of hours): the one whose autocorrelation passes its limit by most is
taken.

Seasons change: the one that is removed from a period is an average of its phase over the seasons around, which counts e times
less every eight seasons away, and the one that is put back is that of the last season. It is shrunk to none by the share of its
variance that chance would give (James & Stein; Miller & Williams, International Journal of Forecasting 2003, of seasonal
factors): of two or three noisy seasons little is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_assets.predictors.members.base import Panel, row_sum, taken
from chronos_assets.timeseries.arrays import Booleans, Floats, Integers

_CRITICAL = 1.96  # normal score of the one-sided 97.5% limit
_MOST_DEPENDENCE = 6.0
_LEAST_FACTOR = 0.05  # seasonal factors below this would blow up what they divide
_LEAST_SHARE = 0.05  # of the mean: with smaller values among them, series are adjusted by differences
_KEPT = float(np.exp(-1 / 8))  # of what a season counts in the average of the one beside it
_TINY = 1e-9


@dataclass(frozen=True)
class Adjusted:
    """A panel without its seasons.

    Attributes:
        values: (n, width) seasonally adjusted.
        season: the season found in each series, (n,); 1 where none.
        multiplicative: whether the season is a factor, (n,).
        indices: of the periods to forecast, (n, horizon): factors, or addends; 1 and 0 where there is no season.
    """

    values: Floats
    season: Integers
    multiplicative: Booleans
    indices: Floats

    def take(self, kept: NDArray[np.intp]) -> Adjusted:
        """The same of some of the rows."""
        return Adjusted(
            taken(self.values, kept),
            taken(self.season, kept),
            taken(self.multiplicative, kept),
            taken(self.indices, kept),
        )

    def restore(self, quantiles: Floats) -> Floats:
        """Quantiles (n, horizon, Q) of the adjusted series with the season put back."""
        index = self.indices[:, :, None]
        return np.where(self.multiplicative[:, None, None], quantiles * index, quantiles + index)


def find_seasons(panel: Panel, candidates: tuple[int, ...]) -> Integers:
    """The season of each series (n,), 1 where no candidate passes the test or fills its length twice."""
    found = np.ones(len(panel.rows), dtype=np.int64)
    best = np.zeros(len(panel.rows))
    steps = np.diff(panel.values, axis=1)
    for season in candidates:
        if season < 2 or 2 * season > panel.width:
            continue
        smooth, valid = _moving_average(panel, season)
        correlation, pairs = _lagged(np.where(valid, panel.values - smooth, 0.0), valid, season)
        of_steps, pairs_of_steps = _lagged(steps, panel.inside[:, :-1], season)
        short = pairs < season
        correlation, pairs = np.where(short, of_steps, correlation), np.where(short, pairs_of_steps, pairs)
        # What wanders has fewer independent pairs than pairs (Bartlett): as many fewer as its next period tells.
        near, _ = _lagged(np.where(valid, panel.values - smooth, 0.0), valid, 1)
        dependence = np.where(short, 1.0, np.minimum((1 + near**2) / np.maximum(1 - near**2, 1e-9), _MOST_DEPENDENCE))
        margin = correlation - _CRITICAL * np.sqrt(dependence / np.maximum(pairs, 1))
        better = (margin > best) & (panel.lengths >= 2 * season)
        best, found = np.where(better, margin, best), np.where(better, season, found)
    return found


def _lagged(values: Floats, counted: Booleans, lag: int) -> tuple[Floats, Integers]:
    """Autocorrelation at one lag of values around zero, and from how many pairs, each (n,); 0 where all are zero."""
    both = counted[:, lag:] & counted[:, :-lag]
    pairs = both.sum(axis=1)
    product = row_sum(np.where(both, values[:, lag:] * values[:, :-lag], 0.0)) / np.maximum(pairs, 1)
    energy = row_sum(np.where(counted, values**2, 0.0)) / np.maximum(counted.sum(axis=1), 1)
    level = np.abs(values).max(axis=1) if values.shape[1] else np.zeros(len(values))
    some = energy > 1e-24 * np.maximum(level, 1e-100) ** 2
    return np.where(some, product / np.where(some, energy, 1.0), 0.0), pairs


def adjust(panel: Panel, candidates: tuple[int, ...], horizon: int) -> Adjusted:
    """The panel without the seasons found in it, and their indices over the next `horizon` periods."""
    return panel.once(_adjust, candidates, horizon)


def _adjust(panel: Panel, candidates: tuple[int, ...], horizon: int) -> Adjusted:
    season = find_seasons(panel, candidates)
    values = panel.values.copy()
    multiplicative = np.zeros(len(values), dtype=bool)
    indices = np.zeros((len(values), horizon))
    for length in np.unique(season[season > 1]).tolist():
        chosen = np.flatnonzero(season == length)
        part = Panel(panel.rows[chosen], panel.values[chosen], panel.first[chosen], panel.observed[chosen])
        factor, pattern = _pattern(part, length)
        scale = np.where(factor[:, None], pattern, 1.0)  # a season that is added may be 0
        values[chosen] = np.where(factor[:, None], part.values / scale, part.values - pattern)
        # Before the first observation its adjusted value is repeated, as in the panel.
        start = values[chosen, part.first]
        values[chosen] = np.where(part.inside, values[chosen], start[:, None])
        multiplicative[chosen] = factor
        indices[chosen] = pattern[:, part.width - length + np.arange(horizon) % length]
    return Adjusted(values, season, multiplicative, np.where((season > 1)[:, None], indices, 0.0))


def _pattern(panel: Panel, season: int) -> tuple[Booleans, Floats]:
    """Whether each series' season is a factor (n,), and its factor or addend at each period, (n, width)."""
    smooth, valid = _moving_average(panel, season)
    lowest = np.where(panel.inside, panel.values, np.inf).min(axis=1)
    mean = row_sum(np.where(panel.inside, panel.values, 0.0)) / panel.lengths
    factor = (lowest > 0) & (lowest > _LEAST_SHARE * mean)
    safe = np.where(valid & (smooth > 0), smooth, 1.0)
    apart = np.where(factor[:, None], panel.values / safe - 1, panel.values - smooth)
    local = _local_means(apart, valid, season)
    seasons = valid.sum(axis=1) / season
    error = row_sum(np.where(valid, (apart - local) ** 2, 0.0)) / np.maximum(valid.sum(axis=1), 1)
    size = row_sum(local[:, -season:] ** 2) / season
    # As many seasons as the average of the last one is made of (Kish's effective sample size).
    averaged = (1 - _KEPT**seasons) * (1 + _KEPT) / ((1 + _KEPT**seasons) * (1 - _KEPT))
    chance = error / np.maximum(averaged - 1, _TINY)  # less one, since the errors are those from the average itself
    local *= np.where(chance < size, 1 - chance / np.where(size > 0, size, 1.0), 0.0)[:, None]
    return factor, np.where(factor[:, None], np.maximum(1 + local, _LEAST_FACTOR), local)


def _local_means(values: Floats, counted: Booleans, season: int) -> Floats:
    """Weighted means of each phase over the seasons around, (n, width), less their own mean over each season."""
    rows, width = values.shape
    number = -(-width // season)
    padded = np.zeros((2, rows, number * season))
    padded[0, :, number * season - width :] = np.where(counted, values, 0.0)
    padded[1, :, number * season - width :] = counted
    blocks = padded.reshape(2, rows, number, season)
    sums = blocks.copy()
    for order in (range(number), range(number - 1, -1, -1)):
        carried = np.zeros((2, rows, season))
        for place in order:
            sums[:, :, place] += carried
            carried = _KEPT * (carried + blocks[:, :, place])
    means = sums[0] / np.where(sums[1] > 0, sums[1], 1.0)
    means -= row_sum(means)[..., None] / season
    return np.ascontiguousarray(means.reshape(rows, number * season)[:, number * season - width :])


def _moving_average(panel: Panel, season: int) -> tuple[Floats, Booleans]:
    """Centred moving averages over a season (n, width), an even one's ends by half; and where they are defined."""
    half = season // 2
    sums = np.concatenate([np.zeros((len(panel.rows), 1)), np.cumsum(panel.values, axis=1)], axis=1)
    smooth = np.zeros_like(panel.values)
    valid = np.zeros(panel.values.shape, dtype=bool)
    columns = np.arange(half, panel.width - half)
    if season % 2:
        smooth[:, columns] = (sums[:, columns + half + 1] - sums[:, columns - half]) / season
    else:
        inner = sums[:, columns + half] - sums[:, columns - half + 1]
        ends = panel.values[:, columns - half] + panel.values[:, columns + half]
        smooth[:, columns] = (inner + ends / 2) / season
    valid[:, columns] = columns - half >= panel.first[:, None]
    return smooth, valid
