"""Around a server on this machine: requests that a web page of another site made are refused.

A browser sends requests to loopback on behalf of any page that it shows. A page whose own name was pointed at 127.0.0.1 (DNS
rebinding) reads the answers, too; it can't change the `Host` that the browser sends, nor the `Origin`.

Here: that decision, for any ASGI application. Elsewhere: what the application answers, who may log in.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SAFE = {"GET", "HEAD", "OPTIONS"}


class WebGuard:
    """An ASGI application that hands on only what no foreign page can have sent.

    Args:
        app: what is guarded.
        hosts: names that the server answers to; without port.
        json_only: paths that change things whatever the method: they take a JSON body by POST, which a page can't send to
            another site without asking first. A GET without a query is let through, for a page that explains the path.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = LOOPBACK, json_only: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._json_only = frozenset(json_only)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, hand on any other."""
        problem = self._problem(scope) if scope["type"] in ("http", "websocket") else None
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": problem[1]})
        else:
            status, message = problem
            await PlainTextResponse(message + "\n", status)(scope, receive, send)

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        """Status and message of a refusal; None where there is nothing against the request."""
        headers = Headers(scope=scope)
        host = headers.getlist("host")
        if len(host) != 1 or _name(host[0]) not in self._hosts:
            return HTTPStatus.MISDIRECTED_REQUEST, f"this server answers to {', '.join(sorted(self._hosts))} only"
        origins = headers.getlist("origin")
        if any(_authority(origin) != host[0].lower() for origin in origins):
            return HTTPStatus.FORBIDDEN, "requests of pages of another origin are refused"
        if scope["type"] == "websocket":
            return None
        return self._method_problem(scope, headers)

    def _method_problem(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        method, json_only = scope["method"], scope["path"].rstrip("/") in self._json_only
        if json_only and method in _SAFE and QueryParams(scope["query_string"]):
            return HTTPStatus.METHOD_NOT_ALLOWED, "queries come by POST, with a JSON body"
        if json_only and method not in _SAFE and _media_type(headers) != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the query as application/json"
        if method not in _SAFE and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return HTTPStatus.FORBIDDEN, "requests of pages of another site are refused"
        return None


def _name(host: str) -> str:
    """The name in a `Host` header, without port and brackets; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    """Host and port of an `Origin`; `null` and what is no HTTP origin match no host."""
    scheme, _, authority = origin.lower().partition("://")
    return authority if scheme in ("http", "https") else f"not a host: {origin}"


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
