"""Workload: an HTTP server that forecasts with one model.

    python -m chronos_assets.workloads.serve

The model is the folder `model/`, where a SageMaker container finds what a training job left; without one the reference
in the parameter `model`. Only safetensors are read; beside them `predictor.json`, and `covariates/` with the metadata of items
and whose holidays count (`predictors.covariates.ServedCovariates`). Parameters, all optional, are those of
`input/config/parameters.json`, and over them, since a hosting container has no such file, the JSON object in the variable
`CHRONOS_SERVING`:

```
endpoint, version, identity     names for people and for GET /ping
model                           "bundled", a Hub id, a folder or an s3:// prefix
golden                          a request that the page shows, and a deployment tries
prediction_length, quantile_levels
                                for requests that don't give them
batch_wait_ms                   how long a series waits for others that could share its pass
gpu                             true: the machine has one; a server that can't use it ends with the reason
non_negative, integers, context_length
                                as the forecast workload has them
live_width                      by how much the bands of the published forecast are widened, if not as the predictor says
max_body_bytes, max_answer_values
                                limits of a request: of a serverless endpoint they are lower
forecasts                       {"group", "current", "partition", "scenario", "clock"}: folders of published forecasts, see
                                `forecast_queries`; on loopback only
host, port                      0.0.0.0 and 8080; SageMaker's SAGEMAKER_BIND_TO_PORT goes before
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from chronos_assets.models.checkpoints import ModelDescription

# Every pass runs on one thread (see models.forecasting); pools of threads that only wait cost memory and start-up time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pydantic import PlainValidator

from chronos_assets.container.contract import SERVER_LOG, Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.container.parameters import Count, Text, checked, read_parameters
from chronos_assets.models.checkpoints import BUNDLED, describe_model
from chronos_assets.params.hyperparameters import Hyperparameter
from chronos_assets.serving.bodies import BodyMemory
from chronos_assets.serving.forecast_queries import ForecastPlaces, ForecastQueries
from chronos_assets.serving.handover import Deployment
from chronos_assets.serving.hosting import Hosting, host, is_loopback
from chronos_assets.serving.json_requests import parse_parameters
from chronos_assets.serving.schema import InvocationError, Limits, Parameters, Schema

if TYPE_CHECKING:
    from chronos_assets.models.loading import LoadedModel
    from chronos_assets.predictors.covariates import ServedCovariates
    from chronos_assets.predictors.ensemble import Ensemble
    from chronos_assets.serving.app import Endpoint

SERVING_VARIABLE = "CHRONOS_SERVING"
PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
LOG_BYTES = 10 * 1024 * 1024


@checked
@dataclass(frozen=True)
class ServeOptions:
    """The parameters, checked; see the module's notes."""

    endpoint: str = "chronos"
    version: str = "unversioned"
    identity: str = ""
    model: Text = BUNDLED
    golden: dict[str, Any] = field(default_factory=lambda: dict(GOLDEN))
    prediction_length: Any = None  # these two are read as those of a request
    quantile_levels: Any = None
    batch_wait_ms: Annotated[float, PlainValidator(Hyperparameter(float, low=0, high=3_600_000).checked)] = 2.0
    gpu: bool = False
    non_negative: bool | None = None
    integers: bool = False
    context_length: Count | None = None
    live_width: Annotated[float, PlainValidator(Hyperparameter(float, low=1e-3, high=1e3).checked)] | None = None
    max_body_bytes: Count = Limits.max_body_bytes
    max_answer_values: Count = Limits.max_answer_values
    forecasts: ForecastPlaces | None = None
    host: str = Hosting.host
    port: Count = Hosting.port
    deployment: Deployment | None = None

    def __post_init__(self) -> None:
        if self.forecasts is not None and not is_loopback(self.host):
            raise ValueError("forecasts need a host on loopback, such as 127.0.0.1: who asks for them is not checked")

    @property
    def defaults(self) -> dict[str, Any]:
        """What a request that says nothing gets."""
        given = {"prediction_length": self.prediction_length, "quantile_levels": self.quantile_levels}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Batching:
    """How requests share passes of the network: the same wherever a server runs.

    Attributes:
        batch_size: series of one pass, at most; 1: no batching.
        queue_length: series that may wait; beyond, 503 with Retry-After.
        rows: rows of one pass of the network, at most.
        timeout_seconds: for an answer.
    """

    batch_size: int = 64
    queue_length: int = 512
    rows: int = 16
    timeout_seconds: float = Hosting.finish_seconds


# Two seasons of something with a day, for a page that was given nothing better.
GOLDEN: Mapping[str, Any] = {
    "inputs": [{"target": [round(10 + 4 * ((hour % 24) / 12 - 1) ** 2, 3) for hour in range(96)]}],
    "parameters": {"prediction_length": 24},
}


