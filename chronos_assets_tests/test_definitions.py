"""The definitions as a whole: what there is, what they cost to load, what they may import."""

import subprocess
import sys

import dagster as dg
import pytest

from chronos_assets.definitions import build_definitions
from chronos_assets.settings import Settings

HEAVY = (
    "torch",
    "chronos",
    "gluonts",
    "sagemaker",
    "matplotlib",
    "boto3",
    "botocore",
    "transformers",
    "pandas",
    "streamlit",
    "altair",
    "lightgbm",
)


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_definitions(Settings()).get_repository_def()


def test_assets_jobs_sensors_and_checks_are_those_of_the_design(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    assert {
        key.to_user_string(): (graph.get(key).group_name, graph.get(key).is_partitioned, graph.get(key).is_external)
        for key in graph.get_all_asset_keys()
    } == {
        "train_files": ("dataset", False, True),
        "related_files": ("dataset", False, True),
        "metadata_files": ("dataset", False, True),
        "related_time_series": ("dataset", False, False),
        "item_metadata": ("dataset", False, False),
        "target_time_series": ("dataset", False, False),
        "forecasts": ("forecasts", True, False),
        "forecast_tables": ("forecasts", False, False),
        "what_if_forecasts": ("forecasts", True, False),
        "forecast_explanations": ("evaluation", True, False),
        "forecast_accuracy": ("evaluation", True, False),
        "zero_shot_benchmark": ("evaluation", False, False),
        "synthetic_dataset": ("training", False, False),
        "tuned_checkpoints": ("training", False, False),
        "model_package": ("registry", False, False),
        "endpoint": ("serving", False, False),
    }
    assert {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    } == {
        "train_files": [],
        "related_files": [],
        "metadata_files": [],
        "related_time_series": ["related_files", "target_time_series"],
        "item_metadata": ["metadata_files", "target_time_series"],
        "target_time_series": ["train_files"],
        "forecasts": ["item_metadata", "model_package", "related_time_series", "target_time_series"],
        "forecast_accuracy": ["forecasts", "target_time_series"],
        "forecast_tables": ["forecast_accuracy", "forecasts"],
        "what_if_forecasts": ["forecasts"],
        "forecast_explanations": ["forecasts"],
        "zero_shot_benchmark": [],
        "synthetic_dataset": [],
        "tuned_checkpoints": ["synthetic_dataset", "target_time_series"],
        "model_package": ["target_time_series", "tuned_checkpoints"],
        "endpoint": ["model_package"],
    }
    assert {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")} == {
        "refresh_forecasts",
        "retrain",
        "score_forecasts",
        "forecast_scenarios",
        "approve_model",
        "reject_model",
        "roll_back_model",
    }
    assert {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs} == {
        "train_files_sensor": "RUNNING",
        "new_data_sensor": "RUNNING",
        "run_outcome_sensor": "RUNNING",
        "dead_run_sensor": "RUNNING",
        "what_if_sensor": "RUNNING",
    }
    # The UI says beside a job which sensors launch it: decisions about a model are nobody's but people's.
    assert {sensor.name: {job.name for job in sensor.jobs} for sensor in repository.sensor_defs if sensor.targets} == {
        "train_files_sensor": {"refresh_forecasts"},
        "new_data_sensor": {"refresh_forecasts", "score_forecasts", "retrain"},
        "what_if_sensor": {"forecast_scenarios"},
    }
    assert {f"{key.asset_key.to_user_string()}.{key.name}" for key in graph.asset_check_keys} == {
        "target_time_series.complete_and_regular",
        "related_time_series.one_row_per_series_and_period",
        "related_time_series.every_series_to_the_horizon",
        "related_time_series.every_attribute_varies",
        "item_metadata.one_row_per_item",
        "item_metadata.every_item_has_metadata",
        "item_metadata.every_attribute_differs",
        "forecasts.quantiles_do_not_cross",
        "forecasts.every_series_is_forecast",
        "forecast_accuracy.not_worse_than_seasonal_naive",
        "forecast_tables.forecast_is_fresh",
        "model_package.not_worse_than_what_is_there",
        "endpoint.answers_like_the_batch_forecast",
    }


def test_every_asset_and_check_tells_what_it_is_and_whose(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description
        assert node.owners
        assert node.kinds
    for key in graph.asset_check_keys:
        assert graph.get(key).description


def test_partitions_of_assets_map_to_those_they_depend_on(repository: dg.RepositoryDefinition) -> None:
    repository.asset_graph.validate_partitions()


def test_several_groups_stand_side_by_side_under_key_prefixes() -> None:
    one, two = (build_definitions(Settings(store=f"/nowhere/{name}", key_prefix=(name,))) for name in ("eu", "us"))
    merged = dg.Definitions.merge(one, two)
    keys = {key.to_user_string() for key in merged.get_repository_def().asset_graph.get_all_asset_keys()}
    assert {"eu/forecasts", "us/forecasts"} <= keys
    assert len(keys) == 32


def test_a_part_that_a_group_does_not_have_can_not_be_replaced() -> None:
    with pytest.raises(TypeError, match="no part called stor:"):
        build_definitions(Settings(), stor=object())


@pytest.mark.parametrize("cadence", ["hourly", "daily", "weekly", "monthly"])
def test_partitions_follow_the_settings_and_have_no_end(cadence: str) -> None:
    settings = Settings.from_env({"CHRONOS_PARTITIONS": cadence, "CHRONOS_PARTITION_START": "2024-01-07"})
    definition = build_definitions(settings).resolve_assets_def("forecasts").partitions_def
    assert isinstance(definition, dg.TimeWindowPartitionsDefinition)
    assert definition.end is None
    first = definition.get_first_partition_key()
    assert first is not None
    assert first.startswith("2024-01-07" if cadence != "monthly" else "2024-02-01")


def test_on_aws_sensors_look_for_jobs_that_nobody_waits_for_and_report_the_forecasts_age() -> None:
    local, aws = (
        build_definitions(Settings(deployment=deployment, store=store)).get_repository_def()
        for deployment, store in (("local", "./store"), ("aws", "s3://bucket/prefix"))
    )
    assert {sensor.name for sensor in aws.sensor_defs} - {sensor.name for sensor in local.sensor_defs} == {
        "forecast_age_sensor",
        "redeploy_sensor",
        "reaper_sensor",
    }
    assert set(aws.asset_graph.get_all_asset_keys()) == set(local.asset_graph.get_all_asset_keys())
    assert set(aws.asset_graph.asset_check_keys) == set(local.asset_graph.asset_check_keys)
    assert {job.name for job in aws.get_all_jobs()} == {job.name for job in local.get_all_jobs()}


@pytest.mark.parametrize("deployment", ["local", "aws"])
def test_loading_the_definitions_imports_no_heavy_module_and_touches_no_store(tmp_path, deployment: str) -> None:
    store = tmp_path / "store"
    code = f"import sys; import chronos_assets.definitions; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "CHRONOS_DEPLOYMENT": deployment,
            "CHRONOS_STORE": str(store) if deployment == "local" else "s3://nobody/nowhere",
        },
    )
    assert done.stdout.strip() == "[]"
    assert "Warning" not in done.stderr
    assert not store.exists()
