"""A workload as a request for a SageMaker processing job: pure functions, no call is made here.

Here: which field says what, what the job sees where, how inputs are dealt out. Elsewhere: sending it and
fetching what it left (`jobs.py`), what a container does (`container.contract`).

Below `<store>/.jobs/<name>/`, where `<name>` is that of the job's first attempt:

```
parameters/parameters.json    the workload's parameters
dealt/<channel>.json          an input's objects that are dealt out over the instances, as a manifest of SageMaker's
shared/<channel>.json         those of its objects that every instance gets
remote/<channel>/             a list of the files of an input that the job fetches by itself
listed/<channel>.json         single objects of the store that an input consists of
output/<attempt>/<channel>/   what an attempt left
```

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateProcessingJob.html
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProcessingS3Input.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chronos_assets.container.contract import DEFAULT_ROOT, KMS_VARIABLE, MESSAGES_CHANNEL
from chronos_assets.platforms.aws.machines import (
    cluster,
    forecast_instance,
    image_for,
    import_instance,
    import_volume,
    output_key,
    volume,
    vpc,
)
from chronos_assets.platforms.jobs import WORKLOADS, JobRequest
from chronos_assets.settings import AwsSettings

IMPORT = "import_dataset"
ON_TRAINING_INSTANCES = frozenset({"evaluate", "learn", "zero_shot"})  # they forecast with models of any size
PART = "part-"  # what the names of objects begin with that are dealt out


@dataclass(frozen=True)
class InputSource:
    """An input channel.

    Attributes:
        version: name of the version that is read.
        uri: its S3 prefix, with a slash at its end.
        objects: names below it, where some of them are dealt out; empty: every instance gets all.
        listed: whether `objects` are all that is read below the prefix.
        urls: of files that the job fetches by itself, by name, where the channel consists of such.
    """

    version: str
    uri: str
    objects: tuple[str, ...] = ()
    listed: bool = False
    urls: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """The objects that are dealt out."""
        return tuple(name for name in self.objects if name.startswith(PART))

    @property
    def rest(self) -> tuple[str, ...]:
        """The objects that every instance gets."""
        return tuple(name for name in self.objects if not name.startswith(PART))

    def manifest(self, names: Sequence[str]) -> list[Any]:
        """SageMaker's list of objects."""
        return [{"prefix": self.uri}, *names]


def instances_for(request: JobRequest, sources: Mapping[str, InputSource], settings: AwsSettings) -> int:
    """How many instances a job gets: none that would have nothing to do."""
    if not request.sharded:
        return 1
    return max(1, min(settings.forecast_instances, len(sources[request.sharded].parts)))


def _instance_type(workload: str, settings: AwsSettings) -> str:
    if workload in ON_TRAINING_INSTANCES:
        return settings.training_instance
    own = {"forecast": forecast_instance, IMPORT: import_instance}
    return own[workload](settings) if workload in own else settings.data_instance


def processing_job(
    request: JobRequest,
    *,
    folder: str,
    attempt: str,
    sources: Mapping[str, InputSource],
    region: str,
    settings: AwsSettings,
) -> dict[str, Any]:
    """The CreateProcessingJob request of an attempt, without its name.

    Args:
        request: what the job is to do.
        folder: S3 URL of the job's folder.
        attempt: name of the attempt.
        sources: input channel -> what it reads.
        region: where it runs.
        settings: of the deployment on AWS.
    """
    instances = instances_for(request, sources, settings)
    instance_type = _instance_type(request.workload, settings)
    sharded = request.sharded if instances > 1 else ""
    channels = [*request.outputs, *([MESSAGES_CHANNEL] if instances > 1 else [])]
    return {
        "RoleArn": settings.role,
        "AppSpecification": {
            "ImageUri": image_for(settings, instance_type),
            "ContainerEntrypoint": ["python", "-m", WORKLOADS],
            "ContainerArguments": [request.workload],
        },
        "ProcessingResources": {
            "ClusterConfig": {
                **cluster(settings, instance_type, instances),
                **_volume(request, instance_type, settings),
            }
        },
        "ProcessingInputs": list(_inputs(folder, sources, sharded)),
        "ProcessingOutputConfig": {
            "Outputs": [_output(channel, f"{folder}/output/{attempt}/{channel}") for channel in channels],
            **output_key(settings),
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": settings.job_seconds},
        # SageMaker tells a processing job's container none of these.
        "Environment": {
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            **({KMS_VARIABLE: settings.kms_key} if settings.kms_key else {}),
        },
        **({"NetworkConfig": vpc(settings)} if settings.subnets else {}),
    }


def _inputs(folder: str, sources: Mapping[str, InputSource], sharded: str) -> Iterator[dict[str, Any]]:
    """The parameters, and the channels; of the one that is `sharded` each instance gets a part."""
    yield _input("parameters", f"{folder}/parameters/", "processing/input/parameters")
    for channel, source in sources.items():
        path = f"processing/input/{channel}"
        if channel == sharded:
            yield _input(channel, f"{folder}/dealt/{channel}.json", path, "ManifestFile", "ShardedByS3Key")
            if source.rest:
                shared = f"processing/shared/{channel}"
                yield _input(f"{channel}-shared", f"{folder}/shared/{channel}.json", shared, "ManifestFile")
        elif source.urls:
            yield _input(channel, f"{folder}/remote/{channel}/", path)
        elif source.listed:
            yield _input(channel, f"{folder}/listed/{channel}.json", path, "ManifestFile")
        else:
            yield _input(channel, source.uri, path)


def _volume(request: JobRequest, instance_type: str, settings: AwsSettings) -> dict[str, int]:
    """The disk of an import, where it isn't that of all jobs."""
    if request.workload != IMPORT:
        return {}
    return {"VolumeSizeInGB": volume(instance_type, import_volume(settings, *request.disk_bytes))}


def _input(
    name: str, uri: str, path: str, data_type: str = "S3Prefix", distribution: str = "FullyReplicated"
) -> dict[str, Any]:
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"{DEFAULT_ROOT}/{path}",
            "S3DataType": data_type,
            "S3InputMode": "File",
            "S3DataDistributionType": distribution,
        },
    }


def _output(channel: str, uri: str) -> dict[str, Any]:
    return {
        "OutputName": channel,
        "S3Output": {
            "S3Uri": uri,
            "LocalPath": f"{DEFAULT_ROOT}/processing/output/{channel}",
            "S3UploadMode": "EndOfJob",
        },
    }
