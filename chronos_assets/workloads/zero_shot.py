"""Workload: scores of models on one set of the zero-shot benchmark.

    python -m chronos_assets.workloads.zero_shot

Parameters (one JSON document):

```
set      "m4_hourly", one of the data's
data     folder of the benchmark, or a repository on the Hub; the channel `benchmark` comes first where there is one
models   [{"name", "kind", "program", "reference", "version", "max_series", "max_history"}, ...]: see
         `benchmark.scores.Contender`
workers  batches of a Chronos model run at once; the machine's cores if not given
```

Channels: writes to `results`, for each model, `<n>.json`: see `benchmark.scores.Result`; n counts the models
from 0.

Here: forecasting a set a chunk at a time, and adding up the errors. A series that a model can't forecast is
forecast by seasonal naive, and counted. Which models and sets, and what their results come to, is the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from chronos_assets.benchmark.contenders import (
    ReadyContender,
    ReadyPredictor,
    naive_forecasts,
    open_contender,
    open_predictor,
)
from chronos_assets.benchmark.data import BenchmarkData, open_data
from chronos_assets.benchmark.models import NAIVE_PROGRAM, PREDICTOR_PROGRAM
from chronos_assets.benchmark.scores import Contender, Result
from chronos_assets.benchmark.tasks import LEVELS, BenchmarkError, season
from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.container.parameters import Count, Text, checked, read_parameters
from chronos_assets.predictors.backtest_windows import SAMPLE
from chronos_assets.system import replaced
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.scoring.metrics import ErrorSums, error_sums, season_error

CHUNK = 512  # windows forecast between two lines of progress


@checked
@dataclass(frozen=True)
class ZeroShotRequest:
    """The parameters, checked."""

    set: Text
    data: Text
    models: tuple[Contender, ...]
    workers: Count | None = None


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Measure the models on the set."""
    request = read_parameters(ZeroShotRequest, "benchmark", workspace.parameters())
    source = str(workspace.optional_input("benchmark") or request.data)
    folder = workspace.output("results")
    for number, contender in enumerate(request.models):
        result = measure(open_data(source), request.set, contender, request.workers, reporter.progress)
        with replaced(folder / f"{number}.json") as part:
            part.write_bytes(result.to_json())
        reporter.log(describe(result))


