"""Workload: a candidate's errors on held-out windows, beside those of the models that it would replace.

    python -m chronos_assets.workloads.evaluate

Parameters (one JSON document; only the first three must be given, with the channel `dataset` the first four):

```
models              {"candidate": reference, "base": reference, "approved": reference or null}
horizon             periods of a window
quantiles           [0.1, 0.5, 0.9]: levels of wQL; "coverage" is that of the bands that they span
frequency           "H", "15min", ...
alignment, filling, dimensions, context_length, batch_size, seed, holidays    as the forecast workload has them
validation_windows, test_windows    as the train workload has them: 2 and 2
season              periods in a season, for MASE; by default GluonTS's for the frequency
baseline_season     periods in a season of seasonal naive; by default the one that did best before the test windows
non_negative, integers    as the forecast workload has them
zero_shot           likewise: the base is the default predictor around its model, learned from what was known before the test
                    windows; null: the model alone
max_series          at most so many series, chosen at random by `seed`: by default 5000, and 500 where a model samples
```

Channels: reads `dataset` (a folder of shards), or where there is none `synthetic` (with test.arrow), and, if given,
`candidate`, `base` and `approved` (folders of models, which come before the references). Writes `metrics.json` and
`losses.parquet` (see `timeseries.scoring.evaluation_files`) to `evaluation`.

**What is compared.** The test windows of `timeseries.dataset.holdout`, which no training saw; of synthetic series the last
`horizon` periods. A window counts if the series has an observation before it and one in it. Each forecast reads only
what was known at the window's origin: filled values are filled again from what lies before. Points that were not
observed don't count, and windows that one of the models can't forecast count for none of them.

A model that gives not all of the quantiles is an error, except for the approved version: it is left out, and said so, since
another one couldn't take its place otherwise. Models of equal weights are forecast once.

**Memory** is that of one model and one chunk of windows, and some 20 numbers for each window and model.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.models.checkpoints import ModelDescription, ModelError, QuantileRangeError, check_quantiles
from chronos_assets.models.quantiles import in_whole_numbers, is_non_negative
from chronos_assets.predictors.ensemble import Ensemble
from chronos_assets.predictors.evaluation_data import (
    EvaluateRequest,
    EvaluationData,
    WindowTask,
    open_data,
    parse_request,
)
from chronos_assets.predictors.opening import Network, describe_given
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.series_keys import Key, series_name
from chronos_assets.timeseries.dataset.shards import seeded_digest
from chronos_assets.timeseries.scoring.baselines import (
    MAX_TRIED_SERIES,
    Baseline,
    choose_baseline,
    seasonal_naive,
    spread_to_quantiles,
)
from chronos_assets.timeseries.scoring.evaluation_files import Measured, write_evaluation
from chronos_assets.timeseries.scoring.gate import APPROVED, BASE, CANDIDATE, SEASONAL_NAIVE, TITLES
from chronos_assets.timeseries.scoring.metrics import ErrorSums, error_sums

if TYPE_CHECKING:
    from chronos_assets.models.forecasting import Forecaster
MAX_SERIES = 5000
MAX_SAMPLED_SERIES = 500  # by T5, which takes a hundred paths of each, one series after another
MAX_NAMED = 20  # failures named in the document
_MAX_TASKS = 4096
_VALUES_AT_ONCE = 4_000_000  # histories and forecasts held at once: 32 MB, and a few times that while they are summed


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Measure all models. Everything that can be refused is refused before one is loaded."""
    request = parse_request(workspace.parameters())
    data = open_data(workspace, request)
    models, left_out = _describe(workspace, request)
    _Evaluation(request, data, models, left_out, reporter).run(workspace.output("evaluation"))


@dataclass(frozen=True)
class Predicted:
    """Forecasts of n tasks: quantiles (n, horizon, levels), mean (n, horizon), reasons: place -> why there is none."""

    quantiles: Floats
    mean: Floats
    reasons: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _ModelErrors:
    """Errors of one model on every window.

    rows: series and number of each window. sums: shape (rows,), zero where a forecast failed. failed: row -> why.
    """

    rows: Sequence[tuple[Key, int]]
    sums: ErrorSums
    failed: Mapping[int, str]


