"""docker/cloudformation.yaml: without warnings, narrow in what it allows, and what the code needs and names."""

import ast
import json
import re
import shlex
from dataclasses import fields
from typing import Any

import pytest

from chronos_assets.platforms.aws.pointers import POINTERS, VERSIONS
from chronos_assets.platforms.aws.publishing import STABLE
from chronos_assets.platforms.aws.sagemaker.kinds import KINDS
from chronos_assets.platforms.aws.tags import CODE_LOCATION
from chronos_assets.settings import AwsSettings, Settings
from chronos_assets.store_layout import (
    DATASET_KEY,
    FORECAST_KEY,
    JOBS_KEY,
    PARAMS_KEY,
    SYNTHETIC_KEY,
    TRAIN_KEY,
    history_key,
)
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.docker.template import ACCOUNT, PATH, REGION, load, resolved, statements

# Where AWS knows no narrower resource, or a policy is about the thing that it is attached to.
ALL_RESOURCES = {
    "SageMakerRole.ImageLogin": {"ecr:GetAuthorizationToken"},
    "SageMakerRole.JobMetrics": {"cloudwatch:PutMetricData"},
    "SageMakerRole.LookAtNetwork": {
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
    },
    "DataPolicy.Metrics": {"cloudwatch:PutMetricData"},
    "DataPolicy.LakeFormation": {"lakeformation:GetDataAccess", "lakeformation:GetDataLakeSettings"},
    "SageMakerPolicy.Lists": {
        "ec2:DescribeRouteTables",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcEndpoints",
        "sagemaker:ListEndpointConfigs",
        "sagemaker:ListEndpoints",
        "sagemaker:ListHyperParameterTuningJobs",
        "sagemaker:ListModelPackageGroups",
        "sagemaker:ListModelPackages",
        "sagemaker:ListModels",
        "sagemaker:ListProcessingJobs",
        "sagemaker:ListTrainingJobs",
        "sagemaker:ListTransformJobs",
        "servicequotas:ListServiceQuotas",
        "sts:GetCallerIdentity",
    },
    "TaskStartRole.ImageLogin": {"ecr:GetAuthorizationToken"},
    "ControlRole.LookAtTasks": {"ec2:DescribeNetworkInterfaces", "ecs:DescribeTaskDefinition"},
    "ControlRole.PortForwarding": {
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    },
}

# boto3's name of a service -> its prefix in policies, where they differ.
PREFIXES = {"service-quotas": "servicequotas", "sagemaker-runtime": "sagemaker"}

# Operation of S3 -> action that allows it.
S3_ACTIONS = {
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "HeadObject": "GetObject",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "DeleteObjects": "DeleteObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}
SQS_ACTIONS = {"DeleteMessageBatch": "DeleteMessage", "ChangeMessageVisibilityBatch": "ChangeMessageVisibility"}

# What people's own identity needs for `chronos-assets doctor` to look at itself; without, it says that it may not.
OF_PEOPLE = {"iam:SimulatePrincipalPolicy"}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return load()


@pytest.mark.process
def test_it_has_no_warnings() -> None:
    from cfnlint.api import ManualArgs, lint

    config = ManualArgs(regions=["us-east-1", "eu-central-1"], include_checks=["E", "W"])
    assert [str(match) for match in lint(PATH.read_text(), config=config)] == []


# --- policies ---------------------------------------------------------------------------------------------------------


def test_no_statement_allows_a_wildcard_action(template: dict[str, Any]) -> None:
    allowing = [statement for statement in statements(template) if statement.allows]
    assert len(allowing) > 40
    for statement in allowing:
        assert "NotAction" not in statement.document, statement.name
        assert "NotResource" not in statement.document, statement.name
        assert statement.actions, statement.name
        assert not [action for action in statement.actions if "*" in action], statement.name


def test_all_resources_only_where_aws_knows_no_narrower_one(template: dict[str, Any]) -> None:
    wide = {
        statement.name: set(statement.actions)
        for statement in statements(template)
        if statement.allows and "*" in statement.resources
    }
    assert wide == ALL_RESOURCES


def test_every_other_resource_is_of_this_account_or_of_the_bucket(template: dict[str, Any]) -> None:
    names = {"BucketName": "the-bucket", "Prefix": "store"}
    for statement in statements(template):
        for resource in resolved(statement.resources, names):
            ours = resource.startswith(("arn:aws:s3:::the-bucket", "<")) or f":{ACCOUNT}:" in resource
            assert ours or statement.name in ALL_RESOURCES, f"{statement.name}: {resource}"


def test_what_services_may_do_is_bound_to_this_account(template: dict[str, Any]) -> None:
    for statement in statements(template):
        principal = statement.document.get("Principal")
        if statement.allows and principal is not None:
            assert set(principal) == {"Service"}, statement.name
            if statement.resource == "ModelQueuePolicy":
                # A rule is of one account, which its ARN names.
                source = statement.document["Condition"]["ArnEquals"]["aws:SourceArn"]
                assert source == {"Fn::GetAtt": ["ModelRule", "Arn"]}
                continue
            condition = statement.document["Condition"]["StringEquals"]
            assert condition == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}, statement.name


