"""Searches for hyperparameters with local training jobs, which it starts, watches, gives up, and takes up again.

Here: the order of a search's trials, and what becomes of each. Elsewhere: how hyperparameters are
chosen (`study.py`), a trial's folder and process (`trials.py`), what training is, where a model is published.

- Folder `<store>/.tuning/<name>/`: `study.db`, and `trial-<n>/`, which its training job sees as `/opt/ml`. It is locked
  for as long as the run, its trials or the caller that publishes the model lives.
- What was killed continues when the same is asked for again: finished trials count as they are, one that was cut off goes
  on from its checkpoint with the hyperparameters that it had. A trial is never counted twice.
- The same name for another search (other ranges, seed, hyperparameters or data) starts over, and so does a search of
  which every trial failed. Only `max_jobs` and `max_parallel_jobs` may change: the search is then longer, shorter, wider.
- One thread watches all trials by their logs. A trial that fails doesn't stop the others; a cancelled run stops them
  all, and its search can be continued.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chronos_assets.container.contract import Workspace
from chronos_assets.params.training import CategoricalRange, Range
from chronos_assets.platforms.jobs import WORKLOADS, JobError, nothing_to_read
from chronos_assets.platforms.local.study import STUDY_FILE, Study
from chronos_assets.platforms.local.trials import TrainingJob
from chronos_assets.platforms.locked_folder import lock_folder
from chronos_assets.platforms.store import Store
from chronos_assets.platforms.tuning import (
    VALIDATION_REGEX,
    Trial,
    TrialState,
    TuningRequest,
    TuningResult,
    check_search,
)
from chronos_assets.store_layout import TUNING_KEY

_PAUSE_SECONDS = 0.05
_PROGRESS_SECONDS = 5.0  # a trial's progress is reported at most once in this time
_THREADS = "OMP_NUM_THREADS"


class LocalTuning:
    """The laptop's `Tuning`.

    Args:
        store: a store on this machine.
        package: package that holds the training job, `<package>.train`.
        busy_seconds: how long to wait for another run of a search of the same name.
        grace_seconds: how long a training job may take to end once asked to.
    """

    def __init__(
        self,
        store: Store,
        *,
        package: str = WORKLOADS,
        busy_seconds: float = 60.0,
        grace_seconds: float = 10.0,
    ) -> None:
        self._store = store
        self._package = package
        self._busy_seconds = busy_seconds
        self._grace_seconds = grace_seconds

    def tune(self, context: Any, request: TuningRequest) -> TuningResult:
        """See `Tuning.tune`.

        The result holds the search's folder: closing it removes the folder, or with `keep` leaves it, so that asking
        for the same again gives the same trials without training.

        Raises:
            JobError: no trial completed, or an input is missing.
            SearchError: the request can't be run: nothing was started.
        """
        check_search(request)
        inputs = {channel: self._source(request, channel) for channel in request.inputs}
        folder = self._store.local_path(TUNING_KEY) / request.name
        files = lock_folder(folder, "search", seconds=self._busy_seconds, say=context.log.info, first=STUDY_FILE)
        try:
            study = self._open(context.log, folder, request, inputs)
            try:
                search = _Search(context.log, request, inputs, study, folder)
                resumed = search.finished
                self._run(search, files.descriptor)
                trials = search.trials()
            finally:
                study.close()
            _refuse_if_none_completed(request, trials, folder)
        except BaseException:
            files.close(keep=True)
            raise
        return TuningResult(trials=trials, resumed=resumed, files=files)

    def _source(self, request: TuningRequest, channel: str) -> Path:
        """Folder of an input channel, the version that is shown now."""
        given = request.inputs[channel]
        shown = given if isinstance(given, Path) else self._store.local_path(given)
        if not shown.is_dir():
            raise JobError(nothing_to_read(f"search {request.name}", shown, channel))
        return shown.resolve()

    def _open(self, log: Any, folder: Path, request: TuningRequest, inputs: Mapping[str, Path]) -> Study:
        """The study of this request: that of an earlier run, if it is of the same and can be continued."""
        asked = _asked(request, inputs)
        path = folder / STUDY_FILE
        if path.exists():
            obstacle: str | None = f"{path} is damaged"
            if Study.is_in(path, request.name):
                study = Study(path, request.name, request.ranges, request.random_seed)
                obstacle = _obstacle(study, asked, folder)
                if obstacle is None:
                    return study
                study.close()
            log.warning(f"search {request.name} starts over: {obstacle}")
            path.unlink()
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        Study.create(path, request.name, asked)
        return Study(path, request.name, request.ranges, request.random_seed)

    def _run(self, search: _Search, lock: int) -> None:
        """Run every trial that isn't finished."""
        request = search.request
        env = _environment(min(request.max_parallel_jobs, request.max_jobs))
        running: list[_Attempt] = []
        try:
            while True:
                while len(running) < request.max_parallel_jobs and (number := search.next()) is not None:
                    attempt = _Attempt(search, number)
                    attempt.job.start(f"{self._package}.train", env, lock)
                    running.append(attempt)
                if not running:
                    return
                time.sleep(_PAUSE_SECONDS)
                # Those that are done are reported before others are started: what they found is known to these.
                running = [attempt for attempt in running if not self._advance(attempt)]
        except BaseException:
            search.log.warning(f"search {request.name}: the run is being stopped, and its trials with it")
            self._end(running)
            raise

    def _advance(self, attempt: _Attempt) -> bool:
        """Take in what a trial reported since, and whether it is done."""
        status = attempt.job.ended()  # asked before reading: nothing is written after it
        attempt.read(self._grace_seconds)
        if status is None:
            return False
        if not attempt.try_again(status):
            attempt.finish(status)
        return True

    def _end(self, running: list[_Attempt]) -> None:
        for attempt in running:
            attempt.job.stop(self._grace_seconds)
        while running:
            running = [attempt for attempt in running if attempt.job.ended() is None]
            time.sleep(_PAUSE_SECONDS)


