"""How the rows of related time series lie in files: which periods there are, and what of those before a tail is remembered.

Elsewhere: writing them (`related_writing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chronos_assets.params.attributes import RelatedFilling
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.cells import take_series
from chronos_assets.timeseries.dataset.covariate_files import CovariateSource
from chronos_assets.timeseries.dataset.gridding import NOTHING, Cells
from chronos_assets.timeseries.dataset.related_columns import Extent, filling_of, key_parts, series_ahead
from chronos_assets.timeseries.dataset.related_spans import Picked
from chronos_assets.timeseries.dataset.series_keys import Key, key_list
from chronos_assets.timeseries.dataset.shard_writing import longest_tail, tail_start
from chronos_assets.timeseries.dataset.shards import Manifest


@dataclass(frozen=True)
class RelatedForm:
    """Where rows lie, in periods of the dataset's grid.

    Attributes:
        first: of the dataset.
        last: of the dataset.
        horizon: the last one that is forecast.
        tail_from: from which on rows go to a file of their own; None without one.
        end: the last one that has rows. With tails it is the same for all of the dataset's ends that a tail may have.
    """

    first: int
    last: int
    horizon: int
    tail_from: int | None
    end: int

    @classmethod
    def of(cls, sources: Sequence[CovariateSource], params: ForecastParams, dataset: Manifest) -> RelatedForm:
        """Of what is imported beside a dataset; a value that fills gaps or stands for many series depends on other files."""
        first, last = dataset.span(params.grid)
        horizon, names = last + params.horizon, 1 + len(dataset.dimensions)
        is_plain = all(
            len(key_parts(source, params, dataset)) == names and not any(map(_fills, filling_of(source, params)))
            for source in sources
        )
        start = tail_start(first, last, dataset.n_shards) if is_plain else None
        if start is None:
            return cls(first, last, horizon, None, horizon)
        return cls(first, last, horizon, start, start + longest_tail(last - first + 1) - 1 + params.horizon)


def _fills(filling: RelatedFilling) -> bool:
    return {filling.middlefill, filling.backfill, filling.futurefill} != {"nan"}


@dataclass(frozen=True)
class EarlyCells:
    """The series of a shard with values before its tail, as far as anything else depends on them.

    Attributes:
        keys: (k), sorted.
        firsts: (columns, k) period of the first such value.
        lasts: (columns, k) of the last; `NOTHING` without any.
        lows: (columns,) the smallest one.
        highs: (columns,) the largest one.
        cells: (columns,) how many there are.
    """

    keys: list[Key]
    firsts: Integers
    lasts: Integers
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    cells: Integers

    @classmethod
    def of(cls, parts: Sequence[Cells | None]) -> EarlyCells:
        """Of the cells of each column before the tail."""
        found = [
            take_series(cells, np.flatnonzero(cells.counts)) if cells is not None and cells.counts.any() else None
            for cells in parts
        ]
        keys = sorted(set[Key]().union(*(key_list(cells.keys) for cells in found if cells is not None)))
        picked = [Picked.of(cells, keys) for cells in found]
        values = [np.empty(0) if cells is None else cells.values for cells in found]
        return cls(
            keys,
            np.array([one.first for one in picked], dtype=np.int64).reshape(len(parts), len(keys)),
            np.array([one.last for one in picked], dtype=np.int64).reshape(len(parts), len(keys)),
            np.array([each.min(initial=np.inf) for each in values]),
            np.array([each.max(initial=-np.inf) for each in values]),
            np.array([len(each) for each in values], dtype=np.int64),
        )

    def places(self, keys: Sequence[Key]) -> Integers:
        """(n,) where keys are among those here; -1 for those that aren't."""
        found = {key: place for place, key in enumerate(self.keys)}
        return np.fromiter((found.get(key, -1) for key in keys), dtype=np.int64, count=len(keys))

    def joined(self, column: int, late: Picked, places: Integers) -> Picked:
        """What a column has in all: these, which are at such places, and later ones. Its cells are the later ones."""
        if not self.keys:
            return late
        lasts = np.where(places >= 0, self.lasts[column][places], NOTHING)
        known = lasts != NOTHING
        first = np.where(known, self.firsts[column][places], late.first)
        return replace(late, first=first, last=np.maximum(late.last, lasts), counts=late.counts + known)

    def extent(self, column: int, late: Cells | None, joined: Picked, form: RelatedForm) -> Extent:
        """Of a column in all."""
        ahead = 0 if late is None else series_ahead(late, form.last, form.horizon)
        values = np.empty(0) if late is None else late.values
        low = min(float(self.lows[column]), float(values.min(initial=np.inf)))
        high = max(float(self.highs[column]), float(values.max(initial=-np.inf)))
        last = np.where(joined.counts > 0, joined.last, NOTHING)
        return Extent.of_series(low, high, int(self.cells[column]) + len(values), joined.first, last, ahead)
