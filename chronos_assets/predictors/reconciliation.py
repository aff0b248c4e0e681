"""Coherent forecasts of sums of series, with a band that says what the sum is unsure of.

Here: the arithmetic, and the file that it leaves. Elsewhere: which series count in which sum (`hierarchy`), when
this happens (`pipeline.levels`).

**Means** add up, at every level, exactly.

- *Bottom-up*: the mean of a sum is the sum of the series' means.
- *MinTrace* (Wickramasuriya, Athanasopoulos & Hyndman, JASA 2019, with their diagonal W of variances): the sums have
  forecasts of their own, by the Theta method on the summed past, with the variance of their errors at past origins. Bottom-up
  forecasts of the leaves and these are combined by generalised least squares, so that the result adds up and has the least
  variance. The series' own forecasts stay as they are.

**Bands** are not sums of quantiles, which would be right only if all series were high, or low, together. Each series' spread
at each step is that of its own band. How series move together is the average correlation, weighted by spread, of their
changes over a season in the latest periods up to the as-of; no less than 0, and 1 where the past is too short to tell. The band
follows from the variance of the sum: normal, except for the share of the spread that is left by adding up, which keeps the
shape of the series' own bands. So a sum of one series has that series' band.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.models.quantiles import mean_of_quantiles, normal_scores
from chronos_assets.params.reconciliation import ReconcileMethod
from chronos_assets.predictors.hierarchy import Hierarchy, LevelsError
from chronos_assets.predictors.members.base import LEVELS, LONGEST, MEDIAN, Contexts
from chronos_assets.predictors.members.theta import Theta
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.dataset.shards import Series, ShardSource, iter_series
from chronos_assets.timeseries.forecast.files import WindowFolder

LEVELS_FILE = "levels.parquet"
CHANGES = 64  # latest changes over a season that say how series move together
_LEAST_CHANGES = 8
ORIGINS = 12  # at which the sums' own forecasts are tried
_MOST_NODES = 1000  # of MinTrace, which inverts a matrix of that size for each step
_CENTRAL = 1e-9  # below it, the score of a quantile says nothing of spread
_STRAIGHT = 1e-9  # of the largest value: a narrower band is rounding


@dataclass(frozen=True)
class SummedPast:
    """What the past of the series says of their sums.

    Attributes:
        moves: standardised changes of the series, weighted by their spread and added up, (leaves, `CHANGES`).
        known: sum of the spreads of series whose changes are known, (leaves,).
        squares: sum of their squares, (leaves,).
        history: sums of the observations, (leaves, periods), NaN before the first; without periods where nobody asked.
    """

    moves: Floats
    known: Floats
    squares: Floats
    history: Floats


@dataclass(frozen=True)
class SummedForecasts:
    """The series' forecasts, added up.

    Attributes:
        count: series of each leaf, (leaves,).
        mean: (leaves, horizon).
        quantiles: sums of the series', (leaves, horizon, quantiles).
        spread: sum of the series' standard deviations, (leaves, horizon).
        variance: sum of their squares, (leaves, horizon).
        lowest: value of any of their forecasts, (leaves,).
        weights: series -> mean of its standard deviation over the horizon.
    """

    count: Floats
    mean: Floats
    quantiles: Floats
    spread: Floats
    variance: Floats
    lowest: Floats
    weights: Mapping[Key, float]


def series_of(forecast: WindowFolder) -> Iterator[Key]:
    """The series of a window's forecast, in order; cold starts are among them."""
    for keys, _ in forecast.forecasts():
        yield from keys


