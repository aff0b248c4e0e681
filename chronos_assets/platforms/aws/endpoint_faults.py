"""How a SageMaker endpoint fails to answer, in words; and where its log is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.aws.sagemaker.faults import code_of, is_passing, text_of
from chronos_assets.platforms.endpoints import EndpointError


class NotSwitchedError(ChronosAssetsError):
    """SageMaker didn't bring an endpoint to a configuration."""


class UnansweredError(EndpointError):
    """An endpoint gave no answer, or an error; `passing` if it may do better in a while."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@contextmanager
def unanswered(name: str) -> Iterator[None]:
    """Whatever keeps an endpoint from answering, as one error."""
    try:
        yield
    except ClientError as error:
        if code_of(error) == "ModelError":
            status = int(error.response.get("OriginalStatusCode", 500))
            said = error_message(str(error.response.get("OriginalMessage", "")))
            raise UnansweredError(f"endpoint {name!r} answered {status}: {said}", passing=status >= 500) from error
        raise UnansweredError(
            f"endpoint {name!r} does not answer: {code_of(error)}: {text_of(error)}",
            passing=is_passing(error) or code_of(error) == "ModelNotReadyException",
        ) from error
    except BotoCoreError as error:
        raise UnansweredError(f"endpoint {name!r} does not answer: {text_of(error)}", passing=True) from error


def error_message(text: str) -> str:
    """A server's message: of its JSON where it is one."""
    try:
        document = json.loads(text)
    except ValueError:
        return text
    return str(document.get("message", text)) if isinstance(document, dict) else text


def log_group(name: str) -> str:
    """The CloudWatch log group of an endpoint."""
    return f"/aws/sagemaker/Endpoints/{name}"
