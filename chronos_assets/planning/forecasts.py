"""Which windows to forecast and to score next: the decision of `new_data_sensor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from chronos_assets.planning.cursor import Cursor, RunState, RunStatus, digest_of, joined
from chronos_assets.planning.windows import NoWindowError, Window, WindowRange, next_window
from chronos_assets.settings import Cadence
from chronos_assets.wording import counted, first_of

# --- new data -> forecasts, accuracy ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataPolicy:
    """How much the new data's plan asks for at once.

    Attributes:
        max_partitions: partitions in one accuracy run.
        max_ranges: accuracy runs requested by one tick.
        max_attempts: runs for the same partition and data.
        revisit: of the windows whose horizon is observed, so many of the newest are scored again with each new data
            version (late corrections); older ones only if their forecast is rebuilt. None: all of them.
        pause_ticks: half of the pause after the first run without effect; doubled with each.
    """

    max_partitions: int = 64
    max_ranges: int = 2
    max_attempts: int = 3
    revisit: int | None = 31
    pause_ticks: int = 1


@dataclass(frozen=True)
class DatasetState:
    """The dataset that is there now.

    Attributes:
        id: of the import that made it, never used again.
        data_version: digest of its content.
        first: first timestamp, naive, in the data's clock.
        last: last timestamp (start of the last period).
    """

    id: str
    data_version: str
    first: datetime
    last: datetime


@dataclass(frozen=True)
class ForecastState:
    """The forecast that partition `key` has now.

    Attributes:
        version: tells this forecast from others of the partition.
        data_version: of the dataset it was made from.
        recipe: digest of all else that it was made with (model, parameters).
        last_step: timestamp of its last step; it is observed when the dataset reaches it.
        context_end: the last period that it saw.
        series: how many it has; one of none is never shown.
    """

    version: str
    data_version: str
    recipe: str
    last_step: datetime
    context_end: datetime
    series: int = 1

    @property
    def made_from(self) -> tuple[str, str]:
        """Dataset and recipe: where these are others now, the forecast is out of date."""
        return self.data_version, self.recipe


@dataclass(frozen=True)
class AccuracyState:
    """The scores that a partition has now: of which forecast, with which data."""

    forecast: str
    data_version: str


@dataclass(frozen=True)
class DataRequest:
    """Make a range of partitions, in one run.

    Attributes:
        kind: `forecasts` or `forecast_accuracy`: the asset.
        first: partition key of the first window; `last` of the last one, the same for a single partition.
        run_key: carries what it is made from and the attempt.
        reason: for the run's tags and log.
    """

    kind: str
    first: str
    last: str
    run_key: str
    attempt: int
    reason: str


@dataclass(frozen=True)
class DataPlan:
    """Answer of `plan_new_data`: `message` is the skip reason when there are no requests."""

    requests: tuple[DataRequest, ...]
    cursor: str
    message: str


class _Attempts(NamedTuple):
    """Runs requested so far for one partition: `stamp` says what for, `rest` how many ticks to pause."""

    stamp: str
    attempts: int
    rest: int = 0


@dataclass(frozen=True)
class _DataCursor(Cursor):
    """What the cursor remembers.

    Attributes:
        pending: run key -> kind, of the requests whose end hasn't been seen.
        tries: `<kind>/<partition key>` -> runs requested for what is still due.
        reasons: kind -> why the last run of it failed.
    """

    pending: Mapping[str, str] = field(default_factory=dict)
    tries: Mapping[str, _Attempts] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


MAX_TRIES = 512  # partitions with runs without effect that the cursor remembers
MAX_REASON = 300
FORECASTS = "forecasts"
ACCURACY = "forecast_accuracy"


def requested_run_keys(cursor: str | None) -> tuple[str, ...]:
    """Run keys of the requests whose end no tick has seen, whose states `plan_new_data` wants to know."""
    return tuple(_DataCursor.loads(cursor)[0].pending)


def plan_new_data(
    dataset: DatasetState | None,
    forecasts: Mapping[str, ForecastState],
    accuracy: Mapping[str, AccuracyState],
    cursor: str | None,
    *,
    runs: Mapping[str, RunState],
    recipe: str,
    windows: WindowRange,
    shown: ForecastState | None,
    policy: DataPolicy = DataPolicy(),
) -> DataPlan:
    """Request the forecast of the window that holds the last observation, and the scores that can be computed now.

    Args:
        dataset: the dataset, None if there is none.
        forecasts: partition key -> forecast that it has.
        accuracy: partition key -> scores that it has.
        cursor: as saved by the last tick, or None.
        runs: states of the runs with keys `requested_run_keys(cursor)`; one that is missing can't be found any more.
        recipe: digest of what a forecast would be made with now beside the data (model, parameters).
        windows: the partitions that exist; data beyond the last one is forecast from its end.
        shown: the current forecast, None if there is none or a file of it is missing.
        policy: how much to ask for at once.
    """
    state, note = _DataCursor.loads(cursor)
    if dataset is None:
        # Also true for the moment between an import's publishing and its materialization: forget nothing.
        return DataPlan((), state.dumps(), joined(note, "no dataset yet: it is made from the files in train/"))
    pending, reasons = _still_running(state, runs)
    forecast_due, message = _due_forecast(dataset, forecasts, shown, recipe, windows)
    accuracy_due = _due_accuracy(dataset, forecasts, accuracy, windows, policy)
    due = [*forecast_due, *accuracy_due]
    # Kept for what is still due only: that bounds the cursor, and forgets failures once they are fixed.
    tries = {item.name: state.tries[item.name] for item in due if item.name in state.tries}
    tries = {name: item._replace(rest=max(0, item.rest - 1)) for name, item in tries.items()}
    requests = _requests(due, tries, pending, windows.cadence, policy)
    running = len(pending)
    for request, items in requests:
        pending[request.run_key] = request.kind
        for item in items:
            tries[item.name] = _Attempts(item.stamp, request.attempt, 2**request.attempt * policy.pause_ticks)
    messages = [message] if message else []
    messages += [f"requested {request.kind} of {request.reason} (attempt {request.attempt})" for request, _ in requests]
    if running:
        messages.append(f"waiting for the end of {counted(running, 'run')} requested before")
    messages += _given_up(due, tries, pending, reasons, policy)
    if not accuracy_due:
        messages.append("every observed forecast has its scores")
    elif not any(request.kind == ACCURACY for request, _ in requests):
        messages.append(f"{counted(len(accuracy_due), 'partition')} without up-to-date scores")
    plan = _DataCursor(pending, tries, reasons)
    return DataPlan(tuple(request for request, _ in requests), plan.dumps(), joined(note, *messages))


def is_shown(made: ForecastState, shown: ForecastState | None, last: datetime) -> bool:
    """Whether the current forecast is the one to show, for a dataset that ends at `last`.

    That is the forecast with the latest data behind it, then the one made last. One that saw data which are gone gives
    way, and so does one from other data or by another model that saw as much.

    Args:
        made: of the window that holds the last observation, and up to date.
        shown: None if there is none, or a file of it is missing.
        last: timestamp of the last observation, or the end of its period.
    """
    if not made.series:
        return True  # of nothing, which takes the place of none
    if shown is None or shown.context_end > last:
        return False
    if shown.context_end != made.context_end:
        return shown.context_end > made.context_end
    return shown.made_from == made.made_from


def _still_running(state: _DataCursor, runs: Mapping[str, RunState]) -> tuple[dict[str, str], dict[str, str]]:
    """The requests that are being made, and why the others failed, by kind."""
    pending, reasons = {}, dict(state.reasons)
    for key, kind in state.pending.items():
        run = runs.get(key)
        if run is not None and run.status == RunStatus.RUNNING:
            pending[key] = kind
        elif run is not None and run.reason:
            reasons[kind] = run.reason[:MAX_REASON]
    return pending, reasons


@dataclass(frozen=True)
class _Due:
    """A partition to be made; `stamp` changes with what it is made from."""

    kind: str
    window: Window
    stamp: str
    reason: str

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.window.key}"

    def attempts(self, tries: Mapping[str, _Attempts]) -> int:
        """How many runs were requested for the same."""
        item = tries.get(self.name)
        return item.attempts if item is not None and item.stamp == self.stamp else 0

    def rests(self, tries: Mapping[str, _Attempts]) -> bool:
        """Whether it pauses after a run without effect."""
        return self.attempts(tries) > 0 and tries[self.name].rest > 0


def _due_forecast(
    dataset: DatasetState,
    forecasts: Mapping[str, ForecastState],
    shown: ForecastState | None,
    recipe: str,
    windows: WindowRange,
) -> tuple[list[_Due], str]:
    """The forecast of the last observation's window if it isn't up to date, and what to say if nothing is due."""
    try:
        window = windows.newest(dataset.first, dataset.last)
    except NoWindowError as error:
        return [], str(error)
    seen = forecasts.get(window.key)
    if seen is not None and seen.made_from == (dataset.data_version, recipe):
        if is_shown(seen, shown, dataset.last):
            return [], f"the forecast of {window.key} is up to date"
        stamp = digest_of(dataset.id, dataset.data_version, recipe, shown.version if shown else "none")
        return [_Due(FORECASTS, window, stamp, "what is shown is not the forecast of the data that are there")], ""
    stamp = digest_of(dataset.id, dataset.data_version, recipe)
    return [_Due(FORECASTS, window, stamp, "the window that holds the last observation")], ""


def _due_accuracy(
    dataset: DatasetState,
    forecasts: Mapping[str, ForecastState],
    accuracy: Mapping[str, AccuracyState],
    windows: WindowRange,
    policy: DataPolicy,
) -> list[_Due]:
    """Forecasts whose horizon is observed and that have no scores, or old ones; newest first."""
    observed = sorted((key for key in forecasts if forecasts[key].last_step <= dataset.last), reverse=True)
    due = []
    for number, key in enumerate(observed):
        forecast, scores = forecasts[key], accuracy.get(key)
        revisit = policy.revisit is None or number < policy.revisit
        if scores is None:
            reason = "the horizon is observed"
        elif scores.forecast != forecast.version:
            reason = "the forecast was rebuilt"
        elif revisit and scores.data_version != dataset.data_version:
            reason = "there is new data"
        else:
            continue
        window = windows.find(key)
        if window is not None:
            stamp = digest_of(forecast.version, dataset.id, dataset.data_version)
            due.append(_Due(ACCURACY, window, stamp, reason))
    return due


def _requests(
    due: Sequence[_Due],
    tries: Mapping[str, _Attempts],
    pending: Mapping[str, str],
    cadence: Cadence,
    policy: DataPolicy,
) -> list[tuple[DataRequest, list[_Due]]]:
    """Requests for what is due, isn't being made, didn't fail too often and doesn't rest."""
    possible = [item for item in due if item.attempts(tries) < policy.max_attempts and not item.rests(tries)]
    requests = []
    remembered = set(tries)
    for kind, room in ((FORECASTS, 1), (ACCURACY, policy.max_ranges)):
        if kind in pending.values():
            continue  # one after another: what is being made now may be all there is to do
        for items in _ranges([item for item in possible if item.kind == kind], tries, cadence, policy)[:room]:
            remembered |= {item.name for item in items}
            if len(remembered) <= MAX_TRIES:
                requests.append((_request(items, items[0].attempts(tries) + 1), items))
    return requests