def write_levels(
    path: Path,
    forecast: WindowFolder,
    dataset: ShardSource,
    hierarchy: Hierarchy,
    method: ReconcileMethod,
    grid: Grid,
) -> dict[str, Any]:
    """Forecast the sums of a window's series, and write them: level, value, timestamp, series, mean and quantiles.

    Args:
        path: of the file.
        forecast: of the window, whole.
        dataset: that it was made from.
        hierarchy: of the forecast's series.
        method: of reconciliation.
        grid: of the dataset.

    Returns:
        What a manifest says of it.

    Raises:
        LevelsError: there are too many sums for the method.
    """
    check_size(hierarchy, method)
    manifest = dataset.manifest
    until = np.datetime64(str(forecast.manifest["context_end"]), "us")
    levels = [float(level) for level in forecast.manifest["quantiles"]]
    added = add_forecasts(forecast, hierarchy)
    last = grid.number_of(until)
    periods = last - manifest.span(grid)[0] + 1
    frequency = grid.frequency
    past = add_past(
        (series for _, path in dataset.each(manifest.shards) for series in iter_series(path, manifest.dimensions)),
        hierarchy,
        added.weights,
        grid,
        last,
        lag=_lag(frequency, periods),
        periods=min(periods, LONGEST) if method == "min_trace" else 0,
    )
    deviation = deviations(hierarchy, added, past)
    mean = added.mean
    if method == "min_trace":
        own = own_forecasts(hierarchy.sums(past.history), mean.shape[1], frequency.candidate_seasons)
        if own is not None:
            mean = min_trace(hierarchy, mean, _of_leaves(hierarchy, deviation), *own)
            mean = np.where(added.lowest[:, None] >= 0, np.maximum(mean, 0.0), mean)
            deviation = np.where(own[1] > 0, np.minimum(deviation, own[1]), deviation)
    summed = hierarchy.sums(mean)
    quantiles = bands(hierarchy, added, summed, deviation, levels)
    starts = grid.start(last + 1 + np.arange(mean.shape[1]))
    _write(path, hierarchy, hierarchy.sums(added.count), starts, summed, quantiles, forecast.layout.columns)
    return {
        "levels": {name: sum(level == name for level, _ in hierarchy.nodes) for name in hierarchy.levels},
        "members": hierarchy.members(),
        "method": method,
        "columns": ["mean", *(name for name in forecast.layout.columns if name != "mean")],
        "rows": len(hierarchy.nodes) * mean.shape[1],
    }


def check_size(hierarchy: Hierarchy, method: ReconcileMethod) -> None:
    """See that a method can do the sums that there are.

    Raises:
        LevelsError: there are too many.
    """
    if method == "min_trace" and len(hierarchy.nodes) > _MOST_NODES:
        raise LevelsError(
            f"Chronos.Reconcile: min_trace forecasts up to {_MOST_NODES:,} sums, and these levels have "
            f'{len(hierarchy.nodes):,}: leave out the narrowest level, or write "Method": "bottom_up"'
        )


def add_forecasts(forecast: WindowFolder, hierarchy: Hierarchy) -> SummedForecasts:
    """The forecasts of a window's series, added up; in memory that grows with the leaves, and a number for each series."""
    layout = forecast.layout
    with_mean = "mean" in layout.columns
    levels = [float(level) for level in forecast.manifest["quantiles"]]
    leaves, horizon = hierarchy.leaves, layout.horizon
    count, lowest = np.zeros(leaves), np.full(leaves, np.inf)
    mean, spread, variance = (np.zeros((leaves, horizon)) for _ in range(3))
    quantiles = np.zeros((leaves, horizon, len(levels)))
    weights: dict[Key, float] = {}
    for keys, values in forecast.forecasts():
        places = np.array([hierarchy.leaf_of[key] for key in keys], dtype=np.intp)
        bands = values[:, :, int(with_mean) :]
        centre = values[:, :, 0] if with_mean else mean_of_quantiles(bands, levels)
        sigma = spread_of(bands, centre, levels)
        np.add.at(count, places, 1)
        np.add.at(mean, places, centre)
        np.add.at(quantiles, places, bands)
        np.add.at(spread, places, sigma)
        np.add.at(variance, places, sigma**2)
        np.minimum.at(lowest, places, values.min(axis=(1, 2)))
        weights.update(zip(keys, sigma.mean(axis=1).tolist(), strict=True))
    return SummedForecasts(count, mean, quantiles, spread, variance, lowest, weights)


def spread_of(quantiles: Floats, mean: Floats, levels: Sequence[float]) -> Floats:
    """Standard deviations (n, horizon) of normal distributions that have about these quantiles (n, horizon, levels)."""
    if not levels:
        return np.zeros_like(mean)
    scores = normal_scores(levels)
    middle = scores.mean() if len(levels) > 1 else 0.0
    around = quantiles.mean(axis=2) if len(levels) > 1 else mean
    lever = scores - middle
    if (lever**2).sum() < _CENTRAL:
        return np.zeros_like(mean)
    return np.asarray(np.maximum(((quantiles - around[:, :, None]) * lever).sum(axis=2) / (lever**2).sum(), 0.0))


