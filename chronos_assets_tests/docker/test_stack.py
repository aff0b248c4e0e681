"""docker/cloudformation.yaml created on moto, as far as moto knows its types, and what it is made of read back."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chronos_assets.platforms.aws.train_queue import read_notification
from chronos_assets_tests.docker.template import REGION, load

pytestmark = pytest.mark.process  # moto creates the whole template

# What moto's CloudFormation doesn't know: left out, and looked at in test_template only.
UNKNOWN_TO_MOTO = {
    "AWS::Athena::WorkGroup",
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::Glue::Database",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SageMaker::ModelPackageGroup",
    "AWS::SecretsManager::Secret",
    "AWS::ServiceDiscovery::PrivateDnsNamespace",
    "AWS::ServiceDiscovery::Service",
}

PARAMETERS = {"BucketName": "the-forecasts", "DatasetGroup": "energy_use", "NoticeEmail": "someone@example.org"}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    from moto.cloudformation import parsing  # imports what moto has for every service

    clean = parsing.clean_json

    def without_nothing(document: Any, resources: Any) -> Any:
        """CloudFormation takes AWS::NoValue out of a list, moto leaves a None."""
        cleaned = clean(document, resources)
        return [item for item in cleaned if item is not None] if isinstance(cleaned, list) else cleaned

    monkeypatch.setattr(parsing, "clean_json", without_nothing)
    with mock_aws():
        yield


def _known(template: dict[str, Any]) -> dict[str, Any]:
    """The template without what moto doesn't know; references to it become its name."""
    left_out = {name for name, item in template["Resources"].items() if item["Type"] in UNKNOWN_TO_MOTO}
    assert {template["Resources"][name]["Type"] for name in left_out} == UNKNOWN_TO_MOTO

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"Ref"} and value["Ref"] in left_out:
                return value["Ref"]
            if set(value) == {"Fn::GetAtt"} and value["Fn::GetAtt"][0] in left_out:
                return ".".join(value["Fn::GetAtt"])
            return {
                key: cleaned(item) for key, item in value.items() if (key, item) != ("DependsOn", "TrainQueuePolicy")
            }
        if isinstance(value, list):
            return [cleaned(item) for item in value]
        if isinstance(value, str):
            for name in left_out:
                value = value.replace(f"${{{name}}}", name)
        return value

    kept = {name: item for name, item in template["Resources"].items() if name not in left_out}
    return {**template, "Resources": cleaned(kept)}


def _create(name: str, parameters: dict[str, str]) -> dict[str, str]:
    """Create the stack; its outputs."""
    client = boto3.client("cloudformation")
    client.create_stack(
        StackName=name,
        TemplateBody=json.dumps(_known(load())),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    (stack,) = client.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _kinds(name: str) -> set[str]:
    rows = boto3.client("cloudformation").list_stack_resources(StackName=name)["StackResourceSummaries"]
    return {row["ResourceType"] for row in rows if row["ResourceType"]}


@pytest.mark.usefixtures("account")
def test_without_dagster_it_makes_store_queue_topic_roles_and_repositories() -> None:
    outputs = _create("forecasts", PARAMETERS)
    assert _kinds("forecasts") == {
        "AWS::CloudWatch::Dashboard",
        "AWS::ECR::Repository",
        "AWS::Events::Rule",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Role",
        "AWS::Logs::LogGroup",
        "AWS::S3::Bucket",
        "AWS::SNS::Topic",
        "AWS::SQS::Queue",
    }
    environment = dict(line.split("=", 1) for line in outputs["Environment"].split("\n"))
    assert environment["CHRONOS_STORE"] == "s3://the-forecasts/store"
    assert environment["CHRONOS_SAGEMAKER_IMAGE"] == f"{outputs['JobRepositoryUri']}:1"
    assert "CHRONOS_SUBNETS" not in environment
    bucket = boto3.client("s3")
    (rule,) = bucket.get_bucket_encryption(Bucket="the-forecasts")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    attributes = boto3.client("sqs").get_queue_attributes(
        QueueUrl=environment["CHRONOS_TRAIN_QUEUE"], AttributeNames=["All"]
    )["Attributes"]
    redrive = json.loads(attributes["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"].endswith(outputs["DeadLetterQueueUrl"].rpartition("/")[2])
    role = boto3.client("iam").get_role(RoleName=environment["CHRONOS_SAGEMAKER_ROLE"].rpartition("/")[2])["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}


@pytest.mark.usefixtures("account")
def test_a_train_file_reaches_the_queue_and_another_object_does_not() -> None:
    outputs = _create("forecasts", PARAMETERS)
    environment = dict(line.split("=", 1) for line in outputs["Environment"].split("\n"))
    s3, sqs = boto3.client("s3"), boto3.client("sqs")
    # Moto reads the notifications of a bucket from a call only: the template's are put there as they stand.
    configuration = load()["Resources"]["Bucket"]["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    arn = sqs.get_queue_attributes(QueueUrl=environment["CHRONOS_TRAIN_QUEUE"], AttributeNames=["QueueArn"])
    s3.put_bucket_notification_configuration(
        Bucket="the-forecasts",
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": arn["Attributes"]["QueueArn"],
                    "Events": [item["Event"]],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "store/train/"}]}},
                }
                for item in configuration
            ]
        },
    )
    assert all(
        item["Filter"]["S3Key"]["Rules"] == [{"Name": "prefix", "Value": {"Fn::Sub": "${Prefix}/train/"}}]
        for item in configuration
    )
    for key in ("store/train/july.csv", "store/params.json", "store/.jobs/a/train/x"):
        s3.put_object(Bucket="the-forecasts", Key=key, Body=b"")
    messages = sqs.receive_message(QueueUrl=environment["CHRONOS_TRAIN_QUEUE"], MaxNumberOfMessages=10)["Messages"]
    told = [read_notification(message["Body"], "the-forecasts", "store")[0] for message in messages]
    assert [keys for keys in told if keys] == [("train/july.csv",)]


@pytest.mark.usefixtures("account")
def test_with_dagster_it_makes_three_services_tasks_and_a_database() -> None:
    ec2 = boto3.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"][:2]]
    outputs = _create(
        "forecasts", PARAMETERS | {"DeployDagster": "yes", "VpcId": vpc, "DagsterSubnets": ",".join(subnets)}
    )
    ecs = boto3.client("ecs")
    names = ecs.list_services(cluster=outputs["ClusterName"])["serviceArns"]
    services = ecs.describe_services(cluster=outputs["ClusterName"], services=names)["services"]
    assert len(services) == 3
    assert outputs["WebserverServiceName"] in {service["serviceName"] for service in services}
    families = {arn.rpartition("/")[2].partition(":")[0] for arn in ecs.list_task_definitions()["taskDefinitionArns"]}
    # The dashboard comes with the secret of its login only.
    assert families == {f"forecasts-{name}" for name in ("run", "code-location", "webserver", "daemon")}
    run = ecs.describe_task_definition(taskDefinition="forecasts-run")["taskDefinition"]
    (container,) = run["containerDefinitions"]
    assert container["name"] == "run"
    (database,) = boto3.client("rds").describe_db_instances()["DBInstances"]
    assert not database["PubliclyAccessible"]
    assert database["StorageEncrypted"]
