"""Checkup of a deployment on AWS: what stands in the way of its jobs, before one is launched and paid for.

Here: one function per thing that is looked at, which only reads (except for an object of its own that it removes).
Elsewhere: how checks run and are shown (`platforms.checkup`), making what is missing (the template in
`docker/`).

What the caller may not look at is `unknown`, not `failed`: a deployer may well be barred from asking IAM.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from chronos_assets.container.contract import encryption
from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.doctor_network import network
from chronos_assets.platforms.aws.machines import forecast_instance, import_instance, is_arm, missing_settings, unusable
from chronos_assets.platforms.aws.sagemaker.faults import code_of, text_of
from chronos_assets.platforms.aws.tags import MAX_TAGS
from chronos_assets.platforms.checkup import CHECK_SECONDS, Check, CheckProblem, Finding, Status, run_checks
from chronos_assets.settings import AwsSettings, Settings

SERVICE = "sagemaker.amazonaws.com"
LOG_GROUPS = "/aws/sagemaker/"
OUR_TAGS = 12  # of those that a thing may have, room for our own

# What the role of Dagster calls, one action of each kind.
ACTIONS = (
    "sagemaker:CreateProcessingJob",
    "sagemaker:CreateHyperParameterTuningJob",
    "sagemaker:CreateModelPackage",
    "sagemaker:CreateEndpoint",
)

_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<name>[a-z0-9._/-]+?)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MISSING = frozenset(
    {"404", "NoSuchBucket", "NoSuchEntity", "NotFound", "NotFoundException", "ResourceNotFoundException"}
)
_NO_IMAGE = frozenset({"RepositoryNotFoundException", "ImageNotFoundException"})
_NO_QUEUE = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
_DENIED = frozenset(
    {"403", "AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException"}
)
_NO_CREDENTIALS = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "ProfileNotFound",
    }
)
_BAD_CREDENTIALS = frozenset(
    {
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "ExpiredTokenException",
    }
)
_TEMPLATE = "deploy docker/cloudformation.yaml, whose outputs are the settings"


def examine(settings: Settings, clients: AwsClients, *, seconds: float = CHECK_SECONDS) -> list[Finding]:
    """What stands in the way of a run on AWS.

    Args:
        settings: of the deployment.
        clients: of the account.
        seconds: for the checks that run side by side.
    """
    aws = settings.aws
    bucket, _, prefix = settings.store.removeprefix("s3://").strip("/").partition("/")
    first: dict[str, Check] = {
        "settings": partial(_settings, aws),
        "credentials": partial(_credentials, clients),
    }
    found = run_checks(first, _explain, seconds=seconds)
    if any(finding.name == "credentials" and finding.status == "failed" for finding in found):
        return found  # nothing else could be looked at, and each would say the same
    checks: dict[str, Check] = {
        "bucket": partial(_bucket, clients, bucket, prefix),
        "publishing": partial(_conditional_writes, clients, bucket, prefix, aws.kms_key),
        "image": partial(_image, clients, aws.image, "CHRONOS_SAGEMAKER_IMAGE"),
        "CPU image": partial(_image, clients, aws.cpu_image, "CHRONOS_SAGEMAKER_CPU_IMAGE"),
        "instances": partial(_instances, aws),
        "role": partial(_role, clients, aws.role),
        "permissions": partial(_permissions, clients, aws.role),
        "quotas": partial(_quotas, clients, aws),
        "logs": partial(_logs, clients),
        "topic": partial(_topic, clients, aws.topic),
        "queue": partial(_queue, clients, aws.train_queue, bucket, prefix),
        "model queue": partial(_model_queue, clients, aws.model_queue),
        "Lake Formation": partial(_lake_formation, clients, aws.glue_database),
        "Glue database": partial(_glue_database, clients, aws.glue_database),
        "Athena workgroup": partial(_workgroup, clients, aws.athena_workgroup),
        "key": partial(_key, clients, aws.kms_key),
        "network": partial(network, clients, aws),
        "alarms": partial(_alarms, clients, aws.endpoint_alarms),
    }
    return [*found, *run_checks(checks, _explain, seconds=seconds)]


def _explain(name: str, error: Exception) -> Finding:
    """What it means that a check raised."""
    code, kind, reported = code_of(error), type(error).__name__, text_of(error)
    if kind in _NO_CREDENTIALS:
        fix = "run `aws sso login`, set AWS_PROFILE, or give the task a role"
        return Finding(name, "failed", f"there are no credentials: {reported}", fix)
    if code in _BAD_CREDENTIALS:
        return Finding(name, "failed", f"the credentials are refused: {reported}", "sign in again, or set AWS_PROFILE")
    if kind == "NoRegionError":
        return Finding(name, "failed", "no region is set", "set AWS_REGION, or a region in the profile")
    if code in _DENIED:
        return Finding(
            name, "unknown", f"may not be looked at: {reported}", "allow the action, or ask somebody who may"
        )
    if kind in ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyConnectionError"):
        fix = "is there a way from here to AWS: a proxy, a VPC endpoint, the right AWS_REGION?"
        return Finding(name, "failed", f"no answer: {reported}", fix)
    return Finding(name, "unknown", f"{code or kind}: {reported}")


@contextmanager
def _problem(
    what: str, fix: str, codes: Collection[str] = _MISSING, *, status: Status = "failed", quoting: bool = False
) -> Iterator[None]:
    """A call inside the block that is refused with one of these codes is this problem.

    Args:
        what: see `CheckProblem`.
        fix: see `CheckProblem`.
        codes: of AWS's errors; those of what isn't there if not given.
        status: see `CheckProblem`.
        quoting: whether what AWS says is told, too.
    """
    try:
        yield
    except Exception as error:
        if code_of(error) not in codes:
            raise
        raise CheckProblem(f"{what}: {text_of(error)}" if quoting else what, fix, status) from error


# --- settings and identity --------------------------------------------------------------------------------------------


def _settings(aws: AwsSettings) -> Iterator[Finding]:
    missing = missing_settings(aws)
    if missing:
        yield Finding("settings", "failed", f"{' and '.join(missing)} not set", f"set them: {_TEMPLATE}")
    if bool(aws.subnets) != bool(aws.security_groups):
        what = "only one of CHRONOS_SUBNETS and CHRONOS_SECURITY_GROUPS is set"
        yield Finding("settings", "failed", what, "set both, or none to run outside of a VPC")
        missing.append("")
    if len(aws.tags) > MAX_TAGS - OUR_TAGS:
        what = f"CHRONOS_TAGS has {len(aws.tags)} tags, AWS takes {MAX_TAGS} with ours"
        yield Finding("settings", "failed", what, f"leave it at {MAX_TAGS - OUR_TAGS}")
        missing.append("")
    if not missing:
        yield Finding("settings", "ok", "role and image are set")


def _credentials(clients: AwsClients) -> str:
    client = clients("sts")
    identity = client.get_caller_identity()
    return f"{identity['Arn']} in {client.meta.region_name}"


# --- bucket -----------------------------------------------------------------------------------------------------------


def _bucket(clients: AwsClients, bucket: str, prefix: str) -> str:
    s3 = clients("s3")
    with _problem(
        f"there is no bucket {bucket}", f"set CHRONOS_STORE to s3://<bucket>/<prefix> of a bucket: {_TEMPLATE}"
    ):
        s3.head_bucket(Bucket=bucket)
    # us-east-1 is reported as none.
    place = s3.get_bucket_location(Bucket=bucket).get("LocationConstraint") or "us-east-1"
    here = clients("sagemaker").meta.region_name
    if place != here:
        raise CheckProblem(
            f"{bucket} lies in {place}, and jobs run in {here}: SageMaker reads buckets of its own region only",
            f"set AWS_REGION={place}, or CHRONOS_STORE to a bucket in {here}",
        )
    return f"s3://{'/'.join(part for part in (bucket, prefix) if part)} in {place}"


def _conditional_writes(clients: AwsClients, bucket: str, prefix: str, kms_key: str) -> str:
    """Write an object twice, as the store would: publishing relies on the second write being refused."""
    s3 = clients("s3")
    key = "/".join(part for part in (prefix, f".doctor/{uuid.uuid4().hex}") if part)
    rights = f"allow s3:PutObject, s3:GetObject and s3:DeleteObject on arn:aws:s3:::{bucket}/{prefix or ''}*"
    if kms_key:
        rights = f"{rights}, and kms:GenerateDataKey and kms:Decrypt on {kms_key}"
    write = partial(s3.put_object, Bucket=bucket, Key=key, Body=b"", IfNoneMatch="*", **encryption(kms_key))
    with _problem("objects can't be written", rights, _DENIED, quoting=True):
        write()
    try:
        write()
    except Exception as error:
        if code_of(error) != "PreconditionFailed":
            raise
        return "objects can be written, and an existing one is not overwritten by chance"
    finally:
        s3.delete_object(Bucket=bucket, Key=key)
    raise CheckProblem(
        "this storage ignores conditions of a write (If-None-Match): two runs at once could publish a mix",
        "use S3, or a store that knows conditional writes",
    )


# --- what jobs run with -----------------------------------------------------------------------------------------------


def _image(clients: AwsClients, image: str, variable: str) -> str | None:
    if not image:
        return None
    found = _IMAGE.fullmatch(image)
    if found is None:
        raise CheckProblem(
            f"{image} is no image of ECR: <account>.dkr.ecr.<region>.amazonaws.com/…",
            f"push it to ECR (docker/sagemaker.Dockerfile says how), and set {variable} to its URI there",
        )
    here = clients("ecr").meta.region_name
    if found["region"] != here:
        what = f"{image} lies in {found['region']}, and jobs run in {here}: endpoints can't start from it"
        raise CheckProblem(what, f"push it to ECR in {here}")
    wanted = {"imageDigest": found["digest"]} if found["digest"] else {"imageTag": found["tag"] or "latest"}
    fix = f"build docker/sagemaker.Dockerfile and push it, or set {variable} to one that is there"
    with _problem(f"{image} isn't there", fix, _NO_IMAGE, quoting=True):
        answer = clients("ecr").describe_images(
            registryId=found["account"], repositoryName=found["name"], imageIds=[wanted]
        )
    (detail,) = answer["imageDetails"]
    size = detail.get("imageSizeInBytes", 0) / (1 << 30)
    return f"{image}, {size:.1f} GiB, pushed {detail['imagePushedAt']:%Y-%m-%d}"


def _instances(aws: AwsSettings) -> Iterator[Finding]:
    """Whether the image runs on the instance types that are set."""
    types = {
        "CHRONOS_DATA_INSTANCE": aws.data_instance,
        "CHRONOS_FORECAST_INSTANCE": aws.forecast_instance,
        "CHRONOS_IMPORT_INSTANCE": aws.import_instance,
        "CHRONOS_TRAINING_INSTANCE": aws.training_instance,
        **({"CHRONOS_ENDPOINT_INSTANCE": aws.endpoint_instance} if aws.endpoint != "serverless" else {}),
    }
    bad = [f"{name}={problem}" for name, instance in types.items() if (problem := unusable(instance))]
    for problem in bad:
        yield Finding("instances", "failed", *problem.split("; ", 1))
    for name, instance in types.items():
        if is_arm(instance):
            fix = f"build it with --platform linux/arm64 and set CHRONOS_SAGEMAKER_CPU_IMAGE, or choose another {name}"
            yield Finding(
                "instances", "warning", f"{instance} has Graviton processors, which need an image for arm64", fix
            )
    if not bad:
        yield Finding("instances", "ok", ", ".join(dict.fromkeys(filter(None, types.values()))))


def _role(clients: AwsClients, role: str) -> str | None:
    if not role:
        return None
    with _problem(f"there is no role {role}", f"set CHRONOS_SAGEMAKER_ROLE to the role of the jobs: {_TEMPLATE}"):
        found = clients("iam").get_role(RoleName=role.rpartition("/")[2])["Role"]
    if not _trusts_sagemaker(found["AssumeRolePolicyDocument"]):
        fix = f'let "Service": "{SERVICE}" assume it in its trust policy'
        raise CheckProblem(f"SageMaker may not assume {role}", fix)
    return f"{role} can be assumed by SageMaker"


def _trusts_sagemaker(policy: Any) -> bool:
    document: Mapping[str, Any] = json.loads(policy) if isinstance(policy, str) else policy
    return any(
        statement.get("Effect") == "Allow"
        and "sts:AssumeRole" in _listed(statement.get("Action"))
        and SERVICE in _listed((statement.get("Principal") or {}).get("Service"))
        for statement in _listed(document.get("Statement"))
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _permissions(clients: AwsClients, role: str) -> str | None:
    """Whether the caller may hand the role to SageMaker, and create jobs, as IAM simulates it."""
    if not role:
        return None
    caller = _principal(clients("sts").get_caller_identity()["Arn"])
    if caller.endswith(":root"):
        raise CheckProblem("the account's root user may do all", "work with a role of less power", "warning")
    iam = clients("iam")
    context = [
        {
            "ContextKeyName": "iam:PassedToService",
            "ContextKeyValues": [SERVICE],
            "ContextKeyType": "string",
        }
    ]
    passed = iam.simulate_principal_policy(
        PolicySourceArn=caller, ActionNames=["iam:PassRole"], ResourceArns=[role], ContextEntries=context
    )
    others = iam.simulate_principal_policy(PolicySourceArn=caller, ActionNames=list(ACTIONS))
    refused = [
        item["EvalActionName"]
        for answer in (passed, others)
        for item in answer["EvaluationResults"]
        if item["EvalDecision"] != "allowed"
    ]
    if refused:
        # Tags and resources that a policy asks for are not in the simulation.
        certain = "iam:PassRole" in refused
        fix = f"give {caller} the policy of Dagster's role in docker/cloudformation.yaml"
        raise CheckProblem(f"{caller} may not {', '.join(refused)}", fix, "failed" if certain else "warning")
    return f"{caller} may pass the role and create jobs"


def _principal(arn: str) -> str:
    """The role that an assumed role is a session of; any other identity as it is."""
    session = re.fullmatch(r"arn:(?P<partition>[\w-]+):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/.*", arn)
    return f"arn:{session['partition']}:iam::{session['account']}:role/{session['role']}" if session else arn


def _quotas(clients: AwsClients, aws: AwsSettings) -> Iterator[Finding]:
    wanted = _wanted_quotas(aws)
    found: dict[str, float] = {}
    for page in clients("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker"):
        found |= {item["QuotaName"]: item["Value"] for item in page["Quotas"] if item["QuotaName"] in wanted}
    # An account's list leaves out quotas that were never looked at or changed: that says nothing of their values.
    absent = [name for name in wanted if name not in found]
    if absent:
        what = f"Service Quotas lists no {', '.join(absent)}: look it up in its console, or see whether the first job starts"
        yield Finding("quotas", "unknown", what)
    short = {name: found[name] for name, number in wanted.items() if name in found and found[name] < number}
    for name, value in short.items():
        fix = (
            "ask for more in Service Quotas, Amazon SageMaker, which takes hours or days; or set another instance type"
        )
        yield Finding("quotas", "failed", f"{name}: {value:g} allowed, {wanted[name]} needed", fix)
    if not short and not absent:
        yield Finding("quotas", "ok", ", ".join(f"{name}: {found[name]:g}" for name in wanted))


def _wanted_quotas(aws: AwsSettings) -> dict[str, int]:
    """Quota, by its name -> how much of it a run needs."""
    training = "spot training job" if aws.spot else "training job"
    needed = [
        (f"{aws.data_instance} for processing job usage", 1),
        # Related time series and item metadata are imported side by side.
        (f"{import_instance(aws)} for processing job usage", 2),
        (f"{aws.training_instance} for processing job usage", 1),
        (f"{aws.training_instance} for {training} usage", 1),
        (f"{forecast_instance(aws)} for processing job usage", aws.forecast_instances),
    ]
    if aws.endpoint != "serverless":
        needed.append((f"{aws.endpoint_instance} for endpoint usage", aws.endpoint_instances))
    return {name: max(number for each, number in needed if each == name) for name, _ in needed}


def _logs(clients: AwsClients) -> str:
    groups = clients("logs").describe_log_groups(logGroupNamePrefix=LOG_GROUPS)["logGroups"]
    return ", ".join(group["logGroupName"] for group in groups) or "the first jobs will make the log groups"


# --- notices, events, tables ------------------------------------------------------------------------------------------


def _topic(clients: AwsClients, topic: str) -> str:
    if not topic:
        fix = "set CHRONOS_TOPIC to the ARN of an SNS topic"
        raise CheckProblem("nobody is notified of failures: CHRONOS_TOPIC is not set", fix, "warning")
    with _problem(f"there is no topic {topic}", f"set CHRONOS_TOPIC: {_TEMPLATE}"):
        attributes = clients("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    confirmed = int(attributes.get("SubscriptionsConfirmed", 0))
    if not confirmed:
        pending = int(attributes.get("SubscriptionsPending", 0))
        what = f"nobody has subscribed to {topic}" + (f", {pending} have not confirmed" if pending else "")
        raise CheckProblem(what, "subscribe a mail address, and confirm it by the link in the mail", "warning")
    return f"{topic}, {confirmed} subscribed"


def _queue(clients: AwsClients, queue: str, bucket: str, prefix: str) -> str:
    if not queue:
        return "no CHRONOS_TRAIN_QUEUE: new train files are found by listing"
    attributes = _queue_attributes(clients, queue, "CHRONOS_TRAIN_QUEUE")
    arn, train = attributes["QueueArn"], "/".join(part for part in (prefix, "train/") if part)
    answer = clients("s3").get_bucket_notification_configuration(Bucket=bucket)
    reported = [item for item in answer.get("QueueConfigurations", []) if item["QueueArn"] == arn]
    if not any(_covers(item, train) for item in reported):
        fix = f"add a notification of s3:ObjectCreated:* with the prefix {train} to the bucket: {_TEMPLATE}"
        raise CheckProblem(f"{bucket} doesn't tell {arn} of new objects below {train}", fix)
    if "RedrivePolicy" not in attributes:
        fix = "give the queue a dead-letter queue, or a message that can't be read comes back forever"
        raise CheckProblem(f"{arn} has no dead-letter queue", fix, "warning")
    return f"{arn}, notified of new objects below {train}"


def _queue_attributes(clients: AwsClients, queue: str, variable: str) -> Mapping[str, str]:
    """What SQS says of a queue."""
    with _problem(f"there is no queue {queue}", f"set {variable}: {_TEMPLATE}", _NO_QUEUE):
        return dict(clients("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"])


def _model_queue(clients: AwsClients, queue: str) -> str:
    if not queue:
        return "no CHRONOS_MODEL_QUEUE: the registry is read now and then"
    attributes = _queue_attributes(clients, queue, "CHRONOS_MODEL_QUEUE")
    if "events.amazonaws.com" not in attributes.get("Policy", ""):
        fix = f"allow events.amazonaws.com sqs:SendMessage there: {_TEMPLATE}"
        raise CheckProblem(f"EventBridge may not send to {attributes['QueueArn']}", fix, "warning")
    return attributes["QueueArn"]


def _covers(notification: Mapping[str, Any], train: str) -> bool:
    """Whether a notification is sent for every new object below a prefix."""
    rules = notification.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    filters = {rule["Name"].lower(): rule["Value"] for rule in rules}
    created = any(event.startswith("s3:ObjectCreated:*") for event in notification["Events"])
    return created and train.startswith(filters.get("prefix", "")) and not filters.get("suffix")


def _lake_formation(clients: AwsClients, database: str) -> str:
    """Whether IAM alone decides about new tables, as in accounts that nobody set up otherwise."""
    settings = clients("lakeformation").get_data_lake_settings()["DataLakeSettings"]
    granted = [
        item.get("Principal", {}).get("DataLakePrincipalIdentifier")
        for kind in ("CreateDatabaseDefaultPermissions", "CreateTableDefaultPermissions")
        for item in settings.get(kind, [])[:1]
    ]
    if granted == ["IAM_ALLOWED_PRINCIPALS"] * 2:
        return "IAM alone decides about tables"
    raise CheckProblem(
        "Lake Formation decides about new tables in this account, beside IAM",
        f"grant the role of Dagster CREATE_TABLE and DESCRIBE on the database {database}, ALTER, DROP and SELECT on its "
        "tables, and everyone who queries SELECT and DESCRIBE",
        "warning",
    )


def _glue_database(clients: AwsClients, name: str) -> str:
    what = f"there is no database {name}: the first refresh of the tables makes it, if it may"
    fix = f"make it, or set CHRONOS_GLUE_DATABASE: {_TEMPLATE}"
    with _problem(what, fix, {"EntityNotFoundException"}, status="warning"):
        clients("glue").get_database(Name=name)
    return name


def _workgroup(clients: AwsClients, name: str) -> str:
    try:
        group = clients("athena").get_work_group(WorkGroup=name)["WorkGroup"]
    except Exception as error:
        # Athena says InvalidRequestException of a workgroup that isn't there.
        if "not found" not in text_of(error).lower():
            raise
        raise CheckProblem(f"there is no workgroup {name}", f"set CHRONOS_ATHENA_WORKGROUP: {_TEMPLATE}") from error
    configuration = group.get("Configuration", {})
    output = configuration.get("ResultConfiguration", {}).get("OutputLocation", "")
    managed = configuration.get("ManagedQueryResultsConfiguration", {}).get("Enabled", False)
    if group.get("State", "ENABLED") != "ENABLED":
        raise CheckProblem(f"{name} is {group['State'].lower()}", "enable it in Athena's console")
    if not output and not managed:
        raise CheckProblem(f"{name} has no place for results", "set its output location to a prefix of a bucket")
    return f"{name}, results in {output or 'Athena'}"


# --- encryption, alarms -----------------------------------------------------------------------------------------------


def _key(clients: AwsClients, key: str) -> str | None:
    if not key:
        return None
    with _problem(f"there is no key {key}", "set CHRONOS_KMS_KEY to the id or ARN of one"):
        found = clients("kms").describe_key(KeyId=key)["KeyMetadata"]
    if found["KeyState"] != "Enabled":
        raise CheckProblem(f"{found['Arn']} is {found['KeyState']}", "enable it, or set CHRONOS_KMS_KEY")
    return str(found["Arn"])


def _alarms(clients: AwsClients, names: Sequence[str]) -> str | None:
    if not names:
        return None
    answer = clients("cloudwatch").describe_alarms(AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    found = {item["AlarmName"] for kind in ("MetricAlarms", "CompositeAlarms") for item in answer.get(kind, [])}
    missing = [name for name in names if name not in found]
    if missing:
        what = f"there is no alarm {', '.join(missing)}: an endpoint's update with it is refused"
        raise CheckProblem(what, "make it, or take it out of CHRONOS_ENDPOINT_ALARMS")
    return ", ".join(names)
