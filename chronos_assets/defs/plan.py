"""What the sensors request: pure functions of what was seen and a cursor, without a clock, without Dagster.

Belongs here: deciding. Does not belong here: looking (listing, run states, materializations) and launching, which the
sensors in `defs/sensors.py` do.

Both plans compare what there is with what there should be, at every tick, and remember in the cursor only what keeps
them from asking twice: a change that a tick missed, a crash, a lost cursor or a run that did something else is found at
the next look. Time is counted in ticks: a clock that jumps changes nothing.

Order of looking, which the caller owes: first the states of the runs, then what they made, then the listing. The other
way round a run that ends in between looks like one that ended without effect.

Run keys are functions of what is to be made, from what, and of the attempt, so that a tick repeated after a crash
gives the same ones, which Dagster takes once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chronos_assets.defs.listing import Scan, Snapshot, compare, describe_ignored
from chronos_assets.defs.windows import Window, next_window, window_for_key, window_of
from chronos_assets.platforms.base import ObjectInfo
from chronos_assets.settings import Cadence

CURSOR_VERSION = 1
DEADLINE_EVERY = 256  # objects between two looks at the time

_MALFORMED = (
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)  # of a document that is not what it should be


class RunStatus(StrEnum):
    """What a plan needs to know of a run; one that isn't found has no state at all."""

    RUNNING = "running"  # queued, starting and canceling too
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True)
class RunState:
    """State of a run that was requested.

    Attributes:
        status: what became of it so far.
        reason: why it failed, in one line.
        retry: False if the same run would fail again (bad rows, bad parameters): it waits for a change instead.
    """

    status: RunStatus
    reason: str = ""
    retry: bool = True


def ticks(duration: timedelta, interval: timedelta) -> int:
    """How many ticks, `interval` apart at least, span `duration`."""
    return math.ceil(duration / interval)


# --- train files -> import --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainPolicy:
    """How patient the train files' plan is. Times are in ticks that saw the whole listing.

    Attributes:
        settle_ticks: a listing must be seen unchanged so many times again before it is imported; a batch of files
            that is being copied makes one run.
        max_wait_ticks: after so many ticks of waiting it is imported although it still changes.
        max_attempts: runs for the same content; then only a change helps, or a person.
        overlap: how far below the newest modification time files are remembered by name, for messages.
    """

    settle_ticks: int = 1
    max_wait_ticks: int = 40
    max_attempts: int = 3
    overlap: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Imported:
    """What the dataset that is there now was made from, as its materialization says.

    Attributes:
        content: `listing_digest` of the files that were imported.
        id: of that import, never used again: the run's id, or the event's.
        params: digest of the parameters that it was made with.
    """

    content: str
    id: str
    params: str = ""


@dataclass(frozen=True)
class TrainRequest:
    """Import everything that is listed now.

    Attributes:
        run_key: carries `content`, the dataset it replaces, and `attempt`.
        content: digest of the files listed.
        attempt: 1, 2, … for the same content.
        reason: what changed, for the run's tags and log.
    """

    run_key: str
    content: str
    attempt: int
    reason: str


@dataclass(frozen=True)
class Observed:
    """What `train_files` is now, for its observation: `content` is the data version."""

    content: str
    files: int
    size: int
    newest: str | None
    message: str


@dataclass(frozen=True)
class TrainPlan:
    """Answer of `plan_train_files`.

    Attributes:
        requests: none or one.
        cursor: to be saved with them.
        message: what was seen; the skip reason when there's no request.
        observed: set once for each content that settled.
        settled: whether another listing, of the same files, would have nothing to add.
    """

    requests: tuple[TrainRequest, ...]
    cursor: str
    message: str
    observed: Observed | None = None
    settled: bool = False


@dataclass(frozen=True)
class _Requested:
    run_key: str
    subject: str
    attempt: int


