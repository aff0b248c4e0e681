"""Workload: an HTTP server that forecasts with one model.

    python -m chronos_assets.workloads.serve

The model is the folder `model/`, where a SageMaker container finds what a training job left; without one the reference
in the parameter `model`. Only safetensors are read. Parameters, all optional, are those of `input/config/parameters.json`,
and over them, since a hosting container has no such file, the JSON object in the variable `CHRONOS_SERVING`:

```
endpoint, version, identity     names for people and for GET /ping
model                           "bundled", a Hub id, a folder or an s3:// prefix
golden                          a request that the page shows, and a deployment tries
prediction_length, quantile_levels
                                for requests that don't give them
batch_size                      series of one pass, at most; 1: no batching
batch_wait_ms                   how long a series waits for others
queue_length                    series that may wait; beyond, 503 with Retry-After
rows                            rows of one pass of the network
context_length                  periods to read, at most
timeout_seconds                 for an answer
max_body_bytes, max_series, max_points, max_prediction_length, max_quantiles, max_answer_values
                                limits of a request
host, port                      0.0.0.0 and 8080; SageMaker's SAGEMAKER_BIND_TO_PORT goes before
drain_seconds                   how long idle connections may last once the server is told to go
deployment                      see `handover`; without it the server listens at once and until SIGTERM
```

SIGTERM ends it well: no new connections, what was asked is answered, then status 0.
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

# Every pass runs on one thread (see models.forecasting); pools of threads that only wait cost memory and start-up time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import uvicorn

from chronos_assets.models.checkpoints import BUNDLED, ModelError, describe_model
from chronos_assets.workloads.contract import Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.workloads.handover import (
    Deployment,
    Predecessor,
    listen,
    serve_successors,
    wait_for_end,
    wait_for_word,
)
from chronos_assets.workloads.invocations import InvocationError, Limits, Parameters, Schema, parse_parameters

SERVING_VARIABLE = "CHRONOS_SERVING"
PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
READY = "ready.json"  # {"port": of the private listener}, once the model is loaded
SERVING = "serving.json"  # {"port": of the endpoint}, once it accepts there

_KEEP_ALIVE = 5


@dataclass(frozen=True)
class Settings:
    """The parameters, checked; see the module's notes."""

    endpoint: str = "chronos"
    version: str = "unversioned"
    identity: str = ""
    model: str = BUNDLED
    golden: Mapping[str, Any] = field(default_factory=lambda: GOLDEN)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 64
    batch_wait_ms: float = 2.0
    queue_length: int = 512
    rows: int = 16
    context_length: int | None = None
    timeout_seconds: float = 60.0
    limits: Limits = field(default_factory=Limits)
    host: str = "0.0.0.0"  # noqa: S104 - a container is reached from outside; a laptop's endpoint is told 127.0.0.1
    port: int = 8080
    drain_seconds: float = _KEEP_ALIVE + 1.0
    deployment: Deployment | None = None


# Two seasons of something with a day, for a page that was given nothing better.
GOLDEN: Mapping[str, Any] = {
    "inputs": [{"target": [round(10 + 4 * ((hour % 24) / 12 - 1) ** 2, 3) for hour in range(96)]}],
    "parameters": {"prediction_length": 24},
}

_WHOLE = ("batch_size", "queue_length", "rows", "context_length", "port")
_SECONDS = ("batch_wait_ms", "timeout_seconds", "drain_seconds")
_TEXT = ("endpoint", "version", "identity", "model", "host")
_DEFAULTS = ("prediction_length", "quantile_levels")
_LIMITS = tuple(limit.name for limit in fields(Limits))


