"""AWS on this machine: moto's server over real HTTP, extended so that SageMaker's jobs and endpoints run.

Here: the server's start and end, what is hung into moto, and how a request is recorded, checked and made to fail.
Elsewhere: what operations do (`sagemaker_*.py`), S3 (`s3_server.py`).

    server = AwsServer(folder)
    server.start()
    os.environ.update(server.env)
    ...
    server.stop()

The server lives in this process; whoever uses it may die and come back. By hand, for a person's own shell:
`python -m chronos_assets_tests.aws`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, cast
from unittest import mock

import boto3
from botocore.config import Config
from moto import backends
from moto.athena.responses import AthenaResponse
from moto.core import responses
from moto.core.base_backend import BackendDict
from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import camelcase_to_underscores
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets_tests.aws import (
    athena_backend,
    sagemaker_endpoints,
    sagemaker_jobs,
    sagemaker_packages,
    sagemaker_tags,
    sagemaker_transform,
    sagemaker_tuning,
    service_models,  # noqa: F401 - they are read once
)
from chronos_assets_tests.aws.cloud import REGION, Call, Cloud, CloudError, Faults, Operation
from chronos_assets_tests.aws.job_process import DEFAULT_PACKAGE, namespaces_work
from chronos_assets_tests.aws.request_limits import CHECKED, service_model, validation_message, violations
from chronos_assets_tests.aws.running_job import Job

os.environ.setdefault(
    "MOTO_EC2_LOAD_DEFAULT_AMIS", "false"
)  # 1,300 images, made again for every test that asks for EC2

_FOLDERS = tuple(backends.list_of_moto_modules())

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}

OPERATIONS: Mapping[str, Operation] = {
    **sagemaker_endpoints.OPERATIONS,
    **sagemaker_jobs.OPERATIONS,
    **sagemaker_packages.OPERATIONS,
    **sagemaker_tags.OPERATIONS,
    **sagemaker_transform.OPERATIONS,
    **sagemaker_tuning.OPERATIONS,
}


class AwsServer:
    """The executing server. See the module's notes.

    Args:
        folder: for what runs in it.
        s3: environment of another S3 server (`AWS_ENDPOINT_URL_S3`, and its credentials if it wants some); without one
            moto's is used.
        port: to listen at; any free one by default.

    Attributes:
        env: the AWS_* variables of a client of this server.
    """

    def __init__(self, folder: Path, s3: Mapping[str, str] | None = None, port: int = 0) -> None:
        self._folder = folder
        self._s3_env = dict(s3 or {})
        self._moto = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        self._patches = ExitStack()
        self.env: dict[str, str] = {}
        self._buckets: list[str] = []
        self._cloud: Cloud | None = None
        self._clients = _Clients(self._make_client)
        self._method_names = cache(responses.method_names_from_class)

    def start(self) -> None:
        """Listen, and hang the extensions into moto."""
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        self.env = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            **CREDENTIALS,
            **self._s3_env,
        }
        self._cloud = Cloud(self._folder, self._make_client("s3"), dict(self.env), namespaces_work())
        for operation, function in OPERATIONS.items():
            self._hang_in(SageMakerResponse, camelcase_to_underscores(operation), self._method(function))
        for operation, answer in sagemaker_endpoints.RUNTIME_OPERATIONS:
            self._hang_in(SageMakerRuntimeResponse, camelcase_to_underscores(operation), self._runtime_method(answer))
        self.extend(AthenaResponse, athena_backend.operations(self._cloud.s3, self._folder / "athena"))
        # An error that a service's model doesn't list (throttling, a validation) is no reason for a warning.
        self._patches.enter_context(mock.patch("moto.core.errors.warn"))
        # moto lists its folders, and the methods of a service, for each request: a fifth of what it takes.
        self._patches.enter_context(mock.patch.object(backends, "list_of_moto_modules", return_value=_FOLDERS))
        self._patches.enter_context(mock.patch.object(responses, "method_names_from_class", self._method_names))
        self._hang_in(BaseResponse, "call_action", self._guarded(BaseResponse.call_action))

    def extend(self, response_class: type, operations: Mapping[str, Callable[[Any], Any]]) -> None:
        """Hang methods of other services into moto until `stop`: operation (`StartQueryExecution`) -> method of the class."""
        for operation, method in operations.items():
            self._hang_in(response_class, camelcase_to_underscores(operation), method)

    def stop(self) -> None:
        """End what runs, restore moto, listen no more."""
        self._end_all()
        self._moto.stop()
        self._patches.close()

    def reset(self) -> None:
        """End what runs and forget everything but the server's address."""
        self._clients = _Clients(self._make_client)
        self._end_all()
        while self._buckets:
            self._remove_bucket(self._buckets.pop())
        BackendDict.reset()
        fresh = Cloud(self._folder, self.cloud.s3, dict(self.env), namespaces_work())
        self.cloud.__dict__.update(fresh.__dict__)

    @property
    def cloud(self) -> Cloud:
        """The state of the running server, with its settings."""
        assert self._cloud is not None
        return self._cloud

    # --- for tests ---

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.env["AWS_ENDPOINT_URL"]

    @property
    def calls(self) -> list[Call]:
        """Every request that it got, in order (S3's are not among them)."""
        return self.cloud.calls

    def calls_of(self, operation: str) -> list[Mapping[str, Any]]:
        """Parameters of every call of an operation that succeeded."""
        return [call.params for call in self.calls if call.operation == operation and not call.error]

    @property
    def faults(self) -> Faults:
        """What shall go wrong."""
        return self.cloud.faults

    @property
    def package(self) -> str:
        """What stands for `chronos_assets.workloads` in a container: that itself, or a package of stubs."""
        return self.cloud.package

    @package.setter
    def package(self, name: str) -> None:
        self.cloud.package = name or DEFAULT_PACKAGE

    @property
    def jobs(self) -> list[Job]:
        """Every tuning, training, processing and transform job, in the order of their creation."""
        backend = self.cloud.backend
        kinds = (
            backend.hyper_parameter_tuning_jobs,
            backend.training_jobs,
            backend.processing_jobs,
            backend.transform_jobs,
        )
        return sorted((job for jobs in kinds for job in list(jobs.values())), key=lambda job: job.created)

    def job(self, name: str) -> Job:
        """The job of this name."""
        return next(job for job in self.jobs if job.name == name)

    def clients(self) -> AwsClients:
        """Clients of this server, whatever the environment says; the same ones until `reset`."""
        return self._clients

    def bucket(self, name: str) -> str:
        """Make a bucket that lasts until the next `reset`; returns its name."""
        self.cloud.s3.create_bucket(Bucket=name)
        self._buckets.append(name)
        return name

    def _remove_bucket(self, name: str) -> None:
        for page in self.cloud.s3.get_paginator("list_objects_v2").paginate(Bucket=name):
            if found := [{"Key": item["Key"]} for item in page.get("Contents", [])]:
                self.cloud.s3.delete_objects(Bucket=name, Delete={"Objects": found, "Quiet": True})
        self.cloud.s3.delete_bucket(Bucket=name)

    def _make_client(self, service: str) -> Any:
        url = self.env["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL"]
        return boto3.client(
            cast(Any, service),
            region_name=REGION,
            endpoint_url=url,
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"mode": "standard", "max_attempts": 3}, s3={"addressing_style": "path"}),
        )

    # --- moto ---

    def _hang_in(self, owner: type, name: str, function: Any) -> None:
        self._patches.enter_context(mock.patch.object(owner, name, function, create=True))
        self._method_names.cache_clear()

    def _method(self, function: Operation) -> Callable[[Any], ActionResult]:
        def method(response: Any) -> ActionResult:
            return ActionResult(function(self.cloud, dict(response.params)))

        return method

    def _runtime_method(self, function: Callable[[Cloud, Any], Any]) -> Callable[[Any], Any]:
        def method(response: Any) -> Any:
            return function(self.cloud, response)

        return method

    def _guarded(self, call_action: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """moto's way of answering, with requests recorded, checked, and refused where a fault says so."""

        def guarded(response: BaseResponse) -> Any:
            service, operation = response.boto3_service_name, response._get_action()
            if service == "s3" or not operation:
                return call_action(response)
            params = _parameters(response, service)
            error = self.cloud.faults.take_error(operation)
            if error is None and service in CHECKED and (found := violations(service, operation, params)):
                error = CloudError("ValidationException", validation_message(found))
            call = Call(service, operation, params)
            self.calls.append(call)
            answer = call_action(response) if error is None else _refusal(response, error)
            if int(answer[0]) >= 400:
                call.error = _code(answer)
            return answer

        return guarded

    def _end_all(self) -> None:
        for job in self.jobs:
            job.abandon()
        for endpoint in list(self.cloud.backend.endpoints.values()):
            endpoint.abandon()


class _Clients(AwsClients):
    """Clients that are made by a server."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__(REGION)
        self._make = make

    def __call__(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]


def _parameters(response: BaseResponse, service: str) -> dict[str, Any]:
    """The parameters of a request, also of services that moto reads by hand."""
    if response.automated_parameter_parsing:
        return dict(response.params)
    if service != "sagemaker-runtime":
        return json.loads(response.body) if response.body[:1] in ("{", b"{") else {}
    operation = response._get_action()
    shape = service_model(service).operation_model(operation).input_shape
    params: dict[str, Any] = dict(response.uri_match)
    for name, member in shape.members.items() if shape is not None else ():
        if member.serialization.get("location") == "header" and member.serialization["name"] in response.headers:
            params[name] = response.headers[member.serialization["name"]]
    return {**params, "Body": response.raw_body} if operation == "InvokeEndpoint" else params


def _refusal(response: BaseResponse, error: CloudError) -> Any:
    status, headers, body = response.serialized(ActionResult(error))
    return int(status), headers, body


def _code(answer: Any) -> str:
    """Code of the error that a request was answered with."""
    _, headers, body = answer
    try:
        document = json.loads(body)
        return str(document.get("__type") or document.get("code") or "error").split("#")[-1]
    except ValueError:
        return str(headers.get("x-amzn-ErrorType") or "error")