@dataclass(frozen=True)
class _TrainCursor:
    """Attributes:
    imported: listing when it was last seen equal to what the dataset was made from.
    subject: digest of files and parameters at the last whole listing.
    quiet: how often in a row it was seen again.
    waiting: ticks since an import is due and none is running.
    requested: the last request, until it had its effect.
    serial: number of requests so far: content that comes back is asked for under a new key.
    observed: content last observed.
    scan: a listing that goes on at the next tick.
    """

    imported: Snapshot | None = None
    subject: str | None = None
    quiet: int = 0
    waiting: int = 0
    requested: _Requested | None = None
    serial: int = 0
    observed: str | None = None
    scan: Mapping[str, Any] | None = None

    def dumps(self) -> str:
        document = {
            "version": CURSOR_VERSION,
            "imported": self.imported and self.imported.to_json(),
            "subject": self.subject,
            "quiet": self.quiet,
            "waiting": self.waiting,
            "requested": self.requested and asdict(self.requested),
            "serial": self.serial,
            "observed": self.observed,
            "scan": self.scan,
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str | None) -> tuple[_TrainCursor, str]:
        """The cursor, and what to tell people about it. One that can't be read starts afresh, which loses nothing."""
        document, note = _load(text)
        try:
            if document.get("scan"):
                Scan(timedelta(), document["scan"])  # raises here, not where it goes on
            return cls(
                imported=Snapshot.from_json(document["imported"]) if document.get("imported") else None,
                subject=document.get("subject"),
                quiet=int(document.get("quiet", 0)),
                waiting=int(document.get("waiting", 0)),
                requested=_Requested(**document["requested"]) if document.get("requested") else None,
                serial=int(document.get("serial", 0)),
                observed=document.get("observed"),
                scan=document.get("scan"),
            ), note
        except _MALFORMED as error:
            return cls(), _unreadable(error)


def requested_run_key(cursor: str | None) -> str | None:
    """Run key of the import requested last, whose state `plan_train_files` wants to know."""
    state, _ = _TrainCursor.loads(cursor)
    return state.requested.run_key if state.requested else None


def resume_after(cursor: str | None) -> str | None:
    """Key after which the next listing may start, on a store that lists in order."""
    state, _ = _TrainCursor.loads(cursor)
    return state.scan["after"] if state.scan else None


def plan_train_files(
    listing: Iterable[ObjectInfo],
    cursor: str | None,
    *,
    imported: Imported | None,
    last_run: RunState | None,
    params: str = "",
    policy: TrainPolicy = TrainPolicy(),
    out_of_time: Callable[[], bool] = lambda: False,
    resumable: bool = False,
) -> TrainPlan:
    """Request an import when the files under `train/` (or the parameters) aren't those the dataset was made from.

    The dataset itself says what it was made from, so that no file is lost: neither one with an old or a future
    modification time, nor one that came while an import ran, nor one imported by a run that this sensor knows nothing
    of. None is imported twice: a run that is under way is waited for, and its attempt counted.

    Args:
        listing: objects below `train/`, any order, those after `resume_after(cursor)` at least.
        cursor: as saved by the last tick, or None.
        imported: what the dataset was made from; None if there is none.
        last_run: state of the run with key `requested_run_key(cursor)`; None if there's no such run (any more).
        params: digest of the parameters an import would use now.
        policy: how patient to be.
        out_of_time: whether the tick must end; asked now and then.
        resumable: whether the listing is in ascending order of keys, so that the next tick can go on with it.
    """
    state, note = _TrainCursor.loads(cursor)
    scan = Scan(policy.overlap, state.scan)
    if not _whole(listing, scan, out_of_time):
        if resumable and scan.ascending:
            state = replace(state, scan=scan.to_json())
            message = f"listing train/: {scan.objects:,} objects so far, goes on after {scan.after}"
        else:
            state = replace(state, scan=None)
            message = (
                f"listing train/ did not end in time ({scan.objects:,} objects seen), and this store can't go on "
                "where it stopped: give the sensor more time, or put files that are done with elsewhere"
            )
        return TrainPlan((), state.dumps(), _join(note, message))
    snapshot = scan.finish()
    plan = _decide_import(replace(state, scan=None), snapshot, imported, last_run, params, policy)
    return replace(plan, message=_join(note, plan.message, describe_ignored(snapshot)))


def _whole(listing: Iterable[ObjectInfo], scan: Scan, out_of_time: Callable[[], bool]) -> bool:
    """Fold the listing into `scan`; False if time ran out before its end."""
    start, taken = scan.after, 0
    for info in listing:
        if start is not None and info.key <= start:
            continue  # a listing that started at the beginning all the same
        # Some objects at every tick, or a scan would never end.
        if taken and taken % DEADLINE_EVERY == 0 and out_of_time():
            return False
        scan.add(info)
        taken += 1
    return True


