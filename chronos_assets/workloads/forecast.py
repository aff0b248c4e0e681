"""Workload: quantile forecasts of every series of a dataset, as of the end of one or many time windows.

    python -m chronos_assets.workloads.forecast

Parameters (one JSON document; only the first four must be given):

```
windows           [{"key": "2014-11-29", "end": "2014-11-30T00:00:00"}, ...]
frequency         "H", "15min", ...
horizon           periods to forecast
quantiles         [0.1, 0.5, 0.9]
mean              true: a column with the mean
model             "bundled", a Hub id, a folder or an s3:// prefix; the channel `model` comes first where there is one
alignment         {"month", "day_of_month", "day_of_week", "hour", "anchor"}, where the grid's periods start
filling           {"middlefill", "backfill", "middlefill_value", "backfill_value"}
dimensions        ["store", ...], as in the dataset
complete_periods  true: use periods that end by the window's end, not those that only start before it
context_length, batch_size, seed, min_observations
precision         "float32", "tf32" or "bf16": the least exact numbers that a GPU may multiply in, see `models.precision`
non_negative      no forecast below zero: true of any series, false of none, null of those that never were by the as-of
integers          true: quantiles of series that were whole numbers by the as-of are whole numbers, too
live              {"2014-11-29": {"in_time", "width", "partitions"}}: what published bands were found to need, see
                  `predictors.forecast_request.LiveRecord`
params_digest, covariates_digest    copied to the manifest
trained_until     last period that the model was trained on or chosen by, if it was trained on this dataset
holidays          {"countries": ["DE"], "days": {"Black Friday": ["2024-11-29"]}}: columns that every series has beside it
scenario          of a what-if forecast: `predictors.scenario.Scenario.to_document`; one instance makes it
zero_shot         {"members", "metric", "backtest_windows", "max_cost"}: the model is a base model, and forecasts are those of
                  the default predictor around it, learned for each window from what was known by its as-of
```

A model's folder with `predictor.json` is a predictor: an ensemble of which the model is a member. One without, and a base model
without `zero_shot`, forecasts by itself.

Channels: reads `dataset` (a folder of shards) and, if given, `related_time_series` and `item_metadata` (covariates, see
`timeseries.dataset.related`), `model`, and `predictors` (zero-shot predictors that were learned before, each in a file named by
what it was learned from: `predictors.opening.learned_key`); writes to `forecast`, for each window, a folder `as_of=<key>/` (of
hours: see `partition_folders.job_folder`), as `timeseries.forecast.files` has it. Its forecast columns are the mean (if asked
for), p10, p50, ...

**Several instances.** Each gets some of the shards, the manifest of the whole dataset, and all windows. It leaves a part of
each window, and sends a message of it; the launcher merges them.

**As of.** A window's forecast is made as if the data ended with the last period that starts before the window's end (or
ends by then, with `complete_periods`), or with the dataset's own last period if that is earlier; all series start right
after it. A period's value counts as known when its row is stamped: at the period's start, or as long after it as the
manifest's `lag_seconds` say. Where the dataset's values come from finer data, a period may hold rows from beyond the
window's end: `complete_periods`, or a manifest without a lag, leaves it out.
Values that filling made are made again from what was known then: a gap that the as-of cuts in two is one at the end
of the series. A series that has no row before the as-of is left out, and counted (`not_started`).

**Many windows, same bytes.** A window's files don't depend on the other windows of the run: see `models.forecasting`
for the arithmetic. Series are read once, and all windows share batches.

**Several GPUs.** On an instance with more than one, a process for each takes shard after shard (but for a scenario, which one
process makes). The files are those of one process.

**Memory** is that of two chunks of series, of which the second is read while the first is forecast: forecasts go to files
per window and shard, which are merged at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import pkgutil
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

# Every pass runs on one thread (see models.forecasting); pools of threads that only wait cost memory and start-up time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.container.processes import divided
from chronos_assets.models.checkpoints import ModelDescription, check_quantiles
from chronos_assets.models.quantiles import in_whole_numbers
from chronos_assets.partition_folders import job_folder
from chronos_assets.predictors.covariates import CovariateFolders, open_covariates
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.forecast_pieces import ForecastPiece, ForecastTask, read_ahead
from chronos_assets.predictors.forecast_request import (
    ForecastRequest,
    ForecastWindow,
    LiveRecord,
    iso,
    known_after,
    parse_request,
    plan_windows,
)
from chronos_assets.predictors.forecast_tally import Tally
from chronos_assets.predictors.forecast_tasks import WindowTasks
from chronos_assets.predictors.opening import Network, describe_given, known_predictors, learn_as_of
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.predictors.scenario import ScenarioError, ScenarioRun
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.series_keys import Key, series_name
from chronos_assets.timeseries.dataset.shards import DatasetError, Manifest, Shard
from chronos_assets.timeseries.forecast.files import (
    MAX_NAMED,
    ForecastLayout,
    merge_passes,
    part_of,
    passes_text,
    skipped_summary,
    skipped_table,
    write_window,
)

if TYPE_CHECKING:
    from chronos_assets.models.forecasting import BatchForecast, Forecaster


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Forecast all windows. Everything that can be refused is refused before the model is loaded."""
    job = _open_job(workspace, reporter)
    shutil.rmtree(job.scratch, ignore_errors=True)  # of a run that was killed
    try:
        job.run(workspace)
    finally:
        shutil.rmtree(job.scratch, ignore_errors=True)


