"""Workload: fine-tune a Chronos model on synthetic series, on a dataset's own, or on a mixture of both.

    python -m chronos_assets.workloads.train

A SageMaker training job: folders below `CHRONOS_ML_ROOT` (default /opt/ml), see `contract`.

```
input/config/hyperparameters.json   the parameters below, all optional: JSON values, or strings as SageMaker passes them
input/data/synthetic/               train.arrow and validation.arrow (with manifest.json)
input/data/target/                  a dataset's folder of shards
input/data/model/                   the model to start from; comes before `base_model`
model/                              config.json, model.safetensors (, generation_config.json): nothing else
checkpoints/last.pt                 a run that finds it resumes from it; in SageMaker below the job's name
output/data/training.json           what was done, see `_document`
output/failure                      one line, with a non-zero exit code, when the run failed
```

Parameters:

```
base_model            "bundled", a Hub id, a folder or an s3:// prefix
finetune_mode         "full", or "lora": low-rank matrices that are merged in the end (needs peft)
learning_rate, max_steps, batch_size, weight_decay, warmup_ratio, max_grad_norm, lora_rank, lora_alpha, seed
context_length        periods of context at most; the model's at most (default 512, or the model's if that is less)
prediction_length     periods to learn to forecast; a block of the model at most (default 64, or the block)
min_past              least periods of context (default 60, or half of a short series)
drop_prob             up to this share of a window is hidden (default 0.2 for T5 as in the paper, 0 for the others)
mixture               {"target": 0.9, "synthetic": 0.1}: probability of a window to come from each
eval_every, checkpoint_every, log_every    in steps
threads               of torch (default 0: one per core)
horizon               periods of a validation and a test window; with the channel `target` it must be given
frequency, alignment, filling, dimensions  of the dataset, as the forecast has them; `frequency` must be given too
quantiles             levels of the validation's wQL; those beyond the model's range are left out
validation_windows, test_windows           held out of the dataset, see `timeseries.dataset.holdout`
max_training_series   read of the dataset, chosen by a seeded hash of their keys (default 5000)
max_validation_series validated on at most, chosen likewise (default 100)
```

**What is held out.** Of the dataset, the last `test_windows` windows of `horizon` periods are for the gate, the
`validation_windows` before choose among checkpoints (and trials); training ends before all of them. Without the channel
`target`, the last `prediction_length` periods of the synthetic validation series are forecast.

**Log.** Lines that SageMaker's metric definitions and the local tuner read, on stderr:

```
{'step': 20, 'loss': 0.123456, 'learning_rate': 0.0000500000, 'eta_seconds': 12}
{'step': 20, 'validation_wql': 0.123456}
```

The last line of all repeats the step and wQL of the weights that were saved: those of the best validation. The base
model's, `{'step': 0, 'base_validation_wql': ...}`, is no candidate.
"""

from __future__ import annotations

import heapq
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, TextIO, TypeVar

# Threads of torch that sleep when idle: those that spin take a shared machine four times the work. Read when torch is
# first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from pydantic import PlainValidator

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Alignment, Grid
from chronos_assets.container.contract import PROGRESS_SECONDS, Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.container.parameters import (
    Count,
    CountOrNone,
    FrequencyText,
    SomeLevels,
    Text,
    checked,
    read_parameters,
)
from chronos_assets.models import finetuning
from chronos_assets.models.checkpoints import BUNDLED, ModelDescription, describe_model
from chronos_assets.models.finetuning import FinetuneMode, FinetunePlan, FinetuneProgress
from chronos_assets.models.finetuning_data import (
    Mixture,
    TrainingSeries,
    WindowShape,
    WindowSource,
    mixture_probabilities,
)
from chronos_assets.models.finetuning_validation import SAMPLED_WINDOWS, Validation, ValidationWindow
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.params.attributes import Filling
from chronos_assets.params.hyperparameters import HYPERPARAMETERS, Hyperparameter
from chronos_assets.system import write_json
from chronos_assets.timeseries.dataset.filling import context_as_of, fill
from chronos_assets.timeseries.dataset.gluonts_arrow import read_arrow, read_data_version
from chronos_assets.timeseries.dataset.holdout import Holdout, periods_known, plan_holdout, window_actuals
from chronos_assets.timeseries.dataset.shards import (
    Manifest,
    Series,
    iter_series,
    list_shards,
    read_manifest,
    seeded_digest,
)