def _decide_import(
    state: _TrainCursor,
    snapshot: Snapshot,
    imported: Imported | None,
    last_run: RunState | None,
    params: str,
    policy: TrainPolicy,
) -> TrainPlan:
    subject = _digest(snapshot.content, params)
    quiet = state.quiet + 1 if state.subject == subject else 0
    running = state.requested is not None and last_run is not None and last_run.status == RunStatus.RUNNING
    state = replace(state, subject=subject, quiet=quiet)
    done = imported is not None and _digest(imported.content, imported.params) == subject
    if done or not snapshot.files:
        state = replace(
            state,
            imported=snapshot if done else state.imported,
            waiting=0,
            requested=state.requested if running else None,
        )
        plan = TrainPlan(
            (), "", _nothing_to_do(snapshot, imported), settled=quiet >= policy.settle_ticks and not running
        )
        return _observing(plan, state, snapshot, quiet, policy)

    change = _what_changed(state.imported, snapshot, imported, params)
    if running:
        plan = TrainPlan((), "", f"{change}: waiting for the end of the import that is running")
        return _observing(plan, replace(state, waiting=0), snapshot, quiet, policy)

    attempts = state.requested.attempt if state.requested and state.requested.subject == subject else 0
    waiting = state.waiting + 1
    state = replace(state, waiting=waiting)
    if attempts and (attempts >= policy.max_attempts or (last_run is not None and not last_run.retry)):
        message = f"{change}: {_gave_up(attempts, last_run)}; change a file, or run the import by hand"
        plan = TrainPlan((), "", message, settled=quiet >= policy.settle_ticks)
        return _observing(plan, replace(state, waiting=0), snapshot, quiet, policy)
    # A failure may have passed by itself in a while: twice as long each time.
    rest = 2**attempts * policy.settle_ticks if attempts else 0
    if waiting <= rest or (quiet < policy.settle_ticks and waiting < policy.max_wait_ticks):
        until = f"attempt {attempts + 1} after a pause" if waiting <= rest else "nothing changes any more"
        plan = TrainPlan((), "", f"{change}: waiting until {until}")
        return _observing(plan, state, snapshot, quiet, policy)

    # What it replaces is in the key for the day the cursor is lost and the serial starts again.
    base = _digest(imported.id if imported else "")[:8]
    request = TrainRequest(
        run_key=f"import-{subject}-{base}-{state.serial + 1}-{attempts + 1}",
        content=snapshot.content,
        attempt=attempts + 1,
        reason=change,
    )
    requested = _Requested(request.run_key, subject, request.attempt)
    state = replace(state, waiting=0, requested=requested, serial=state.serial + 1)
    plan = TrainPlan((request,), "", f"{change}: import requested (attempt {request.attempt})")
    return _observing(plan, state, snapshot, policy.settle_ticks, policy)


def _observing(plan: TrainPlan, state: _TrainCursor, snapshot: Snapshot, quiet: int, policy: TrainPolicy) -> TrainPlan:
    """`plan` with its cursor, and an observation if the content settled and wasn't observed before."""
    observed = None
    if quiet >= policy.settle_ticks and state.observed != snapshot.content:
        state = replace(state, observed=snapshot.content)
        observed = Observed(snapshot.content, snapshot.files, snapshot.size, snapshot.newest, plan.message)
    return replace(plan, cursor=state.dumps(), observed=observed)


def _nothing_to_do(snapshot: Snapshot, imported: Imported | None) -> str:
    if snapshot.files:
        return f"nothing new in train/: {_files(snapshot)}, all imported"
    if imported is None:
        return "no files in train/ yet: put *.csv, *.csv.gz or *.parquet files there"
    return "no files in train/ any more: the dataset stays as it is"


def _what_changed(before: Snapshot | None, now: Snapshot, imported: Imported | None, params: str) -> str:
    if imported is None:
        return f"{_files(now)} in train/, none imported yet"
    if before is None or before.content != imported.content:
        return f"{_files(now)} in train/, not those that were imported last"
    if before.content == now.content:
        return "params.json changed" if params != imported.params else f"{_files(now)} in train/"
    return f"train/: {compare(before, now)}" + (" and params.json changed" if params != imported.params else "")


def _files(snapshot: Snapshot) -> str:
    newest = f", newest {snapshot.newest}" if snapshot.newest else ""
    return f"{_count(snapshot.files, 'file')}{newest}"


