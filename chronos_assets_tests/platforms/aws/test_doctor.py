"""The checkup on AWS: a whole deployment is fine, and of each thing that is broken it says what and how to fix it."""

import json
import threading
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from chronos_assets.cli import main
from chronos_assets.platforms.aws import doctor
from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.doctor_network import network
from chronos_assets.platforms.checkup import CheckProblem, Finding, any_failed, render, run_checks
from chronos_assets.settings import AwsSettings, Settings

ACCOUNT, REGION = "123456789012", "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/jobs"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/chronos"
QUOTAS = {
    "ml.c5.2xlarge for processing job usage": 4.0,
    "ml.g5.xlarge for processing job usage": 1.0,
    "ml.g5.xlarge for training job usage": 2.0,
    "ml.c5.xlarge for endpoint usage": 2.0,
    "ml.p4d.24xlarge for processing job usage": 0.0,
}


def error(code, message="no"):
    return ClientError({"Error": {"Code": code, "Message": message}}, "Operation")


class With:
    """A client of the server, with operations that the server lacks or is wrong about."""

    def __init__(self, client, **operations):
        self._client = client
        self.__dict__.update(operations)

    def __getattr__(self, name):
        return getattr(self._client, name)


def simulation(refused=()):
    """IAM's simulation of a policy that refuses some actions."""

    def simulate(*, ActionNames, **_given):  # noqa: N803
        decisions = {True: "implicitDeny", False: "allowed"}
        results = [{"EvalActionName": name, "EvalDecision": decisions[name in refused]} for name in ActionNames]
        return {"EvaluationResults": results}

    return simulate


def subscribed(client):
    """SNS with one subscriber of the topic `notices`."""

    def attributes(TopicArn):  # noqa: N803
        found = client.get_topic_attributes(TopicArn=TopicArn)["Attributes"]
        return {"Attributes": found | {"SubscriptionsConfirmed": str(int(TopicArn.endswith(":notices")))}}

    return With(client, get_topic_attributes=attributes)


def quotas_client(quotas):
    """Service Quotas, which the server doesn't have; two pages."""
    listed = [{"QuotaName": name, "Value": value} for name, value in quotas.items()]
    pages = [{"Quotas": listed[:1]}, {"Quotas": listed[1:]}]
    return SimpleNamespace(get_paginator=lambda _name: SimpleNamespace(paginate=lambda **_given: pages))


@pytest.fixture
def clients(aws):
    plain = aws.clients()
    sts = SimpleNamespace(
        get_caller_identity=lambda: {"Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/dagster/me"},
        meta=SimpleNamespace(region_name=REGION),
    )
    s3 = With(plain("s3"))

    def put_object(SSEKMSKeyId="", ServerSideEncryption="", **given):  # noqa: N803 - the server has no key server
        s3.keys = {SSEKMSKeyId, *getattr(s3, "keys", ())}
        return plain("s3").put_object(**given)

    s3.get_bucket_notification_configuration = lambda **_given: s3.told
    s3.put_object = put_object

    return AwsClients(
        REGION,
        sts=sts,
        s3=s3,
        sns=subscribed(plain("sns")),
        iam=With(plain("iam"), simulate_principal_policy=simulation()),
        **{"service-quotas": quotas_client(QUOTAS)},
    )


