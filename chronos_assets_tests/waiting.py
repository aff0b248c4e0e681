"""Waiting for what other threads and processes do."""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

_Found = TypeVar("_Found")


class _Process(Protocol):
    def poll(self) -> int | None: ...


def wait_until(
    condition: Callable[[], _Found],
    seconds: float = 60,
    *,
    otherwise: str = "it did not come to that",
    while_runs: _Process | None = None,
    look_every: float = 0.02,
) -> _Found:
    """What a condition gives once that is true; a failure after so long, or once a process has ended."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert while_runs is None or while_runs.poll() is None, f"the process has ended: {otherwise}"
        assert time.monotonic() < deadline, otherwise
        time.sleep(look_every)
    return found
