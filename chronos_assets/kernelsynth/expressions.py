"""Random expressions of kernels, and their expansion into sums of products.

Here: the law of an expression. Elsewhere: formulas of kernels (`bank`) and draws (`terms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from chronos_assets.kernelsynth.bank import BANK, Kernel

Operator = Literal["+", "*"]
Term = tuple[Kernel, ...]
"""A product of kernels."""


@dataclass(frozen=True)
class Expression:
    """Kernels combined from left to right, without precedence: a + b * c is (a + b) * c.

    Attributes:
        kernels: at least one.
        operators: between them, one fewer.
    """

    kernels: tuple[Kernel, ...]
    operators: tuple[Operator, ...] = ()

    def __post_init__(self) -> None:
        if len(self.operators) != len(self.kernels) - 1:
            raise ValueError(f"{len(self.kernels)} kernels with {len(self.operators)} operators between them")

    def expand(self) -> list[Term]:
        """The products whose sum is the expression."""
        terms: list[Term] = [self.kernels[:1]]
        for operator, kernel in zip(self.operators, self.kernels[1:], strict=True):
            terms = [*terms, (kernel,)] if operator == "+" else [(*term, kernel) for term in terms]
        return terms

    def __str__(self) -> str:
        text = str(self.kernels[0])
        is_sum = False
        for operator, kernel in zip(self.operators, self.kernels[1:], strict=True):
            text = f"({text})" if operator == "*" and is_sum else text
            text = f"{text} {operator} {kernel}"
            is_sum = operator == "+"
        return text


def draw_expression(rng: np.random.Generator, max_kernels: int) -> Expression:
    """Draw 1 to `max_kernels` kernels of the bank, with replacement, and operators, all equally likely."""
    count = int(rng.integers(1, max_kernels + 1))
    kernels = tuple(BANK[index] for index in rng.integers(len(BANK), size=count))
    return Expression(kernels, tuple("+*"[index] for index in rng.integers(2, size=count - 1)))  # type: ignore[misc]
