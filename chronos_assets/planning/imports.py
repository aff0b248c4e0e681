"""When to import train files: the decision of `train_files_sensor`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from chronos_assets.planning.cursor import Cursor, RunState, RunStatus, digest_of, joined
from chronos_assets.planning.listing import Scan, ScanState, Snapshot, compare, describe_ignored
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.wording import counted

DEADLINE_EVERY = 256  # objects between two looks at the time


# --- train files -> import --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainPolicy:
    """How patient the train files' plan is. Times are in ticks that saw the whole listing.

    Attributes:
        settle_ticks: a listing that was seen unchanged so many times again is imported; a batch of files that is being
            copied makes one run.
        settle_seconds: a listing that was seen again, and has been the same for so long, is imported before that.
        max_wait_ticks: after so many ticks of waiting it is imported although it still changes.
        pause_ticks: pause after the first run that failed; doubled after each.
        max_attempts: runs for the same content; then only a change helps, or a person.
        overlap: how far below the newest modification time files are remembered by name, for messages.
    """

    settle_ticks: int = 1
    settle_seconds: float = math.inf
    max_wait_ticks: int = 40
    pause_ticks: int = 1
    max_attempts: int = 3
    overlap: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class ImportRecord:
    """What the dataset that is there now was made from, as its materialization says.

    Attributes:
        content: `listing_digest` of the files that were imported.
        id: of that import, never used again: the run's id, or the event's.
        params: digest of the parameters that it was made with.
        outdated: why it has to be imported again although files and parameters are the same; empty if it hasn't.
    """

    content: str
    id: str
    params: str = ""
    outdated: str = ""

    def is_of(self, content: str, params: str) -> bool:
        """Whether an import of these files with these parameters would change nothing."""
        return not self.outdated and (self.content, self.params) == (content, params)


@dataclass(frozen=True)
class ImportRequest:
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

    requests: tuple[ImportRequest, ...]
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
class _TrainCursor(Cursor):
    """What the cursor remembers.

    Attributes:
        imported: listing when it was last seen equal to what the dataset was made from.
        subject: digest of files and parameters at the last whole listing.
        quiet: how often in a row it was seen again.
        since: when it became what it is, seconds since 1970; None if it isn't known.
        looked: when the last whole listing was seen; None if it isn't known.
        waiting: ticks since an import is due and none is running.
        requested: the last request, until it had its effect.
        serial: number of requests so far: content that comes back is asked for under a new key.
        observed: content last observed.
        scan: a listing that continues at the next tick.
    """

    imported: Snapshot | None = None
    subject: str | None = None
    quiet: int = 0
    since: float | None = None
    looked: float | None = None
    waiting: int = 0
    requested: _Requested | None = None
    serial: int = 0
    observed: str | None = None
    scan: ScanState | None = None


def requested_run_key(cursor: str | None) -> str | None:
    """Run key of the import requested last, whose state `plan_train_files` wants to know."""
    state, _ = _TrainCursor.loads(cursor)
    return state.requested.run_key if state.requested else None


def resume_after(cursor: str | None) -> str | None:
    """Key after which the next listing may start, on a store that lists in order."""
    state, _ = _TrainCursor.loads(cursor)
    return state.scan.after if state.scan else None


def plan_train_files(
    listing: Iterable[ObjectInfo],
    cursor: str | None,
    *,
    imported: ImportRecord | None,
    last_run: RunState | None,
    params: str = "",
    policy: TrainPolicy = TrainPolicy(),
    out_of_time: Callable[[], bool] = lambda: False,
    resumable: bool = False,
    now: float | None = None,
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
        resumable: whether the listing is in ascending order of keys, so that the next tick can continue with it.
        now: seconds since 1970; without it a listing settles by ticks alone.
    """
    state, note = _TrainCursor.loads(cursor)
    scan = Scan(policy.overlap, state.scan)
    if not _scanned_to_end(listing, scan, out_of_time):
        if resumable and scan.ascending:
            state = replace(state, scan=scan.state())
            message = f"listing train/: {scan.objects:,} objects so far, continues after {scan.after}"
        else:
            state = replace(state, scan=None)
            message = (
                f"listing train/ did not end in time ({scan.objects:,} objects seen), and this store can't continue "
                "where it stopped: give the sensor more time, or put files that are done with elsewhere"
            )
        return TrainPlan((), state.dumps(), joined(note, message))
    snapshot = scan.finish()
    plan = _decide_import(replace(state, scan=None), snapshot, imported, last_run, params, policy, now)
    return replace(plan, message=joined(note, plan.message, describe_ignored(snapshot)))


