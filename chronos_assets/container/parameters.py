"""Parameter documents of workloads: read into frozen dataclasses, whose annotations say what each value may be.

Here: reading, and the kinds of values that workloads have in common. Elsewhere: where the document lies (`contract`), and
what a workload's own parameters mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, PlainValidator, TypeAdapter, ValidationError, with_config

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.container.contract import WorkloadError
from chronos_assets.params.forecast import quantile_name
from chronos_assets.params.hyperparameters import LARGEST_SEED, Hyperparameter

T = TypeVar("T")

checked = with_config(ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True))
"""Decorates the dataclass of a document: a key that it doesn't know is refused, and so is text where a number belongs."""


def read_parameters(kind: type[T], job: str, document: Mapping[str, Any]) -> T:
    """A document as the dataclass that describes it; null stands for the default, as where a parameter is not given.

    Raises:
        WorkloadError: it names every parameter that is missing, unknown or impossible, its value and what would do.
    """
    given = {name: value for name, value in document.items() if value is not None}
    try:
        read: T = _reader(kind).validate_json(json.dumps(given))
        return read
    except ValidationError as error:
        found = error.errors()
        missing = [_name(each) for each in found if each["type"] in _MISSING]
        unknown = [each for each in found if each["type"] in _UNKNOWN]
        problems = [f"{', '.join(missing)} not given"] if missing else []
        problems += [f"{', '.join(map(_name, unknown))} not known"] if unknown else []
        if any(len(each["loc"]) == 1 for each in unknown):
            problems[-1] += f" (there are {', '.join(each.name for each in fields(kind))})"  # type: ignore[arg-type]
        problems += [_problem(each) for each in found if each["type"] not in _MISSING | _UNKNOWN]
        raise WorkloadError(f"parameters of the {job}: {'; '.join(problems)}") from error


_MISSING = {"missing", "missing_argument", "missing_keyword_only_argument"}
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}


_reader: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def _name(error: Any) -> str:
    return ".".join(map(str, error["loc"]))


def _problem(error: Any) -> str:
    """What is wrong with one value, in the words of its own check where it has one."""
    own = error.get("ctx", {}).get("error")
    reason = str(own) if own is not None else error["msg"].replace("Input should be", "it must be")
    if not error["loc"]:
        return reason
    value = repr(error["input"])
    return f"{_name(error)} is {value if len(value) <= 80 else f'{value[:77]}...'}: {reason}"


def nonempty_text(value: Any) -> str:
    """A text that isn't blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it must be text")
    return value


def quantile_levels(value: Any) -> tuple[float, ...]:
    """Quantile levels, ascending, each once; `ValueError` for one that is none."""
    level = Hyperparameter(float, low=0, high=1, open="()")
    if not isinstance(value, list) or not all(item in level for item in value):
        raise ValueError("it must be a list of levels such as [0.1, 0.5, 0.9]")
    for item in value:
        quantile_name(item)
    return tuple(sorted({float(item) for item in value}))


def some_quantile_levels(value: Any) -> tuple[float, ...]:
    """Quantile levels, one at least."""
    levels = quantile_levels(value)
    if not levels:
        raise ValueError("it must be a list of one level at least, such as [0.1, 0.5, 0.9]")
    return levels


def whole_number(low: int, high: float = float("inf")) -> PlainValidator:
    """The check of a whole number from `low` to `high`."""
    return PlainValidator(Hyperparameter(int, low=low, high=high).checked)


Count = Annotated[int, whole_number(1)]
CountOrNone = Annotated[int, whole_number(0)]
Seed = Annotated[int, whole_number(0, LARGEST_SEED)]
Text = Annotated[str, PlainValidator(nonempty_text)]
Levels = Annotated[tuple[float, ...], PlainValidator(quantile_levels)]
SomeLevels = Annotated[tuple[float, ...], PlainValidator(some_quantile_levels)]
FrequencyText = Annotated[Frequency, PlainValidator(lambda value: Frequency.parse(nonempty_text(value)))]