def add_past(
    dataset: Iterator[Series],
    hierarchy: Hierarchy,
    weights: Mapping[Key, float],
    grid: Grid,
    last: int,
    *,
    lag: int,
    periods: int,
) -> SummedPast:
    """What series did up to the as-of, added up; of those that were forecast.

    Args:
        dataset: the series.
        hierarchy: of the sums.
        weights: of the series' changes.
        grid: of the dataset.
        last: number of the last period that the forecast saw.
        lag: periods of a season.
        periods: of the summed history.
    """
    leaves, width = hierarchy.leaves, max(CHANGES + lag, periods)
    moves, known, squares = np.zeros((leaves, CHANGES)), np.zeros(leaves), np.zeros(leaves)
    history, begun = np.zeros((leaves, periods)), np.zeros((leaves, periods), dtype=bool)
    for series in dataset:
        weight = weights.get(series.key)
        if weight is None:
            continue
        values, leaf = latest_values(series, grid, last, width), hierarchy.leaf_of[series.key]
        changes = standard_changes(values, lag)
        if changes is not None:
            moves[leaf] += weight * changes
            known[leaf] += weight
            squares[leaf] += weight**2
        if periods:
            tail = values[width - periods :]
            seen = np.flatnonzero(np.isfinite(tail))
            if len(seen):
                # A gap counts as the usual, so that one series' gap is no dip of the sum.
                since = tail[seen[0] :]
                history[leaf, seen[0] :] += np.where(np.isfinite(since), since, tail[seen].mean())
                begun[leaf, seen[0] :] = True
    return SummedPast(moves, known, squares, np.where(begun, history, np.nan) if periods else history)


def latest_values(series: Series, grid: Grid, last: int, width: int) -> Floats:
    """The `width` periods up to number `last` of a series, NaN where nothing is known."""
    first = grid.number_of(series.timestamps[0])
    result = np.full(width, np.nan)
    start, end = max(first, last - width + 1), min(first + len(series.target), last + 1)
    if start < end:
        offset = last - width + 1
        result[start - offset : end - offset] = series.target[start - first : end - first]
    return np.where(np.isfinite(result), result, np.nan)


def standard_changes(values: Floats, lag: int) -> Floats | None:
    """The latest `CHANGES` changes over a season, with mean 0 and mean square 1; 0 where unknown, None if they are too few."""
    recent = values[-(CHANGES + lag) :]
    changes = recent[lag:] - recent[:-lag]
    there = np.isfinite(changes)
    if there.sum() < _LEAST_CHANGES:
        return None
    moves = np.where(there, changes - changes[there].mean(), 0.0)
    size = float(np.sqrt((moves**2).mean()))
    return moves / size if size > 0 else None


def deviations(hierarchy: Hierarchy, added: SummedForecasts, past: SummedPast) -> Floats:
    """Standard deviation of the sum of each node, (nodes, horizon)."""
    moves, known, squares = (hierarchy.sums(part) for part in (past.moves, past.known, past.squares))
    together = (moves**2).mean(axis=1) - squares
    pairs = known**2 - squares
    # Node 0 is the total: its correlation is that of nodes in which no two series' changes are known.
    of_total = together[0] / pairs[0] if pairs[0] > 0 else 1.0
    correlation = np.clip(np.where(pairs > 0, together / np.where(pairs > 0, pairs, 1.0), of_total), 0.0, 1.0)
    variance, spread = hierarchy.sums(added.variance), hierarchy.sums(added.spread)
    return np.asarray(np.sqrt(variance + correlation[:, None] * np.maximum(spread**2 - variance, 0.0)))


