"""What every platform offers, as protocols, and the values that they exchange.

`Store`, `Jobs`, `Tuning`, `Registry`, `Endpoints`, `Tables`, `Notices`, `Metrics`, `TrainQueue`.

Belongs here: types and rules that hold on a laptop and in the cloud alike (what a key may look like, how a job is
named). Does not belong here: any implementation (`local/`, `aws/`), Dagster's definitions, anything about models.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from chronos_assets.training_params import CategoricalRange, ContinuousRange, IntegerRange, Range

if TYPE_CHECKING:
    from chronos_assets.params import ForecastParams
    from chronos_assets.platforms.notice import Notice

__all__ = ["CategoricalRange", "ContinuousRange", "IntegerRange", "Range"]

MAX_KEY_BYTES = 1024  # what S3 allows for a whole key
MAX_JOB_NAME = 63  # what SageMaker allows for a processing job

_JOB_NAME = re.compile(rf"[A-Za-z0-9](?:-*[A-Za-z0-9]){{0,{MAX_JOB_NAME - 1}}}")


class StoreError(Exception):
    """The store can't do what was asked; the message says what, where and how to mend it."""


class PublishError(StoreError):
    """Nothing was published; the message says what is in the way and how to mend it."""


class StoreKeyError(StoreError, ValueError):
    """A key that no object of a store may have (`..`, absolute, empty part, control character, too long)."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing.

    Attributes:
        key: path below the store's root, `/` separated, no leading slash.
        size: bytes.
        etag: changes whenever the content does (S3: of the content; local: inode, modification time, size).
        last_modified: aware, UTC, with whatever fraction of a second the store keeps.
    """

    key: str
    size: int
    etag: str
    last_modified: datetime


def check_key(key: str) -> str:
    """`key` itself, if an object of a store may have it.

    Raises:
        StoreKeyError: the key would leave the store's root, or the store can't hold it.
    """
    reason = _key_problem(key)
    if reason:
        raise StoreKeyError(f"store key {key!r} {reason}: use a relative path such as 'train/july.csv'")
    return key


def _key_problem(key: str) -> str | None:
    if not key:
        return "is empty"
    if key.startswith("/"):
        return "is absolute"
    if any(ord(character) < 32 or ord(character) == 127 for character in key):
        return "holds a control character"
    parts = key.split("/")
    if ".." in parts or "." in parts:
        return "holds a '.' or '..' part"
    if "" in parts:
        return "holds an empty part"
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if length > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes"
    return None


