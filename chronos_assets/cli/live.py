"""What the user sees while the main job runs: a live view in a terminal, plain lines elsewhere.

Both are fed with the records of Dagster's loggers (`defs.console.messages_to`): what assets and their jobs log, and the
events of their steps. What a record says is read here (`progress_of`), so that the view needs no other channel than the log.
Why a step failed is what the command ends with, so it isn't shown before.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from chronos_assets.defs.console import AssetMessages, ShortFormatter

if TYPE_CHECKING:
    from rich.console import RenderableType

BARS = "▁▂▃▄▅▆▇█"
LOSSES_SHOWN = 24
UNFINISHED = 0.9999

_COUNTED = re.compile(r"(?P<what>.+): (?P<done>[\d,]+) / (?P<total>[\d,]+)(?: \(\d+%\))?")
_SHARE = re.compile(r"(?P<what>[a-z]+): (?P<percent>\d+)%")
_NUMBERED = re.compile(r".+ \((?P<done>\d+) of (?P<total>\d+)\): .+")
_TRIAL = re.compile(r"trial (?P<number>\d+)(?::| [a-z]).*")
_FACT = re.compile(r"\b(step|loss|validation) ([\d,.e+-]*\d)")


@dataclass(frozen=True)
class Progress:
    """How far a step is: `done` of `total`."""

    done: float
    total: float


@dataclass
class TrialView:
    """What the log said of a trial so far.

    Attributes:
        step: its last known step.
        losses: training losses in the order they were logged.
        validation: the last validation loss; empty before the first.
        state: `running`, or the word that ended it (`completed`, `stopped`, `failed`).
    """

    step: str = ""
    losses: list[float] = field(default_factory=list)
    validation: str = ""
    state: str = "running"

    def read(self, message: str) -> None:
        """Take in a line about this trial."""
        facts = dict(_FACT.findall(message))
        self.step = facts.get("step", self.step)
        self.validation = facts.get("validation", self.validation)
        if "loss" in facts:
            self.losses.append(float(facts["loss"].replace(",", "")))
        if ended := re.match(r"trial \d+ (completed|stopped|failed)\b", message):
            self.state = ended[1]


def progress_of(message: str) -> Progress | None:
    """The progress that a message tells; None if it tells none."""
    if found := _COUNTED.fullmatch(message) or _NUMBERED.fullmatch(message):
        done, total = (float(found[name].replace(",", "")) for name in ("done", "total"))
        return Progress(done, total) if total > 0 else None
    found = _SHARE.fullmatch(message)
    return Progress(float(found["percent"]), 100.0) if found else None


def bars(values: list[float]) -> str:
    """Values as a row of little bars, the last ones if there are many; the lowest is the lowest bar."""
    shown = values[-LOSSES_SHOWN:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    span = high - low or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in shown)


@contextmanager
def view(stream: TextIO) -> Iterator[View]:
    """The view that fits `stream`, for the time of a block."""
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    shown: View = LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(stream)
    with shown:
        yield shown


class View(logging.Handler):
    """A handler of log records that shows them to the user while it is open."""

    def note(self, message: str) -> None:
        """Show a line that belongs to no step: what is waited for, what was found."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Leave the terminal as it was, as the last thing that this process does."""

    def __enter__(self) -> View:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Show nothing more. `close` is no sign of an end: Dagster closes every handler that there is."""


class PlainView(View):
    """One line for each message of an asset."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self.setFormatter(ShortFormatter())
        self.addFilter(AssetMessages(failures=False))

    def note(self, message: str) -> None:
        """See `View.note`."""
        self._stream.write(f"{message}\n")

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line."""
        self._stream.write(f"{self.format(record)}\n")


class LiveView(View):
    """A line for each step with its bar, elapsed and remaining time, and one for each trial of a search."""

    def __init__(self, console: Any) -> None:
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Tasks

        super().__init__()
        self._console = console
        self._filter = AssetMessages(failures=False)
        self._trials: dict[str, TrialView] = {}
        self._steps: dict[str, Any] = {}
        self._message = ""
        self._tasks = Tasks(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("[bold]{task.description:<20}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._live = Live(
            console=console,
            refresh_per_second=4,
            get_renderable=self._picture,
            # The standard streams are the log's; only the console is the user's.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leave the last picture where it is."""
        self._message = ""
        if kind is None:
            for name in self._steps:
                self._finish(name)
        self._live.stop()

    def abandon(self) -> None:
        """See `View.abandon`."""
        self._console.show_cursor(True)

    def note(self, message: str) -> None:
        """See `View.note`."""
        self._console.print(message, markup=False, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Bring the picture up to date."""
        meta = getattr(record, "dagster_meta", {})
        step = meta.get("step_key") or ""
        event = meta.get("dagster_event")
        if event is not None and event.event_type_value == "STEP_START":
            self._task(step)
        if event is not None and event.is_step_success:
            self._finish(step)
        if not self._filter.filter(record):
            return
        message = str(meta.get("orig_message") or record.getMessage())
        if record.levelno >= logging.WARNING:
            self.note(f"{step}: {message}" if step else message)
        if step:
            self._show(step, message)

    def _show(self, step: str, message: str) -> None:
        task = self._task(step)
        if trial := _TRIAL.fullmatch(message):
            self._trials.setdefault(trial["number"], TrialView()).read(message)
        progress = progress_of(message)
        if progress is not None:
            # A bar that is full would stop the clock, and what is done may be one part of the step.
            self._tasks.update(task, completed=min(progress.done, UNFINISHED * progress.total), total=progress.total)
        self._message = next(iter(message.splitlines()), "")

    def _task(self, step: str) -> Any:
        """The line of a step, which is added when the step begins."""
        if step not in self._steps:
            self._steps[step] = self._tasks.add_task(step, total=None)
        return self._steps[step]

    def _finish(self, step: str) -> None:
        if (task := self._steps.get(step)) is None or self._tasks.tasks[task].finished:
            return
        total = self._tasks.tasks[task].total or 1
        self._tasks.update(task, completed=total, total=total)

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        message = Text(f"  {self._message}", style="dim", no_wrap=True, overflow="ellipsis")
        if not self._trials:
            return Group(self._tasks, message)
        trials = Table(box=None, padding=(0, 2), header_style="dim")
        for title in ("trial", "step", "loss", "", "validation", "state"):
            trials.add_column(title, no_wrap=True)
        for number, trial in self._trials.items():
            loss = f"{trial.losses[-1]:.4f}" if trial.losses else ""
            trials.add_row(number, trial.step, loss, bars(trial.losses), trial.validation, trial.state)
        return Group(self._tasks, trials, message)
