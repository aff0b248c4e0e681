"""The life of a job, against a server that runs it."""

import threading
import time

import dagster as dg
import pytest

from chronos_assets.platforms.aws.sagemaker.client import PipesSageMakerClient
from chronos_assets_tests.platforms.aws.sagemaker.conftest import QUICK
from chronos_assets_tests.platforms.aws.sagemaker.requests import processing, shell, training


def created(cloud, operation="CreateProcessingJob"):
    field = operation.removeprefix("Create") + "Name"
    return [params[field] for params in cloud.calls_of(operation)]


def failure(result):
    (event,) = result.get_step_failure_events()
    return event.event_specific_data.user_failure_data


def lines(instance, result):
    return [record.user_message for record in instance.all_logs(result.run_id)]


@pytest.mark.parametrize("kind, request_of", [("processing", processing), ("training", training)])
def test_a_job_speaks_to_its_run_and_tells_what_it_cost(cloud, client, step, instance, kind, request_of):
    seen = []

    def run(context):
        done = client.run(context=context, kind=kind, request=request_of(SAY="hello"), extras={"a": 1})
        seen.append(done)
        return done.get_materialize_result()

    result = step(run, partition="2024-01-01")
    assert result.success
    assert seen[0].get_custom_messages() == ({"said": "hello", "extras": {"a": 1}},)
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert metadata["words"].value == 1
    assert metadata["billable_seconds"].value > 0
    assert metadata["instance_type"].value in ("ml.c5.xlarge", "ml.g5.xlarge")
    assert metadata["log_url"].value.startswith("https://us-east-1.console.aws.amazon.com/cloudwatch/home")
    assert metadata["job_arn"].value.endswith(seen[0].name)
    told = lines(instance, result)
    assert f"says hello to run {result.run_id}" in told
    assert any("created; log https://" in line for line in told)
    (job,) = cloud.jobs
    assert job.name.startswith("thing-2024-01-01-")
    assert {item["Key"]: item["Value"] for item in job.tags} == {
        "dagster:code-location": "here",
        "dagster:run-id": result.run_id,
        "dagster:asset": "thing",
        "dagster:partition": "2024-01-01",
    }
