"""The fork server: a process that has imported what workloads import, and forks one for each job.

    python -m chronos_assets.platforms.local.forkserver --listen <descriptor> --socket <path> --environment <digest>

Here: the server's loop, when what it has imported is too old, and what a forked workload finds. Elsewhere:
who starts a server and who asks it (`warm_workers.py`), what a workload's process is given (`processes.py`).

- **It imports nothing until it is asked to**, then what `PRELOADS` names for the workload, and forks. Nothing is computed
  before a fork, so that no pool of threads of torch or OpenMP is alive at one. The two threads that importing starts, of
  numpy's OpenBLAS and of Arrow's allocator, are made for forks by their libraries (`pthread_atfork`).
- **What it serves is what is on disk.** A source file that has changed since it was imported, or a variable of the job's
  environment that is another than the server's own, make the server start over: it executes itself, keeps its socket and
  its children, and the client asks again. Variables that workloads read when they run (`is_late`) don't count.
- **It ends with its owner**, which holds the other end of its standard input; jobs that still run are waited for, since a
  plain child of their launcher would live on, too. After `IDLE_SECONDS` without a job it gives its memory back.
- **A job's number stays its own until its launcher has read its exit status**, as with any child.

Messages: one JSON document after four bytes with its length, with the descriptors for standard input, output and error and
the job's lock; the answer is lines of JSON, `{"pid"}` and `{"status"}`, or `{"again"}`, or `{"refused"}`. Who only announces a
job gets none.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import hashlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import setproctitle

from chronos_assets.container.contract import LIFELINE_VARIABLE, ROOT_VARIABLE

PROTOCOL = 1
IDLE_SECONDS = 300.0
LENGTH = struct.Struct("!I")
DESCRIPTORS = 4  # standard input, output, error, lock

_LARGEST_REQUEST = 1 << 22
_REQUEST_SECONDS = 10.0
_CLOCK_SECONDS = 0.05  # by how much a file system's clock may be behind
_SERVER = "chronos_assets.platforms.local.forkserver"
_FORECASTING = (
    "dagster_pipes",
    "pandas",
    "pyarrow.parquet",
    "safetensors.torch",
    "chronos_assets.models.forecasting",
    "chronos_assets.models.loading",
    "chronos_assets.predictors.forecast_pieces",
    "chronos_assets.predictors.forecast_request",
    "chronos_assets.predictors.opening",
    "chronos_assets.timeseries.forecast.files",
)
_TRAINING = (*_FORECASTING, "chronos", "chronos_assets.models.finetuning")

PRELOADS: Mapping[str, tuple[str, ...]] = {
    "chronos_assets.workloads.evaluate": (*_FORECASTING, "chronos_assets.predictors.evaluation_data"),
    "chronos_assets.workloads.explain": (*_FORECASTING, "chronos_assets.predictors.explaining"),
    "chronos_assets.workloads.forecast": _FORECASTING,
    "chronos_assets.workloads.generate": (
        "dagster_pipes",
        "chronos_assets.container.parameters",
        "chronos_assets.kernelsynth.sampler",
        "chronos_assets.params.hyperparameters",
        "chronos_assets.timeseries.dataset.gluonts_arrow",
    ),
    "chronos_assets.workloads.learn": _FORECASTING,
    "chronos_assets.workloads.train": _TRAINING,
}
"""What a workload imports, but not the workload itself, which runs as the main program."""


def is_late(variable: str) -> bool:
    """Whether a variable is read when a workload runs, not when modules are imported: a server may differ in it."""
    return variable in {ROOT_VARIABLE, LIFELINE_VARIABLE} or variable.startswith("DAGSTER_PIPES_")


def lasting(environment: Mapping[str, str]) -> dict[str, str]:
    """What of a job's environment its server must have, too."""
    return {name: value for name, value in environment.items() if not is_late(name)}


def digest(environment: Mapping[str, str]) -> str:
    """Of what a server must have: its own variables tell less, since the interpreter adds to them (PEP 538)."""
    return hashlib.sha256(json.dumps(sorted(lasting(environment).items())).encode()).hexdigest()


@dataclass(frozen=True)
class ForkRequest:
    """A job to start.

    Attributes:
        module: to run as the main program.
        folder: working directory.
        environment: all of its variables.
        executable: the interpreter that a plain child would get.
        preload_only: whether there is no job yet: import what it will need, start nothing and answer nothing.
        protocol: of the client.
    """

    module: str
    folder: str
    environment: Mapping[str, str]
    executable: str
    preload_only: bool = False
    protocol: int = PROTOCOL


@dataclass
class _ForkedJob:
    """A forked workload, and the connection that waits for its status; None if its launcher is gone."""

    pid: int
    connection: socket.socket | None
    reported: bool = False


@dataclass
class SourceSnapshot:
    """Source files as they were imported.

    Attributes:
        since: seconds since the epoch; a file that is newer may have been written after it was read.
        files: path -> size and time of change.
    """

    since: float = field(default_factory=lambda: time.time() - _CLOCK_SECONDS)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, paths: Iterable[str]) -> None:
        """Note files that were imported since the last call."""
        for path in paths:
            if path not in self.files:
                self.files[path] = _state(path)

    def changed(self) -> str | None:
        """A file that is another now, or may be; None if all are what was imported."""
        newest = int(self.since * 1e9)
        return next(
            (path for path, state in self.files.items() if state[1] >= newest or _state(path) != state),
            None,
        )


