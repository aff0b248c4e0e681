"""What is wrong when AWS says no, and how long to wait before asking again.

Here: telling errors of the API and reasons of ended jobs apart, back-off with jitter, calls that wait out an
outage. Elsewhere: what a job is (`kinds.py`), when another attempt at one is made (`client.py`).

https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html
https://docs.aws.amazon.com/general/latest/gr/api-retries.html
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_THROTTLED = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
    "TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException",
    "SlowDown", "PriorRequestNotComplete", "EC2ThrottledException", "ProvisionedThroughputExceededException",
})  # fmt: skip
_PASSING = frozenset({
    "InternalFailure", "InternalServerError", "InternalServerException", "InternalError", "ServiceUnavailable",
    "ServiceUnavailableException", "RequestTimeout", "RequestTimeoutException",
})  # fmt: skip
_NO_CAPACITY = frozenset(
    {"ResourceLimitExceeded", "CapacityError", "InsufficientCapacityError", "InsufficientCapacity"}
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_NO_CREDENTIALS = frozenset(
    {"CredentialRetrievalError", "LoginError", "NoCredentialsError", "SSOError", "TokenRetrievalError"}
)
SIGN_IN = "`aws sso login`, or a role"  # how there are credentials again
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_GONE = frozenset({"ResourceNotFound", "ResourceNotFoundException"})
_TAKEN = frozenset({"ResourceInUse", "ResourceInUseException"})

# What SageMaker writes in the FailureReason of a job that no fault of the container's ended.
_CAPACITY_WORDS = ("capacityerror", "insufficientcapacity", "insufficient capacity", "unable to provision")
_INTERNAL_WORDS = ("internalservererror", "internal server error", "we encountered an internal error")


@dataclass(frozen=True)
class Timing:
    """Every wait of the client, in seconds.

    Attributes:
        poll_first, poll_most: between two looks at a job's status; grows from the one to the other.
        messages: between two looks for new Pipes messages.
        logs_first, logs_most: between two looks for new log lines; grows while there are none. The quota of
            `GetLogEvents` is the whole account's.
        retry_first, retry_most: between two tries of a call that was throttled or got no answer.
        outage: how long AWS may be out of reach before the wait for a job is given up. The job continues.
        capacity_first, capacity_most: before another attempt at a job for which there was no capacity.
        stop: how long a stopped job may take to end; SageMaker gives its container two minutes.
    """

    poll_first: float = 5.0
    poll_most: float = 30.0
    messages: float = 5.0
    logs_first: float = 5.0
    logs_most: float = 60.0
    retry_first: float = 2.0
    retry_most: float = 60.0
    outage: float = 1800.0
    capacity_first: float = 60.0
    capacity_most: float = 900.0
    stop: float = 300.0


class OutOfReach(Exception):
    """AWS did not answer for too long, or the credentials have expired. What was started there continues."""


def waits(first: float, most: float) -> Iterator[float]:
    """Ever longer waits with jitter: clients that were refused together must not come back together."""
    wait = first
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        wait = min(most, wait * 1.6)


def looks(first: float, most: float, seconds: float) -> Iterator[None]:
    """Times to look at what is to change, ever longer `waits` apart; over `seconds` after the first."""
    until = time.monotonic() + seconds
    for wait in waits(first, most):
        yield
        if time.monotonic() >= until:
            return
        time.sleep(wait)


def code_of(error: BaseException) -> str:
    """The code of an error of the API; empty for any other error."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def text_of(error: BaseException) -> str:
    """What the API says about an error, in one line."""
    response = getattr(error, "response", None)
    reported = response.get("Error", {}).get("Message", "") if isinstance(response, dict) else ""
    return " ".join((reported or str(error)).split())


def fix_of(error: BaseException) -> str:
    """How to fix what the API refuses, to be put behind what it says; empty where that says enough."""
    if is_expired(error):
        return f": renew the credentials ({SIGN_IN})"
    if code_of(error) in _DENIED:
        return ": let the role of Dagster do this, as docker/cloudformation.yaml does"
    if code_of(error) == "ResourceLimitExceeded":
        return ": ask for a higher quota (Service Quotas, Amazon SageMaker), or set another instance type"
    return ""


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed in a while: throttled, an error of the service, no connection."""
    code = code_of(error)
    if code:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)  # type: ignore[attr-defined]
        reported = text_of(error).lower()
        return code in _THROTTLED | _PASSING or int(status) >= 500 or "rate exceeded" in reported
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError

    return isinstance(error, NoConnection | HTTPClientError)


def is_expired(error: BaseException) -> bool:
    """Whether the credentials are no longer valid, or can't be had any more: nothing is wrong with what was asked for."""
    # By their names: not every release of botocore has them all.
    return code_of(error) in _EXPIRED or any(kind.__name__ in _NO_CREDENTIALS for kind in type(error).__mro__)


def is_no_capacity(error: BaseException) -> bool:
    """Whether a job was refused because of a quota or for want of instances, which others may give back."""
    return code_of(error) in _NO_CAPACITY


def is_gone(error: BaseException) -> bool:
    """Whether there is no such job. Some operations call that a validation error."""
    reported = text_of(error).lower()
    return code_of(error) in _GONE or (
        code_of(error) == "ValidationException"
        and any(words in reported for words in ("not found", "could not find", "does not exist"))
    )


def is_name_taken(error: BaseException) -> bool:
    """Whether there is a job of this name already."""
    return code_of(error) in _TAKEN


def is_refused_stop(error: BaseException) -> bool:
    """Whether a job could not be stopped because it has ended, or there never was one."""
    return is_gone(error) or code_of(error) == "ValidationException"


def is_worth_another(reason: str) -> bool:
    """Whether a job failed for a reason that another attempt may not meet: no capacity, an error of the service."""
    reported = reason.lower()
    return any(word in reported for word in (*_CAPACITY_WORDS, *_INTERNAL_WORDS))


def call_with_retries(call: Callable[[], Any], timing: Timing, *, seconds: float | None = None) -> Any:
    """The answer of a call, asked for again while it is throttled or AWS is out of reach.

    Args:
        call: without arguments.
        timing: the waits between attempts.
        seconds: how long to try; `timing.outage` if not given.

    Raises:
        OutOfReach: there was no answer for so long, or the credentials have expired.
    """
    until = time.monotonic() + (timing.outage if seconds is None else seconds)
    for wait in waits(timing.retry_first, timing.retry_most):
        try:
            return call()
        except Exception as error:
            if is_expired(error):
                raise OutOfReach(
                    f"the AWS credentials are no longer valid ({text_of(error)}): renew them ({SIGN_IN}) and run again"
                ) from error
            if not is_passing(error):
                raise
            if time.monotonic() + wait > until:
                raise OutOfReach(f"AWS gave no answer for too long: {text_of(error)}") from error
            time.sleep(wait)
    raise AssertionError("waits never end")
