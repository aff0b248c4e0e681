"""Models, endpoint configurations and endpoints that serve.

Here: the operations on them, blue/green updates and their silent roll-back, invocations. Elsewhere: the
containers (`serving_process.py`).

https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
"""

from __future__ import annotations

import json
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moto.core.responses import BaseResponse

from chronos_assets_tests.aws.cloud import ACCOUNT, REGION, Cloud, CloudError, arn_of, invalid, listed, now
from chronos_assets_tests.aws.job_process import JobError, split_uri
from chronos_assets_tests.aws.running_job import present
from chronos_assets_tests.aws.sagemaker_packages import package_container
from chronos_assets_tests.aws.serving_process import Answer, ServingContainer

BAKE_SECONDS = 0.1  # an update looks at its alarms for so long before the old containers go (AWS: minutes)

_PASSED_HEADERS = ("Content-Type", "Accept", "X-Amzn-SageMaker-Custom-Attributes")
_LOOK_SECONDS = 0.02


class Resource:
    """Something that was created with a name: a model or an endpoint configuration."""

    def __init__(self, kind: str, name: str, request: Mapping[str, Any]) -> None:
        self.name = name
        self.arn = arn_of(kind, name)
        self.tags = [dict(tag) for tag in request.get("Tags") or []]
        self.request = {key: value for key, value in request.items() if key != "Tags"}
        self.created = now()


class Endpoint:
    """An endpoint: the container that answers, and the thread that deploys the next.

    Attributes:
        status: as DescribeEndpoint tells it.
        config: name of the configuration that answers.
    """

    def __init__(self, cloud: Cloud, name: str, config: str, request: Mapping[str, Any]) -> None:
        self.cloud = cloud
        self.name = name
        self.arn = arn_of("endpoint", name)
        self.tags = [dict(tag) for tag in request.get("Tags") or []]
        self.status = "Creating"
        self.config = config
        self.reason = ""
        self.created = self.modified = now()
        self.container: ServingContainer | None = None
        self.deployed: Mapping[str, Any] = {}
        self.policy: Mapping[str, Any] | None = None
        self._next: ServingContainer | None = None
        self._deployments = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self.lock = threading.RLock()

    def deploy(self, config: str, policy: Mapping[str, Any] | None) -> None:
        """Start to serve a configuration."""
        with self.lock:
            self.policy = policy or self.policy
            self.modified = now()
            self._thread = threading.Thread(
                target=self._deploy, args=(config,), name=f"endpoint {self.name}", daemon=True
            )
            self._thread.start()

    def _deploy(self, config: str) -> None:
        reason = self._try(config)
        old = self.container
        with self.lock:
            if not reason:
                self.container, self.config = self._next, config
                self.deployed = self.cloud.backend.endpoint_configs[config].request
            if self._closed and self._next is not None:
                self._next.kill()
            if self._closed:
                return
        if reason and self._next is not None:
            self._next.kill()
        elif not reason and old is not None:
            old.stop(self.cloud.grace_seconds)
        with self.lock:
            # A failed update leaves no word of it: the old configuration is in service, and that is all.
            failed = bool(reason) and old is None
            self.reason = reason if failed else ""
            self.status = "Failed" if failed else "InService"
            self.modified = now()

    def _try(self, config: str) -> str:
        """Bring a configuration up; why it can't stay, "" if it can."""
        updating = self.container is not None
        self._deployments += 1
        variant = self.cloud.backend.endpoint_configs[config].request["ProductionVariants"][0]
        name = variant["VariantName"]
        model = self.cloud.backend._models.get(variant["ModelName"])
        if model is None:
            return f"Could not find model {variant['ModelName']}"
        self._next = ServingContainer(
            self.cloud,
            container_of(model),
            self.cloud.folder / "endpoint" / self.name / str(self._deployments),
            log_group=f"/aws/sagemaker/Endpoints/{self.name}",
            log_stream=f"{name}/i-{self._deployments:017d}",
        )
        try:
            self._next.start()
        except (JobError, OSError, tarfile.TarError) as error:
            return str(error)
        if not self._next.wait(self.cloud.ping_seconds):
            return (
                f"The primary container for production variant {name} did not pass the ping health check. "
                "Please check CloudWatch logs for this endpoint."
            )
        return "Rolled back" if updating and self._rolls_back() else ""

    def _rolls_back(self) -> bool:
        faults = self.cloud.faults
        if faults.roll_back_next_update:
            faults.roll_back_next_update = False
            self.status = "RollingBack"
            return True
        alarms = [
            item["AlarmName"]
            for item in ((self.policy or {}).get("AutoRollbackConfiguration") or {}).get("Alarms") or []
        ]
        deadline = time.monotonic() + (BAKE_SECONDS if alarms else 0)
        while alarms and time.monotonic() < deadline:
            if any(_alarm_state(name) == "ALARM" for name in alarms):
                self.status = "RollingBack"
                return True
            time.sleep(_LOOK_SECONDS)
        return False

    def abandon(self) -> None:
        """End its containers at once."""
        self._closed = True
        for container in (self._next, self.container):
            if container is not None:
                container.kill()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def summary(self) -> dict[str, Any]:
        """What a list tells of it."""
        return {
            "EndpointName": self.name,
            "EndpointArn": self.arn,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
            "EndpointStatus": self.status,
        }

    def description(self) -> dict[str, Any]:
        """What DescribeEndpoint tells."""
        with self.lock:
            variants = [_variant(item) for item in self.deployed.get("ProductionVariants") or []]
            return present(
                {
                    **self.summary(),
                    "EndpointConfigName": self.config,
                    "ProductionVariants": variants or None,
                    "FailureReason": self.reason or None,
                    "LastDeploymentConfig": self.policy,
                    "AsyncInferenceConfig": self.deployed.get("AsyncInferenceConfig"),
                }
            )


