"""The hyperparameters of a training job that a user may set: type and bounds of each, in one place.

The reader of params.json, `validate` and the training job check by it, so that what the job would refuse is refused before.
Bounds that follow from a model (its longest context and block) are in `pipeline.training_limits`; what each of them does is in
`workloads.train`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Scalar = str | int | float | bool

FINETUNE_MODES = ("full", "lora")
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Hyperparameter:
    """What values a hyperparameter may have.

    Attributes:
        kind: `str`, `int` or `float`.
        low: the least number.
        high: the largest number.
        open: whether the bounds themselves are excluded, as "(", ")" or both; a whole number's never are.
        options: the texts that it may be.
    """

    kind: type
    low: float = -math.inf
    high: float = math.inf
    open: str = ""
    options: tuple[str, ...] = ()

    def __contains__(self, value: object) -> bool:
        """Whether `value` is of the type, and within the bounds."""
        if isinstance(value, bool):
            return False
        if self.kind is str:
            return value in self.options
        if not isinstance(value, int if self.kind is int else int | float) or not math.isfinite(value):
            return False
        above = value > self.low if "(" in self.open else value >= self.low
        below = value < self.high if ")" in self.open else value <= self.high
        return above and below

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.kind is str:
            return " or ".join(f'"{option}"' for option in self.options)
        words = ["a whole number" if self.kind is int else "a number"]
        bounds = []
        if self.low > -math.inf:
            bounds.append(f"{'above' if '(' in self.open else 'from'} {_shown(self.low)}")
        if self.high < math.inf:
            bounds.append(f"{'below' if ')' in self.open else 'to'} {_shown(self.high)}")
        return " ".join([*words, " and ".join(bounds) if self.open else " ".join(bounds)]).strip()

    def checked(self, value: Any) -> Any:
        """`value` in the hyperparameter's type.

        Raises:
            ValueError: it isn't one that the hyperparameter may have.
        """
        if value not in self:
            raise ValueError(f"it must be {self.expected}")
        return self.kind(value)


def _shown(number: float) -> str:
    return f"{int(number):,}".replace(",", "") if float(number).is_integer() and abs(number) < 1e15 else f"{number:g}"


_POSITIVE = Hyperparameter(int, low=1)

HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
    "finetune_mode": Hyperparameter(str, options=FINETUNE_MODES),
    "learning_rate": Hyperparameter(float, low=0, open="("),
    "max_steps": _POSITIVE,
    "batch_size": _POSITIVE,
    "context_length": _POSITIVE,
    "prediction_length": _POSITIVE,
    "weight_decay": Hyperparameter(float, low=0, high=1000, open=")"),
    "warmup_ratio": Hyperparameter(float, low=0, high=1, open=")"),
    "max_grad_norm": Hyperparameter(float, low=0, high=1e9, open="()"),
    "lora_rank": _POSITIVE,
    "lora_alpha": _POSITIVE,
    "seed": Hyperparameter(int, low=0, high=LARGEST_SEED),
    "threads": Hyperparameter(int, low=0, high=1024),
    "min_past": _POSITIVE,
    "drop_prob": Hyperparameter(float, low=0, high=1, open=")"),
    "eval_every": _POSITIVE,
    "log_every": _POSITIVE,
    "checkpoint_every": _POSITIVE,
    "max_training_series": _POSITIVE,
    "max_validation_series": _POSITIVE,
}
"""Name of each hyperparameter that a user may set -> its values."""