class Store(Protocol):
    """A folder or a bucket prefix: everything a dataset group owns lives under its root.

    It holds single objects (`get`, `put`, ...) and published folders (`publish`, `snapshot`, ...). A published folder has
    one version that is shown, and is replaced as a whole: who takes a `snapshot` sees one version, whatever happens.
    """

    @property
    def url(self) -> str:
        """Root as a URL (`file:///…` or `s3://…`), without a trailing slash."""

    @property
    def ordered(self) -> bool:
        """Whether `list` gives keys in ascending order, so that a listing can be resumed with `after`."""

    @property
    def scratch(self) -> Path:
        """Folder on this machine for files under way: what is staged below it is published without a copy if it can be."""

    def uri(self, key: str) -> str:
        """URL of one object or folder, for people and for metadata."""

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Every object below the folder `prefix`, recursively, streamed page by page.

        `after` leaves out the keys up to and including it; on a store that isn't `ordered` that's a mere filter.
        """

    def get(self, key: str) -> bytes:
        """Content of an object; `FileNotFoundError` if there is none."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object atomically: a reader sees the old content or the new one."""

    def put_file(self, key: str, source: Path) -> None:
        """`put` of a file's content, which may be large."""

    def delete(self, key: str) -> None:
        """Remove an object; one that isn't there is fine."""

    def exists(self, key: str) -> bool:
        """Whether an object has this key (a folder is no object)."""

    def head(self, key: str) -> ObjectInfo | None:
        """An object's size, etag and time, or None if there is none."""

    def fetch(self, key: str) -> Path:
        """An object as a file on this machine, to be read only; `FileNotFoundError` if there is none."""

    def publish(self, key: str, staged: Path, *, data: str | None = None) -> str:
        """Make the folder `key` show the files of `staged`, all at once. `staged` is used up.

        The same content as the one shown changes nothing, so that repeating a run is free for readers.

        Args:
            staged: folder of plain files and folders on this machine.
            data: pattern of the names of files that SQL engines read, if they read this folder; a store where they do
                hides the others from them.

        Returns:
            Name of the version that is shown now.

        Raises:
            PublishError: `staged` isn't such a folder, or something of somebody else's is in the way.
        """

    def publish_forecast(self, key: str, staged: Path, as_of: datetime, *, withdrawn: datetime | None = None) -> bool:
        """`publish`, but never back in time: a forecast made for a later instant is left alone.

        The instant is kept with the version, and compared as it is shown: of two runs that finish at once the later as-of
        wins, in whatever order they come.

        Args:
            as_of: the end of the forecast's partition window; naive means UTC.
            withdrawn: the as-of of a later forecast that has lost its data, and gives way if it is still the one shown.

        Returns:
            Whether `key` now shows `staged`.
        """

    def withdraw(self, key: str) -> bool:
        """Remove what `publish` published at `key`, all versions of it; whether there was anything."""

    def shown(self, key: str) -> str | None:
        """Name of the version that a published folder shows; None if there is none."""

    def snapshot(self, key: str) -> Path:
        """A published folder's files on this machine, as they are shown now, to be read only.

        They stay as they are until two later versions have been published; `FileNotFoundError` if there is none.
        """

    def read(self, key: str, name: str) -> bytes:
        """A small file of a published folder as it is shown now; `FileNotFoundError` if there is none."""

    def manifests(self, prefix: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Each published folder right below `prefix` that has a `manifest.json`, in order of their names.

        Yields:
            Its name (the last part of its key), the name of the version that it shows, and the document.
        """

    def local_path(self, key: str) -> Path:
        """Path on this machine of an object or folder; `StoreError` where the store isn't on this machine."""


@dataclass(frozen=True)
class JobRequest:
    """A run of one workload.

    Attributes:
        workload: name of the program, `chronos_assets.workloads.<workload>`.
        name: deterministic name of the job (see `job_name`): a retry has the same one and finds what a killed run left.
        parameters: JSON document, of any size, that the workload reads.
        inputs: channel -> store key of a folder that the workload reads.
        outputs: channels: folders that the workload fills.
        sharded: the input channel whose `part-*` files may be dealt out over several instances, which then each leave a
            part of every output; empty: the job runs on one.
    """

    workload: str
    name: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    sharded: str = ""


class JobFiles(Protocol):
    """What a platform keeps on this machine for a finished job until its outputs are published."""

    def close(self, *, keep: bool = False) -> None:
        """Let go of the staging folders; `keep` leaves the files for a person to look at."""


@dataclass(frozen=True)
class JobResult:
    """What a workload left behind. As a context manager it removes the staging folders at the end of the block.

    ```python
    with jobs.run(context, request) as result:
        store.publish(key, result.outputs["forecast"])
    ```

    Attributes:
        outputs: channel -> staging folder on this machine, theirs who called to move or read. Where a `sharded` job ran on
            several instances, the folder holds one folder of each, see `parts`.
        messages: documents that the workload sent with `Reporter.message`, in order.
        seconds: wall time of the workload.
        files: the staging folders' owner.
        instances: names of the instances that left parts; empty where one left all.
        facts: what people want to know of the job (its name and log, billable seconds, ...); JSON values or Dagster's.
    """

    outputs: Mapping[str, Path]
    messages: tuple[Mapping[str, Any], ...]
    seconds: float
    files: JobFiles | None = field(default=None, repr=False, compare=False)
    instances: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def parts(self, channel: str) -> tuple[Path, ...]:
        """The folders that an output is in: one of each instance."""
        folder = self.outputs[channel]
        return tuple(folder / name for name in self.instances) or (folder,)

    def close(self, *, keep: bool = False) -> None:
        """Remove the staging folders, or with `keep` leave them until the next job of the same name."""
        if self.files is not None:
            self.files.close(keep=keep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # What could not be published stays to be looked at.
        self.close(keep=error is not None)


class Jobs(Protocol):
    """Runs workloads."""

    def run(self, context: Any, request: JobRequest) -> JobResult:
        """Run to the end, with the workload's log in `context.log`.

        Raises:
            dagster.Failure: the workload failed; its description starts with the reason in one line.
        """


# What a training job prints, and where a tuner finds it: one number per line, of SageMaker's MetricDefinitions.
LOSS_REGEX = r"'loss': ([0-9\.]+)"
VALIDATION_REGEX = r"'validation_wql': ([0-9\.]+)"
STEP_REGEX = r"'step': ([0-9]+)"


@dataclass(frozen=True)
class TuningRequest:
    """A search for the hyperparameters whose training job has the least validation wQL.

    Attributes:
        name: deterministic, see `job_name`: a search that was killed goes on when asked for again by its name.
        hyperparameters: of every trial, JSON values; those of `ranges` are added by the tuner.
        ranges: hyperparameter -> what it may be.
        inputs: channel -> store key of a folder, or path of one on this machine, that the training job reads.
        max_jobs: trials in all. max_parallel_jobs: at once.
        random_seed: of the search.
        metric_regex: finds the objective in a training job's log; the job's last (or, where pruned, latest) value counts.
    """

    name: str
    hyperparameters: Mapping[str, Any]
    ranges: Mapping[str, Range]
    inputs: Mapping[str, str | Path]
    max_jobs: int = 2
    max_parallel_jobs: int = 1
    random_seed: int = 10
    metric_regex: str = VALIDATION_REGEX


TrialState = Literal["Completed", "Stopped", "Failed"]


@dataclass(frozen=True)
class Trial:
    """One training job of a search.

    Attributes:
        number: from 0, in order of their start.
        hyperparameters: those that the search chose.
        state: `Stopped` is one that the search gave up early (pruned).
        objective: validation wQL; None where it never told one.
        losses, validation: (step, value), as its log told them.
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
            dagster.Failure: no trial completed; its description starts with the reason of the first that failed.
        """


Approval = Literal["Approved", "Rejected", "PendingManualApproval"]  # SageMaker's ModelApprovalStatus


@dataclass(frozen=True)
class PackageVersion:
    """A version of a model package group, as the registry holds it.

    Attributes:
        group: model package group; version: from 1, never used twice.
        status: `Approved`, `Rejected` or `PendingManualApproval`; reason: why, in one line.
        model: store key of the folder with the weights.
        identity: digest of what it was made from; registering the same again gives the same version.
        document: everything else that was registered (base_model, metrics, hyperparameters, ...), JSON values.
        history: every status that it had, oldest first: {"at": ISO time UTC, "status", "reason", "by"}.
    """

    group: str
    version: int
    status: Approval
    reason: str
    model: str
    identity: str
    document: Mapping[str, Any]
    history: tuple[Mapping[str, str], ...]

    @property
    def name(self) -> str:
        """`group/version`, for people."""
        return f"{self.group}/{self.version}"


class RegistryError(Exception):
    """The registry can't do what was asked; the message says what, where and how to mend it."""


class Registry(Protocol):
    """Versions of models, with their metrics and whether they are approved. The approved one with the highest number is
    the one in use."""

    def register(
        self, group: str, *, model: str, identity: str, document: Mapping[str, Any], status: Approval, reason: str
    ) -> PackageVersion:
        """A new version, or the one that is there with this identity, as it is."""

    def versions(self, group: str) -> list[PackageVersion]:
        """Every version, in order; empty for a group that isn't there."""

    def set_status(
        self, group: str, version: int, status: Approval, *, reason: str, by: str, expected: Approval | None = None
    ) -> PackageVersion:
        """Change a version's status; `RegistryError` if there is no such version, or its status isn't `expected`."""


def approved_version(versions: Sequence[PackageVersion]) -> PackageVersion | None:
    """The version in use: of those approved the one with the highest number; None without any."""
    return max((item for item in versions if item.status == "Approved"), key=lambda item: item.version, default=None)


@dataclass(frozen=True)
class EndpointRequest:
    """What to serve.

    Attributes:
        name: of the endpoint, up to 63 letters, digits and inner hyphens.
        model: store key of the model's folder, or path of one on this machine; `bundled`, a Hub id.
        version: what is served, as shown to people and in `GET /ping`: a package's name, or `zero-shot`.
        identity: digest of the model and the serving parameters: what is served already is not deployed again.
        golden: request body (JSON) that a new server must answer before the old one goes.
        parameters: of the server (batch wait, queue length, default quantiles, ...), JSON values.
    """

    name: str
    model: str | Path
    version: str
    identity: str
    golden: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EndpointState:
    """What is served now.

    Attributes:
        url: base URL; `<url>/invocations` and `<url>/endpoints/<name>/invocations` answer.
        healthy: whether it answers now.
        changed: whether this call deployed it.
        details: process, port, started, ...; JSON values for people.
    """

    name: str
    url: str
    version: str
    identity: str
    healthy: bool
    changed: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


class EndpointError(Exception):
    """A deployment or a call failed; the message says why, and that the old one still answers if there was one."""


class Endpoints(Protocol):
    """Serves models; what is served outlives the run that deployed it."""

    def deploy(self, request: EndpointRequest, log: Any) -> EndpointState:
        """Blue/green: the new one answers `golden` before the old one goes; on failure the old one stays.

        Raises:
            EndpointError: the new one failed.
        """

    def describe(self, name: str) -> EndpointState | None:
        """The endpoint's state; None if it was never deployed, or was deleted."""

    def invoke(self, name: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer of an endpoint to a JSON request; `EndpointError` if it has none."""

    def delete(self, name: str) -> bool:
        """Stop an endpoint that `deploy` made; False if there is none. Never touches another process."""


class Tables(Protocol):
    """SQL tables over the store's files."""

    def refresh(self, store: Store, params: ForecastParams) -> Mapping[str, int]:
        """Bring every table up to date with the store; table -> rows."""

    def place(self, store: Store) -> str:
        """Where people find the tables: a path, or a database's name; empty before the first refresh."""

    def query(
        self,
        store: Store,
        item_id: str,
        *,
        dimensions: Mapping[str, str],
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> dict[str, Any]:
        """The current forecast of one item, as `timeseries.query.query_forecast` gives it.

        Raises:
            FileNotFoundError: no forecast is published.
            QueryError: there is no such item, dimension or time (`timeseries.query`).
        """


class Notices(Protocol):
    """Tells people what a run did."""

    def send(self, notice: Notice) -> bool:
        """Deliver, at most once per run and outcome; False if it had been delivered before.

        Raises:
            NoticeError: it can't be delivered now (`platforms.notice`); try again later.
        """


@dataclass(frozen=True)
class Measurement:
    """One number to be watched over time.

    Attributes:
        name: what it is (`WQL`, `WQL_p90`, `MASE`, `Items`, `Seconds`, `Failures`, ...; see `defs.measurements`).
        value: finite.
        unit: CloudWatch's word for it.
        model: what made the forecast that it is about; empty where it is about none.
        at: when it was so, aware.
    """

    name: str
    value: float
    at: datetime
    unit: Literal["None", "Count", "Seconds"] = "None"
    model: str = ""


class MetricsError(Exception):
    """Measurements could not be kept; the message says why."""


class Metrics(Protocol):
    """Keeps numbers for dashboards and alarms outside of Dagster."""

    def put(self, group: str, measurements: Sequence[Measurement]) -> None:
        """Keep measurements of a dataset group.

        Raises:
            MetricsError: they can't be kept.
        """


class QueueError(Exception):
    """A queue can't be read; the message says why and how to mend it."""


@dataclass(frozen=True)
class TrainNews:
    """What the queue told.

    Attributes:
        token: of everything told here, for `settle`; empty if that is nothing.
        keys: keys, below the store's root, of objects below `train/` that were written or removed; each once.
        messages: how many messages there were.
        ignored: why some of what they told plays no part -> how often.
        unreadable: messages that were not understood, and why; a few of them.
        unreadable_count: how many there were.
        trouble: why the queue can't be read; empty if it can.
    """

    token: str = ""
    keys: tuple[str, ...] = ()
    messages: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    unreadable_count: int = 0
    trouble: str = ""


class TrainQueue(Protocol):
    """Tells of changes below `train/`: late, twice, in any order, or not at all. What is there only a listing knows."""

    def receive(self) -> TrainNews:
        """What the queue tells now, and what it told before that was not settled.

        Raises:
            QueueError: it can't be reached, or refuses.
        """

    def settle(self, token: str) -> int:
        """Have what was told under `token` told no more, now that it is recorded; how many messages that were.

        A token that isn't that of the last `receive` is fine.

        Raises:
            QueueError: it can't be reached, or refuses.
        """


class Platform(Protocol):
    """Makes the parts of a dataset group; each is made once, when it is first used."""

    def store(self) -> Store:
        """Where all files live."""

    def jobs(self, store: Store) -> Jobs:
        """Runs workloads."""

    def tuning(self, store: Store) -> Tuning:
        """Searches for hyperparameters."""

    def registry(self, store: Store) -> Registry:
        """Versions of models."""

    def endpoints(self, store: Store) -> Endpoints:
        """Serves models."""

    def tables(self, store: Store) -> Tables:
        """The SQL tables."""

    def notices(self, store: Store) -> Notices:
        """Tells people what a run did."""

    def metrics(self, store: Store) -> Metrics:
        """Keeps numbers."""

    def train_queue(self, store: Store) -> TrainQueue | None:
        """Tells of changes below `train/`; None where only a listing does."""


def job_name(*parts: str) -> str:
    """A deterministic job name from what the job is for, valid in SageMaker too.

    Letters and digits of the parts joined by hyphens, then 8 hexadecimal digits that tell apart what the letters and
    digits alone don't (`2024-01-01-10:00` and `2024-01-01 10-00`).
    """
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    words = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-")[: MAX_JOB_NAME - 9].rstrip("-")
    return f"{words}-{digest}" if words else digest


def check_job_name(name: str) -> str:
    """`name` itself, if it is one that `job_name` could have made.

    Raises:
        ValueError: it has other characters than letters, digits and inner hyphens, or is longer than 63.
    """
    if len(name) > MAX_JOB_NAME or not _JOB_NAME.fullmatch(name):
        raise ValueError(
            f"job name {name!r}: up to {MAX_JOB_NAME} letters, digits and inner hyphens; make it with job_name()"
        )
    return name