def imported_files() -> Iterator[str]:
    """Files of all modules of this process."""
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path:
            yield path


def _state(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


class ForkServer:
    """The server.

    Args:
        listener: socket that clients connect to.
        path: of the socket, removed at the end.
        environment: digest of the variables that this process was given.
        jobs: those that an earlier program of this process has started.
        idle_seconds: without a job until it gives its memory back.
    """

    def __init__(
        self,
        listener: socket.socket,
        path: Path,
        environment: str,
        jobs: Iterable[_ForkedJob] = (),
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._listener = listener
        self._path = path
        self._environment = environment
        self._jobs = {job.pid: job for job in jobs}
        self._idle_seconds = idle_seconds
        self._snapshot = SourceSnapshot()
        self._snapshot.add(imported_files())
        self._preloaded: set[str] = set()
        self._owned = True
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._alarm = socket.socketpair()

    def run(self) -> int:
        """Serve until the owner is gone and all jobs have ended.

        Returns:
            The exit status.
        """
        for end in (self._wakeup, self._alarm):
            end.setblocking(False)
        setproctitle.getproctitle()  # finds its place in memory, which it can't once the variables are a job's
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._alarm.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(0, selectors.EVENT_READ, self._read_lifeline)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._drain)
        for job in self._jobs.values():
            self._watch(job)
        self._look_after_jobs()
        while self._owned or self._jobs:
            idle = self._idle_seconds if self._preloaded and not self._jobs else None
            ready = self._selector.select(idle)
            if not ready and idle is not None:
                self._start_over(os.environ, self._environment)
            for key, _ in ready:
                key.data()
            self._look_after_jobs()
        return 0

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakeup.recv(4096)

    def _read_lifeline(self) -> None:
        """The owner never writes: what can be read is the end."""
        if os.read(0, 4096):
            return
        self._owned = False
        self._selector.unregister(0)
        self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._path.parent.rmdir()

    def _accept(self) -> None:
        if not self._owned:
            return
        connection, _ = self._listener.accept()
        connection.settimeout(_REQUEST_SECONDS)
        descriptors: list[int] = []
        try:
            request = _receive(connection, descriptors)
            answer = self._answer(request)
            if answer or request.preload_only:
                if not request.preload_only:
                    _send(connection, answer)
                connection.close()
                if "again" in answer:
                    self._start_over(lasting(request.environment), digest(request.environment))
            else:
                self._start(request, connection, descriptors)
        except (OSError, ValueError, KeyError, TypeError) as error:
            _complain(f"a request was dropped: {error}")
            connection.close()
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _answer(self, request: ForkRequest) -> dict[str, str]:
        """Why the request can't be served, or not yet; empty if it can."""
        if request.protocol != PROTOCOL or request.executable != sys.executable:
            return {"refused": f"this server speaks {PROTOCOL} and is of {sys.executable}"}
        if (changed := self._snapshot.changed()) is not None:
            return {"again": f"{changed} has changed"}
        if digest(request.environment) != self._environment:
            return {"again": "the environment is another"}
        try:
            self._preload(PRELOADS.get(request.module, ()))
        except Exception as error:  # noqa: BLE001 - the job shall fail as it would without a server, and say so itself
            return {"refused": f"{type(error).__name__}: {error}"}
        return {}

    def _preload(self, modules: Iterable[str]) -> None:
        wanted = set(modules) - self._preloaded
        if not wanted:
            return
        self._snapshot = SourceSnapshot(files=self._snapshot.files)  # files that were there before stay as they were
        for module in sorted(wanted):
            importlib.import_module(module)
        self._snapshot.add(imported_files())
        self._preloaded |= wanted
        _leave_to_the_system()
        gc.collect()
        gc.freeze()  # a collection in a child would copy the pages that it shares with this process

    def _start(self, request: ForkRequest, connection: socket.socket, descriptors: list[int]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                self._forget()
                connection.close()
                _become(request, descriptors)
            finally:
                os._exit(1)  # whatever went wrong, a child must not continue as the server
        job = self._jobs[pid] = _ForkedJob(pid, connection)
        self._watch(job)
        try:
            _send(connection, {"pid": pid})
        except OSError:  # the launcher was killed after its request: the job's lifeline sees to the job
            self._dismiss(job)

    def _forget(self) -> None:
        """Close, in a child, what is the server's."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for end in (self._listener, self._wakeup, self._alarm):
            end.close()
        for job in self._jobs.values():
            if job.connection is not None:
                job.connection.close()

    def _watch(self, job: _ForkedJob) -> None:
        """See when the launcher of a job has read its status, or is gone."""
        if job.connection is not None:
            job.connection.settimeout(_REQUEST_SECONDS)
            self._selector.register(job.connection, selectors.EVENT_READ, lambda: self._dismiss(job))

    def _dismiss(self, job: _ForkedJob) -> None:
        if job.connection is not None:
            self._selector.unregister(job.connection)
            job.connection.close()
            job.connection = None

    def _look_after_jobs(self) -> None:
        """Tell the status of jobs that have ended, and let go of those whose launcher knows it."""
        for job in list(self._jobs.values()):
            ended = os.waitid(os.P_PID, job.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                continue
            if job.connection is not None and not job.reported:
                job.reported = True
                killed = ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
                try:
                    _send(job.connection, {"status": -ended.si_status if killed else ended.si_status})
                except OSError:
                    self._dismiss(job)
            if job.connection is None:
                os.waitpid(job.pid, 0)
                del self._jobs[job.pid]

    def _start_over(self, environment: Mapping[str, str], identity: str) -> NoReturn:
        """Become a new server with nothing imported, the same socket and the same jobs."""
        jobs = {}
        for job in self._jobs.values():
            descriptor = None if job.connection is None else job.connection.detach()
            if descriptor is not None:
                os.set_inheritable(descriptor, True)
            jobs[job.pid] = [descriptor, job.reported]
        listener = self._listener.detach()
        os.set_inheritable(listener, True)
        command = server_command(listener, self._path, identity, self._idle_seconds)
        os.execve(sys.executable, [*command, "--jobs", json.dumps(jobs)], dict(environment))  # noqa: S606 - ourselves


def server_command(listener: int, path: Path, environment: str, idle_seconds: float) -> list[str]:
    """The command line of a server; see `ForkServer` for what it is given."""
    options = {"--listen": listener, "--socket": path, "--environment": environment, "--idle": idle_seconds}
    return [sys.executable, "-m", _SERVER, *(str(part) for option in options.items() for part in option)]


def _become(request: ForkRequest, descriptors: list[int]) -> NoReturn:
    """Be a workload from here on: what `python -m <module>` would be with the request's environment and descriptors."""
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for standard, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, standard)
    for descriptor in descriptors[:3]:
        os.close(descriptor)
    os.set_inheritable(descriptors[3], True)  # helpers hold the lock, too
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    os.chdir(request.folder)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # the children would all draw the same; `random` sees to itself
    _set_title(request.module)
    sys.argv = [request.module]
    os._exit(_run(request.module))


def _run(module: str) -> int:
    """Run a module as the main program to the end of its threads and exit handlers; its exit status."""
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        status = _exit_status(stop)
    except BaseException:  # noqa: BLE001 - as the interpreter does with whatever the main program raises
        traceback.print_exc()
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined] # threads that are no daemons end first
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return status


