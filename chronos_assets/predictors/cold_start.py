"""Forecasts of items without a past: those of the items that are most alike by their metadata, mixed.

Here: which series are cold starts, who their donors are, and the mixture. Elsewhere: the files of a forecast
(`timeseries.forecast.files`), when this happens (`pipeline.forecasts`).

A **cold start** is an item with metadata that the forecast skipped because it had no observation, or fewer than asked for; or
one without a row by the as-of. Its donors are series that the same forecast has: so it knows what they knew and nothing later,
has their seasons and holidays, and is the same whatever windows, shards and instances made the forecast.

**Alike.** Two items share, of each category, all or nothing; of each number, 1 less the difference over the range from the 5th
to the 95th percentile; of what one of them lacks, nothing. Similarity is the mean over all attributes, and over the dimensions
where there are any (Gower, Biometrics 1971). An item that shares nothing with any other is skipped, and named.

**Mixed.** The forecast is the distribution of a donor drawn by weight: its band holds both what donors are unsure of and how
they differ. Where one quantile alone was asked for, it is the weighted median of the donors'. Where the item has a few
observations, donors are first moved to its level, as far as those are to be believed (`few_observations`).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from chronos_assets.models.quantiles import interpolate
from chronos_assets.predictors.backtest_windows import rank
from chronos_assets.predictors.few_observations import (
    LATEST,
    TRIED,
    CredibleLevel,
    LatestObservations,
    level_of,
    try_on_donors,
)
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.item_metadata import ItemMetadata
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.forecast.files import (
    ForecastLayout,
    Record,
    WindowFolder,
    skipped_summary,
    skipped_table,
    write_window,
)
from chronos_assets.timeseries.published_files import COLD_STARTS

NO_ROW, NOBODY_ALIKE = "no row by the as-of", "no past, and no item of the forecast that shares metadata with it"
DONORS = 30
_SHARPNESS = 8.0  # a donor that differs in one of four categories counts a seventh of one that differs in none
_MOST_CANDIDATES = 20_000
_VALUES_AT_ONCE = 8_000_000  # of all candidates: 64 MB
_POINTS = 41  # of a donor's distribution; odd, so that its median is one of them
_FEW = re.compile(r"\d+ observations, fewer than the \d+ asked for")
_TOO_SHORT = re.compile(rf"no observation( before the as-of)?|{_FEW.pattern}")


@dataclass(frozen=True)
class ColdStart:
    """A series without a past, and the candidates that it is forecast from.

    Attributes:
        key: of the series.
        reason: what it lacks.
        donors: places among the candidates, the most alike first.
        weights: of the donors; they add up to 1.
        similarity: of the first, from 0 to 1.
        level: where the item stands among them, by its few observations; None without any.
    """

    key: Key
    reason: str
    donors: tuple[int, ...]
    weights: tuple[float, ...]
    similarity: float
    level: CredibleLevel | None = None


def add_cold_starts(
    folder: Path,
    target: Path,
    metadata: ItemMetadata,
    wanted: bool | None,
    recent: LatestObservations | None = None,
    season: int = 1,
) -> dict[str, Any] | None:
    """Write a forecast again with its cold starts.

    Args:
        folder: of a window's whole forecast.
        target: gets the same files, and `cold_starts.parquet`; must not be there.
        metadata: of the items.
        wanted: None leaves out items without a row where they outnumber the series that are forecast.
        recent: the latest observations of series by the as-of; without it levels are those of donors.
        season: periods after which a value comes again.

    Returns:
        The manifest that was written; None, and nothing is written, where there is no cold start to add or to report.
    """
    window = WindowFolder.read(folder)
    layout, periods = window.layout, window.periods()
    if periods is None:
        return None
    known = set(window.keys())
    skipped = [tuple(row.values()) for row in window.skipped().to_pylist()]
    waiting = {
        tuple(key): str(reason) for *key, reason in skipped if _TOO_SHORT.fullmatch(reason) and key[0] in metadata
    }
    there = {key[0] for key in known} | {row[0] for row in skipped}
    rowless = [item for item in metadata.items if item not in there]
    left_out = len(rowless) if layout.dimensions or (wanted is None and len(rowless) > len(known)) else 0
    waiting |= {(item,): NO_ROW for item in (() if left_out else rowless)}
    if not waiting and not left_out:
        return None
    candidates = _candidates([key for key in known if key[0] in metadata], layout, int(window.manifest["seed"]))
    alike = _Similarity(candidates, metadata)
    starts, alone = _cold_starts(waiting, alike)
    settled = {start.key for start in starts} | set(alone)
    kept = [(tuple(key), reason) for *key, reason in skipped if tuple(key) not in settled]
    table = skipped_table([*kept, *((key, NOBODY_ALIKE) for key in alone)], layout.dimensions)
    manifest = dict(window.manifest) | skipped_summary(table)
    manifest["series"] += len(starts)
    manifest["rows"] += len(starts) * layout.horizon
    manifest["cold_start"] = {"series": len(starts), "donors": DONORS, "left_out": left_out}
    if recent is not None and any(_FEW.fullmatch(start.reason) for start in starts):
        starts, tried = _with_levels(starts, alike, recent, layout.horizon, season)
        manifest["cold_start"]["few_observations"] = {
            "series": sum(start.level is not None for start in starts),
            "tried": tried,
        }
    records = _records(window, starts, candidates, manifest)
    write_window(target, layout, periods, [window.series(), records], table, manifest)
    _write_starts(target / COLD_STARTS, starts, candidates, layout)
    for path in sorted(folder.iterdir()):
        if not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)
    return manifest


def _candidates(keys: Sequence[Key], layout: ForecastLayout, seed: int) -> list[Key]:
    """Series that may be donors, in an order that depends on nothing but their keys: their digests'."""
    width = layout.horizon * len(layout.columns)
    most = max(DONORS, min(_MOST_CANDIDATES, _VALUES_AT_ONCE // width))
    return sorted(keys, key=lambda key: rank(seed, key))[:most]


def _cold_starts(waiting: Mapping[Key, str], alike: _Similarity) -> tuple[list[ColdStart], list[Key]]:
    """The series that have donors, and those that have none; both in order of their keys."""
    found: list[ColdStart] = []
    alone: list[Key] = []
    for key in sorted(waiting):
        donors, weights, nearest = alike.donors(key)
        if not len(donors):
            alone.append(key)
            continue
        found.append(ColdStart(key, waiting[key], tuple(donors.tolist()), tuple(weights.tolist()), nearest))
    return found, alone


def _with_levels(
    starts: Sequence[ColdStart], alike: _Similarity, recent: LatestObservations, horizon: int, season: int
) -> tuple[list[ColdStart], dict[str, Any] | None]:
    """The cold starts with the levels of those that have observations, and how such levels do on donors."""
    few = [start for start in starts if _FEW.fullmatch(start.reason)]
    tried = alike.candidates[:TRIED]
    named = {alike.candidates[place] for start in few for place in start.donors}
    values = recent({*(start.key for start in few), *named, *tried})
    nothing = np.full(LATEST, np.nan)
    found = []
    for start in starts:
        level = None
        if start in few and start.key in values:
            donors = np.stack([values.get(alike.candidates[place], nothing) for place in start.donors])
            level = level_of(values[start.key], donors, np.array(start.weights))
        found.append(replace(start, level=level))
    counts = [start.level.observations for start in found if start.level is not None]
    if not counts:
        return found, None
    others = _Similarity(tried, alike.metadata)

    def donors_of(key: Key) -> tuple[list[Key], Floats]:
        places, weights, _ = others.donors(key)
        return [tried[place] for place in places.tolist()], weights

    sample = {key: values[key] for key in tried if key in values}
    return found, try_on_donors(sample, donors_of, int(np.median(counts)), horizon, season)


class _Similarity:
    """What series share with each of the candidates.

    Args:
        candidates: keys, with metadata.
        metadata: of all items.
    """

    def __init__(self, candidates: Sequence[Key], metadata: ItemMetadata) -> None:
        self.metadata, self.candidates = metadata, candidates
        rows = [metadata.of(key[0]) for key in candidates]
        self.numbers: dict[str, tuple[Floats, float]] = {}
        self.categories: dict[str, NDArray[Any]] = {}
        for attribute in metadata.attributes:
            values = [row[attribute.name] for row in rows]
            if attribute.kind == "category":
                self.categories[attribute.name] = np.array(values, dtype=object)
            else:
                numbers = np.array(values, dtype=np.float64)
                seen = numbers[np.isfinite(numbers)]
                low, high = np.percentile(seen, [5, 95]) if len(seen) else (0.0, 0.0)
                self.numbers[attribute.name] = numbers, float(high - low)
        self.dimensions = [np.array(column, dtype=object) for column in list(zip(*candidates, strict=True))[1:]]

    def to(self, key: Key) -> Floats:
        """Similarity of a series and each candidate, (candidates,), from 0 to 1."""
        own = self.metadata.of(key[0])
        total = np.zeros(len(self.candidates))
        for name, (values, extent) in self.numbers.items():
            difference = np.abs(values - float(own[name] or 0.0))
            shared = np.maximum(1 - difference / extent, 0.0) if extent > 0 else (difference == 0).astype(np.float64)
            total += np.where(np.isfinite(shared), shared, 0.0)
        for name, texts in self.categories.items():
            if own[name] is not None:
                total += texts == own[name]
        for part, texts in zip(key[1:], self.dimensions, strict=False):
            total += texts == part
        return total / max(len(self.numbers) + len(self.categories) + len(self.dimensions), 1)

    def donors(self, key: Key) -> tuple[NDArray[np.intp], Floats, float]:
        """Places of a series' donors among the candidates, the most alike first, their weights, and how alike the first is."""
        similarity = self.to(key)
        order = np.argsort(-similarity, kind="stable")[: DONORS + 1]
        chosen = np.array([place for place in order.tolist() if self.candidates[place] != key], dtype=np.intp)[:DONORS]
        chosen = chosen[similarity[chosen] > 0]
        if not len(chosen):
            return chosen, np.empty(0), 0.0
        nearest = float(similarity[chosen[0]])
        weights = np.exp(_SHARPNESS * (similarity[chosen] - nearest))
        return chosen, weights / weights.sum(), nearest


def _records(
    window: WindowFolder, starts: Sequence[ColdStart], candidates: Sequence[Key], manifest: Mapping[str, Any]
) -> Iterator[tuple[Key, Record]]:
    """Each cold start with its record, in order; without a last observation."""
    layout = window.layout
    needed = {candidates[place] for start in starts for place in start.donors}
    shape = (layout.horizon, len(layout.columns))
    values = {key: record["values"].reshape(shape).copy() for key, record in window.series() if key in needed}
    mixed: dict[tuple[tuple[int, ...], tuple[float, ...]], Floats] = {}
    for start in starts:
        among = (start.donors, start.weights)
        if start.level is not None or among not in mixed:
            mixed.clear()  # items of one profile often follow each other; no more is held
            donors = np.stack([values[candidates[place]] for place in start.donors])
            whole = not np.any(donors[:, :, int(manifest["mean"]) :] % 1)
            moved = start.level.apply(donors) if start.level is not None else donors
            made = mixture(moved, np.array(start.weights), manifest["quantiles"], mean=manifest["mean"], whole=whole)
            mixed[among] = made
        record = np.zeros((), dtype=layout.record)
        record["timestamp"] = np.datetime64("NaT", "us").astype(np.int64)
        record["target"] = np.nan
        record["values"] = mixed[among].reshape(-1)
        if start.level is not None:
            mixed.clear()
        yield start.key, record


def mixture(
    donors: Floats, weights: Floats, levels: Sequence[float], *, mean: bool, whole: bool | None = None
) -> Floats:
    """The forecast of a series that is one of the donors, with the probability that is its weight.

    Args:
        donors: their forecasts, (n, horizon, columns): the mean, if there is one, and ascending quantiles.
        weights: (n,), which add up to 1.
        levels: of the quantiles.
        mean: whether the first column is the mean.
        whole: whether quantiles are to be whole numbers; where all donors' are, if not given.

    Returns:
        (horizon, columns). Not below zero where no donor's quantile is.
    """
    result = np.empty(donors.shape[1:])
    if mean:
        result[:, 0] = (weights[:, None] * donors[:, :, 0]).sum(axis=0)
    quantiles = donors[:, :, int(mean) :]
    if not quantiles.shape[2]:
        return result
    if len(levels) == 1:
        points, wanted = quantiles, [0.5]
    else:
        points, wanted = interpolate(quantiles, levels, ((np.arange(_POINTS) + 0.5) / _POINTS).tolist()), list(levels)
    if quantiles.min() >= 0:
        points = np.maximum(points, 0.0)
    each = np.repeat(weights / points.shape[2], points.shape[2])
    for step in range(points.shape[1]):
        drawn = points[:, step].reshape(-1)
        order = np.argsort(drawn, kind="stable")
        reached = np.cumsum(each[order]) - each[order] / 2
        result[step, int(mean) :] = np.interp(wanted, reached, drawn[order])
    if whole if whole is not None else not np.any(quantiles % 1):
        result[:, int(mean) :] = np.floor(result[:, int(mean) :] + 0.5)
    return result


def _write_starts(path: Path, starts: Sequence[ColdStart], candidates: Sequence[Key], layout: ForecastLayout) -> None:
    columns: dict[str, pa.Array] = {
        name: pa.array([start.key[place] for start in starts], pa.string()) for place, name in enumerate(layout.names)
    }
    columns["reason"] = pa.array([start.reason for start in starts], pa.string())
    columns["donors"] = pa.array([len(start.donors) for start in starts], pa.int64())
    columns["nearest"] = pa.array([candidates[start.donors[0]][0] for start in starts], pa.string())
    columns["similarity"] = pa.array([start.similarity for start in starts], pa.float64())
    levels = [start.level for start in starts]
    columns["observations"] = pa.array([level.observations if level else 0 for level in levels], pa.int64())
    columns["credibility"] = pa.array([level.credibility if level else 0.0 for level in levels], pa.float64())
    pq.write_table(pa.table(columns), path)
