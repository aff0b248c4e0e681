"""When to train a model: a pure function of what is there, what was tried and what time it is.

Here: the rule. Elsewhere: reading the store and Dagster's runs (`pipeline.training`, `defs.new_data_sensor`).

A training is due
- when no version was ever registered;
- when the data changed and the newest version is older than `MaxAge`, or its checkpoint is gone (`PerformDelete`);
- when the checkpoint of the newest version is gone though nothing was to delete it;
- when the data changed and the model got worse: its live wQL, the mean over at least `DriftWindows` windows that were
  forecast after its training ended, is above `DriftFactor` times the wQL at registration, or above that of the seasonal
  naive forecast of the same windows.

In the other cases the data have to have changed: the same search on the same data gives the same candidate, and a
rejected one would be made again forever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chronos_assets.params.training import TrainingParams
from chronos_assets.planning.cursor import RunState, RunStatus
from chronos_assets.system import text_digest

MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class NewestVersion:
    """The version registered last, whatever became of it.

    Attributes:
        name: `group/version`; status: its approval status.
        created: naive, UTC.
        data_version: of the dataset that it was trained on.
    """

    name: str
    status: str
    created: datetime
    data_version: str


@dataclass(frozen=True)
class LiveAccuracy:
    """How the version in use does.

    Attributes:
        name: of the version.
        registered_wql: at the gate.
        wqls: one of each scored window that it forecast with data from after its training, oldest first.
        naive_wqls: of the seasonal naive forecast on the same windows; empty where it is not known of all.
    """

    name: str
    registered_wql: float
    wqls: tuple[float, ...]
    naive_wqls: tuple[float, ...] = ()


@dataclass(frozen=True)
class RetrainPlan:
    """`run_key` of the run to request, with the reason; or None, and why not."""

    run_key: str | None
    message: str


def training_due(
    training: TrainingParams,
    *,
    data_version: str | None,
    newest: NewestVersion | None,
    usable: bool,
    deletes: bool,
    live: LiveAccuracy | None,
    now: datetime,
) -> tuple[bool, str]:
    """Whether a training is due, and why (not).

    Args:
        training: the policy's parameters.
        data_version: of the dataset; None if there is none.
        newest: the version registered last; None if none was.
        usable: whether there is a version in use whose checkpoint is there.
        deletes: whether checkpoints are deleted after publishing (`PerformDelete`).
        live: of the version in use; None if there is none.
        now: naive, UTC.
    """
    if training.strategy == "NONE":
        return False, "training is off (Chronos.Training.Strategy is NONE)"
    if data_version is None:
        return False, "no dataset to train on yet"
    if newest is None:
        return True, "no version has been registered yet"
    lost = not usable and newest.status == "Approved"
    if newest.data_version == data_version and lost and not deletes:
        return True, f"the checkpoint of {newest.name} is gone"
    if newest.data_version == data_version:
        return False, f"{newest.name} ({newest.status}) was trained on the data that are there"
    if lost:
        return True, f"the data changed, and the checkpoint of {newest.name} was deleted"
    age = now - newest.created
    if age > timedelta(seconds=training.max_age):
        return True, f"the data changed, and {newest.name} is {_days(age)} old, more than {_limit(training.max_age)}"
    drift = _drift(training, live)
    if drift:
        return True, f"the data changed, and {drift}"
    left = timedelta(seconds=training.max_age) - age
    return (
        False,
        f"{newest.name} is {_days(age)} old; trained again on changed data in {_days(left)}, or when it drifts",
    )


def _drift(training: TrainingParams, live: LiveAccuracy | None) -> str:
    if live is None or len(live.wqls) < training.drift_windows:
        return ""
    mean = sum(live.wqls) / len(live.wqls)
    if live.naive_wqls and mean > (naive := sum(live.naive_wqls) / len(live.naive_wqls)):
        return (
            f"{live.name} is worse than the seasonal naive forecast: wQL {mean:.4g} over {len(live.wqls)} windows, "
            f"where the best season gives {naive:.4g}"
        )
    if live.registered_wql <= 0:
        return ""
    if mean <= training.drift_factor * live.registered_wql:
        return ""
    return (
        f"{live.name} drifted: wQL {mean:.4g} over {len(live.wqls)} windows, {mean / live.registered_wql:.3g} times the "
        f"{live.registered_wql:.4g} at its registration (Chronos.Training.DriftFactor is {training.drift_factor:g})"
    )


def plan_retrain(due: tuple[bool, str], *, attempts: Sequence[RunState | None], search: str) -> RetrainPlan:
    """What to request for a training that is due, after what earlier requests for the same search came to.

    Args:
        due: from `training_due`.
        attempts: states of the runs of `run_keys(search)`, in order.
        search: identity of the search: another one starts over.
    """
    wanted, reason = due
    if not wanted:
        return RetrainPlan(None, reason)
    for key, state in zip(run_keys(search), attempts, strict=True):
        if state is None:
            return RetrainPlan(key, reason)
        if state.status == RunStatus.RUNNING:
            return RetrainPlan(None, f"training is under way: {reason}")
        if state.status == RunStatus.SUCCEEDED:
            return RetrainPlan(None, "trained; the registry does not show it yet")
        if state.status == RunStatus.CANCELED or not state.retry:
            why = "was cancelled" if state.status == RunStatus.CANCELED else f"failed: {state.reason}"
            return RetrainPlan(None, f"training {why}; launch the job retrain once that is fixed")
    return RetrainPlan(None, f"training failed {MAX_ATTEMPTS} times; launch the job retrain once that is fixed")


def run_keys(search: str) -> tuple[str, ...]:
    """Run keys of the attempts at one search, in order."""
    digest = text_digest(search)[:16]
    return tuple(f"retrain-{digest}-{attempt}" for attempt in range(1, MAX_ATTEMPTS + 1))


def _days(age: timedelta) -> str:
    seconds = max(age.total_seconds(), 0.0)
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 2 * 86_400 else f"{seconds / 86_400:.1f} days"


def _limit(seconds: float) -> str:
    return f"Chronos.Training.MaxAge = {seconds:g} s"
