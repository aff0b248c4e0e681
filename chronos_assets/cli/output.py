"""Where output goes while jobs run: what is for the user to the terminal, all the rest to the run's log file.

Jobs, libraries and Dagster write to the standard streams what they like: dictionaries, bars, warnings. None of that helps who
waits for a forecast; all of it may help who looks for a fault.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

LOGS_KEPT = 20


def new_log(folder: Path) -> Path:
    """A new log file in `folder`, named by the time; of older ones the newest are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("run-*.log"))[: 1 - LOGS_KEPT]:
        old.unlink(missing_ok=True)
    path = folder / f"run-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.log"
    path.touch()
    return path


@contextmanager
def raw_output_to(path: Path) -> Iterator[TextIO]:
    """Send both standard streams of this process and its children to the end of a file.

    Yields:
        The standard error that was there before, for what the user is to see.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = [os.dup(1), os.dup(2)]
    with (
        _LossyLog(path, "ab") as raw,
        io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "replace", line_buffering=True) as log,
        os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace") as user,
    ):
        for number in (1, 2):
            os.dup2(raw.fileno(), number)
        # The objects, too: a caller may have put others in their place.
        with redirect_stdout(log), redirect_stderr(log):
            try:
                yield user
            finally:
                log.flush()
                for number, descriptor in zip((1, 2), before, strict=True):
                    os.dup2(descriptor, number)
                    os.close(descriptor)


class _LossyLog(io.FileIO):
    """A log on a disk that may be full: what doesn't fit is lost, and not the last words of the run, which say why it ended."""

    def write(self, data: Any, /) -> int:
        """Bytes that were taken."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
