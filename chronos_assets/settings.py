"""Environment variables -> one typed, frozen `Settings`. No other module takes a setting from the environment.

What else reads it: a workload, which finds its folders through `CHRONOS_ML_ROOT` as a container would; whatever starts
another process, which hands it on; and the cache of downloaded models, which lies where `XDG_CACHE_HOME` says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AliasChoices, Field, PlainValidator, TypeAdapter, ValidationError

from chronos_assets.errors import ChronosAssetsError

Cadence = Literal["hourly", "daily", "weekly", "monthly"]
Deployment = Literal["local", "aws"]
EndpointKind = Literal["realtime", "serverless", "async"]

# Few enough partitions for the UI to stay quick (about 10,000 days, 60,000 hours), early enough for most archives.
DEFAULT_PARTITION_START: Mapping[str, str] = {
    "hourly": "2020-01-01",
    "daily": "2000-01-01",
    "weekly": "2000-01-01",
    "monthly": "1970-01-01",
}


class SettingsError(ChronosAssetsError, ValueError):
    """An environment variable has a value that can't be used; the message names it and how to fix it."""


SENSOR_SECONDS_ON_AWS = 15
# An import takes some four times its files on disk, and what a run of the template has is to do for other things, too.
IMPORT_JOB_BYTES_ON_AWS = "2GB"


def variable(*names: str) -> Any:
    """The environment variables that set a field: the first of them that is set."""
    return Field(validation_alias=AliasChoices(*names) if len(names) > 1 else names[0])


# --- what a value may be: each raises ValueError with how to fix it ---------------------------------------------------


def _matching(pattern: str, meaning: str) -> PlainValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"set it to {meaning}")
        return value

    return PlainValidator(check)


