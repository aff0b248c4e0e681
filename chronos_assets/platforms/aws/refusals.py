"""What AWS refuses, as errors of a platform's part: what was asked for, what was said, how to fix it.

Here: those errors, and calls that find what they were about to make. Elsewhere: retries, which the
clients do (`clients`), the errors of jobs (`sagemaker.faults`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from chronos_assets.platforms.aws.sagemaker.faults import code_of, fix_of, text_of


@contextmanager
def refusals(kind: type[Exception], what: str) -> Iterator[None]:
    """Whatever AWS refuses inside the block is a `kind` that says what was being done."""
    try:
        yield
    except ClientError as error:
        raise kind(f"{what}: {code_of(error)}: {text_of(error)}{fix_of(error)}") from error
    except BotoCoreError as error:
        raise kind(
            f"{what}: {text_of(error)}: check region, credentials and network with `chronos-assets doctor`"
        ) from error


@contextmanager
def fine_if(is_fine: Callable[[BaseException], bool]) -> Iterator[None]:
    """Go on after the block where AWS refuses a call for a reason that is fine, such as that what it asks for `is_gone`."""
    try:
        yield
    except ClientError as error:
        if not is_fine(error):
            raise


def is_taken(error: BaseException) -> bool:
    """Whether something was not made because it is there; SageMaker calls that by several names."""
    return code_of(error) in {"ResourceInUse", "ConflictException"} or "already exist" in text_of(error).lower()
