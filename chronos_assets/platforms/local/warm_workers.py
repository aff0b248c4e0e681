"""Warm workers: start the fork server of this process, and start workloads with the fork server of whoever has one.

Here: the owner's and the launcher's side of `forkserver.py`. Elsewhere: what a workload's process is
given (`processes.py`), the server itself.

The commands `run` and `ui` own a server for as long as they live; launchers find it by the variable `WARM_WORKERS`, which
processes that they start inherit and workloads don't. Without it, or with `WARM_WORKERS=off`, or where a server refuses,
is gone or never was (AWS, containers, systems other than Linux), a workload is a plain child process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Protocol

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.local.forkserver import (
    DESCRIPTORS,
    IDLE_SECONDS,
    LENGTH,
    ForkRequest,
    digest,
    lasting,
    server_command,
)

WARM_WORKERS = "CHRONOS_WARM_WORKERS"
OFF = "off"

_ATTEMPTS = 3
_ANSWER_SECONDS = 120.0  # importing everything on a busy machine
_ANNOUNCE_SECONDS = 1.0

log = logging.getLogger(__name__)


class WorkloadProcess(Protocol):
    """A workload's process, however it was started: the part of `subprocess.Popen` that launchers use."""

    @property
    def pid(self) -> int:
        """Its number, and that of its process group."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Its lifeline."""

    def poll(self) -> int | None:
        """Its exit status, minus the signal that killed it; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has one.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """

    def terminate(self) -> None:
        """Ask it to stop."""


class NoWarmWorkersError(ChronosAssetsError):
    """There is no server that starts this workload; a plain process does."""


class WarmProcess:
    """A workload that a fork server has started.

    Args:
        pid: its number.
        connection: on which the server tells its status.
        stdin: our end of its standard input.
        module: that it runs, for people.
    """

    def __init__(self, pid: int, connection: socket.socket, stdin: IO[bytes], module: str) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = stdin
        self.args = [sys.executable, "-m", module]
        self.returncode: int | None = None
        self._connection = connection
        self._received = b""
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """See `WorkloadProcess.poll`."""
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        """See `WorkloadProcess.wait`."""
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def terminate(self) -> None:
        """See `WorkloadProcess.terminate`."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def _status(self, timeout: float | None) -> int | None:
        """The exit status, if it comes within so many seconds."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN)
            if poll.poll(None if timeout is None else max(0, int(1000 * timeout))):
                with self._lock:
                    self._read()
        return self.returncode

    def _read(self) -> None:
        if self.returncode is not None:
            return  # another thread has read it
        more = self._connection.recv(4096)
        self._received += more
        if b"\n" in self._received:
            self.returncode = int(json.loads(self._received)["status"])
        elif not more:
            # Nobody can tell its status any more: the server was killed. A job without one is none that succeeded.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                try:
                    os.killpg(self.pid, signal.SIGKILL)
                except ProcessLookupError:  # forked a moment ago, it leads no group yet
                    os.kill(self.pid, signal.SIGKILL)
            self.returncode = -signal.SIGKILL
        if self.returncode is not None:
            self._connection.close()  # lets the server let go of the job's number


class WarmWorkers:
    """A fork server that this process owns; it ends with this process, or with `close`.

    The end of a pipe that `close` closes stays open in a program that this process executes in its place.

    Args:
        idle_seconds: without a job until the server gives its memory back.
    """

    def __init__(self, environment: Mapping[str, str], idle_seconds: float = IDLE_SECONDS) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="chronos-warm-")) / "socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(self.path))
            listener.listen(64)
            lifeline, self._lifeline = os.pipe()
            try:
                self._process = subprocess.Popen(
                    server_command(listener.fileno(), self.path, digest(environment), idle_seconds),
                    cwd="/",
                    env=lasting(environment),
                    stdin=lifeline,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(listener.fileno(),),
                    start_new_session=True,
                )
            finally:
                os.close(lifeline)
        os.set_inheritable(self._lifeline, True)

    @property
    def pid(self) -> int:
        """The server's number."""
        return self._process.pid

    def close(self) -> None:
        """Let the server end, once its jobs have."""
        os.close(self._lifeline)