def _open_job(
    workspace: Workspace, reporter: Reporter, predictors: Mapping[str, Predictor] | None = None
) -> _ForecastJob:
    """The job of a workspace's parameters; with the predictors of all windows, if they were learned already."""
    request = parse_request(workspace.parameters())
    folder = workspace.input("dataset")
    dataset = Manifest.read(folder)
    dataset.check("forecast", request.grid.frequency, request.dimensions)
    shards = _present(folder, dataset, several=len(workspace.hosts) > 1)
    windows = plan_windows(request, dataset)
    covariates = open_covariates(workspace, request.grid, dataset, request.holidays)
    description = describe_given(workspace, request.model)
    check_quantiles(description, request.quantiles)
    if predictors is None:
        predictors = _given_predictors(workspace, request, dataset, windows, description, covariates, reporter)
    if request.zero_shot is not None and len(workspace.hosts) > 1 and len(predictors) < len(windows):
        raise WorkloadError(
            "several instances forecast, each of which has some of the series: run the workload learn before, and give "
            "what it writes as the channel predictors"
        )
    scratch, output = workspace.scratch, workspace.output("forecast")
    return _ForecastJob(
        request, windows, folder, dataset, shards, description, predictors, covariates, scratch, output, reporter
    )


def open_shards(root: str, predictors: Mapping[str, bytes], device: str) -> Callable[[int], ShardForecast]:
    """What forecasts a job's shards by their number, in a process of its own, on a device.

    Args:
        root: of the job's workspace.
        predictors: of each window, as files have them; empty where the model forecasts by itself.
        device: of torch.
    """
    known = {key: Predictor.from_json(content) for key, content in predictors.items()}
    job = _open_job(Workspace(Path(root)), Reporter(), known)
    job.prepare(device)
    return job.forecast_shard


class ShardForecast(NamedTuple):
    """What came of a shard beside its pieces: its number, and of each window what was counted, and how networks ran."""

    number: int
    tallies: Sequence[Tally]
    passes: Sequence[Mapping[str, Any] | None]