def _variant(item: Mapping[str, Any]) -> dict[str, Any]:
    serverless = item.get("ServerlessConfig")
    count = 0 if serverless else item.get("InitialInstanceCount", 1)
    weight = item.get("InitialVariantWeight", 1.0)
    return present(
        {
            "VariantName": item["VariantName"],
            "CurrentWeight": weight,
            "DesiredWeight": weight,
            "CurrentInstanceCount": count,
            "DesiredInstanceCount": count,
            "CurrentServerlessConfig": serverless,
        }
    )


def _alarm_state(name: str) -> str:
    from moto.cloudwatch.models import cloudwatch_backends

    alarm = cloudwatch_backends[ACCOUNT][REGION].alarms.get(name)
    return "" if alarm is None else str(alarm.state_value)


def container_of(model: Resource) -> Mapping[str, Any]:
    """The container of a model."""
    return model.request.get("PrimaryContainer") or model.request["Containers"][0]


# --- models and configurations ----------------------------------------------------------------------------------------


def _found(resources: Mapping[str, Any], kind: str, noun: str, name: str) -> Any:
    if name not in resources:
        raise invalid(f'Could not find {noun} "{arn_of(kind, name)}".')
    return resources[name]


def _unused(resources: Mapping[str, Any], kind: str, noun: str, name: str) -> None:
    if name in resources:
        raise invalid(f'Cannot create already existing {noun} "{arn_of(kind, name)}".')


