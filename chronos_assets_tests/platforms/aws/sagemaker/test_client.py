"""The life of a job, against a server that runs it."""

import os
import signal
from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from chronos_assets.platforms.aws.sagemaker.client import PipesSageMakerClient
from chronos_assets_tests import forks
from chronos_assets_tests.platforms.aws.sagemaker.conftest import QUICK
from chronos_assets_tests.platforms.aws.sagemaker.requests import processing, shell, training
from chronos_assets_tests.waiting import wait_until


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


def test_a_job_that_was_left_running_is_attached_to_and_heard_from_the_beginning(cloud, clients, client, step):
    patient = PipesSageMakerClient(
        bucket="data", clients=clients, code_location="here", timing=QUICK, forward_termination=False
    )
    request = processing(SAY="hello", WAIT="go")

    def leave(_description):
        if "Contents" in cloud.clients()("s3").list_objects_v2(Bucket="data", Prefix=".pipes/thing"):
            raise DagsterExecutionInterruptedError

    assert not step(
        lambda context: patient.run(context=context, kind="processing", request=request, on_status=leave)
    ).success
    (job,) = cloud.jobs
    assert job.status == "InProgress"
    seen = []

    def run(context):
        cloud.clients()("s3").put_object(Bucket="data", Key="go", Body=b"")
        seen.append(client.run(context=context, kind="processing", request=request))
        return seen[0].get_materialize_result()

    result = step(run)
    assert result.success
    assert seen[0].facts["found"] == "attached"
    assert [message["said"] for message in seen[0].get_custom_messages()] == ["hello"]
    assert created(cloud) == [job.name]
    tags = cloud.clients()("sagemaker").list_tags(ResourceArn=seen[0].facts["job_arn"])["Tags"]
    assert {"Key": "dagster:run-id", "Value": result.run_id} in tags


def test_a_completed_job_is_not_paid_for_twice_and_one_that_was_deleted_is_forgotten(cloud, client, step, instance):
    request = processing(SAY="hello")
    found = []

    def run(context):
        done = client.run(context=context, kind="processing", request=request)
        found.append((done.facts["found"], done.get_custom_messages()[0]["said"]))
        return done.get_materialize_result()

    assert step(run).success
    assert step(run).success
    assert found == [("created", "hello"), ("reused", "hello")]
    (name,) = created(cloud)

    del cloud.cloud.backend.processing_jobs[name]
    result = step(run)
    assert result.success
    assert found[2:] == [("created", "hello")]
    assert [line for line in lines(instance, result) if "says hello" in line] == [f"says hello to run {result.run_id}"]
    assert created(cloud) == [name, name]


def quietly(client, context, request, kind="training", **options):
    return client.run(context=context, kind=kind, request=request, name="job", pipes=False, **options)


def succeed(client, request, **options):
    def run(context):
        done = quietly(client, context, request, **options)
        return dg.MaterializeResult(metadata=done.metadata)

    return run


def test_a_result_that_is_gone_and_a_failure_make_a_further_attempt(cloud, client, step):
    assert not step(succeed(client, training(shell("exit 1")))).success
    assert step(succeed(client, training(shell("exit 0")))).success
    assert step(succeed(client, training(shell("exit 0")), usable=lambda name, _: name != "job-a2")).success
    assert step(succeed(client, training(shell("exit 1")))).success  # the last one is taken, whatever is asked for
    assert created(cloud, "CreateTrainingJob") == ["job", "job-a2", "job-a3"]


def test_a_run_that_is_interrupted_stops_its_job_and_waits_for_it(cloud, client, step):
    def interrupt(description):
        if description.get("SecondaryStatus") == "Training":
            raise DagsterExecutionInterruptedError

    assert not step(succeed(client, training(shell("exec sleep 60")), on_status=interrupt)).success
    assert cloud.job("job").status == "Stopped"