def _ranges(
    items: Sequence[_Due], tries: Mapping[str, _Attempts], cadence: Cadence, policy: DataPolicy
) -> list[list[_Due]]:
    """`items` (newest first) as ranges of windows side by side, each oldest first.

    After a failure a range is cut to an eighth, so that one partition that can't be made keeps no others back.
    """
    ranges: list[list[_Due]] = []
    for item in items:
        if ranges:
            oldest = ranges[-1][0]
            attempts = item.attempts(tries)
            limit = max(1, min(policy.max_partitions, MAX_TRIES // 4) // 8**attempts)
            beside = next_window(item.window, cadence).key == oldest.window.key
            if beside and attempts == oldest.attempts(tries) and len(ranges[-1]) < limit:
                ranges[-1].insert(0, item)
                continue
        ranges.append([item])
    return ranges


def _request(items: Sequence[_Due], attempt: int) -> DataRequest:
    first, last = items[0], items[-1]
    names = first.window.key if len(items) == 1 else f"{first.window.key}-{last.window.key}"
    return DataRequest(
        kind=first.kind,
        first=first.window.key,
        last=last.window.key,
        run_key=f"{first.kind}-{names}-{digest_of(*(item.stamp for item in items))}-{attempt}",
        attempt=attempt,
        reason=f"{names}: {', '.join(dict.fromkeys(item.reason for item in items))}",
    )


def _given_up(
    due: Sequence[_Due],
    tries: Mapping[str, _Attempts],
    pending: Mapping[str, str],
    reasons: Mapping[str, str],
    policy: DataPolicy,
) -> list[str]:
    """Which partitions won't be asked for again until what they are made from changes."""
    messages = []
    for kind in (FORECASTS, ACCURACY):
        keys = [i.window.key for i in due if i.kind == kind and i.attempts(tries) >= policy.max_attempts]
        if keys and kind not in pending.values():
            last = f", the last with: {reasons[kind]}" if kind in reasons else ""
            messages.append(
                f"gave up on {kind} of {counted(len(keys), 'partition')} ({first_of(keys, 3)}) after {policy.max_attempts} runs"
                f"{last}; run them by hand once it is fixed"
            )
    return messages
