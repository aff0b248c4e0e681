"""A deployment as requests to SageMaker: the model and the endpoint configuration that an `EndpointRequest` stands for.

Here: what they hold, by the kind of endpoint, and their names. Elsewhere: making and using them
(`endpoints`), what a server does with its parameters (`workloads.serve`).

A model and its configuration have one name, the endpoint's with a digest of all that they hold: the same deployment finds
what an interrupted one made, and another image or instance type is another deployment.

- `realtime`: an instance, or several, that always run.
- `serverless`: no instance, no VPC, and a model that must be an archive.
- `async`: as realtime, with requests and answers in the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chronos_assets.platforms.aws.machines import (
    has_gpu,
    host_image,
    image_for,
    missing_settings,
    output_key,
    unusable,
    vpc,
)
from chronos_assets.platforms.endpoints import EndpointError, EndpointRequest
from chronos_assets.platforms.job_names import MAX_NAME, is_name, json_digest
from chronos_assets.settings import AwsSettings

VARIANT = "AllTraffic"  # an update must not rename it; alarms are about it
MAX_VARIABLE, MAX_IMAGE = 1024, 255
SERVERLESS_CONCURRENCY = 5
# What a request and an answer of a serverless endpoint may hold, 4 MB: a number takes up to 25 characters.
# https://docs.aws.amazon.com/general/latest/gr/sagemaker.html
SERVERLESS_LIMITS = {"max_body_bytes": 4 * 1024 * 1024, "max_answer_values": 160_000}
READY_SECONDS = 900  # for a server to fetch its model, and again to answer its ping

_DIGEST = 16


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are.

    Attributes:
        reference: the model's name for people, and for the server where there are no files.
        prefix: `s3://…/` of the files; empty: the server gets them by the reference.
        archive: `s3://…/model.tar.gz` of the files, which a serverless endpoint needs.
    """

    reference: str
    prefix: str = ""
    archive: str = ""


@dataclass(frozen=True)
class EndpointPlan:
    """What a deployment is.

    Attributes:
        name: of the model and of the configuration.
        model, config: what `CreateModel` and `CreateEndpointConfig` are given, except for names and tags.
    """

    name: str
    model: Mapping[str, Any]
    config: Mapping[str, Any]


def check_endpoint_name(name: str) -> str:
    """`name` itself, if an endpoint may have it.

    Raises:
        EndpointError: it may not.
    """
    if not is_name(name):
        raise EndpointError(f"endpoint name {name!r}: up to {MAX_NAME} letters, digits and inner hyphens")
    return name


def check_model(model: str | Path) -> str:
    """A model's reference, if SageMaker can reach it.

    Raises:
        EndpointError: it is a folder of this machine.
    """
    if isinstance(model, Path) or model.startswith(("/", ".", "~")):
        raise EndpointError(
            f"model {str(model)!r} is a folder of this machine, which SageMaker can't reach: copy it to the bucket and "
            "set CHRONOS_BASE_MODEL to its s3:// prefix"
        )
    return model


def plan(request: EndpointRequest, settings: AwsSettings, source: ModelSource, answers: str) -> EndpointPlan:
    """The deployment that a request stands for.

    Args:
        request: what to serve.
        settings: on what.
        source: the model's files.
        answers: `s3://…` folder for the answers of an asynchronous endpoint.

    Raises:
        EndpointError: SageMaker would refuse it, or a setting is missing.
    """
    missing = missing_settings(settings)
    if missing:
        raise EndpointError(
            f"endpoint {request.name} can't be deployed without {' and '.join(missing)}: "
            "deploy docker/cloudformation.yaml, whose outputs are the settings"
        )
    if bool(settings.subnets) != bool(settings.security_groups):
        raise EndpointError("CHRONOS_SUBNETS and CHRONOS_SECURITY_GROUPS are set together: SageMaker requires both")
    if settings.endpoint != "serverless" and (problem := unusable(settings.endpoint_instance)):
        raise EndpointError(f"CHRONOS_ENDPOINT_INSTANCE={problem}")
    if len(_image(settings)) > MAX_IMAGE:
        raise EndpointError(
            f"the image {_image(settings)} has more than the {MAX_IMAGE} characters that SageMaker allows"
        )
    model = _model(request, settings, source)
    config = _config(settings, answers)
    name = f"{stem(request.name)}-{json_digest([request.name, model, config], _DIGEST)}"
    return EndpointPlan(name, model, _serving(config, name))


