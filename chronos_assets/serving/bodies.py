"""Bodies of requests: read whole, up to a limit, within a time, and within what all requests together may hold.

Here: bytes. Elsewhere: what is in them (`requests`, `forecast_queries`), connections and heads
(`connections`).
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from chronos_assets.serving.batching import Overloaded
from chronos_assets.serving.schema import InvocationError

BODY_SECONDS = 30.0
ALL_BODIES = 256 * 1024 * 1024  # bytes of all bodies that are being read or answered


class BodyMemory:
    """What the requests of a server hold together.

    Attributes:
        held: bytes.
    """

    def __init__(self) -> None:
        self.held = 0


class HeldBody:
    """What a request holds of the memory for bodies."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._bytes = 0

    def add(self, size: int) -> None:
        """Hold `size` more bytes; `Overloaded` if all requests together would hold too many."""
        if self._memory.held + size > ALL_BODIES:
            raise Overloaded(1)
        self._memory.held += size
        self._bytes += size

    def release(self) -> None:
        """Hold nothing any more."""
        self._memory.held -= self._bytes
        self._bytes = 0


async def read_body(request: Request, limit: int, too_large: InvocationError, held: HeldBody) -> bytes:
    """The request's body, of which no more than `limit` bytes are kept.

    Raises:
        InvocationError: it is compressed, late, or, then `too_large`, longer than that.
        Overloaded: all requests together hold too much.
        ClientDisconnect: the client went away.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvocationError("Content-Encoding", "compressed bodies are not read here: send it as it is", 415)
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large
                held.add(len(part))
                parts.append(part)
    except TimeoutError:
        raise InvocationError("body", f"it did not come within {BODY_SECONDS:.0f} s: send it again", 408) from None
    return b"".join(parts)
