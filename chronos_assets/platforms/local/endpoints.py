"""Endpoints as local server processes that outlive the run that deployed them.

Here: starting, trying and switching them. Elsewhere: their processes (`server_processes`), calls of them
(`server_calls`), what a server answers, and how it takes over a socket (`workloads/serve`, `serving/handover`).

Folder `<store>/.endpoints/<name>/`:

```
state.json     the endpoint: its port, the server in use, those being started or retired; the only truth
d1/, d2/, …    one for each deployment: what its server sees as /opt/ml, with its log
```

**Blue/green.** A new server answers on a private port; when it has answered `/ping` and the golden request there, it takes
over the old one's listening socket, `state.json` is replaced, and the old one finishes what it has and goes. Clients
see one port that always answers. A server that fails before that is ended, and the old one never knew.

**Killed at any moment**, a deployment leaves servers that find out by themselves: one that isn't named in `state.json`
when its launcher is gone goes away, one that is named there retires its predecessor. What can't (stopped, hung) is
written down in `state.json` before it matters, and ended by the next deployment or deletion.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chronos_assets.container.contract import CONTROL_SOCKET, READY_FILE, SERVER_LOG, SERVING_FILE, TAKE_OVER, Workspace
from chronos_assets.platforms.endpoints import (
    EndpointError,
    EndpointRequest,
    EndpointState,
    golden_problem,
    not_deployed,
)
from chronos_assets.platforms.file_locks import lock_file
from chronos_assets.platforms.jobs import WORKLOADS, check_job_name
from chronos_assets.platforms.local.processes import failure_reason, log_tail, workload_environment
from chronos_assets.platforms.local.server_calls import HOST, ping, post, url_of
from chronos_assets.platforms.local.server_processes import ServerProcess, end_server, lives, remembered
from chronos_assets.platforms.locked_folder import lock_path
from chronos_assets.platforms.store import Store, StoreKeyError
from chronos_assets.store_layout import ENDPOINTS_KEY
from chronos_assets.system import replaced, write_json

# Ports that no system gives to outgoing connections by itself, so that an endpoint's own is free after a restart.
_FIRST_PORT, _PORTS, _PORTS_TRIED = 20_000, 10_000, 50

_STATE = "state.json"


@dataclass(frozen=True)
class _StateFile:
    """`state.json`."""

    name: str
    port: int | None = None
    current: ServerProcess | None = None
    others: tuple[ServerProcess, ...] = field(default=())

    @property
    def processes(self) -> tuple[ServerProcess, ...]:
        return (*((self.current,) if self.current else ()), *self.others)


class LocalEndpoints:
    """The laptop's `Endpoints`.

    Args:
        store: a store on this machine.
        package: package that holds the workload `serve`.
        start_seconds: how long a new server may take until it has answered the golden request.
        busy_seconds: how long to wait for another deployment of the same endpoint.
        grace_seconds: how long an old server may take to finish what it is doing.
    """

    def __init__(
        self,
        store: Store,
        *,
        package: str = WORKLOADS,
        start_seconds: float = 180.0,
        busy_seconds: float = 300.0,
        grace_seconds: float = 30.0,
    ) -> None:
        self._store = store
        self._package = package
        self._start_seconds = start_seconds
        self._busy_seconds = busy_seconds
        self._grace_seconds = grace_seconds

    def deploy(self, request: EndpointRequest, log: Any) -> EndpointState:
        """See `Endpoints.deploy`.

        Raises:
            EndpointError: the new server failed, with the end of its log; the old one, if there was one, still answers.
        """
        home = self._home(request.name)
        home.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(home):
            home.mkdir(exist_ok=True)
            state = self._tidied(home, log)
            previous = state.current if self._answers(state) else None
            if previous is not None and previous.identity == request.identity:
                return self._described(state, healthy=True)
            deployment = _Deployment(self, home, state, request, previous, log)
            return self._described(deployment.run(), healthy=True, changed=True)

    def describe(self, name: str) -> EndpointState | None:
        """See `Endpoints.describe`."""
        state = _read_state(self._home(name))
        return None if state.current is None else self._described(state, healthy=self._answers(state))

    def invoke(self, name: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `Endpoints.invoke`."""
        state = _read_state(self._home(name))
        if state.current is None or state.port is None:
            raise EndpointError(f"there is no endpoint {name!r}: materialize the asset that deploys it")
        try:
            status, answer = post(state.port, document)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EndpointError(
                f"endpoint {name!r} does not answer at {url_of(state.port)} ({error}): deploy it again"
            ) from error
        if status != 200:
            raise EndpointError(f"endpoint {name!r} answered {status}: {answer.get('message', answer)}")
        return answer

    def delete(self, name: str) -> bool:
        """See `Endpoints.delete`."""
        home = self._home(name)
        if not home.is_dir():
            return False
        with self._locked(home):
            state = _read_state(home)
            for process in state.processes:
                end_server(home, process, self._grace_seconds)
            (home / _STATE).unlink(missing_ok=True)  # first: a deletion that is cut short is one
            shutil.rmtree(home)
            lock_path(home).unlink(missing_ok=True)
        return state.current is not None

    def _home(self, name: str) -> Path:
        try:
            return self._store.local_path(ENDPOINTS_KEY) / check_job_name(name)
        except ValueError:
            raise EndpointError(f"endpoint name {name!r}: up to 63 letters, digits and inner hyphens") from None

    @contextmanager
    def _locked(self, home: Path) -> Iterator[None]:
        try:
            descriptor = lock_file(lock_path(home), seconds=self._busy_seconds)
        except TimeoutError:
            raise EndpointError(
                f"endpoint {home.name!r} is being deployed or deleted by another run: wait for it or cancel it"
            ) from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _tidied(self, home: Path, log: Any) -> _StateFile:
        """The state without what an interrupted deployment left."""
        state = _read_state(home)
        if not state.others:
            return state
        if state.current is None or not lives(state.current):
            # The new server died before it retired the old one, and nobody was there to see it.
            alive = [other for other in state.others if self._answers(replace(state, current=other))]
            state = replace(state, current=alive[0] if alive else state.current)
        for other in state.others:
            if other != state.current:
                log.info(f"endpoint {state.name}: ending {other.folder}, which an interrupted deployment left")
                end_server(home, other, self._grace_seconds)
        return _write_state(home, replace(state, others=()))

    def _answers(self, state: _StateFile) -> bool:
        """Whether the server in use lives and answers; while it is replaced, the new one may answer in its place."""
        if state.current is None or state.port is None or not lives(state.current):
            return False
        return ping(state.port).get("identity") in {process.identity for process in state.processes}

    def _described(self, state: _StateFile, *, healthy: bool, changed: bool = False) -> EndpointState:
        current, port = state.current, state.port
        assert current is not None and port is not None  # noqa: S101, PT018 - a state without them isn't described
        home = self._home(state.name)
        return EndpointState(
            name=state.name,
            url=url_of(port),
            version=current.version,
            identity=current.identity,
            healthy=healthy,
            changed=changed,
            details={
                "process": current.pid,
                "port": port,
                "deployed": current.deployed,
                "page": f"{url_of(port)}/",
                "log": str(home / current.folder / SERVER_LOG),
            },
        )

    def _command(self, folder: str, home: Path) -> list[str]:
        # The folder is there for people who look at the list of processes, and for `server_processes`.
        return [sys.executable, "-m", f"{self._package}.serve", str(home / folder)]


