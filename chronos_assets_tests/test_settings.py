"""Environment -> Settings: defaults, every variable effective, errors that name the variable and how to fix it."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from chronos_assets.settings import AwsSettings, Settings, SettingsError


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()


@pytest.mark.parametrize(
    ("field", "variable", "text", "value"),
    [
        ("store", "CHRONOS_STORE", "/data/shop", "/data/shop"),
        ("partitions", "CHRONOS_PARTITIONS", "weekly", "weekly"),
        ("partition_start", "CHRONOS_PARTITION_START", "2014-01-01", "2014-01-01"),
        ("base_model", "CHRONOS_BASE_MODEL", "amazon/chronos-bolt-tiny", "amazon/chronos-bolt-tiny"),
        ("memory_limit", "CHRONOS_MEMORY_LIMIT", "500MB", "500MB"),
        ("max_unpacked", "CHRONOS_MAX_UNPACKED", "20GB", 20_000_000_000),
        ("import_job_bytes", "CHRONOS_IMPORT_JOB_BYTES", "500MB", 500_000_000),
        ("settle_seconds", "CHRONOS_SETTLE_SECONDS", "0.5", 0.5),
        ("sensor_interval_seconds", "CHRONOS_SENSOR_SECONDS", "60", 60),
        ("ui_url", "CHRONOS_UI_URL", "https://dagster.example/", "https://dagster.example"),
        ("owners", "CHRONOS_OWNERS", "team:a, me@example.org", ("team:a", "me@example.org")),
        ("key_prefix", "CHRONOS_KEY_PREFIX", "shop/eu", ("shop", "eu")),
        ("benchmark_data", "CHRONOS_BENCHMARK_DATA", "/data/benchmark", "/data/benchmark"),
        ("benchmark_models", "CHRONOS_BENCHMARK_MODELS", "bundled, a/b,,bundled", ("bundled", "a/b")),
        ("dagster_home", "DAGSTER_HOME", "/var/dagster", "/var/dagster"),
        ("dashboard_decisions", "CHRONOS_DASHBOARD_DECISIONS", "yes", True),
        ("dashboard_login", "CHRONOS_DASHBOARD_LOGIN", '{"client_id": "a"}', '{"client_id": "a"}'),
    ],
)
def test_each_variable_sets_its_field(field: str, variable: str, text: str, value: object) -> None:
    assert getattr(Settings.from_env({variable: text}), field) == value
    assert getattr(Settings(), field) != value


AWS = {"CHRONOS_DEPLOYMENT": "aws", "CHRONOS_STORE": "s3://bucket/prefix"}
ROLE = "arn:aws:iam::123456789012:role/chronos"


@pytest.mark.parametrize(
    ("field", "variable", "text", "value"),
    [
        ("region", "AWS_REGION", "eu-west-1", "eu-west-1"),
        ("region", "AWS_DEFAULT_REGION", "eu-west-1", "eu-west-1"),
        ("role", "CHRONOS_SAGEMAKER_ROLE", ROLE, ROLE),
        ("pipeline_role", "CHRONOS_PIPELINE_ROLE", ROLE, ROLE),
        (
            "image",
            "CHRONOS_SAGEMAKER_IMAGE",
            "1.dkr.ecr.eu-west-1.amazonaws.com/c:1",
            "1.dkr.ecr.eu-west-1.amazonaws.com/c:1",
        ),
        (
            "cpu_image",
            "CHRONOS_SAGEMAKER_CPU_IMAGE",
            "1.dkr.ecr.eu-west-1.amazonaws.com/c:1-cpu",
            "1.dkr.ecr.eu-west-1.amazonaws.com/c:1-cpu",
        ),
        ("data_instance", "CHRONOS_DATA_INSTANCE", "ml.m5.large", "ml.m5.large"),
        ("forecast_instance", "CHRONOS_FORECAST_INSTANCE", "ml.g6.xlarge", "ml.g6.xlarge"),
        ("training_instance", "CHRONOS_TRAINING_INSTANCE", "ml.g6.xlarge", "ml.g6.xlarge"),
        ("forecast_instances", "CHRONOS_FORECAST_INSTANCES", "4", 4),
        ("volume_gb", "CHRONOS_VOLUME_GB", "50", 50),
        ("import_instance", "CHRONOS_IMPORT_INSTANCE", "ml.m5.4xlarge", "ml.m5.4xlarge"),
        ("import_volume_gb", "CHRONOS_IMPORT_VOLUME_GB", "500", 500),
        ("spot", "CHRONOS_SPOT", "yes", True),
        ("job_seconds", "CHRONOS_JOB_SECONDS", "3600", 3600),
        ("job_attempts", "CHRONOS_JOB_ATTEMPTS", "5", 5),
        ("endpoint", "CHRONOS_ENDPOINT", "serverless", "serverless"),
        ("endpoint_instance", "CHRONOS_ENDPOINT_INSTANCE", "ml.m5.large", "ml.m5.large"),
        ("endpoint_instances", "CHRONOS_ENDPOINT_INSTANCES", "2", 2),
        ("endpoint_memory_mb", "CHRONOS_ENDPOINT_MEMORY_MB", "2048", 2048),
        ("endpoint_alarms", "CHRONOS_ENDPOINT_ALARMS", "a, b", ("a", "b")),
        ("subnets", "CHRONOS_SUBNETS", "subnet-1,subnet-2", ("subnet-1", "subnet-2")),
        ("security_groups", "CHRONOS_SECURITY_GROUPS", "sg-1", ("sg-1",)),
        ("kms_key", "CHRONOS_KMS_KEY", "alias/chronos", "alias/chronos"),
        ("tags", "CHRONOS_TAGS", "team=a,stage=test", (("team", "a"), ("stage", "test"))),
        (
            "train_queue",
            "CHRONOS_TRAIN_QUEUE",
            "https://sqs.eu-west-1.amazonaws.com/1/q",
            "https://sqs.eu-west-1.amazonaws.com/1/q",
        ),
        (
            "model_queue",
            "CHRONOS_MODEL_QUEUE",
            "https://sqs.eu-west-1.amazonaws.com/1/m",
            "https://sqs.eu-west-1.amazonaws.com/1/m",
        ),
        ("topic", "CHRONOS_TOPIC", "arn:aws:sns:eu-west-1:123456789012:t", "arn:aws:sns:eu-west-1:123456789012:t"),
        ("glue_database", "CHRONOS_GLUE_DATABASE", "shop", "shop"),
        ("athena_workgroup", "CHRONOS_ATHENA_WORKGROUP", "shop", "shop"),
        ("quicksight_principal", "CHRONOS_QUICKSIGHT_PRINCIPAL", "arn:x", "arn:x"),
        ("metrics_namespace", "CHRONOS_METRICS_NAMESPACE", "Shop", "Shop"),
        ("cache", "CHRONOS_CACHE", "/var/cache/chronos", "/var/cache/chronos"),
    ],
)
def test_each_variable_of_aws_sets_its_field(field: str, variable: str, text: str, value: object) -> None:
    assert getattr(Settings.from_env({**AWS, variable: text}).aws, field) == value
    assert getattr(Settings().aws, field) != value


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"CHRONOS_DEPLOYMENT": "aws"}, "CHRONOS_STORE='./store' with CHRONOS_DEPLOYMENT=aws: set it to s3://"),
        ({"CHRONOS_STORE": "s3://bucket"}, "set it to a folder, or CHRONOS_DEPLOYMENT to aws"),
        ({**AWS, "CHRONOS_SAGEMAKER_ROLE": "chronos"}, "CHRONOS_SAGEMAKER_ROLE='chronos': set it to the ARN of a role"),
        ({**AWS, "CHRONOS_DATA_INSTANCE": "c5.large"}, "such as ml.c5.2xlarge"),
        ({**AWS, "CHRONOS_FORECAST_INSTANCES": "0"}, "a whole number from 1 to 100"),
        ({**AWS, "CHRONOS_SPOT": "maybe"}, "yes or no"),
        ({**AWS, "CHRONOS_TAGS": "aws:x=1"}, "must not start with aws:"),
        ({**AWS, "CHRONOS_TAGS": "team"}, "name=value"),
        ({**AWS, "CHRONOS_ENDPOINT": "batch"}, "realtime, serverless, async"),
        ({**AWS, "CHRONOS_TRAIN_QUEUE": "queue"}, "the URL of an SQS queue"),
        ({**AWS, "CHRONOS_GLUE_DATABASE": "My-Shop"}, "lower case letters"),
    ],
)
def test_what_aws_could_not_use_is_reported_with_the_fix(values: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)):
        Settings.from_env(values)


def test_a_model_in_a_folder_of_this_machine_is_refused_where_jobs_can_not_reach_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match="CHRONOS_BASE_MODEL"):
        Settings.from_env({**AWS, "CHRONOS_BASE_MODEL": str(tmp_path)})


def test_a_model_in_a_relative_folder_is_found_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine/tuned", "bundled", "amazon/chronos-2"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("mine/tuned", "./mine/tuned", "~/mine/tuned", str(tmp_path / "mine/tuned")):
        assert Settings.from_env({"CHRONOS_BASE_MODEL": text}).base_model == str(tmp_path / "mine/tuned")
    for text in ("bundled", "amazon/chronos-2", "mine/other", "s3://bucket/mine/tuned"):
        assert Settings.from_env({"CHRONOS_BASE_MODEL": text}).base_model == text


def test_every_field_has_a_variable() -> None:
    for kind, test in (
        (Settings, test_each_variable_sets_its_field),
        (AwsSettings, test_each_variable_of_aws_sets_its_field),
    ):
        tried = {case[0] for mark in test.pytestmark for case in mark.args[1]}  # type: ignore[attr-defined]
        assert {field.name for field in fields(kind)} - {"aws", "deployment"} == tried


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CHRONOS_PARTITIONS", "yearly"),
        ("CHRONOS_PARTITION_START", "01/01/2014"),
        ("CHRONOS_MEMORY_LIMIT", "lots"),
        ("CHRONOS_SETTLE_SECONDS", "-1"),
        ("CHRONOS_SENSOR_SECONDS", "soon"),
        ("CHRONOS_OWNERS", "forecasting"),
        ("CHRONOS_KEY_PREFIX", "a b"),
    ],
)
def test_an_impossible_value_is_an_error_that_names_variable_and_value(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=variable) as error:
        Settings.from_env({variable: text})
    assert text in str(error.value)


def test_the_partition_start_depends_on_the_windows_length() -> None:
    assert Settings.from_env({"CHRONOS_PARTITIONS": "hourly"}).partition_start == "2020-01-01"
    assert Settings.from_env({"CHRONOS_PARTITIONS": "monthly"}).partition_start == "1970-01-01"