def parse_settings(document: Mapping[str, Any], env: Mapping[str, str]) -> ServeOptions:
    """Check the parameters.

    Raises:
        WorkloadError: one is unknown or impossible.
    """
    given = {**document, **_from_variable(env)}
    if port := env.get(PORT_VARIABLE):
        given["port"] = int(port) if port.isdecimal() else port
    return read_parameters(ServeOptions, "server", given)


def _from_variable(env: Mapping[str, str]) -> dict[str, Any]:
    text = env.get(SERVING_VARIABLE) or "{}"
    try:
        document = json.loads(text)
    except ValueError as error:
        raise WorkloadError(f"{SERVING_VARIABLE} is not a JSON object: {error}") from error
    if not isinstance(document, dict):
        raise WorkloadError(f"{SERVING_VARIABLE} is not a JSON object: {text[:80]}")
    return document


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Serve until SIGTERM."""
    document = workspace.parameters() if workspace.parameters_file.exists() else {}
    settings = parse_settings(document, os.environ)
    _log_to_stderr(workspace.root / SERVER_LOG)
    folder = workspace.model
    reference = str(folder) if (folder / "config.json").is_file() else settings.model
    description = describe_model(reference)
    if settings.model not in (reference, BUNDLED):
        description = replace(description, reference=settings.model)
    from chronos_assets.models.loading import load_model
    from chronos_assets.serving.app import build_app

    model = load_model(description)
    if description.family == "chronos2":
        _ = model.pipeline  # reads series together: loaded now, not while the first such request waits
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
    hosting = Hosting(settings.host, settings.port, deployment=settings.deployment)
    asyncio.run(host(endpoint, build_app(endpoint), hosting, workspace.root))


def build_endpoint(settings: ServeOptions, model: LoadedModel, batching: Batching = Batching()) -> Endpoint:
    """The endpoint of a loaded model.

    Raises:
        WorkloadError: the defaults are not what the model can do.
    """
    from chronos_assets.serving.app import Endpoint
    from chronos_assets.serving.batching import MicroBatcher
    from chronos_assets.serving.predictor import BatchPredictor

    description = model.description
    beside = _kept_beside(description)
    ensemble = _ensemble(description, batching, beside, settings)
    predictor = BatchPredictor(
        model,
        ensemble=ensemble,
        beside=beside,
        batch_size=batching.rows,
        context_length=settings.context_length,
        non_negative=settings.non_negative,
        integers=settings.integers,
        in_utc=settings.forecasts is not None and settings.forecasts.clock == "UTC",
    )
    schema = Schema(
        f"model {settings.version}",
        description.quantile_range,
        predictor.joint,
        Limits(max_body_bytes=settings.max_body_bytes, max_answer_values=settings.max_answer_values),
        _defaults_within(Parameters(), description.quantile_range),
        *(ensemble.predictor.requested if ensemble is not None else ({}, frozenset())),
        seasons=ensemble.predictor.seasons if ensemble is not None else None,
    )
    try:
        schema = replace(schema, defaults=parse_parameters(settings.defaults, schema))
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
            batch_size=batching.batch_size,
            wait_seconds=settings.batch_wait_ms / 1000,
            queue_length=batching.queue_length,
            share=batching.rows,
        ),
        batching.timeout_seconds,
        bodies=bodies,
        queries=ForecastQueries(settings.forecasts, bodies=bodies) if settings.forecasts else None,
    )


def _ensemble(
    description: ModelDescription, batching: Batching, beside: ServedCovariates, settings: ServeOptions
) -> Ensemble | None:
    """The predictor that is kept beside a model, made ready; None where the model forecasts by itself.

    Raises:
        PredictorError: its file is damaged.
        ModelError: its base model can't be had.
    """
    from chronos_assets.predictors.opening import Network
    from chronos_assets.predictors.predictor import Predictor as Learned

    low, high = description.quantile_range
    learned = Learned.load(description.folder)
    if learned is None:
        return None
    network = Network(
        description,
        learned.horizon,
        [(low + high) / 2],
        context_length=settings.context_length,
        seasons=learned.seasons,
        batch_size=batching.rows,
        whole_batches=False,
        categories=beside.categories,
    )
    width = learned.live_width if settings.live_width is None else settings.live_width
    return network.ensemble(replace(learned, live_width=width))


def _kept_beside(description: ModelDescription) -> ServedCovariates:
    """What is kept beside a model of its items and of holidays.

    Raises:
        WorkloadError: it is damaged.
    """
    from chronos_assets.predictors.covariates import ServedCovariates
    from chronos_assets.timeseries.dataset.shards import DatasetError

    try:
        return ServedCovariates.load(description.folder)
    except (DatasetError, ValueError) as error:
        raise WorkloadError(f"{error}; materialize model_package and endpoint again") from error


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
