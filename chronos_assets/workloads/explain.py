"""Workload: what each attribute adds to the forecasts of one partition.

    python -m chronos_assets.workloads.explain

Parameters: those of the workload `forecast`, with one window.

Channels: reads `dataset`, `related_time_series`, `item_metadata` and `model` as that workload does, and `forecast`: a list of
the files of the partition's own folder (`container.remote_files`), with `forecast.parquet` and `predictor.json`. The model is
only loaded where it reads covariates itself. Writes to `explanations`:

```
explanations.parquet   item_id, dimensions, timestamp, attribute, impact (-1 to 1), impact_units (of the target), weight
                       (share of the forecast that comes from members that read covariates)
explanations.csv       the same, wide: for each attribute <attribute>-RawImpactScore and <attribute>-NormalizedImpactScore,
                       holidays named as Amazon Forecast names them, Holiday_US
manifest.json          attributes with their mean impacts over everything, and what it was made from
```
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

os.environ.setdefault("OMP_NUM_THREADS", "1")

from chronos_assets.calendar.holidays import PREFIX
from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.container.remote_files import RemoteFiles
from chronos_assets.predictors.covariates import CovariateFolders, open_covariates
from chronos_assets.predictors.explaining import Explainer, covariate_weight, scores
from chronos_assets.predictors.forecast_request import ForecastRequest, ForecastWindow, parse_request, plan_windows
from chronos_assets.predictors.members.base import COVARIATE_REACH, Contexts, Covariates, Member
from chronos_assets.predictors.members.catalogue import reads_natively
from chronos_assets.predictors.members.regression import REACH
from chronos_assets.predictors.opening import Network, describe_given
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.system import write_json
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.filling import context_as_of
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.dataset.shards import Manifest, iter_series, list_shards
from chronos_assets.timeseries.forecast.columns import forecast_types
from chronos_assets.timeseries.forecast.files import cold_start_keys, series_traits
from chronos_assets.timeseries.forecast.what_if import measured_type
from chronos_assets.timeseries.formulas import harmless
from chronos_assets.timeseries.published_files import FORECAST, MANIFEST

_BATCH = 256  # series written at once


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Explain one window."""
    request = parse_request(workspace.parameters())
    folder = workspace.input("dataset")
    dataset = Manifest.read(folder)
    dataset.check("explanation", request.grid.frequency, request.dimensions)
    windows = plan_windows(request, dataset)
    if len(windows) != 1:
        raise WorkloadError(f"parameters of the explanation: {len(windows)} windows are given; give one window")
    (window,) = windows
    source = open_covariates(workspace, request.grid, dataset, request.holidays)
    made = _as_published(workspace)
    predictor = Predictor.load(made)
    categories = source.categories if source is not None else {}
    used = predictor.used().of_categories(categories) if predictor is not None else None
    if used is None or source is None or not covariate_weight(used):
        raise WorkloadError(
            f"covariates have no weight in the forecast of {window.key}, so there is nothing to explain: there are none, "
            "or the backtests found that they don't help"
        )
    members, traits = _members(workspace, request, used), series_traits(made, request.dimensions)
    job = _Explanation(request, window, source, used, members, traits, reporter)
    job.run(list_shards(folder), _forecasts(made, request), workspace.output("explanations"))


def _members(workspace: Workspace, request: ForecastRequest, predictor: Predictor) -> tuple[Member, ...]:
    """The predictor's members, made ready, where one of them is a network that reads covariates; else none."""
    if not any(reads_natively(name) for name in predictor.members):
        return ()
    network = Network(
        describe_given(workspace, request.model),
        request.horizon,
        request.levels,
        context_length=request.context_length,
        seasons=request.grid.frequency.candidate_seasons,
        batch_size=request.batch_size,
    )
    return network.ensemble(predictor).members


def _as_published(workspace: Workspace) -> Path:
    """The forecast's folder."""
    folder = workspace.scratch / "forecast"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = RemoteFiles.of(workspace.input("forecast"))
    for name in files.urls:
        files.fetch(name, folder / name)
    return folder


def _forecasts(folder: Path, request: ForecastRequest) -> dict[Key, Floats]:
    """The mean, or the quantile nearest the middle, of each forecast that was made from the series' own past."""
    keys = ["item_id", *request.dimensions]
    with pq.ParquetFile(folder / FORECAST) as file:
        name = measured_type(forecast_types(file.schema_arrow.names))
        table = file.read(columns=[*keys, name])
    values = table.column(name).to_numpy().reshape(-1, request.horizon)
    named = [table.column(key).to_pylist()[:: request.horizon] for key in keys]
    cold = cold_start_keys(folder, request.dimensions)
    made = zip(zip(*named, strict=True), values, strict=True)
    return {key: forecast for key, forecast in made if key not in cold}


@dataclass(frozen=True)
class _Series:
    """One series to explain: its context, what is known beside it, and its forecast (horizon,)."""

    key: Key
    context: Floats
    covariates: Covariates
    forecast: Floats


@dataclass(frozen=True)
class _Explained:
    """One series: impacts in units and as scores (horizon, attributes), and the weight of what reads covariates."""

    key: Key
    units: Floats
    scores: Floats
    weight: float