def parse_settings(document: Mapping[str, Any], env: Mapping[str, str]) -> Settings:
    """Check the parameters.

    Raises:
        WorkloadError: one is unknown or impossible.
    """
    given = {**document, **_from_variable(env)}
    if env.get(PORT_VARIABLE):
        given["port"] = env[PORT_VARIABLE]
    known = {*_WHOLE, *_SECONDS, *_TEXT, *_DEFAULTS, *_LIMITS, "golden", "deployment"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise WorkloadError(
            f"parameters of the server: {', '.join(unknown)} not known (there are {', '.join(sorted(known))})"
        )
    given = {name: value for name, value in given.items() if value is not None}
    try:
        chosen: dict[str, Any] = {
            **{name: str(given[name]) for name in _TEXT if name in given},
            **{name: _positive(name, given[name]) for name in _WHOLE if name in given},
            **{name: _seconds(name, given[name]) for name in _SECONDS if name in given},
            "defaults": {name: given[name] for name in _DEFAULTS if name in given},
            "limits": Limits(**{name: _positive(name, given[name]) for name in _LIMITS if name in given}),
        }
        if "golden" in given:
            chosen["golden"] = _object("golden", given["golden"])
        if "deployment" in given:
            chosen["deployment"] = Deployment.from_document(given["deployment"])
        return Settings(**chosen)
    except (TypeError, ValueError, KeyError) as error:
        raise WorkloadError(f"parameters of the server: {error}") from error


def _from_variable(env: Mapping[str, str]) -> dict[str, Any]:
    text = env.get(SERVING_VARIABLE) or "{}"
    try:
        return dict(_object(SERVING_VARIABLE, json.loads(text)))
    except ValueError as error:
        raise WorkloadError(f"{SERVING_VARIABLE} is not a JSON object: {error}") from error


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a JSON object")
    return value


def _positive(name: str, value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or number < 1 or number != float(value):
        raise ValueError(f"{name} must be a whole number from 1, not {value!r}")
    return number


def _seconds(name: str, value: Any) -> float:
    number = float(value)
    if not 0 <= number <= 3600:
        raise ValueError(f"{name} must be a number from 0 to 3600, not {value!r}")
    return number


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Serve until told to go."""
    document = workspace.parameters() if workspace.parameters_file.exists() else {}
    settings = parse_settings(document, os.environ)
    _log_to_stderr()
    folder = workspace.model
    reference = str(folder) if (folder / "config.json").is_file() else settings.model
    try:
        description = describe_model(reference)
    except ModelError as error:
        raise WorkloadError(str(error)) from error
    if settings.model not in (reference, BUNDLED):
        description = replace(description, reference=settings.model)
    from chronos_assets.models.loading import load_model

    try:
        model = load_model(description)
    except ModelError as error:
        raise WorkloadError(str(error)) from error
    reporter.log(
        f"endpoint {settings.endpoint}: {settings.version}, {description.family}, {description.parameters:,} weights"
    )
    asyncio.run(_Process(settings, model, workspace.root).run())


def build_endpoint(settings: Settings, model: Any) -> Any:
    """The endpoint of a loaded model; to be called inside a running event loop.

    Raises:
        WorkloadError: the defaults or the golden request are not what the model can do.
    """
    from chronos_assets.workloads.batching import MicroBatcher
    from chronos_assets.workloads.endpoint_app import Endpoint
    from chronos_assets.workloads.predictor import Predictor

    description = model.description
    predictor = Predictor(model, batch_size=settings.rows, context_length=settings.context_length)
    schema = Schema(
        f"model {settings.version}",
        description.quantile_range,
        predictor.joint,
        settings.limits,
        _defaults_within(Parameters(), description.quantile_range),
    )
    try:
        schema = replace(schema, defaults=parse_parameters(dict(settings.defaults), schema))
    except InvocationError as error:
        raise WorkloadError(f"parameters of the server: {error}") from error
    return Endpoint(
        settings.endpoint,
        settings.version,
        settings.identity,
        description.to_document(),
        settings.golden,
        schema,
        predictor,
        MicroBatcher(
            predictor.run,
            batch_size=settings.batch_size,
            wait_seconds=settings.batch_wait_ms / 1000,
            queue_length=settings.queue_length,
            share=settings.rows,
        ),
        settings.timeout_seconds,
    )


def _defaults_within(parameters: Parameters, quantile_range: tuple[float, float]) -> Parameters:
    """JumpStart's default levels, but those that the model doesn't forecast."""
    low, high = quantile_range
    levels = tuple(level for level in parameters.quantile_levels if low - 1e-9 <= level <= high + 1e-9)
    return replace(parameters, quantile_levels=levels or ((low + high) / 2,))


class _Server(uvicorn.Server):
    """One listener. The process has several, so signals are its own affair."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Process:
    """The listeners of this process, from its start to its end."""

    def __init__(self, settings: Settings, model: Any, root: Path) -> None:
        self._settings = settings
        self._model = model
        self._root = root
        self._told_to_go = asyncio.Event()

    async def run(self) -> None:
        from chronos_assets.workloads.endpoint_app import build_app

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_go.set)
        self._endpoint = build_endpoint(self._settings, self._model)
        self._endpoint.batcher.start()
        self._app = build_app(self._endpoint)
        if self._settings.deployment is None:
            listener: _Listener | None = await self._listen(listen(self._settings.host, (self._settings.port,)))
            await self._told_to_go.wait()
        else:
            listener = await self._deploy(self._settings.deployment)
        if listener is not None:
            await self._drain(listener)
        await self._endpoint.batcher.stop()

    async def _deploy(self, deployment: Deployment) -> _Listener | None:
        """Take part in a deployment, then serve; returns when told to go, with the listener to drain."""
        trial_socket = listen(self._settings.host, (0,))
        trial = await self._listen(trial_socket)
        self._tell(READY, trial_socket)
        word = self._in_thread(wait_for_word)
        if not await self._unless_told_to_go(word) or not word.result():
            trial.server.should_exit = True
            await trial.task
            return None
        predecessor = Predecessor(deployment.previous) if deployment.previous else None
        public = predecessor.listening_socket() if predecessor else listen(self._settings.host, deployment.ports)
        listener = await self._listen(public)
        loop = asyncio.get_running_loop()

        def retire() -> None:
            loop.call_soon_threadsafe(self._told_to_go.set)

        serve_successors(public, retire)
        self._tell(SERVING, public)
        await self._unless_told_to_go(self._in_thread(wait_for_end))
        trial.server.should_exit = True
        if deployment.is_current():
            if predecessor:
                predecessor.retire()
            await self._told_to_go.wait()
        await trial.task
        return listener

    async def _unless_told_to_go(self, future: asyncio.Future[Any]) -> bool:
        """Wait for a future; False where this process was told to go before."""
        told = asyncio.create_task(self._told_to_go.wait())
        await asyncio.wait({future, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        return future.done()

    @staticmethod
    def _in_thread(function: Callable[[], Any]) -> asyncio.Future[Any]:
        """A function that waits for ever, in a thread that doesn't keep the process alive."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any) -> None:
            if not future.done():
                future.set_result(result)

        def run() -> None:
            loop.call_soon_threadsafe(settle, function())

        threading.Thread(target=run, name=function.__name__, daemon=True).start()
        return future

    async def _listen(self, listening: socket.socket) -> _Listener:
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, int(self._settings.timeout_seconds)),
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if task.done():
            task.result()
        return _Listener(server, task, listening)

    def _tell(self, name: str, listening: socket.socket) -> None:
        """Leave a file for the launcher, whole or not at all."""
        path = self._root / name
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"port": listening.getsockname()[1]}), encoding="utf-8")
        part.replace(path)

    async def _drain(self, listener: _Listener) -> None:
        """Take no new connection, answer what was asked, let clients leave."""
        self._endpoint.draining = True
        loop = asyncio.get_running_loop()
        # A server that is closed resets connections that it has accepted a moment ago: it first stops to accept.
        loop.remove_reader(listener.listening.fileno())
        await asyncio.sleep(0.05)
        for server in listener.server.servers:
            server.close()
        deadline = loop.time() + self._settings.drain_seconds
        while listener.server.server_state.connections and loop.time() < deadline:
            await asyncio.sleep(0.02)
        listener.server.should_exit = True
        await listener.task


@dataclass(frozen=True)
class _Listener:
    """A socket, and the server on it."""

    server: _Server
    task: asyncio.Task[None]
    listening: socket.socket


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("chronos_assets").setLevel(logging.INFO)


if __name__ == "__main__":
    run_workload(main)
