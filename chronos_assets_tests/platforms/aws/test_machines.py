"""Instance types, and what each asks of its host."""

import botocore.session
import pytest

from chronos_assets.platforms.aws.endpoint_request import ModelSource, plan
from chronos_assets.platforms.aws.machines import has_gpu, host_image
from chronos_assets.platforms.endpoints import EndpointRequest
from chronos_assets.settings import AwsSettings

# CUDA of the driver of each host image, as the API reference has it; the image of the jobs is built for CUDA 12.
CUDA = {"al2-ami-sagemaker-inference-gpu-3-1": 12.4, "al2023-ami-sagemaker-inference-gpu-4-1": 13.0}


def shape(name: str) -> list[str]:
    return list(botocore.session.get_session().get_service_model("sagemaker").shape_for(name).enum)


@pytest.mark.parametrize("instance", [name for name in shape("ProductionVariantInstanceType") if has_gpu(name)])
def test_every_gpu_instance_has_a_host_whose_driver_the_image_can_use(instance: str) -> None:
    image = host_image(instance)
    assert image in shape("ProductionVariantInferenceAmiVersion")
    assert CUDA[image] >= 12


def test_instances_without_a_gpu_keep_their_hosts() -> None:
    plain = [
        name for name in shape("ProductionVariantInstanceType") if name.startswith(("ml.c", "ml.m", "ml.t", "ml.r"))
    ]
    assert len(plain) > 50
    assert {host_image(name) for name in plain} == {None}
    assert not has_gpu("ml.inf2.xlarge")


@pytest.mark.parametrize(("instance", "gpu"), [("ml.g5.xlarge", True), ("ml.c5.xlarge", False)])
def test_a_server_on_a_gpu_instance_is_told_to_use_it(instance: str, gpu: bool) -> None:
    settings = AwsSettings(role="arn:aws:iam::123456789012:role/r", image="image", endpoint_instance=instance)
    request = EndpointRequest("demand", "bundled", "zero-shot", "abc", {})
    made = plan(request, settings, ModelSource("bundled"), "s3://b/answers/")
    (variant,) = made.config["ProductionVariants"]
    assert ("InferenceAmiVersion" in variant) is gpu
    assert ('"gpu":true' in made.model["PrimaryContainer"]["Environment"]["CHRONOS_SERVING"]) is gpu
