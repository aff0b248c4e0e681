"""How good a forecast was, once its horizon has been observed, beside the seasonal naive forecast of the same moment.

Here belongs the meeting of forecast and actuals; the file of the results is in `metrics_file`, the arithmetic in
`metrics`, what counts as an anomaly in `anomalies`.

What counts, and why:

- Only observed actuals. A value that filling made up is no actual: its point is left out, and counted as excluded.
- The season error that MASE divides by is measured on observed values, too, up to the forecast's `context_end`.
- The seasonal naive forecast sees what the model saw: the data up to `context_end`, filled as the parameters say. Its
  season is the one that did best on windows before that (`baselines.choose_baseline`); MASE's is GluonTS's.
- Both are measured on the same points.

The dataset is read shard by shard and the forecast piece by piece, so memory depends on neither; only the sums of each
series (about 20 numbers) are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.duckdb_sql import (
    DEFAULT_MEMORY,
    column_names,
    first_row,
    identifier,
    identifiers,
    parquet_rows,
    scratch_connection,
)
from chronos_assets.timeseries.dataset.filling import fill
from chronos_assets.timeseries.dataset.series_keys import Key, series_name
from chronos_assets.timeseries.dataset.shards import Series, ShardSource, iter_series
from chronos_assets.timeseries.forecast.columns import quantile_columns, quantile_level
from chronos_assets.timeseries.scoring.anomalies import Anomalies, find_anomalies
from chronos_assets.timeseries.scoring.band_widths import BandWidths
from chronos_assets.timeseries.scoring.baselines import (
    MAX_TRIED_SERIES,
    Baseline,
    Past,
    choose_baseline,
    seasonal_naive,
    spread_to_quantiles,
)
from chronos_assets.timeseries.scoring.metrics import ErrorSums, Measure, error_sums, season_error
from chronos_assets.timeseries.scoring.sums import PublishedLevels, SummedActuals, SumScores

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


_CELLS_AT_ONCE = 4_000_000  # forecast values held at once: 32 MB, and a few times that while they are summed up
_SERIES_AT_ONCE = 4096
# The error of a whole that is an item's or a segment's, beside the metrics of `ErrorSums.measures`.
CONTRIBUTION = "error_contribution"


class AccuracyError(ChronosAssetsError, ValueError):
    """A forecast that can't be measured against this dataset; the message says why and what to do."""


@dataclass(frozen=True)
class MetricComparison:
    """One metric of the forecast beside the seasonal naive one.

    value, seasonal_naive: None where undefined (no points, nothing to divide by, a band of a point forecast).
    points: that it was computed from. excluded: the other points of the horizon, whose actual was not observed or, for
    `mape`, zero, or, for `mase`, of a series without a season error.
    """

    value: float | None
    seasonal_naive: float | None
    points: int
    excluded: int


@dataclass(frozen=True)
class AccuracyReport:
    """The errors of one partition.

    context_end: last timestamp that the forecast saw; horizon: its periods. series: keys, (item_id, *dimensions), in
    order; forecast, seasonal_naive: their error sums, shape (series,). baseline: which seasonal naive forecast it is compared
    with. timestamps (horizon,): starts of its periods. anomalies: by position in `series`. widths: what the points need of the
    published band's. sums: those of `Chronos.Reconcile`, None without.
    """

    dimensions: tuple[str, ...]
    context_end: np.datetime64
    horizon: int
    series: tuple[Key, ...]
    forecast: ErrorSums
    seasonal_naive: ErrorSums
    baseline: Baseline
    timestamps: NDArray[np.datetime64]
    anomalies: Anomalies
    widths: BandWidths
    sums: SumScores | None = None

    @property
    def points(self) -> int:
        """Points that were measured."""
        return int(self.forecast.points.sum())

    @property
    def measured_series(self) -> int:
        """Series that have a point: not those that are gone, nor cold starts that sold nothing yet."""
        return int(np.count_nonzero(self.forecast.points))

    @property
    def excluded(self) -> int:
        """Points of the horizon that have no observed actual."""
        return len(self.series) * self.horizon - self.points

    def worst_anomalies(self, count: int) -> list[dict[str, Any]]:
        """The `count` anomalies with the greatest deviations, the greatest first, as people read them."""
        found = self.anomalies
        return [
            {
                "series": series_name(self.series[found.series[place]]),
                "timestamp": str(self.timestamps[found.step[place]].astype("datetime64[s]")).removesuffix("T00:00:00"),
                "actual": float(found.actual[place]),
                "low": float(found.low[place]),
                "high": float(found.high[place]),
            }
            for place in found.worst(count)
        ]

    def overall(self) -> dict[str, MetricComparison]:
        """Every metric over all series, by name."""
        whole, naive = self.forecast.total(), self.seasonal_naive.total()
        measures, baselines = measures_beside(whole, whole), measures_beside(naive, naive)
        return {
            name: MetricComparison(
                value=_number(measure.value),
                seasonal_naive=None if name.startswith("coverage_") else _number(baselines[name].value),
                points=int(measure.points),
                excluded=len(self.series) * self.horizon - int(measure.points),
            )
            for name, measure in measures.items()
        }


