"""Jobs of the executing server: what containers see, how jobs end, what they leave."""

import io
import json
import tarfile

import pytest
from botocore.exceptions import ClientError

from chronos_assets_tests.waiting import wait_until

STUBS = "chronos_assets_tests.aws.stubs"
ROLE = "arn:aws:iam::123456789012:role/jobs"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/chronos:1"
METRICS = [{"Name": "validation:wql", "Regex": r"'validation_wql': ([0-9\.]+)"}]


@pytest.fixture
def cloud(aws):
    aws.package = STUBS
    aws.bucket("data")
    return aws


def processing(name="p", inputs=(), count=1, environment=None, **more):
    return {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "AppSpecification": {
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["python", "-m", "chronos_assets.workloads", "forecast"],
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": count, "InstanceType": "ml.c5.2xlarge", "VolumeSizeInGB": 30}
        },
        "Environment": environment or {},
        "ProcessingInputs": list(inputs),
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "all",
                    "S3Output": {
                        "S3Uri": f"s3://data/{name}/out/",
                        "LocalPath": "/opt/ml/processing/output/all",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        **more,
    }


def s3_input(uri, path="/opt/ml/processing/input/x", distribution="FullyReplicated", data_type="S3Prefix"):
    return {
        "InputName": path.rsplit("/", 1)[-1],
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": path,
            "S3DataType": data_type,
            "S3InputMode": "File",
            "S3DataDistributionType": distribution,
        },
    }


def training(name="t", hyperparameters=None, **more):
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File", "MetricDefinitions": METRICS},
        "HyperParameters": hyperparameters or {},
        "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.g5.xlarge", "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        **more,
    }


def run(aws, request):
    client = aws.clients()("sagemaker")
    if "TrainingJobName" in request:
        client.create_training_job(**request)
        return finished(aws, request["TrainingJobName"])
    client.create_processing_job(**request)
    return finished(aws, request["ProcessingJobName"])


def finished(aws, name):
    job = aws.job(name)
    assert job.done.wait(120)
    client = aws.clients()("sagemaker")
    if job.kind == "training-job":
        return client.describe_training_job(TrainingJobName=name)
    return client.describe_processing_job(ProcessingJobName=name)


def put(aws, **objects):
    for key, body in objects.items():
        aws.clients()("s3").put_object(Bucket="data", Key=key.replace("__", "/"), Body=body)


def read(aws, key):
    return aws.clients()("s3").get_object(Bucket="data", Key=key)["Body"].read()


def messages(aws, group, name):
    logs = aws.clients()("logs")
    (stream,) = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
    events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
    return [event["message"] for event in events["events"]]


def test_a_processing_job_runs_its_container_and_leaves_its_outputs_and_log(cloud):
    put(cloud, in__a=b"1", in__b__c=b"2")
    described = run(cloud, processing(inputs=[s3_input("s3://data/in/")], environment={"WORD": "given"}))
    assert described["ProcessingJobStatus"] == "Completed"
    assert described["ProcessingEndTime"] >= described["ProcessingStartTime"]
    document = json.loads(read(cloud, "p/out/algo-1.json"))
    assert document["files"] == ["x/a", "x/b/c"]
    assert document["hosts"] == ["algo-1"]
    assert document["environment"]["WORD"] == "given"
    assert not [name for name in document["environment"] if name.startswith(("SM_", "PYTEST", "CHRONOS_SHARED"))]
    assert messages(cloud, "/aws/sagemaker/ProcessingJobs", "p") == ["host algo-1"]


@pytest.mark.parametrize("data_type", ["S3Prefix", "ManifestFile"])
def test_sharded_inputs_are_dealt_out_over_the_instances(cloud, data_type):
    put(cloud, **{f"in__part-{number}": b"x" for number in range(5)}, in__other=b"y")
    put(cloud, manifest=json.dumps([{"prefix": "s3://data/in/"}, *(f"part-{n}" for n in range(5))]).encode())
    uri = "s3://data/in/part-" if data_type == "S3Prefix" else "s3://data/manifest"
    request = processing(inputs=[s3_input(uri, distribution="ShardedByS3Key", data_type=data_type)], count=2)
    assert run(cloud, request)["ProcessingJobStatus"] == "Completed"
    parts = [json.loads(read(cloud, f"p/out/algo-{number}.json")) for number in (1, 2)]
    assert parts[0]["files"] == ["x/part-0", "x/part-2", "x/part-4"]
    assert parts[1]["files"] == ["x/part-1", "x/part-3"]
    assert parts[1]["hosts"] == ["algo-1", "algo-2"]


@pytest.mark.parametrize(
    "end, reason, message", [("fail", "AlgorithmError", "the data is bad"), ("killed", "ClientError", None)]
)
def test_a_failed_processing_job_tells_why_and_uploads_nothing(cloud, end, reason, message):
    described = run(cloud, processing(environment={"END": end}))
    assert described["ProcessingJobStatus"] == "Failed"
    assert described["FailureReason"].startswith(reason)
    assert described.get("ExitMessage") == message
    assert "Contents" not in cloud.clients()("s3").list_objects_v2(Bucket="data")


