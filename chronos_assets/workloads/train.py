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

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

# Threads of torch that sleep when idle: those that spin take a shared machine four times the work. Read when torch is
# first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.container.contract import Reporter, Workspace, run_workload
from chronos_assets.models import finetuning
from chronos_assets.models.checkpoints import ModelDescription, describe_model
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
from chronos_assets.system import write_json
from chronos_assets.timeseries.dataset.gluonts_arrow import read_data_version
from chronos_assets.timeseries.dataset.holdout import Holdout
from chronos_assets.training.datasets import TargetDataset, read_synthetic, synthetic_windows
from chronos_assets.training.log import TrainingLog
from chronos_assets.training.request import TrainRequest, completed, given, parse_request, validation_levels

JOB_VARIABLE = "TRAINING_JOB_NAME"  # SageMaker sets it in a training job's container


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
        self.request = completed(request, self.description)
        self.plan = self.request.plan()
        self.levels = validation_levels(self.request, self.description)

    def run(self) -> None:
        """Read, train, save, tell."""
        request = self.request
        data = self._read()
        shape = WindowShape(
            context_length=given(request.context_length),
            prediction_length=given(request.prediction_length),
            min_past=request.min_past,
            drop_prob=given(request.drop_prob),
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
        with TrainingLog(self.reporter, sys.stderr) as log:
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
            horizon = given(self.request.prediction_length)
            if "synthetic" in self.probabilities:
                sources["synthetic"] = read_synthetic(folder / "train.arrow")
            if "target" not in self.channels:
                validation = synthetic_windows(folder / "validation.arrow", horizon, limit, self.request.seed)
            versions["synthetic"] = read_data_version(folder)
        holdout = grid = None
        if "target" in self.channels:
            dataset = TargetDataset(self.channels["target"], self.request)
            holdout, grid, horizon = dataset.holdout, dataset.grid, dataset.holdout.horizon
            sources["target"], validation = dataset.read(given(self.request.context_length), limit)
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


def _describe(workspace: Workspace, request: TrainRequest) -> ModelDescription:
    """The model in the job's channel if it has one, under the name that the parameters give it; else that model."""
    channel = workspace.channel("model")
    if channel is None:
        return describe_model(request.base_model)
    return replace(describe_model(channel), reference=request.base_model)


def _checkpoint(workspace: Workspace) -> Path:
    """The file to resume from. Training jobs of one search may share the folder; SageMaker tells each its name."""
    return workspace.checkpoints / os.environ.get(JOB_VARIABLE, "") / "last.pt"


if __name__ == "__main__":
    run_workload(main)