def _environment(parallel: int) -> dict[str, str]:
    """Variables for training jobs of which so many share this machine's cores."""
    return {} if parallel == 1 else {_THREADS: str(max(1, (os.cpu_count() or 1) // parallel))}


class _Search:
    """A search under way: its study, its folder, and which trials are to run."""

    def __init__(
        self, log: Any, request: TuningRequest, inputs: Mapping[str, Path], study: Study, folder: Path
    ) -> None:
        self.log = log
        self.request = request
        self.inputs = inputs
        self.study = study
        self._folder = folder
        numbers = range(min(study.count(), request.max_jobs))
        self._cut_off = [number for number in numbers if study.state(number) is None]
        self.finished = len(numbers) - len(self._cut_off)
        if self.finished or self._cut_off:
            log.info(
                f"search {request.name} continues: {self.finished} of {request.max_jobs} trials are finished, "
                f"{len(self._cut_off)} were cut off"
            )

    def next(self) -> int | None:
        """Number of the trial to run next; one that was cut off goes first."""
        if self._cut_off:
            return self._cut_off.pop(0)
        return self.study.start() if self.study.count() < self.request.max_jobs else None

    def try_again(self, number: int) -> None:
        """Run a trial again, next; it resumes from its checkpoint."""
        self._cut_off.insert(0, number)

    def root(self, number: int) -> Path:
        """Folder of a trial."""
        return _trial_folder(self._folder, number)

    def trials(self) -> tuple[Trial, ...]:
        """Every trial, all being finished."""
        return tuple(self._trial(number) for number in range(self.request.max_jobs))

    def _trial(self, number: int) -> Trial:
        job = TrainingJob(self.root(number))
        list(job.log.read())
        state = self.study.state(number)
        assert state is not None  # noqa: S101 - all are finished
        notes = self.study.notes(number)
        return Trial(
            number=number,
            hyperparameters=self.study.hyperparameters(number),
            state=state,
            objective=self.study.objective(number),
            losses=tuple(sorted(job.log.losses.items())),
            validation=tuple(sorted(job.log.validation.items())),
            seconds=notes["seconds"],
            reason=notes["reason"],
            model=job.workspace.model if state == "Completed" else None,
            report=job.report() if state == "Completed" else {},
        )


class _Attempt:
    """One trial while its training job runs."""

    def __init__(self, search: _Search, number: int) -> None:
        self._search = search
        self._study = search.study
        self._number = number
        self._reason = ""
        self._spoke = float("-inf")
        self.job = TrainingJob(search.root(number))
        chosen = self._study.hyperparameters(number)
        self._goes_on = self.job.log_file.exists()
        self._seconds_before = self._seconds_of_killed_attempts()
        given = {**search.request.hyperparameters, **chosen}
        self._last_step = given.get("max_steps")
        self.job.lay_out(given, search.inputs)
        list(self.job.log.read())  # of earlier attempts; the study knows it
        self._reported_step = self.job.log.step
        self._began = time.monotonic()
        self._study.note(number, seconds=self._seconds_before, began=time.time())
        search.log.info(f"trial {number} {'continues' if self._goes_on else 'starts'}: {_shown(chosen)}")

    def _seconds_of_killed_attempts(self) -> float:
        """Wall time before this attempt: the last one ended at the last sign of it."""
        notes = self._study.notes(self._number)
        before: float = notes.get("seconds", 0.0)
        began, last = notes.get("began"), self.job.last_sign()
        return before + (max(0.0, last - began) if began is not None and last is not None else 0.0)

    def read(self, grace_seconds: float) -> None:
        """Take in what its log reports; give it up if its validation is worse than most were at that step."""
        if self.job.stopping:
            return  # judged: what it still writes changes nothing
        for step, value in self.job.log.read():
            hopeless = self._study.report(self._number, step, value)
            # After the last step there is nothing left to save by giving up.
            if hopeless is not None and hopeless.step != self._last_step:
                self._reason = (
                    f"given up at step {hopeless.step}: its best validation so far, {hopeless.best:.6g}, is above "
                    f"{hopeless.median:.6g}, the median of the completed trials at that step"
                )
                self.job.stop(grace_seconds)
                return
        now = time.monotonic()
        step = self.job.log.step
        if step != self._reported_step and now - self._spoke >= _PROGRESS_SECONDS:
            self._reported_step, self._spoke = step, now
            self._search.log.info(f"trial {self._number}: {self._progress()}")

    def _progress(self) -> str:
        log = self.job.log
        facts = [f"step {log.step:,}"]
        if log.loss is not None:
            facts.append(f"loss {log.loss:.6g}")
        if log.latest is not None:
            facts.append(f"validation {log.latest:.6g}")
        if log.rate:
            facts.append(f"learning rate {float(log.rate):.3g}")
        if log.eta_seconds:
            facts.append(f"{float(log.eta_seconds):.0f} s left")
        return ", ".join(facts)

    def try_again(self, status: int) -> bool:
        """Whether the trial is to continue after a kill that nobody here meant, as when memory runs out; once."""
        killed = status < 0 and not self.job.stopping
        if not killed or self._study.notes(self._number).get("killed"):
            return False
        self._study.note(self._number, killed=True)
        self._search.log.warning(f"trial {self._number} {self.job.failure(status)}: it is tried again")
        self._search.try_again(self._number)
        return True

    def finish(self, status: int) -> None:
        """Keep what became of it; its checkpoints are of no more use."""
        log, job = self._search.log, self.job
        state: TrialState = "Completed"
        if self._reason:
            state = "Stopped"
        else:
            self._reason = job.failure(status) or _report_problem(job)
            if self._reason:
                state = "Failed"
        seconds = self._seconds_before + time.monotonic() - self._began
        self._study.note(self._number, seconds=seconds, began=None, reason=self._reason)
        self._study.finish(self._number, state, job.log.latest)
        reported = f"trial {self._number} {state.lower()} after {seconds:.1f} s"
        if state == "Failed":
            log.error(f"{reported}: {self._reason}\nLast lines of its log:\n{job.log_tail()}")
        else:
            log.info(f"{reported}: validation {job.log.latest:.6g}{f', {self._reason}' if self._reason else ''}")
        if job.workspace.checkpoints.exists():
            shutil.rmtree(job.workspace.checkpoints)


def _asked(request: TuningRequest, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """What makes a search the same as an earlier one, as JSON values; a published folder's path tells its content."""
    return {
        "hyperparameters": dict(request.hyperparameters),
        "ranges": {name: _described(values) for name, values in request.ranges.items()},
        "inputs": {channel: str(path) for channel, path in inputs.items()},
        "random_seed": request.random_seed,
        "metric_regex": VALIDATION_REGEX,
    }


def _described(values: Range) -> dict[str, Any]:
    if isinstance(values, CategoricalRange):
        return {"values": list(values.values)}
    return {"kind": type(values).__name__, "low": values.low, "high": values.high, "scale": values.scale}


def _obstacle(study: Study, asked: Mapping[str, Any], folder: Path) -> str | None:
    """Why an earlier run's search can't be continued."""
    before = study.request
    changed = [name for name in asked if before.get(name) != asked[name]]
    if changed:
        return f"other {', '.join(changed)} than the search had that was kept under this name"
    states = [study.state(number) for number in range(study.count())]
    if states and all(state == "Failed" for state in states):
        return "every trial had failed"
    lost = [
        number
        for number, state in enumerate(states)
        if state == "Completed" and not any(Workspace(_trial_folder(folder, number)).model.glob("*.safetensors"))
    ]
    if lost:
        return f"the model of trial {lost[0]} is gone"
    return None


def _trial_folder(folder: Path, number: int) -> Path:
    return folder / f"trial-{number}"


def _shown(hyperparameters: Mapping[str, Any]) -> str:
    """Hyperparameters for people."""
    shown = (
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in hyperparameters.items()
    )
    return ", ".join(shown) or "the hyperparameters as given"


def _report_problem(job: TrainingJob) -> str:
    try:
        job.report()
    except ValueError as error:
        return f"exit status 0, but its training.json is no JSON object: {error}"
    return ""


def _refuse_if_none_completed(request: TuningRequest, trials: tuple[Trial, ...], folder: Path) -> None:
    if any(trial.state == "Completed" for trial in trials):
        return
    first = next(trial for trial in trials if trial.state == "Failed")
    job = TrainingJob(_trial_folder(folder, first.number))
    raise JobError(
        f"search {request.name} failed: {first.reason} (trial {first.number}; none of {len(trials)} completed)"
        f"\nLast lines of its log:\n{job.log_tail()}",
        {"reason": first.reason, "search_folder": folder},
    )