def test_roles_are_passed_to_one_service_each(template: dict[str, Any]) -> None:
    passed = [statement for statement in statements(template) if "iam:PassRole" in statement.actions]
    assert {statement.resource for statement in passed} == {"SageMakerPolicy", "ControlRole", "PipelineRole"}
    for statement in passed:
        assert statement.actions == ["iam:PassRole"]
        assert set(statement.document["Condition"]["StringEquals"]) == {"iam:PassedToService"}


def test_a_pipeline_has_a_role_for_each_type_of_step(template: dict[str, Any]) -> None:
    """The types of step that the definition is made of, and the action that each takes."""
    source = (REPOSITORY / "chronos_assets/platforms/aws/pipeline_definition.py").read_text()
    action = {
        "PROCESSING": "CreateProcessingJob",
        "TUNING": "CreateHyperParameterTuningJob",
        "TRAINING": "CreateTrainingJob",
        "REGISTER_MODEL": "CreateModelPackage",
    }
    types = set(re.findall(r"StepTypeEnum\.(\w+)|sdk\.types\.(\w+)", source))
    found = {name for pair in types for name in pair if name}
    allowed = {a for item in statements(template) if item.resource == "PipelineRole" for a in item.actions}
    assert found
    assert {f"sagemaker:{action[name]}" for name in found if name in action} <= allowed
    assert found <= set(action) | {"CONDITION", "FAIL"}


def test_people_may_start_a_pipeline(template: dict[str, Any]) -> None:
    allowed = {a for item in statements(template) if item.resource == "SageMakerPolicy" for a in item.actions}
    assert "sagemaker:StartPipelineExecution" in allowed


def test_jobs_are_created_and_stopped_by_their_tag_only(template: dict[str, Any]) -> None:
    by_action = {action: statement for statement in statements(template) for action in statement.actions}
    for kind in ("HyperParameterTuning", "Processing", "Training", "Transform"):
        create, stop = by_action[f"sagemaker:Create{kind}Job"], by_action[f"sagemaker:Stop{kind}Job"]
        assert create.document["Condition"] == {"Null": {f"aws:RequestTag/{CODE_LOCATION}": False}}
        assert stop.document["Condition"] == {"Null": {f"aws:ResourceTag/{CODE_LOCATION}": False}}


def test_policies_fit(template: dict[str, Any]) -> None:
    """IAM: 6,144 characters of a managed policy, 10,240 of a role's own, white space not counted."""
    names = {"BucketName": "b" * 63, "Prefix": "p" * 100, "GlueDatabaseName": "g" * 60, "WorkGroupName": "w" * 60}
    for name, resource in template["Resources"].items():
        properties = resolved(resource.get("Properties", {}), names)
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            assert _length(properties["PolicyDocument"]) < 6_144, name
        if resource["Type"] == "AWS::IAM::Role":
            own = sum(_length(policy["PolicyDocument"]) for policy in properties.get("Policies", []))
            assert own < 10_240, name


def _length(document: dict[str, Any]) -> int:
    # Every reference stands for an ARN.
    return len(re.sub(r"<[^>]*>", "a" * 120, json.dumps(document, separators=(",", ":"))))


def test_dagster_may_do_what_the_code_calls(template: dict[str, Any]) -> None:
    allowed = {
        action
        for statement in statements(template)
        if statement.resource in ("DataPolicy", "SageMakerPolicy")
        for action in statement.actions
    }
    called = _called()
    assert len(called) > 40
    assert called - allowed <= OF_PEOPLE


