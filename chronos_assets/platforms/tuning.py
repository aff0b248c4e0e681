"""Searches for hyperparameters: the protocol, its values, the search space, and what a trial's log says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.training import CategoricalRange, ContinuousRange, IntegerRange, Range
from chronos_assets.platforms.jobs import JobFiles, check_job_name

# What a training job prints, and where a tuner finds it: one number per line, of SageMaker's MetricDefinitions. The objective
# is the job's last validation (or, where pruned, its latest).
LOSS_REGEX = r"'loss': ([0-9\.]+)"
VALIDATION_REGEX = r"'validation_wql': ([0-9\.]+)"
STEP_REGEX = r"'step': ([0-9]+)"


@dataclass(frozen=True)
class TuningRequest:
    """A search for the hyperparameters whose training job has the least validation wQL.

    Attributes:
        name: deterministic, see `job_name`: a search that was killed continues when asked for again by its name.
        hyperparameters: of every trial, JSON values; those of `ranges` are added by the tuner.
        ranges: hyperparameter -> what it may be.
        inputs: channel -> store key of a folder, or path of one on this machine, that the training job reads.
        max_jobs: trials in all. max_parallel_jobs: at once.
        random_seed: of the search.
    """

    name: str
    hyperparameters: Mapping[str, Any]
    ranges: Mapping[str, Range]
    inputs: Mapping[str, str | Path]
    max_jobs: int = 2
    max_parallel_jobs: int = 1
    random_seed: int = 10


TrialState = Literal["Completed", "Stopped", "Failed"]


@dataclass(frozen=True)
class Trial:
    """One training job of a search.

    Attributes:
        number: from 0, in order of their start.
        hyperparameters: those that the search chose.
        state: `Stopped` is one that the search gave up early (pruned).
        objective: validation wQL; None where it never reported one.
        losses, validation: (step, value), as its log reported them.
        seconds: wall time, over all attempts.
        reason: why it failed, or was stopped.
        model: folder of its model (config.json, *.safetensors) on this machine, of completed trials; where models are
            kept elsewhere, of the best one only.
        report: what the training job left in `output/data/training.json`; empty where there is no model.
    """

    number: int
    hyperparameters: Mapping[str, Any]
    state: TrialState
    objective: float | None
    losses: tuple[tuple[int, float], ...]
    validation: tuple[tuple[int, float], ...]
    seconds: float
    reason: str = ""
    model: Path | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TuningResult:
    """A finished search. As a context manager it lets go of the trials' folders, unless the block failed.

    Attributes:
        trials: in order of their numbers.
        resumed: how many of them an earlier, killed run had finished.
        facts: what people want to know of the search; as in `JobResult`.
    """

    trials: tuple[Trial, ...]
    resumed: int = 0
    files: JobFiles | None = field(default=None, repr=False, compare=False)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Trial:
        """The completed trial with the least objective; the first of equals."""
        done = [trial for trial in self.trials if trial.state == "Completed" and trial.objective is not None]
        return min(done, key=lambda trial: (trial.objective, trial.number))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.files is not None:
            self.files.close(keep=error is not None)


class Tuning(Protocol):
    """Searches for hyperparameters."""

    def tune(self, context: Any, request: TuningRequest) -> TuningResult:
        """Run the search to its end, with progress in `context.log`.

        Raises:
            ChronosAssetsError: the search can't be run as asked (`SearchError`); an input is missing, or no trial completed
                (`JobError`, with the reason of the first that failed); or another run has this search.
        """


_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SearchError(ChronosAssetsError, ValueError):
    """A search that can't be run as asked; the message names every problem and how to fix it."""


def check_search(request: TuningRequest) -> None:
    """Refuse a request that no platform could run.

    Raises:
        SearchError: of all that is wrong with it.
    """
    problems = list(_problems(request))
    if problems:
        raise SearchError(f"search {request.name}: {'; '.join(problems)}")


