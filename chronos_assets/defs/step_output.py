"""What steps write to standard output and error: kept for the UI, and shown where it would have been.

Here: how it comes from the file that Dagster keeps to where it was meant for. Elsewhere: what is kept, and where, which is
Dagster's.

Dagster starts four programs for each step, two `tail` and two interpreters that end them if the run was killed. A thread does
the same, ends with its process, and leaves out no line: the last ones come when the step has ended. A reader that stops
reading holds up a step's end for a limited time.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, BinaryIO

_SECONDS = 0.2  # between two looks at the file
_PATIENCE_SECONDS = 10.0  # for what a step wrote last to be shown; a terminal that was paused must not hold up the run


@cache
def show_by_threads() -> None:
    """Let this process show what its steps write by threads.

    A release of Dagster that does it in another way takes as long as it does.
    """
    module: Any = importlib.import_module("dagster._core.execution.compute_logs")
    if hasattr(module, "execute_posix_tail"):
        module.execute_posix_tail = shown


@contextmanager
def shown(path: str, stream: Any) -> Iterator[tuple[None, None]]:
    """Show what is written to a file meanwhile.

    At the end the last lines are waited for, up to `_PATIENCE_SECONDS`: a reader that has stopped gets the rest once it reads
    again, and the file says that it wasn't shown in time.

    Args:
        path: of the file, which is there.
        stream: where to; as in Dagster, nowhere if it is none of the operating system's.
    """
    try:
        target = os.dup(stream.fileno())
    except (AttributeError, OSError):
        yield None, None
        return
    ended = threading.Event()
    written = open(path, "rb")  # noqa: SIM115 - the thread closes it, which may outlive this block
    written.seek(0, os.SEEK_END)
    thread = threading.Thread(target=_show, args=(written, target, ended), name="step output", daemon=True)
    thread.start()
    try:
        yield None, None
    finally:
        ended.set()
        thread.join(_PATIENCE_SECONDS)
        if thread.is_alive():  # said in the file: a message would wait for the same reader
            with open(path, "ab") as kept:
                kept.write(f"[not shown to its end within {_PATIENCE_SECONDS:g} s: its reader stopped]\n".encode())


def _show(written: BinaryIO, target: int, ended: threading.Event) -> None:
    try:
        with written, suppress(OSError):  # nobody reads it any more: it is kept all the same
            while not ended.wait(_SECONDS):
                _pass_on(written, target)
            _pass_on(written, target)
    finally:
        os.close(target)


def _pass_on(written: BinaryIO, target: int) -> None:
    while data := written.read(1 << 16):
        while data:
            data = data[os.write(target, data) :]
