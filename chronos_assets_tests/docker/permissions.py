"""What each call to AWS needs: of whoever calls, and of the role that the service assumes for it. From AWS's documentation.

Here: the table alone; `test_permissions` holds it against the template and the code. The page docs/aws-permissions.md
shows it: `python -m chronos_assets_tests.docker.permissions` prints what stands there.

Servers that enforce no IAM can't tell: a call that lacks an action works on this machine, and fails in the first account.
"""

from __future__ import annotations

from dataclasses import dataclass, field

GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg"
ROLES = f"{GUIDE}/sagemaker-roles.html"
REFERENCE = "https://docs.aws.amazon.com/service-authorization/latest/reference"

LOGS = frozenset({"logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"})
IMAGE = frozenset(
    {
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",
    }
)
OF_A_CONTAINER = LOGS | IMAGE | {"cloudwatch:PutMetricData"}
OF_A_JOB = OF_A_CONTAINER | {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
IN_A_VPC = frozenset(
    {
        "ec2:CreateNetworkInterface",
        "ec2:CreateNetworkInterfacePermission",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission",
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
    }
)
# Members of a caller: the two policies of Dagster's code and of people, or the role of its daemon.
CODE = ("DataPolicy", "SageMakerPolicy")
DAEMON = ("ControlRole",)


@dataclass(frozen=True)
class Need:
    """What a call needs.

    Attributes:
        call: the operation, and when it is about a case of it.
        caller: actions of whoever calls.
        role: which role of the template the service assumes for it; empty for none.
        actions: what that role has to allow.
        source: page of AWS's documentation.
        who: resources of the template that a caller is given.
    """

    call: str
    caller: frozenset[str]
    source: str
    role: str = ""
    actions: frozenset[str] = field(default_factory=frozenset)
    who: tuple[str, ...] = CODE


def _job(kind: str) -> Need:
    caller = {f"sagemaker:Create{kind}Job", "sagemaker:AddTags", "iam:PassRole"}
    page = f"{ROLES}#sagemaker-roles-create{kind.lower()}job-perms"
    return Need(f"Create{kind}Job", frozenset(caller), page, "SageMakerRole", OF_A_JOB)


NEEDS = (
    _job("Processing"),
    _job("Training"),
    _job("HyperParameterTuning"),
    Need(
        "CreateTransformJob",
        frozenset({"sagemaker:CreateTransformJob", "sagemaker:AddTags"}),
        f"{REFERENCE}/list_amazonsagemaker.html",
        "SageMakerRole",
        OF_A_JOB,
    ),
    Need(
        "Create*Job, CreateModel in a VPC",
        frozenset(),
        f"{ROLES}#sagemaker-roles-createprocessingjob-perms",
        "SageMakerRole",
        IN_A_VPC,
    ),
    Need(
        "Create*Job with a key of your own",
        frozenset({"kms:CreateGrant", "kms:DescribeKey"}),
        f"{ROLES}#sagemaker-roles-createprocessingjob-perms",
        "SageMakerRole",
        frozenset({"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"}),
    ),
    Need(
        "CreateModel",
        frozenset({"sagemaker:CreateModel", "sagemaker:AddTags", "iam:PassRole"}),
        f"{ROLES}#sagemaker-roles-createmodel-perms",
        "SageMakerRole",
        OF_A_CONTAINER | {"s3:GetObject", "s3:ListBucket"},
    ),
    Need(
        "CreateEndpointConfig",
        frozenset({"sagemaker:CreateEndpointConfig", "sagemaker:AddTags"}),
        f"{REFERENCE}/list_amazonsagemaker.html",
    ),
    Need(
        "CreateEndpoint",
        frozenset({"sagemaker:CreateEndpoint", "sagemaker:AddTags"}),
        f"{REFERENCE}/list_amazonsagemaker.html",
    ),
    Need(
        "UpdateEndpoint with alarms",
        frozenset({"sagemaker:UpdateEndpoint", "cloudwatch:DescribeAlarms"}),
        f"{GUIDE}/deployment-guardrails-configuration.html",
        "SageMakerRole",
        frozenset({"cloudwatch:DescribeAlarms"}),
    ),
    Need(
        "InvokeEndpoint",
        frozenset({"sagemaker:InvokeEndpoint"}),
        f"{REFERENCE}/list_amazonsagemaker.html",
    ),
    Need(
        "InvokeEndpointAsync",
        frozenset({"sagemaker:InvokeEndpointAsync", "s3:PutObject", "s3:GetObject"}),
        f"{GUIDE}/async-inference-create-invoke-update-delete-prerequisites.html",
        "SageMakerRole",
        frozenset({"s3:GetObject", "s3:PutObject"}),
    ),
    Need(
        "CreateModelPackage",
        frozenset({"sagemaker:CreateModelPackage", "ecr:BatchGetImage", "s3:GetObject"}),
        f"{GUIDE}/model-registry-version.html",
    ),
    Need(
        "CreatePipeline, UpdatePipeline",
        frozenset({"sagemaker:CreatePipeline", "sagemaker:UpdatePipeline", "iam:PassRole"}),
        f"{GUIDE}/build-and-manage-access.html",
    ),
    Need(
        "StartPipelineExecution",
        frozenset({"sagemaker:StartPipelineExecution"}),
        f"{GUIDE}/build-and-manage-access.html",
        "PipelineRole",
        frozenset(
            {
                "iam:PassRole",
                "sagemaker:AddTags",
                "sagemaker:CreateModelPackage",
                "s3:GetObject",
                *(
                    f"sagemaker:{verb}{kind}Job"
                    for kind in ("Processing", "HyperParameterTuning")
                    for verb in ("Create", "Describe", "Stop")
                ),
            }
        ),
    ),
    Need(
        "PutObject under a condition",
        frozenset({"s3:PutObject", "s3:GetObject"}),
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html",
    ),
    Need(
        "CopyObject, UploadPartCopy",
        frozenset({"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"}),
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuAndPermissions.html",
    ),
    Need(
        "PutObject, CopyObject with a key of your own",
        frozenset({"kms:Decrypt", "kms:GenerateDataKey"}),
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html",
        "SageMakerRole",
        frozenset({"kms:Decrypt", "kms:GenerateDataKey"}),
    ),
    Need(
        "StartQueryExecution",
        frozenset(
            {
                "athena:StartQueryExecution",
                "athena:GetQueryExecution",
                "athena:GetQueryResults",
                "athena:GetWorkGroup",
                "glue:GetDatabase",
                "glue:GetTable",
                # Of registered partitions, which hourly windows have.
                "glue:BatchGetPartition",
                "glue:GetPartition",
                "glue:GetPartitions",
                "s3:GetBucketLocation",
                "s3:GetObject",
                "s3:ListBucket",
                "s3:ListMultipartUploadParts",
                "s3:AbortMultipartUpload",
                "s3:PutObject",
            }
        ),
        "https://docs.aws.amazon.com/athena/latest/ug/managed-policies.html",
    ),
    Need(
        "StartQueryExecution under Lake Formation",
        frozenset({"lakeformation:GetDataAccess"}),
        "https://docs.aws.amazon.com/lake-formation/latest/dg/access-control-underlying-data.html",
    ),
    Need(
        "CreateTable, UpdateTable of Glue",
        frozenset({"glue:CreateTable", "glue:UpdateTable", "glue:GetTable", "glue:GetDatabase"}),
        f"{REFERENCE}/list_awsglue.html",
    ),
    Need(
        "Batch*Partition of Glue, for hourly windows",
        frozenset(
            {
                "glue:GetPartitions",
                "glue:BatchCreatePartition",
                "glue:BatchUpdatePartition",
                "glue:BatchDeletePartition",
            }
        ),
        f"{REFERENCE}/list_awsglue.html",
    ),
    Need(
        "ReceiveMessage, DeleteMessageBatch",
        frozenset({"sqs:ReceiveMessage", "sqs:DeleteMessage"}),
        f"{REFERENCE}/list_amazonsqs.html",
    ),
    Need(
        "Publish",
        frozenset({"sns:Publish"}),
        f"{REFERENCE}/list_amazonsns.html",
    ),
    Need(
        "PutMetricData",
        frozenset({"cloudwatch:PutMetricData"}),
        f"{REFERENCE}/list_amazoncloudwatch.html",
    ),
    Need(
        "RunTask, by Dagster's daemon",
        frozenset({"ecs:RunTask", "ecs:TagResource", "iam:PassRole"}),
        "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html",
        "TaskStartRole",
        IMAGE | {"logs:CreateLogStream", "logs:PutLogEvents", "secretsmanager:GetSecretValue"},
        DAEMON,
    ),
)


def table() -> str:
    """The table as Markdown."""
    head = "| call | caller's actions | role that the service assumes | its actions |\n|---|---|---|---|"
    rows = [
        f"| [{need.call}]({need.source}) | {_listed(need.caller)} | {_code(need.role)} | {_listed(need.actions)} |"
        for need in NEEDS
    ]
    return "\n".join([head, *rows])


def _listed(actions: frozenset[str]) -> str:
    return ", ".join(_code(action) for action in sorted(actions))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    print(table())  # noqa: T201 - for the page
