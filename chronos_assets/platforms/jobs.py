"""Jobs: the protocol, its values, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.job_names import MAX_NAME, is_name, readable_name
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.system import text_digest

WORKLOADS = "chronos_assets.workloads"  # package of the programs


class JobError(ChronosAssetsError):
    """A job or a search failed; the message begins with the reason in one line.

    Attributes:
        facts: what people want to know of it (its folder or log, exit status, ...); JSON values, paths or Dagster's.
    """

    def __init__(self, message: str, facts: Mapping[str, Any] | None = None, *, transient: bool = False) -> None:
        super().__init__(message)
        self.facts = facts or {}
        self.transient = transient


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
        objects: channel -> objects of the store that the workload reads, each under its key. Where they lie is copied as it is
            then: the caller sees afterwards whether they are still these.
        remote: channel -> store key of a folder of which the workload fetches the files that it needs, see
            `container.remote_files`.
        stored: those of the outputs that stay in the store, where they can be published from without coming here.
        disk_bytes: what the job takes on disk, inputs and all: at least, and with what may come; 0 where that is small, or
            not known.
    """

    workload: str
    name: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    sharded: str = ""
    objects: Mapping[str, tuple[ObjectInfo, ...]] = field(default_factory=dict)
    remote: Mapping[str, str] = field(default_factory=dict)
    stored: tuple[str, ...] = ()
    disk_bytes: tuple[int, int] = (0, 0)


def nothing_to_read(who: str, place: str | Path, channel: str) -> str:
    """Why a job or a search can't begin: the folder of an input channel isn't there."""
    return f"{who}: nothing at {place} for input channel {channel!r}: materialize the asset that makes it"


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
        outputs: channel -> staging folder on this machine, owned by the caller, who may move or
            read them; without the `stored` ones. Where a `sharded` job ran on
            several instances, the folder holds one folder of each, see `parts`.
        messages: documents that the workload sent with `Reporter.message`, in order.
        seconds: wall time of the workload.
        files: the staging folders' owner.
        instances: names of the instances that left parts; empty where one left all.
        stored: channel -> store key of the folder that holds what the job left, for the `stored` ones of the request.
        facts: what people want to know of the job (its name and log, billable seconds, ...); JSON values or Dagster's.
    """

    outputs: Mapping[str, Path]
    messages: tuple[Mapping[str, Any], ...]
    seconds: float
    files: JobFiles | None = field(default=None, repr=False, compare=False)
    instances: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)

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

    def expect(self, workload: str) -> None:
        """Prepare for a job that will be asked for soon, where that saves time; it needn't come."""

    def run(self, context: Any, request: JobRequest) -> JobResult:
        """Run to the end, with the workload's log in `context.log`.

        Raises:
            ChronosAssetsError: the workload failed (`JobError`), its inputs are missing, or another run has this job.
        """


def job_name(*parts: str) -> str:
    """A deterministic job name from what the job is for, valid in SageMaker too.

    Letters and digits of the parts joined by hyphens, then 8 hexadecimal digits that tell apart what the letters and
    digits alone don't (`2024-01-01-10:00` and `2024-01-01 10-00`).
    """
    return readable_name("-".join(parts), text_digest("\0".join(parts))[:8])


def check_job_name(name: str) -> str:
    """`name` itself, if it is one that `job_name` could have made.

    Raises:
        ValueError: it has other characters than letters, digits and inner hyphens, or is longer than 63.
    """
    if not is_name(name):
        raise ValueError(
            f"job name {name!r}: up to {MAX_NAME} letters, digits and inner hyphens; make it with job_name()"
        )
    return name
