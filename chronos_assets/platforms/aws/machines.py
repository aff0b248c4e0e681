"""What jobs and endpoints run on, as SageMaker gets it: instances, disks, the network, role and image.

Belongs here: the parts that the requests for processing jobs, training jobs and models have in common. Does not belong
here: the requests (`processing_request`, `tuning_request`, `endpoint_request`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chronos_assets.settings import AwsSettings

# Instances whose disk is a local NVMe drive: it encrypts itself, and a key for it is refused.
_LOCAL_DISK = re.compile(r"ml\.(g4dn|g5|g6|g6e|g7|g7e|p3dn|p4d|p4de|p5|p5e|p5en|p6\S*|trn\w+|[a-z]\d+[a-z]*d[a-z]*)\.")

_GPU = re.compile(r"ml\.(?P<family>g\d\w*|p\d\w*)\.")
# Images of hosts for endpoints, with their drivers: member `InferenceAmiVersion` of `ProductionVariant` in the API reference,
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariant.html. Without one a host has a driver for
# CUDA 11, with which a build of torch for CUDA 12 finds no GPU. The newest families (Blackwell) need the newest driver.
_DRIVER_550 = "al2-ami-sagemaker-inference-gpu-3-1"  # CUDA 12.4
_DRIVER_580 = "al2023-ami-sagemaker-inference-gpu-4-1"  # CUDA 13.0
_HOST_IMAGES = dict.fromkeys(("g4dn", "g5", "g6", "g6e", "p4d", "p4de", "p5", "p5e", "p5en"), _DRIVER_550)


def has_gpu(instance_type: str) -> bool:
    """Whether instances of this type have an NVIDIA GPU."""
    return _GPU.match(instance_type) is not None


def host_image(instance_type: str) -> str | None:
    """The `InferenceAmiVersion` of an endpoint's hosts: one whose driver the image's CUDA can use; None without a GPU."""
    found = _GPU.match(instance_type)
    return _HOST_IMAGES.get(found["family"], _DRIVER_580) if found else None


def forecast_instance(settings: AwsSettings) -> str:
    """Instance type of the jobs that forecast."""
    return settings.forecast_instance or settings.data_instance


def missing_settings(settings: AwsSettings) -> list[str]:
    """Variables without which nothing runs, that are not set."""
    needed = {"CHRONOS_SAGEMAKER_ROLE": settings.role, "CHRONOS_SAGEMAKER_IMAGE": settings.image}
    return [name for name, value in needed.items() if not value]


def cluster(settings: AwsSettings, instance_type: str, count: int = 1) -> dict[str, Any]:
    """The instances of a job, with their disks."""
    encrypted = settings.kms_key and not _has_local_disk(instance_type)
    return {
        "InstanceType": instance_type,
        "InstanceCount": count,
        "VolumeSizeInGB": settings.volume_gb,
        **({"VolumeKmsKeyId": settings.kms_key} if encrypted else {}),
    }


def vpc(settings: AwsSettings) -> dict[str, Any]:
    """The member `VpcConfig`, where there is one."""
    if not settings.subnets:
        return {}
    return {"VpcConfig": {"Subnets": list(settings.subnets), "SecurityGroupIds": list(settings.security_groups)}}


def output_key(settings: AwsSettings) -> dict[str, str]:
    """The member `KmsKeyId` of what a job leaves in S3, where there is one."""
    return {"KmsKeyId": settings.kms_key} if settings.kms_key else {}


def _has_local_disk(instance_type: str) -> bool:
    return _LOCAL_DISK.match(instance_type) is not None
