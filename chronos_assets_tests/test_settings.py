"""Environment -> Settings: defaults, every variable effective, errors that name the variable and the mend."""

from dataclasses import fields
from pathlib import Path

import pytest

from chronos_assets.settings import Settings, SettingsError


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
        ("settle_seconds", "CHRONOS_SETTLE_SECONDS", "0.5", 0.5),
        ("sensor_interval_seconds", "CHRONOS_SENSOR_SECONDS", "60", 60),
        ("ui_url", "CHRONOS_UI_URL", "https://dagster.example/", "https://dagster.example"),
        ("owners", "CHRONOS_OWNERS", "team:a, me@example.org", ("team:a", "me@example.org")),
        ("key_prefix", "CHRONOS_KEY_PREFIX", "shop/eu", ("shop", "eu")),
        ("benchmark_data", "CHRONOS_BENCHMARK_DATA", "/data/benchmark", "/data/benchmark"),
        ("benchmark_models", "CHRONOS_BENCHMARK_MODELS", "bundled, a/b,,bundled", ("bundled", "a/b")),
        ("dagster_home", "DAGSTER_HOME", "/var/dagster", "/var/dagster"),
    ],
)
def test_each_variable_sets_its_field(field: str, variable: str, text: str, value: object) -> None:
    assert getattr(Settings.from_env({variable: text}), field) == value
    assert getattr(Settings(), field) != value


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
    assert {field.name for field in fields(Settings)} == {
        mark.args[1][i][0]
        for mark in test_each_variable_sets_its_field.pytestmark  # type: ignore[attr-defined]
        for i in range(len(mark.args[1]))
    }


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
