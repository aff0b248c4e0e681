"""Parameters of a workload, checked: what several workloads ask of their JSON documents.

Here: names that must or may be there, and values that workloads have in common. Elsewhere: where the
document lies (`contract`), and what a workload's own parameters mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from chronos_assets.container.contract import WorkloadError
from chronos_assets.params.forecast import quantile_name


def check_names(job: str, document: Mapping[str, Any], required: AbstractSet[str], optional: AbstractSet[str]) -> None:
    """See that a document has all names that it must have, and none that nobody knows.

    Raises:
        WorkloadError: it says which, of the parameters of what job.
    """
    missing, unknown = sorted(required - set(document)), sorted(set(document) - required - optional)
    said = [f"{', '.join(missing)} not given"] if missing else []
    said += [f"{', '.join(unknown)} not known (there are {', '.join(sorted(required | optional))})"] if unknown else []
    if said:
        raise WorkloadError(f"parameters of the {job}: {'; '.join(said)}")


def whole(name: str, value: Any, low: int = 1) -> int:
    """A whole number; `ValueError` if it is none, or below `low`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} is {value!r}: it must be a whole number from {low}")
    return value


def option(name: str, document: Mapping[str, Any], *, low: int = 1, default: int | None = None) -> int | None:
    """A whole number that may be left out, or null: then it is `default`."""
    value = document.get(name)
    return default if value is None else whole(name, value, low)


def truth(name: str, document: Mapping[str, Any]) -> bool | None:
    """True or false; None where it is left out, or null."""
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}: it must be true, false or null")
    return value


def quantile_levels(value: Any) -> tuple[float, ...]:
    """Quantile levels, ascending, each once; `ValueError` for one that is none."""
    levels = tuple(sorted({float(level) for level in value}))
    for level in levels:
        quantile_name(level)
    return levels
