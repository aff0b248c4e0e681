"""Actuals far outside the band that was forecast for them.

Here belong what counts as an anomaly, and the file of those of a partition. Which actual meets which forecast is decided
in `accuracy`.

The band is the widest central one (`metrics.central_bands`), such as p10 to p90. An actual's *deviation* says how far it
is from the middle of the forecast (the median; else the mean; else the middle of the band), as a multiple of the distance
between that middle and the edge of the band on the actual's side: below -1 and above 1 it is outside the band. One of ten
actuals on each side of an honest 80 % band is, so that an anomaly takes more: `Chronos.Anomalies.Threshold`, 2 by default,
which a normal distribution exceeds in one of 100 (beyond 2 · 1.28 standard deviations).

A band without width on the actual's side is no measure: the season error of the series (`metrics.season_error`) stands in
for it; where that is zero or unknown, too, any difference counts, with an infinite deviation (NULL in the file).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.scoring.metrics import central_bands, median_position

Positions = NDArray[np.intp]

_ROWS_PER_GROUP = 100_000


@dataclass(frozen=True)
class Anomalies:
    """Anomalies of some series; every array has the shape (anomalies,).

    series: position of its series; step: of the horizon, from 0. actual, low, middle, high: the observation, the band
    and its middle, in the unit of the target. deviation: signed, see the module; infinite where nothing measures it.
    """

    series: Positions
    step: Positions
    actual: Floats
    low: Floats
    middle: Floats
    high: Floats
    deviation: Floats

    def __len__(self) -> int:
        return len(self.series)

    @staticmethod
    def concatenate(parts: Iterable[tuple[int, Anomalies]]) -> Anomalies:
        """Those of all parts, each with the number of series before it."""
        listed = list(parts)
        joined = {
            field.name: np.concatenate([getattr(part, field.name) for _, part in listed]) for field in fields(Anomalies)
        }
        offsets = np.concatenate([np.full(len(part), before, dtype=np.intp) for before, part in listed])
        return Anomalies(**{**joined, "series": joined["series"] + offsets})

    def reordered(self, order: Positions) -> Anomalies:
        """The same after the series were put into `order`, sorted by series and step."""
        places = np.empty(len(order), dtype=np.intp)
        places[order] = np.arange(len(order))
        series = places[self.series]
        rows = np.lexsort((self.step, series))
        arrays = {field.name: getattr(self, field.name)[rows] for field in fields(Anomalies)}
        return Anomalies(**{**arrays, "series": series[rows]})

    def worst(self, count: int) -> Positions:
        """Positions of the `count` greatest deviations, the greatest first."""
        return np.argsort(-np.abs(self.deviation), kind="stable")[:count]


def find_anomalies(
    actual: Floats,
    quantiles: Floats,
    levels: tuple[float, ...],
    *,
    season_errors: Floats,
    threshold: float,
    mean: Floats | None = None,
) -> Anomalies:
    """The anomalies of a batch of series; none where the quantiles span no central band.

    actual (series, steps): NaN where there is none. quantiles (series, steps, levels). season_errors (series,), NaN where
    undefined. threshold: the least deviation that counts, 1 or more. mean (series, steps): the mean forecast.
    """
    bands = central_bands(levels)
    if not bands:
        nothing, empty = np.zeros(0, dtype=np.intp), np.zeros(0)
        return Anomalies(nothing, nothing, empty, empty, empty, empty, empty)
    low, high = quantiles[..., bands[0][1]], quantiles[..., bands[0][2]]
    position = median_position(levels)
    stand_in = (low + high) / 2 if mean is None else mean
    middle = stand_in if position is None else quantiles[..., position]
    miss = actual - middle
    width = np.where(miss > 0, high - middle, middle - low)
    season = np.broadcast_to(season_errors[:, None], width.shape)
    width = np.where(width > 0, width, np.where(season > 0, season, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.where(miss == 0, 0.0, miss / width)
    outside = (actual < low) | (actual > high)
    found = np.isfinite(actual) & outside & (np.abs(deviation) >= threshold)
    series, step = np.nonzero(found)
    return Anomalies(series, step, actual[found], low[found], middle[found], high[found], deviation[found])


def write_anomalies(
    anomalies: Anomalies,
    series: Sequence[Key],
    timestamps: NDArray[np.datetime64],
    dimensions: Sequence[str],
    path: Path,
) -> int:
    """Write anomalies.parquet, one row each, in order of series and time; the number of rows.

    series: keys, (item_id, *dimensions). timestamps (horizon,): starts of its periods. Columns: item_id, the dimensions,
    timestamp, target (the observation), band_low, band_middle, band_high, deviation (NULL where infinite).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("item_id", *dimensions)
    keys = {
        name: pa.array([series[place][number] for place in anomalies.series], pa.string())
        for number, name in enumerate(names)
    }
    deviation = np.where(np.isfinite(anomalies.deviation), anomalies.deviation, np.nan)
    table = pa.table(
        {
            **keys,
            "timestamp": pa.array(timestamps.astype("datetime64[us]")[anomalies.step], pa.timestamp("us")),
            "target": anomalies.actual,
            "band_low": anomalies.low,
            "band_middle": anomalies.middle,
            "band_high": anomalies.high,
            "deviation": pa.array(deviation, from_pandas=True),
        }
    )
    pq.write_table(table, path, row_group_size=_ROWS_PER_GROUP)
    return len(anomalies)
