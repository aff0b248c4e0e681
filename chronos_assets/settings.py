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
from pathlib import Path
from typing import Literal, cast, get_args

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


@dataclass(frozen=True)
class AwsSettings:
    """What only a deployment on AWS sets. Credentials are boto3's own business: variables, profiles, the task's role.

    Attributes:
        region: `AWS_REGION`, else `AWS_DEFAULT_REGION`, region of everything; empty: that of boto3's profile.
        role: `CHRONOS_SAGEMAKER_ROLE`, ARN of the role that jobs and endpoints run with.
        pipeline_role: `CHRONOS_PIPELINE_ROLE`, ARN of the role that SageMaker pipelines start jobs with.
        image: `CHRONOS_SAGEMAKER_IMAGE`, URI of the container image of the workloads.
        cpu_image: `CHRONOS_SAGEMAKER_CPU_IMAGE`, URI of one without CUDA, for instances without a GPU; empty: the same.
        data_instance: `CHRONOS_DATA_INSTANCE`, instance type of processing jobs (synthetic series, forecasts).
        forecast_instance: `CHRONOS_FORECAST_INSTANCE`, instance type of forecasts; empty: that of processing jobs.
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
        kms_key: `CHRONOS_KMS_KEY`, key that encrypts volumes and outputs.
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

    region: str = ""
    role: str = ""
    pipeline_role: str = ""
    image: str = ""
    cpu_image: str = ""
    data_instance: str = "ml.c5.2xlarge"
    forecast_instance: str = ""
    training_instance: str = "ml.g5.xlarge"
    forecast_instances: int = 1
    volume_gb: int = 30
    spot: bool = False
    job_seconds: int = 86_400
    job_attempts: int = 3
    endpoint: EndpointKind = "realtime"
    endpoint_instance: str = "ml.c5.xlarge"
    endpoint_instances: int = 1
    endpoint_memory_mb: int = 4096
    endpoint_alarms: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    kms_key: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    train_queue: str = ""
    model_queue: str = ""
    topic: str = ""
    glue_database: str = "chronos_assets"
    athena_workgroup: str = "chronos-assets"
    quicksight_principal: str = ""
    metrics_namespace: str = "ChronosAssets"
    cache: str = ""


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

    deployment: Deployment = "local"
    store: str = "./store"
    partitions: Cadence = "daily"
    partition_start: str = DEFAULT_PARTITION_START["daily"]
    base_model: str = "bundled"
    memory_limit: str = "2GB"
    max_unpacked: int | None = None
    settle_seconds: float = 10.0
    sensor_interval_seconds: int = 2
    ui_url: str = "http://127.0.0.1:3000"
    owners: tuple[str, ...] = ("team:forecasting",)
    key_prefix: tuple[str, ...] = ()
    benchmark_data: str = ""
    benchmark_models: tuple[str, ...] = ()
    dashboard_decisions: bool = False
    dashboard_login: str = field(default="", repr=False)
    dagster_home: str = ""
    aws: AwsSettings = field(default_factory=AwsSettings)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from `env` (the process environment if not given).

        Raises:
            SettingsError: a value is not one that the variable may have.
        """
        values = os.environ if env is None else env

        def text(name: str, default: str) -> str:
            return values.get(name, "").strip() or default

        partitions = _one_of("CHRONOS_PARTITIONS", text("CHRONOS_PARTITIONS", "daily"), get_args(Cadence))
        deployment = _one_of("CHRONOS_DEPLOYMENT", text("CHRONOS_DEPLOYMENT", "local"), get_args(Deployment))
        store = text("CHRONOS_STORE", cls.store)
        if deployment == "aws" and not store.startswith("s3://"):
            raise SettingsError(
                f"CHRONOS_STORE={store!r} with CHRONOS_DEPLOYMENT=aws: set it to s3://bucket/prefix, which jobs can reach"
            )
        if deployment == "local" and store.startswith("s3://"):
            raise SettingsError(
                f"CHRONOS_STORE={store!r} with CHRONOS_DEPLOYMENT=local: set it to a folder, or CHRONOS_DEPLOYMENT to aws"
            )
        return cls(
            deployment=cast(Deployment, deployment),
            store=store,
            partitions=cast(Cadence, partitions),
            partition_start=_iso_date(
                "CHRONOS_PARTITION_START", text("CHRONOS_PARTITION_START", DEFAULT_PARTITION_START[partitions])
            ),
            base_model=_base_model(text("CHRONOS_BASE_MODEL", cls.base_model), deployment),
            memory_limit=_memory("CHRONOS_MEMORY_LIMIT", text("CHRONOS_MEMORY_LIMIT", cls.memory_limit)),
            max_unpacked=_amount("CHRONOS_MAX_UNPACKED", text("CHRONOS_MAX_UNPACKED", "")),
            settle_seconds=_seconds("CHRONOS_SETTLE_SECONDS", text("CHRONOS_SETTLE_SECONDS", str(cls.settle_seconds))),
            sensor_interval_seconds=max(
                1,
                int(_seconds("CHRONOS_SENSOR_SECONDS", text("CHRONOS_SENSOR_SECONDS", _sensor_seconds(deployment)))),
            ),
            ui_url=text("CHRONOS_UI_URL", cls.ui_url).rstrip("/"),
            owners=_owners("CHRONOS_OWNERS", text("CHRONOS_OWNERS", ",".join(cls.owners))),
            key_prefix=_key_prefix("CHRONOS_KEY_PREFIX", text("CHRONOS_KEY_PREFIX", "")),
            benchmark_data=text("CHRONOS_BENCHMARK_DATA", ""),
            benchmark_models=tuple(map(model_reference, _names(text("CHRONOS_BENCHMARK_MODELS", "")))),
            dashboard_decisions=_switch("CHRONOS_DASHBOARD_DECISIONS", text("CHRONOS_DASHBOARD_DECISIONS", "no")),
            dashboard_login=text("CHRONOS_DASHBOARD_LOGIN", ""),
            dagster_home=text("DAGSTER_HOME", ""),
            aws=_aws(text),
        )

    def partition_start_time(self) -> datetime:
        """First instant of the first partition window, UTC."""
        return datetime.fromisoformat(self.partition_start).replace(tzinfo=UTC)


