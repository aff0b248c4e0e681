"""What the executing server knows, whoever asks: its settings, the calls it got, the faults it is told to have, its logs.

Here: state and errors that every operation shares. Elsewhere: HTTP (`moto_server.py`), operations
(`sagemaker_*.py`).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.core.exceptions import ServiceException

from chronos_assets_tests.aws.job_process import DEFAULT_PACKAGE

ACCOUNT, REGION = "123456789012", "us-east-1"

NO_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)


class CloudError(ServiceException):
    """An error with a code and a message; a class of ours, since moto derives a service from the module of its own."""


def invalid(message: str) -> CloudError:
    """The error of an impossible request."""
    return CloudError("ValidationException", message)


def in_use(message: str) -> CloudError:
    """The error of a name that is taken."""
    return CloudError("ResourceInUse", message)


def not_found(message: str) -> CloudError:
    """The error of a name that isn't."""
    return CloudError("ResourceNotFound", message)


def arn_of(kind: str, name: str) -> str:
    """ARN of a SageMaker resource."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{name}"


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


@dataclass
class Call:
    """One request that the server got; `error` is the code that it was answered with, "" for success."""

    service: str
    operation: str
    params: Mapping[str, Any]
    error: str = ""


@dataclass
class _Planned:
    operation: str
    code: str
    message: str
    left: int


class Faults:
    """What shall go wrong. Each fault is used up as often as it is listed.

    Attributes:
        roll_back_next_update: the next UpdateEndpoint ends as AWS's silent roll-back does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[_Planned] = []
        self._no_capacity = 0
        self._interruptions: list[tuple[re.Pattern[str], bool]] = []
        self.roll_back_next_update = False

    def throttle(self, operation: str, times: int = 1) -> None:
        """Answer the next calls of an operation with a ThrottlingException."""
        self.refuse(operation, "ThrottlingException", "Rate exceeded", times)

    def refuse(self, operation: str, code: str, message: str, times: int = 1) -> None:
        """Answer the next calls of an operation with an error (`ResourceLimitExceeded`, `AccessDeniedException`, ...)."""
        with self._lock:
            self._planned.append(_Planned(operation, code, message, times))

    def no_capacity(self, times: int = 1) -> None:
        """The next jobs fail with a CapacityError once they were accepted."""
        with self._lock:
            self._no_capacity += times

    def interrupt_spot(self, on: str, *, times: int = 1, restart: bool = True) -> None:
        """Take a managed spot training job's instance away when a line of its log matches the regular expression `on`.

        Args:
            restart: whether another instance is found; otherwise the job ends with MaxWaitTimeExceeded.
        """
        with self._lock:
            self._interruptions += [(re.compile(on), restart)] * times

    def take_error(self, operation: str) -> CloudError | None:
        """The error that a call is to be answered with, if any."""
        with self._lock:
            for fault in self._planned:
                if fault.operation == operation and fault.left > 0:
                    fault.left -= 1
                    return CloudError(fault.code, fault.message)
            return None

    def take_no_capacity(self) -> bool:
        """Whether a job that begins finds no instance."""
        with self._lock:
            if self._no_capacity == 0:
                return False
            self._no_capacity -= 1
            return True

    def take_interruption(self, lines: Iterable[str]) -> bool | None:
        """Whether these lines of a log cost the job its instance, and then whether it finds another one."""
        with self._lock:
            for number, (pattern, restart) in enumerate(self._interruptions):
                if any(pattern.search(line) for line in lines):
                    del self._interruptions[number]
                    return restart
            return None