_ROLE = _matching(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", "the ARN of a role, arn:aws:iam::<account>:role/<name>")
_INSTANCE = _matching(r"ml\.[a-z0-9-]+\.[a-z0-9-]+", "a SageMaker instance type such as ml.c5.2xlarge")
_QUEUE = _matching(r"https?://\S+/\S+", "the URL of an SQS queue, https://sqs.<region>.amazonaws.com/<account>/<name>")
_TOPIC = _matching(
    r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:\S+", "the ARN of an SNS topic, arn:aws:sns:<region>:<account>:<name>"
)
_DATABASE = _matching(r"[a-z][a-z0-9_]{0,127}", "a name of lower case letters, digits and underscores")
_MEMORY = _matching(r"\d+(\.\d+)?\s*(MB|GB|MiB|GiB)", "an amount of memory such as 500MB or 2GB")


def _whole_number(low: int, high: int) -> PlainValidator:
    def check(value: str) -> int:
        if not re.fullmatch(r"\d{1,9}", value) or not low <= int(value) <= high:
            raise ValueError(f"set it to a whole number from {low} to {high}")
        return int(value)

    return PlainValidator(check)


def _one_of(choices: Any) -> PlainValidator:
    def check(value: str) -> str:
        if value not in get_args(choices):
            raise ValueError(f"set it to one of {', '.join(get_args(choices))}")
        return value

    return PlainValidator(check)


def _switch(value: str) -> bool:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if value.lower() not in words:
        raise ValueError("set it to yes or no")
    return words[value.lower()]


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


_SWITCH, _NAMES = PlainValidator(_switch), PlainValidator(_names)


def _tags(value: str) -> tuple[tuple[str, str], ...]:
    tags = {}
    for part in _names(value):
        key, separator, text = part.partition("=")
        if not separator or not re.fullmatch(r"(?!aws:)[\w .:/=+@-]{1,128}", key) or len(text) > 256:
            raise ValueError(f"write {part!r} as name=value; names must not start with aws:")
        tags[key] = text
    return tuple(tags.items())


def model_reference(text: str) -> str:
    """A model's reference as every process understands it: a folder's path, which may be relative, made absolute."""
    folder = Path(text).expanduser()
    # As `models.checkpoints.resolve_model` tells a folder from an id of the Hub.
    is_folder = text != "bundled" and not text.startswith("amazon/") and (folder / "config.json").is_file()
    return str(folder.absolute()) if is_folder else text


def _models(value: str) -> tuple[str, ...]:
    return tuple(map(model_reference, _names(value)))


def _iso_date(value: str) -> str:
    try:
        return datetime.strptime(value, "%Y-%m-%d").date().isoformat()
    except ValueError as error:
        raise ValueError("set it to a day as YYYY-MM-DD") from error


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 86_400:
        raise ValueError("set it to a number of seconds from 0 to 86400")
    return seconds


def _interval(value: str) -> int:
    return max(1, int(_seconds(value)))


def _amount(value: str) -> int:
    """Bytes of an amount such as "500MB"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)i?B", value, re.IGNORECASE)
    if match is None:
        raise ValueError("set it to an amount such as 500MB or 20GB")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


def _without_slash(value: str) -> str:
    return value.rstrip("/")


def _owners(value: str) -> tuple[str, ...]:
    owners = tuple(part.strip() for part in value.split(",") if part.strip())
    for owner in owners:
        if not re.fullmatch(r"team:[\w.-]+|[^@\s]+@[^@\s]+", owner):
            raise ValueError(f"{owner!r} is neither team:<name> nor a mail address")
    return owners


def _key_prefix(value: str) -> tuple[str, ...]:
    parts = tuple(part for part in value.split("/") if part)
    for part in parts:
        if not re.fullmatch(r"[A-Za-z0-9_]+", part):
            raise ValueError(f"{part!r} may hold letters, digits and underscores only")
    return parts


@dataclass(frozen=True)
class AwsSettings:
    """What only a deployment on AWS sets. Credentials are left to boto3: variables, profiles, the task's role.

    Attributes:
        region: `AWS_REGION`, else `AWS_DEFAULT_REGION`, region of everything; empty: that of boto3's profile.
        role: `CHRONOS_SAGEMAKER_ROLE`, ARN of the role that jobs and endpoints run with.
        pipeline_role: `CHRONOS_PIPELINE_ROLE`, ARN of the role that SageMaker pipelines start jobs with.
        image: `CHRONOS_SAGEMAKER_IMAGE`, URI of the container image of the workloads.
        cpu_image: `CHRONOS_SAGEMAKER_CPU_IMAGE`, URI of one without CUDA, for instances without a GPU; empty: the same.
        data_instance: `CHRONOS_DATA_INSTANCE`, instance type of processing jobs (synthetic series, forecasts).
        forecast_instance: `CHRONOS_FORECAST_INSTANCE`, instance type of forecasts; empty: that of processing jobs.
        import_instance: `CHRONOS_IMPORT_INSTANCE`, instance type of imports; empty: that of processing jobs.
        import_volume_gb: `CHRONOS_IMPORT_VOLUME_GB`, disk of an import's instance; None: what its files need.
        training_instance: `CHRONOS_TRAINING_INSTANCE`, instance type of training jobs and of the gate's evaluation.
        forecast_instances: `CHRONOS_FORECAST_INSTANCES`, over how many instances a forecast is dealt out.
        volume_gb: `CHRONOS_VOLUME_GB`, disk of a job's instance.
        spot: `CHRONOS_SPOT`, train on managed spot instances, with checkpoints.
        job_seconds: `CHRONOS_JOB_SECONDS`, longest run of a job.
        job_attempts: `CHRONOS_JOB_ATTEMPTS`, attempts at a job that capacity or a spot interruption ended.
        endpoint: `CHRONOS_ENDPOINT`, kind of the endpoint: realtime, serverless or async.
        endpoint_instance: `CHRONOS_ENDPOINT_INSTANCE`, its instance type (not for serverless).
        endpoint_instances: `CHRONOS_ENDPOINT_INSTANCES`, how many of them.
        endpoint_memory_mb: `CHRONOS_ENDPOINT_MEMORY_MB`, memory of a serverless endpoint.
        endpoint_alarms: `CHRONOS_ENDPOINT_ALARMS`, comma separated names of CloudWatch alarms that roll an update back.
        subnets: `CHRONOS_SUBNETS`, comma separated ids: where jobs and endpoints run; empty: outside of a VPC.
        security_groups: `CHRONOS_SECURITY_GROUPS`, comma separated ids, of jobs and endpoints in the subnets.
        kms_key: `CHRONOS_KMS_KEY`, key that encrypts volumes, outputs and every object of the store.
        tags: `CHRONOS_TAGS`, comma separated `name=value`, on everything that is made.
        train_queue: `CHRONOS_TRAIN_QUEUE`, URL of the SQS queue that the bucket reports new train files to; empty: listing.
        model_queue: `CHRONOS_MODEL_QUEUE`, URL of the SQS queue that decisions about versions are reported to; empty: looking.
        topic: `CHRONOS_TOPIC`, ARN of the SNS topic of notices; empty: none are sent.
        glue_database: `CHRONOS_GLUE_DATABASE`, database of the SQL tables.
        athena_workgroup: `CHRONOS_ATHENA_WORKGROUP`, workgroup that queries run in.
        quicksight_principal: `CHRONOS_QUICKSIGHT_PRINCIPAL`, ARN of the user or group that gets a QuickSight data set.
        metrics_namespace: `CHRONOS_METRICS_NAMESPACE`, of the CloudWatch metrics.
        cache: `CHRONOS_CACHE`, folder for copies of the store's objects; empty: `~/.cache/chronos-assets`.
    """

    region: Annotated[str, variable("AWS_REGION", "AWS_DEFAULT_REGION")] = ""  # boto3 itself knows the second name only
    role: Annotated[str, variable("CHRONOS_SAGEMAKER_ROLE"), _ROLE] = ""
    pipeline_role: Annotated[str, variable("CHRONOS_PIPELINE_ROLE"), _ROLE] = ""
    image: Annotated[str, variable("CHRONOS_SAGEMAKER_IMAGE")] = ""
    cpu_image: Annotated[str, variable("CHRONOS_SAGEMAKER_CPU_IMAGE")] = ""
    data_instance: Annotated[str, variable("CHRONOS_DATA_INSTANCE"), _INSTANCE] = "ml.c5.2xlarge"
    forecast_instance: Annotated[str, variable("CHRONOS_FORECAST_INSTANCE"), _INSTANCE] = ""
    import_instance: Annotated[str, variable("CHRONOS_IMPORT_INSTANCE"), _INSTANCE] = ""
    import_volume_gb: Annotated[int | None, variable("CHRONOS_IMPORT_VOLUME_GB"), _whole_number(1, 16_384)] = None
    training_instance: Annotated[str, variable("CHRONOS_TRAINING_INSTANCE"), _INSTANCE] = "ml.g5.xlarge"
    forecast_instances: Annotated[int, variable("CHRONOS_FORECAST_INSTANCES"), _whole_number(1, 100)] = 1
    volume_gb: Annotated[int, variable("CHRONOS_VOLUME_GB"), _whole_number(1, 16_384)] = 30
    spot: Annotated[bool, variable("CHRONOS_SPOT"), _SWITCH] = False
    job_seconds: Annotated[int, variable("CHRONOS_JOB_SECONDS"), _whole_number(60, 432_000)] = 86_400
    job_attempts: Annotated[int, variable("CHRONOS_JOB_ATTEMPTS"), _whole_number(1, 20)] = 3
    endpoint: Annotated[EndpointKind, variable("CHRONOS_ENDPOINT"), _one_of(EndpointKind)] = "realtime"
    endpoint_instance: Annotated[str, variable("CHRONOS_ENDPOINT_INSTANCE"), _INSTANCE] = "ml.c5.xlarge"
    endpoint_instances: Annotated[int, variable("CHRONOS_ENDPOINT_INSTANCES"), _whole_number(1, 100)] = 1
    endpoint_memory_mb: Annotated[int, variable("CHRONOS_ENDPOINT_MEMORY_MB"), _whole_number(1024, 6144)] = 4096
    endpoint_alarms: Annotated[tuple[str, ...], variable("CHRONOS_ENDPOINT_ALARMS"), _NAMES] = ()
    subnets: Annotated[tuple[str, ...], variable("CHRONOS_SUBNETS"), _NAMES] = ()
    security_groups: Annotated[tuple[str, ...], variable("CHRONOS_SECURITY_GROUPS"), _NAMES] = ()
    kms_key: Annotated[str, variable("CHRONOS_KMS_KEY")] = ""
    tags: Annotated[tuple[tuple[str, str], ...], variable("CHRONOS_TAGS"), PlainValidator(_tags)] = ()
    train_queue: Annotated[str, variable("CHRONOS_TRAIN_QUEUE"), _QUEUE] = ""
    model_queue: Annotated[str, variable("CHRONOS_MODEL_QUEUE"), _QUEUE] = ""
    topic: Annotated[str, variable("CHRONOS_TOPIC"), _TOPIC] = ""
    glue_database: Annotated[str, variable("CHRONOS_GLUE_DATABASE"), _DATABASE] = "chronos_assets"
    athena_workgroup: Annotated[str, variable("CHRONOS_ATHENA_WORKGROUP")] = "chronos-assets"
    quicksight_principal: Annotated[str, variable("CHRONOS_QUICKSIGHT_PRINCIPAL")] = ""
    metrics_namespace: Annotated[str, variable("CHRONOS_METRICS_NAMESPACE")] = "ChronosAssets"
    cache: Annotated[str, variable("CHRONOS_CACHE")] = ""


@dataclass(frozen=True)
class Settings:
    """Everything that a deployment may set, with the variable that sets it.

    Attributes:
        deployment: `CHRONOS_DEPLOYMENT`, `local` (this machine) or `aws` (S3, SageMaker, Athena, SNS, CloudWatch).
        store: `CHRONOS_STORE`, folder (or `s3://bucket/prefix`) that holds `params.json`, `train/` and all results.
        partitions: `CHRONOS_PARTITIONS`, length of the forecast partitions' time windows.
        partition_start: `CHRONOS_PARTITION_START`, first day of the first window (ISO date).
        base_model: `CHRONOS_BASE_MODEL`, `bundled`, a Hub id, a folder or an `s3://` prefix.
        memory_limit: `CHRONOS_MEMORY_LIMIT`, what DuckDB may use during an import or a table refresh.
        max_unpacked: `CHRONOS_MAX_UNPACKED`, bytes that a compressed train file may unpack to; empty: 100 times its size, 1GB
            at least.
        import_job_bytes: `CHRONOS_IMPORT_JOB_BYTES`, bytes that an import reads above which it is a job of its own; None: it
            never is. On AWS 2GB unless it is set.
        settle_seconds: `CHRONOS_SETTLE_SECONDS`, how long `train/` must be unchanged before an import is requested.
        sensor_interval_seconds: `CHRONOS_SENSOR_SECONDS`, least time between two ticks of a sensor; on AWS, where each
            lists a bucket, 15 unless it is set.
        ui_url: `CHRONOS_UI_URL`, address of the Dagster UI, for the links in notices.
        owners: `CHRONOS_OWNERS`, comma separated owners shown on every asset (`team:name` or a mail address).
        key_prefix: `CHRONOS_KEY_PREFIX`, slash separated prefix of every asset key, for several groups side by side.
        benchmark_data: `CHRONOS_BENCHMARK_DATA`, folder with the sets of the Chronos benchmark; empty: the Hub's.
        benchmark_models: `CHRONOS_BENCHMARK_MODELS`, comma separated models to measure; empty: the base model.
        dashboard_decisions: `CHRONOS_DASHBOARD_DECISIONS`, whether the dashboard may decide on versions and save scenarios.
        dashboard_login: `CHRONOS_DASHBOARD_LOGIN`, JSON object with Streamlit's settings of a login by OpenID Connect.
        dagster_home: `DAGSTER_HOME`, folder of Dagster's own storage; empty: `.dagster` in a local store.
        aws: what only a deployment on AWS sets.
    """

    deployment: Annotated[Deployment, variable("CHRONOS_DEPLOYMENT"), _one_of(Deployment)] = "local"
    store: Annotated[str, variable("CHRONOS_STORE")] = "./store"
    partitions: Annotated[Cadence, variable("CHRONOS_PARTITIONS"), _one_of(Cadence)] = "daily"
    partition_start: Annotated[str, variable("CHRONOS_PARTITION_START"), PlainValidator(_iso_date)] = "2000-01-01"
    base_model: Annotated[str, variable("CHRONOS_BASE_MODEL"), PlainValidator(model_reference)] = "bundled"
    memory_limit: Annotated[str, variable("CHRONOS_MEMORY_LIMIT"), _MEMORY] = "2GB"
    max_unpacked: Annotated[int | None, variable("CHRONOS_MAX_UNPACKED"), PlainValidator(_amount)] = None
    import_job_bytes: Annotated[int | None, variable("CHRONOS_IMPORT_JOB_BYTES"), PlainValidator(_amount)] = None
    settle_seconds: Annotated[float, variable("CHRONOS_SETTLE_SECONDS"), PlainValidator(_seconds)] = 10.0
    sensor_interval_seconds: Annotated[int, variable("CHRONOS_SENSOR_SECONDS"), PlainValidator(_interval)] = 2
    ui_url: Annotated[str, variable("CHRONOS_UI_URL"), PlainValidator(_without_slash)] = "http://127.0.0.1:3000"
    owners: Annotated[tuple[str, ...], variable("CHRONOS_OWNERS"), PlainValidator(_owners)] = ("team:forecasting",)
    key_prefix: Annotated[tuple[str, ...], variable("CHRONOS_KEY_PREFIX"), PlainValidator(_key_prefix)] = ()
    benchmark_data: Annotated[str, variable("CHRONOS_BENCHMARK_DATA")] = ""
    benchmark_models: Annotated[tuple[str, ...], variable("CHRONOS_BENCHMARK_MODELS"), PlainValidator(_models)] = ()
    dashboard_decisions: Annotated[bool, variable("CHRONOS_DASHBOARD_DECISIONS"), _SWITCH] = False
    dashboard_login: Annotated[str, variable("CHRONOS_DASHBOARD_LOGIN")] = field(default="", repr=False)
    dagster_home: Annotated[str, variable("DAGSTER_HOME")] = ""
    aws: AwsSettings = field(default_factory=AwsSettings)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `env` (the process environment if not given).

        Raises:
            SettingsError: a value is not one that the variable may have.
        """
        values = os.environ if env is None else env
        given: dict[str, Any] = {name: value.strip() for name, value in values.items() if value.strip()}
        for name, standard in _defaults(given).items():
            given.setdefault(name, standard)
        try:
            settings: Settings = _reader(cls).validate_python({**given, "aws": given})
        except ValidationError as error:
            first = error.errors()[0]
            raise SettingsError(f"{first['loc'][-1]}={first['input']!r}: {first['ctx']['error']}") from error
        settings._check_deployment(given.get("CHRONOS_BASE_MODEL"))
        return settings

    def _check_deployment(self, base_model: str | None) -> None:
        """See that the store, and the base model as it was given, are where the deployment's jobs can reach them."""
        if self.deployment == "aws" and not self.store.startswith("s3://"):
            raise SettingsError(
                f"CHRONOS_STORE={self.store!r} with CHRONOS_DEPLOYMENT=aws: set it to s3://bucket/prefix, which jobs can reach"
            )
        if self.deployment == "local" and self.store.startswith("s3://"):
            raise SettingsError(
                f"CHRONOS_STORE={self.store!r} with CHRONOS_DEPLOYMENT=local: set it to a folder, or CHRONOS_DEPLOYMENT to aws"
            )
        if self.deployment == "aws" and Path(self.base_model).is_absolute():
            raise SettingsError(
                f"CHRONOS_BASE_MODEL={base_model!r} with CHRONOS_DEPLOYMENT=aws: jobs can't reach a folder of this machine, "
                "copy it to the bucket and give its s3:// prefix, or set it to bundled or a Hub id"
            )

    def partition_start_time(self) -> datetime:
        """First instant of the first partition window, UTC."""
        return datetime.fromisoformat(self.partition_start).replace(tzinfo=UTC)


_reader: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def _defaults(given: Mapping[str, str]) -> dict[str, str]:
    """Defaults that depend on other variables."""
    start = DEFAULT_PARTITION_START.get(given.get("CHRONOS_PARTITIONS", "daily"))
    on_aws = given.get("CHRONOS_DEPLOYMENT") == "aws"
    return {
        **({"CHRONOS_PARTITION_START": start} if start else {}),
        **(
            {
                "CHRONOS_SENSOR_SECONDS": str(SENSOR_SECONDS_ON_AWS),
                "CHRONOS_IMPORT_JOB_BYTES": IMPORT_JOB_BYTES_ON_AWS,
            }
            if on_aws
            else {}
        ),
    }
