"""A job that runs: its thread, its states, its containers, its inputs.

Here: what jobs of every kind have in common. Elsewhere: kinds of jobs and the operations on them
(`sagemaker_jobs.py`, `sagemaker_transform.py`), processes and copies (`job_process.py`).
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from chronos_assets_tests.aws.cloud import NO_CAPACITY, Cloud, arn_of, invalid, now
from chronos_assets_tests.aws.job_process import (
    ML,
    Container,
    JobError,
    container_command,
    container_environment,
    download,
    objects_of,
)

LONGEST_SECONDS = 86_400  # of a job that gives no time
FINISHED = ("Completed", "Failed", "Stopped")

_LOOK_SECONDS = 0.01


class Job:
    """A job that was accepted: a thread takes it through its states.

    Attributes:
        name, arn, tags, request: as created.
        status: InProgress, Stopping, Completed, Failed or Stopped.
        reason: why it failed.
        message: what a processing container left for the description.
        containers: of its running or last attempt.
        folder: holds one folder for each of its instances.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]
    log_group: ClassVar[str]

    def __init__(self, cloud: Cloud, name: str, request: Mapping[str, Any], tags: Sequence[Mapping[str, str]]) -> None:
        self.cloud = cloud
        self.name = name
        self.arn = arn_of(self.kind, name)
        self.request = {key: value for key, value in request.items() if key != "Tags"}
        self.tags = [dict(tag) for tag in tags]
        self.status = "InProgress"
        self.reason = ""
        self.message = ""
        self.created = self.modified = now()
        self.began: datetime | None = None
        self.ended: datetime | None = None
        self.folder = cloud.folder / self.kind / name
        self.containers: list[Container] = []
        self.stop_asked = threading.Event()
        self.done = threading.Event()
        self.lock = threading.RLock()
        self._stream = f"{name}/{{host}}-{int(time.time())}"
        self._thread = threading.Thread(target=self._live, name=f"{self.kind} {name}", daemon=True)

    def start(self) -> None:
        """Begin to run."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to stop."""
        with self.lock:
            if self.status != "InProgress":
                raise invalid(f"The request was rejected because the {self.noun} is in status {self.status}.")
            self._enter_status("Stopping")
            self.stop_asked.set()

    def abandon(self) -> None:
        """End it at once, whatever it does, and wait until it is gone."""
        self.stop_asked.set()
        for container in self.containers:
            container.kill()
        self._thread.join(timeout=30)

    def _live(self) -> None:
        try:
            if self.cloud.faults.take_no_capacity():
                raise JobError(NO_CAPACITY)
            self.run()
        except JobError as error:
            self.finish("Failed", str(error))
        except Exception as error:  # noqa: BLE001 - as the service would: the job fails, the service continues
            traceback.print_exc(file=sys.stderr)
            self.finish("Failed", f"InternalServerError: {error}")
        finally:
            self.done.set()

    def run(self) -> None:
        """Take it to its end; `JobError` fails it."""
        raise NotImplementedError

    def finish(self, status: str, reason: str = "") -> None:
        """Give it its last status."""
        with self.lock:
            self.ended = now()
            self.reason = reason
            self._enter_status(status)

    def _enter_status(self, status: str) -> None:
        self.status = status
        self.modified = now()

    # --- instances ---

    def hosts(self, count: int) -> list[str]:
        """Names of its instances."""
        return [f"algo-{number + 1}" for number in range(count)]

    def launch(self, hosts: Sequence[str], command: Sequence[str], environment: Mapping[str, str]) -> list[Container]:
        """Start one container on each host."""
        command = container_command(command, self.cloud.package)
        variables = container_environment({**self.cloud.container_env, **environment})
        containers = []
        for host in hosts:
            stream = self._stream.format(host=host)
            self.cloud.log(self.log_group, stream, [])

            def take(lines: list[str], host: str = host, stream: str = stream) -> None:
                if lines:
                    self.cloud.log(self.log_group, stream, lines)
                    self.take_lines(host, lines)

            folder = self.folder / host
            containers.append(Container(host, folder, command, variables, take, self.cloud.namespaces))
        self.containers = containers
        if not self.stop_asked.is_set():
            for container in containers:
                container.start()
        return containers

    def take_lines(self, host: str, lines: Sequence[str]) -> None:
        """See lines of a container's log."""

    def wait(self, containers: Sequence[Container], seconds: float) -> tuple[list[int], bool]:
        """Wait for every container; one that fails ends the others.

        Returns:
            Their exit codes, and whether they were out of time.
        """
        deadline, late = time.monotonic() + seconds, False
        if any(container.process is None for container in containers):
            return [143] * len(containers), False
        while None in (codes := [container.ended() for container in containers]):
            late = late or time.monotonic() >= deadline
            if self.stop_asked.is_set() or late or any(codes):
                for container in containers:
                    container.stop(self.cloud.grace_seconds)
            time.sleep(_LOOK_SECONDS)
        return [code for code in codes if code is not None], late

    def clear(self, host: str) -> Path:
        """An empty folder for a host."""
        folder = self.folder / host
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    def inside(self, host: str, path: str) -> Path:
        """Where a path of a container lies here."""
        relative = PurePosixPath(path)
        if not relative.is_relative_to(ML) or ".." in relative.parts:
            raise JobError(f"ClientError: {path} is not below {ML}")
        return self.folder / host / relative.relative_to(ML)

    def fill(self, folder: Path, source: Mapping[str, Any], index: int, count: int, *, unpack: bool) -> None:
        """Copy an S3 data source into the folder of the instance with this index."""
        objects = objects_of(self.cloud.s3, source["S3Uri"], source.get("S3DataType", "S3Prefix"))
        if (source.get("S3DataDistributionType") or "FullyReplicated") == "ShardedByS3Key":
            objects = objects[index::count]
        download(self.cloud.s3, objects, folder, unpack=unpack)


def present(document: Mapping[str, Any]) -> dict[str, Any]:
    """The members that have a value."""
    return {key: value for key, value in document.items() if value is not None}
