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
rows                            rows of one pass of the network, at most
gpu                             true: the machine has one; a server that can't use it ends with the reason
whole_batches                   true: always as many, so that the numbers are the batch job's to the last bit, slower
context_length                  periods to read, at most
non_negative, integers          as the forecast workload has them
timeout_seconds                 for an answer
max_body_bytes, max_series, max_points, max_prediction_length, max_quantiles, max_answer_values
                                limits of a request
forecasts                       {"group", "current", "partition", "scenario"}: folders of published forecasts, see
                                `forecast_queries`; on loopback only
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
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

# Every pass runs on one thread (see models.forecasting); pools of threads that only wait cost memory and start-up time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from chronos_assets.container.contract import SERVER_LOG, Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.models.checkpoints import BUNDLED, ModelError, describe_model
from chronos_assets.serving.bodies import BodyMemory
from chronos_assets.serving.forecast_queries import ForecastPlaces, ForecastQueries
from chronos_assets.serving.handover import Deployment
from chronos_assets.serving.hosting import Hosting, host, is_loopback
from chronos_assets.serving.json_requests import parse_parameters
from chronos_assets.serving.schema import InvocationError, Limits, Parameters, Schema

if TYPE_CHECKING:
    from chronos_assets.models.checkpoints import ModelDescription
    from chronos_assets.models.loading import LoadedModel
    from chronos_assets.predictors.ensemble import Ensemble
    from chronos_assets.serving.app import Endpoint

SERVING_VARIABLE = "CHRONOS_SERVING"
PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
LOG_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class ServeOptions:
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
    whole_batches: bool = False
    gpu: bool = False
    context_length: int | None = None
    non_negative: bool | None = None
    integers: bool = False
    timeout_seconds: float = 60.0
    limits: Limits = field(default_factory=Limits)
    hosting: Hosting = field(default_factory=Hosting)
    forecasts: ForecastPlaces | None = None


# Two seasons of something with a day, for a page that was given nothing better.
GOLDEN: Mapping[str, Any] = {
    "inputs": [{"target": [round(10 + 4 * ((hour % 24) / 12 - 1) ** 2, 3) for hour in range(96)]}],
    "parameters": {"prediction_length": 24},
}

_WHOLE = ("batch_size", "queue_length", "rows", "context_length")
_TEXT = ("endpoint", "version", "identity", "model")
_TRUTHS = ("gpu", "whole_batches", "non_negative", "integers")
_SECONDS = ("batch_wait_ms", "timeout_seconds")
_DEFAULTS = ("prediction_length", "quantile_levels")
_HOSTING = ("host", "port", "drain_seconds", "deployment")
_LIMITS = tuple(limit.name for limit in fields(Limits))


def parse_settings(document: Mapping[str, Any], env: Mapping[str, str]) -> ServeOptions:
    """Check the parameters.

    Raises:
        WorkloadError: one is unknown or impossible.
    """
    given = {**document, **_from_variable(env)}
    if env.get(PORT_VARIABLE):
        given["port"] = env[PORT_VARIABLE]
    known = {*_WHOLE, *_SECONDS, *_TEXT, *_DEFAULTS, *_LIMITS, *_HOSTING, "golden", "forecasts", *_TRUTHS}
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
        chosen |= {name: _truth(name, given[name]) for name in _TRUTHS if name in given}
        if "golden" in given:
            chosen["golden"] = _object("golden", given["golden"])
        hosting = _hosting(given)
        if "forecasts" in given:
            chosen["forecasts"] = ForecastPlaces.from_document(_object("forecasts", given["forecasts"]))
            if not is_loopback(hosting.host):
                raise ValueError(
                    "forecasts need a host on loopback, such as 127.0.0.1: who asks for them is not checked"
                )
        return ServeOptions(**chosen, hosting=hosting)
    except (TypeError, ValueError, KeyError) as error:
        raise WorkloadError(f"parameters of the server: {error}") from error