def _called() -> set[str]:
    """Actions of the operations whose boto3 methods are named in `platforms/aws`, of the services named there."""
    import botocore.session
    from botocore import xform_name

    attributes = {kind.operation(verb) for kind in KINDS.values() for verb in ("create", "describe", "stop")}
    texts: set[str] = set()
    services: set[str] = set()
    for path in (REPOSITORY / "chronos_assets" / "platforms" / "aws").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                attributes.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("clients"):
                services |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    session = botocore.session.get_session()
    # Named in another sense than an operation of that service.
    others = {
        ("athena", "GetDatabase"),
        ("ec2", "DescribeImages"),
        ("ec2", "ImportInstance"),
        ("logs", "GetQueryResults"),
        ("sagemaker", "Search"),
        ("sns", "DeleteEndpoint"),
    }
    actions = set()
    for service in sorted(services):
        for operation in session.get_service_model(service).operation_names:
            if xform_name(operation) not in attributes | texts or (service, operation) in others:
                continue
            name = {"s3": S3_ACTIONS, "sqs": SQS_ACTIONS}.get(service, {}).get(operation, operation)
            actions.add(f"{PREFIXES.get(service, service)}:{name}")
    return actions


# --- the same names as the code's -------------------------------------------------------------------------------------


def test_the_output_is_settings_that_the_code_reads(template: dict[str, Any]) -> None:
    given = {name: str(item["Default"]) for name, item in template["Parameters"].items() if item.get("Default")}
    names = given | {
        "BucketName": "b",
        "Bucket": "b",
        "DatasetGroup": "energy_use",
        "SageMakerRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/r",
        "PipelineRole.Arn": f"arn:aws:iam::{ACCOUNT}:role/p",
        "JobRepository.RepositoryUri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/b/sagemaker",
        "ModelQueue": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/m",
        "TrainQueue": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/q",
        "Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:t",
        "JobSubnets": "subnet-1,subnet-2",
        "JobSecurityGroups": "sg-1",
        "KmsKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/k",
        "QuickSightPrincipal": f"arn:aws:quicksight:{REGION}:{ACCOUNT}:user/default/u",
        "ForecastInstance": "ml.g6.xlarge",
        "ImportInstance": "ml.m5.4xlarge",
        "ImportVolumeGigabytes": "500",
        "CpuImageTag": "1-cpu",
        "Tags": "team=the forecasters,stage=test",
    }
    text = resolved(template["Outputs"]["Environment"]["Value"], names)
    # As a shell reads it.
    environment = dict(line.split("=", 1) for line in shlex.split(text))
    assert len(environment) == len(text.split("\n"))
    settings = Settings.from_env(environment)
    assert settings.ui_url == Settings().ui_url
    assert settings.aws.forecast_instance == "ml.g6.xlarge"
    assert (
        settings.import_job_bytes
        == Settings.from_env({"CHRONOS_DEPLOYMENT": "aws", "CHRONOS_STORE": "s3://b"}).import_job_bytes
    )
    assert (settings.aws.import_instance, settings.aws.import_volume_gb) == ("ml.m5.4xlarge", 500)
    assert settings.aws.cpu_image == f"{settings.aws.image}-cpu"
    assert dict(settings.aws.tags) == {"team": "the forecasters", "stage": "test"}
    assert settings.deployment == "aws"
    assert settings.store == "s3://b/store"
    assert settings.aws.endpoint_alarms == ("energy_use-endpoint",)
    assert settings.aws.kms_key == names["KmsKeyArn"]
    assert settings.aws.subnets == ("subnet-1", "subnet-2")
    # What the template doesn't say is the code's own default, and what it says by default is the same.
    same = {field.name for field in fields(AwsSettings)} - {
        "region",
        "role",
        "pipeline_role",
        "image",
        "train_queue",
        "model_queue",
        "topic",
        "endpoint_alarms",
        "subnets",
        "security_groups",
        "kms_key",
        "quicksight_principal",
        "forecast_instance",
        "import_instance",
        "import_volume_gb",
        "cpu_image",
        "tags",
    }
    assert {name: getattr(settings.aws, name) for name in same} == {name: getattr(AwsSettings(), name) for name in same}


