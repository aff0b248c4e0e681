"""Connections of the endpoint: how long a request may take to arrive, how large its head may be, how many there may be.

Without bounds, a thousand clients that connect and say nothing keep everybody else out.

Here: what is decided before there is a request. Elsewhere: bodies and answers (`app`), listeners and
their end (`hosting`).
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_SECONDS = 10.0  # from the first byte, or from connecting, to the end of the headers
MAX_HEAD_BYTES = 32 * 1024
MAX_CONNECTIONS = 512


def connection_limit() -> int:
    """How many connections there may be at once: well below the files that the process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else max(8, min(MAX_CONNECTIONS, files // 2))


class BoundedConnection(HttpToolsProtocol):
    """A connection that is closed when a request's head is late or too large, or to make room for others.

    Room is made by closing the connection that has gone longest without a whole request; where all are being answered, the
    newcomer gets 503.
    """

    limit = connection_limit()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._oversized = False
        self._idle_since: float | None = None
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self.limit:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, as long as the head stays within its bounds."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._timer is not None and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._oversized = True
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """The first byte of a request: the next of a connection that is kept has its own time."""
        if self._timer is None:
            self._head_bytes = 0
            self._wait_for_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head has come; what follows is the application's.

        Raises:
            ValueError: it is too large, which the parser turns into a refusal.
        """
        self._stop_waiting()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            self._oversized = True
            raise ValueError("headers too large")
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Answered: from now on the connection is idle, which `timeout_keep_alive` bounds."""
        super().on_response_complete()
        if not self.pipeline:
            self._idle_since = self.loop.time()

    def send_400_response(self, msg: str) -> None:
        """Refuse what isn't a request, or is one whose head is too large."""
        if self._oversized:
            self._refuse(431, f"the headers are larger than {MAX_HEAD_BYTES} bytes")
        else:
            super().send_400_response(msg)

    def _wait_for_head(self) -> None:
        self._idle_since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _stop_waiting(self) -> None:
        self._idle_since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(408, f"no whole request came within {HEAD_SECONDS:.0f} s")

    def _make_room(self) -> None:
        idle: dict[float, Any] = {
            since: other
            for other in self.connections
            if other is not self and (since := getattr(other, "_idle_since", None)) is not None
        }
        if idle:
            idle[min(idle)].transport.abort()
        else:
            self._refuse(503, "too many connections: try again in 1 s")

    def _refuse(self, status: int, message: str) -> None:
        self._stop_waiting()
        body = message.encode()
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\nretry-after: 1\r\n"
            + b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()
