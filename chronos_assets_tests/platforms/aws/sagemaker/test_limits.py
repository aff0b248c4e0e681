"""Names of jobs, tags, and requests that SageMaker would refuse."""

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.platforms.aws.sagemaker.kinds import KINDS
from chronos_assets.platforms.aws.sagemaker.limits import (
    MAX_ATTEMPT,
    LimitError,
    attempt_name,
    check_name,
    check_request,
    job_name_for,
    tag,
)
from chronos_assets.platforms.job_names import MAX_NAME
from chronos_assets_tests.aws.request_limits import violations
from chronos_assets_tests.platforms.aws.sagemaker.requests import processing, training


@pytest.mark.process
@given(st.text(), st.text(), st.sampled_from([MAX_NAME, KINDS["tuning"].longest_name]), st.integers(1, MAX_ATTEMPT))
def test_any_asset_and_partition_make_a_name_that_sagemaker_takes(asset, partition, longest, attempt):
    name = attempt_name(check_name(job_name_for(asset, partition=partition, max_length=longest), longest), attempt)
    kind = "ProcessingJob" if longest == MAX_NAME else "HyperParameterTuningJob"
    assert violations("sagemaker", f"Describe{kind}", {f"{kind}Name": name}) == []


def test_a_name_changes_with_everything_that_the_result_depends_on():
    given_to = {
        "partition": "2024-01-01",
        "data_versions": {"dataset": "1"},
        "code_version": "1",
        "parameters": {"b": 1, "a": [1.5, None]},
    }
    name = job_name_for("forecasts", **given_to)
    assert name.startswith("forecasts-2024-01-01-")
    assert name == job_name_for("forecasts", **{**given_to, "parameters": {"a": [1.5, None], "b": 1}})
    others = [
        job_name_for("Forecasts", **given_to),
        job_name_for("forecasts", **{**given_to, "partition": "2024-01-02"}),
        job_name_for("forecasts", **{**given_to, "data_versions": {"dataset": "2"}}),
        job_name_for("forecasts", **{**given_to, "code_version": "2"}),
        job_name_for("forecasts", **{**given_to, "parameters": {"a": [1.5, 0], "b": 1}}),
    ]
    assert len({name, *others}) == 6


@pytest.mark.parametrize("name", ["", "-a", "a-", "a_b", "ä", "a" * 59, "a\n"])
def test_other_names_are_refused(name):
    with pytest.raises(LimitError, match="job_name_for"):
        check_name(name, MAX_NAME)


ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/x"


def shape(operation):
    return botocore.session.get_session().get_service_model("sagemaker").operation_model(operation).input_shape


def job(request, **more):
    return {"ProcessingJobName": "x", **request, **more}


def test_small_requests_are_fine():
    check_request(shape("CreateProcessingJob"), job(processing(A="x" * 256)))
    check_request(shape("CreateTrainingJob"), {"TrainingJobName": "x", **training(A="x" * 512)})


@pytest.mark.parametrize(
    "request_, told",
    [
        (
            job(processing(A="x" * 257)),
            "Environment['A'] has 257 characters, at most 256 are allowed: shorten it, or hand",
        ),
        (job(processing(**{"1A": "x"})), "Environment, key '1A': '1A' does not match [a-zA-Z_][a-zA-Z0-9_]*"),
        (job(processing(), ProcessingJobName="a_b"), "ProcessingJobName: 'a_b' does not match"),
        (job(processing(), ProcessingJobName=""), "ProcessingJobName has 0 characters, at least 1 are needed"),
        (job(processing(), Tags=[{"Key": f"k{n}", "Value": ""} for n in range(51)]), "Tags has 51 entries, at most 50"),
        (job(processing(), Tags=[{"Key": "aws:x", "Value": ""}]), "which is Amazon's own: use another prefix"),
        (job(processing(), Tags=[{"Key": "a", "Value": "a|b"}]), "Tags[0].Value: 'a|b' does not match"),
        (job(processing(), StoppingCondition={"MaxRuntimeInSeconds": 0}), "MaxRuntimeInSeconds is 0: set it to"),
        (job(processing(), RoleArn="arn:aws:iam::1:role/x"), "RoleArn: 'arn:aws:iam::1:role/x' does not match"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_beyond_a_limit_is_named_with_the_fix(request_, told):
    with pytest.raises(LimitError) as refused:
        check_request(shape("CreateProcessingJob"), request_)
    assert f"CreateProcessingJob.{told}" in str(refused.value) or told in str(refused.value)
    assert violations("sagemaker", "CreateProcessingJob", request_) or "aws:x" in str(request_)


def test_values_of_variables_and_hyperparameters_are_not_shown():
    request = {"TrainingJobName": "x", **training(), "HyperParameters": {"key": "secret\n", "long": "s" * 2501}}
    with pytest.raises(LimitError) as refused:
        check_request(shape("CreateTrainingJob"), request)
    assert "HyperParameters['long'] has 2501 characters, at most 2500" in str(refused.value)
    assert "HyperParameters['key']: its value does not match" in str(refused.value)
    assert "secret" not in str(refused.value)


@given(st.text(min_size=1), st.text())
def test_any_text_makes_a_tag_that_sagemaker_takes(key, value):
    violated = violations("sagemaker", "AddTags", {"ResourceArn": ARN, "Tags": [tag(f"x{key}", value)]})
    assert violated == []