@dataclass
class _ForecastJob:
    """One run over all shards and windows."""

    request: ForecastRequest
    windows: Sequence[ForecastWindow]
    folder: Path
    dataset: Manifest
    shards: Sequence[Shard]
    description: ModelDescription
    predictors: Mapping[str, Predictor]  # by window, as far as they are known before
    covariates: CovariateFolders | None
    scratch: Path
    output: Path
    reporter: Reporter

    def __post_init__(self) -> None:
        self.tallies = [Tally() for _ in self.windows]
        self.passes: list[list[Mapping[str, Any]]] = [[] for _ in self.windows]  # of the processes on other devices
        self.started = time.monotonic()

    @property
    def series(self) -> int:
        """How many the shards hold."""
        return sum(shard.series for shard in self.shards)

    def run(self, workspace: Workspace) -> None:
        """Forecast all shards, each GPU some of them, and write the windows."""
        self.prepare()
        self.reporter.log(
            f"model {self.description.reference} ({self.description.family}) ready to forecast after "
            f"{time.monotonic() - self.started:.1f} s; {self.forecasters[-1].method}; "
            f"{passes_text(self.forecasters[-1].passes)}"
        )
        devices = self._devices()
        if len(devices) > 1 and len(self.shards) > 1 and self.scenario is None:
            self._forecast_on(devices, workspace)
        else:
            self._forecast_here(range(len(self.shards)))
        if self.scenario is not None:
            self.scenario.check_met()
        for index in range(len(self.windows)):
            self._finish(index)

    def prepare(self, device: str | None = None) -> None:
        """Load what forecasts each window, to a device."""
        network = Network(
            self.description,
            self.request.horizon,
            self.request.levels,
            context_length=self.request.context_length,
            seasons=self.request.grid.frequency.candidate_seasons,
            batch_size=self.request.batch_size,
            min_observations=self.request.min_observations,
            precision=self.request.precision,
            series=self.dataset.series,
            categories=self.covariates.categories if self.covariates is not None else {},
            device=device,
        )
        self.forecasters = self._forecasters(network)
        reads = any(isinstance(item, Ensemble) and item.reads_covariates for item in self.forecasters)
        beside = self.covariates if reads else None
        self.scenario = self._scenario_run(beside)
        self.tasks = WindowTasks(self.request, self.windows, self.forecasters, beside, self.scenario, self._skip)

    def _devices(self) -> Sequence[str]:
        """Where networks can run at once; none where no window needs one."""
        from chronos_assets.models.loading import usable_devices

        return usable_devices() if any(forecaster.passes for forecaster in self.forecasters) else ()

    def _forecast_here(self, shards: Sequence[int]) -> None:
        done = 0
        for number, chunk, passed in read_ahead(self._all_chunks(shards)):
            self._forecast(number, chunk)
            done += passed * len(self.windows)
            self._progress(done)

    def forecast_shard(self, number: int) -> ShardForecast:
        """Forecast one shard, whose pieces lie in the job's scratch then."""
        self.tallies = [Tally() for _ in self.windows]
        for _, chunk, _ in read_ahead(self._all_chunks([number])):
            self._forecast(number, chunk)
        return ShardForecast(number, self.tallies, [forecaster.passes for forecaster in self.forecasters])

    def _forecast_on(self, devices: Sequence[str], workspace: Workspace) -> None:
        """Forecast the shards in a process for each device: the same bytes, since no pass has series of two shards."""
        self.reporter.log(f"{len(devices)} processes forecast, one on each of {', '.join(devices)}")
        # By its name, which a process of its own can import, whatever this one was started as.
        opened = pkgutil.resolve_name("chronos_assets.workloads.forecast:open_shards")
        predictors = {key: predictor.to_json() for key, predictor in self.predictors.items()}
        done: list[ShardForecast] = []
        for shard in divided(partial(opened, str(workspace.root), predictors), devices, range(len(self.shards))):
            done.append(shard)
            self._progress(sum(self.shards[one.number].series for one in done) * len(self.windows))
        for shard in sorted(done, key=lambda one: one.number):
            for index, (tally, passes) in enumerate(zip(shard.tallies, shard.passes, strict=True)):
                self.tallies[index].add(tally)
                self.passes[index] += [passes] if passes else []

    def _progress(self, done: int) -> None:
        total = self.series * len(self.windows)
        self.reporter.progress(min(done, total), total, "series x windows forecast")

    def _skip(self, window: int, key: Key, reason: str) -> None:
        self.tallies[window].skipped.append((key, reason))

    def _scenario_run(self, covariates: CovariateFolders | None) -> ScenarioRun | None:
        """The scenario that is asked for, once it is clear that it can be applied to what forecasts read."""
        if self.request.scenario is None:
            return None
        if covariates is None:
            raise ScenarioError(
                "covariates have no weight in this forecast, so no scenario can change it: there are none, or the backtests "
                "found that they don't help"
            )
        checked = covariates.vocabulary.check(self.request.scenario, f"scenario {self.request.scenario.name}")
        (ensemble, *_) = (item for item in self.forecasters if isinstance(item, Ensemble) and item.reads_covariates)
        return ScenarioRun(checked, ("item_id", *self.request.dimensions), ensemble.predictor.knows)

    def _forecasters(self, network: Network) -> list[Forecaster | Ensemble]:
        """What forecasts each window."""
        if self.request.zero_shot is None and not self.predictors:
            return [network.alone] * len(self.windows)
        missing = {window.key: window.ordinal for window in self.windows if window.key not in self.predictors}
        learned = (
            learn_as_of(
                [self.folder / shard.name for shard in self.shards],
                self.request.reading(self.request.grid, self.request.zero_shot, self.covariates),
                network,
                missing,
                data_version=self.dataset.data_version,
                log=self.reporter.log,
                covariates=self.covariates,
            )
            if missing
            else {}
        )
        self.predictors = {**learned, **self.predictors}
        ensembles: dict[bytes, Ensemble] = {}
        found: list[Forecaster | Ensemble] = []
        for window in self.windows:
            predictor = replace(self.predictors[window.key], live_width=window.live.width)
            found.append(ensembles.setdefault(predictor.to_json(), network.ensemble(predictor)))
        return found

    def _all_chunks(self, shards: Sequence[int]) -> Iterator[tuple[int, list[ForecastTask], int]]:
        """The chunks of shards, with their numbers. They are made in another thread than they are forecast in."""
        for number in shards:
            for chunk, passed in self.tasks.chunks(self.folder / self.shards[number].name):
                yield number, chunk, passed

    def _forecast(self, shard: int, tasks: Sequence[ForecastTask]) -> None:
        """Forecast a chunk and add it to the files of its windows; those of one predictor share passes."""
        for number in dict.fromkeys(id(forecaster) for forecaster in self.forecasters):
            part = [task for task in tasks if id(self.forecasters[task.window]) == number]
            if part:
                self._forecast_by(self.forecasters[part[0].window], shard, part)

    def _forecast_by(self, forecaster: Forecaster | Ensemble, shard: int, tasks: Sequence[ForecastTask]) -> None:
        forecast = forecaster.forecast(
            [task.context for task in tasks],
            seeds=[self._seed(task) for task in tasks],
            groups=[task.window for task in tasks],
            non_negative=[task.non_negative for task in tasks],
            keys=[task.key for task in tasks],
            covariates=[task.covariates for task in tasks],
            baseline=[task.baseline or task.covariates for task in tasks] if self.scenario is not None else None,
        )
        quantiles = in_whole_numbers(forecast.quantiles, [task.integral for task in tasks])
        forecast = replace(forecast, quantiles=quantiles)
        for window in sorted({task.window for task in tasks}):
            chosen = [place for place, task in enumerate(tasks) if task.window == window]
            kept = self.tallies[window].count(tasks, chosen, forecast, self.request)
            piece = ForecastPiece(self.scratch, window, shard, self._layout(window))
            piece.append([tasks[place] for place in kept], self._values(forecast, kept), forecast.traits_at(kept))

    def _layout(self, window: int) -> ForecastLayout:
        """Of the rows of a window."""
        forecaster = self.forecasters[window]
        traits = forecaster.predictor.trait_names if isinstance(forecaster, Ensemble) else ()
        return replace(self.request.layout, traits=len(traits))

    def _values(self, forecast: BatchForecast, places: Sequence[int]) -> Floats:
        """The columns of the file for some series, (n, horizon, columns)."""
        wanted = [self.request.levels.index(level) for level in self.request.quantiles]
        quantiles = forecast.quantiles[places][:, :, wanted]
        mean = forecast.mean[places][:, :, None]
        return np.concatenate([mean, quantiles], axis=2) if self.request.mean else quantiles

    def _seed(self, task: ForecastTask) -> int:
        text = json.dumps([self.request.seed, self.windows[task.window].key, *task.key])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

    def _finish(self, index: int) -> None:
        """Merge a window's pieces into its files, and report it."""
        window, tally, request = self.windows[index], self.tallies[index], self.request
        target = self.output / job_folder(window.key)
        shutil.rmtree(target, ignore_errors=True)
        layout = self._layout(index)
        pieces = [ForecastPiece(self.scratch, index, number, layout) for number in range(len(self.shards))]
        periods = request.grid.range(request.grid.instant(window.ordinal + 1), request.horizon)
        skipped = skipped_table(tally.skipped, request.dimensions)
        manifest = self._manifest(window, tally) | skipped_summary(skipped)
        write_window(target, layout, periods, [piece.read() for piece in pieces], skipped, manifest)
        forecaster = self.forecasters[index]
        if isinstance(forecaster, Ensemble):
            forecaster.predictor.without_speeds().save(target)
        for piece in pieces:
            piece.remove()
        named = manifest["skipped"][:MAX_NAMED]
        self.reporter.message(
            {
                "window": window.key,
                "series": tally.series,
                "skipped": [
                    {"item": series_name(row["item"]), "key": row["item"], "reason": row["reason"]} for row in named
                ],
                "sparks": [example for _, example in tally.examples],
                "seconds": round((time.monotonic() - self.started) / len(self.windows), 3),
                **{
                    name: manifest[name]
                    for name in (
                        "context_end",
                        "unrolled",
                        "method",
                        "not_started",
                        "skipped_count",
                        "periods_behind",
                        "crossed",
                        "flat",
                        "non_negative",
                        "raised",
                    )
                },
            }
        )

    def _manifest(self, window: ForecastWindow, tally: Tally) -> dict[str, Any]:
        """What the forecast was made from and with; nothing that differs between two runs of the same."""
        index, request = self.windows.index(window), self.request
        forecaster = self.forecasters[index]
        passes = merge_passes([*([forecaster.passes] if forecaster.passes else []), *self.passes[index]])
        start = request.grid.start(np.array([window.ordinal + 1, window.ordinal + request.horizon]))
        return {
            "as_of": window.key,
            "window_end": iso(window.end),
            "context_end": iso(window.context_end),
            "forecast_start": iso(start[0]),
            "forecast_end": iso(start[1]),
            "frequency": str(request.grid.frequency),
            "horizon": request.horizon,
            "quantiles": list(request.quantiles),
            "mean": request.mean,
            "columns": list(request.columns),
            "dimensions": list(request.dimensions),
            "model": self.description.to_document(),
            **({"predictor": forecaster.predictor.summary()} if isinstance(forecaster, Ensemble) else {}),
            "trained_until": None if request.trained_until is None else iso(request.trained_until),
            # Then the forecast is none that could have been made at the time, and its scores flatter the model.
            "trained_on_later_data": bool(
                request.trained_until is not None and request.trained_until > window.context_end
            ),
            "context_length": forecaster.context_length,
            **({"passes": passes} if passes else {}),
            "unrolled": forecaster.unrolled,
            "method": forecaster.method,
            "seed": request.seed,
            "complete_periods": known_after(request, self.dataset) is None,
            "lag_seconds": self.dataset.lag_seconds,
            "data_version": self.dataset.data_version,
            "live": vars(window.live if isinstance(forecaster, Ensemble) else LiveRecord(window.live.in_time)),
            **({"covariates": self.covariates.to_document()} if self.covariates is not None else {}),
            "params_digest": request.params_digest,
            **({"scenario": request.scenario.to_document()} if request.scenario is not None else {}),
            **({"covariates_digest": request.covariates_digest} if request.covariates_digest else {}),
            "series": tally.series,
            "rows": tally.series * request.horizon,
            "not_started": self.series - tally.series - len(tally.skipped),
            "periods_behind": window.behind,
            "crossed": tally.crossed,
            "flat": tally.flat,
            # Series whose forecast was not to be below zero, and those of them whose was.
            "non_negative": tally.non_negative,
            "raised": tally.raised,
            **({"part": part_of(self.dataset, self.shards)} if len(self.shards) < len(self.dataset.shards) else {}),
        }