class _Deployment:
    """One deployment, under the endpoint's lock."""

    def __init__(
        self,
        endpoints: LocalEndpoints,
        home: Path,
        state: _StateFile,
        request: EndpointRequest,
        previous: ServerProcess | None,
        log: Any,
    ) -> None:
        self._endpoints = endpoints
        self._home = home
        self._state = state
        self._request = request
        self._previous = previous
        self._log = log
        # One that the state names is taken, whether its folder is there or not: it is removed with its server.
        taken = {*(path.name for path in home.glob("d*")), *(process.folder for process in state.processes)}
        numbers = [int(name[1:]) for name in taken if name[1:].isdigit()]
        self._folder = f"d{max(numbers, default=0) + 1}"
        self._workspace = Workspace(home / self._folder)
        self._deadline = time.monotonic() + endpoints._start_seconds

    def run(self) -> _StateFile:
        """The new state; on failure the old one is left."""
        request = self._request
        started = time.monotonic()
        child, process = self._start()
        try:
            self._state = _write_state(self._home, replace(self._state, others=(process,)))
            self._log.info(f"endpoint {request.name}: {request.version} starts as process {process.pid}")
            self._try(self._reported(child, READY_FILE))
            self._end_what_does_not_answer()
            assert child.stdin is not None  # noqa: S101 - a pipe was asked for
            with suppress(BrokenPipeError):  # it has died: the next line says of what
                child.stdin.write(TAKE_OVER)
                child.stdin.flush()
            port = self._reported(child, SERVING_FILE)
            retired = (self._previous,) if self._previous else ()
            self._state = _write_state(self._home, replace(self._state, port=port, current=process, others=retired))
        except BaseException as error:
            self._roll_back(child, process)
            if isinstance(error, EndpointError | OSError | ValueError | http.client.HTTPException):
                raise EndpointError(self._failure(error)) from error
            raise
        self._let_go(child)
        if self._previous is not None:
            self._retire(self._previous, child)
        self._state = _write_state(self._home, replace(self._state, others=()))
        self._remove_old_folders()
        self._log.info(
            f"endpoint {request.name}: {request.version} answers at {url_of(port)} "
            f"after {time.monotonic() - started:.1f} s"
        )
        return self._state

    def _start(self) -> tuple[subprocess.Popen[bytes], ServerProcess]:
        workspace = self._workspace
        workspace.parameters_file.parent.mkdir(parents=True)
        workspace.failure_file.parent.mkdir(parents=True)
        workspace.parameters_file.write_text(
            json.dumps(self._parameters(), ensure_ascii=False, allow_nan=False, indent=1), encoding="utf-8"
        )
        env = workload_environment(workspace.root, lifeline=False)
        with (workspace.root / SERVER_LOG).open("ab") as server_log:
            child = subprocess.Popen(
                self._endpoints._command(self._folder, self._home),
                cwd=workspace.root,  # where it makes its control socket, whose path must be short
                env=env,
                stdin=subprocess.PIPE,
                stdout=server_log,
                stderr=server_log,
                start_new_session=True,
            )
        process = ServerProcess(
            self._folder,
            child.pid,
            remembered(child),
            self._request.identity,
            self._request.version,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return child, process

    def _parameters(self) -> dict[str, Any]:
        request = self._request
        return {
            **request.parameters,
            **({"forecasts": self._forecasts()} if request.forecasts else {}),
            "endpoint": request.name,
            "version": request.version,
            "identity": request.identity,
            "golden": request.golden,
            "model": self._lay_out_model(),
            "host": HOST,
            "deployment": {
                "folder": self._folder,
                "state_file": f"../{_STATE}",
                "previous": f"../{self._previous.folder}/{CONTROL_SOCKET}" if self._previous else None,
                "ports": self._ports(),
            },
        }

    def _forecasts(self) -> dict[str, str]:
        """The folders of published forecasts, on this machine."""
        return {
            name: text if name in ("group", "clock") else str(self._endpoints._store.local_path(text))
            for name, text in self._request.forecasts.items()
        }

    def _lay_out_model(self) -> str:
        """Show the model's folder to the server where there is one; the model's name."""
        model = self._request.model
        folder = Path(model)
        if isinstance(model, str) and model != "bundled":
            with suppress(StoreKeyError):
                inside = self._endpoints._store.local_path(model)
                folder = inside if inside.is_dir() else folder
        if folder.is_dir():
            self._workspace.model.symlink_to(folder.resolve(), target_is_directory=True)
            return model if isinstance(model, str) else folder.name
        return str(model)

    def _ports(self) -> list[int]:
        """Ports to try: the endpoint's own, then some that follow from its name."""
        first = int.from_bytes(hashlib.sha256(self._request.name.encode()).digest()[:4]) % _PORTS
        others = [_FIRST_PORT + (first + step) % _PORTS for step in range(_PORTS_TRIED)]
        return [self._state.port, *others] if self._state.port else others

    def _reported(self, child: subprocess.Popen[bytes], name: str) -> int:
        """The port that the server tells in a file, once it does."""
        path = self._workspace.root / name
        while not path.exists():
            if child.poll() is not None:
                raise EndpointError(failure_reason(self._workspace, child.returncode))
            if time.monotonic() > self._deadline:
                raise EndpointError(f"not ready after {self._endpoints._start_seconds:.0f} s")
            time.sleep(0.05)
        return int(json.loads(path.read_bytes())["port"])

    def _try(self, port: int) -> None:
        """Ask the new server what it is, and the golden request."""
        status = ping(port)
        if status.get("identity") != self._request.identity:
            raise EndpointError("it does not answer GET /ping as what was deployed")
        code, answer = post(port, self._request.golden, seconds=max(1.0, self._deadline - time.monotonic()))
        if code != 200:
            raise EndpointError(f"it answered the golden request with {code}: {answer.get('message', answer)}")
        reason = golden_problem(answer)
        if reason:
            raise EndpointError(f"its answer to the golden request {reason}")

    def _end_what_does_not_answer(self) -> None:
        """A server in use that lives and doesn't answer can't hand over its port: it goes first."""
        if self._previous is None and self._state.current is not None:
            end_server(self._home, self._state.current, self._endpoints._grace_seconds)

    @staticmethod
    def _let_go(child: subprocess.Popen[bytes]) -> None:
        """From here on the new server is on its own: it retires its predecessor, or goes away."""
        assert child.stdin is not None  # noqa: S101 - a pipe was asked for
        with suppress(BrokenPipeError):
            child.stdin.close()

    def _retire(self, previous: ServerProcess, child: subprocess.Popen[bytes]) -> None:
        """Wait for the old server to go, and end it if it does not.

        Raises:
            EndpointError: the new one died before the old one went, which stays.
        """
        deadline = time.monotonic() + self._endpoints._grace_seconds
        while lives(previous) and time.monotonic() < deadline:
            if child.poll() is not None:
                self._state = _write_state(self._home, replace(self._state, current=previous, others=()))
                raise EndpointError(self._failure(EndpointError(failure_reason(self._workspace, child.returncode))))
            time.sleep(0.05)
        end_server(self._home, previous, self._endpoints._grace_seconds)

    def _roll_back(self, child: subprocess.Popen[bytes], process: ServerProcess) -> None:
        """End the new server, unless it is in use already; one that accepts finishes what it has."""
        if _read_state(self._home).current == process:
            return
        self._let_go(child)
        if not (self._workspace.root / SERVING_FILE).exists():
            child.terminate()
        try:
            child.wait(timeout=self._endpoints._grace_seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._state = _write_state(self._home, replace(self._state, others=()))

    def _failure(self, error: Exception) -> str:
        older = ""
        if self._previous and self._state.port:
            older = f"{self._previous.version} still answers at {url_of(self._state.port)}"
        return not_deployed(self._request, error, older, log_tail(self._workspace.root / SERVER_LOG))

    def _remove_old_folders(self) -> None:
        for path in self._home.glob("d*"):
            if path.name != self._folder and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


def _read_state(home: Path) -> _StateFile:
    try:
        document = json.loads((home / _STATE).read_bytes())
        current = document["current"]
        return _StateFile(
            home.name,
            document["port"],
            None if current is None else ServerProcess(**current),
            tuple(ServerProcess(**other) for other in document["others"]),
        )
    except FileNotFoundError:
        return _StateFile(home.name)
    except (ValueError, KeyError, TypeError) as error:
        raise EndpointError(f"{home / _STATE} is not an endpoint's state ({error}): remove that file") from error


def _write_state(home: Path, state: _StateFile) -> _StateFile:
    """Replace the state at once."""
    with replaced(home / _STATE) as part:
        write_json(part, asdict(state))
    return state