def _gave_up(attempts: int, last_run: RunState | None) -> str:
    runs = _count(attempts, "run")
    if last_run is None:
        return f"{runs} of it can't be found any more"
    if last_run.status == RunStatus.SUCCEEDED:
        return f"{runs} imported other files than those listed"
    word = "failed" if last_run.status == RunStatus.FAILED else "ended early"
    return f"{runs} of it {word}" + (f", the last with: {last_run.reason}" if last_run.reason else "")


# --- new data -> forecasts, accuracy ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataPolicy:
    """How much the new data's plan asks for at once.

    Attributes:
        max_partitions: partitions in one accuracy run.
        max_ranges: accuracy runs requested by one tick.
        max_attempts: runs for the same partition and data.
        revisit: of the windows whose horizon is observed, so many of the newest are scored again with each new data
            version (late corrections); older ones only if their forecast is made anew. None: all of them.
    """

    max_partitions: int = 64
    max_ranges: int = 2
    max_attempts: int = 3
    revisit: int | None = 31


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
    """

    version: str
    data_version: str
    recipe: str
    last_step: datetime


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


@dataclass(frozen=True)
class _Try:
    """Runs requested so far for one partition: `stamp` says what for, `rest` how many ticks to pause."""

    stamp: str
    attempts: int
    rest: int = 0


@dataclass(frozen=True)
class _DataCursor:
    """Attributes:
    pending: run key -> kind, of the requests whose end hasn't been seen.
    tries: `<kind>/<partition key>` -> runs requested for what is still due.
    reasons: kind -> why the last run of it failed.
    """

    pending: Mapping[str, str] = field(default_factory=dict)
    tries: Mapping[str, _Try] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    def dumps(self) -> str:
        document = {
            "version": CURSOR_VERSION,
            "pending": self.pending,
            "tries": {name: [item.stamp, item.attempts, item.rest] for name, item in self.tries.items()},
            "reasons": self.reasons,
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def loads(cls, text: str | None) -> tuple[_DataCursor, str]:
        document, note = _load(text)
        try:
            return cls(
                pending={str(key): str(kind) for key, kind in document.get("pending", {}).items()},
                tries={
                    str(name): _Try(str(item[0]), int(item[1]), int(item[2]))
                    for name, item in document.get("tries", {}).items()
                },
                reasons={str(kind): str(reason) for kind, reason in document.get("reasons", {}).items()},
            ), note
        except _MALFORMED as error:
            return cls(), _unreadable(error)


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
    cadence: Cadence,
    first_window: datetime,
    end_of_windows: datetime,
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
        cadence: length of the windows.
        first_window: start of the first partition.
        end_of_windows: end of the last partition that exists; data beyond it is forecast from there.
        policy: how much to ask for at once.
    """
    state, note = _DataCursor.loads(cursor)
    if dataset is None:
        # Also true for the moment between an import's publishing and its materialization: forget nothing.
        return DataPlan((), state.dumps(), _join(note, "no dataset yet: it is made from the files in train/"))
    pending, reasons = _still_running(state, runs)
    windows = _Windows(cadence, first_window, end_of_windows)
    forecast_due, message = _due_forecast(dataset, forecasts, recipe, windows)
    accuracy_due = _due_accuracy(dataset, forecasts, accuracy, windows, policy)
    due = [*forecast_due, *accuracy_due]
    # Kept for what is still due only: that bounds the cursor, and forgets failures once they are mended.
    tries = {item.name: state.tries[item.name] for item in due if item.name in state.tries}
    tries = {name: replace(item, rest=max(0, item.rest - 1)) for name, item in tries.items()}
    requests = _requests(due, tries, pending, cadence, policy)
    running = len(pending)
    for request, items in requests:
        pending[request.run_key] = request.kind
        for item in items:
            tries[item.name] = _Try(item.stamp, request.attempt, 2**request.attempt)
    messages = [message] if message else []
    messages += [f"requested {request.kind} of {request.reason} (attempt {request.attempt})" for request, _ in requests]
    if running:
        messages.append(f"waiting for the end of {_count(running, 'run')} requested before")
    messages += _given_up(due, tries, pending, reasons, policy)
    if not accuracy_due:
        messages.append("every observed forecast has its scores")
    elif not any(request.kind == ACCURACY for request, _ in requests):
        messages.append(f"{_count(len(accuracy_due), 'partition')} without up-to-date scores")
    plan = _DataCursor(pending, tries, reasons)
    return DataPlan(tuple(request for request, _ in requests), plan.dumps(), _join(note, *messages))


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

    def attempts(self, tries: Mapping[str, _Try]) -> int:
        """How many runs were requested for the same."""
        item = tries.get(self.name)
        return item.attempts if item is not None and item.stamp == self.stamp else 0

    def rests(self, tries: Mapping[str, _Try]) -> bool:
        """Whether it pauses after a run without effect."""
        return self.attempts(tries) > 0 and tries[self.name].rest > 0


