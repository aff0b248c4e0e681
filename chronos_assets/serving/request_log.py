"""Around an application of this server: one line of log for each request, and the end of connections while it drains.

Here: what is logged of requests, whatever answers them. Elsewhere: answers.
"""

from __future__ import annotations

import logging
import time
import traceback
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("chronos_assets.endpoint")


class Draining(Protocol):
    """What knows whether new connections are taken."""

    draining: bool


class RequestLog:
    """An ASGI application that logs what another one answers.

    Args:
        app: the other one.
        hosted: asked whether answers should ask their clients to close.
    """

    def __init__(self, app: ASGIApp, hosted: Draining) -> None:
        self._app = app
        self._hosted = hosted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and log its answer."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._hosted.draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:  # noqa: BLE001 - answered already; its message may quote the request
            frames = traceback.extract_tb(error.__traceback__)
            place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
            log.error("%s at %s", type(error).__name__, place)
        seconds = time.perf_counter() - started
        series = scope.get("state", {}).get("series")
        reported = "" if series is None else f", {series} series"
        log.info("%s %s %d %.1f ms%s", _method(scope), _route(scope), status, 1000 * seconds, reported)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"


def _route(scope: Scope) -> str:
    """The path, if it is one of ours: what else a client writes there is its own affair."""
    path = scope["path"]
    if path in ("/", "/ping", "/invocations"):
        return str(path)
    return "/endpoints/{name}/invocations" if path.startswith("/endpoints/") else "(unknown path)"
