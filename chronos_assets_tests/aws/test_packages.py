"""The model registry of the executing server."""

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/jobs"


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