def is_observed(context_end: np.datetime64, horizon: int, grid: Grid, dataset_last: np.datetime64) -> bool:
    """Whether a dataset that ends with the period of `dataset_last` holds the whole horizon after `context_end`."""
    context, last = grid.ordinal(np.array([context_end, dataset_last]))
    return bool(last >= context + horizon)


def evaluate_partition(
    forecast: Path,
    dataset: ShardSource,
    params: ForecastParams,
    context_end: np.datetime64,
    *,
    sums: PublishedLevels | None = None,
    memory_limit: str = DEFAULT_MEMORY,
    scratch: Path | None = None,
) -> AccuracyReport:
    """Measure a forecast against the actuals that came after it.

    forecast: the partition's forecast.parquet. dataset: what happened. context_end: start of the last period that the forecast
    saw. sums: forecasts of sums that are measured, too. scratch: a folder for temporary files, by default the system's.

    Raises:
        AccuracyError: when the forecast doesn't begin right after `context_end`, lacks steps of a series, or has a
            horizon that the dataset does not reach yet.
    """
    with (
        TemporaryDirectory(prefix="accuracy-", dir=scratch) as folder,
        scratch_connection(Path(folder), memory_limit=memory_limit) as connection,
    ):
        window = _Horizon.of(connection, forecast, params, context_end)
        _check_observed(dataset.manifest.last_timestamp, window)
        baseline = window.choose_baseline(dataset, params)
        summed = None if sums is None else SummedActuals(sums, window.steps)
        chunks = [window.measure(connection, [])]
        for answers in window.answers(dataset, params, baseline.season):
            chunks.append(window.measure(connection, answers))
            if summed is not None:
                for answer in answers:
                    summed.add(answer.key, answer.actual, answer.naive)
    counts = np.cumsum([0, *(len(chunk.series) for chunk in chunks)])
    keys = [key for chunk in chunks for key in chunk.series]
    # Shards are cut by a hash of the item; readers expect one order whatever the shards.
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)
    return AccuracyReport(
        dimensions=params.dimensions,
        context_end=context_end,
        horizon=window.steps,
        series=tuple(keys[place] for place in order),
        forecast=ErrorSums.concatenate(chunk.forecast for chunk in chunks).take(order),
        seasonal_naive=ErrorSums.concatenate(chunk.seasonal_naive for chunk in chunks).take(order),
        baseline=baseline,
        timestamps=window.grid.start(np.arange(window.first, window.first + window.steps)),
        anomalies=Anomalies.concatenate(
            (int(before), chunk.anomalies) for before, chunk in zip(counts, chunks, strict=False)
        ).reordered(order),
        widths=BandWidths.total(chunk.widths for chunk in chunks),
        sums=None if summed is None else summed.scores(),
    )


@dataclass(frozen=True)
class _Answer:
    """What the dataset says of one series: actuals (steps,), naive forecast (steps,), and season error."""

    key: Key
    actual: Floats
    naive: Floats
    season_error: float


@dataclass(frozen=True)
class _Chunk:
    """Error sums of some series, their anomalies, and what they need of the band's widths."""

    series: list[Key]
    forecast: ErrorSums
    seasonal_naive: ErrorSums
    anomalies: Anomalies
    widths: BandWidths


