"""Rows that can't be imported: collected, counted, shown, and set aside in `rejected/` when the user wants that.

Which rows are bad is for `csv_records` (their shape) and `casting` (their values) to say.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.system import replaced, text_digest
from chronos_assets.timeseries.dataset.casting import BadRow
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.wording import counted

SHOWN_ROWS = 20
COLUMNS = ("line", "column", "reason", "explanation", "value", "row")


class ImportFailure(ChronosAssetsError, ValueError):
    """Files that can't be imported. `files` are unreadable as a whole; `rows` are the first bad rows.

    counts: all bad rows, by reason; total: their number. what: the files are.
    """

    def __init__(
        self,
        files: Sequence[FileProblem] = (),
        rows: Sequence[BadRow] = (),
        counts: dict[str, int] | None = None,
        *,
        what: str = "train files",
    ) -> None:
        self.files = tuple(files)
        self.rows = tuple(rows)
        self.counts = dict(counts or {})
        self.what = what
        self.total = sum(self.counts.values())
        super().__init__("\n".join(self._lines()))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), what=self.what), (self.files, self.rows, self.counts)

    def _lines(self) -> Iterator[str]:
        name = (
            "the previous dataset stays as it is"
            if self.what == "train files"
            else "the previous ones stay as they are"
        )
        yield f"the {self.what} can't be imported; {name}"
        yield from (f"  - {problem}" for problem in self.files)
        if any(len(problem.file) > len("train/") and problem.file.startswith("train/") for problem in self.files):
            yield 'Fix the files, or set "Chronos": {"BadFiles": "quarantine"} in params.json to leave such files out.'
        if self.total:
            counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
            yield f"{counted(self.total, 'bad row')} ({counts}):"
            yield from (f"  - {row}" for row in self.rows)
            if self.total > len(self.rows):
                yield f"  … and {self.total - len(self.rows)} more"
            yield 'Fix them, or set "Chronos": {"BadRows": "quarantine"} in params.json to set them aside.'


class BadRows:
    """Bad rows as they are found: counted, the first kept, and all written down when they are to be set aside.

    first: the first `SHOWN_ROWS`, in the order found. counts: all of them, by reason.
    """

    def __init__(self, folder: Path, *, quarantine: bool) -> None:
        self.quarantine = quarantine
        self.first: list[BadRow] = []
        self.counts: dict[str, int] = {}
        self.total = 0
        self._folder = folder
        self._files: dict[str, Path] = {}

    def add(self, rows: Sequence[tuple[BadRow, str]]) -> None:
        """Take bad rows of one file, each with the text of its row."""
        for row, _ in rows:
            self.counts[row.reason] = self.counts.get(row.reason, 0) + 1
        self.total += len(rows)
        self.first += [row for row, _ in rows[: SHOWN_ROWS - len(self.first)]]
        if self.quarantine and rows:
            with self._writer(rows[0][0].file) as writer:
                writer.writerows(
                    [row.line, row.column or "", row.reason, row.explanation, row.value, text] for row, text in rows
                )

    def since(self, before: Mapping[str, int]) -> dict[str, int]:
        """By reason, how many have come since these were counted."""
        found = {reason: count - before.get(reason, 0) for reason, count in self.counts.items()}
        return {reason: count for reason, count in found.items() if count}

    @contextmanager
    def _writer(self, key: str) -> Iterator[Any]:
        new = key not in self._files
        path = self._files.setdefault(key, self._folder / rejected_name(key))
        with path.open("a", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            yield writer

    def publish(self, folder: Path, keys: Iterable[str]) -> dict[str, Path]:
        """Move what was set aside to `folder`, replacing what it says of these files. The paths, by key."""
        places: dict[str, Path] = {}
        for key in keys:
            target = folder / rejected_name(key)
            if key not in self._files:
                target.unlink(missing_ok=True)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            with replaced(target) as part:
                part.write_bytes(self._files[key].read_bytes())
            places[key] = target
        return places


def rejected_name(key: str) -> str:
    """The file in `rejected/` that holds the bad rows of a train file; keys that differ have names that differ."""
    name = key.removeprefix("train/")
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}\.csv", name):
        return name
    digest = text_digest(key)[:12]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:80].strip("-") + f"-{digest}.csv"