def create_model(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """CreateModel."""
    name = params["ModelName"]
    _unused(cloud.backend._models, "model", "model", name)
    containers = [params["PrimaryContainer"]] if params.get("PrimaryContainer") else params.get("Containers") or []
    if len(containers) != 1:
        raise invalid("This server's models have one container")
    container = _of_package(cloud, containers[0])
    _check_model_data(cloud, container)
    model = Resource("model", name, {**params, "PrimaryContainer": container})
    cloud.backend._models[name] = model
    return {"ModelArn": model.arn}


def _of_package(cloud: Cloud, container: Mapping[str, Any]) -> dict[str, Any]:
    if (arn := container.get("ModelPackageName")) is None:
        if not container.get("Image"):
            raise invalid("A container has an Image or a ModelPackageName")
        return dict(container)
    theirs = package_container(cloud, arn)
    kept = {key: theirs[key] for key in ("Image", "ModelDataUrl", "ModelDataSource", "Environment") if key in theirs}
    environment = {**(theirs.get("Environment") or {}), **(container.get("Environment") or {})}
    return {**container, **kept, "Environment": environment}


def _check_model_data(cloud: Cloud, container: Mapping[str, Any]) -> None:
    source = (container.get("ModelDataSource") or {}).get("S3DataSource")
    if source is not None and source["S3DataType"] == "S3Prefix" and not source["S3Uri"].endswith("/"):
        raise invalid(f"ModelDataSource: the S3Uri {source['S3Uri']} of a prefix must end with a forward slash")
    uri = source["S3Uri"] if source is not None else container.get("ModelDataUrl")
    if uri is None:
        return
    try:
        bucket, key = split_uri(uri)
    except JobError as error:
        raise invalid(str(error)) from error
    found = cloud.s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents")
    if not found:
        raise invalid(f"Could not find model data at {uri}.")


def create_endpoint_config(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """CreateEndpointConfig."""
    name = params["EndpointConfigName"]
    _unused(cloud.backend.endpoint_configs, "endpoint-config", "endpoint configuration", name)
    if len(params["ProductionVariants"]) != 1:
        raise invalid("This server's endpoints have one production variant")
    for variant in params["ProductionVariants"]:
        _found(cloud.backend._models, "model", "model", variant["ModelName"])
        serverless = variant.get("ServerlessConfig")
        if (serverless is None) == (variant.get("InstanceType") is None):
            raise invalid("A production variant has either an InstanceType or a ServerlessConfig")
        if serverless is not None and params.get("AsyncInferenceConfig") is not None:
            raise invalid("Serverless inference can't be asynchronous")
    config = Resource("endpoint-config", name, params)
    cloud.backend.endpoint_configs[name] = config
    return {"EndpointConfigArn": config.arn}


def _described(resource: Resource, arn: str) -> dict[str, Any]:
    return {**resource.request, arn: resource.arn, "CreationTime": resource.created}


def _deleted(resources: dict[str, Any], kind: str, noun: str, name: str) -> dict[str, Any]:
    _found(resources, kind, noun, name)
    del resources[name]
    return {}


def _list(resources: Mapping[str, Resource], params: Mapping[str, Any], member: str, result: str) -> dict[str, Any]:
    summaries = [
        {f"{member}Name": item.name, f"{member}Arn": item.arn, "CreationTime": item.created}
        for item in list(resources.values())
    ]
    page, more = listed(summaries, params, name=f"{member}Name", descending=True)
    return {result: page, **more}


# --- endpoints --------------------------------------------------------------------------------------------------------


def create_endpoint(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """CreateEndpoint."""
    name, config = params["EndpointName"], params["EndpointConfigName"]
    _unused(cloud.backend.endpoints, "endpoint", "endpoint", name)
    _found(cloud.backend.endpoint_configs, "endpoint-config", "endpoint configuration", config)
    endpoint = Endpoint(cloud, name, config, params)
    cloud.backend.endpoints[name] = endpoint
    endpoint.deploy(config, params.get("DeploymentConfig"))
    return {"EndpointArn": endpoint.arn}


def update_endpoint(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """UpdateEndpoint."""
    endpoint = _found(cloud.backend.endpoints, "endpoint", "endpoint", params["EndpointName"])
    config = params["EndpointConfigName"]
    _found(cloud.backend.endpoint_configs, "endpoint-config", "endpoint configuration", config)
    with endpoint.lock:
        if endpoint.status not in {"InService", "Failed"}:
            raise invalid(f'Cannot update in-progress endpoint "{endpoint.arn}".')
        endpoint.status = "Updating" if endpoint.container is not None else "Creating"
        endpoint.deploy(config, params.get("DeploymentConfig"))
    return {"EndpointArn": endpoint.arn}


def delete_endpoint(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """DeleteEndpoint."""
    endpoint = _found(cloud.backend.endpoints, "endpoint", "endpoint", params["EndpointName"])
    if endpoint.status not in {"InService", "Failed"}:
        raise invalid(f'Cannot update in-progress endpoint "{endpoint.arn}".')
    del cloud.backend.endpoints[endpoint.name]
    endpoint.abandon()
    return {}


def list_endpoints(cloud: Cloud, params: dict[str, Any]) -> dict[str, Any]:
    """ListEndpoints."""
    summaries = [endpoint.summary() for endpoint in list(cloud.backend.endpoints.values())]
    page, more = listed(summaries, params, name="EndpointName", status="EndpointStatus", descending=True)
    return {"Endpoints": page, **more}


_CONFIG = ("endpoint-config", "endpoint configuration")

OPERATIONS: dict[str, Callable[[Cloud, dict[str, Any]], dict[str, Any]]] = {
    "CreateModel": create_model,
    "DescribeModel": lambda cloud, params: _described(
        _found(cloud.backend._models, "model", "model", params["ModelName"]), "ModelArn"
    ),
    "DeleteModel": lambda cloud, params: _deleted(cloud.backend._models, "model", "model", params["ModelName"]),
    "ListModels": lambda cloud, params: _list(cloud.backend._models, params, "Model", "Models"),
    "CreateEndpointConfig": create_endpoint_config,
    "DescribeEndpointConfig": lambda cloud, params: _described(
        _found(cloud.backend.endpoint_configs, *_CONFIG, params["EndpointConfigName"]), "EndpointConfigArn"
    ),
    "DeleteEndpointConfig": lambda cloud, params: _deleted(
        cloud.backend.endpoint_configs, *_CONFIG, params["EndpointConfigName"]
    ),
    "ListEndpointConfigs": lambda cloud, params: _list(
        cloud.backend.endpoint_configs, params, "EndpointConfig", "EndpointConfigs"
    ),
    "CreateEndpoint": create_endpoint,
    "UpdateEndpoint": update_endpoint,
    "DescribeEndpoint": lambda cloud, params: _found(
        cloud.backend.endpoints, "endpoint", "endpoint", params["EndpointName"]
    ).description(),
    "DeleteEndpoint": delete_endpoint,
    "ListEndpoints": list_endpoints,
}


# --- invocations ------------------------------------------------------------------------------------------------------


def _serving(cloud: Cloud, name: str, *, asynchronous: bool) -> Endpoint:
    endpoint = cloud.backend.endpoints.get(name)
    if endpoint is None or endpoint.container is None:
        raise CloudError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
    if ("AsyncInferenceConfig" in endpoint.deployed) != asynchronous:
        kind = "an asynchronous" if not asynchronous else "a real-time"
        raise CloudError("ValidationError", f"Endpoint {name} of account {ACCOUNT} is {kind} endpoint.")
    return endpoint


def _ask(endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> Answer | str:
    """A container's answer, or why there is none; the container that answered last where it was just replaced."""
    container = endpoint.container
    assert container is not None
    try:
        return container.invoke(body, headers)
    except OSError as error:
        if endpoint.container is not None and endpoint.container is not container:
            return _ask(endpoint, body, headers)
        return str(error)


def invoke_endpoint(cloud: Cloud, response: BaseResponse) -> tuple[int, dict[str, str], bytes]:
    """InvokeEndpoint."""
    endpoint = _serving(cloud, response.uri_match["EndpointName"], asynchronous=False)
    headers = {name: response.headers[name] for name in _PASSED_HEADERS if response.headers.get(name)}
    most = _payload_limit(endpoint)
    if len(response.raw_body) > most:
        raise CloudError("ValidationError", f"The request body exceeds the limit of {most} bytes")
    answer = _ask(endpoint, response.raw_body, headers)
    if not isinstance(answer, str) and len(answer.body) > most:
        answer = f"the response exceeds the limit of {most} bytes"
    if isinstance(answer, str):
        return _model_error(endpoint, 503, answer)
    if answer.status >= 300:
        return _model_error(endpoint, answer.status, answer.body.decode("utf-8", "replace"))
    told = {
        "Content-Type": answer.headers.get("content-type", "application/octet-stream"),
        "x-Amzn-Invoked-Production-Variant": endpoint.deployed["ProductionVariants"][0]["VariantName"],
    }
    if (custom := answer.headers.get("x-amzn-sagemaker-custom-attributes")) is not None:
        told["X-Amzn-SageMaker-Custom-Attributes"] = custom
    return 200, told, answer.body


def _payload_limit(endpoint: Endpoint) -> int:
    """Bytes of a request, and of an answer. https://docs.aws.amazon.com/general/latest/gr/sagemaker.html"""
    serverless = "ServerlessConfig" in endpoint.deployed["ProductionVariants"][0]
    return (4 if serverless else 25) * 1024 * 1024


def _model_error(endpoint: Endpoint, status: int, message: str) -> tuple[int, dict[str, str], bytes]:
    whose = "client" if status < 500 else "server"
    document = {
        "ErrorCode": f"{whose.upper()}_ERROR_FROM_MODEL",
        "LogStreamArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/{endpoint.name}",
        "OriginalStatusCode": status,
        "OriginalMessage": message,
        "Message": f'Received {whose} error ({status}) from primary with message "{message}".',
    }
    headers = {"x-amzn-ErrorType": "ModelError", "Content-Type": "application/json", "status": "424"}
    return 424, headers, json.dumps(document).encode()


def invoke_endpoint_async(cloud: Cloud, response: BaseResponse) -> tuple[int, dict[str, str], bytes]:
    """InvokeEndpointAsync: the answer lies in S3 a little later."""
    endpoint = _serving(cloud, response.uri_match["EndpointName"], asynchronous=True)
    output = endpoint.deployed["AsyncInferenceConfig"]["OutputConfig"]
    inference = response.headers.get("X-Amzn-SageMaker-Inference-Id") or str(uuid.uuid4())
    good = f"{output['S3OutputPath'].rstrip('/')}/{uuid.uuid4()}.out"
    bad = f"{output.get('S3FailurePath', output['S3OutputPath']).rstrip('/')}/{uuid.uuid4()}-error.out"
    source = split_uri(response.headers["X-Amzn-SageMaker-InputLocation"])
    content_type = response.headers.get("X-Amzn-SageMaker-Content-Type") or "application/octet-stream"

    def answer() -> None:
        got: Answer | str
        try:
            body = cloud.s3.get_object(Bucket=source[0], Key=source[1])["Body"].read()
            got = _ask(endpoint, body, {"Content-Type": content_type})
        except cloud.s3.exceptions.ClientError as error:
            got = f"the input can't be read: {error}"
        failed = isinstance(got, str) or got.status >= 300
        bucket, key = split_uri(bad if failed else good)
        cloud.s3.put_object(Bucket=bucket, Key=key, Body=got.encode() if isinstance(got, str) else got.body)

    threading.Thread(target=answer, name=f"invocation {inference}", daemon=True).start()
    headers = {
        "X-Amzn-SageMaker-OutputLocation": good,
        "X-Amzn-SageMaker-FailureLocation": bad,
        "Content-Type": "application/json",
        "status": "202",
    }
    return 202, headers, json.dumps({"InferenceId": inference}).encode()


RUNTIME_OPERATIONS: Sequence[tuple[str, Callable[[Cloud, BaseResponse], Any]]] = (
    ("InvokeEndpoint", invoke_endpoint),
    ("InvokeEndpointAsync", invoke_endpoint_async),
)
