"""The life of a server process: its listeners, its part in a deployment, its end.

Here: uvicorn, signals, and in which order sockets open and close. Elsewhere: the application
(`app`), how two processes speak to each other (`handover`).
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

from chronos_assets.container.contract import READY_FILE, SERVING_FILE
from chronos_assets.serving.connections import BoundedConnection
from chronos_assets.serving.handover import (
    Deployment,
    Predecessor,
    listen,
    serve_successors,
    wait_for_end,
    wait_for_word,
)
from chronos_assets.serving.web_guard import LOOPBACK, WebGuard
from chronos_assets.system import replaced

_KEEP_ALIVE = 5
_LOOKS = 3  # in vain, for the state file, until the server is known to be abandoned


@dataclass(frozen=True)
class Hosting:
    """How a server process listens and ends.

    Attributes:
        host, port: where; the port is not used in a deployment.
        drain_seconds: how long connections may last once it is asked to stop; longer than idle ones are kept.
        finish_seconds: and then, how long requests may take that are being answered.
        look_seconds: between two looks for the state file of its deployment.
        deployment: its part in one, or None: it listens at once.
    """

    host: str = "0.0.0.0"  # noqa: S104 - a container is reached from outside; a laptop's endpoint is given 127.0.0.1
    port: int = 8080
    drain_seconds: float = _KEEP_ALIVE + 1.0
    finish_seconds: float = 60.0
    look_seconds: float = 5.0
    deployment: Deployment | None = None


class Hosted(Protocol):
    """What the process serves. `draining` is set when it takes no new connection."""

    draining: bool

    def start(self) -> None:
        """Begin, inside the event loop."""

    async def stop(self) -> None:
        """Finish what was begun."""


async def host(hosted: Hosted, app: ASGIApp, hosting: Hosting, root: Path) -> None:
    """Serve `app` until SIGTERM, SIGINT or the successor's word, then drain.

    Args:
        hosted: started before the first request, stopped after the last one.
        app: an ASGI application without a lifespan.
        hosting: see there.
        root: folder for the files that a launcher waits for.
    """
    # Beyond loopback, names are the network's, and no browser sits on the same machine.
    process = _Process(WebGuard(app, LOOPBACK) if is_loopback(hosting.host) else app, hosting, root)
    hosted.start()
    listener = await process.serve()
    hosted.draining = True
    if listener is not None:
        await _drain(listener, hosting.drain_seconds)
    await hosted.stop()


def is_loopback(host: str) -> bool:
    """Whether a server that listens there is reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Server(uvicorn.Server):
    """One listener. The process has several, so signals are its own affair."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class _Listener:
    """A socket, and the server on it."""

    server: _Server
    task: asyncio.Task[None]
    listening: socket.socket


class _Process:
    """The listeners of this process, from its start until it is asked to stop."""

    def __init__(self, app: ASGIApp, hosting: Hosting, root: Path) -> None:
        self._app = app
        self._hosting = hosting
        self._root = root
        self._loop = asyncio.get_running_loop()
        self._stop_asked = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop_asked.set)

    async def serve(self) -> _Listener | None:
        """Returns when asked to stop, with the listener that clients know, if there was one by then."""
        if self._hosting.deployment is not None:
            return await self._deploy(self._hosting.deployment)
        listener = await self._open(listen(self._hosting.host, (self._hosting.port,)))
        await self._stop_asked.wait()
        return listener

    async def _deploy(self, deployment: Deployment) -> _Listener | None:
        private = listen(self._hosting.host, (0,))
        trial = await self._open(private)
        self._announce(READY_FILE, private)
        word = self._in_thread(wait_for_word)
        if not await self._comes_before_the_stop(word) or not word.result():
            await _close(trial)
            return None
        predecessor = Predecessor(deployment.previous) if deployment.previous else None
        public = predecessor.listening_socket() if predecessor else listen(self._hosting.host, deployment.ports)
        listener = await self._open(public)

        def retire() -> None:
            self._loop.call_soon_threadsafe(self._stop_asked.set)

        serve_successors(public, retire)
        self._announce(SERVING_FILE, public)
        await self._comes_before_the_stop(self._in_thread(wait_for_end))
        await _close(trial)
        if deployment.is_current():
            if predecessor:
                predecessor.retire()
            await self._stopped_or_abandoned(deployment)
        return listener

    async def _stopped_or_abandoned(self, deployment: Deployment) -> None:
        missed = 0
        while missed < _LOOKS and not self._stop_asked.is_set():
            missed = missed + 1 if deployment.is_abandoned() else 0
            try:
                await asyncio.wait_for(self._stop_asked.wait(), self._hosting.look_seconds)
            except TimeoutError:
                continue

    async def _comes_before_the_stop(self, future: asyncio.Future[Any]) -> bool:
        """Wait for a future; False if this process was asked to stop before."""
        stopping = asyncio.create_task(self._stop_asked.wait())
        await asyncio.wait({future, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return future.done()

    def _in_thread(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """A function that may wait forever, in a thread that doesn't keep the process alive."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def settle(result: Any) -> None:
            if not future.done():
                future.set_result(result)

        def run() -> None:
            self._loop.call_soon_threadsafe(settle, function())

        threading.Thread(target=run, name=function.__name__, daemon=True).start()
        return future

    async def _open(self, listening: socket.socket) -> _Listener:
        """Accept connections on a socket."""
        config = uvicorn.Config(
            self._app,
            http=BoundedConnection,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, int(self._hosting.finish_seconds)),
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if task.done():
            task.result()
        return _Listener(server, task, listening)

    def _announce(self, name: str, listening: socket.socket) -> None:
        """Leave a file for the launcher, whole or not at all."""
        with replaced(self._root / name) as part:
            part.write_text(json.dumps({"port": listening.getsockname()[1]}), encoding="utf-8")


async def _close(listener: _Listener) -> None:
    """Close a listener that only the launcher knew."""
    listener.server.should_exit = True
    await listener.task


async def _drain(listener: _Listener, seconds: float) -> None:
    """Take no new connection, answer what was asked, let clients leave."""
    loop = asyncio.get_running_loop()
    # asyncio resets connections that it has accepted a moment before its server is closed: it first stops to accept.
    loop.remove_reader(listener.listening.fileno())
    await asyncio.sleep(0.05)
    for server in listener.server.servers:
        server.close()
    deadline = loop.time() + seconds
    while listener.server.server_state.connections and loop.time() < deadline:
        await asyncio.sleep(0.02)
    await _close(listener)