@pytest.mark.parametrize("end", ["wait", "stubborn"])
def test_a_stopped_job_is_asked_and_then_killed(cloud, end):
    cloud.cloud.grace_seconds = 0.2
    client = cloud.clients()("sagemaker")
    client.create_processing_job(**processing(environment={"END": end}))
    wait_until(lambda: cloud.clients()("logs").describe_log_groups()["logGroups"] and cloud.job("p").began)
    wait_until(lambda: messages(cloud, "/aws/sagemaker/ProcessingJobs", "p"))
    client.stop_processing_job(ProcessingJobName="p")
    assert finished(cloud, "p")["ProcessingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="in status Stopped"):
        client.stop_processing_job(ProcessingJobName="p")


def test_a_training_job_leaves_its_model_its_metrics_and_its_seconds(cloud):
    described = run(cloud, training(hyperparameters={"learning_rate": "0.0001"}))
    assert (described["TrainingJobStatus"], described["SecondaryStatus"]) == ("Completed", "Completed")
    assert [item["Status"] for item in described["SecondaryStatusTransitions"]] == [
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    (metric,) = described["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("validation:wql", pytest.approx(0.1 + 1 / 3, abs=1e-6))
    assert described["BillableTimeInSeconds"] >= 1
    uri = described["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == "s3://data/models/t/output/model.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(read(cloud, "models/t/output/model.tar.gz"))) as archive:
        assert sorted(archive.getnames()) == ["config.json", "model.safetensors"]
    with tarfile.open(fileobj=io.BytesIO(read(cloud, "models/t/output/output.tar.gz"))) as archive:
        assert archive.getnames() == ["training.json"]
    assert "{'step': 3, 'validation_wql': 0.433333}" in messages(cloud, "/aws/sagemaker/TrainingJobs", "t")


def test_a_failed_training_job_tells_its_own_word(cloud):
    described = run(cloud, training(hyperparameters={"fail": "1"}))
    assert described["TrainingJobStatus"] == "Failed"
    assert described["FailureReason"] == "AlgorithmError: loss is nan, exit code: 1"
    assert "ModelArtifacts" not in described


def test_a_name_is_used_once_and_for_ever(cloud):
    run(cloud, training())
    with pytest.raises(cloud.clients()("sagemaker").exceptions.ResourceInUse, match="already exists"):
        run(cloud, training())
    run(cloud, processing())
    with pytest.raises(cloud.clients()("sagemaker").exceptions.ResourceInUse, match="already exists"):
        run(cloud, processing())


def test_an_interrupted_spot_job_goes_on_from_its_checkpoint(cloud):
    cloud.faults.interrupt_spot(on=r"'step': 2, 'loss'")
    spot = {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
        "CheckpointConfig": {"S3Uri": "s3://data/checkpoints/t/"},
    }
    described = run(cloud, training(hyperparameters={"seconds_per_step": "0.3"}, **spot))
    states = [item["Status"] for item in described["SecondaryStatusTransitions"]]
    assert described["TrainingJobStatus"] == "Completed"
    assert states[2:6] == ["Training", "Interrupted", "Restarting", "Downloading"]
    assert messages(cloud, "/aws/sagemaker/TrainingJobs", "t").count("from 2") == 1


def test_capacity_throttling_and_limits_are_faults_that_are_used_up(cloud):
    cloud.faults.no_capacity()
    cloud.faults.throttle("DescribeTrainingJob", times=2)
    assert run(cloud, training("a"))["FailureReason"].startswith("CapacityError")
    errors = [call.error for call in cloud.calls if call.operation == "DescribeTrainingJob"]
    assert errors == ["ThrottlingException", "ThrottlingException", ""]
    cloud.faults.refuse("CreateTrainingJob", "ResourceLimitExceeded", "The account-level service limit is 0")
    with pytest.raises(cloud.clients()("sagemaker").exceptions.ResourceLimitExceeded):
        run(cloud, training("b"))
    assert run(cloud, training("b"))["TrainingJobStatus"] == "Completed"
    assert [params["TrainingJobName"] for params in cloud.calls_of("CreateTrainingJob")] == ["a", "b"]


def test_requests_beyond_the_limits_are_refused(cloud):
    client = cloud.clients()("sagemaker")
    for request, told in (
        (training("x" * 64), "length less than or equal to 63"),
        (training("no_underscores"), "regular expression pattern"),
        (training(hyperparameters={"a": "x" * 2501}), "less than or equal to 2500"),
        (training(Tags=[{"Key": str(n), "Value": ""} for n in range(51)]), "less than or equal to 50"),
        (training(ResourceConfig={"InstanceType": "ml.g5.enormous", "VolumeSizeInGB": 1, "InstanceCount": 1}), "enum"),
    ):
        with pytest.raises(ClientError, match=told) as refused:
            client.create_training_job(**request)
        assert refused.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError, match="less than or equal to 256"):
        client.create_processing_job(**processing(environment={"A": "x" * 257}))
    assert not cloud.jobs


def test_jobs_are_listed_with_tags_and_pages(cloud):
    client = cloud.clients()("sagemaker")
    for number in range(3):
        run(cloud, training(f"run-{number}", Tags=[{"Key": "n", "Value": str(number)}]))
    page = client.list_training_jobs(
        NameContains="run-", StatusEquals="Completed", MaxResults=2, SortOrder="Descending"
    )
    assert [item["TrainingJobName"] for item in page["TrainingJobSummaries"]] == ["run-2", "run-1"]
    rest = client.list_training_jobs(
        NameContains="run-", NextToken=page["NextToken"], SortOrder="Descending", MaxResults=2
    )
    assert [item["TrainingJobName"] for item in rest["TrainingJobSummaries"]] == ["run-0"]
    arn = rest["TrainingJobSummaries"][0]["TrainingJobArn"]
    client.add_tags(ResourceArn=arn, Tags=[{"Key": "n", "Value": "9"}, {"Key": "m", "Value": "1"}])
    assert client.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "n", "Value": "9"}, {"Key": "m", "Value": "1"}]
    tagged = cloud.clients()("resourcegroupstaggingapi").get_resources(TagFilters=[{"Key": "n", "Values": ["1"]}])
    assert [item["ResourceARN"].rsplit("/")[-1] for item in tagged["ResourceTagMappingList"]] == ["run-1"]
