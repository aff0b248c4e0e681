"""A search's memory and judgement: Optuna over an SQLite file that survives a kill.

Here: what is kept of each trial, what to try next, when to give a trial up. Elsewhere: processes and
folders of trials (`trials.py`), their order (`tuning.py`).

The file can be looked at while the search runs (`optuna-dashboard sqlite:///…/study.db`); only one process writes, the
holder of the search's lock.

What is proposed depends on the seed, the trial's number and what trials before it reported, and on nothing in this
process's past: a search that was killed proposes what it would have. So each proposal has a fresh sampler, over a copy
in memory; the trial then goes to the file at once, with all that was chosen.
"""

from __future__ import annotations

import hashlib
import sqlite3
import statistics
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chronos_assets.params.training import CategoricalRange, IntegerRange, Range
from chronos_assets.platforms.tuning import TrialState
from chronos_assets.system import replaced

STUDY_FILE = "study.db"
REQUEST = "request"  # the study's attribute that tells what was searched for
NOTES = "notes"  # a trial's attribute

# Trials drawn from the ranges as they are, before the sampler knows enough: so many, and more for more ranges.
STARTUP_TRIALS, STARTUP_TRIALS_PER_RANGE = 5, 3
PRUNE_AFTER = 2  # completed trials whose median is a judgement
_DRAWS = 10  # for a proposal that was not tried before

_BUSY_SECONDS = 60  # how long a person who looks at the file may block a write


@dataclass(frozen=True)
class Hopeless:
    """Why a trial is given up: its best validation value up to a step is above the median of the completed trials."""

    step: int
    best: float
    median: float


class Study:
    """One search: its trials by number, from 0.

    Args:
        path: the SQLite file, which `create` made.
        name: of the study in it.
        ranges: hyperparameter -> what it may be.
        seed: of the search.
    """

    def __init__(self, path: Path, name: str, ranges: Mapping[str, Range], seed: int) -> None:
        optuna = _optuna()
        self._states: dict[Any, TrialState] = {
            optuna.trial.TrialState.COMPLETE: "Completed",
            optuna.trial.TrialState.PRUNED: "Stopped",
            optuna.trial.TrialState.FAIL: "Failed",
        }
        self._storage = _storage(path)
        self._study = optuna.load_study(
            study_name=name,
            storage=self._storage,
            # A trial may be better than most at first; validation before the first step says nothing about it.
            pruner=optuna.pruners.MedianPruner(n_startup_trials=PRUNE_AFTER, n_warmup_steps=1),
        )
        self._id = self._storage.get_study_id_from_name(name)
        self._distributions = {key: _distribution(values) for key, values in ranges.items()}
        self._seed = seed
        self._ids: dict[int, int] = {}  # by a trial's number: asked of the file once, which takes its time

    @staticmethod
    def create(path: Path, name: str, request: Mapping[str, Any]) -> None:
        """Make the file of a study that remembers what it was asked; whole or not at all."""
        with replaced(path) as made:
            storage = _storage(made, synchronous=False)
            _optuna().create_study(study_name=name, storage=storage, direction="minimize").set_user_attr(
                REQUEST, dict(request)
            )
            _close_storage(storage)

    @staticmethod
    def is_in(path: Path, name: str) -> bool:
        """Whether a file is a sound database, with a study of this name."""
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
            try:
                sound = connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
                found = connection.execute("SELECT 1 FROM studies WHERE study_name = ?", (name,)).fetchone()
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                    raise
                return False
        return sound and found is not None

    def close(self) -> None:
        """Let go of the file."""
        _close_storage(self._storage)

    @property
    def request(self) -> Mapping[str, Any]:
        """What `create` was given."""
        request: Mapping[str, Any] = self._study.user_attrs[REQUEST]
        return request

    def count(self) -> int:
        """How many trials there are."""
        return len(self._study.get_trials(deepcopy=False))

    def state(self, number: int) -> TrialState | None:
        """What became of a trial; None while it runs, or if it was cut off."""
        return self._states.get(self._trial(number).state)

    def hyperparameters(self, number: int) -> dict[str, Any]:
        """What was chosen for a trial."""
        return dict(self._trial(number).params)

    def objective(self, number: int) -> float | None:
        """What a finished trial's objective is."""
        value: float | None = self._trial(number).value
        return value

    def note(self, number: int, **values: Any) -> None:
        """Keep JSON values about a trial that runs, beside those kept before."""
        self._storage.set_trial_user_attr(self._trial_id(number), NOTES, {**self.notes(number), **values})

    def notes(self, number: int) -> dict[str, Any]:
        """What `note` kept."""
        return dict(self._trial(number).user_attrs.get(NOTES, {}))

    def start(self) -> int:
        """Choose hyperparameters for one more trial, and keep it as running; its number."""
        optuna = _optuna()
        history = self._study.get_trials()
        params = self._propose(history)
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING, params=params, distributions=self._distributions
            )
        )
        return len(history)

    def report(self, number: int, step: int, value: float) -> Hopeless | None:
        """Keep a validation value of a trial that runs; that of a step reported before stays.

        Returns:
            Why to give the trial up; None to continue it.
        """
        trial = self._trial(number)
        if step not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(self._trial_id(number), step, value)
            trial.intermediate_values[step] = value  # as the file now has it
        if not self._study.pruner.prune(self._study, trial):
            return None
        last = trial.last_step  # the one that is judged: later than `step` where a trial resumes from a checkpoint
        done = self._study.get_trials(deepcopy=False, states=(_optuna().trial.TrialState.COMPLETE,))
        median = statistics.median(
            other.intermediate_values[last] for other in done if last in other.intermediate_values
        )
        return Hopeless(last, min(trial.intermediate_values.values()), median)

    def finish(self, number: int, state: TrialState, objective: float | None) -> None:
        """Keep what became of a trial. One that was stopped has its last reported value for an objective."""
        states = {reported: kept for kept, reported in self._states.items()}
        value = objective if state == "Completed" else None
        self._study.tell(number, value, state=states[state])

    def _propose(self, history: Sequence[Any]) -> dict[str, Any]:
        """Hyperparameters for the trial after `history`; what was tried before only where nothing else is found."""
        optuna = _optuna()
        tried = [trial.params for trial in history]
        params: dict[str, Any] = {}
        for draw in range(_DRAWS):
            seed = hashlib.sha256(f"{self._seed}:{len(history)}:{draw}".encode()).digest()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = optuna.samplers.TPESampler(
                    n_startup_trials=max(STARTUP_TRIALS, STARTUP_TRIALS_PER_RANGE * len(self._distributions)),
                    seed=int.from_bytes(seed[:4]),
                    constant_liar=True,  # keeps off what other trials are trying at this moment
                )
            scratch = optuna.create_study(direction="minimize", sampler=sampler)
            scratch.add_trials(history)
            params = scratch.ask(self._distributions).params
            if params not in tried:
                break
        return params

    def _trial_id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        return self._ids[number]

    def _trial(self, number: int) -> Any:
        return self._storage.get_trial(self._trial_id(number))