def _leave_to_the_system() -> None:
    """Don't tidy up, at the end of each job, what importing has made in memory: torch takes 0.1 s of computing for it.

    What was imported has made nothing else yet. A job's own finalizers and exit handlers run.
    """
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined] # there is no other list of them
        finalizer.atexit = False
    if (compiling := sys.modules.get("torch._dynamo.utils")) is not None:
        atexit.unregister(compiling.dump_compile_times)  # imports a library to log a table of nothing


def _exit_status(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code & 0xFF
    sys.stderr.write(f"{stop.code}\n")
    return 1


def _set_title(module: str) -> None:
    """Show the job to `ps` under the name of its program."""
    setproctitle.setproctitle(f"{sys.executable} -m {module}")


def _receive(connection: socket.socket, descriptors: list[int]) -> ForkRequest:
    """Read a request; its descriptors are added to `descriptors`, so that they can be closed whatever happens.

    Raises:
        ValueError, OSError, KeyError, TypeError: this is no request.
    """
    received, given, _, _ = socket.recv_fds(connection, 1 << 16, DESCRIPTORS)
    descriptors += given
    for descriptor in given:
        # A server that starts over must not keep holding the lock of a job that it has refused.
        os.set_inheritable(descriptor, False)
    (length,) = LENGTH.unpack_from(received)
    if length > _LARGEST_REQUEST:
        raise ValueError(f"a request of {length} bytes")
    while len(received) < LENGTH.size + length:
        more = connection.recv(1 << 16)
        if not more:
            raise ValueError("the request is cut off")
        received += more
    if len(descriptors) != DESCRIPTORS:
        raise ValueError(f"{len(descriptors)} descriptors")
    return ForkRequest(**json.loads(received[LENGTH.size :]))


def _send(connection: socket.socket, document: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(document).encode() + b"\n")


def _complain(message: str) -> None:
    sys.stderr.write(f"fork server: {message}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Run a server; see the module.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="forks workloads from a process that has imported what they need")
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--environment", required=True)
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS)
    parser.add_argument("--jobs", type=json.loads, default={})
    options = parser.parse_args(arguments)
    listener = socket.socket(fileno=options.listen)
    listener.set_inheritable(False)
    jobs = []
    for pid, (descriptor, reported) in options.jobs.items():
        connection = None if descriptor is None else socket.socket(fileno=descriptor)
        if connection is not None:
            connection.set_inheritable(False)
        jobs.append(_ForkedJob(int(pid), connection, reported))
    return ForkServer(listener, options.socket, options.environment, jobs, options.idle).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