@dataclass
class _Explanation:
    """One window's explanation, some series after others."""

    request: ForecastRequest
    window: ForecastWindow
    source: CovariateFolders
    predictor: Predictor
    members: Sequence[Member]
    traits: Mapping[Key, Floats]
    reporter: Reporter

    def run(self, shards: Sequence[Path], forecasts: dict[Key, Floats], output: Path) -> None:
        """Write all files."""
        batches = self._batches(shards, forecasts)
        first = next(batches, [])
        self.explainer = Explainer.of(self.predictor, self.members, [one.covariates for one in first])
        self.attributes = self.explainer.attributes
        total, absolute, count = np.zeros(len(self.attributes)), np.zeros(len(self.attributes)), 0
        series = 0
        long, wide = self._long([]), self._wide([])
        with (
            pq.ParquetWriter(output / "explanations.parquet", long.schema, compression="zstd") as parquet,
            csv.CSVWriter(output / "explanations.csv", wide.schema) as text,
        ):
            for batch in chain([first] if first else [], batches):
                rows = self._explained(batch)
                parquet.write_table(self._long(rows))
                text.write_table(self._wide(rows))
                for row in rows:
                    total += row.units.sum(axis=0)
                    absolute += np.abs(row.units).sum(axis=0)
                    count += len(row.units)
                series += len(rows)
                self.reporter.progress(series, len(forecasts), "series explained")
        largest = float(absolute.max(initial=0.0))
        ranked = [
            {
                "attribute": name,
                "impact": float(np.sign(total[place]) * absolute[place] / largest) if largest > 0 else 0.0,
                "mean_units": float(total[place] / max(count, 1)),
                "mean_absolute_units": float(absolute[place] / max(count, 1)),
            }
            for place, name in enumerate(self.attributes)
        ]
        document = {
            "as_of": self.window.key,
            "attributes": sorted(ranked, key=lambda row: (-abs(float(str(row["impact"]))), str(row["attribute"]))),
            "link": self.predictor.regression.link if self.predictor.regression is not None else None,
            "series": series,
            "rows": count * len(self.attributes),
            "weight": covariate_weight(self.predictor),
            "predictor": self.predictor.digest,
            "dimensions": list(self.request.dimensions),
            "covariates_digest": self.request.covariates_digest,
        }
        write_json(output / MANIFEST, document, sort_keys=True)
        self.reporter.message({"explanation": document})

    def _batches(self, shards: Sequence[Path], forecasts: dict[Key, Floats]) -> Iterator[list[_Series]]:
        rows: list[_Series] = []
        horizon = self.request.horizon
        natively = bool(self.members)
        reach = COVARIATE_REACH if natively else REACH
        for shard in shards:
            beside = self.source.beside(shard.name)
            until = self.request.grid.instant(self.window.ordinal + 1)
            for series in iter_series(shard, self.request.dimensions, until=until):
                forecast = forecasts.get(series.key)
                related = beside.of(series.key)
                if forecast is None:
                    continue
                cut = self.window.ordinal - self.request.grid.number_of(series.timestamps[0]) + 1
                context = context_as_of(series, cut, reach, self.request.filling)
                periods = min(cut, max(REACH + horizon, reach))
                known = self.source.as_of(series.key, related, self.window.ordinal, periods, horizon)
                rows.append(_Series(series.key, context, known, forecast))
                if len(rows) == _BATCH:
                    yield rows
                    rows = []
        if rows:
            yield rows

    def _explained(self, rows: Sequence[_Series]) -> list[_Explained]:
        contexts = Contexts(
            [row.context for row in rows],
            self.request.horizon,
            self.predictor.seasons,
            [row.covariates for row in rows],
        )
        keys = [row.key for row in rows]
        traits = np.stack([self.traits[key] for key in keys]) if self.traits else None
        units, weights = self.explainer.explain(contexts, keys, np.stack([row.forecast for row in rows]), traits)
        return [
            _Explained(key, own, scores(own), weight)
            for key, own, weight in zip(keys, units, weights.tolist(), strict=True)
        ]

    def _keys(self, rows: Sequence[_Explained], each: int, shown: Callable[[str], str] = str) -> dict[str, Any]:
        names = ["item_id", *self.request.dimensions]
        return {
            name: pa.array([text for row in rows for text in [shown(row.key[place])] * each], pa.string())
            for place, name in enumerate(names)
        }

    def _times(self) -> NDArray[np.datetime64]:
        first = self.window.ordinal + 1
        return self.request.grid.start(first + np.arange(self.request.horizon))

    def _long(self, rows: Sequence[_Explained]) -> pa.Table:
        horizon, width = self.request.horizon, len(self.attributes)
        size = horizon * width
        return pa.table(
            {
                **self._keys(rows, size),
                "timestamp": pa.array(np.tile(np.repeat(self._times(), width), len(rows)), pa.timestamp("us")),
                "attribute": pa.array(list(self.attributes) * (horizon * len(rows)), pa.string()),
                "impact": pa.array(np.concatenate([row.scores.ravel() for row in rows] or [np.empty(0)]), pa.float64()),
                "impact_units": pa.array(
                    np.concatenate([row.units.ravel() for row in rows] or [np.empty(0)]), pa.float64()
                ),
                "weight": pa.array(np.repeat([row.weight for row in rows], size), pa.float64()),
            }
        )

    def _wide(self, rows: Sequence[_Explained]) -> pa.Table:
        times = [str(moment)[:19].replace("T", " ") for moment in self._times()]
        columns: dict[str, Any] = {
            **self._keys(rows, len(times), shown=harmless),
            "timestamp": pa.array(times * len(rows), pa.string()),
        }
        for place, name in enumerate(self.attributes):
            for title, source in (("RawImpactScore", "units"), ("NormalizedImpactScore", "scores")):
                parts = [getattr(row, source)[:, place] for row in rows] or [np.empty(0)]
                columns[f"{_service_name(name)}-{title}"] = pa.array(np.concatenate(parts), pa.float64())
        return pa.table(columns)


def _service_name(attribute: str) -> str:
    """An attribute's name in an export of Amazon Forecast."""
    return f"Holiday_{attribute.removeprefix(PREFIX)}" if attribute.startswith(PREFIX) else attribute


if __name__ == "__main__":
    run_workload(main)
