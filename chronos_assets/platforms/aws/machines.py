"""What jobs and endpoints run on, as SageMaker gets it: instances, disks, the network, role and image.

Here: the parts that the requests for processing jobs, training jobs and models have in common. Elsewhere:
the requests (`processing_request`, `tuning_request`, `endpoint_request`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from chronos_assets.platforms.aws.sagemaker.limits import LimitError
from chronos_assets.settings import AwsSettings

# Instances whose disk is a local NVMe drive: it encrypts itself, and a key for it is refused.
_LOCAL_DISK = re.compile(r"ml\.(g4dn|g5|g6|g6e|g7|g7e|p3dn|p4d|p4de|p5|p5e|p5en|p6\S*|trn\w+|[a-z]\d+[a-z]*d[a-z]*)\.")

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProcessingClusterConfig.html
MAX_VOLUME_GB = 16_384
# Such an instance has its drive whatever is asked for, but asking for more than that is refused. This is the smallest one, of
# c5d.large: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-store-volumes.html
LEAST_LOCAL_GB = 50

_GPU = re.compile(r"ml\.(?P<family>g\d\w*|p\d\w*)(?:-\w+)?\.")
_GRAVITON = re.compile(r"ml\.[a-z]\d+g[a-z]*\.")
# GPUs that builds of torch for CUDA 13 know no more: Kepler and Volta.
_TOO_OLD = ("p2", "p3", "p3dn")


@dataclass(frozen=True)
class HostImage:
    """An image of the hosts of endpoints.

    Attributes:
        name: the `InferenceAmiVersion` of a variant.
        driver: major version of NVIDIA's driver.
        cuda: newest version of CUDA that the driver runs.
    """

    name: str
    driver: int
    cuda: tuple[int, int]


# Member `InferenceAmiVersion` in https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariant.html.
# Without one the hosts of g4dn, g5 and p4d have a driver for CUDA 11, those of g6 and p5 one for CUDA 12, with which a build of
# torch for CUDA 13 finds no GPU: https://docs.aws.amazon.com/sagemaker/latest/dg/inference-gpu-drivers.html
GPU_HOSTS = HostImage("al2023-ami-sagemaker-inference-gpu-4-1", driver=580, cuda=(13, 0))


def has_gpu(instance_type: str) -> bool:
    """Whether instances of this type have an NVIDIA GPU."""
    return _GPU.match(instance_type) is not None


def host_image(instance_type: str) -> HostImage | None:
    """The hosts that an endpoint asks for: with a driver that the image's CUDA can use; None without a GPU."""
    return GPU_HOSTS if has_gpu(instance_type) else None


def unusable(instance_type: str) -> str:
    """Why the image can't run on instances of this type, and how to fix it; empty if it can."""
    found = _GPU.match(instance_type)
    if found and found["family"] in _TOO_OLD:
        return f"{instance_type}: torch for CUDA 13 does not know its GPU; choose a newer family (g4dn, g5, g6, p4d or later)"
    return ""


def is_arm(instance_type: str) -> bool:
    """Whether instances of this type have Graviton processors, which need an image of their own (`linux/arm64`)."""
    return _GRAVITON.match(instance_type) is not None


def image_for(settings: AwsSettings, instance_type: str) -> str:
    """The image of the workloads on instances of this type: the small one where there is no GPU, if there is such a one."""
    return settings.image if has_gpu(instance_type) else settings.cpu_image or settings.image


def forecast_instance(settings: AwsSettings) -> str:
    """Instance type of the jobs that forecast."""
    return settings.forecast_instance or settings.data_instance


def import_instance(settings: AwsSettings) -> str:
    """Instance type of the jobs that import."""
    return settings.import_instance or settings.data_instance


def import_volume(settings: AwsSettings, least: int, likely: int) -> int:
    """Gigabytes of the disk of a job that imports, before `volume` looks at the instance.

    Args:
        settings: of the deployment on AWS.
        least: bytes that it needs at least.
        likely: bytes that are enough.

    Raises:
        LimitError: CHRONOS_IMPORT_VOLUME_GB is less, or no volume is large enough.
    """
    needed, enough, given = -(-least // 10**9), -(-likely // 10**9), settings.import_volume_gb
    if given is not None and given < needed and not _has_local_disk(import_instance(settings)):
        raise LimitError(
            f"CHRONOS_IMPORT_VOLUME_GB={given}: the import of these files takes {needed:,} GB of disk at least; set it to "
            f"{enough} to be safe, or leave it out: the volume then follows the files"
        )
    if needed > MAX_VOLUME_GB:
        raise LimitError(
            f"the import of these files takes {needed:,} GB of disk at least, and a volume has {MAX_VOLUME_GB:,} at most: "
            "remove train files that are no longer needed"
        )
    return given or min(max(settings.volume_gb, enough), MAX_VOLUME_GB)


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
        "VolumeSizeInGB": volume(instance_type, settings.volume_gb),
        **({"VolumeKmsKeyId": settings.kms_key} if encrypted else {}),
    }


def volume(instance_type: str, size: int) -> int:
    """The gigabytes to ask for where a job needs `size`: no more than a local drive has, which comes with its instance."""
    return min(size, LEAST_LOCAL_GB) if _has_local_disk(instance_type) else size


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
