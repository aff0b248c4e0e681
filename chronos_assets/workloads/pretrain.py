"""Workload: make a Chronos-Bolt model from nothing, on the project's own synthetic series.

    python -m chronos_assets.workloads.pretrain

Reads one JSON document of parameters: the fields of `ModelShape` and `TrainingPlan` and `threads`, values as JSON or as
strings of JSON (a SageMaker training job passes strings). The defaults are the recipe of the bundled model. Folders are
those of a SageMaker training container, under `CHRONOS_ML_ROOT` (default /opt/ml):

    input/config/hyperparameters.json   the parameters, if any
    model/                              config.json, model.safetensors
    checkpoints/last.pt                 a run that finds it goes on from it
    output/failure                      one line, with exit code 1, when the run failed
"""

import dataclasses
import os
from typing import Any

# One OpenMP runtime per process that sleeps when idle: the machine is often shared. Read when torch is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from chronos_assets.models import training
from chronos_assets.workloads.contract import Reporter, WorkloadError, Workspace, run_workload


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Train, or go on training, and save the model."""
    try:
        shape, plan, threads = parse_parameters(workspace.hyperparameters())
        if threads:
            torch.set_num_threads(threads)
        model = training.train(shape, plan, workspace.checkpoints, lambda progress: log_progress(progress, reporter))
    except (ValueError, training.TrainingError) as error:
        raise WorkloadError(str(error)) from error
    training.save_model(model, workspace.model)


def parse_parameters(document: dict[str, Any]) -> tuple[training.ModelShape, training.TrainingPlan, int]:
    """Return the shape, the plan and the number of threads (0: torch's choice) that `document` asks for.

    Raises:
        ValueError: for a key that is no parameter, or a value of another type than the parameter's default.
    """
    values = dict(document)
    threads = _checked("threads", values.pop("threads", 0), 0)
    shape = training.ModelShape(**_taken(values, training.ModelShape))
    plan = training.TrainingPlan(**_taken(values, training.TrainingPlan))
    if values:
        raise ValueError(f"unknown parameters: {', '.join(sorted(values))}")
    return shape, plan, threads


def log_progress(progress: training.Progress, reporter: Reporter) -> None:
    """Log one line of progress, and one of validation losses by family where there are any."""
    reporter.log(
        f"step {progress.step}/{progress.steps} loss {progress.loss:.4f} lr {progress.learning_rate:.2e} "
        f"{progress.windows_per_second:.0f} windows/s, {progress.remaining:.0f} s to go"
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