@pytest.fixture
def settings(aws, clients):
    """A whole deployment, made on the server."""
    aws.bucket("data")
    trust = {"Effect": "Allow", "Principal": {"Service": ["sagemaker.amazonaws.com"]}, "Action": "sts:AssumeRole"}
    clients("iam").create_role(RoleName="jobs", AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
    clients("ecr").create_repository(repositoryName="chronos")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}
    layers = {"config": {"digest": "sha256:" + "0" * 64}, "layers": []}
    clients("ecr").put_image(repositoryName="chronos", imageTag="1", imageManifest=json.dumps(manifest | layers))
    topic = clients("sns").create_topic(Name="notices")["TopicArn"]
    dead = clients("sqs").create_queue(QueueName="dead")["QueueUrl"]
    dead_arn = clients("sqs").get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 5})
    queue = clients("sqs").create_queue(QueueName="train", Attributes={"RedrivePolicy": redrive})["QueueUrl"]
    tell(clients, "train", "group/train/")
    clients("glue").create_database(DatabaseInput={"Name": "chronos_assets"})
    place = {"ResultConfiguration": {"OutputLocation": "s3://data/athena/"}}
    clients("athena").create_work_group(Name="chronos-assets", Configuration=place)
    key = clients("kms").create_key()["KeyMetadata"]["KeyId"]
    vpc = clients("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = tuple(
        clients("ec2").create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")[
            "Subnet"
        ]["SubnetId"]
        for n, zone in enumerate("ab")
    )
    tables = clients("ec2").describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    clients("ec2").create_vpc_endpoint(
        VpcId=vpc, ServiceName=f"com.amazonaws.{REGION}.s3", RouteTableIds=[tables[0]["RouteTableId"]]
    )
    group = clients("ec2").create_security_group(GroupName="jobs", Description="jobs", VpcId=vpc)["GroupId"]
    clients("cloudwatch").put_metric_alarm(
        AlarmName="errors", Namespace="x", MetricName="y", ComparisonOperator="GreaterThanThreshold",
        EvaluationPeriods=1, Threshold=1, Period=60, Statistic="Sum",
    )  # fmt: skip
    return Settings(
        deployment="aws",
        store="s3://data/group",
        aws=AwsSettings(
            role=ROLE, image=f"{IMAGE}:1", topic=topic, train_queue=queue, kms_key=key, subnets=subnets,
            security_groups=(group,), endpoint_alarms=("errors",),
        ),
    )  # fmt: skip


def tell(clients, queue, prefix, events=("s3:ObjectCreated:*",)):
    """Let the bucket tell a queue of what comes below a prefix."""
    rule = {"Name": "Prefix", "Value": prefix}
    told = {
        "QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
        "Events": list(events),
        "Filter": {"Key": {"FilterRules": [rule]}},
    }
    clients("s3").told = {"QueueConfigurations": [told]}


def with_aws(settings, **changes):
    return replace(settings, aws=replace(settings.aws, **changes))


def found(settings, clients, name, status="failed"):
    """What is found of one thing, all others being as fine as they were."""
    findings = {finding.name: finding for finding in doctor.examine(settings, clients)}
    assert findings[name].status == status, findings[name]
    assert bool(findings[name].fix) == (status in ("failed", "warning"))
    return findings[name].what


def test_a_whole_deployment_has_nothing_in_the_way(settings, clients, aws):
    findings = doctor.examine(settings, clients)
    assert {finding.name: finding.status for finding in findings if finding.status != "ok"} == {}
    assert len(findings) == 19
    assert clients("s3").keys == {settings.aws.kms_key}
    # It leaves nothing behind.
    assert "Contents" not in clients("s3").list_objects_v2(Bucket="data", Prefix="group/.doctor/")


def no_workgroup(aws):
    """moto says null of a workgroup that isn't there."""
    aws.faults.refuse("GetWorkGroup", "InvalidRequestException", "WorkGroup is not found.")


