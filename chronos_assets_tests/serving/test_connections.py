"""Connections that say nothing, too much or too slowly, over real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from chronos_assets.serving import connections
from chronos_assets.serving.connections import MAX_HEAD_BYTES, BoundedConnection, connection_limit
from chronos_assets.serving.hosting import _Server

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[int]:
    """A server of one route that answers at once and one that waits; its port."""
    release = asyncio.Event()

    async def wait(_request):
        await release.wait()
        return PlainTextResponse("late")

    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("done")), Route("/wait", wait)])
    server = _Server(uvicorn.Config(app, http=BoundedConnection, lifespan="off", ws="none", log_config=None))
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        release.set()
        server.should_exit = True
        await task


async def ask(port: int, sent: bytes) -> bytes:
    """What the server says to some bytes before it closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while part := await asyncio.wait_for(reader.read(65536), 1):
            answer += part
    writer.close()
    return answer


def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)

    async def scenario() -> list[bytes]:
        async with listening() as port:
            return [await ask(port, sent) for sent in (b"", b"GET / HT", REQUEST, REQUEST + b"GET")]

    silent, slow, whole, second = asyncio.run(scenario())
    assert silent.startswith(b"HTTP/1.1 408")
    assert slow.startswith(b"HTTP/1.1 408")
    assert whole.startswith(b"HTTP/1.1 200")
    assert b"408" not in whole
    assert second.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in second


@pytest.mark.parametrize("pieces", [1, 40])
def test_headers_have_a_largest_size(pieces: int) -> None:
    large = b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n"

    async def scenario() -> bytes:
        async with listening() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            size = -(-len(large) // pieces)
            for start in range(0, len(large), size):
                writer.write(large[start : start + size])
                await writer.drain()
                await asyncio.sleep(0)
            answer = await asyncio.wait_for(reader.read(200), 5)
            writer.close()
            return answer

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 431")


def test_a_crowd_that_says_nothing_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "limit", 20)

    async def scenario() -> tuple[bytes, int]:
        async with listening() as port:
            crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
            answer = await ask(port, REQUEST)
            await asyncio.sleep(0.1)
            closed = sum(reader.at_eof() or reader.exception() is not None for reader, _ in crowd)
            for _, writer in crowd:
                writer.close()
            return answer, closed

    answer, closed = asyncio.run(scenario())
    assert answer.startswith(b"HTTP/1.1 200")
    assert closed >= 40


def test_where_all_are_being_answered_a_newcomer_is_asked_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedConnection, "limit", 3)

    async def scenario() -> bytes:
        async with listening() as port:
            busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for _, writer in busy:
                writer.write(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.sleep(0.2)
            answer = await ask(port, REQUEST)
            for _, writer in busy:
                writer.close()
            return answer

    answer = asyncio.run(scenario())
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer


def test_the_limit_is_below_that_of_open_files() -> None:
    import resource

    assert 8 <= connection_limit() <= max(8, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
