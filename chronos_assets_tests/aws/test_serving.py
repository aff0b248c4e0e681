"""Endpoints of the executing server: they serve, are updated blue/green, and roll back without a word."""

import io
import json
import tarfile

import pytest
from botocore.exceptions import ClientError

from chronos_assets_tests.waiting import wait_until

STUBS = "chronos_assets_tests.aws.stubs"
ROLE = "arn:aws:iam::123456789012:role/jobs"


@pytest.fixture
def cloud(aws):
    aws.package = STUBS
    aws.cloud.ping_seconds = 5.0
    aws.bucket("data")
    return aws


def prefix(aws, name, **files):
    for file, text in {"config": name, **files}.items():
        key = f"models/{name}/{'config.json' if file == 'config' else file}"
        aws.clients()("s3").put_object(Bucket="data", Key=key, Body=text.encode())
    source = {"S3Uri": f"s3://data/models/{name}/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    return {"ModelDataSource": {"S3DataSource": source}}


def make(aws, name, data, asynchronous=None, environment=None, **variant):
    client = aws.clients()("sagemaker")
    container = {"Image": "image", "Environment": environment or {}, **data}
    client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    kind = variant or {"InstanceType": "ml.c5.xlarge", "InitialInstanceCount": 1}
    more = {"AsyncInferenceConfig": asynchronous} if asynchronous else {}
    variants = [{"VariantName": "AllTraffic", "ModelName": name, **kind}]
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **more)


def settled(aws, name="e"):
    def described():
        found = aws.clients()("sagemaker").describe_endpoint(EndpointName=name)
        return found if found["EndpointStatus"] in {"InService", "Failed"} else None

    return wait_until(described)


def create(aws, config, name="e"):
    aws.clients()("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config)
    return settled(aws, name)


def test_a_body_above_the_limit_of_its_kind_is_refused(cloud):
    make(cloud, "one", prefix(cloud, "one"))
    assert create(cloud, "one")["EndpointStatus"] == "InService"
    runtime = cloud.clients()("sagemaker-runtime")
    with pytest.raises(ClientError, match="less than or equal to 6291456"):
        runtime.invoke_endpoint(EndpointName="e", Body=bytes(6 * 1024 * 1024 + 1))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz"):
        pass
    cloud.clients()("s3").put_object(Bucket="data", Key="empty.tar.gz", Body=archive.getvalue())
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 4096, "MaxConcurrency": 2}}
    make(cloud, "two", {"ModelDataUrl": "s3://data/empty.tar.gz"}, **serverless)
    assert create(cloud, "two", "f")["EndpointStatus"] == "InService"
    with pytest.raises(ClientError, match="exceeds the limit of 4194304 bytes"):
        runtime.invoke_endpoint(EndpointName="f", Body=bytes(4 * 1024 * 1024 + 1))


def update(aws, config, **more):
    client = aws.clients()("sagemaker")
    client.update_endpoint(EndpointName="e", EndpointConfigName=config, **more)
    return settled(aws)


def invoke(aws, body=b"hello", **more):
    runtime = aws.clients()("sagemaker-runtime")
    return runtime.invoke_endpoint(EndpointName="e", Body=body, ContentType="text/csv", **more)


def said(aws):
    return json.loads(invoke(aws)["Body"].read())["said"]


def test_an_endpoint_serves_its_model_and_passes_on_errors(cloud):
    make(cloud, "one", prefix(cloud, "one"), environment={"WORD": "given"})
    assert create(cloud, "one")["EndpointStatus"] == "InService"
    answer = invoke(cloud, CustomAttributes="trace=1")
    assert (answer["ContentType"], answer["CustomAttributes"]) == ("application/json", "trace=1")
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert json.loads(answer["Body"].read()) == {
        "said": "one",
        "files": ["config.json"],
        "body": "hello",
        "word": "given",
    }
    with pytest.raises(ClientError, match="bad input") as failed:
        invoke(cloud, b"bad")
    assert failed.value.response["Error"]["Code"] == "ModelError"
    assert failed.value.response["OriginalStatusCode"] == 400
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    cloud.clients()("sagemaker").delete_endpoint(EndpointName="e")
    with pytest.raises(ClientError, match="not found"):
        invoke(cloud)


