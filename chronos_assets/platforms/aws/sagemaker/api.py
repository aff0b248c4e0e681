"""Calls to SageMaker about jobs of one kind, patient with faults that pass.

Here: describing, creating, stopping, tagging a job, and its log. Elsewhere: when that is done
(`client.py`), what is in a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chronos_assets.platforms.aws.sagemaker.faults import (
    OutOfReach,
    Timing,
    call_with_retries,
    code_of,
    fix_of,
    is_gone,
    is_name_taken,
    is_no_capacity,
    is_refused_stop,
    looks,
    text_of,
)
from chronos_assets.platforms.aws.sagemaker.kinds import RUNNING, Kind, console_url, log_url, status_of
from chronos_assets.platforms.aws.sagemaker.limits import check_request
from chronos_assets.platforms.aws.sagemaker.logs import LogTail, last_lines

STOP_SECONDS = 120.0  # for a call to stop a job to be answered
DESCRIBE_TRIES = 5  # at describing a job that was just created


class NoCapacity(Exception):
    """A job could not be created for want of capacity, or because of a quota."""


class Refused(Exception):
    """A job could not be created for a reason that stays; the message is SageMaker's, and how to fix it where we know."""


class Vanished(Exception):
    """A job that was there is gone."""


class JobApi:
    """Jobs of one kind.

    Args:
        clients: gives a boto3 client by the name of its service.
        kind: of the jobs.
        timing: every wait.
    """

    def __init__(self, clients: Callable[[str], Any], kind: Kind, timing: Timing) -> None:
        self._clients = clients
        self._timing = timing
        self.kind = kind

    @property
    def region(self) -> str:
        """Where the jobs are."""
        return str(self._clients("sagemaker").meta.region_name)

    def describe(self, name: str) -> Mapping[str, Any] | None:
        """What SageMaker says of a job; None if there is none."""
        describe = self._method("describe")
        try:
            found: Mapping[str, Any] = call_with_retries(lambda: describe(**{self.kind.name: name}), self._timing)
            return found
        except Exception as error:
            if is_gone(error):
                return None
            raise

    def must_describe(self, name: str) -> Mapping[str, Any]:
        """`describe` of a job that is there.

        Raises:
            Vanished: it isn't.
        """
        description = self.describe(name)
        if description is None:
            raise Vanished(f"{self.kind.word} {name} is gone: somebody has deleted it")
        return description

    def create(self, request: Mapping[str, Any]) -> tuple[bool, Mapping[str, Any]]:
        """Create a job, unless another run, or a call of which only the answer was lost, was quicker.

        Returns:
            Whether it was created, and its description.

        Raises:
            LimitError: the request is beyond SageMaker's limits; no call was made.
            NoCapacity: it may be possible later.
            Refused: it won't.
        """
        operations = self._clients("sagemaker").meta.service_model
        check_request(operations.operation_model(f"Create{self.kind.api}").input_shape, request)
        create, created = self._method("create"), True
        try:
            call_with_retries(lambda: create(**request), self._timing)
        except Exception as error:
            if is_no_capacity(error):
                raise NoCapacity(text_of(error)) from error
            if not is_name_taken(error):
                if code_of(error):
                    raise Refused(f"{text_of(error)}{fix_of(error)}") from error
                raise
            created = False
        name = str(request[self.kind.name])
        for _ in range(DESCRIBE_TRIES):
            description = self.describe(name)
            if description is not None:
                return created, description
            time.sleep(self._timing.retry_first)
        return created, self.must_describe(name)

    def stop(self, name: str) -> None:
        """Ask a job to stop; one that has ended, or never was, is fine."""
        stop = self._method("stop")
        try:
            call_with_retries(
                lambda: stop(**{self.kind.name: name}), self._timing, seconds=min(self._timing.outage, STOP_SECONDS)
            )
        except Exception as error:
            if not is_refused_stop(error):
                raise

    def wait_stopped(self, name: str) -> Mapping[str, Any]:
        """The description of a job that is being stopped, once it has ended.

        Raises:
            OutOfReach: that takes longer than `Timing.stop`.
        """
        for _ in looks(self._timing.poll_first / 2, self._timing.poll_most, self._timing.stop):
            description = self.must_describe(name)
            if status_of(self.kind, description) not in RUNNING:
                return description
        raise OutOfReach(f"{self.kind.word} {name} has not ended {self._timing.stop:g} seconds after it was stopped")

    def tag(self, arn: str, tags: Sequence[Mapping[str, str]]) -> None:
        """Add tags to a job, or give those that it has other values."""
        call_with_retries(
            lambda: self._clients("sagemaker").add_tags(ResourceArn=arn, Tags=[dict(tag) for tag in tags]), self._timing
        )

    def urls(self, name: str) -> dict[str, str]:
        """A job's name, and its pages in the consoles."""
        return {
            "job_name": name,
            "console_url": console_url(self.kind, self.region, name),
            "log_url": log_url(self.kind, self.region, name),
        }

    def tail(self, name: str, emit: Callable[[str], None]) -> LogTail:
        """A follower of a job's log."""
        return LogTail(self._clients("logs"), self.kind.group, self.kind.streams(name), emit, self._timing)

    def last_lines(self, name: str, lines: int) -> list[str]:
        """The last lines of a job's log."""
        return last_lines(self._clients("logs"), self.kind.group, self.kind.streams(name), self._timing, lines=lines)

    def _method(self, verb: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._clients("sagemaker"), self.kind.operation(verb))
        return method
