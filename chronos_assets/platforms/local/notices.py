"""Notices on a laptop: one JSON line each in `notices.jsonl` of the store, and the log."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chronos_assets.platforms.notices import Notice, document, render
from chronos_assets.platforms.store import Store
from chronos_assets.store_layout import NOTICES_KEY

LONGEST_LINE = 16_384  # bytes of a line, as far as the newest ones are looked for

logger = logging.getLogger(__name__)


class LocalNotices:
    """Appends to `notices.jsonl`, one line per run and outcome, and logs the text (failures as errors)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def send(self, notice: Notice) -> bool:
        """Write the notice unless the file has one of this run with this outcome; whether it was written.

        Writers take turns (`flock`) and a line is one append, so that a sensor's tick repeated after a crash, or two
        daemons at once, tell nobody twice.
        """
        path = self._store.local_path(NOTICES_KEY)
        subject, text = render(notice)
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            content = file.read()
            if any(
                line.get("run_id") == notice.run_id and line.get("outcome") == notice.outcome
                for line in _lines(content, path)
            ):
                return False
            line = json.dumps({"subject": subject, **document(notice)}, ensure_ascii=False, allow_nan=False)
            # A writer killed within its line must not spoil this one.
            start = b"" if content.endswith(b"\n") or not content else b"\n"
            file.write(start + line.encode("utf-8", "replace") + b"\n")
            os.fsync(file.fileno())
        logger.log(logging.ERROR if notice.outcome == "failure" else logging.INFO, "%s", text)
        return True

    def recent(self, count: int) -> list[Mapping[str, Any]]:
        """See `Notices.recent`: the end of the file."""
        path = self._store.local_path(NOTICES_KEY)
        if not path.is_file():
            return []
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - count * LONGEST_LINE)
            file.seek(start)
            content = file.read()
        # What was cut off at the beginning is no whole line.
        whole = content if start == 0 else content.partition(b"\n")[2]
        return [*list(_lines(whole, path))[: -count - 1 : -1]]


def _lines(content: bytes, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError:
            logger.warning("%s, line %d is not JSON and is left out: a writer was killed there", path, number)
            continue
        if isinstance(document, dict):
            yield document