@dataclass
class Cloud:
    """The state that operations share.

    Attributes:
        folder: for the containers' folders.
        s3: boto3 client of the store that jobs read and write.
        container_env: the AWS_* variables that a container gets, instead of its instance's role.
        namespaces: whether a container's folder is mounted on `/opt/ml`.
        package: what stands for `chronos_assets.workloads` in a container.
        grace_seconds: between SIGTERM and SIGKILL of a job that is stopped (SageMaker: 120).
        ping_seconds: for an endpoint's container to answer its ping (SageMaker: 480).
        restart_seconds: until another instance is found for an interrupted spot job.
        calls: every request, in order.
    """

    folder: Path
    s3: Any
    container_env: dict[str, str]
    namespaces: bool
    package: str = DEFAULT_PACKAGE
    grace_seconds: float = 10.0
    ping_seconds: float = 60.0
    restart_seconds: float = 0.05
    calls: list[Call] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    _logs_lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def backend(self) -> Any:
        """moto's SageMaker backend, which holds every resource."""
        from moto.sagemaker.models import sagemaker_backends

        return sagemaker_backends[ACCOUNT][REGION]

    def log(self, group: str, stream: str, lines: Iterable[str]) -> None:
        """Add lines to a CloudWatch log stream, which is made with its group if it isn't there."""
        from moto.logs.models import logs_backends

        backend = logs_backends[ACCOUNT][REGION]
        at = int(time.time() * 1000)
        events = [{"timestamp": at, "message": line} for line in lines]
        with self._logs_lock:
            backend.ensure_log_group(group)
            backend.ensure_log_stream(group, stream)
            if events:
                backend.put_log_events(group, stream, events)


Operation = Callable[[Cloud, dict[str, Any]], dict[str, Any]]


# --- listing ----------------------------------------------------------------------------------------------------------


def listed(
    summaries: Iterable[dict[str, Any]],
    params: Mapping[str, Any],
    *,
    name: str,
    status: str | None = None,
    descending: bool = False,
    sort_keys: Mapping[str, str] | None = None,
    default: int = 10,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """One page of a List* operation, and the member NextToken if there are more.

    Args:
        name, status: members of a summary that NameContains and StatusEquals are about.
        descending: whether that is the operation's default order.
        sort_keys: SortBy -> member of a summary.
        default: items of a page if MaxResults isn't given.
    """
    found = [item for item in summaries if _matches(item, params, name, status)]
    keys = {"Name": name, "CreationTime": "CreationTime", "Status": status or name, **(sort_keys or {})}
    member = keys.get(params.get("SortBy") or "CreationTime", "CreationTime")
    order = params.get("SortOrder") or ("Descending" if descending else "Ascending")
    known = [item for item in found if item.get(member) is not None]
    unknown = [item for item in found if item.get(member) is None]
    found = sorted(known, key=lambda item: item[member], reverse=order == "Descending") + unknown
    begin = int(params.get("NextToken") or 0)
    end = begin + int(params.get("MaxResults") or default)
    return found[begin:end], ({"NextToken": str(end)} if end < len(found) else {})


def job_listing(noun: str, jobs: Callable[[Any], Mapping[str, Any]]) -> Operation:
    """The operation List<noun>Jobs.

    Args:
        jobs: finds them in moto's backend, by their names.
    """

    def operation(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
        summaries = [job.summary() for job in list(jobs(cloud.backend).values())]
        page, more = listed(summaries, params, name=f"{noun}JobName", status=f"{noun}JobStatus")
        return {f"{noun}JobSummaries": page, **more}

    return operation


def named_job(jobs: Mapping[str, Any], name: str) -> Any:
    """The job of this name, or the error that SageMaker has for one that it doesn't know."""
    job = jobs.get(name)
    if job is None:
        raise invalid(f"Could not find requested job with name: {name}")
    return job


def _matches(item: Mapping[str, Any], params: Mapping[str, Any], name: str, status: str | None) -> bool:
    if (part := params.get("NameContains")) and part.lower() not in item[name].lower():
        return False
    if status is not None and (wanted := params.get("StatusEquals")) and item[status] != wanted:
        return False
    for member in ("CreationTime", "LastModifiedTime"):
        after, before = _moment(params.get(f"{member}After")), _moment(params.get(f"{member}Before"))
        if (after is not None and item[member] <= after) or (before is not None and item[member] >= before):
            return False
    return True


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return value if value.tzinfo else value.replace(tzinfo=UTC)