def test_each_thing_that_is_broken_is_reported_with_its_fix(settings, clients, aws):
    no_workgroup(aws)
    broken = with_aws(
        settings,
        role=ROLE + "x",
        image=f"{IMAGE}:2",
        topic=f"arn:aws:sns:{REGION}:{ACCOUNT}:other",
        train_queue=f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/other",
        glue_database="other",
        athena_workgroup="other",
        kms_key="11111111-2222-3333-4444-555555555555",
        subnets=("subnet-0123456789abcdef0",),
        endpoint_alarms=("errors", "other"),
        training_instance="ml.p4d.24xlarge",
        forecast_instances=5,
    )
    findings = doctor.examine(replace(broken, store="s3://elsewhere/group"), clients)
    bad = [finding for finding in findings if finding.status != "ok"]
    assert all(finding.fix for finding in bad if finding.status != "unknown")
    assert {finding.name: finding.status for finding in bad} == {
        **dict.fromkeys(
            ("bucket", "image", "role", "quotas", "topic", "queue", "Athena workgroup", "key", "network", "alarms"),
            "failed",
        ),
        "Glue database": "warning",
        "publishing": "unknown",
    }
    text = render(findings)
    for told in (
        "there is no bucket elsewhere",
        f"{IMAGE}:2 isn't there",
        f"there is no role {ROLE}x",
        "ml.c5.2xlarge for processing job usage: 4 allowed, 5 needed",
        "ml.p4d.24xlarge for processing job usage: 0 allowed, 1 needed",
        "Service Quotas lists no ml.p4d.24xlarge for training job usage",
        "there is no topic",
        "there is no queue",
        "there is no workgroup other",
        "there is no key",
        "there is no alarm other",
    ):
        assert told in text


def test_what_is_there_but_wrong(settings, clients):
    assert "not set" in found(with_aws(settings, role="", image=""), clients, "settings")
    assert "only one of" in found(with_aws(settings, security_groups=()), clients, "settings")
    tags = tuple((f"t{n}", "x") for n in range(40))
    assert "CHRONOS_TAGS has 40" in found(with_aws(settings, tags=tags), clients, "settings")
    assert "is no image of ECR" in found(with_aws(settings, image="chronos:1"), clients, "image")
    elsewhere = IMAGE.replace(REGION, "eu-west-1")
    assert "lies in eu-west-1" in found(with_aws(settings, image=elsewhere), clients, "image")
    assert "CHRONOS_TOPIC is not set" in found(with_aws(settings, topic=""), clients, "topic", "warning")
    assert f"{IMAGE}-cpu isn't there" in found(with_aws(settings, cpu_image=f"{IMAGE}-cpu"), clients, "CPU image")
    old = with_aws(settings, training_instance="ml.p3.2xlarge")
    assert "CHRONOS_TRAINING_INSTANCE=ml.p3.2xlarge" in found(old, clients, "instances")
    clients("kms").disable_key(KeyId=settings.aws.kms_key)
    assert "is Disabled" in found(settings, clients, "key")
    clients("iam").create_role(RoleName="other", AssumeRolePolicyDocument='{"Statement": []}')
    role = f"arn:aws:iam::{ACCOUNT}:role/other"
    assert "SageMaker may not assume" in found(with_aws(settings, role=role), clients, "role")
    one = with_aws(settings, subnets=settings.aws.subnets[:1])
    assert "1 subnets" in found(one, clients, "network", "warning")
    clients("athena").create_work_group(Name="bare", Configuration={})
    assert "no place for results" in found(with_aws(settings, athena_workgroup="bare"), clients, "Athena workgroup")
    quiet = clients("sns").create_topic(Name="quiet")["TopicArn"]
    assert "nobody has subscribed" in found(with_aws(settings, topic=quiet), clients, "topic", "warning")


@pytest.mark.parametrize(
    "prefix, events",
    [("group/other/", ("s3:ObjectCreated:*",)), ("group/train/", ("s3:ObjectRemoved:*",))],
)
def test_a_queue_that_the_bucket_does_not_tell_of_train_files(settings, clients, prefix, events):
    tell(clients, "train", prefix, events)
    assert "doesn't tell" in found(settings, clients, "queue")


def test_a_queue_without_a_dead_letter_queue_is_warned_of(settings, clients):
    url = clients("sqs").create_queue(QueueName="bare")["QueueUrl"]
    tell(clients, "bare", "group/")
    assert "dead-letter" in found(with_aws(settings, train_queue=url), clients, "queue", "warning")


def test_a_storage_that_ignores_conditions_can_not_publish(settings, aws):
    removed = []
    s3 = SimpleNamespace(
        put_object=lambda **_given: {}, delete_object=lambda **given: removed.append(given["Key"]), head_bucket=None
    )
    with pytest.raises(CheckProblem, match="ignores conditions") as found_out:
        doctor._conditional_writes(AwsClients(REGION, s3=s3), "data", "group", "")
    assert found_out.value.status == "failed"
    assert len(removed) == 1