def own_forecasts(history: Floats, horizon: int, seasons: Sequence[int]) -> tuple[Floats, Floats] | None:
    """Forecasts of sums from their own past, and the standard deviations of their errors, (nodes, horizon) each.

    The deviations are those of the Theta method's own band, made as wide as its errors were at past origins.

    Returns:
        None where the past is too short for an origin.
    """
    step, shortest = max(1, horizon // 2), max(2 * horizon, _LEAST_CHANGES)
    cuts = [history.shape[1] - horizon - number * step for number in range(ORIGINS)]
    cuts = [cut for cut in cuts if cut >= shortest]
    if not cuts:
        return None
    least = np.nanmax(np.abs(history), axis=1, initial=0.0)[:, None] * _STRAIGHT
    scaled, plain = np.zeros((len(history), horizon)), np.zeros((len(history), horizon))
    for cut in cuts:
        mean, spread = _theta(history[:, :cut], horizon, seasons)
        error = np.where(np.isfinite(spread), history[:, cut : cut + horizon] - mean, 0.0)
        plain += np.nan_to_num(error) ** 2
        scaled += np.divide(np.nan_to_num(error), spread, out=np.zeros_like(error), where=spread > least) ** 2
    mean, spread = _theta(history, horizon, seasons)
    width = np.sqrt((scaled / len(cuts)).mean(axis=1))[:, None]
    wide = np.where(np.isfinite(spread), spread, 0.0) * width
    deviation = np.where(spread > least, wide, np.sqrt((plain / len(cuts)).mean(axis=1))[:, None])
    return mean, np.where(np.isfinite(spread), deviation, np.inf)


def _theta(history: Floats, horizon: int, seasons: Sequence[int]) -> tuple[Floats, Floats]:
    """Means and standard deviations of the Theta method; 0 and infinite for what it can't forecast."""
    found = Theta().forecast(Contexts(list(history), horizon, tuple(seasons)))
    low, high = LEVELS.index(0.1), LEVELS.index(0.9)
    spread = (found[:, :, high] - found[:, :, low]) / (normal_scores([0.1, 0.9]) @ np.array([-1.0, 1.0]))
    known = np.isfinite(found[:, :, MEDIAN])
    return np.where(known, found[:, :, MEDIAN], 0.0), np.where(known, spread, np.inf)


def min_trace(hierarchy: Hierarchy, mean: Floats, leaf_deviation: Floats, own: Floats, own_deviation: Floats) -> Floats:
    """Means of the leaves, (leaves, horizon), from which all sums follow, with the least variance.

    With y the sums' own forecasts and V their variances, b those of the leaves and B theirs, S the sums of leaves: the
    generalised least squares answer b + B S' (S B S' + V)^-1 (y - S b), which is MinTrace's (S'W^-1 S)^-1 S'W^-1 for the
    diagonal W of B and V without inverting matrices of the leaves.

    Args:
        hierarchy: of the sums.
        mean: bottom-up forecasts of the leaves, (leaves, horizon).
        leaf_deviation: of their errors.
        own: forecasts of all nodes, (nodes, horizon).
        own_deviation: of their errors; infinite where there is no forecast.
    """
    matrix = hierarchy.matrix()
    result = mean.copy()
    for step in range(mean.shape[1]):
        use = np.isfinite(own_deviation[:, step])
        part = matrix[use]
        spread = part * leaf_deviation[:, step] ** 2
        total = spread @ part.T + np.diag(own_deviation[use, step] ** 2)
        scale = float(np.trace(total)) or 1.0
        total[np.diag_indices_from(total)] += 1e-12 * scale
        result[:, step] += spread.T @ np.linalg.solve(total, own[use, step] - part @ mean[:, step])
    return result


def bands(
    hierarchy: Hierarchy, added: SummedForecasts, mean: Floats, deviation: Floats, levels: Sequence[float]
) -> Floats:
    """Quantiles of the sums, (nodes, horizon, levels); see the module.

    Args:
        hierarchy: of the sums.
        added: the series' forecasts.
        mean: of the nodes, (nodes, horizon).
        deviation: of the nodes, (nodes, horizon).
        levels: of the quantiles.
    """
    if not levels:
        return np.empty((*mean.shape, 0))
    spread = hierarchy.sums(added.spread)
    inside = spread > 0
    share = np.where(inside, deviation / np.where(inside, spread, 1.0), 0.0)[:, :, None]
    shape = hierarchy.sums(added.quantiles - added.mean[:, :, None]) / np.where(inside, spread, 1.0)[:, :, None]
    form = np.minimum(share, 1.0) * shape + (1 - np.minimum(share, 1.0)) * normal_scores(levels)
    found = mean[:, :, None] + deviation[:, :, None] * np.where(inside[:, :, None], form, 0.0)
    floor = np.where(hierarchy.lowest(added.lowest) >= 0, 0.0, -np.inf)
    return np.asarray(np.maximum(found, floor[:, None, None]))


def _of_leaves(hierarchy: Hierarchy, values: Floats) -> Floats:
    """Values of the leaves, of those of all nodes."""
    return np.asarray(values[hierarchy.ancestors[-1]])


def _lag(frequency: Frequency, periods: int) -> int:
    """Periods of the shortest season of which the past has changes enough; 1 without one."""
    return next((season for season in frequency.candidate_seasons if periods >= season + _LEAST_CHANGES), 1)


def _write(
    path: Path,
    hierarchy: Hierarchy,
    count: Floats,
    starts: NDArray[np.datetime64],
    mean: Floats,
    quantiles: Floats,
    columns: Sequence[str],
) -> None:
    horizon = mean.shape[1]
    names = [name for name in columns if name != "mean"]
    texts = [[node[place] for node in hierarchy.nodes for _ in range(horizon)] for place in range(2)]
    table = pa.table(
        {
            "level": pa.array(texts[0], pa.string()),
            "value": pa.array(texts[1], pa.string()),
            "timestamp": pa.array(np.tile(starts, len(hierarchy.nodes)).astype("datetime64[us]")),
            "series": pa.array(np.repeat(count.astype(np.int64), horizon)),
            "mean": pa.array(mean.reshape(-1)),
            **{name: pa.array(quantiles[:, :, place].reshape(-1)) for place, name in enumerate(names)},
        }
    )
    pq.write_table(table, path, compression="zstd")