def measure(
    data: BenchmarkData,
    name: str,
    contender: Contender,
    workers: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Result:
    """Scores of a model on a set, and of seasonal naive on the same series.

    Args:
        data: where the set is.
        name: of the set.
        contender: the model.
        workers: see `contenders.open_contender`.
        progress: called with windows done, windows in all, and what it is about.

    Raises:
        BenchmarkError: the data has no such set, or it can't be read.
        WorkloadError: the model's library isn't installed, or it could forecast nothing.
    """
    if name not in data.tasks:
        raise BenchmarkError(f"there is no set {name!r}: there are {', '.join(data.tasks)}")
    task, periods, count = data.tasks[name], season(data.frequency(name)), data.count(name)
    sampled = contender.sampled(count)
    ready = _open(data, name, contender, workers)
    naive = naive_forecasts(task.horizon, periods)
    totals: list[list[ErrorSums]] = []
    seconds, fallbacks, done = ready.seconds, 0, 0
    windows = _windows(data, name, sampled)
    while chunk := list(islice(windows, CHUNK)):
        seen = [window.history[-(contender.max_history or 0) :] for window in chunk]
        places = [window.place for window in chunk]
        began = time.perf_counter()
        quantiles = ready.forecasts(seen, places)
        seconds += time.perf_counter() - began
        fallbacks += int((~np.isfinite(quantiles).all(axis=(1, 2))).sum())
        members = [forecast(seen, places) for forecast in ready.members.values()]
        totals.append(_errors(chunk, (quantiles, *members), naive, periods))
        done += len(chunk)
        if progress is not None:
            progress(done, len(sampled) * task.rolls, f"{name}, {contender.name}")
    if not done or fallbacks == done:
        raise WorkloadError(f"{contender.name} could forecast none of the {done} windows of set {name}")
    baseline_scores, own, *of_members = (_scores(parts) for parts in zip(*totals, strict=True))
    return Result(
        model=contender.name,
        kind=contender.kind,
        set=name,
        benchmark=task.benchmark,
        wql=own["wql"],
        mase=own["mase"],
        naive_wql=baseline_scores["wql"],
        naive_mase=baseline_scores["mase"],
        coverage=None if contender.program == NAIVE_PROGRAM else own["coverage_80"],
        series=len(sampled),
        set_series=count,
        fallbacks=fallbacks,
        seconds=seconds,
        members=dict(zip(ready.members, of_members, strict=True)),
    )


def _errors(
    chunk: Sequence[_SetWindow], forecasts: Iterable[Floats], naive: ReadyContender, periods: int
) -> list[ErrorSums]:
    """Errors over a chunk's windows: of seasonal naive, then of each forecast, which it replaces where there is none."""
    histories = [window.history for window in chunk]
    baseline = naive(histories, [window.place for window in chunk])
    actual = np.array([window.actual for window in chunk])
    scales = np.array([season_error(history, periods) for history in histories])
    whole = (
        np.where(np.isfinite(made).all(axis=(1, 2), keepdims=True), made, baseline) for made in (baseline, *forecasts)
    )
    return [error_sums(actual, made, LEVELS, season_errors=scales).total() for made in whole]


def _scores(parts: Sequence[ErrorSums]) -> dict[str, float]:
    """What errors come to over all windows."""
    measures = _sum(parts).measures()
    return {name: float(measures[name].value) for name in ("wql", "mase", "coverage_80")}


def _open(data: BenchmarkData, name: str, contender: Contender, workers: int | None) -> ReadyPredictor:
    """A contender made ready for a set; a model that is no ensemble has no members."""
    horizon = data.tasks[name].horizon
    if contender.program != PREDICTOR_PROGRAM:
        return ReadyPredictor(open_contender(contender, horizon, season(data.frequency(name)), workers), 0.0, {})
    past = list(_past(data, name, data.count(name)))
    return open_predictor(contender, horizon, data.frequency(name), past, workers)


def describe(result: Result) -> str:
    """A result in a line."""
    rate = result.series_per_second
    return (
        f"{result.set}, {result.model}: wQL {result.wql:.4f}, MASE {result.mase:.3f} "
        f"({result.relative_wql:.3f} and {result.relative_mase:.3f} of seasonal naive's), "
        f"{result.series:,} of {result.set_series:,} series"
        + (f" at {rate:,.0f}/s" if rate else "")
        + (f"; wQL {result.times_best_member:.3f} times that of {result.best_member}" if result.members else "")
    )


@dataclass(frozen=True)
class _SetWindow:
    place: int
    history: Floats
    actual: Floats


def _windows(data: BenchmarkData, name: str, sampled: Collection[int]) -> Iterator[_SetWindow]:
    """The windows of the series that are forecast, in the set's order."""
    task = data.tasks[name]
    for place, values in enumerate(data.series(name)):
        if place in sampled:
            yield from (_SetWindow(place, history, actual) for history, actual in task.windows(values))


def _past(data: BenchmarkData, name: str, count: int) -> Iterator[tuple[int, Floats]]:
    """Place and values up to its first window of a sample of the series, evenly spaced."""
    task = data.tasks[name]
    chosen = {(2 * number + 1) * count // (2 * SAMPLE) for number in range(SAMPLE)} if count > SAMPLE else range(count)
    for place, values in enumerate(data.series(name)):
        if place in chosen:
            yield place, values[: len(values) + task.offset]


def _sum(parts: Sequence[ErrorSums]) -> ErrorSums:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


if __name__ == "__main__":
    run_workload(main)
