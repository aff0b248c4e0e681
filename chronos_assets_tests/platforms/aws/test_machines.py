"""Instance types, and what each asks of its host and of the image."""

import json
import re
from dataclasses import replace
from functools import cache

import botocore.session
import pytest

from chronos_assets.platforms.aws.endpoint_request import ModelSource, plan
from chronos_assets.platforms.aws.machines import (
    cluster,
    has_gpu,
    host_image,
    image_for,
    import_volume,
    is_arm,
    unusable,
    volume,
)
from chronos_assets.platforms.aws.sagemaker.limits import LimitError
from chronos_assets.platforms.endpoints import EndpointError, EndpointRequest
from chronos_assets.settings import AwsSettings
from chronos_assets_tests.docker.dockerfile import DOCKER

SETTINGS = AwsSettings(role="arn:aws:iam::123456789012:role/r", image="image", cpu_image="small")
REQUEST = EndpointRequest("demand", "bundled", "zero-shot", "abc", {})


@cache
def model():
    return botocore.session.get_session().get_service_model("sagemaker")


@cache
def shape(name: str) -> list[str]:
    return list(model().shape_for(name).enum)


@cache
def documented_hosts() -> dict[str, tuple[int, tuple[int, int]]]:
    """Image of hosts -> driver and CUDA, as AWS's own description of the API has them."""
    text = re.sub(r"<[^>]+>", " ", model().shape_for("ProductionVariant").members["InferenceAmiVersion"].documentation)
    pattern = r"(\S+-gpu-\S+)\s+Accelerator: GPU\s+NVIDIA driver version: (\d+)\s+CUDA version: (\d+)\.(\d+)"
    return {name: (int(driver), (int(major), int(minor))) for name, driver, major, minor in re.findall(pattern, text)}


def cuda_of_the_image() -> tuple[int, int]:
    """CUDA that the image's torch is built for."""
    (digits,) = re.findall(
        r"^ARG TORCH_INDEX=\S+/cu(\d+)$", (DOCKER / "sagemaker.Dockerfile").read_text(), re.MULTILINE
    )
    return int(digits[:2]), int(digits[2:])


@pytest.mark.parametrize("instance", [name for name in shape("ProductionVariantInstanceType") if has_gpu(name)])
def test_every_gpu_instance_has_a_host_whose_driver_the_image_can_use(instance: str) -> None:
    host = host_image(instance)
    assert host is not None
    assert documented_hosts()[host.name] == (host.driver, host.cuda)
    assert host.cuda >= cuda_of_the_image()
    assert host.name in shape("ProductionVariantInferenceAmiVersion")


def test_the_disk_of_an_import_follows_its_files() -> None:
    assert import_volume(SETTINGS, 10**9, 4 * 10**9) == SETTINGS.volume_gb
    assert import_volume(SETTINGS, 10**9, 10**12 + 1) == 1001
    assert import_volume(SETTINGS, 10**13, 10**14) == 16_384
    assert import_volume(replace(SETTINGS, import_volume_gb=50), 50 * 10**9, 10**12) == 50


@pytest.mark.parametrize(
    ("given", "needed", "told"),
    [
        (49, 50 * 10**9, r"CHRONOS_IMPORT_VOLUME_GB=49: .* takes 50 GB of disk at least; set it to 60 to be safe"),
        (None, 17 * 10**12, "a volume has 16,384 at most: remove train files"),
    ],
)
def test_an_import_that_its_disk_is_too_small_for_is_refused(given: int | None, needed: int, told: str) -> None:
    with pytest.raises(LimitError, match=told):
        import_volume(replace(SETTINGS, import_volume_gb=given), needed, needed + 10 * 10**9)
    # The disk of such an instance comes with it, whatever is asked for.
    if given is not None:
        local = replace(SETTINGS, import_volume_gb=given, import_instance="ml.m5d.4xlarge")
        assert import_volume(local, needed, needed) == given


