"""Workload: make a Chronos-Bolt model from nothing, on the project's own synthetic series.

    python -m chronos_assets.workloads.pretrain [--parameters file.json]

Reads one JSON document of parameters: the fields of `ModelShape` and `TrainingPlan` and `threads`, values as JSON or as
strings of JSON (a SageMaker training job passes strings). The defaults are the recipe of the bundled model. Folders are
those of a SageMaker training container, under `CHRONOS_ML_ROOT` (default /opt/ml):

    input/config/hyperparameters.json   the parameters, unless --parameters names another file
    model/                              config.json, model.safetensors
    checkpoints/last.pt                 a run that finds it goes on from it
    output/failure                      one line, with exit code 1, when the run failed
"""

import argparse
import dataclasses
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

# One OpenMP runtime per process that sleeps when idle: the machine is often shared. Read when torch is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from chronos_assets.models import training

logger = logging.getLogger("chronos_assets.workloads.pretrain")


def main(arguments: list[str] | None = None) -> int:
    """Run the workload and return its exit code."""
    parser = argparse.ArgumentParser(description="Train a Chronos-Bolt model on synthetic series.")
    parser.add_argument("--parameters", type=Path, help="a JSON document of parameters")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    root = Path(os.environ.get("CHRONOS_ML_ROOT", "/opt/ml"))
    try:
        given = options.parameters or root / "input" / "config" / "hyperparameters.json"
        document = json.loads(given.read_text()) if options.parameters or given.exists() else {}
        shape, plan, threads = parse_parameters(document)
        if threads:
            torch.set_num_threads(threads)
        model = training.train(shape, plan, root / "checkpoints", log_progress)
        training.save_model(model, root / "model")
    except Exception as error:
        # Whatever the failure, the contract is one line in output/failure and a non-zero exit.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.exception("failed")
        (root / "output").mkdir(parents=True, exist_ok=True)
        (root / "output" / "failure").write_text(reason + "\n")
        return 1
    return 0


def parse_parameters(document: dict[str, Any]) -> tuple[training.ModelShape, training.TrainingPlan, int]:
    """Return the shape, the plan and the number of threads (0: torch's choice) that `document` asks for.

    Raises:
        ValueError: for a key that is no parameter, or a value of another type than the parameter's default.
    """
    values = {key: _parsed(value) for key, value in document.items()}
    threads = _checked("threads", values.pop("threads", 0), 0)
    shape = training.ModelShape(**_taken(values, training.ModelShape))
    plan = training.TrainingPlan(**_taken(values, training.TrainingPlan))
    if values:
        raise ValueError(f"unknown parameters: {', '.join(sorted(values))}")
    return shape, plan, threads


def log_progress(progress: training.Progress) -> None:
    """Log one line of progress, and one of validation losses by family where there are any."""
    logger.info(
        "step %d/%d loss %.4f lr %.2e %.0f windows/s, %.0f s to go",
        progress.step,
        progress.steps,
        progress.loss,
        progress.learning_rate,
        progress.windows_per_second,
        progress.remaining,
    )
    if progress.validation:
        logger.info("validation %s", " ".join(f"{name}={loss:.3f}" for name, loss in progress.validation.items()))


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


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
    sys.exit(main())
