"""Ctrl-C and SIGTERM while a run is under way: neither is lost, whatever handles it, and the second one ends at once.

Dagster replaces the handlers of both signals while it executes, and forgets a signal that comes between two steps or while a
step waits for its slot. The interpreter also writes each signal that it handles to a file descriptor of our own, which nobody
replaces: that is what is read here.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

STOPPING = frozenset({signal.SIGINT, signal.SIGTERM})
GRACE_SECONDS = 20.0  # a job has 10 to end by itself
EXIT_STATUS = 130


class Interrupts:
    """Sees SIGINT and SIGTERM of this process from its start to its end; to be used in the main thread.

    Args:
        say: tells the user that the run is being stopped.
        end: ends the process, with the status it is given, when stopping takes too long, or a second signal comes.
    """

    def __init__(self, say: Callable[[str], None], end: Callable[[int], object] = os._exit) -> None:
        self._say = say
        self._end = end
        self._seen = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="interrupts", daemon=True)

    def __enter__(self) -> Interrupts:
        self._reader, self._writer = os.pipe()
        for descriptor in (self._reader, self._writer):
            os.set_blocking(descriptor, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _interrupt) for number in STOPPING}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def requested(self) -> bool:
        """Whether one of the signals has come."""
        return self._read() > 0

    def check(self) -> None:
        """Raise KeyboardInterrupt if one of the signals has come: what handled it may have lost it."""
        if self.requested():
            raise KeyboardInterrupt

    def _read(self) -> int:
        """How many of the signals have come so far."""
        with self._lock:
            while select.select([self._reader], [], [], 0)[0]:
                self._seen += sum(number in STOPPING for number in os.read(self._reader, 512))
            return self._seen

    def _watch(self) -> None:
        waited, reported = 0.0, False
        while not self._closed.wait(0.1):
            seen = self._read()
            if seen and not reported:
                self._say("stopping; once more to end at once")
                reported = True
            waited += 0.1 if seen else 0.0
            if seen > 1 or waited > GRACE_SECONDS:
                self._end(EXIT_STATUS)
                return


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