def test_a_bug_while_a_job_is_waited_for_leaves_none_behind(cloud, client, step):
    def fail(_description):
        raise ZeroDivisionError

    assert not step(succeed(client, training(shell("exec sleep 60")), on_status=fail)).success
    assert cloud.job("job").status == "Stopped"


@pytest.mark.parametrize("kind, request_of", [("processing", processing), ("training", training)])
def test_a_failure_says_why_and_shows_the_end_of_the_log(client, step, kind, request_of):
    script = "echo before; echo token=abcdef; mkdir -p /opt/ml/output; echo no data > /opt/ml/output/message; exit 3"
    result = step(
        succeed(client, request_of(shell(script.replace("/opt/ml", "${CHRONOS_ML_ROOT:-/opt/ml}"))), kind=kind)
    )
    told = failure(result)
    reason, *tail = told.description.splitlines()
    assert reason.startswith(f"{kind} job job failed: ")
    assert "AlgorithmError" in reason
    assert ("no data" in reason) == (kind == "processing")
    assert tail == ["Last lines of its log:", "before", "token=abcdef"]
    assert told.metadata["log_url"].value.endswith(f"{kind.title()}Jobs$3FlogStreamNameFilter$3Djob$252F")
    assert told.metadata["reason"].value in reason


def test_secrets_are_taken_out_of_reasons_and_logs(clients, step, capsys):
    client = PipesSageMakerClient(
        bucket="data", clients=clients, timing=QUICK, redact=lambda text: text.replace("abcdef", "***")
    )
    result = step(succeed(client, training(shell("echo token=abcdef; exit 3"))))
    assert "token=***" in failure(result).description
    shown = capsys.readouterr().out
    assert "token=***" in shown
    assert "abcdef" not in shown


def test_throttled_calls_are_made_again(cloud, client, step):
    for operation in ("CreateTrainingJob", "DescribeTrainingJob"):
        cloud.faults.throttle(operation, times=7)
    cloud.faults.refuse("DescribeTrainingJob", "InternalFailure", "We are sorry", times=4)
    assert step(succeed(client, training(shell("exit 0")))).success
    assert created(cloud, "CreateTrainingJob") == ["job"]


def test_a_job_without_capacity_gets_another_attempt(cloud, client, step):
    cloud.faults.no_capacity()
    cloud.faults.refuse("CreateTrainingJob", "ResourceLimitExceeded", "The account-level service limit is 0 Instances")
    result = step(succeed(client, training(shell("exit 0"))))
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["attempts"].value == 3
    assert created(cloud, "CreateTrainingJob") == ["job", "job-a2"]


def test_attempts_come_to_an_end(cloud, client, step):
    cloud.faults.no_capacity(times=9)
    told = failure(step(succeed(client, training(shell("exit 0")))))
    assert told.description.startswith("training job job-a3 failed: CapacityError: Unable to provision")
    assert "(the last of 3 attempts)" in told.description
    cloud.faults.refuse("CreateTrainingJob", "ResourceLimitExceeded", "the limit is 0 Instances", times=9)
    told = failure(step(succeed(client, training(shell("exit 0")))))
    assert "no capacity in 3 attempts: the limit is 0 Instances; ask for a higher quota" in told.description


def test_spot_instances_that_do_not_come_back_cost_an_attempt(cloud, client, step):
    cloud.faults.interrupt_spot(on="begun", restart=False)
    result = step(succeed(client, training(shell("echo begun; exec sleep 0.3"), spot=True)))
    assert created(cloud, "CreateTrainingJob") == ["job", "job-a2"]
    (event,) = result.get_asset_materialization_events()
    assert "spot_savings_percent" in event.materialization.metadata


def test_a_job_of_another_run_that_was_quicker_is_attached_to(cloud, client, step):
    request = training(shell("exit 0"))

    def created_meanwhile(name):
        cloud.clients()("sagemaker").create_training_job(TrainingJobName=name, **request)
        return request

    result = step(succeed(client, created_meanwhile))
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["found"].value in ("attached", "reused")
    assert created(cloud, "CreateTrainingJob") == ["job"]