def _hosting(given: Mapping[str, Any]) -> Hosting:
    chosen: dict[str, Any] = {}
    if "host" in given:
        chosen["host"] = str(given["host"])
    if "port" in given:
        chosen["port"] = _positive("port", given["port"])
    if "drain_seconds" in given:
        chosen["drain_seconds"] = _seconds("drain_seconds", given["drain_seconds"])
    if "timeout_seconds" in given:
        chosen["finish_seconds"] = _seconds("timeout_seconds", given["timeout_seconds"])
    if "deployment" in given:
        chosen["deployment"] = Deployment.from_document(given["deployment"])
    return Hosting(**chosen)


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


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
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
    _log_to_stderr(workspace.root / SERVER_LOG)
    folder = workspace.model
    reference = str(folder) if (folder / "config.json").is_file() else settings.model
    try:
        description = describe_model(reference)
    except ModelError as error:
        raise WorkloadError(str(error)) from error
    if settings.model not in (reference, BUNDLED):
        description = replace(description, reference=settings.model)
    from chronos_assets.models.loading import load_model
    from chronos_assets.serving.app import build_app

    try:
        model = load_model(description)
        if description.family == "chronos2":
            _ = model.pipeline  # reads series together: loaded now, not while the first such request waits
    except ModelError as error:
        raise WorkloadError(str(error)) from error
    if settings.gpu and model.device.type != "cuda":
        raise WorkloadError(
            "this machine has a GPU that torch can't use: its driver is too old for the image's CUDA, or the image has a "
            "build for the CPU; deploy with an image and an InferenceAmiVersion that fit each other"
        )
    reporter.log(
        f"endpoint {settings.endpoint}: {settings.version}, {description.family}, {description.parameters:,} weights, "
        f"on {model.device}"
    )
    endpoint = build_endpoint(settings, model)
    asyncio.run(host(endpoint, build_app(endpoint), settings.hosting, workspace.root))


def build_endpoint(settings: ServeOptions, model: LoadedModel) -> Endpoint:
    """The endpoint of a loaded model.

    Raises:
        WorkloadError: the defaults are not what the model can do.
    """
    from chronos_assets.serving.app import Endpoint
    from chronos_assets.serving.batching import MicroBatcher
    from chronos_assets.serving.predictor import BatchPredictor

    description = model.description
    predictor = BatchPredictor(
        model,
        ensemble=_ensemble(description, settings),
        batch_size=settings.rows,
        context_length=settings.context_length,
        non_negative=settings.non_negative,
        integers=settings.integers,
        whole_batches=settings.whole_batches,
    )
    schema = Schema(
        f"model {settings.version}",
        description.quantile_range,
        predictor.joint,
        settings.limits,
        _defaults_within(Parameters(), description.quantile_range),
        *(predictor.regression.named if predictor.regression is not None else ({}, frozenset())),
    )
    try:
        schema = replace(schema, defaults=parse_parameters(dict(settings.defaults), schema))
    except InvocationError as error:
        raise WorkloadError(f"parameters of the server: {error}") from error
    bodies = BodyMemory()
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
        bodies=bodies,
        queries=ForecastQueries(settings.forecasts, bodies=bodies) if settings.forecasts else None,
    )


def _ensemble(description: ModelDescription, settings: ServeOptions) -> Ensemble | None:
    """The predictor that is kept beside a model, made ready; None where the model forecasts by itself.

    Raises:
        WorkloadError: its file is damaged, or its base model can't be had.
    """
    from chronos_assets.predictors.opening import Network
    from chronos_assets.predictors.predictor import Predictor as Learned
    from chronos_assets.predictors.predictor import PredictorError

    low, high = description.quantile_range
    try:
        learned = Learned.load(description.folder)
        network = Network(
            description,
            description.block_length,
            [(low + high) / 2],
            context_length=settings.context_length,
            batch_size=settings.rows,
            whole_batches=settings.whole_batches,
        )
        return None if learned is None else network.ensemble(learned)
    except (PredictorError, ModelError) as error:
        raise WorkloadError(str(error)) from error


def _defaults_within(parameters: Parameters, quantile_range: tuple[float, float]) -> Parameters:
    """JumpStart's default levels, but those that the model doesn't forecast."""
    low, high = quantile_range
    levels = tuple(level for level in parameters.quantile_levels if low - 1e-9 <= level <= high + 1e-9)
    return replace(parameters, quantile_levels=levels or ((low + high) / 2,))


class _RotatedLog(logging.StreamHandler[TextIO]):
    """A log on stderr which, where that is the file `path`, is moved to `<path>.1` when it has grown too large."""

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, and begin again when there are too many."""
        super().emit(record)
        written = os.fstat(self.stream.fileno())
        if written.st_size > LOG_BYTES and self._path.exists() and os.path.samestat(written, self._path.stat()):
            # Copied, not renamed: who started the server holds the file open, and reads its end.
            shutil.copyfile(self._path, self._path.with_name(f"{self._path.name}.1"))
            os.ftruncate(self.stream.fileno(), 0)


def _log_to_stderr(file: Path) -> None:
    handler = _RotatedLog(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("chronos_assets").setLevel(logging.INFO)


if __name__ == "__main__":
    run_workload(main)