def test_a_quota_that_is_not_listed_is_not_known(settings, clients):
    other = with_aws(settings, training_instance="ml.g6.xlarge")
    what = found(other, clients, "quotas", "unknown")
    assert "lists no ml.g6.xlarge for processing job usage, ml.g6.xlarge for training job usage" in what


def routes(*found, subnet=None):
    """A route table of the VPC: its main one, or a subnet's own."""
    association = {"SubnetId": subnet} if subnet else {"Main": True}
    return {"RouteTableId": f"rtb-{subnet or 'main'}", "Associations": [association], "Routes": list(found)}


def way(**target):
    return {"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **target}


LOCAL = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}
GATEWAY = {"VpcEndpointType": "Gateway", "RouteTableIds": ["rtb-main"]}


@pytest.mark.parametrize(
    ("tables", "endpoints", "reached"),
    [
        ([routes(LOCAL)], [], False),
        ([], [], False),
        ([routes(LOCAL, way(NatGatewayId="nat-1"))], [], True),
        ([routes(LOCAL, way(TransitGatewayId="tgw-1"))], [], True),
        # A job has no public address to come back to.
        ([routes(LOCAL, way(GatewayId="igw-1"))], [], False),
        ([routes(LOCAL, way(NatGatewayId="nat-1", State="blackhole"))], [], False),
        ([routes(LOCAL)], [GATEWAY], True),
        # The subnet's own table goes before the main one.
        ([routes(LOCAL, way(NatGatewayId="nat-1")), routes(LOCAL, subnet="subnet-1")], [], False),
        ([routes(LOCAL), routes(LOCAL, subnet="subnet-1")], [GATEWAY], False),
        ([routes(LOCAL)], [{"VpcEndpointType": "Interface"}], True),
    ],
    ids=[
        "nothing",
        "no table",
        "nat",
        "transit",
        "internet",
        "blackhole",
        "gateway",
        "own table",
        "of another",
        "interface",
    ],
)
def test_jobs_need_a_way_to_s3(tables, endpoints, reached):
    subnet = {"SubnetId": "subnet-1", "VpcId": "vpc-1", "AvailabilityZone": "a"}
    ec2 = SimpleNamespace(
        describe_subnets=lambda **_given: {"Subnets": [subnet, subnet | {"AvailabilityZone": "b"}]},
        describe_security_groups=lambda **_given: {"SecurityGroups": [{"VpcId": "vpc-1"}]},
        describe_route_tables=lambda **_given: {"RouteTables": tables},
        describe_vpc_endpoints=lambda **_given: {"VpcEndpoints": endpoints},
        meta=SimpleNamespace(region_name=REGION),
    )
    aws = AwsSettings(subnets=("subnet-1",), security_groups=("sg-1",))
    (finding,) = run_checks({"network": partial(network, AwsClients(REGION, ec2=ec2), aws)}, doctor._explain)
    assert (finding.status == "ok") is reached
    if not reached:
        assert "forever: there is no way from there to S3" in finding.what
        assert f"com.amazonaws.{REGION}.s3" in finding.fix


def test_an_account_whose_tables_lake_formation_governs_is_warned_of(settings, clients):
    assert "IAM alone" in found(settings, clients, "Lake Formation", "ok")
    none = {"CreateDatabaseDefaultPermissions": [], "CreateTableDefaultPermissions": []}
    clients("lakeformation").put_data_lake_settings(DataLakeSettings=none)
    assert "beside IAM" in found(settings, clients, "Lake Formation", "warning")