def test_a_job_that_takes_too_long_is_stopped(cloud, client, step):
    told = failure(step(succeed(client, training(shell("exec sleep 60")), timeout=0.2)))
    assert told.description == "training job job failed: it was not done after 0.2 seconds, and is stopped"
    assert cloud.job("job").status == "Stopped"
    request = training(shell("exec sleep 60")) | {"StoppingCondition": {"MaxRuntimeInSeconds": 1}}
    told = failure(step(succeed(client, request)))
    assert told.description.startswith("training job job-a2 failed: it ran longer than its StoppingCondition allows")


def test_a_job_that_somebody_else_stops_is_a_failure(cloud, client, step):
    def stop(_description):
        cloud.clients()("sagemaker").stop_training_job(TrainingJobName="job")

    told = failure(step(succeed(client, training(shell("exec sleep 60")), on_status=once(stop))))
    assert told.description.startswith("training job job failed: it was stopped, not by this run")
    assert created(cloud, "CreateTrainingJob") == ["job"]


def once(function):
    done = []

    def call(description):
        if not done and description.get("SecondaryStatus") == "Training":
            done.append(True)
            function(description)

    return call


def test_what_sagemaker_refuses_is_a_failure_and_what_it_would_refuse_is_not_asked(cloud, client, step):
    cloud.faults.refuse("CreateTrainingJob", "AccessDeniedException", "not authorized to perform: iam:PassRole")
    told = failure(step(succeed(client, training(shell("exit 0")))))
    assert (
        "SageMaker refused it: not authorized to perform: iam:PassRole: let the role of Dagster do" in told.description
    )
    result = step(succeed(client, training(shell("exit 0"), SECRET="x" * 513)))
    (event,) = result.get_step_failure_events()
    message = event.event_specific_data.error.message + event.event_specific_data.error.cause.message
    assert "CreateTrainingJob.Environment['SECRET'] has 513 characters, at most 512 are allowed" in message
    assert "xxx" not in message
    assert not cloud.jobs


@pytest.mark.parametrize("code", ["ThrottlingException", "ExpiredTokenException"])
def test_when_aws_is_out_of_reach_the_job_goes_on_and_a_retry_finds_it(cloud, clients, step, tmp_path, code):
    request = training(shell(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"))
    hasty = PipesSageMakerClient(bucket="data", clients=clients, timing=replace(QUICK, outage=0.1))

    def lose(_description):
        cloud.faults.refuse("DescribeTrainingJob", code, "no", times=40)

    assert not step(succeed(hasty, request, on_status=once(lose))).success
    assert cloud.job("job").status == "InProgress"
    cloud.faults._planned.clear()
    (tmp_path / "go").touch()
    result = step(succeed(hasty, request))
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["found"].value in ("attached", "reused")


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_dies_and_returns_pays_once_and_one_that_is_asked_to_end_stops_its_job(cloud, tmp_path, way):
    with daemon(cloud, tmp_path) as (process, _):
        s3 = cloud.clients()("s3")
        wait_until(
            lambda: cloud.jobs and "Contents" in s3.list_objects_v2(Bucket="data", Prefix=".pipes/thing"),
            60,
            while_runs=process,
        )
        os.kill(process.pid, way)
        process.wait(60)
    (job,) = cloud.jobs
    if way == signal.SIGTERM:
        assert job.status == "Stopped"
        return
    assert job.status == "InProgress"
    cloud.clients()("s3").put_object(Bucket="data", Key="go", Body=b"")
    with daemon(cloud, tmp_path) as (again, _):
        assert again.wait(60) == 0
    assert created(cloud) == [job.name]


def daemon(cloud, tmp_path):
    environment = {**os.environ, **cloud.env, "DAGSTER_HOME": str(tmp_path)}
    return forks.reading(
        "chronos_assets_tests.platforms.aws.sagemaker.daemon", folder=tmp_path, environment=environment
    )
