"""What the cursors of all sensors share: their version, the state of a run, reading and naming."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

CURSOR_VERSION = 1

MALFORMED = (
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)  # of a document that is not what it should be


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


# --- shared -----------------------------------------------------------------------------------------------------------


def load_cursor(text: str | None) -> tuple[dict[str, Any], str]:
    """A cursor's document, empty if it can't be read, and what to say about that."""
    if not text:
        return {}, ""
    try:
        document = json.loads(text)
    except ValueError as error:
        return {}, unreadable(error)
    if not isinstance(document, dict) or document.get("version") != CURSOR_VERSION:
        return {}, unreadable(f"not of version {CURSOR_VERSION}")
    return document, ""


def unreadable(why: object) -> str:
    """What to say of a cursor that can't be read."""
    return f"the sensor's cursor can't be read ({why}), it starts over"


def digest_of(*parts: str) -> str:
    """Short digest of the parts, in their order."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it belongs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def joined(*parts: str) -> str:
    """The parts that say something, in one line."""
    return "; ".join(part for part in parts if part)