def own_warm_workers(environment: Mapping[str, str]) -> WarmWorkers | None:
    """Start this process's fork server and tell its descendants of it; None where it is switched off.

    Args:
        environment: what a workload started here would get, see `processes.workload_environment`.
    """
    if os.environ.get(WARM_WORKERS) or not sys.platform.startswith("linux"):
        return None  # switched off, or an ancestor's; elsewhere forking after imports isn't safe
    try:
        workers = WarmWorkers(environment)
    except OSError as error:
        log.warning("jobs start as plain processes: %s", error)
        return None
    os.environ[WARM_WORKERS] = str(workers.path)
    return workers


@contextmanager
def warm_workers(environment: Mapping[str, str]) -> Iterator[None]:
    """Have a fork server inside of the block, see `own_warm_workers`."""
    workers = own_warm_workers(environment)
    try:
        yield
    finally:
        if workers is not None:
            del os.environ[WARM_WORKERS]
            workers.close()


def start_warm(
    module: str, folder: Path, environment: Mapping[str, str], *, stdout: int, stderr: int, lock: int
) -> WarmProcess:
    """Start a workload by the fork server that `WARM_WORKERS` names.

    Raises:
        NoWarmWorkersError: no server starts it.
    """
    path = os.environ.get(WARM_WORKERS, OFF)
    if path in ("", OFF):
        raise NoWarmWorkersError("there is no fork server")
    request = ForkRequest(module, str(folder), dict(environment), sys.executable)
    reason = ""
    for _ in range(_ATTEMPTS):
        stdin, ours = os.pipe()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        started = False
        try:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(path)
            _send(connection, request, [stdin, stdout, stderr, lock])
            answer = _answer(connection)
            if "pid" in answer:
                started = True
                connection.settimeout(None)
                return WarmProcess(int(answer["pid"]), connection, open(ours, "wb", buffering=0), module)
            reason = str(answer.get("again") or answer.get("refused"))
            if "refused" in answer:
                break
        except TimeoutError as error:
            raise NoWarmWorkersError(f"the fork server does not answer: {error}") from error
        except (OSError, ValueError) as error:
            # It may be starting over at this moment, and close what it had accepted before.
            reason = f"the fork server does not answer: {error}"
        finally:
            os.close(stdin)
            if not started:
                os.close(ours)
                connection.close()
    raise NoWarmWorkersError(reason)


def preload(module: str, environment: Mapping[str, str]) -> None:
    """Let the fork server that `WARM_WORKERS` names import what a workload needs, and don't wait for it.

    Without a server, or with one that starts over meanwhile, the workload starts as it would have.
    """
    path = os.environ.get(WARM_WORKERS, OFF)
    if path in ("", OFF):
        return
    request = ForkRequest(module, "/", dict(environment), sys.executable, preload_only=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, open(os.devnull, "rb") as nothing:
        connection.settimeout(_ANNOUNCE_SECONDS)
        try:
            connection.connect(path)
            _send(connection, request, [nothing.fileno()] * DESCRIPTORS)
        except OSError as error:
            log.debug("the fork server isn't told of %s: %s", module, error)


def _send(connection: socket.socket, request: ForkRequest, descriptors: list[int]) -> None:
    assert len(descriptors) == DESCRIPTORS  # noqa: S101 - what the server wants
    document = json.dumps(asdict(request)).encode()
    message = LENGTH.pack(len(document)) + document
    sent = socket.send_fds(connection, [message], descriptors)
    if rest := message[sent:]:  # `sendall` of nothing fails where the server has answered and hung up by now
        connection.sendall(rest)


def _answer(connection: socket.socket) -> dict[str, Any]:
    """The server's first line.

    Raises:
        ValueError: the server has gone without one.
    """
    received = b""
    while not received.endswith(b"\n"):
        byte = connection.recv(1)  # one by one: the next line may follow at once, and is another's to read
        if not byte:
            raise ValueError("it hung up")
        received += byte
    answer = json.loads(received)
    if not isinstance(answer, dict):
        raise ValueError(f"it answers {answer!r}")
    return answer