def _present(folder: Path, dataset: Manifest, *, several: bool) -> list[Shard]:
    """The shards that are here: all of them, unless `several` instances share them.

    Raises:
        DatasetError: one is missing.
    """
    present = [shard for shard in dataset.shards if (folder / shard.name).is_file()]
    if len(present) < len(dataset.shards) and not several:
        missing = sorted({shard.name for shard in dataset.shards} - {shard.name for shard in present})
        raise DatasetError(f"the dataset lacks {', '.join(missing[:3])} of its manifest: import the train files again")
    return present


def _given_predictors(
    workspace: Workspace,
    request: ForecastRequest,
    dataset: Manifest,
    windows: Sequence[ForecastWindow],
    description: ModelDescription,
    covariates: CovariateFolders | None,
    reporter: Reporter,
) -> dict[str, Predictor]:
    """The predictor of each window that needn't be learned: the model's own, or those that were learned before."""
    own = Predictor.load(description.folder)
    if own is not None:
        return {window.key: own for window in windows}
    if request.zero_shot is None:
        return {}
    return known_predictors(
        workspace.optional_input("predictors"),
        request.reading(request.grid, request.zero_shot, covariates),
        description.digest,
        {window.key: window.ordinal for window in windows},
        data_version=dataset.data_version,
        log=reporter.log,
    )


if __name__ == "__main__":
    run_workload(main)
