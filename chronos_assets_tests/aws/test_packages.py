"""The model registry of the executing server, and batch transform jobs of its models."""

import json

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/jobs"
STUBS = "chronos_assets_tests.aws.stubs"


@pytest.fixture
def client(aws):
    aws.bucket("data")
    return aws.clients()("sagemaker")


def version(client, **more):
    containers = [{"Image": "image", "ModelDataUrl": "s3://data/model.tar.gz"}]
    specification = {
        "Containers": containers,
        "SupportedContentTypes": ["application/json"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    return client.create_model_package(ModelPackageGroupName="g", InferenceSpecification=specification, **more)[
        "ModelPackageArn"
    ]


def test_an_update_changes_what_it_names_and_forgets_nothing(client):
    client.create_model_package_group(ModelPackageGroupName="g", Tags=[{"Key": "a", "Value": "1"}])
    arn = version(client, CustomerMetadataProperties={"wql": "0.1", "base": "bolt"})
    assert client.describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"] == "PendingManualApproval"
    client.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="better")
    client.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties={"by": "gate"})
    client.update_model_package(ModelPackageArn=arn, CustomerMetadataPropertiesToRemove=["base"])
    described = client.describe_model_package(ModelPackageName=arn)
    assert described["CustomerMetadataProperties"] == {"wql": "0.1", "by": "gate"}
    assert (described["ModelApprovalStatus"], described["ApprovalDescription"]) == ("Approved", "better")
    assert described["LastModifiedTime"] > described["CreationTime"]


def test_versions_are_numbered_and_a_number_is_used_once(client):
    client.create_model_package_group(ModelPackageGroupName="g")
    assert version(client, ClientToken="x").endswith(":model-package/g/1")
    assert version(client, ClientToken="x").endswith("/1")
    second = version(client)
    client.delete_model_package(ModelPackageName=second)
    assert version(client, ModelApprovalStatus="Approved").endswith("/3")
    listed = client.list_model_packages(ModelPackageGroupName="g", SortOrder="Descending")["ModelPackageSummaryList"]
    assert [item["ModelPackageVersion"] for item in listed] == [3, 1]
    approved = client.list_model_packages(ModelPackageGroupName="g", ModelApprovalStatus="Approved")
    assert [item["ModelPackageVersion"] for item in approved["ModelPackageSummaryList"]] == [3]
    with pytest.raises(client.exceptions.ConflictException):
        client.delete_model_package_group(ModelPackageGroupName="g")


def test_what_the_registry_refuses(client):
    client.create_model_package_group(ModelPackageGroupName="g")
    arn = version(client)
    for call, told in (
        (lambda: client.create_model_package_group(ModelPackageGroupName="g"), "already exists"),
        (lambda: client.describe_model_package_group(ModelPackageGroupName="h"), "does not exist"),
        (lambda: client.describe_model_package(ModelPackageName=arn[:-1] + "9"), "does not exist"),
        (lambda: version(client, Tags=[{"Key": "a", "Value": "1"}]), "Tags"),
        (lambda: version(client, CustomerMetadataProperties={"a": "x" * 257}), "less than or equal to 256"),
        (
            lambda: client.create_model(
                ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"ModelPackageName": arn}
            ),
            "not approved",
        ),
    ):
        with pytest.raises(ClientError, match=told):
            call()


def test_a_transform_job_asks_the_model_for_every_line(aws, client):
    aws.package = STUBS
    s3 = aws.clients()("s3")
    s3.put_object(Bucket="data", Key="model/config.json", Body=b"words")
    s3.put_object(Bucket="data", Key="in/a.csv", Body=b"1\n2\n")
    source = {"S3Uri": "s3://data/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": "image", "ModelDataSource": {"S3DataSource": source}}
    client.create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    client.create_transform_job(
        TransformJobName="t",
        ModelName="m",
        BatchStrategy="SingleRecord",
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/in/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        TransformOutput={"S3OutputPath": "s3://data/out", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    assert aws.job("t").done.wait(120)
    assert client.describe_transform_job(TransformJobName="t")["TransformJobStatus"] == "Completed"
    lines = s3.get_object(Bucket="data", Key="out/a.csv.out")["Body"].read().splitlines()
    assert [json.loads(line)["body"] for line in lines] == ["1\n", "2\n"]
