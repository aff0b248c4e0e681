"""The parameters of a training: what they are, what the model adds to them, and which are refused.

What each is for is in `train`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar

from pydantic import PlainValidator

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Alignment
from chronos_assets.container.contract import WorkloadError
from chronos_assets.container.parameters import (
    Count,
    CountOrNone,
    FrequencyText,
    SomeLevels,
    Text,
    checked,
    read_parameters,
)
from chronos_assets.models.checkpoints import BUNDLED, ModelDescription
from chronos_assets.models.finetuning import FinetuneMode, FinetunePlan
from chronos_assets.params.attributes import Filling
from chronos_assets.params.hyperparameters import HYPERPARAMETERS, Hyperparameter

CONTEXT_LENGTH, PREDICTION_LENGTH = 512, 64
T5_DROP_PROB = 0.2
T = TypeVar("T")
DECILES = tuple(round(0.1 * k, 1) for k in range(1, 10))
# SageMaker's tuner and its SDK add parameters of their own to a job's.
_FOREIGN = ("_tuning_", "sagemaker_")


def _hyperparameter(name: str) -> PlainValidator:
    """The check of a hyperparameter, which the reader of params.json has, too."""
    return PlainValidator(HYPERPARAMETERS[name].checked)


@checked
@dataclass(frozen=True)
class TrainRequest:
    """The parameters, checked; None where the default follows from the model or the data."""

    base_model: Text = BUNDLED
    finetune_mode: Annotated[FinetuneMode, _hyperparameter("finetune_mode")] = FinetunePlan.mode
    learning_rate: Annotated[float, _hyperparameter("learning_rate")] = FinetunePlan.learning_rate
    max_steps: Annotated[int, _hyperparameter("max_steps")] = FinetunePlan.max_steps
    batch_size: Annotated[int, _hyperparameter("batch_size")] = 32
    context_length: Annotated[int | None, _hyperparameter("context_length")] = None
    prediction_length: Annotated[int | None, _hyperparameter("prediction_length")] = None
    weight_decay: Annotated[float, _hyperparameter("weight_decay")] = FinetunePlan.weight_decay
    warmup_ratio: Annotated[float, _hyperparameter("warmup_ratio")] = FinetunePlan.warmup_ratio
    max_grad_norm: Annotated[float, _hyperparameter("max_grad_norm")] = FinetunePlan.max_grad_norm
    lora_rank: Annotated[int, _hyperparameter("lora_rank")] = FinetunePlan.lora_rank
    lora_alpha: Annotated[int, _hyperparameter("lora_alpha")] = FinetunePlan.lora_alpha
    seed: Annotated[int, _hyperparameter("seed")] = FinetunePlan.seed
    mixture: Annotated[Mapping[str, float] | None, PlainValidator(_mixture)] = None
    min_past: Annotated[int | None, _hyperparameter("min_past")] = None
    drop_prob: Annotated[float | None, _hyperparameter("drop_prob")] = None
    eval_every: Annotated[int | None, _hyperparameter("eval_every")] = None
    checkpoint_every: Annotated[int | None, _hyperparameter("checkpoint_every")] = None
    log_every: Annotated[int, _hyperparameter("log_every")] = FinetunePlan.log_every
    threads: Annotated[int, _hyperparameter("threads")] = 0
    horizon: Count | None = None
    frequency: FrequencyText | None = None
    alignment: Alignment = DEFAULT_ALIGNMENT
    filling: Filling = field(default_factory=Filling)
    dimensions: tuple[Text, ...] = ()
    quantiles: SomeLevels = DECILES
    validation_windows: Count = 2
    test_windows: CountOrNone = 2
    max_training_series: Annotated[int, _hyperparameter("max_training_series")] = 5000
    max_validation_series: Annotated[int, _hyperparameter("max_validation_series")] = 100

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


def completed(request: TrainRequest, model: ModelDescription) -> TrainRequest:
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


def validation_levels(request: TrainRequest, model: ModelDescription) -> tuple[float, ...]:
    """The levels of the validation's wQL: those asked for that the model forecasts."""
    low, high = model.quantile_range
    levels = tuple(level for level in request.quantiles if low - 1e-9 <= level <= high + 1e-9)
    if not levels:
        raise WorkloadError(
            f"parameters of the training: none of the quantiles {list(request.quantiles)} is among those that "
            f"{model.reference} forecasts, {low:g} to {high:g}: give one that is, or another base_model"
        )
    return levels


def given(value: T | None) -> T:
    """A value that `completed` has seen to."""
    assert value is not None  # noqa: S101 - for the type checker
    return value
