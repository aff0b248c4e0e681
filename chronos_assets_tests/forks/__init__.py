"""Programs that tests start as processes of their own, forked from the session's fork server.

Here: the session's server, and how a test starts a program by it. Elsewhere: what a forked program finds
(`program.py`), what the server imports (`server.py`), the server itself (`chronos_assets.platforms.local.forkserver`).

An interpreter that imports Dagster or torch computes for two to five seconds before the first line that a test is about.
A forked program has a process, session, environment, folder, descriptors and exit status of its own, as one that was started
has; what it doesn't show is that a cold start works. One test of each program starts it cold.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, TextIO
from unittest import mock

from chronos_assets.platforms.local import forkserver, processes, warm_workers
from chronos_assets.platforms.local.processes import workload_environment
from chronos_assets.platforms.local.warm_workers import OFF, WARM_WORKERS, WarmProcess, WorkloadProcess

COMMAND = "chronos_assets_tests.forks.command"
CONTAINER = "chronos_assets_tests.forks.container"
ENDPOINT = "chronos_assets_tests.forks.endpoint"
CODE = "chronos_assets_tests.forks.code"  # a module to start: it runs its first argument
AFTER_SHELL = "chronos_assets_tests.forks.after_shell"  # a module to start: a shell's commands, then another module
KILLED = "chronos_assets_tests.forks.killed"  # a module to start: another module, killed at a call of a function
SERVER = "chronos_assets_tests.forks.server"

# As the session begins: a test that changes a variable of its own must not make the server start over.
_ENVIRONMENT = workload_environment(Path("/"))
_SERVER = os.environ.get(WARM_WORKERS, "")


@contextmanager
def session_server() -> Iterator[None]:
    """The fork server of this session and its workers; `CHRONOS_WARM_WORKERS=off` does without."""
    global _SERVER  # noqa: PLW0603 - one for the process and those that it starts
    original, forkserver._SERVER = forkserver._SERVER, SERVER
    try:
        workers = warm_workers.own_warm_workers(_ENVIRONMENT)
    finally:
        forkserver._SERVER = original
    _SERVER = os.environ.get(WARM_WORKERS, "")
    try:
        yield
    finally:
        if workers is not None:
            del os.environ[WARM_WORKERS]
            workers.close()


def import_ahead() -> None:
    """Let the session's server import what programs of tests need, which would wait for it otherwise; returns at once."""
    for kind in (COMMAND, CONTAINER):
        warm_workers.preload(kind, _ENVIRONMENT)


def for_cold_programs() -> dict[str, str]:
    """Variables with which jobs of a program come from the session's server, too, however the program is started."""
    shared = ("PYTHONPATH", "PYTHONSAFEPATH")
    return {WARM_WORKERS: _SERVER or OFF, **{name: _ENVIRONMENT[name] for name in shared}}


def there_are() -> bool:
    """Whether programs are forked here."""
    return _SERVER not in ("", OFF)


def start(
    module: str,
    *arguments: str,
    folder: Path,
    environment: Mapping[str, str],
    stdout: int,
    stderr: int,
    kind: str = COMMAND,
    mount: Path | None = None,
) -> WorkloadProcess:
    """Start `python -m module arguments`, the leader of a session of its own, whose standard input is empty.

    Args:
        folder: its working directory.
        environment: all of its variables.
        stdout: descriptor for its standard output.
        stderr: descriptor for its standard error.
        kind: `COMMAND`, `CONTAINER` or `ENDPOINT`: what is imported before the fork, and what standard input is for.
        mount: what it sees as `/opt/ml`, in a mount namespace of its own; it takes root.
    """
    if not there_are():
        if mount is not None:
            raise ValueError("there is no fork server to mount a folder")
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    request = forkserver.ForkRequest(kind, "/", _ENVIRONMENT, sys.executable)
    program = {
        "module": module,
        "arguments": arguments,
        "folder": str(folder),
        "environment": dict(environment),
        "mount": None if mount is None else str(mount),
    }
    return _fork(request, json.dumps(program).encode() + b"\n", [stdout, stderr])


def _fork(request: forkserver.ForkRequest, first: bytes, outputs: list[int]) -> WarmProcess:
    """Ask the session's server for a process whose standard input begins with `first`."""
    while True:
        stdin, ours = os.pipe()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with open(os.devnull, "rb") as nothing:
            connection.connect(_SERVER)
            warm_workers._send(connection, request, [stdin, *outputs, nothing.fileno()])
        os.close(stdin)
        answer = warm_workers._answer(connection)
        if "pid" in answer:
            os.write(ours, first)
            return WarmProcess(int(answer["pid"]), connection, open(ours, "wb", buffering=0), request.module)
        os.close(ours)
        connection.close()
        if "again" not in answer:
            raise RuntimeError(f"the session's fork server refuses: {answer}")


class ForkedServer:
    """A server of an endpoint: what `LocalEndpoints` asks of `subprocess.Popen`."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: BinaryIO, **_: Any
    ) -> None:
        _, _, module, *arguments = command
        log = stdout.fileno()
        self._process = start(module, *arguments, folder=cwd, environment=env, stdout=log, stderr=log, kind=ENDPOINT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    def kill(self) -> None:
        """End it at once."""
        os.kill(self._process.pid, signal.SIGKILL)


@contextmanager
def forked_endpoints() -> Iterator[None]:
    """Have the servers of local endpoints forked: that they start cold is tested with the command and with containers."""
    from chronos_assets.platforms.local import endpoints  # the server of the session needs none of it

    starting = SimpleNamespace(Popen=ForkedServer, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
    with mock.patch.object(endpoints, "subprocess", starting) if there_are() else nullcontext():
        yield


def run(
    module: str, *arguments: str, folder: Path, environment: Mapping[str, str], kind: str = COMMAND
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end: its exit status, and what it wrote."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        outputs = {"stdout": stdout.fileno(), "stderr": stderr.fileno()}
        process = start(module, *arguments, folder=folder, environment=environment, kind=kind, **outputs)
        status = process.wait()
        close(process)
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, status, stdout.read().decode(), stderr.read().decode())


@contextmanager
def reading(
    module: str,
    *arguments: str,
    folder: Path,
    environment: Mapping[str, str],
    kind: str = COMMAND,
    output: str = "stderr",
) -> Iterator[tuple[WorkloadProcess, TextIO]]:
    """A program that is read as it writes; what is left of it is killed at the end of the block.

    Args:
        output: what is read, `stdout` or `stderr`; the other is thrown away.
    """
    ours, theirs = os.pipe()
    with os.fdopen(ours, encoding="utf-8") as stream, open(os.devnull, "wb") as nothing:
        outputs = {"stdout": nothing.fileno(), "stderr": nothing.fileno(), output: theirs}
        try:
            process = start(module, *arguments, folder=folder, environment=environment, kind=kind, **outputs)
        finally:
            os.close(theirs)
        try:
            yield process, stream
        finally:
            processes.kill_group(process)
            process.wait()
            close(process)


def close(process: WorkloadProcess) -> None:
    """Let go of a program: one of `CONTAINER` that still runs is killed."""
    if process.stdin is not None:
        process.stdin.close()