def _aws(text: Callable[[str, str], str]) -> AwsSettings:
    """The settings of a deployment on AWS; the defaults where nothing is set."""
    given = AwsSettings()

    def whole(name: str, default: int, low: int, high: int) -> int:
        return _whole(name, text(name, str(default)), low, high)

    return AwsSettings(
        # As containers in AWS are given it; boto3 itself knows the second name only.
        region=text("AWS_REGION", text("AWS_DEFAULT_REGION", "")),
        role=_matching("CHRONOS_SAGEMAKER_ROLE", text("CHRONOS_SAGEMAKER_ROLE", ""), _ROLE),
        pipeline_role=_matching("CHRONOS_PIPELINE_ROLE", text("CHRONOS_PIPELINE_ROLE", ""), _ROLE),
        image=text("CHRONOS_SAGEMAKER_IMAGE", ""),
        cpu_image=text("CHRONOS_SAGEMAKER_CPU_IMAGE", ""),
        data_instance=_matching("CHRONOS_DATA_INSTANCE", text("CHRONOS_DATA_INSTANCE", given.data_instance), _INSTANCE),
        forecast_instance=_matching("CHRONOS_FORECAST_INSTANCE", text("CHRONOS_FORECAST_INSTANCE", ""), _INSTANCE),
        training_instance=_matching(
            "CHRONOS_TRAINING_INSTANCE", text("CHRONOS_TRAINING_INSTANCE", given.training_instance), _INSTANCE
        ),
        forecast_instances=whole("CHRONOS_FORECAST_INSTANCES", given.forecast_instances, 1, 100),
        volume_gb=whole("CHRONOS_VOLUME_GB", given.volume_gb, 1, 16_384),
        spot=_switch("CHRONOS_SPOT", text("CHRONOS_SPOT", "no")),
        job_seconds=whole("CHRONOS_JOB_SECONDS", given.job_seconds, 60, 432_000),
        job_attempts=whole("CHRONOS_JOB_ATTEMPTS", given.job_attempts, 1, 20),
        endpoint=cast(
            EndpointKind,
            _one_of("CHRONOS_ENDPOINT", text("CHRONOS_ENDPOINT", given.endpoint), get_args(EndpointKind)),
        ),
        endpoint_instance=_matching(
            "CHRONOS_ENDPOINT_INSTANCE", text("CHRONOS_ENDPOINT_INSTANCE", given.endpoint_instance), _INSTANCE
        ),
        endpoint_instances=whole("CHRONOS_ENDPOINT_INSTANCES", given.endpoint_instances, 1, 100),
        endpoint_memory_mb=whole("CHRONOS_ENDPOINT_MEMORY_MB", given.endpoint_memory_mb, 1024, 6144),
        endpoint_alarms=_names(text("CHRONOS_ENDPOINT_ALARMS", "")),
        subnets=_names(text("CHRONOS_SUBNETS", "")),
        security_groups=_names(text("CHRONOS_SECURITY_GROUPS", "")),
        kms_key=text("CHRONOS_KMS_KEY", ""),
        tags=_tags("CHRONOS_TAGS", text("CHRONOS_TAGS", "")),
        train_queue=_matching("CHRONOS_TRAIN_QUEUE", text("CHRONOS_TRAIN_QUEUE", ""), _QUEUE),
        model_queue=_matching("CHRONOS_MODEL_QUEUE", text("CHRONOS_MODEL_QUEUE", ""), _QUEUE),
        topic=_matching("CHRONOS_TOPIC", text("CHRONOS_TOPIC", ""), _TOPIC),
        glue_database=_matching("CHRONOS_GLUE_DATABASE", text("CHRONOS_GLUE_DATABASE", given.glue_database), _DATABASE),
        athena_workgroup=text("CHRONOS_ATHENA_WORKGROUP", given.athena_workgroup),
        quicksight_principal=text("CHRONOS_QUICKSIGHT_PRINCIPAL", ""),
        metrics_namespace=text("CHRONOS_METRICS_NAMESPACE", given.metrics_namespace),
        cache=text("CHRONOS_CACHE", ""),
    )


