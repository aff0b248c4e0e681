"""What a training asks for against what its base models can do: said before a job is launched.

Here: bounds of hyperparameters that follow from a model. All other bounds are in `params.hyperparameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chronos_assets.models.checkpoints import BUNDLED, ModelError, describe_model
from chronos_assets.params.hyperparameters import Scalar
from chronos_assets.params.training import CategoricalRange, TrainingParams

_LIMITS: Mapping[str, str] = {"context_length": "context_length", "prediction_length": "block_length"}
"""Hyperparameter -> the field of a model's description that it may not exceed."""


def beyond_the_model(training: TrainingParams, base_model: str) -> list[str]:
    """Each hyperparameter that asks a base model for more than it has, with key, value and fix.

    Models that aren't on this machine are left to the job: nothing is downloaded to check a number.

    Args:
        training: the section.
        base_model: to tune where the section names none.
    """
    asked = {name: largest for name in _LIMITS if (largest := _largest(training, name)) is not None}
    problems = []
    for reference in training.base_models or (base_model,):
        if not asked or not _is_here(reference):
            continue
        try:
            description = describe_model(reference)
        except ModelError:
            continue  # said where the model is loaded, and better
        for name, (key, value) in asked.items():
            limit = getattr(description, _LIMITS[name])
            if value > limit:
                problems.append(f"{key} = {value}: model {reference} has {limit} at most; write {limit} or less")
    return problems


def _largest(training: TrainingParams, name: str) -> tuple[str, float] | None:
    """Key and value of the most that is asked of a hyperparameter; None where it isn't set."""
    if name in training.hyperparameters:
        return f"Chronos.Training.Hyperparameters.{name}", _number(training.hyperparameters[name])
    searched = training.ranges.get(name)
    if searched is None:
        return None
    key = f"Chronos.Training.Ranges.{name}"
    if isinstance(searched, CategoricalRange):
        return f"{key}.Values", max(map(_number, searched.values))
    return f"{key}.Max", searched.high


def _number(value: Scalar) -> float:
    assert isinstance(value, int)  # noqa: S101 - both are whole numbers, as their reader has seen to
    return value


def _is_here(reference: str) -> bool:
    return reference == BUNDLED or (Path(reference).expanduser() / "config.json").is_file()
