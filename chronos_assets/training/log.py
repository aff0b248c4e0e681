"""What a training tells while it runs: lines for metric definitions, Dagster's log, a bar for people."""

from __future__ import annotations

import math
import shutil
import time
from typing import TextIO

from chronos_assets.container.contract import PROGRESS_SECONDS, Reporter
from chronos_assets.models.finetuning import FinetuneProgress


class TrainingLog:
    """Tells progress: metric lines on stderr, Dagster's log where it launched this, a bar where a person looks on."""

    WIDTH = 20

    def __init__(self, reporter: Reporter, stream: TextIO) -> None:
        self._reporter, self._stream = reporter, stream
        self._bar = stream.isatty()
        self._wql: float | None = None
        self._spoke = -math.inf

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._stream.write("\n")

    def tell(self, progress: FinetuneProgress) -> None:
        """Tell one point of the run."""
        for text in progress_lines(progress):
            self.line(text)
        if progress.validation_wql is not None:
            self._wql = progress.validation_wql
        said = "" if self._wql is None else f", validation wQL {self._wql:.4f}"
        if progress.loss is not None:
            # The end is what a narrow terminal cuts off.
            rate = f"learning rate {progress.learning_rate:.2g}"
            said = f", loss {progress.loss:.4f}{said}, {progress.eta_seconds:.0f} s to go, {rate}"
        if self._bar:
            full = self.WIDTH * progress.step // progress.steps
            bar = "█" * full + " " * (self.WIDTH - full)
            line = f"|{bar}| {progress.step}/{progress.steps}{said}"
            self._stream.write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
            self._stream.flush()
        if self._reporter.attached and (self._due() or progress.step == progress.steps):
            self._reporter.log(f"step {progress.step}/{progress.steps}{said}")

    def _due(self) -> bool:
        """Whether the run's log, which is read by people, may get another line."""
        now = time.monotonic()
        if now - self._spoke < PROGRESS_SECONDS:
            return False
        self._spoke = now
        return True

    def line(self, text: str) -> None:
        """One line that a metric definition may find a number in."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._bar else f"{text}\n")
        self._stream.flush()


def progress_lines(progress: FinetuneProgress) -> list[str]:
    """The metric lines of one point of a run; numbers without exponents, which a metric's regex would cut."""
    lines = []
    if progress.loss is not None:
        lines.append(
            f"{{'step': {progress.step}, 'loss': {progress.loss:.6f}, "
            f"'learning_rate': {progress.learning_rate:.10f}, 'eta_seconds': {progress.eta_seconds:.0f}}}"
        )
    if progress.validation_wql is not None:
        name = "validation_wql" if progress.step else "base_validation_wql"
        lines.append(f"{{'step': {progress.step}, '{name}': {progress.validation_wql:.6f}}}")
    return lines
