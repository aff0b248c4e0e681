"""The past of a dataset's series, as of a period: what a predictor is learned from.

Here belongs reading shards for it: which series are sampled, and what was known of them. Cutting windows is in
`backtest_windows`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.params.attributes import Filling
from chronos_assets.predictors.backtest_windows import LONGEST_WINDOW, MOST_WINDOWS, REACH, SAMPLE, BacktestPast, rank
from chronos_assets.predictors.covariates import CovariateFolders
from chronos_assets.predictors.members.base import COVARIATE_REACH
from chronos_assets.predictors.members.regression import MOST_ROWS
from chronos_assets.timeseries.dataset.filling import context_as_of
from chronos_assets.timeseries.dataset.shards import Series, iter_series

# Periods of a series: what a network reads, and before the earliest of its windows.
_LEAST_COVARIATES = COVARIATE_REACH + MOST_WINDOWS * LONGEST_WINDOW


def sampled_series(
    shards: Iterable[Path],
    dimensions: Sequence[str],
    grid: Grid,
    ordinals: Iterable[int],
    seed: int,
    most: int = SAMPLE,
) -> dict[int, list[Series]]:
    """At most so many of the series that had begun by each period, in order of their keys.

    They are chosen by a digest of the key: the same however the series are dealt out over shards.
    """
    chosen: dict[int, list[tuple[int, tuple[str, ...], Series]]] = {ordinal: [] for ordinal in ordinals}
    for shard in shards:
        for series in iter_series(shard, dimensions):
            place = -int.from_bytes(rank(seed, series.key))
            first = grid.number_of(series.timestamps[0])
            for ordinal, heap in chosen.items():
                if first > ordinal:
                    continue
                if len(heap) < most:
                    heapq.heappush(heap, (place, series.key, series))
                elif place > heap[0][0]:
                    heapq.heapreplace(heap, (place, series.key, series))
    by_key = {ordinal: sorted(heap, key=lambda item: item[1]) for ordinal, heap in chosen.items()}
    return {ordinal: [series for _, _, series in heap] for ordinal, heap in by_key.items()}


def known_past(
    series: Iterable[Series],
    grid: Grid,
    ordinal: int,
    filling: Filling,
    horizon: int,
    context_length: int | None = None,
    covariates: CovariateFolders | None = None,
) -> list[BacktestPast]:
    """What was known of each series, and beside it, at the end of a period; of those that had begun, and were observed.

    Args:
        series: of the dataset.
        grid: of the dataset.
        ordinal: number of the last period that may be read.
        filling: how gaps are filled.
        horizon: periods that will be forecast.
        context_length: latest periods that a forecast may read; all that members reach if not given.
        covariates: what there is beside the dataset; None where there is nothing.
    """
    past = list(_past_as_of(series, grid, ordinal, filling, context_length))
    return past if covariates is None else _with_covariates(past, covariates, horizon)


def _past_as_of(
    series: Iterable[Series], grid: Grid, ordinal: int, filling: Filling, context_length: int | None
) -> Iterator[BacktestPast]:
    for item in series:
        first = grid.number_of(item.timestamps[0])
        cut = min(ordinal - first + 1, len(item.target))
        if cut <= 0:
            continue
        start = max(0, cut - 2 * REACH)
        observed = ~item.filled[start:cut] & np.isfinite(item.target[start:cut])
        if observed.any():
            values = context_as_of(item, cut, cut - start, filling)
            seen = np.where(observed, item.target[start:cut], np.nan)
            yield BacktestPast(item.key, values, seen, context_length, first + cut - 1)


def _with_covariates(past: Sequence[BacktestPast], source: CovariateFolders, horizon: int) -> list[BacktestPast]:
    """The same with what was known beside each series at its end; of as many periods as members read."""
    related = source.of_series(item.key for item in past)
    most = max(_LEAST_COVARIATES, MOST_ROWS // max(len(past), 1))
    return [
        replace(
            item,
            covariates=source.as_of(item.key, related.get(item.key), item.end, min(len(item.values), most), horizon),
        )
        for item in past
        if item.end is not None
    ]
