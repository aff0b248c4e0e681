"""Workloads as processing jobs: what they are given, what comes back, what is left in the bucket."""

import json
from dataclasses import replace

import dagster as dg
import pytest

from chronos_assets.defs.failures import failures
from chronos_assets.platforms.aws.deployment import AwsDeployment
from chronos_assets.platforms.aws.jobs import SageMakerJobs
from chronos_assets.platforms.aws.processing_request import InputSource, processing_job
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.jobs import JobRequest
from chronos_assets.settings import AwsSettings
from chronos_assets_tests.aws.request_limits import violations
from chronos_assets_tests.platforms.aws.sagemaker.conftest import QUICK, instance, step  # noqa: F401

SETTINGS = AwsSettings(
    role="arn:aws:iam::123456789012:role/jobs",
    image="123456789012.dkr.ecr.us-east-1.amazonaws.com/chronos:1",
    tags=(("team", "forecasting"),),
)


@pytest.fixture
def cloud(aws):
    aws.package = "chronos_assets_tests.platforms.local"
    aws.bucket("data")
    return aws


@pytest.fixture
def store(cloud, tmp_path):
    return S3Store("s3://data/shop", cache=tmp_path / "cache")


@pytest.fixture
def jobs_of(cloud, store):
    def make(**settings):
        return SageMakerJobs(AwsDeployment(cloud.clients(), store, replace(SETTINGS, **settings), "here"), timing=QUICK)

    return make


def echo(outputs=("copied",), inputs=None, sharded="", **parameters):
    return JobRequest("echo", "echo-1-abcd", parameters, inputs or {}, outputs, sharded)


def publish(store, tmp_path, key, **files):
    folder = tmp_path / "staged"
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    store.publish(key, folder)


def left(cloud, prefix="shop/.jobs"):
    listed = cloud.clients()("s3").list_objects_v2(Bucket="data", Prefix=prefix)
    return [item["Key"] for item in listed.get("Contents", [])]


def running(jobs, request, results, then=lambda result: None):
    def run(context):
        with failures(), jobs.run(context, request) as result:
            results.append((result, {path.name: path.read_text() for path in files(result)}))
            then(result)
        return dg.MaterializeResult()

    return run


def files(result):
    return sorted(path for folder in result.outputs.values() for path in folder.rglob("*") if path.is_file())


def failure(result):
    (event,) = result.get_step_failure_events()
    return event.event_specific_data.user_failure_data


def test_a_workload_is_given_its_inputs_and_its_outputs_come_back(cloud, store, jobs_of, step, instance, tmp_path):  # noqa: F811
    publish(store, tmp_path, "models/small", a="1", b="2")
    results = []
    request = echo(inputs={"model": "models/small"}, copy="model", text="hi", messages=[{"a": 1}], write="x")
    result = step(running(jobs_of(), request, results), partition="2024-01-01")
    assert result.success
    ((made, read),) = results
    assert read == {"a": "1", "b": "2", "text": "x"}
    assert made.messages == ({"a": 1},)
    assert made.facts["found"] == "created"
    assert made.facts["billable_seconds"] == made.seconds > 0
    assert "echo hi" in [record.user_message for record in instance.all_logs(result.run_id)]
    (job,) = cloud.jobs
    tags = {item["Key"]: item["Value"] for item in job.tags}
    assert tags["team"] == "forecasting"
    assert tags["chronos-assets:store"] == "s3://data/shop"
    assert tags["chronos-assets:partition"] == "2024-01-01"
    # Published: nothing of it stays, here or there, and the next time is another time.
    assert not left(cloud)
    assert not made.outputs["copied"].exists()
    assert step(running(jobs_of(), request, results)).success
    assert [made.facts["found"] for made, _ in results] == ["created", "created"]
    assert [job.name for job in cloud.jobs][1].endswith("-a2")


def test_what_a_job_left_is_used_by_a_run_after_one_that_could_not_publish_it(cloud, jobs_of, step):  # noqa: F811
    results = []

    def broken(_result):
        raise OSError("disk full")

    assert not step(running(jobs_of(), echo(write="x", messages=[{"a": 1}]), results, broken)).success
    assert left(cloud)
    assert step(running(jobs_of(), echo(write="x", messages=[{"a": 1}]), results)).success
    (_, (again, read)) = results
    assert (again.facts["found"], again.messages, read) == ("reused", ({"a": 1},), {"text": "x"})
    assert len(cloud.jobs) == 1


def test_other_inputs_parameters_and_code_make_another_job(cloud, store, jobs_of, step, tmp_path):  # noqa: F811
    results = []
    publish(store, tmp_path, "models/small", a="1")
    request = echo(inputs={"model": "models/small"}, copy="model")
    for jobs, asked in ((jobs_of(), request), (jobs_of(image="repository/other:2"), request)):
        assert step(running(jobs, asked, results)).success
    publish(store, tmp_path, "models/small", a="2")
    assert step(running(jobs_of(), request, results)).success
    names = {job.name for job in cloud.jobs}
    assert len(names) == 3
    assert not any(name.endswith("-a2") for name in names)
    assert results[-1][1] == {"a": "2"}