def test_a_run_has_the_settings_of_the_output(template: dict[str, Any]) -> None:
    told = set(re.findall(r"CHRONOS_[A-Z_]+", json.dumps(template["Outputs"]["Environment"])))
    for task in ("RunTask", "CodeTask"):
        (container,) = template["Resources"][task]["Properties"]["ContainerDefinitions"]
        here = {item["Name"] for item in container["Environment"] if item["Name"].startswith("CHRONOS_")}
        # What DuckDB may use is about the task.
        assert here == told | {"CHRONOS_MEMORY_LIMIT"}
    for task in ("WebserverTask", "DaemonTask"):
        (container,) = template["Resources"][task]["Properties"]["ContainerDefinitions"]
        assert not [item for item in container["Environment"] if item["Name"].startswith("CHRONOS_")]


def test_an_alarm_waits_for_as_long_as_the_windows_are(template: dict[str, Any]) -> None:
    ages = {cadence: item["Days"] for cadence, item in template["Mappings"]["AgeOfForecasts"].items()}
    assert set(ages) == set(template["Parameters"]["Partitions"]["AllowedValues"])
    longest = {"hourly": 1 / 24, "daily": 1, "weekly": 7, "monthly": 31}
    assert all(longest[cadence] < days <= longest[cadence] + 2 for cadence, days in ages.items())
    threshold = template["Resources"]["StaleAlarm"]["Properties"]["Threshold"]["Fn::If"]
    assert threshold[2] == {"Fn::FindInMap": ["AgeOfForecasts", {"Ref": "Partitions"}, "Days"]}
    # CloudWatch looks at no more than a week, whatever is asked for.
    alarm = template["Resources"]["StaleAlarm"]["Properties"]
    assert alarm["Period"] * alarm["EvaluationPeriods"] <= 7 * 86_400


def test_what_can_be_made_again_is_not_kept_for_a_month(template: dict[str, Any]) -> None:
    rules = template["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    days = {
        resolved(rule.get("Prefix", ""), {"Prefix": "store"}): rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        for rule in rules
        if "NoncurrentVersionExpiration" in rule
    }
    assert days.pop("") == 30
    assert set(days.values()) == {1}
    folders = (
        VERSIONS,
        POINTERS,
        STABLE,
        DATASET_KEY,
        FORECAST_KEY,
        history_key("2024-01-01"),
        SYNTHETIC_KEY,
        JOBS_KEY,
    )
    assert all(any(f"store/{folder}/".startswith(prefix) for prefix in days) for folder in folders)
    # What nobody can make again.
    assert not [prefix for prefix in days if f"store/{TRAIN_KEY}/".startswith(prefix) or PARAMS_KEY in prefix]


def test_what_is_kept_goes_with_a_stack_that_could_not_be_made(template: dict[str, Any]) -> None:
    """A second try would find the names taken."""
    kept = [item for item in template["Resources"].values() if item.get("DeletionPolicy", "").startswith("Retain")]
    assert len(kept) == 2
    assert {item["DeletionPolicy"] for item in kept} == {"RetainExceptOnCreate"}


def test_the_database_is_bound_to_a_major_version(template: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+", template["Resources"]["Database"]["Properties"]["EngineVersion"])


# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html: MiB from, to, in steps of.
MEMORY_OF_FARGATE = {
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16384 + 1, 1024),
    4096: range(8192, 30720 + 1, 1024),
    8192: range(16384, 61440 + 1, 4096),
}


def test_duckdb_gets_what_the_task_has_and_leaves_python_its_own(template: dict[str, Any]) -> None:
    sizes = list(map(int, template["Parameters"]["RunMemory"]["AllowedValues"]))
    limits = {int(size): entry["DuckDb"] for size, entry in template["Mappings"]["MemoryOfRun"].items()}
    assert sorted(limits) == sizes
    for size, limit in limits.items():
        assert Settings.from_env({"CHRONOS_MEMORY_LIMIT": limit}).memory_limit == limit
        mebibytes = int(limit.removesuffix("MiB"))
        # An import needs up to a gigabyte beside DuckDB.
        assert size / 2.2 < mebibytes <= min(size / 2, size - 1024)


