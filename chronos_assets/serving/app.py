"""The endpoint over HTTP, as SageMaker's runtime speaks it.

```
GET  /ping                            200 {"status": "ok", "endpoint", "version", "identity", ...}
POST /invocations                     see `schema`
POST /endpoints/{name}/invocations    the same, by the path of `InvokeEndpoint`: boto3's client works unchanged
POST /                                published forecasts, see `forecast_queries`, where the server knows them
GET  /                                a page for people
```

Here: routes, headers, statuses, what is logged. Elsewhere: the schema (`schema`), the queue
(`batching`), processes and sockets (`serve`).

Errors are JSON, `{"error": {"field", "message"}, "message"}`; the second message is what boto3 shows. A full queue is
503 with `Retry-After`, which boto3 tries again by itself. Logs have method, route, status, time and number of series:
never a path or a header as it came, never a value, and of an unforeseen error its type and place only.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from chronos_assets.serving.answers import render
from chronos_assets.serving.batching import MicroBatcher, Overloaded
from chronos_assets.serving.bodies import BodyMemory, HeldBody, read_body
from chronos_assets.serving.forecast_queries import ForecastQueries
from chronos_assets.serving.page import SampleAnswer, render_page
from chronos_assets.serving.predictor import BatchPredictor, Item, Key
from chronos_assets.serving.request_log import RequestLog
from chronos_assets.serving.requests import parse
from chronos_assets.serving.schema import (
    CONTENT_TYPES,
    JSON,
    Call,
    ContentType,
    InvocationError,
    Prediction,
    Schema,
    accepted,
    content_type,
    too_large,
)

log = logging.getLogger("chronos_assets.endpoint")

_THREAD_FROM = 64 * 1024  # bytes of a body from which reading it would hold up the other requests
_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_CLOSED = 499  # the client went away; nobody reads it


@dataclass
class Endpoint:
    """What one server process serves.

    Attributes:
        name: of the endpoint; version: what is served, for people; identity: its digest.
        model: what `ModelDescription.to_document` says.
        golden: a request that it must be able to answer.
        schema: what requests may ask for.
        predictor: makes forecasts.
        batcher: the queue before it.
        timeout_seconds: how long a request may wait for its answer.
        bodies: of the requests that are being read or answered.
        queries: answers questions about published forecasts; None where the server knows none.
        draining: set when no new connection is taken: answers ask their clients to close.
    """

    name: str
    version: str
    identity: str
    model: Mapping[str, Any]
    golden: Mapping[str, Any]
    schema: Schema
    predictor: BatchPredictor
    batcher: MicroBatcher[Key, Item, list[Prediction]]
    timeout_seconds: float = 60.0
    draining: bool = False
    bodies: BodyMemory = field(default_factory=BodyMemory)
    queries: ForecastQueries | None = None
    started: float = field(default_factory=time.time)
    _sample: SampleAnswer | None = None

    def start(self) -> None:
        """Begin to answer, inside the event loop."""
        self.batcher.start()

    async def stop(self) -> None:
        """Answer what waits, then end."""
        await self.batcher.stop()

    def status(self) -> dict[str, Any]:
        """What `GET /ping` reports."""
        return {
            "status": "ok",
            "endpoint": self.name,
            "version": self.version,
            "identity": self.identity,
            "model": dict(self.model),
            "content_types": list(CONTENT_TYPES),
            "waiting": self.batcher.waiting,
            "uptime_seconds": round(time.time() - self.started, 1),
        }

    async def answer(self, calls: Sequence[Call]) -> list[list[Prediction]]:
        """Predictions of each call's inputs. Calls that may share a pass wait in the queue as one.

        Raises:
            InvocationError, Overloaded: see `schema` and `batching`.
        """
        together: dict[Key, list[tuple[int, Item]]] = {}
        for number, call in enumerate(calls):
            key, items = self.predictor.items(call)
            together.setdefault(key, []).extend((number, item) for item in items)
        tasks = [
            asyncio.create_task(self.batcher.submit(key, [item for _, item in some])) for key, some in together.items()
        ]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        predictions: list[list[Prediction]] = [[] for _ in calls]
        for some, made in zip(together.values(), answers, strict=True):
            for (number, _), item_predictions in zip(some, made, strict=True):
                predictions[number] += item_predictions
        return predictions

    async def sample(self) -> SampleAnswer:
        """The golden request with its answer, made once."""
        if self._sample is None:
            calls = parse(json.dumps(self.golden).encode(), JSON, self.schema)
            predictions = await self.answer(calls)
            self._sample = SampleAnswer(self.golden, calls[0].inputs[0], calls[0].parameters, predictions[0][0])
        return self._sample


def build_app(endpoint: Endpoint) -> ASGIApp:
    """The ASGI application of an endpoint; it has no lifespan."""

    async def ping(_request: Request) -> Response:
        return JSONResponse(endpoint.status())

    async def invocations(request: Request) -> Response:
        name = request.path_params.get("name", endpoint.name)
        if name != endpoint.name:
            raise InvocationError(
                "path", f"there is no endpoint of this name here, only {endpoint.name!r}: POST to /invocations", 404
            )
        return await _invoke(endpoint, request)

    async def page(request: Request) -> Response:
        host = request.headers.get("host", "")
        html = render_page(endpoint.status(), await endpoint.sample(), host)
        return HTMLResponse(
            html, headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
        )

    queries = [] if endpoint.queries is None else [Route("/", endpoint.queries.respond, methods=["POST"])]
    app = Starlette(
        routes=[
            *queries,
            Route("/", page, methods=["GET"]),
            Route("/ping", ping, methods=["GET"]),
            Route("/invocations", invocations, methods=["POST"]),
            Route("/endpoints/{name}/invocations", invocations, methods=["POST"]),
        ],
        exception_handlers={
            InvocationError: _reported,
            Overloaded: _reported,
            HTTPException: _reported,
            Exception: _reported,
        },
    )
    # A path with a slash too many is unknown, not another route's.
    app.router.redirect_slashes = False
    return RequestLog(app, endpoint)


async def _invoke(endpoint: Endpoint, request: Request) -> Response:
    kind = content_type(request.headers.get("content-type"))
    answer_kind = accepted(request.headers.get("accept"), kind)
    held, limits = HeldBody(endpoint.bodies), endpoint.schema.limits
    try:
        body = await read_body(request, limits.max_body_bytes, too_large(limits), held)
        return await _answer(endpoint, request, body, kind, answer_kind)
    except ClientDisconnect:
        return Response(status_code=_CLOSED)
    finally:
        held.release()


async def _answer(
    endpoint: Endpoint, request: Request, body: bytes, kind: ContentType, answer_kind: ContentType
) -> Response:
    query, attributes = request.url.query, request.headers.get(_ATTRIBUTES, "")
    calls = await _maybe_in_thread(len(body), lambda: parse(body, kind, endpoint.schema, query, attributes))
    request.state.series = sum(len(call.inputs) for call in calls)
    answer = asyncio.create_task(endpoint.answer(calls))
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({answer, gone}, timeout=endpoint.timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            if gone.done():
                return Response(status_code=_CLOSED)
            raise Overloaded(1)
        predictions = answer.result()
    finally:
        gone.cancel()
        answer.cancel()
    numbers = sum(prediction.quantiles.size for some in predictions for prediction in some)
    content = await _maybe_in_thread(8 * numbers, lambda: render(calls, predictions, answer_kind))
    return Response(content, headers=_headers(endpoint, answer_kind))


def _headers(endpoint: Endpoint, kind: ContentType) -> dict[str, str]:
    variant = endpoint.version.encode("ascii", "replace").decode()
    return {
        "content-type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
        "x-amzn-invoked-production-variant": variant,
    }


async def _maybe_in_thread(size: int, function: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(function) if size >= _THREAD_FROM else function()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _reported(_request: Request, error: Exception) -> Response:
    """The answer to an error."""
    if isinstance(error, InvocationError):
        return _problem(error.status, error.field, error.message)
    if isinstance(error, Overloaded):
        message = f"too many requests wait: try again in {error.retry_after} s"
        headers = {"retry-after": str(error.retry_after)}
        return _problem(503, "", message, "ServiceUnavailable", headers)
    if isinstance(error, HTTPException):
        if error.status_code == 405:
            return _problem(405, "method", "not for this path: GET /ping, POST /invocations")
        if error.status_code == 404:
            return _problem(404, "path", "unknown: there are /ping, /invocations, /endpoints/{name}/invocations")
        return _problem(error.status_code, "request", str(error.detail))
    return _problem(500, "", "internal error: the server's log says where", "InternalFailure")


def _problem(
    status: int, place: str, message: str, code: str = "ValidationError", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    whole = f"{place}: {message}" if place else message
    return JSONResponse(
        {"error": {"field": place, "message": message}, "message": whole},
        status_code=status,
        headers={"x-amzn-errortype": code, **(headers or {})},
    )
