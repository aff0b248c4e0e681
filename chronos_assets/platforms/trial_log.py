"""What a training job's log tells of its progress, wherever the job runs.

Belongs here: the numbers in the lines. Does not belong here: where the lines come from (`local/trials.py`,
`aws/tuning_results.py`), what follows from the numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from chronos_assets.platforms.base import LOSS_REGEX, STEP_REGEX

# What else a training job may tell, for people.
_RATE = re.compile(r"'learning_rate': ([0-9.]+)")
_ETA = re.compile(r"'eta_seconds': ([0-9.]+)")
_STEP, _LOSS = re.compile(STEP_REGEX), re.compile(LOSS_REGEX)


class TrialLog:
    """What a training job's log tells, line by line; of a step that is told again the later value counts.

    Args:
        metric_regex: finds the objective.

    Attributes:
        losses, validation: step -> value.
        loss, latest: the loss, and the validation value after at least one step, told last; None before.
        rate, eta_seconds: learning rate and seconds left, as told last, as text; "" before.
    """

    def __init__(self, metric_regex: str) -> None:
        self._metric = re.compile(metric_regex)
        self._step: int | None = None
        self.losses: dict[int, float] = {}
        self.validation: dict[int, float] = {}
        self.loss: float | None = None
        self.latest: float | None = None
        self.rate = ""
        self.eta_seconds = ""

    @property
    def step(self) -> int:
        """The step told last."""
        return self._step or 0

    def take(self, line: str) -> tuple[int, float] | None:
        """Take in one line; (step, value) of a validation, if it tells one."""
        if (step := _STEP.search(line)) is not None:
            self._step = int(step[1])
        if (loss := _number(_LOSS, line)) is not None:
            self.losses[self._place(self.losses)] = self.loss = loss
        if (rate := _RATE.search(line)) is not None:
            self.rate = rate[1]
        if (eta := _ETA.search(line)) is not None:
            self.eta_seconds = eta[1]
        value = _number(self._metric, line)
        if value is None:
            return None
        place = self._place(self.validation)
        self.validation[place] = value
        if place > 0:
            self.latest = value
        return place, value

    def _place(self, values: Mapping[int, float]) -> int:
        """Step of a value: the one told last, or its number where steps are never told."""
        return len(values) + 1 if self._step is None else self._step


class TrialLogFile(TrialLog):
    """The log of a training job on this machine.

    Args:
        path: the log, which may grow, and may not be there yet.
        metric_regex: finds the objective.
    """

    def __init__(self, path: Path, metric_regex: str) -> None:
        super().__init__(metric_regex)
        self._path = path
        self._offset = 0
        self._rest = b""

    def read(self) -> Iterator[tuple[int, float]]:
        """Read the complete lines that are new; (step, value) of each validation, at the moment that it was read.

        The step before the first is not reported: it is that of the model to be trained, whatever the trial.
        """
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            part = file.read()
        self._offset += len(part)
        # A progress bar ends its lines with a carriage return.
        *lines, self._rest = (self._rest + part).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            told = self.take(line.decode("utf-8", "replace"))
            if told is not None and told[0] > 0:
                yield told


def _number(pattern: re.Pattern[str], line: str) -> float | None:
    """The finite number that a pattern finds in a line; what it finds may be none (`1.2.3`, `.`, `nan`)."""
    found = pattern.search(line)
    if found is None or found[1] is None:
        return None
    try:
        value = float(found[1])
    except ValueError:
        return None
    return value if math.isfinite(value) else None
