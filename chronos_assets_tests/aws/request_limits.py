"""Checks a request against the limits of its service, as AWS does and neither botocore nor moto: an independent witness.

Here: required members, lengths, ranges, patterns, enumerations and sizes, all read from botocore's service models.
Elsewhere: what a service checks beyond its model (whether a name is taken, a role exists).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
import regex
from botocore.model import OperationModel, ServiceModel, Shape

# Services whose models state the limits that the service has.
CHECKED = ("sagemaker", "sagemaker-runtime", "glue", "athena", "logs", "cloudwatch", "sns", "sqs")

_MOST_TOLD = 10
# Characters beyond the first plane, as Java writes them and as they are.
_SURROGATES, _BEYOND = r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF"


@cache
def service_model(service: str) -> ServiceModel:
    """botocore's model of a service."""
    return botocore.session.get_session().get_service_model(service)


def violations(service: str, operation: str, params: Mapping[str, Any]) -> list[str]:
    """What AWS would answer to the parameters of a request; empty if they are within the limits."""
    if service not in CHECKED:
        return []
    shape = OperationModel(_operation(service, operation), service_model(service), operation).input_shape
    return list(_check(shape, params, "")) if shape is not None else []


def validation_message(found: list[str]) -> str:
    """Violations in the words of a ValidationException."""
    noun = "error" if len(found) == 1 else "errors"
    return f"{len(found)} validation {noun} detected: {'; '.join(found[:_MOST_TOLD])}"


def _operation(service: str, operation: str) -> Any:
    return service_model(service)._service_description["operations"][operation]


def _check(shape: Shape, value: Any, path: str) -> Iterator[str]:
    match shape.type_name:
        case "structure":
            yield from _check_structure(shape, value, path)
        case "list":
            yield from _check_size(shape, value, path)
            for number, item in enumerate(value, 1):
                yield from _check(shape.member, item, f"{path}.{number}.member")
        case "map":
            yield from _check_size(shape, value, path)
            for key, item in value.items():
                yield from _check(shape.key, key, f"{path}.key")
                yield from _check(shape.value, item, f"{path}.{key}.member")
        case "string":
            yield from _check_string(shape, value, path)
        case "integer" | "long" | "float" | "double":
            yield from _check_range(shape, value, path)
        case "blob":
            yield from _check_size(shape, value, path)


def _check_structure(shape: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"Value at '{path}' failed to satisfy constraint: Member must be a structure"
        return
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, item in value.items():
        if name not in shape.members:
            yield f"Unknown member '{_join(path, name)}'"
        elif item is not None:
            yield from _check(shape.members[name], item, _join(path, name))


def _check_string(shape: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: Member must be a string"
        return
    yield from _check_size(shape, value, path)
    if shape.enum and value not in shape.enum:
        yield (
            f"Value '{value}' at '{path}' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        )
    pattern = shape.metadata.get("pattern")
    if pattern is not None and _pattern(pattern).fullmatch(value) is None:
        yield (
            f"Value '{value}' at '{path}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {pattern}"
        )


@cache
def _pattern(pattern: str) -> Any:
    # Models write what is beyond the first plane as Java has it, in two halves.
    return regex.compile(pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF"))


def _check_size(shape: Shape, value: Any, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and len(value) < low:
        yield (
            f"Value '{_short(value)}' at '{path}' failed to satisfy constraint: "
            f"Member must have length greater than or equal to {low}"
        )
    if high is not None and len(value) > high:
        yield (
            f"Value '{_short(value)}' at '{path}' failed to satisfy constraint: "
            f"Member must have length less than or equal to {high}"
        )


def _check_range(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: Member must be a number"
        return
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and value < low:
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have value greater than or equal to {low}"
    if high is not None and value > high:
        yield f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have value less than or equal to {high}"


def _join(path: str, name: str) -> str:
    member = name[:1].lower() + name[1:]
    return f"{path}.{member}" if path else member


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:80] + "..."
