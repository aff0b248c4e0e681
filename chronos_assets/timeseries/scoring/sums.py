"""How good the forecasts of sums were: what the series add up to, beside the sums that were published.

Here: actuals and naive forecasts added up, and their meeting with the file of the sums. Elsewhere: which series count in which
sum (`predictors.hierarchy`), the arithmetic of errors (`metrics`), one series' actuals (`accuracy`).

A sum has an actual where all its series have one. A level in one of whose nodes other series count by now than when it was
forecast (the items' metadata changed) is left out, by the digests that its manifest has; a node with another number of series
in any case. Seasonal naive forecasts of sums are the sums of the series' own. No season error is known of sums, so that they
have no MASE.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.forecast.columns import quantile_columns, quantile_level
from chronos_assets.timeseries.scoring.baselines import spread_to_quantiles
from chronos_assets.timeseries.scoring.metrics import ErrorSums, error_sums


class Groups(Protocol):
    """Which sums series count in, see `predictors.hierarchy.Hierarchy`."""

    @property
    def nodes(self) -> tuple[tuple[str, str], ...]:
        """Level and value of each sum."""

    @property
    def leaf_of(self) -> Mapping[Key, int]:
        """Series -> number of the narrowest sum that it counts in."""

    @property
    def leaves(self) -> int:
        """How many of the narrowest there are."""

    def sums(self, values: Floats) -> Floats:
        """Sums of each node, (nodes, ...), of values of the leaves, (leaves, ...)."""


@dataclass(frozen=True)
class SumScores:
    """Errors of sums.

    Attributes:
        nodes: level and value of each.
        forecast, seasonal_naive: their error sums, (nodes,).
    """

    nodes: tuple[tuple[str, str], ...]
    forecast: ErrorSums
    seasonal_naive: ErrorSums


@dataclass(frozen=True)
class PublishedLevels:
    """Forecasts of sums that are to be scored.

    Attributes:
        path: of their file.
        groups: which sums the series count in.
        levels: that are scored.
    """

    path: Path
    groups: Groups
    levels: Collection[str]


class SummedActuals:
    """Adds up what the series of a forecast did over its horizon.

    Args:
        published: the forecasts of the sums.
        steps: periods of the horizon.
    """

    def __init__(self, published: PublishedLevels, steps: int) -> None:
        self._published = published
        self._groups = groups = published.groups
        self._seen = np.zeros(groups.leaves)
        self._actual, self._naive = (np.zeros((groups.leaves, steps)) for _ in range(2))

    def add(self, key: Key, actual: Floats, naive: Floats) -> None:
        """Count one series of the dataset in. actual, naive: (steps,), NaN where nothing was observed."""
        leaf = self._groups.leaf_of.get(key)
        if leaf is not None:
            self._seen[leaf] += 1
            self._actual[leaf] += actual
            self._naive[leaf] += naive

    def scores(self) -> SumScores:
        """The errors of the published sums, once all series are counted in."""
        groups, steps = self._groups, self._actual.shape[1]
        forecast = _PublishedSums.read(self._published.path, steps)
        count = groups.sums(np.bincount(list(groups.leaf_of.values()), minlength=groups.leaves).astype(np.float64))
        kept = [
            place
            for place, node in enumerate(groups.nodes)
            if node[0] in self._published.levels and forecast.series.get(node) == count[place]
        ]
        nodes = tuple(groups.nodes[place] for place in kept)
        whole = groups.sums(self._seen) == count
        actual = np.where(whole[:, None], groups.sums(self._actual), np.nan)[kept]
        naive = groups.sums(self._naive)[kept]
        unknown = np.full(len(kept), np.nan)
        mean, quantiles = forecast.of(nodes)
        return SumScores(
            nodes,
            error_sums(actual, quantiles, forecast.levels, season_errors=unknown, mean=mean),
            error_sums(
                actual,
                spread_to_quantiles(naive, len(forecast.levels)),
                forecast.levels,
                season_errors=unknown,
                mean=naive,
            ),
        )


@dataclass(frozen=True)
class _PublishedSums:
    """The file of a forecast's sums.

    Attributes:
        levels: of the quantiles.
        places: node -> its place in mean and quantiles.
        series: node -> how many count in it.
        mean: (nodes, steps).
        quantiles: (nodes, steps, levels).
    """

    levels: tuple[float, ...]
    places: Mapping[tuple[str, str], int]
    series: Mapping[tuple[str, str], int]
    mean: Floats
    quantiles: Floats

    @classmethod
    def read(cls, path: Path, steps: int) -> _PublishedSums:
        """The sums of a file, which has `steps` rows of each, one after another."""
        import pyarrow.parquet as pq

        table = pq.read_table(path, partitioning=None)
        names = quantile_columns(table.column_names)
        levels, values, series = (table[name].to_pylist()[::steps] for name in ("level", "value", "series"))
        nodes = list(zip(levels, values, strict=True))
        columns = [table[name].to_numpy().reshape(-1, steps) for name in ("mean", *names)]
        return cls(
            levels=tuple(level for level in map(quantile_level, names) if level is not None),
            places={node: place for place, node in enumerate(nodes)},
            series=dict(zip(nodes, series, strict=True)),
            mean=columns[0],
            quantiles=np.stack(columns[1:], axis=-1) if names else np.zeros((*columns[0].shape, 0)),
        )

    def of(self, nodes: tuple[tuple[str, str], ...]) -> tuple[Floats, Floats]:
        """Mean and quantiles of some nodes."""
        places = [self.places[node] for node in nodes]
        return self.mean[places], self.quantiles[places]