def test_a_runs_memory_is_one_that_fargate_has_for_its_cpu(template: dict[str, Any]) -> None:
    found = {}
    for rule in template["Rules"].values():
        parameter, cpu = rule["RuleCondition"]["Fn::Equals"]
        if parameter == {"Ref": "RunCpu"}:
            (assertion,) = rule["Assertions"]
            found[int(cpu)] = [int(size) for size in assertion["Assert"]["Fn::Contains"][0]]
    assert list(found) == template["Parameters"]["RunCpu"]["AllowedValues"]
    sizes = list(map(int, template["Parameters"]["RunMemory"]["AllowedValues"]))
    for cpu, allowed in found.items():
        assert allowed == [size for size in sizes if size in MEMORY_OF_FARGATE[cpu]]


def test_every_task_knows_its_region_as_boto3_reads_it(template: dict[str, Any]) -> None:
    """ECS sets AWS_REGION, which boto3 doesn't know: Dagster's launcher would not find its region."""
    for name, resource in template["Resources"].items():
        for container in resource.get("Properties", {}).get("ContainerDefinitions", []):
            assert "AWS_DEFAULT_REGION" in {item["Name"] for item in container["Environment"]}, name


def test_no_secret_is_written_down(template: dict[str, Any]) -> None:
    for name, resource in template["Resources"].items():
        for container in resource.get("Properties", {}).get("ContainerDefinitions", []):
            secret = [item["Name"] for item in container["Environment"] if re.search("PASSWORD|LOGIN", item["Name"])]
            assert not secret, name
            login = ["CHRONOS_DASHBOARD_LOGIN"] if name == "DashboardTask" else []
            assert [item["Name"] for item in container["Secrets"]] == ["DAGSTER_POSTGRES_PASSWORD", *login]
    password = template["Resources"]["Database"]["Properties"]["MasterUserPassword"]
    assert password == {"Fn::Sub": "{{resolve:secretsmanager:${DatabaseSecret}:SecretString:password}}"}


# --- traps ------------------------------------------------------------------------------------------------------------


def test_bucket_and_queue_do_not_wait_for_each_other(template: dict[str, Any]) -> None:
    policy = template["Resources"]["TrainQueuePolicy"]
    assert "Bucket" not in re.findall(r'"Ref": "(\w+)"|\$\{(\w+)\}|GetAtt": \["(\w+)"', json.dumps(policy))
    assert {"Ref": "Bucket"} not in policy["Properties"].values()
    assert template["Resources"]["Bucket"]["DependsOn"] in ("TrainQueuePolicy", ["TrainQueuePolicy"])


def test_the_daemon_is_one_also_while_it_is_replaced(template: dict[str, Any]) -> None:
    daemon = template["Resources"]["DaemonService"]["Properties"]
    assert daemon["DesiredCount"] == 1
    assert daemon["DeploymentConfiguration"]["MaximumPercent"] == 100


def test_nothing_of_dagster_is_reachable_from_outside(template: dict[str, Any]) -> None:
    resources = template["Resources"]
    assert not [name for name, item in resources.items() if item["Type"].startswith("AWS::ElasticLoadBalancing")]
    ingress = [
        rule
        for item in resources.values()
        for rule in [
            *item.get("Properties", {}).get("SecurityGroupIngress", []),
            *([item["Properties"]] if item["Type"] == "AWS::EC2::SecurityGroupIngress" else []),
        ]
    ]
    assert ingress
    assert all("CidrIp" not in rule and "SourceSecurityGroupId" in rule for rule in ingress)


def test_everything_of_dagster_is_behind_the_switch(template: dict[str, Any]) -> None:
    costly = ("AWS::ECS::", "AWS::RDS::", "AWS::SecretsManager::", "AWS::ServiceDiscovery::", "AWS::EC2::")
    kinds = {item["Type"] for item in template["Resources"].values() if item.get("Condition") == "Dagster"}
    assert {"AWS::ECS::Service", "AWS::RDS::DBInstance"} <= kinds
    for name, item in template["Resources"].items():
        assert not item["Type"].startswith(costly) or item.get("Condition") in ("Dagster", "Dashboard"), name
    # The dashboard starts with the secret of its login only, and never without Dagster.
    dagster, secret = template["Conditions"]["Dashboard"]["Fn::And"]
    assert dagster == {"Condition": "Dagster"}
    assert "DashboardLoginSecret" in json.dumps(secret)
