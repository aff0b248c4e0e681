"""Values of a job's parameters, checked one by one: each function returns the value, or says what it must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Check = Callable[[Any], Any]


def nonempty_text(value: Any) -> str:
    """A text that isn't blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it must be text")
    return value


def whole_number(low: int) -> Check:
    """A check for a whole number from `low`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"it must be a whole number from {low}")
        return value

    return check


def number(low: float, high: float, *, open_low: bool = False) -> Check:
    """A check for a number from `low` (excluded if `open_low`) to `high` (excluded)."""

    def check(value: Any) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value < high
        if not fits or (open_low and value == low):
            raise ValueError(f"it must be a number {'above' if open_low else 'from'} {low:g} and below {high:g}")
        return float(value)

    return check


def mixture(value: Any) -> dict[str, float]:
    """Shares of the user's series and of synthetic ones."""
    if not isinstance(value, dict):
        raise ValueError('it must be an object such as {"target": 0.9, "synthetic": 0.1}')
    unknown = sorted(set(value) - {"target", "synthetic"})
    if unknown:
        raise ValueError(f"there is no source {', '.join(unknown)}, only target and synthetic")
    share = number(-1, 1.000001)
    return {name: share(part) for name, part in value.items()}


def quantile_levels(value: Any) -> tuple[float, ...]:
    """Levels between 0 and 1, ascending, each once."""
    if not isinstance(value, list) or not value:
        raise ValueError("it must be a list of levels such as [0.1, 0.5, 0.9]")
    level = number(0, 1, open_low=True)
    return tuple(sorted({level(item) for item in value}))


def text_list(value: Any) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list):
        raise ValueError("it must be a list of names")
    return tuple(nonempty_text(item) for item in value)