def _problems(request: TuningRequest) -> Iterator[str]:
    try:
        check_job_name(request.name)
    except ValueError as error:
        yield str(error)
    for name in ("max_jobs", "max_parallel_jobs"):
        value = getattr(request, name)
        if not _is_whole(value) or value < 1:
            yield f"{name} is {value!r}: give a whole number from 1"
    if not _is_whole(request.random_seed):
        yield f"random_seed is {request.random_seed!r}: give a whole number"
    for name in sorted(request.hyperparameters.keys() & request.ranges.keys()):
        yield f"hyperparameter {name!r} has a fixed value and a range: remove one"
    for name, value in request.hyperparameters.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            yield f"hyperparameter {name!r} is no JSON value: {error}"
    for name, values in request.ranges.items():
        yield from (f"range of {name!r}: {problem}" for problem in _range_problems(values))
    if not request.ranges and _is_whole(request.max_jobs) and request.max_jobs > 1:
        yield f"max_jobs is {request.max_jobs} and there is no range to search: add one, or set max_jobs to 1"
    for channel in request.inputs:
        if not _CHANNEL.fullmatch(channel):
            yield f"input channel {channel!r}: up to 64 letters, digits, '.', '_' and '-', a letter or digit first"


def _range_problems(values: Range) -> Iterator[str]:
    if isinstance(values, CategoricalRange):
        yield from _category_problems(values)
        return
    low, high = values.low, values.high
    if isinstance(values, IntegerRange) and not (_is_whole(low) and _is_whole(high)):
        yield f"{low!r} to {high!r} are not whole numbers: give whole ones, or a continuous range"
        return
    if isinstance(values, ContinuousRange) and not (_is_finite(low) and _is_finite(high)):
        yield f"{low!r} to {high!r} are not finite numbers"
        return
    if values.scale not in ("linear", "log"):
        yield f"scale {values.scale!r} is neither 'linear' nor 'log'"
    if not low < high:
        yield f"its low end {low!r} is not below its high end {high!r}; one fixed value goes among the hyperparameters"
    if values.scale == "log" and not low > 0:
        yield f"on a log scale its low end must be above 0, not {low!r}"


def _category_problems(values: CategoricalRange) -> Iterator[str]:
    if not values.values:
        yield "it has no values"
    for value in values.values:
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            yield f"{value!r} is no text, finite number, true or false"
    # Equal is what a search takes for the same, and to Python 1 == 1.0 == True.
    twice = [value for number, value in enumerate(values.values) if value in values.values[:number]]
    if twice:
        yield f"{twice[0]!r} occurs twice"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# What else a training job may tell, for people.
_RATE = re.compile(r"'learning_rate': ([0-9.]+)")
_ETA = re.compile(r"'eta_seconds': ([0-9.]+)")
_STEP, _LOSS, _VALIDATION = map(re.compile, (STEP_REGEX, LOSS_REGEX, VALIDATION_REGEX))


class TrialLog:
    """What a training job's log reports, line by line; of a step that is reported again the later value counts.

    Attributes:
        losses, validation: step -> value.
        loss, latest: the loss, and the validation value after at least one step, reported last; None before.
        rate, eta_seconds: learning rate and seconds left, as reported last, as text; "" before.
    """

    def __init__(self) -> None:
        self._step: int | None = None
        self.losses: dict[int, float] = {}
        self.validation: dict[int, float] = {}
        self.loss: float | None = None
        self.latest: float | None = None
        self.rate = ""
        self.eta_seconds = ""

    @property
    def step(self) -> int:
        """The step reported last."""
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
        value = _number(_VALIDATION, line)
        if value is None:
            return None
        place = self._place(self.validation)
        self.validation[place] = value
        if place > 0:
            self.latest = value
        return place, value

    def _place(self, values: Mapping[int, float]) -> int:
        """Step of a value: the one reported last, or its number where steps are never reported."""
        return len(values) + 1 if self._step is None else self._step


class TrialLogFile(TrialLog):
    """The log of a training job on this machine.

    Args:
        path: the log, which may grow, and may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
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
            reported = self.take(line.decode("utf-8", "replace"))
            if reported is not None and reported[0] > 0:
                yield reported


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
