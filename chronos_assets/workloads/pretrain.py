"""Workload: make a Chronos-Bolt model from nothing, on the project's own synthetic series.

    python -m chronos_assets.workloads.pretrain

Reads one JSON document of parameters, values as JSON or as strings of JSON (a SageMaker training job passes strings).
The defaults are the recipe, in stages, on a GPU where there is one. The bundled model's card says which stages made it.

    fields of `ModelShape`      the network
    fields of `TrainingPlan`    the same for every stage, except for `seed`: each stage adds its number, or it would see the
                                windows of the one before again
    stages                      the number of the recipe's last stage to run; by default all
    first_stage                 the number of the first one; 1 by default
    initial                     folder of a saved model of the same network whose weights to start from, with patches as
                                far apart or closer; by default none, and the first stage starts from random ones
    device                      cpu, cuda, or auto, the default
    threads                     of the network on a CPU; 0, the default, leaves it to torch
    workers                     processes that draw windows; by default one per core but one on a GPU, which else would
                                wait for windows, and none on a CPU

Folders are those of a SageMaker training container, under `CHRONOS_ML_ROOT` (default /opt/ml):

    input/config/hyperparameters.json   the parameters, if any
    model/                              config.json, model.safetensors
    checkpoints/<stage>/last.pt         a run that finds them resumes from them
    output/failure                      one line, with exit code 1, when the run failed
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

# One OpenMP runtime per process that sleeps when idle: the machine is often shared. Read when torch is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.models import pretraining, pretraining_recipe, widening


@dataclasses.dataclass(frozen=True)
class PretrainRequest:
    """What a job was asked for.

    Attributes:
        shape: the network.
        stages: the plans, in order.
        first_stage: the number of the first of them.
        initial: folder of the model to start from, or None for random weights.
        device: `cpu` or `cuda`.
        threads: of the network on a CPU; 0 leaves it to torch.
        workers: processes that draw windows.
    """

    shape: pretraining_recipe.ModelShape
    stages: tuple[pretraining_recipe.TrainingPlan, ...]
    device: str
    threads: int
    workers: int
    first_stage: int = 1
    initial: Path | None = None


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Train, or continue training, widen the bands to what they should hold, and save the model."""
    try:
        given = parse_parameters(workspace.hyperparameters())
        if given.threads:
            torch.set_num_threads(given.threads)
        model = pretraining.train_stages(
            given.shape,
            given.stages,
            workspace.checkpoints,
            lambda number, progress: log_progress(number, progress, reporter),
            given.device,
            given.workers,
            None if given.initial is None else pretraining.load_model(given.initial, given.shape),
            given.first_stage,
        )
    except ValueError as error:
        raise WorkloadError(str(error)) from error
    factors = widening.calibrate(model)
    reporter.log(f"widened bands, level by level: {' '.join(f'{factor:.3f}' for factor in factors)}")
    pretraining.save_model(model, workspace.model)


def parse_parameters(document: dict[str, Any]) -> PretrainRequest:
    """Return what `document` asks for.

    Raises:
        ValueError: for a key that is no parameter, a value of another type than the parameter's default, or one that
            cannot be had.
    """
    values = dict(document)
    number = _checked("stages", values.pop("stages", len(pretraining_recipe.RECIPE)), 0)
    first = _checked("first_stage", values.pop("first_stage", 1), 0)
    initial = _checked("initial", values.pop("initial", ""), "")
    device = _checked("device", values.pop("device", "auto"), "")
    threads = _checked("threads", values.pop("threads", 0), 0)
    workers = _checked("workers", values.pop("workers", -1), 0)
    shape = pretraining_recipe.ModelShape(**_taken(values, pretraining_recipe.ModelShape))
    plan = _taken(values, pretraining_recipe.TrainingPlan)
    if values:
        raise ValueError(f"unknown parameters: {', '.join(sorted(values))}")
    if not 1 <= number <= len(pretraining_recipe.RECIPE):
        raise ValueError(f"parameter stages must be 1 to {len(pretraining_recipe.RECIPE)}, not {number}")
    if not 1 <= first <= number:
        raise ValueError(f"parameter first_stage must be 1 to {number}, not {first}")
    if first > 1 and not initial:
        raise ValueError(f"first_stage is {first}: give the model of the stage before it as initial")
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"parameter device must be auto, cpu or cuda, not {device}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("parameter device is cuda, but torch finds no GPU: use auto or cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if workers < 0:
        workers = max((os.cpu_count() or 1) - 1, 1) if device == "cuda" else 0
    return PretrainRequest(
        shape=shape,
        stages=tuple(
            dataclasses.replace(stage, **plan | ({"seed": plan["seed"] + index} if "seed" in plan else {}))
            for index, stage in enumerate(pretraining_recipe.RECIPE[:number])
            if index + 1 >= first
        ),
        device=device,
        threads=threads,
        workers=workers,
        first_stage=first,
        initial=Path(initial) if initial else None,
    )


def log_progress(number: int, progress: pretraining.PretrainProgress, reporter: Reporter) -> None:
    """Log one line of progress of a stage, and one of validation losses by family where there are any."""
    reporter.log(
        f"stage {number} step {progress.step}/{progress.steps} loss {progress.loss:.4f} "
        f"lr {progress.learning_rate:.2e} {progress.windows_per_second:.0f} windows/s, {progress.remaining:.0f} s to go"
    )
    if progress.validation:
        losses = " ".join(f"{name}={loss:.3f}" for name, loss in progress.validation.items())
        reporter.log(f"validation {losses}")


def _taken(values: dict[str, Any], kind: type) -> dict[str, Any]:
    """Remove from `values` the fields of the dataclass `kind`, and return them with their types checked."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    return {name: _checked(name, values.pop(name), default) for name, default in defaults.items() if name in values}


def _checked(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise ValueError(f"parameter {name} must be a {type(default).__name__}, not {value!r}")
    return value


if __name__ == "__main__":
    run_workload(main)
