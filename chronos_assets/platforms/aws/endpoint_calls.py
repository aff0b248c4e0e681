"""Requests to a SageMaker endpoint, answered at once or, by an asynchronous one, in the store.

Elsewhere: how it may fail to answer (`endpoint_faults`).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.endpoint_faults import UnansweredError, error_message, unanswered
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.endpoints import EndpointError
from chronos_assets.store_layout import JOBS_KEY

JSON = "application/json"


class EndpointCalls:
    """Requests to endpoints.

    Args:
        clients: of the account and region.
        store: where asynchronous endpoints are given requests, and leave answers.
        answer_seconds: how long an asynchronous endpoint may take for an answer.
        poll_seconds: between two looks for it.
    """

    def __init__(self, clients: AwsClients, store: S3Store, *, answer_seconds: float, poll_seconds: float) -> None:
        self._clients = clients
        self._store = store
        self._answer_seconds = answer_seconds
        self._poll_seconds = poll_seconds

    def answers(self, name: str) -> str:
        """Where an asynchronous endpoint leaves its answers."""
        return self._store.uri(f"{JOBS_KEY}/endpoint-{name}/answers") + "/"

    def ask(self, name: str, document: Mapping[str, Any], *, asynchronous: bool) -> Mapping[str, Any]:
        """The answer to a request.

        Raises:
            EndpointError: there is none; `UnansweredError` where the endpoint is to blame.
        """
        body = json.dumps(document, allow_nan=False).encode()
        data = self._ask_later(name, body) if asynchronous else self._ask_now(name, body)
        try:
            answer = json.loads(data)
        except ValueError as error:
            raise UnansweredError(f"endpoint {name!r} answered what is not JSON: {error}") from error
        return answer if isinstance(answer, dict) else {"answer": answer}

    def _ask_now(self, name: str, body: bytes) -> bytes:
        client = self._clients("sagemaker-runtime")
        with unanswered(name):
            answer = client.invoke_endpoint(EndpointName=name, ContentType=JSON, Accept=JSON, Body=body)
            return bytes(answer["Body"].read())

    def _ask_later(self, name: str, body: bytes) -> bytes:
        """Leave a request in the store, and wait for the answer there."""
        asked = uuid.uuid4().hex
        key = f"{JOBS_KEY}/endpoint-{name}/{asked}.json"
        self._store.put(key, body)
        answers: list[str] = []
        try:
            with unanswered(name):
                reported = self._clients("sagemaker-runtime").invoke_endpoint_async(
                    EndpointName=name,
                    ContentType=JSON,
                    Accept=JSON,
                    InputLocation=self._store.uri(key),
                    InferenceId=asked,
                )
            answers = [self._key_of(reported["OutputLocation"]), self._key_of(reported.get("FailureLocation", ""))]
            until = time.monotonic() + self._answer_seconds
            while time.monotonic() < until:
                if self._store.exists(answers[0]):
                    return self._store.get(answers[0])
                if answers[1] and self._store.exists(answers[1]):
                    reason = self._store.get(answers[1]).decode(errors="replace")
                    raise UnansweredError(f"endpoint {name!r} could not answer: {error_message(reason)}")
                time.sleep(self._poll_seconds)
            raise UnansweredError(f"endpoint {name!r} gave no answer within {self._answer_seconds:.0f} s")
        finally:
            for done in (key, *filter(None, answers)):
                self._store.delete(done)

    def _key_of(self, uri: str) -> str:
        if uri and not uri.startswith(f"{self._store.url}/"):
            raise EndpointError(f"the answer is left at {uri}, outside of the store {self._store.url}: deploy again")
        return uri.removeprefix(f"{self._store.url}/")