# Pattern -> what a value that doesn't match should be.
_ROLE = (r"arn:aws[a-z-]*:iam::\d{12}:role/.+", "the ARN of a role, arn:aws:iam::<account>:role/<name>")
_INSTANCE = (r"ml\.[a-z0-9-]+\.[a-z0-9-]+", "a SageMaker instance type such as ml.c5.2xlarge")
_QUEUE = (r"https?://\S+/\S+", "the URL of an SQS queue, https://sqs.<region>.amazonaws.com/<account>/<name>")
_TOPIC = (r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:\S+", "the ARN of an SNS topic, arn:aws:sns:<region>:<account>:<name>")
_DATABASE = (r"[a-z][a-z0-9_]{0,127}", "a name of lower case letters, digits and underscores")


def _matching(name: str, value: str, expected: tuple[str, str]) -> str:
    pattern, meaning = expected
    if value and not re.fullmatch(pattern, value):
        raise SettingsError(f"{name}={value!r}: set it to {meaning}")
    return value


def _whole(name: str, value: str, low: int, high: int) -> int:
    if not re.fullmatch(r"\d{1,9}", value) or not low <= int(value) <= high:
        raise SettingsError(f"{name}={value!r}: set it to a whole number from {low} to {high}")
    return int(value)


def _switch(name: str, value: str) -> bool:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if value.lower() not in words:
        raise SettingsError(f"{name}={value!r}: set it to yes or no")
    return words[value.lower()]


def _tags(name: str, value: str) -> tuple[tuple[str, str], ...]:
    tags = {}
    for part in _names(value):
        key, separator, text = part.partition("=")
        if not separator or not re.fullmatch(r"(?!aws:)[\w .:/=+@-]{1,128}", key) or len(text) > 256:
            raise SettingsError(f"{name}={value!r}: write {part!r} as name=value; names must not start with aws:")
        tags[key] = text
    return tuple(tags.items())


def _base_model(text: str, deployment: str) -> str:
    reference = model_reference(text)
    if deployment == "aws" and Path(reference).is_absolute():
        raise SettingsError(
            f"CHRONOS_BASE_MODEL={text!r} with CHRONOS_DEPLOYMENT=aws: jobs can't reach a folder of this machine, copy it to "
            "the bucket and give its s3:// prefix, or set it to bundled or a Hub id"
        )
    return reference


def model_reference(text: str) -> str:
    """A model's reference as every process understands it: a folder's path, which may be relative, made absolute."""
    folder = Path(text).expanduser()
    # As `models.checkpoints.resolve_model` tells a folder from an id of the Hub.
    is_folder = text != "bundled" and not text.startswith("amazon/") and (folder / "config.json").is_file()
    return str(folder.absolute()) if is_folder else text


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise SettingsError(f"{name}={value!r}: set it to one of {', '.join(allowed)}")
    return value


def _iso_date(name: str, value: str) -> str:
    try:
        return datetime.strptime(value, "%Y-%m-%d").date().isoformat()
    except ValueError as error:
        raise SettingsError(f"{name}={value!r}: set it to a day as YYYY-MM-DD") from error


def _sensor_seconds(deployment: str) -> str:
    """Default of `CHRONOS_SENSOR_SECONDS`."""
    return str(SENSOR_SECONDS_ON_AWS if deployment == "aws" else Settings.sensor_interval_seconds)


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 86_400:
        raise SettingsError(f"{name}={value!r}: set it to a number of seconds from 0 to 86400")
    return seconds


def _amount(name: str, value: str) -> int | None:
    """Bytes of an amount such as "500MB"; None where nothing is set."""
    if not value:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)i?B", value, re.IGNORECASE)
    if match is None:
        raise SettingsError(f"{name}={value!r}: set it to an amount such as 500MB or 20GB")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


def _memory(name: str, value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?\s*(MB|GB|MiB|GiB)", value):
        raise SettingsError(f"{name}={value!r}: set it to an amount of memory such as 500MB or 2GB")
    return value


def _owners(name: str, value: str) -> tuple[str, ...]:
    owners = tuple(part.strip() for part in value.split(",") if part.strip())
    for owner in owners:
        if not re.fullmatch(r"team:[\w.-]+|[^@\s]+@[^@\s]+", owner):
            raise SettingsError(f"{name}={value!r}: {owner!r} is neither team:<name> nor a mail address")
    return owners


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def _key_prefix(name: str, value: str) -> tuple[str, ...]:
    parts = tuple(part for part in value.split("/") if part)
    for part in parts:
        if not re.fullmatch(r"[A-Za-z0-9_]+", part):
            raise SettingsError(f"{name}={value!r}: {part!r} may hold letters, digits and underscores only")
    return parts