def test_a_failure_has_the_workloads_own_reason(jobs_of, step):  # noqa: F811
    told = failure(step(running(jobs_of(), echo(end="user error"), [])))
    reason, *tail = told.description.splitlines()
    assert "failed: train/a.csv, line 3: 'x' is not a number; fix the file (AlgorithmError" in reason
    assert "train/a.csv, line 3:" in tail
    told = failure(step(running(jobs_of(), echo(end="bug"), [])))
    assert "ZeroDivisionError: division by zero" in told.description.splitlines()[0]
    assert "hunter22" not in told.description


def test_settings_and_inputs_that_are_missing_are_reported(jobs_of, step):  # noqa: F811
    told = failure(step(running(jobs_of(role="", image=""), echo(), [])))
    assert "CHRONOS_SAGEMAKER_ROLE and CHRONOS_SAGEMAKER_IMAGE not set" in told.description
    told = failure(step(running(jobs_of(), echo(inputs={"model": "models/none"}), [])))
    assert "nothing at s3://data/shop/models/none for input channel 'model'" in told.description


def test_how_many_instances_share_a_job_is_reported(store, jobs_of, step, instance, tmp_path):  # noqa: F811
    publish(store, tmp_path, "dataset/all", **{"part-00000": "0", "part-00001": "1"})
    results = []
    request = echo(inputs={"dataset": "dataset/all"}, sharded="dataset", copy="dataset")
    ran = step(running(jobs_of(forecast_instances=3), request, results))
    assert ran.success
    ((made, _),) = results
    assert made.facts["instance_count"] == 2
    told = [record.user_message for record in instance.all_logs(ran.run_id)]
    assert any(
        text.startswith("2 of CHRONOS_FORECAST_INSTANCES=3 instances: the dataset has 2 shards") for text in told
    )


def test_a_job_is_dealt_out_over_instances(cloud, store, jobs_of, step, tmp_path):  # noqa: F811
    parts = {f"part-0000{number}": str(number) for number in range(5)}
    publish(store, tmp_path, "dataset/all", **parts, _manifest__json="all")
    results = []
    request = echo(inputs={"dataset": "dataset/all"}, sharded="dataset", copy="dataset", messages=[{"a": 1}])
    assert step(running(jobs_of(forecast_instances=2), request, results)).success
    ((made, _),) = results
    assert made.instances == ("algo-1", "algo-2")
    assert made.messages == ({"a": 1}, {"a": 1})
    (call,) = cloud.calls_of("CreateProcessingJob")
    assert call["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 2
    assert [path.name for path in made.parts("copied")] == ["algo-1", "algo-2"]


@pytest.mark.parametrize("wanted, parts, given", [(4, 2, 2), (1, 5, 1), (3, 9, 3), (2, 0, 1)])
def test_no_instance_is_without_work(wanted, parts, given):
    names = [f"{kind}-{number}" for kind in ("part", "tail") for number in range(parts)]
    source = InputSource("v", "s3://data/x/", tuple(names))
    assert source.rest == tuple(names[parts:])  # each instance gets the latest periods of all shards
    request = processing_job(
        echo(inputs={"dataset": "d"}, sharded="dataset"),
        folder="s3://data/.jobs/x",
        attempt="x",
        sources={"dataset": source},
        region="us-east-1",
        settings=replace(SETTINGS, forecast_instances=wanted),
    )
    assert request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == given


def test_forecasts_may_run_on_instances_of_their_own():
    def instance_of(workload, settings):
        request = processing_job(
            replace(echo(), workload=workload),
            folder="",
            attempt="x",
            sources={},
            region="us-east-1",
            settings=settings,
        )
        return request["ProcessingResources"]["ClusterConfig"]["InstanceType"]

    settings = replace(SETTINGS, forecast_instance="ml.g6.xlarge")
    assert instance_of("forecast", settings) == "ml.g6.xlarge"
    assert instance_of("generate", settings) == instance_of("forecast", SETTINGS) == SETTINGS.data_instance


@pytest.mark.parametrize(
    "workload, instance_type, disk", [("forecast", "ml.c5.2xlarge", 99), ("evaluate", "ml.g5.xlarge", 50)]
)
def test_every_setting_is_in_the_request_and_within_the_limits(workload, instance_type, disk):
    settings = replace(
        SETTINGS, subnets=("subnet-1",), security_groups=("sg-1",), kms_key="alias/mine", volume_gb=99, job_seconds=77
    )
    request = processing_job(
        replace(echo(inputs={"model": "m"}), workload=workload),
        folder="s3://data/.jobs/x",
        attempt="x-a2",
        sources={"model": InputSource("v", "s3://data/m/")},
        region="us-east-1",
        settings=settings,
    )
    assert violations("sagemaker", "CreateProcessingJob", {"ProcessingJobName": "x", **request}) == []
    cluster = request["ProcessingResources"]["ClusterConfig"]
    assert (cluster["InstanceType"], cluster["VolumeSizeInGB"]) == (instance_type, disk)
    # An instance with a drive of its own takes no key, and not more than any of them has.
    assert ("VolumeKmsKeyId" in cluster) == (workload == "forecast")
    assert request["NetworkConfig"]["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert request["ProcessingOutputConfig"]["KmsKeyId"] == request["Environment"]["CHRONOS_KMS_KEY"] == "alias/mine"
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 77}
    assert json.dumps(request).count("s3://data/.jobs/x/output/x-a2/copied") == 1
