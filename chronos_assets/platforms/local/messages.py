"""Reads a workload's Pipes messages by whole lines.

Dagster's own reader (1.13, `dagster._utils.tail_file`) takes what is in the file for a line even while the child is
still writing it: a long message, such as one with pictures, then breaks its reading thread, and all later messages are
lost.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from dagster import PipesFileMessageReader, PipesMessageReader, PreviewWarning

PAUSE_SECONDS = 0.01

# Dagster says of a part of its own Pipes that it is in preview, at each job; nobody can act on that.
warnings.filterwarnings("ignore", message=r".*expected_writer_count. is currently in preview", category=PreviewWarning)


class WholeLinesMessageReader(PipesMessageReader):
    """`PipesTempFileMessageReader`, except for lines that are not complete yet."""

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[Any]:
        """See `PipesMessageReader.read_messages`."""
        with (
            tempfile.TemporaryDirectory() as folder,
            _FileReader(str(Path(folder) / "messages")).read_messages(handler) as params,
        ):
            yield params

    def no_messages_debug_text(self) -> str:
        """See `PipesMessageReader.no_messages_debug_text`."""
        return "Attempted to read messages from a local temporary file."


class _FileReader(PipesFileMessageReader):
    def _reader_thread(self, handler: Any, is_resource_complete: Event) -> None:
        try:
            for line in whole_lines(Path(self._path), is_resource_complete.is_set):
                handler.handle_message(json.loads(line))
        except BaseException:
            handler.report_pipes_framework_exception("reader of the workload's messages", sys.exc_info())
            raise


def whole_lines(path: Path, is_over: Callable[[], bool]) -> Iterator[bytes]:
    """Complete lines of a growing file; what is left without a line end once `is_over()` was cut off: left out."""
    with path.open("rb") as file:
        rest = b""
        while True:
            last = is_over()  # asked before reading: nothing is written after it
            part = file.readline()
            if part:
                rest += part
                if rest.endswith(b"\n"):
                    yield rest
                    rest = b""
            elif last:
                return
            else:
                time.sleep(PAUSE_SECONDS)