def test_no_more_is_asked_for_than_a_local_drive_has() -> None:
    """`VolumeSizeInGB` above the drive's size is refused; the smallest drive has 50 GB."""
    assert volume("ml.r5.xlarge", 500) == 500
    assert (volume("ml.r5d.xlarge", 500), volume("ml.r5d.xlarge", 30)) == (50, 30)
    local = {"g4dn", "g5", "g6", "g6e", "p4d", "p4de", "p5", "r5d", "trn1"}
    types = [name for name in shape("TrainingInstanceType") if name.split(".")[1] in local]
    assert {volume(name, 16_384) for name in types} == {50}
    assert {family for name in types if (family := name.split(".")[1])} == local
    assert cluster(replace(SETTINGS, volume_gb=500), "ml.g5.xlarge")["VolumeSizeInGB"] == 50


def test_the_image_knows_blackwell() -> None:
    """https://github.com/pytorch/pytorch/blob/main/RELEASE.md: builds for CUDA 12.8 and later do."""
    assert cuda_of_the_image() >= (12, 8)


def test_instances_without_a_gpu_keep_their_hosts() -> None:
    plain = [
        name for name in shape("ProductionVariantInstanceType") if name.startswith(("ml.c", "ml.m", "ml.t", "ml.r"))
    ]
    assert len(plain) > 50
    assert {host_image(name) for name in plain} == {None}
    assert not has_gpu("ml.inf2.xlarge")
    assert {name.split(".")[1] for name in plain if is_arm(name)} >= {"c6g", "c7g", "m6g", "m6gd", "r6g"}
    assert not [name for name in plain if is_arm(name) and "g" not in name.split(".")[1]]


@pytest.mark.parametrize(("instance", "gpu"), [("ml.g5.xlarge", True), ("ml.c5.xlarge", False)])
def test_a_server_on_a_gpu_instance_is_asked_to_use_it(instance: str, gpu: bool) -> None:
    settings = replace(SETTINGS, endpoint_instance=instance)
    made = plan(REQUEST, settings, ModelSource("bundled"), "s3://b/answers/")
    (variant,) = made.config["ProductionVariants"]
    assert ("InferenceAmiVersion" in variant) is gpu
    assert ('"gpu":true' in made.model["PrimaryContainer"]["Environment"]["CHRONOS_SERVING"]) is gpu
    assert made.model["PrimaryContainer"]["Image"] == ("image" if gpu else "small")


def test_a_gpu_that_torch_does_not_know_is_refused() -> None:
    settings = replace(SETTINGS, endpoint_instance="ml.p3.2xlarge")
    with pytest.raises(EndpointError, match=r"ml\.p3\.2xlarge: torch for CUDA 13 does not know its GPU; choose"):
        plan(REQUEST, settings, ModelSource("bundled"), "s3://b/answers/")
    assert not any(map(unusable, ("ml.g4dn.xlarge", "ml.p4d.24xlarge", "ml.p6-b200.48xlarge", "ml.c5.xlarge", "")))


def test_a_serverless_endpoint_takes_what_sagemaker_lets_through() -> None:
    """4 MB: https://docs.aws.amazon.com/general/latest/gr/sagemaker.html"""
    serverless = replace(SETTINGS, endpoint="serverless", endpoint_instance="ml.g5.xlarge")
    made = plan(REQUEST, serverless, ModelSource("bundled", archive="s3://b/model.tar.gz"), "s3://b/answers/")
    container = made.model["PrimaryContainer"]
    serving = json.loads(container["Environment"]["CHRONOS_SERVING"])
    assert serving["max_body_bytes"] == 4 * 1024 * 1024
    longest = len(json.dumps(-1.7976931348623157e-308) + ",")
    assert serving["max_answer_values"] * longest < 4 * 1024 * 1024
    assert container["Image"] == "small"


def test_without_a_small_image_all_instances_have_the_same() -> None:
    settings = replace(SETTINGS, cpu_image="")
    assert image_for(settings, "ml.c5.xlarge") == image_for(settings, "ml.g5.xlarge") == "image"