@dataclass
class _Evaluation:
    """One run over all models."""

    request: EvaluateRequest
    data: EvaluationData
    models: Mapping[str, ModelDescription]
    left_out: Mapping[str, str]
    reporter: Reporter

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def run(self, output: Path) -> None:
        """Choose, measure, compare, tell."""
        chosen, available, total = self._choose()
        passes: dict[str, _ModelErrors] = {}
        details: dict[str, dict[str, Any]] = {}
        for names, description in _by_weights(self.models, self._is_zero_shot(BASE)):
            what = " and ".join(TITLES[name] for name in names)
            made, method = self._measure_model(chosen, total, what, description, names)
            for name in names:
                passes[name] = made
                details[name] = {"model": self.models[name].to_document(), **method}
        baseline = self._baseline(chosen)
        naive = partial(self._naive, baseline.season)
        passes[SEASONAL_NAIVE] = self._measure(chosen, total, baseline.name, naive)
        details[SEASONAL_NAIVE] = {"baseline": baseline.to_document()}
        self._finish(output, passes, details, len(chosen), available)

    def _baseline(self, chosen: set[Key]) -> Baseline:
        """The seasonal naive forecast that is hardest to beat, by what was known before the test windows."""
        request = self.request
        frequency = request.grid.frequency if request.grid else None
        if request.baseline_season or frequency is None:
            return Baseline.of(request.baseline_season or request.seasonality, frequency)
        some = set(sorted(chosen, key=lambda key: seeded_digest(request.seed, "series", *key))[:MAX_TRIED_SERIES])
        return choose_baseline(self.data.pasts(some), frequency, request.horizon)

    @cached_property
    def max_series(self) -> int:
        """At most so many series are evaluated."""
        sampling = any(description.quantiles is None for description in self.models.values())
        return self.request.max_series or (MAX_SAMPLED_SERIES if sampling else MAX_SERIES)

    def _choose(self) -> tuple[set[Key], int, int]:
        """At most `max_series` of the series, at random but the same for the same seed.

        Returns:
            The series, how many there are in all, and how many windows the chosen ones have.
        """
        available = 0

        def ranked() -> Iterator[tuple[bytes, Key, int]]:
            nonlocal available
            for key, windows in self.data.eligible():
                available += 1
                yield seeded_digest(self.request.seed, "series", *key), key, windows

        chosen = heapq.nsmallest(self.max_series, ranked())
        if not chosen:
            raise WorkloadError(
                f"no series has an observation both before and within a test window of {self.request.horizon} periods: "
                "add train files with newer or longer series, or ask for a shorter horizon"
            )
        if len(chosen) < available:
            self.reporter.log(f"{len(chosen):,} of {available:,} series are evaluated, chosen by seed (max_series)")
        keys = {key for _, key, _ in chosen}
        if len(keys) < len(chosen):
            twice = next(key for (_, key, _), (_, other, _) in pairwise(chosen) if key == other)
            raise WorkloadError(f"series {series_name(twice)} occurs twice: give each its own item_id")
        return keys, available, sum(windows for _, _, windows in chosen)

    def _is_zero_shot(self, name: str) -> bool:
        """Whether a model stands for the zero-shot predictor around it."""
        return name == BASE and self.request.zero_shot is not None and self.request.grid is not None

    def _open(self, description: ModelDescription, names: Sequence[str]) -> Forecaster | Ensemble:
        """What forecasts for a model: its predictor, the zero-shot one around it, or itself."""
        network = Network(
            description,
            self.request.horizon,
            self.request.quantiles,
            context_length=self.request.context_length,
            seasons=self.request.grid.frequency.candidate_seasons if self.request.grid is not None else (),
            batch_size=self.request.batch_size,
            categories=self.data.categories,
        )
        own = Predictor.load(description.folder)
        if own is not None:
            return network.ensemble(own)
        learned = self.data.learn(network, self.reporter.log) if self._is_zero_shot(names[0]) else None
        return network.ensemble(learned) if learned is not None else network.alone

    def _measure_model(
        self, chosen: set[Key], total: int, what: str, description: ModelDescription, names: Sequence[str]
    ) -> tuple[_ModelErrors, dict[str, Any]]:
        """A model's pass, and how it forecast; the model is let go of before the next one is loaded."""
        forecaster = self._open(description, names)
        method: dict[str, Any] = {
            **({"predictor": forecaster.predictor.summary()} if isinstance(forecaster, Ensemble) else {}),
            "context_length": forecaster.context_length,
            "unrolled": forecaster.unrolled,
            "method": forecaster.method,
        }
        return self._measure(chosen, total, what, partial(self._forecast, forecaster)), method

    def _measure(
        self, chosen: set[Key], total: int, what: str, predict: Callable[[Sequence[WindowTask]], Predicted]
    ) -> _ModelErrors:
        rows: list[tuple[Key, int]] = []
        parts: list[ErrorSums] = []
        failed: dict[int, str] = {}
        for tasks in self._chunks(chosen):
            predicted = predict(tasks)
            actual = np.array([task.actual for task in tasks])
            actual[list(predicted.reasons)] = np.nan
            parts.append(
                error_sums(
                    actual,
                    predicted.quantiles,
                    self.request.quantiles,
                    season_errors=np.array([task.season_error for task in tasks]),
                    mean=predicted.mean,
                )
            )
            failed |= {len(rows) + place: reason for place, reason in predicted.reasons.items()}
            rows += [(task.key, task.window) for task in tasks]
            self.reporter.progress(len(rows), total, f"windows forecast by {what}")
        return _ModelErrors(rows, ErrorSums.concatenate(parts), failed)

    def _chunks(self, chosen: set[Key]) -> Iterator[list[WindowTask]]:
        tasks: list[WindowTask] = []
        values = 0
        for task in self.data.tasks(chosen):
            tasks.append(task)
            known = task.covariates
            values += len(known.known) * (known.periods + self.request.horizon) + len(known.past) * known.periods
            values += len(task.history) + self.request.horizon * (len(self.request.quantiles) + 2)
            if len(tasks) == _MAX_TASKS or values >= _VALUES_AT_ONCE:
                yield tasks
                tasks, values = [], 0
        if tasks:
            yield tasks

    def _forecast(self, forecaster: Forecaster | Ensemble, tasks: Sequence[WindowTask]) -> Predicted:
        digests = [seeded_digest(self.request.seed, "window", str(task.window), *task.key) for task in tasks]
        seeds = [int.from_bytes(digest[:8], "little") >> 1 for digest in digests]
        made = forecaster.forecast(
            [task.history for task in tasks],
            seeds=seeds,
            groups=[task.window for task in tasks],
            non_negative=[is_non_negative(self.request.non_negative, task.lowest) for task in tasks],
            keys=[task.key for task in tasks],
            covariates=[task.covariates for task in tasks],
        )
        integral = [self.request.integers and task.integral for task in tasks]
        quantiles = in_whole_numbers(made.quantiles, integral)
        return Predicted(quantiles, made.mean, {skip.index: skip.reason for skip in made.skipped})

    def _naive(self, season: int, tasks: Sequence[WindowTask]) -> Predicted:
        points = np.array([seasonal_naive(task.history, season, self.request.horizon) for task in tasks])
        return Predicted(spread_to_quantiles(points, len(self.request.quantiles)), points)

    def _finish(
        self,
        output: Path,
        passes: Mapping[str, _ModelErrors],
        details: Mapping[str, Mapping[str, Any]],
        series: int,
        available: int,
    ) -> None:
        """Keep the windows that every model forecast, in order; write, and tell."""
        rows = passes[CANDIDATE].rows
        lost = {place for made in passes.values() for place in made.failed}
        kept = np.array(sorted(set(range(len(rows))) - lost, key=rows.__getitem__), dtype=np.intp)
        names = [name for name in TITLES if name in passes]
        measured = Measured(
            keys=[rows[place][0] for place in kept],
            windows=np.array([rows[place][1] for place in kept], dtype=np.int64),
            errors={name: passes[name].sums.take(kept) for name in names},
            failed={name: len(passes[name].failed) for name in names},
            left_out=self.left_out,
        )
        points = int(measured.errors[CANDIDATE].points.sum())
        header = {
            **self.data.to_document(),
            "horizon": self.request.horizon,
            "season": self.request.seasonality,
            "quantiles": list(self.request.quantiles),
            "seed": self.request.seed,
            "max_series": self.max_series,
            "series": series,
            "available_series": available,
            "windows": len(kept),
            "points": points,
            "excluded": len(kept) * self.request.horizon - points,
            "failed_windows": len(lost),
            "models": {
                name: {**details.get(name, {}), "failures": _named(rows, passes[name].failed)} for name in names
            },
        }
        document = write_evaluation(output, measured, header)
        self.reporter.message({"evaluation": document, "seconds": round(time.monotonic() - self.started, 3)})