@dataclass(frozen=True)
class _Windows:
    """The partitions that exist: windows of `cadence` within `[start, end)`."""

    cadence: Cadence
    start: datetime
    end: datetime

    def find(self, key: str) -> Window | None:
        """The window of a partition key; None for one that was made with another cadence or start."""
        try:
            window = window_for_key(key, self.cadence)
        except ValueError:
            return None
        return window if self.start <= window.start and window.end <= self.end else None

    def holding(self, moment: datetime) -> Window:
        """The window that holds `moment`, or the last one if that isn't over yet."""
        window = window_of(moment, self.cadence)
        if window.end > self.end:
            window = window_of(self.end, self.cadence)
            if window.end > self.end:
                window = window_of(window.start - timedelta(microseconds=1), self.cadence)
        return window


def _due_forecast(
    dataset: DatasetState, forecasts: Mapping[str, ForecastState], recipe: str, windows: _Windows
) -> tuple[list[_Due], str]:
    """The forecast of the last observation's window if it isn't up to date, and what to say if nothing is due."""
    window = windows.holding(dataset.last)
    if window.start < windows.start:
        return [], (
            f"the last observation, {dataset.last.isoformat(sep=' ')}, is before the first partition: "
            "set CHRONOS_PARTITION_START to an earlier day"
        )
    if window.end <= dataset.first:
        return [], f"all observations are after the last partition, {window.key}: are their dates right?"
    seen = forecasts.get(window.key)
    if seen is not None and (seen.data_version, seen.recipe) == (dataset.data_version, recipe):
        return [], f"the forecast of {window.key} is up to date"
    stamp = _digest(dataset.id, dataset.data_version, recipe)
    return [_Due(FORECASTS, window, stamp, "the window that holds the last observation")], ""


def _due_accuracy(
    dataset: DatasetState,
    forecasts: Mapping[str, ForecastState],
    accuracy: Mapping[str, AccuracyState],
    windows: _Windows,
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
            reason = "the forecast was made anew"
        elif revisit and scores.data_version != dataset.data_version:
            reason = "there is new data"
        else:
            continue
        window = windows.find(key)
        if window is not None:
            stamp = _digest(forecast.version, dataset.id, dataset.data_version)
            due.append(_Due(ACCURACY, window, stamp, reason))
    return due


def _requests(
    due: Sequence[_Due], tries: Mapping[str, _Try], pending: Mapping[str, str], cadence: Cadence, policy: DataPolicy
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


def _ranges(items: Sequence[_Due], tries: Mapping[str, _Try], cadence: Cadence, policy: DataPolicy) -> list[list[_Due]]:
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
        run_key=f"{first.kind}-{names}-{_digest(*(item.stamp for item in items))}-{attempt}",
        attempt=attempt,
        reason=f"{names}: {', '.join(dict.fromkeys(item.reason for item in items))}",
    )


def _given_up(
    due: Sequence[_Due],
    tries: Mapping[str, _Try],
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
            some = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
            messages.append(
                f"gave up on {kind} of {_count(len(keys), 'partition')} ({some}) after {policy.max_attempts} runs"
                f"{last}; run them by hand once it is mended"
            )
    return messages


# --- shared -----------------------------------------------------------------------------------------------------------


def _load(text: str | None) -> tuple[dict[str, Any], str]:
    """A cursor's document, empty if it can't be read, and what to say about that."""
    if not text:
        return {}, ""
    try:
        document = json.loads(text)
    except ValueError as error:
        return {}, _unreadable(error)
    if not isinstance(document, dict) or document.get("version") != CURSOR_VERSION:
        return {}, _unreadable(f"not of version {CURSOR_VERSION}")
    return document, ""


def _unreadable(why: object) -> str:
    return f"the sensor's cursor can't be read ({why}), it starts afresh"


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
