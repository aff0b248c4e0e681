"""Names of jobs, and what SageMaker's service model allows in a request. botocore checks types only.

Here: names, tags and the limits of a request, all before a call is made. Elsewhere: what is asked for.

The limits are read from the service model that botocore ships, so that they are those of the API that is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from chronos_assets.platforms.job_names import MAX_NAME, is_name, json_digest, readable_name

MAX_ATTEMPT = 999
DIGEST = 12  # hexadecimal digits: equal ones of two jobs of one asset are not to be expected

_ATTEMPT_ROOM = len(f"-a{MAX_ATTEMPT}")
# Values of these may be secrets: a message tells how long they are, and no more.
_PRIVATE = ("EnvironmentValue", "HyperParameterValue")
_MAX_TAG_KEY, _MAX_TAG_VALUE = 128, 256


class LimitError(ValueError):
    """A request that SageMaker would refuse; the message names each field, what is wrong and how to fix it."""


def job_name_for(
    asset: str,
    *,
    partition: str = "",
    data_versions: Mapping[str, str] | None = None,
    code_version: str = "",
    parameters: Any = None,
    max_length: int = MAX_NAME,
) -> str:
    """The name of the job that makes this: equal arguments give an equal name, others another.

    Letters and digits of asset and partition, for people, then a digest of everything. There is room for the suffix of
    `attempt_name`.

    Args:
        asset: what the job makes.
        partition: of the asset, or a range of them.
        data_versions: of its inputs, by their names.
        code_version: of what runs in the job's container.
        parameters: what else makes its result another one; JSON values.
        max_length: what the kind of job allows.
    """
    digest = json_digest([asset, partition, dict(data_versions or {}), code_version, parameters], DIGEST)
    return readable_name(f"{asset}-{partition}", digest, max_length - _ATTEMPT_ROOM)


def attempt_name(name: str, attempt: int) -> str:
    """The name of an attempt at a job; the first one has the job's own."""
    return name if attempt == 1 else f"{name}-a{attempt}"


def check_name(name: str, max_length: int) -> str:
    """`name` itself, if a job may be called so in every attempt.

    Raises:
        LimitError: it has other characters, or is too long.
    """
    longest = max_length - _ATTEMPT_ROOM
    if not is_name(name, len(name)):
        raise LimitError(
            f"job name {name!r}: use letters, digits and inner hyphens only; job_name_for() makes such names"
        )
    if len(name) > longest:
        raise LimitError(
            f"job name {name!r} has {len(name)} characters, at most {longest} leave room for the suffix of further "
            "attempts: shorten it, or make it with job_name_for()"
        )
    return name


def tag(key: str, value: str) -> dict[str, str]:
    """A tag, with what a tag may not hold replaced and cut off: tags are for finding jobs, not for keeping facts."""
    return {"Key": _tag_text(key)[:_MAX_TAG_KEY], "Value": _tag_text(value)[:_MAX_TAG_VALUE]}


def _tag_text(text: str) -> str:
    return re.sub(r"[^\w .:/=+@-]", "_", text)


def check_request(shape: Any, request: Mapping[str, Any]) -> None:
    """Check a request against the limits of an operation's input shape (`botocore.model.StructureShape`).

    Raises:
        LimitError: something is too long, too short, too many, or has characters that it may not have.
    """
    problems = list(_problems(shape, request, shape.name.removesuffix("Request")))
    if problems:
        raise LimitError("SageMaker would refuse this request:\n" + "\n".join(f"- {problem}" for problem in problems))


def _problems(shape: Any, value: Any, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    kind = shape.type_name
    if kind == "structure" and isinstance(value, Mapping):
        for name, member in value.items():
            if name in shape.members:
                yield from _problems(shape.members[name], member, f"{path}.{name}")
    elif kind == "map" and isinstance(value, Mapping):
        yield from _sized(path, len(value), low, high, "entries", "hand the rest over in a file on S3")
        for name, member in value.items():
            yield from _problems(shape.key, name, f"{path}, key {str(name)[:80]!r}")
            yield from _problems(shape.value, member, f"{path}[{str(name)[:80]!r}]")
    elif kind == "list" and isinstance(value, list | tuple):
        yield from _sized(path, len(value), low, high, "entries", "give fewer")
        for number, member in enumerate(value):
            yield from _problems(shape.member, member, f"{path}[{number}]")
    elif kind == "string" and isinstance(value, str):
        yield from _sized(path, len(value), low, high, "characters", "shorten it, or hand it over in a file on S3")
        yield from _patterned(shape, value, path)
    elif isinstance(value, int | float) and ((low is not None and value < low) or (high is not None and value > high)):
        yield f"{path} is {value}: set it to {_between(low, high)}"


def _sized(path: str, size: int, low: int | None, high: int | None, unit: str, fix: str) -> Iterator[str]:
    if high is not None and size > high:
        yield f"{path} has {size} {unit}, at most {high} are allowed: {fix}"
    elif low is not None and size < low:
        yield f"{path} has {size} {unit}, at least {low} are needed"


def _patterned(shape: Any, value: str, path: str) -> Iterator[str]:
    pattern = _compiled(str(shape.metadata.get("pattern", "")))
    if pattern is not None and not pattern.fullmatch(value):
        shown = "its value" if any(word in shape.name for word in _PRIVATE) else repr(value[:100])
        yield f"{path}: {shown} does not match {shape.metadata['pattern']}"
    if shape.name == "TagKey" and value.lower().startswith("aws:"):
        yield f"{path}: {value[:100]!r} begins with aws:, which is Amazon's own: use another prefix"


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """A pattern of the service model, whose dialect knows classes of Unicode that Python's `re` does not."""
    if not pattern:
        return None
    for theirs, ours in ((r"\p{L}", r"\w"), (r"\p{N}", r"\d"), (r"\p{Z}", r" \u00a0\u2028\u2029\u3000")):
        pattern = pattern.replace(theirs, ours)
    try:
        return re.compile(pattern)
    except re.error:
        return None  # only the service can tell