CONTEXT_LENGTH, PREDICTION_LENGTH = 512, 64
T5_DROP_PROB = 0.2
T = TypeVar("T")

DECILES = tuple(round(0.1 * k, 1) for k in range(1, 10))

JOB_VARIABLE = "TRAINING_JOB_NAME"  # SageMaker sets it in a training job's container

# SageMaker's tuner and its SDK add parameters of their own to a job's.
_FOREIGN = ("_tuning_", "sagemaker_")


def _known(name: str) -> PlainValidator:
    """The check of a hyperparameter, which the reader of params.json has, too."""
    return PlainValidator(HYPERPARAMETERS[name].checked)


@checked
@dataclass(frozen=True)
class TrainRequest:
    """The parameters, checked; None where the default follows from the model or the data."""

    base_model: Text = BUNDLED
    finetune_mode: Annotated[FinetuneMode, _known("finetune_mode")] = FinetunePlan.mode
    learning_rate: Annotated[float, _known("learning_rate")] = FinetunePlan.learning_rate
    max_steps: Annotated[int, _known("max_steps")] = FinetunePlan.max_steps
    batch_size: Annotated[int, _known("batch_size")] = 32
    context_length: Annotated[int | None, _known("context_length")] = None
    prediction_length: Annotated[int | None, _known("prediction_length")] = None
    weight_decay: Annotated[float, _known("weight_decay")] = FinetunePlan.weight_decay
    warmup_ratio: Annotated[float, _known("warmup_ratio")] = FinetunePlan.warmup_ratio
    max_grad_norm: Annotated[float, _known("max_grad_norm")] = FinetunePlan.max_grad_norm
    lora_rank: Annotated[int, _known("lora_rank")] = FinetunePlan.lora_rank
    lora_alpha: Annotated[int, _known("lora_alpha")] = FinetunePlan.lora_alpha
    seed: Annotated[int, _known("seed")] = FinetunePlan.seed
    mixture: Annotated[Mapping[str, float] | None, PlainValidator(_mixture)] = None
    min_past: Annotated[int | None, _known("min_past")] = None
    drop_prob: Annotated[float | None, _known("drop_prob")] = None
    eval_every: Annotated[int | None, _known("eval_every")] = None
    checkpoint_every: Annotated[int | None, _known("checkpoint_every")] = None
    log_every: Annotated[int, _known("log_every")] = FinetunePlan.log_every
    threads: Annotated[int, _known("threads")] = 0
    horizon: Count | None = None
    frequency: FrequencyText | None = None
    alignment: Alignment = DEFAULT_ALIGNMENT
    filling: Filling = field(default_factory=Filling)
    dimensions: tuple[Text, ...] = ()
    quantiles: SomeLevels = DECILES
    validation_windows: Count = 2
    test_windows: CountOrNone = 2
    max_training_series: Annotated[int, _known("max_training_series")] = 5000
    max_validation_series: Annotated[int, _known("max_validation_series")] = 100

    def plan(self) -> FinetunePlan:
        """The recipe."""
        every = self.eval_every or max(1, self.max_steps // 4)
        return FinetunePlan(
            mode=self.finetune_mode,
            learning_rate=self.learning_rate,
            max_steps=self.max_steps,
            weight_decay=self.weight_decay,
            warmup_ratio=self.warmup_ratio,
            max_grad_norm=self.max_grad_norm,
            lora_rank=self.lora_rank,
            lora_alpha=self.lora_alpha,
            seed=self.seed,
            eval_every=every,
            checkpoint_every=self.checkpoint_every or every,
            log_every=self.log_every,
        )


def parse_request(document: Mapping[str, Any]) -> TrainRequest:
    """Check the parameters.

    Raises:
        WorkloadError: names every one that is unknown or impossible.
    """
    given = {name: value for name, value in document.items() if not name.startswith(_FOREIGN)}
    return read_parameters(TrainRequest, "training", given)


def _mixture(value: Any) -> dict[str, float]:
    """Shares of the user's series and of synthetic ones."""
    share = Hyperparameter(float, low=0, high=1)
    if not isinstance(value, dict) or not all(part in share for part in value.values()):
        raise ValueError('it must be an object of shares such as {"target": 0.9, "synthetic": 0.1}')
    unknown = sorted(set(value) - {"target", "synthetic"})
    if unknown:
        raise ValueError(f"there is no source {', '.join(unknown)}, only target and synthetic")
    return {name: float(part) for name, part in value.items()}


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Fine-tune, or continue with it, and save the best weights. What can be refused is refused before the first step."""
    request = parse_request(workspace.hyperparameters())
    if request.threads:
        torch.set_num_threads(request.threads)
    _TrainingJob(workspace, request, reporter).run()


@dataclass(frozen=True)
class _Data:
    """What was read from the channels.

    Attributes:
        sources: source -> series to draw windows from.
        validation: windows to forecast, of `horizon` periods.
        horizon: of validation, and what a training window has observed at least.
        holdout, grid: of the dataset, if there is one.
        versions: source -> data version.
    """

    sources: Mapping[str, Sequence[TrainingSeries]]
    validation: Sequence[ValidationWindow]
    horizon: int
    holdout: Holdout | None
    grid: Grid | None
    versions: Mapping[str, str | None]


class _TrainingJob:
    """One run."""

    def __init__(self, workspace: Workspace, request: TrainRequest, reporter: Reporter) -> None:
        self.workspace, self.reporter = workspace, reporter
        self.channels = {
            name: folder for name in ("target", "synthetic") if (folder := workspace.channel(name)) is not None
        }
        self.probabilities = mixture_probabilities(request.mixture, list(self.channels))
        self.description = _describe(workspace, request)
        self.request = _completed(request, self.description)
        self.plan = self.request.plan()
        self.levels = _levels(self.request, self.description)

    def run(self) -> None:
        """Read, train, save, tell."""
        request = self.request
        data = self._read()
        shape = WindowShape(
            context_length=_set(request.context_length),
            prediction_length=_set(request.prediction_length),
            min_past=request.min_past,
            drop_prob=_set(request.drop_prob),
        )
        sources = {
            WindowSource(name, data.sources[name], shape, data.horizon): share
            for name, share in self.probabilities.items()
        }
        mixture = Mixture(
            sources,
            family=self.description.family,
            batch_size=request.batch_size,
            context_length=shape.context_length,
            seed=request.seed,
        )
        model = load_model(self.description, trainable=True)
        forecaster = Forecaster(model, data.horizon, self.levels, context_length=shape.context_length)
        validation = Validation(forecaster, data.validation)
        said = ", ".join(f"{share:g} {source.name} ({len(source)} series)" for source, share in sources.items())
        self.reporter.log(
            f"fine-tuning {self.description.reference} ({self.description.family}, {request.finetune_mode}) for "
            f"{request.max_steps} steps on {said}; validation on {len(validation)} windows of {data.horizon} periods"
            + ("" if self.description.quantiles else ", few since each takes 100 sampled paths")
        )
        with _Log(self.reporter, sys.stderr) as log:
            done = finetuning.finetune(
                model,
                mixture.batch,
                self.plan,
                validation.wql,
                checkpoint=_checkpoint(self.workspace),
                recipe=self._recipe(data),
                report=log.tell,
            )
            log.line(f"{{'step': {done.best_step}, 'validation_wql': {done.validation_wql:.6f}}}")
        finetuning.save_model(model, self.workspace.model)
        report = self._document(data, done)
        self.workspace.output_data.mkdir(parents=True, exist_ok=True)
        write_json(self.workspace.output_data / "training.json", report, sort_keys=True, allow_nan=False)
        self.reporter.message({"training": report})

    def _read(self) -> _Data:
        """Read the channels; validation is on the user's own series wherever there are any."""
        limit = self.request.max_validation_series
        sources: dict[str, Sequence[TrainingSeries]] = {}
        versions: dict[str, str | None] = {}
        validation: Sequence[ValidationWindow] = ()
        if "synthetic" in self.channels:
            folder = self.channels["synthetic"]
            horizon = _set(self.request.prediction_length)
            if "synthetic" in self.probabilities:
                sources["synthetic"] = _read_synthetic(folder / "train.arrow")
            if "target" not in self.channels:
                validation = _synthetic_windows(folder / "validation.arrow", horizon, limit, self.request.seed)
            versions["synthetic"] = read_data_version(folder)
        holdout = grid = None
        if "target" in self.channels:
            dataset = _Dataset(self.channels["target"], self.request)
            holdout, grid, horizon = dataset.holdout, dataset.grid, dataset.holdout.horizon
            sources["target"], validation = dataset.read(_set(self.request.context_length), limit)
            versions["target"] = dataset.manifest.data_version
        if not self.description.quantiles:
            validation = validation[:SAMPLED_WINDOWS]
        return _Data(sources, validation, horizon, holdout, grid, versions)

    def _recipe(self, data: _Data) -> dict[str, Any]:
        """What a checkpoint depends on."""
        free = ("log_every", "checkpoint_every", "threads", "base_model")
        recipe = {name: value for name, value in self._hyperparameters().items() if name not in free}
        return {**recipe, "base_model": self.description.digest, "data_versions": dict(data.versions)}

    def _hyperparameters(self) -> dict[str, Any]:
        """The parameters in effect, JSON values."""
        request = self.request
        values = {item.name: getattr(request, item.name) for item in fields(request)}
        return {
            **values,
            "mixture": self.probabilities,
            "frequency": str(request.frequency) if request.frequency else None,
            "alignment": asdict(request.alignment),
            "filling": asdict(request.filling),
            "dimensions": list(request.dimensions),
            "quantiles": list(self.levels),
            "eval_every": self.plan.eval_every,
            "checkpoint_every": self.plan.checkpoint_every,
        }

    def _document(self, data: _Data, done: finetuning.Finetuned) -> dict[str, Any]:
        """What `training.json` holds.

        `training_cutoff` is the start of the last period of the user's that training saw, `validation_end` of the last that
        choosing among its checkpoints saw.
        """
        held = data.holdout.to_document(data.grid) if data.holdout and data.grid else {}
        trained_on_target = "target" in self.probabilities
        return {
            "base_model": self.description.reference,
            "base_digest": self.description.digest,
            "family": self.description.family,
            "hyperparameters": self._hyperparameters(),
            "data_versions": dict(data.versions),
            "series": {name: len(series) for name, series in data.sources.items()},
            "holdout": held or None,
            "training_cutoff": held.get("training_end") if trained_on_target else None,
            "validation_end": held.get("validation_end"),
            "validated_windows": len(data.validation),
            "curve": [list(point) for point in done.curve],
            "validation": [list(point) for point in done.validation],
            "base_validation_wql": done.base_validation_wql,
            "validation_wql": done.validation_wql,
            "best_step": done.best_step,
            "steps": self.plan.max_steps,
            "seconds": round(done.seconds, 3),
            "resumed_from": done.resumed_from,
        }


class _Dataset:
    """The channel `target`."""

    def __init__(self, folder: Path, request: TrainRequest) -> None:
        missing = [name for name in ("horizon", "frequency") if getattr(request, name) is None]
        if missing:
            raise WorkloadError(
                f"parameters of the training: {' and '.join(missing)} not given, which the channel target needs"
            )
        self.folder, self.request = folder, request
        self.manifest: Manifest = read_manifest(folder)
        self.grid = Grid(_set(request.frequency), request.alignment)
        self.manifest.check("training", self.grid.frequency, request.dimensions)
        self.holdout = plan_holdout(
            *self.manifest.span(self.grid),
            _set(request.horizon),
            validation_windows=request.validation_windows,
            test_windows=request.test_windows,
            training_periods=(request.min_past or 1) + 1,
        )

    def read(self, context_length: int, limit: int) -> tuple[list[TrainingSeries], list[ValidationWindow]]:
        """The series to train on, and the validation windows of at most `limit` of them."""
        chosen = list(self._chosen(self.request.max_training_series))
        training = [item for series in chosen if (item := self._training(series)) is not None]
        validated = [
            self._window(series, origin, context_length)
            for series in chosen[:limit]
            for origin in self.holdout.validation
            if periods_known(self._first(series), origin)
        ]
        return training, validated

    def _chosen(self, limit: int) -> Iterator[Series]:
        """At most `limit` series, in an order that depends on the seed and their keys alone."""
        until = self.grid.instant(self.holdout.validation_end + 1)
        ranked = (
            (seeded_digest(self.request.seed, *series.key), series)
            for shard in list_shards(self.folder)
            for series in iter_series(shard, self.request.dimensions, until=until)
        )
        yield from (series for _, series in heapq.nsmallest(limit, ranked, key=lambda pair: pair[0]))

    def _first(self, series: Series) -> int:
        return self.grid.number_of(series.timestamps[0])

    def _training(self, series: Series) -> TrainingSeries | None:
        """The part of a series that training may see; None if it begins later."""
        cut = periods_known(self._first(series), self.holdout.training_end)
        if not cut:
            return None
        observed = series.observed[:cut]
        return TrainingSeries(fill(series.target[:cut], observed, self.request.filling), observed)

    def _window(self, series: Series, origin: int, context_length: int) -> ValidationWindow:
        first = self._first(series)
        cut = periods_known(first, origin)
        return ValidationWindow(
            context_as_of(series, cut, context_length, self.request.filling),
            window_actuals(series.target, series.filled, first, origin, self.holdout.horizon),
        )


class _Log:
    """Tells progress: metric lines on stderr, Dagster's log where it launched this, a bar where a person looks on."""

    WIDTH = 20

    def __init__(self, reporter: Reporter, stream: TextIO) -> None:
        self._reporter, self._stream = reporter, stream
        self._bar = stream.isatty()
        self._wql: float | None = None
        self._spoke = -math.inf

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._stream.write("\n")

    def tell(self, progress: FinetuneProgress) -> None:
        """Tell one point of the run."""
        for text in progress_lines(progress):
            self.line(text)
        if progress.validation_wql is not None:
            self._wql = progress.validation_wql
        said = "" if self._wql is None else f", validation wQL {self._wql:.4f}"
        if progress.loss is not None:
            # The end is what a narrow terminal cuts off.
            rate = f"learning rate {progress.learning_rate:.2g}"
            said = f", loss {progress.loss:.4f}{said}, {progress.eta_seconds:.0f} s to go, {rate}"
        if self._bar:
            full = self.WIDTH * progress.step // progress.steps
            bar = "█" * full + " " * (self.WIDTH - full)
            line = f"|{bar}| {progress.step}/{progress.steps}{said}"
            self._stream.write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
            self._stream.flush()
        if self._reporter.attached and (self._due() or progress.step == progress.steps):
            self._reporter.log(f"step {progress.step}/{progress.steps}{said}")

    def _due(self) -> bool:
        """Whether the run's log, which is read by people, may get another line."""
        now = time.monotonic()
        if now - self._spoke < PROGRESS_SECONDS:
            return False
        self._spoke = now
        return True

    def line(self, text: str) -> None:
        """One line that a metric definition may find a number in."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._bar else f"{text}\n")
        self._stream.flush()


def progress_lines(progress: FinetuneProgress) -> list[str]:
    """The metric lines of one point of a run; numbers without exponents, which a metric's regex would cut."""
    lines = []
    if progress.loss is not None:
        lines.append(
            f"{{'step': {progress.step}, 'loss': {progress.loss:.6f}, "
            f"'learning_rate': {progress.learning_rate:.10f}, 'eta_seconds': {progress.eta_seconds:.0f}}}"
        )
    if progress.validation_wql is not None:
        name = "validation_wql" if progress.step else "base_validation_wql"
        lines.append(f"{{'step': {progress.step}, '{name}': {progress.validation_wql:.6f}}}")
    return lines


def _describe(workspace: Workspace, request: TrainRequest) -> ModelDescription:
    """The model in the job's channel if it has one, under the name that the parameters give it; else that model."""
    channel = workspace.channel("model")
    if channel is None:
        return describe_model(request.base_model)
    return replace(describe_model(channel), reference=request.base_model)


def _completed(request: TrainRequest, model: ModelDescription) -> TrainRequest:
    """The request with the defaults that follow from the model.

    Raises:
        WorkloadError: more context or periods are asked for than the model has.
    """
    limits = (("context_length", model.context_length), ("prediction_length", model.block_length))
    problems = [
        f"{name} is {value}, and {model.reference} has {limit} at most"
        for name, limit in limits
        if (value := getattr(request, name)) is not None and value > limit
    ]
    if problems:
        raise WorkloadError(f"parameters of the training: {'; '.join(problems)}")
    drop_prob = T5_DROP_PROB if model.family == "t5" else 0.0
    return replace(
        request,
        context_length=request.context_length or min(CONTEXT_LENGTH, model.context_length),
        prediction_length=request.prediction_length or min(PREDICTION_LENGTH, model.block_length),
        drop_prob=drop_prob if request.drop_prob is None else request.drop_prob,
    )


def _levels(request: TrainRequest, model: ModelDescription) -> tuple[float, ...]:
    """The levels of the validation's wQL: those asked for that the model forecasts."""
    low, high = model.quantile_range
    levels = tuple(level for level in request.quantiles if low - 1e-9 <= level <= high + 1e-9)
    if not levels:
        raise WorkloadError(
            f"parameters of the training: none of the quantiles {list(request.quantiles)} is among those that "
            f"{model.reference} forecasts, {low:g} to {high:g}: give one that is, or another base_model"
        )
    return levels


def _read_synthetic(path: Path) -> list[TrainingSeries]:
    return [TrainingSeries(target, np.isfinite(target)) for _, _, target in read_arrow(path)]


def _synthetic_windows(path: Path, horizon: int, limit: int, seed: int) -> list[ValidationWindow]:
    """The last `horizon` periods of at most `limit` series, and what comes before.

    Raises:
        WorkloadError: no series is longer than that.
    """
    series = [(seeded_digest(seed, item), target) for item, _, target in read_arrow(path)]
    usable = [pair for pair in series if len(pair[1]) > horizon]
    if not usable:
        raise WorkloadError(
            f"{path.name} holds {len(series)} series, none of them longer than prediction_length, which is {horizon}: "
            "materialize synthetic_dataset with more or longer series"
        )
    chosen = heapq.nsmallest(limit, usable, key=lambda pair: pair[0])
    return [ValidationWindow(target[:-horizon], target[-horizon:]) for _, target in chosen]


def _checkpoint(workspace: Workspace) -> Path:
    """The file to resume from. Training jobs of one search may share the folder; SageMaker tells each its name."""
    return workspace.checkpoints / os.environ.get(JOB_VARIABLE, "") / "last.pt"


def _set(value: T | None) -> T:
    """A value that `_completed` has seen to."""
    assert value is not None  # noqa: S101 - for the type checker
    return value


if __name__ == "__main__":
    run_workload(main)