def test_a_model_queue_is_one_that_eventbridge_may_send_to(settings, clients):
    url = clients("sqs").create_queue(QueueName="models")["QueueUrl"]
    of_models = with_aws(settings, model_queue=url)
    assert "EventBridge may not send" in found(of_models, clients, "model queue", "warning")
    allowed = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed | {"Resource": "*"}]})
    clients("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    assert found(of_models, clients, "model queue", "ok").endswith(":models")
    gone = with_aws(settings, model_queue=url.replace("models", "others"))
    assert "there is no queue" in found(gone, clients, "model queue")


def test_instances_on_arm_need_an_image_of_their_own(settings):
    aws = replace(settings.aws, endpoint_instance="ml.c7g.large")
    warning, fine = doctor._instances(aws)
    assert (warning.status, fine.status) == ("warning", "ok")
    assert "linux/arm64" in warning.fix
    (serverless,) = doctor._instances(replace(aws, endpoint="serverless"))
    assert serverless.status == "ok"


def test_a_caller_without_rights_learns_which(settings, aws, clients):
    poor = With(aws.clients()("iam"), simulate_principal_policy=simulation({"iam:PassRole"}))
    clients = AwsClients(REGION, sts=clients("sts"), iam=poor, **{"service-quotas": quotas_client(QUOTAS)})
    assert f"arn:aws:iam::{ACCOUNT}:role/dagster may not iam:PassRole" in found(settings, clients, "permissions")


@pytest.mark.parametrize(
    "raised, status, told",
    [
        (error("AccessDeniedException", "not authorized to perform x"), "unknown", "may not be looked at"),
        (error("ExpiredToken"), "failed", "refused"),
        (error("InternalFailure"), "unknown", "InternalFailure"),
        (NoCredentialsError(), "failed", "no credentials"),
        (EndpointConnectionError(endpoint_url="https://x"), "failed", "no answer"),
        (ValueError("secret=AKIAABCDEFGHIJKLMNOP"), "unknown", "ValueError"),
    ],
)
def test_a_check_that_gets_no_answer_says_what_that_means(raised, status, told):
    def check():
        raise raised

    (finding,) = run_checks({"it": check}, doctor._explain)
    assert (finding.name, finding.status) == ("it", status)
    assert told in finding.what
    assert "AKIAABCDEFGHIJKLMNOP" not in render([finding])


def test_without_credentials_nothing_else_is_looked_at(settings):
    def nobody():
        raise NoCredentialsError

    meta = SimpleNamespace(region_name=REGION)
    sts = SimpleNamespace(get_caller_identity=nobody, meta=meta)
    findings = doctor.examine(settings, AwsClients(REGION, sts=sts))
    assert [(finding.name, finding.status) for finding in findings] == [("settings", "ok"), ("credentials", "failed")]


def test_a_check_that_hangs_keeps_no_other_from_its_answer():
    looked_at = threading.Event()

    def hangs():
        looked_at.wait(60)
        return []

    findings = run_checks(
        {"slow": hangs, "quick": lambda: [Finding("quick", "ok", "fine")]}, doctor._explain, seconds=0.1
    )
    looked_at.set()
    assert [(finding.name, finding.status) for finding in findings] == [("slow", "unknown"), ("quick", "ok")]
    assert not any_failed(findings)


def test_the_command_prints_a_table_and_fails_if_something_is_in_the_way(aws, monkeypatch, capsys):
    aws.bucket("data")
    no_workgroup(aws)
    aws.faults.refuse("ListServiceQuotas", "AccessDeniedException", "not allowed", times=9)
    monkeypatch.setenv("CHRONOS_DEPLOYMENT", "aws")
    monkeypatch.setenv("CHRONOS_STORE", "s3://data")
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "failed   settings          CHRONOS_SAGEMAKER_ROLE and CHRONOS_SAGEMAKER_IMAGE not set" in told
    assert "ok       bucket            s3://data in us-east-1" in told
    assert told.strip().splitlines()[-1].startswith("2 failed")


def test_the_command_on_a_laptop(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHRONOS_DEPLOYMENT", "local")
    monkeypatch.setenv("CHRONOS_STORE", str(tmp_path / "store"))
    assert main(["doctor"]) == 0
    assert "ok       packages" in capsys.readouterr().out
    (tmp_path / "store").write_text("a file")
    assert main(["doctor"]) == 1