def _scanned_to_end(listing: Iterable[ObjectInfo], scan: Scan, out_of_time: Callable[[], bool]) -> bool:
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
    imported: ImportRecord | None,
    last_run: RunState | None,
    params: str,
    policy: TrainPolicy,
    now: float | None,
) -> TrainPlan:
    subject = digest_of(snapshot.content, params)
    state = _looked_at(state, subject, snapshot, now)
    settled = _is_settled(state, policy)
    running = state.requested is not None and last_run is not None and last_run.status == RunStatus.RUNNING
    done = imported is not None and imported.is_of(snapshot.content, params)
    if done or not snapshot.files:
        state = replace(
            state,
            imported=snapshot if done else state.imported,
            waiting=0,
            requested=state.requested if running else None,
        )
        message = _nothing_to_do(snapshot, imported)
        return _planned(message, state, snapshot, settled, done=settled and not running)

    change = _what_changed(state.imported, snapshot, imported, params)
    if running:
        message = f"{change}: waiting for the end of the import that is running"
        return _planned(message, replace(state, waiting=0), snapshot, settled)

    attempts = state.requested.attempt if state.requested and state.requested.subject == subject else 0
    waiting = state.waiting + 1
    if attempts and (attempts >= policy.max_attempts or (last_run is not None and not last_run.retry)):
        message = f"{change}: {_gave_up(attempts, last_run)}; change a file, or run the import by hand"
        return _planned(message, replace(state, waiting=0), snapshot, settled, done=settled)
    # A failure may have passed by itself in a while: twice as long each time.
    rest = 2**attempts * max(policy.pause_ticks, policy.settle_ticks) if attempts else 0
    if waiting <= rest or (not settled and waiting < policy.max_wait_ticks):
        until = f"attempt {attempts + 1} after a pause" if waiting <= rest else "nothing changes any more"
        return _planned(f"{change}: waiting until {until}", replace(state, waiting=waiting), snapshot, settled)

    # What it replaces is in the key for the day the cursor is lost and the serial starts again.
    base = digest_of(imported.id if imported else "")[:8]
    request = ImportRequest(
        run_key=f"import-{subject}-{base}-{state.serial + 1}-{attempts + 1}",
        content=snapshot.content,
        attempt=attempts + 1,
        reason=change,
    )
    requested = _Requested(request.run_key, subject, request.attempt)
    state = replace(state, waiting=0, requested=requested, serial=state.serial + 1)
    message = f"{change}: import requested (attempt {request.attempt})"
    return _planned(message, state, snapshot, True, requests=(request,))


def _looked_at(state: _TrainCursor, subject: str, snapshot: Snapshot, now: float | None) -> _TrainCursor:
    """What is remembered of a whole listing, and for how long it has been the same."""
    if state.subject == subject:
        return replace(state, quiet=state.quiet + 1, looked=now)
    since = _changed_at(snapshot, state.looked, now)
    return replace(state, subject=subject, quiet=0, since=since, looked=now)


def _changed_at(snapshot: Snapshot, looked: float | None, now: float | None) -> float | None:
    """When a listing that is another than before became what it is: between the last look and this one.

    The time of the newest file says when, unless it was kept from another place (`mv`, `cp -p`) or is of another clock.
    """
    newest = None if snapshot.high is None else snapshot.high / 1e6
    if now is not None and looked is not None and newest is not None and looked <= newest <= now:
        return newest
    return now


def _is_settled(state: _TrainCursor, policy: TrainPolicy) -> bool:
    """Whether nothing has changed for long enough: by the clock, or by ticks, which are never closer than they should be."""
    if state.quiet >= policy.settle_ticks:
        return True
    if state.quiet == 0 or state.since is None or state.looked is None:
        return False
    return state.looked - state.since >= policy.settle_seconds


def _planned(
    message: str,
    state: _TrainCursor,
    snapshot: Snapshot,
    settled: bool,
    *,
    requests: tuple[ImportRequest, ...] = (),
    done: bool = False,
) -> TrainPlan:
    """A plan with its cursor, and an observation if the content settled and wasn't observed before."""
    observed = None
    if settled and state.observed != snapshot.content:
        state = replace(state, observed=snapshot.content)
        observed = Observed(snapshot.content, snapshot.files, snapshot.size, snapshot.newest, message)
    return TrainPlan(requests, state.dumps(), message, observed, settled=done)


def _nothing_to_do(snapshot: Snapshot, imported: ImportRecord | None) -> str:
    if snapshot.files:
        return f"nothing new in train/: {_files(snapshot)}, all imported"
    if imported is None:
        return "no files in train/ yet: put *.csv, *.csv.gz or *.parquet files there"
    return "no files in train/ any more: the dataset stays as it is"


def _what_changed(before: Snapshot | None, now: Snapshot, imported: ImportRecord | None, params: str) -> str:
    if imported is None:
        return f"{_files(now)} in train/, none imported yet"
    if imported.outdated and (imported.content, imported.params) == (now.content, params):
        return imported.outdated
    if imported.content == now.content:
        return _other_change(imported.params, params) or f"{_files(now)} in train/"
    if before is None or before.content != imported.content:
        return f"{_files(now)} in train/, not those that were imported last"
    other = _other_change(imported.params, params)
    return f"train/: {compare(before, now)}" + (f" and {other}" if other else "")


def _other_change(before: str, now: str) -> str:
    """What differs beside the train files; empty if nothing does. See `with_covariates`."""
    if before == now:
        return ""
    return "params.json changed" if before.partition("+")[0] != now.partition("+")[0] else "files of covariates changed"


def dataset_differs(imported: ImportRecord | None, content: str, params: str) -> bool:
    """Whether an import has to make the dataset again, and not only its covariates; see `with_covariates`."""
    if imported is None or imported.outdated or imported.content != content:
        return True
    return imported.params.partition("+")[0] != params.partition("+")[0]


def with_covariates(params: str, covariates: str) -> str:
    """One digest of the parameters and the covariates that belong to an import; covariates are empty without any."""
    return f"{params}+{covariates}" if covariates else params


def _files(snapshot: Snapshot) -> str:
    newest = f", newest {snapshot.newest}" if snapshot.newest else ""
    return f"{counted(snapshot.files, 'file')}{newest}"


def _gave_up(attempts: int, last_run: RunState | None) -> str:
    runs = counted(attempts, "run")
    if last_run is None:
        return f"{runs} of it can't be found any more"
    if last_run.status == RunStatus.SUCCEEDED:
        return f"{runs} imported other files than those listed"
    word = "failed" if last_run.status == RunStatus.FAILED else "ended early"
    return f"{runs} of it {word}" + (f", the last with: {last_run.reason}" if last_run.reason else "")
