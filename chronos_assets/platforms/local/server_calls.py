"""Calls of a server on this machine.

Elsewhere: what it answers (`workloads.serve`), starting and ending one (`endpoints`, `server_processes`).
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any

HOST = "127.0.0.1"
_PING_SECONDS = 5.0
_INVOKE_SECONDS = 120.0


def url_of(port: int) -> str:
    """Where a server answers."""
    return f"http://{HOST}:{port}"


def ping(port: int) -> dict[str, Any]:
    """What `GET /ping` reports; empty where nothing sensible answers."""
    try:
        status, answer = _http(port, "GET", "/ping", None, _PING_SECONDS)
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return answer if status == 200 else {}


def post(port: int, document: Mapping[str, Any], seconds: float = _INVOKE_SECONDS) -> tuple[int, dict[str, Any]]:
    """Status and answer of `POST /invocations`."""
    return _http(port, "POST", "/invocations", json.dumps(document, allow_nan=False).encode(), seconds)


def _http(port: int, method: str, path: str, body: bytes | None, seconds: float) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of a request, past any proxy."""
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", "Connection": "close"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        return response.status, answer if isinstance(answer, dict) else {"answer": answer}
    finally:
        connection.close()