def _optuna() -> Any:
    """Optuna, which is slow to import, with its own log silent: what people are to read is in the run's log."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _read_migrations_once()
    return optuna


@cache
def _read_migrations_once() -> None:
    """Let this process load Optuna's migration scripts once.

    Optuna loads all of them each time that it makes or opens a file, to see whether that is up to date: a third of a small
    search's time. A release that does so in another way takes as long as it does.
    """
    from optuna.storages._rdb import storage

    manager: Any = getattr(storage, "_VersionManager", None)
    if (load := getattr(manager, "_create_alembic_script", None)) is not None:
        loaded: list[Any] = []

        def load_once(self: Any) -> Any:
            loaded[:] = loaded or [load(self)]
            return loaded[0]

        manager._create_alembic_script = load_once


def _storage(path: Path, *, synchronous: bool = True) -> Any:
    """Optuna's storage in a file; what is not written synchronously is lost or torn where the machine goes down."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
        if not synchronous:
            connection.execute("PRAGMA synchronous = OFF")
        return connection

    # A path may hold what means something else in a URL, so that the URL only tells the kind.
    return _optuna().storages.RDBStorage(f"sqlite:///{STUDY_FILE}", engine_kwargs={"creator": connect})


def _close_storage(storage: Any) -> None:
    storage.remove_session()
    storage.engine.dispose()


def _distribution(values: Range) -> Any:
    distributions = _optuna().distributions
    if isinstance(values, CategoricalRange):
        return distributions.CategoricalDistribution(values.values)
    kind = distributions.IntDistribution if isinstance(values, IntegerRange) else distributions.FloatDistribution
    return kind(values.low, values.high, log=values.scale == "log")