def stem(endpoint: str) -> str:
    """What the names of an endpoint's models and configurations begin with."""
    return endpoint[: MAX_NAME - _DIGEST - 1].rstrip("-")


def update_policy(settings: AwsSettings) -> dict[str, Any]:
    """How an update moves the traffic: at once, when the new instances answer; alarms move it back while it bakes."""
    wait = 300 if settings.endpoint_alarms else 0
    policy: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": wait},
            "TerminationWaitInSeconds": wait,
            "MaximumExecutionTimeoutInSeconds": 3600,
        }
    }
    if settings.endpoint_alarms:
        alarms = [{"AlarmName": name} for name in settings.endpoint_alarms]
        policy["AutoRollbackConfiguration"] = {"Alarms": alarms}
    return policy


def _model(request: EndpointRequest, settings: AwsSettings, source: ModelSource) -> dict[str, Any]:
    container: dict[str, Any] = {"Image": _image(settings), "Environment": _environment(request, settings, source)}
    if source.archive:
        container["ModelDataUrl"] = source.archive
    elif source.prefix:
        container["ModelDataSource"] = {
            "S3DataSource": {"S3Uri": source.prefix, "S3DataType": "S3Prefix", "CompressionType": "None"}
        }
    model = {"PrimaryContainer": container, "ExecutionRoleArn": settings.role}
    return model | (vpc(settings) if settings.endpoint != "serverless" else {})


def _image(settings: AwsSettings) -> str:
    """A serverless endpoint has no GPU, whatever the instance type says."""
    return image_for(settings, "" if settings.endpoint == "serverless" else settings.endpoint_instance)


def _environment(request: EndpointRequest, settings: AwsSettings, source: ModelSource) -> dict[str, str]:
    """The server's parameters. Its page shows a request of its own: the golden one has no room here."""
    serving = {
        **request.parameters,
        "endpoint": request.name,
        "version": request.version,
        "identity": request.identity,
        "model": source.reference,
        **(SERVERLESS_LIMITS if settings.endpoint == "serverless" else {}),
        **({"gpu": True} if settings.endpoint != "serverless" and has_gpu(settings.endpoint_instance) else {}),
    }
    text = json.dumps(serving, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if len(text.encode()) > MAX_VARIABLE:
        raise EndpointError(
            f"endpoint {request.name}: the server's parameters take {len(text.encode())} bytes, a container's variable "
            f"holds {MAX_VARIABLE}: ask for fewer quantiles"
        )
    return {"CHRONOS_SERVING": text}


def _config(settings: AwsSettings, answers: str) -> dict[str, Any]:
    variant: dict[str, Any] = {"VariantName": VARIANT, "InitialVariantWeight": 1.0}
    if settings.endpoint == "serverless":
        if settings.endpoint_memory_mb % 1024:
            raise EndpointError(
                f"CHRONOS_ENDPOINT_MEMORY_MB={settings.endpoint_memory_mb}: a serverless endpoint has a multiple of 1024"
            )
        variant["ServerlessConfig"] = {
            "MemorySizeInMB": settings.endpoint_memory_mb,
            "MaxConcurrency": SERVERLESS_CONCURRENCY,
        }
        return {"ProductionVariants": [variant]}
    variant |= {
        "InstanceType": settings.endpoint_instance,
        "InitialInstanceCount": settings.endpoint_instances,
        "ModelDataDownloadTimeoutInSeconds": READY_SECONDS,
        "ContainerStartupHealthCheckTimeoutInSeconds": READY_SECONDS,
    }
    if host := host_image(settings.endpoint_instance):
        variant["InferenceAmiVersion"] = host.name
    config: dict[str, Any] = {"ProductionVariants": [variant]}
    if settings.kms_key:
        config["KmsKeyId"] = settings.kms_key
    if settings.endpoint == "async":
        output = {"S3OutputPath": answers, "S3FailurePath": f"{answers}failed/"}
        config["AsyncInferenceConfig"] = {
            "OutputConfig": output | output_key(settings),
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4},
        }
    return config


def _serving(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    variants = [{**variant, "ModelName": model} for variant in config["ProductionVariants"]]
    return {**config, "ProductionVariants": variants}