def _named(rows: Sequence[tuple[Key, int]], failed: Mapping[int, str]) -> dict[str, Any]:
    """Failures by reason, and the first of them by name."""
    places = sorted(failed, key=rows.__getitem__)
    return {
        "reasons": dict(sorted(Counter(failed.values()).items())),
        "first": [
            {"item": series_name(rows[place][0]), "window": rows[place][1], "reason": failed[place]}
            for place in places[:MAX_NAMED]
        ],
    }


def _describe(workspace: Workspace, request: EvaluateRequest) -> tuple[dict[str, ModelDescription], dict[str, str]]:
    """The models, each from its channel if the job has one; and those left out, with the reason.

    Raises:
        WorkloadError: the candidate or the base can't be read, or gives not all of the quantiles.
    """
    found: dict[str, ModelDescription] = {}
    left_out: dict[str, str] = {}
    for name, reference in request.models.items():
        try:
            description = describe_given(workspace, reference, channel=name)
            check_quantiles(description, request.quantiles)
        except QuantileRangeError as error:
            if name != APPROVED:
                raise WorkloadError(f"{TITLES[name]}: {error}") from error
            left_out[name] = str(error)
            continue
        except ModelError as error:
            raise WorkloadError(f"{TITLES[name]}: {error}") from error
        found[name] = description
    return found, left_out


def _by_weights(
    models: Mapping[str, ModelDescription], base_apart: bool
) -> Iterator[tuple[list[str], ModelDescription]]:
    """Names of models that forecast alike, with one of their descriptions: of equal weights, and equal predictors.

    Args:
        models: by name.
        base_apart: whether the base stands for the zero-shot predictor around it.
    """

    def identity(name: str) -> tuple[str, str]:
        predictor = Predictor.load(models[name].folder)
        alone = "zero-shot" if base_apart and name == BASE else ""
        return models[name].digest, predictor.digest if predictor is not None else alone

    for wanted in dict.fromkeys(identity(name) for name in models):
        names = [name for name in models if identity(name) == wanted]
        yield names, models[names[0]]


if __name__ == "__main__":
    run_workload(main)
