"""Chronos at a sampling rate: the network reads means of several periods, or interpolated ones, of a context.

A network of 1,024 steps sees six weeks of hours, and less than a day of minutes. At a coarser rate it sees further and needs
fewer steps for a long horizon; at a finer one, a dozen yearly values become enough of a curve to read. What a coarse rate loses
inside its periods, a season shorter than a few of them, is removed before and put back after (`adjusted`).

Coarse forecasts are read at the fine periods by linear interpolation between the middles of the coarse ones, from the last
known mean on; their bands are widened by the spread of the fine values around the interpolated means of the past.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chronos_assets.models.quantiles import interpolate, normal_scores
from chronos_assets.predictors.members.base import LEVELS, MEDIAN, Contexts
from chronos_assets.predictors.members.seasons import adjust
from chronos_assets.timeseries.arrays import Floats

if TYPE_CHECKING:
    from chronos_assets.models.forecasting import Forecaster

_ROWS = 512  # of series that are averaged together
_SPREAD_PERIODS = 512  # latest fine periods that the spread inside coarse ones is measured on


@dataclass(frozen=True)
class Chronos:
    """A checkpoint at one rate.

    Attributes:
        name: see `Member.name`.
        forecaster: of the checkpoint, for any horizon.
        coarse: periods averaged to one step of the network.
        fine: steps of the network for one period; one of both is 1.
        adjusted: whether the season that is found is removed before and put back after.
    """

    name: str
    forecaster: Forecaster
    coarse: int = 1
    fine: int = 1
    adjusted: bool = False

    @property
    def reach(self) -> int:
        """Latest periods that are read."""
        return max(1, self.forecaster.context_length * self.coarse // self.fine)

    def forecast(self, contexts: Contexts) -> Floats:
        """See `Member.forecast`."""
        if not self.adjusted:
            return self._plain(contexts.values, contexts)
        values: list[Floats] = [np.empty(0)] * len(contexts)
        panels = []
        for panel in contexts.panels_of(self.reach):
            adjusted = adjust(panel, contexts.seasons, contexts.horizon)
            panels.append((panel, adjusted))
            for row, place in enumerate(panel.rows):
                known = np.where(panel.observed[row], adjusted.values[row], np.nan)
                values[place] = known[panel.first[row] :]
        made = self._plain(values, contexts)
        for panel, adjusted in panels:
            made[panel.rows] = adjusted.restore(made[panel.rows])
        return made

    def _plain(self, values: Sequence[Floats], contexts: Contexts) -> Floats:
        horizon = contexts.horizon
        if self.fine > 1:
            dense = [_interpolated(context[-self.reach :], self.fine) for context in values]
            return self._network(dense, horizon * self.fine, contexts)[:, self.fine - 1 :: self.fine]
        if self.coarse == 1:
            return self._network(values, horizon, contexts)
        means: list[Floats] = [np.empty(0)] * len(values)
        last, spread = np.empty(len(values)), np.empty(len(values))
        for rows, tails in _of_one_length([context[-self.reach :] for context in values]):
            found = _means(tails, self.coarse)
            last[rows], spread[rows] = _last_known_mean(found), _spread(tails, self.coarse)
            for place, row in zip(rows.tolist(), found, strict=True):
                means[place] = row
        steps = -(-horizon // self.coarse) + 1
        made = self._network(means, steps, contexts)
        return _refined(made, last, spread, self.coarse, horizon)

    def _network(self, values: Sequence[Floats], horizon: int, contexts: Contexts) -> Floats:
        return network_quantiles(self.forecaster, values, horizon, contexts)


def network_quantiles(
    forecaster: Forecaster,
    values: Sequence[Floats],
    horizon: int,
    contexts: Contexts,
    beside: Sequence[Floats] | None = None,
) -> Floats:
    """Quantiles (N, horizon, LEVELS) of a network.

    Args:
        forecaster: of the network, for any horizon.
        values: what it reads of each series, (T,).
        horizon: of the values.
        contexts: where seeds and labels of the series are.
        beside: numbers to read with each series, see `Forecaster.forecast`.
    """
    low, high = forecaster.model.description.quantile_range
    known = [level for level in LEVELS if low - 1e-9 <= level <= high + 1e-9]
    made = forecaster.at(horizon, known).forecast(
        values, seeds=contexts.seeds or None, groups=contexts.groups or None, beside=beside
    )
    return made.quantiles if len(known) == len(LEVELS) else interpolate(made.quantiles, known, LEVELS)


def _interpolated(context: Floats, fine: int) -> Floats:
    """`fine` steps for each period, linear in between; NaN where an end of a piece is."""
    if len(context) < 2:
        return np.asarray(context, dtype=np.float64)
    share = np.arange(1, fine + 1) / fine
    steps = context[:-1, None] + share * (context[1:] - context[:-1])[:, None]
    steps[:, -1] = context[1:]
    return np.concatenate([context[:1], steps.ravel()])


def _of_one_length(contexts: Sequence[Floats]) -> Iterator[tuple[NDArray[np.intp], Floats]]:
    """Contexts (n, T) of the same length with their places (n,): what is computed of them needs no loop over series."""
    together: dict[int, list[int]] = defaultdict(list)
    for place, context in enumerate(contexts):
        together[len(context)].append(place)
    for places in together.values():
        for start in range(0, len(places), _ROWS):
            rows = places[start : start + _ROWS]
            yield np.array(rows, dtype=np.intp), np.stack([contexts[place] for place in rows]).astype(np.float64)


def _means(contexts: Floats, coarse: int) -> Floats:
    """Means (n, blocks) of each `coarse` periods that were observed, the last ones complete; NaN where none was."""
    rows, length = contexts.shape
    count = length // coarse
    if not count:
        count, contexts = 1, np.concatenate([np.full((rows, coarse - length), np.nan), contexts], axis=1)
    blocks = contexts[:, contexts.shape[1] - count * coarse :].reshape(rows, count, coarse)
    known = np.isfinite(blocks)
    number = known.sum(axis=2)
    total = np.where(known, blocks, 0.0).sum(axis=2)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _last_known_mean(means: Floats) -> Floats:
    """The last known mean of each row (n, blocks), (n,); NaN without any."""
    known = np.isfinite(means)
    place = means.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    return np.where(known.any(axis=1), means[np.arange(len(means)), place], np.nan)


def _spread(contexts: Floats, coarse: int) -> Floats:
    """Standard deviation (n,) of the latest values (n, T) around the line through the means of their blocks."""
    tails = contexts[:, -_SPREAD_PERIODS:]
    means = _means(tails, coarse)
    middles = tails.shape[1] - means.shape[1] * coarse + np.arange(means.shape[1]) * coarse + (coarse - 1) / 2
    time = np.arange(tails.shape[1])
    result = np.zeros(len(tails))
    for row, (tail, of_row, known) in enumerate(zip(tails, means, np.isfinite(means), strict=True)):
        if np.count_nonzero(known) >= 2:
            error = tail - np.interp(time, middles[known], of_row[known])
            error = error[np.isfinite(error)]
            result[row] = np.sqrt((error**2).mean()) if len(error) else 0.0
    return result


def _refined(made: Floats, last: Floats, spread: Floats, coarse: int, horizon: int) -> Floats:
    """Quantiles (N, horizon, LEVELS) at fine periods from those at coarse ones."""
    place = (np.arange(horizon) + (coarse + 1) / 2) / coarse  # in coarse steps after the middle of the last known one
    left = np.floor(place).astype(int)
    share = (place - left)[None, :, None]
    known = np.concatenate([np.repeat(last[:, None, None], made.shape[2], axis=2), made], axis=1)
    right = np.minimum(left + 1, known.shape[1] - 1)
    path = known[:, left] + share * (known[:, right] - known[:, left])
    # The last known mean has no band: the first periods get that of the first coarse step.
    first = left == 0
    path[:, first] = path[:, first, MEDIAN][:, :, None] + (made[:, :1] - made[:, :1, MEDIAN][:, :, None])
    median = path[:, :, MEDIAN][:, :, None]
    own = spread[:, None, None] * np.abs(normal_scores(LEVELS))
    return np.asarray(median + np.sign(path - median) * np.sqrt((path - median) ** 2 + own**2))
