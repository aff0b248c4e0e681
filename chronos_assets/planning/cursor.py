"""What the cursors of all sensors share: their version, the state of a run, reading and naming."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Literal, Self

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True)
class Cursor:
    """What a sensor remembers from one tick to the next; a subclass has the fields."""

    version: Literal[1] = field(default=1, kw_only=True)

    @classmethod
    def loads(cls, text: str | None) -> tuple[Self, str]:
        """The cursor that `dumps` wrote, and what to report about it; one that can't be read starts over: nothing is lost."""
        if not text:
            return cls(), ""
        try:
            return adapter(cls).validate_json(text), ""
        except ValidationError as error:
            first = error.errors()[0]
            where = "".join(f"{part}: " for part in first["loc"])
            return cls(), f"the sensor's cursor can't be read ({where}{first['msg']}), it starts over"

    def dumps(self) -> str:
        """The cursor as Dagster saves it."""
        return adapter(type(self)).dump_json(self).decode()


adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""What reads and writes a dataclass as JSON."""


class RunStatus(StrEnum):
    """What a plan needs to know of a run; one that isn't found has no state at all."""

    RUNNING = "running"  # queued, starting and canceling too
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class RunState:
    """State of a run that was requested.

    Attributes:
        status: what became of it so far.
        reason: why it failed, in one line.
        retry: False if the same run would fail again (bad rows, bad parameters): it waits for a change instead.
    """

    status: RunStatus
    reason: str = ""
    retry: bool = True


def ticks(duration: timedelta, interval: timedelta) -> int:
    """How many ticks, `interval` apart at least, span `duration`."""
    return math.ceil(duration / interval)


def digest_of(*parts: str) -> str:
    """Short digest of the parts, in their order."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def joined(*parts: str) -> str:
    """The parts that say something, in one line."""
    return "; ".join(part for part in parts if part)