@dataclass(frozen=True)
class _Horizon:
    """The stretch of time that a forecast covers: `steps` periods from the ordinal `first`; and what was forecast."""

    grid: Grid
    context_end: np.datetime64
    first: int
    steps: int
    keys: tuple[str, ...]
    quantiles: tuple[str, ...]
    has_mean: bool
    threshold: float

    @classmethod
    def of(
        cls, connection: DuckDBPyConnection, forecast: Path, params: ForecastParams, context_end: np.datetime64
    ) -> _Horizon:
        """The window of a forecast file, which becomes the view `forecasts` of the connection."""
        connection.execute(f"CREATE VIEW forecasts AS FROM {parquet_rows(forecast)}")
        columns = column_names(connection, "forecasts")
        bounds = first_row(connection, 'SELECT min("timestamp"), max("timestamp") FROM forecasts')
        context = params.grid.number_of(context_end)
        if bounds[0] is None:
            first, last = context + 1, context + params.horizon
        else:
            first, last = (int(number) for number in params.grid.ordinal(np.array(bounds, "datetime64[us]")))
        if first != context + 1:
            raise AccuracyError(
                f"{forecast}: the forecast begins at {params.grid.start(first)}, not right after the last data that it "
                f"saw ({context_end}); run its partition again"
            )
        return cls(
            grid=params.grid,
            context_end=params.grid.instant(context),
            first=first,
            steps=last - context,
            keys=("item_id", *params.dimensions),
            quantiles=quantile_columns(columns),
            has_mean="mean" in columns,
            threshold=params.anomaly_threshold,
        )

    @property
    def levels(self) -> tuple[float, ...]:
        return tuple(level for level in map(quantile_level, self.quantiles) if level is not None)

    @property
    def last(self) -> np.datetime64:
        """Start of the last period of the horizon."""
        return self.grid.instant(self.first + self.steps - 1)

    @property
    def chunk_length(self) -> int:
        """Series to be measured at once."""
        return max(1, min(_SERIES_AT_ONCE, _CELLS_AT_ONCE // (self.steps * (len(self.quantiles) + 3))))

    def choose_baseline(self, dataset: ShardSource, params: ForecastParams) -> Baseline:
        """The seasonal naive forecast to compare with, by windows before the horizon.

        Raises:
            AccuracyError: when a series isn't on the grid without a gap.
        """
        pasts = (self._past(series, params) for series in _some_series(dataset, params.dimensions))
        return choose_baseline(pasts, params.frequency, self.steps)

    def _begin(self, series: Series, params: ForecastParams) -> int:
        """Number of a series' first period.

        Raises:
            AccuracyError: when it isn't on the grid without a gap.
        """
        begin, end = self.grid.ordinal(series.timestamps[[0, -1]])
        if end - begin != len(series.timestamps) - 1:
            raise AccuracyError(
                f"series {series.key} of the dataset is not on a regular grid of {params.frequency}; "
                "materialize target_time_series again"
            )
        return int(begin)

    def _past(self, series: Series, params: ForecastParams) -> Past:
        """The values of a series before the horizon; gaps are filled as the model saw them."""
        cut = int(np.clip(self.first - self._begin(series, params), 0, len(series.target)))
        observed, values = series.observed[:cut], series.known[:cut]
        return Past(fill(values, observed, params.filling) if cut else values, values)

    def answers(self, dataset: ShardSource, params: ForecastParams, baseline_season: int) -> Iterator[list[_Answer]]:
        """Actuals and baselines of all series, as many at once as may be measured together."""
        for _, shard in dataset.each(dataset.manifest.shards):
            answers = (
                self._answer(series, params, baseline_season) for series in iter_series(shard, params.dimensions)
            )
            while chunk := list(islice(answers, self.chunk_length)):
                yield chunk

    def _answer(self, series: Series, params: ForecastParams, baseline_season: int) -> _Answer:
        """Actuals and baseline of one series.

        Raises:
            AccuracyError: when it isn't on the grid without a gap.
        """
        begin = self._begin(series, params)
        past = self._past(series, params)
        cut = len(past.observed)
        offset = int(max(0, begin - self.first))  # a series may begin within the horizon, or after it
        actual = np.full(self.steps, np.nan)
        known = series.known[cut : cut + max(0, self.steps - offset)]
        actual[offset : offset + len(known)] = known
        return _Answer(
            key=series.key,
            actual=actual,
            naive=seasonal_naive(past.history, baseline_season, self.steps),
            season_error=season_error(past.observed, params.frequency.seasonality),
        )

    def measure(self, connection: DuckDBPyConnection, answers: list[_Answer]) -> _Chunk:
        """Error sums of those of the series that have a forecast.

        Raises:
            AccuracyError: when a forecast lacks steps.
        """
        predicted = self._forecasts(connection, [answer.key for answer in answers])
        known = np.isfinite(predicted)
        for place in np.flatnonzero(known.any(axis=(1, 2)) & ~known.all(axis=(1, 2))):
            raise AccuracyError(
                f"the forecast of series {answers[place].key} lacks a value within its {self.steps} steps; "
                "run its partition again"
            )
        chosen = np.flatnonzero(known.all(axis=(1, 2)))
        predicted = predicted[chosen]
        actual = np.array([answer.actual for answer in answers]).reshape(-1, self.steps)[chosen]
        naive = np.array([answer.naive for answer in answers]).reshape(-1, self.steps)[chosen]
        scale = np.array([answer.season_error for answer in answers], dtype=np.float64)[chosen]
        count = len(self.quantiles)
        quantiles, mean = predicted[..., :count], predicted[..., count] if self.has_mean else None
        return _Chunk(
            series=[answers[place].key for place in chosen],
            forecast=error_sums(actual, quantiles, self.levels, season_errors=scale, mean=mean),
            seasonal_naive=error_sums(
                actual,
                spread_to_quantiles(naive, count),
                self.levels,
                season_errors=scale,
                mean=naive if self.has_mean else None,
            ),
            anomalies=find_anomalies(
                actual, quantiles, self.levels, season_errors=scale, threshold=self.threshold, mean=mean
            ),
            widths=BandWidths.of(actual, quantiles, self.levels),
        )

    def _forecasts(self, connection: DuckDBPyConnection, series: list[Key]) -> Floats:
        """The forecast of some series, (series, steps, quantiles then mean); NaN where there is none."""
        import pyarrow as pa

        types = [*self.quantiles, *(("mean",) if self.has_mean else ())]
        answer = np.full((len(series), self.steps, len(types)), np.nan)
        if not series:
            return answer
        names = [f"key{number}" for number in range(len(self.keys))]
        columns = {name: pa.array([key[place] for key in series], pa.string()) for place, name in enumerate(names)}
        connection.register("wanted", pa.table({"place": np.arange(len(series)), **columns}))
        matches = " AND ".join(
            f"forecasts.{identifier(key)} = wanted.{name}" for key, name in zip(self.keys, names, strict=True)
        )
        # Forecasts are sorted by item: the bounds let DuckDB skip the row groups of other items.
        found = connection.execute(
            f'SELECT place, "timestamp", {identifiers(types)} FROM forecasts JOIN wanted ON {matches} '  # noqa: S608
            "WHERE forecasts.item_id BETWEEN ? AND ?",
            [min(series)[0], max(series)[0]],
        ).fetchnumpy()
        connection.unregister("wanted")
        steps = self.grid.ordinal(np.asarray(found["timestamp"])) - self.first
        for position, name in enumerate(types):
            answer[found["place"], steps, position] = np.ma.filled(found[name], np.nan)
        return answer


def _some_series(dataset: ShardSource, dimensions: tuple[str, ...]) -> Iterator[Series]:
    """At most `MAX_TRIED_SERIES` series, evenly spread over as few shards as hold so many.

    A shard holds those with a share of the hashes of the keys, which is as good as a random one.
    """
    shards, found = [], 0
    for shard in dataset.manifest.shards:
        shards.append(shard)
        found += shard.series
        if found >= MAX_TRIED_SERIES:
            break
    step = max(1, found // MAX_TRIED_SERIES)
    return islice(chain.from_iterable(iter_series(path, dimensions) for _, path in dataset.each(shards)), 0, None, step)


def _check_observed(last: np.datetime64, window: _Horizon) -> None:
    if not is_observed(window.context_end, window.steps, window.grid, last):
        raise AccuracyError(
            f"the horizon ends with the period of {window.last}, the dataset with that of {last}; "
            "measure it once newer data have been imported"
        )


def measures_beside(sums: ErrorSums, whole: ErrorSums) -> dict[str, Measure]:
    """Every metric by name, and the share that the sums have in the error of the whole; none without a point forecast."""
    measures = sums.measures()
    return {**measures, CONTRIBUTION: sums.contribution(whole)} if "mae" in measures else measures


def _number(value: Any) -> float | None:
    """A metric's value, None where it is undefined."""
    number = float(value)
    return None if np.isnan(number) else number