def test_a_model_may_be_an_archive_of_a_training_job(cloud):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        info = tarfile.TarInfo("config.json")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"tar!"))
    cloud.clients()("s3").put_object(Bucket="data", Key="model.tar.gz", Body=archive.getvalue())
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 4096, "MaxConcurrency": 2}}
    make(cloud, "one", {"ModelDataUrl": "s3://data/model.tar.gz"}, **serverless)
    create(cloud, "one")
    assert said(cloud) == "tar!"


def test_an_update_moves_the_traffic_and_a_failed_one_leaves_it_without_a_word(cloud):
    make(cloud, "one", prefix(cloud, "one"))
    make(cloud, "two", prefix(cloud, "two"))
    make(cloud, "broken", prefix(cloud, "broken", fails="start"))
    create(cloud, "one")
    old = cloud.cloud.backend.endpoints["e"].container.pid
    described = update(cloud, "two")
    assert (described["EndpointConfigName"], said(cloud)) == ("two", "two")
    assert cloud.cloud.backend.endpoints["e"].container.pid != old
    described = update(cloud, "broken")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "two")
    assert "FailureReason" not in described
    cloud.faults.roll_back_next_update = True
    assert update(cloud, "one")["EndpointConfigName"] == "two"
    assert said(cloud) == "two"
    assert update(cloud, "one")["EndpointConfigName"] == "one"


def test_an_alarm_rolls_an_update_back(cloud):
    make(cloud, "one", prefix(cloud, "one"))
    make(cloud, "two", prefix(cloud, "two"))
    create(cloud, "one")
    watch = cloud.clients()("cloudwatch")
    watch.put_metric_alarm(
        AlarmName="errors", MetricName="m", Namespace="n", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    guard = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}
    policy = {
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 60},
        "TerminationWaitInSeconds": 0,
    }
    guard["BlueGreenUpdatePolicy"] = policy
    watch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="test")
    assert update(cloud, "two", DeploymentConfig=guard)["EndpointConfigName"] == "one"
    watch.set_alarm_state(AlarmName="errors", StateValue="OK", StateReason="test")
    assert update(cloud, "two", DeploymentConfig=guard)["EndpointConfigName"] == "two"


def test_an_endpoint_that_never_answers_its_ping_fails(cloud):
    cloud.cloud.ping_seconds = 0.5
    make(cloud, "one", prefix(cloud, "one", fails="ping"))
    described = create(cloud, "one")
    assert described["EndpointStatus"] == "Failed"
    assert "ping health check" in described["FailureReason"]


def test_an_asynchronous_endpoint_reads_and_writes_s3(cloud):
    output = {"OutputConfig": {"S3OutputPath": "s3://data/answers/", "S3FailurePath": "s3://data/failures/"}}
    make(cloud, "one", prefix(cloud, "one"), asynchronous=output)
    create(cloud, "one")
    s3, runtime = cloud.clients()("s3"), cloud.clients()("sagemaker-runtime")
    for key, body, place in (("good", b"hello", "OutputLocation"), ("bad", b"bad", "FailureLocation")):
        s3.put_object(Bucket="data", Key=key, Body=body)
        asked = runtime.invoke_endpoint_async(
            EndpointName="e", InputLocation=f"s3://data/{key}", ContentType="text/csv"
        )
        name = asked[place].removeprefix("s3://data/")
        found = wait_until(lambda name=name: s3.list_objects_v2(Bucket="data", Prefix=name).get("Contents"))
        assert len(found) == 1
    with pytest.raises(ClientError, match="asynchronous"):
        invoke(cloud)


def test_names_are_taken_and_missing_ones_are_reported(cloud):
    client = cloud.clients()("sagemaker")
    make(cloud, "one", prefix(cloud, "one"))
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        make(cloud, "one", prefix(cloud, "one"))
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        client.create_endpoint(EndpointName="e", EndpointConfigName="nothing")
    with pytest.raises(ClientError, match="Could not find endpoint"):
        client.describe_endpoint(EndpointName="e")
    with pytest.raises(ClientError, match="Could not find model data"):
        make(cloud, "two", {"ModelDataUrl": "s3://data/nothing.tar.gz"})
    assert [item["ModelName"] for item in client.list_models()["Models"]] == ["one"]
    client.delete_endpoint_config(EndpointConfigName="one")
    client.delete_model(ModelName="one")
    assert client.list_endpoint_configs()["EndpointConfigs"] == []
