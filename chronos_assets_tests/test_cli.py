"""The `chronos-assets` command as a user types it: processes, real folders, exit status and text.

The first test starts it cold, the others fork it, see `forks`. Where a test has asked a process already, its further
questions are asked of `main` in the test's own process.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from chronos_assets.cli import main
from chronos_assets.platforms.local.warm_workers import WARM_WORKERS
from chronos_assets_tests import forks
from chronos_assets_tests.defs.line import PARAMS, hourly_rows
from chronos_assets_tests.defs.test_training_line import TRAINING, noisy_rows
from chronos_assets_tests.models.tiny import folder_of
from chronos_assets_tests.service_shapes import parsed

Result = subprocess.CompletedProcess[str]


def _write_data(folder: Path) -> Path:
    """A user's folder: params.json and train/, three series of twelve days."""
    (folder / "train").mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps(PARAMS))
    (folder / "train" / "demand.csv").write_text("\n".join(hourly_rows(12)) + "\n")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return _write_data(tmp_path / "my data")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that a run with one backtest window has published to; each test works on a copy, or only reads."""
    folder = tmp_path_factory.mktemp("published")
    arguments = ("run", "--data", str(_write_data(folder / "my data")), "--backtest-windows", "1")
    done = _run(folder, *arguments, CHRONOS_STORE=str(folder / "store"))
    assert done.returncode == 0, done.stderr
    return folder / "store"


@pytest.fixture
def store(tmp_path: Path, published: Path) -> Path:
    """A copy of `published`, of this test alone."""
    return shutil.copytree(published, tmp_path / "store", symlinks=True)


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command in this process, with the folder and the environment that `_run` gives its own."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - _environment().keys():
        monkeypatch.delenv(name)
    for name, value in _environment().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        capfd.readouterr()
        status = main(list(arguments))
        return Result(arguments, status, *capfd.readouterr())

    return run


def _environment(**more: str) -> dict[str, str]:
    """Variables of the command: none of the package's own but where its jobs are forked."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name == WARM_WORKERS or not name.startswith(("CHRONOS_", "DAGSTER_"))
    }
    return {**inherited, "CHRONOS_BASE_MODEL": str(folder_of("bolt")), "DAGSTER_DISABLE_TELEMETRY": "1", **more}


def _run(tmp_path: Path, *arguments: str, **more: str) -> Result:
    return forks.run("chronos_assets.cli", *arguments, folder=tmp_path, environment=_environment(**more))


def _run_cold(tmp_path: Path, *arguments: str) -> Result:
    """Run the command as an interpreter of its own, which has its own fork server."""
    environment = _environment()
    environment.pop(WARM_WORKERS, None)
    command = [sys.executable, "-m", "chronos_assets.cli", *arguments]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


def test_run_publishes_and_tells_where_then_does_nothing_when_nothing_is_new(
    tmp_path: Path, data: Path, ask: Callable[..., Result]
) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    first = _run_cold(tmp_path, "run", "--data", str(data), "--backtest-windows", "2")
    assert first.returncode == 0, first.stderr
    assert "series x windows forecast" in first.stderr  # progress, while it runs
    (store,) = (tmp_path / "stores").iterdir()
    for part in ("forecast/forecast.csv", "forecast/forecast.parquet", "tables/forecast.duckdb"):
        assert (store / part).is_file()
        assert str(store / part) in first.stdout
    for text in ("3 series × 24 steps", "wQL", "MASE", "seasonal naive", "make ui", "2 as-of windows"):
        assert text in first.stdout
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before

    again = ask("run", "--data", str(data), "--backtest-windows", "2")
    assert again.returncode == 0
    assert "Nothing new" in again.stdout
    assert len((store / "notices.jsonl").read_text().splitlines()) == 4  # import, forecasts, scores, tables

    table = _run(tmp_path, "query", "client_a", "--data", str(data))
    assert table.stdout.splitlines()[0].split() == ["timestamp", "p10", "p50", "p90", "mean"]
    answer = json.loads(ask("query", "client_a", "--data", str(data), "--format", "json").stdout)
    predictions = answer["Forecast"]["Predictions"]
    assert set(predictions) == {"mean", "p10", "p50", "p90"}
    assert len(predictions["p50"]) == 24
    assert predictions["p50"][0]["Timestamp"] == "2024-01-13T00:00:00"
    unknown = ask("query", "client_z", "--data", str(data))
    assert unknown.returncode == 1
    assert "client_a" in unknown.stderr


def test_run_trains_gates_and_serves_and_people_decide(tmp_path: Path, data: Path, ask: Callable[..., Result]) -> None:
    # The networks alone: beside statistical members one of random weights has nothing to gain from training.
    chronos = {"Training": TRAINING | {"MaxJobs": 1}, "Predictor": {"Members": ["chronos/1", "tuned/1"]}}
    (data / "params.json").write_text(json.dumps(PARAMS | {"Chronos": chronos}))
    (data / "train" / "demand.csv").write_text(noisy_rows(10))
    arguments = ("--data", str(data))
    try:
        first = _run(tmp_path, "run", *arguments, "--backtest-windows", "1")
        assert first.returncode == 0, first.stderr
        rows = {line[2:16].strip(): line[17:] for line in first.stdout.splitlines() if line.startswith("  ")}
        assert rows["trials"].startswith("1; best: learning_rate ")
        assert rows["gate"].startswith("Approved: test wQL ")
        assert rows["version"] == "Shop/1"
        assert rows["model"].startswith("Shop/1 ")
        assert rows["endpoint"].startswith("http://127.0.0.1:")
        assert rows["sample"].startswith(("a: mean ", "b: mean "))
        # The endpoint's check had the batch forecast of the same version to compare with.
        (store,) = (tmp_path / "stores").iterdir()
        with dg.DagsterInstance.from_config(str(store / ".dagster")) as instance:
            key = dg.AssetCheckKey(dg.AssetKey("endpoint"), "answers_like_the_batch_forecast")
            (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=9)
            check = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
        assert check.passed
        assert check.metadata["series"].value == 2

        again = ask("run", *arguments, "--backtest-windows", "1")
        assert "Nothing new" in again.stdout, again.stdout
        assert "Shop/1" in ask("endpoint", "status", *arguments).stdout
        listed = ask("model", "list", *arguments).stdout
        assert listed.startswith("*   1  Approved")
        assert max(map(len, listed.splitlines())) <= 100
        answer = parsed("GetAccuracyMetrics", ask("model", "metrics", *arguments).stdout.encode())
        (tested,) = answer["PredictorEvaluationResults"][0]["TestWindows"]
        assert f"{tested['Metrics']['AverageWeightedQuantileLoss']:.4f}" in rows["gate"]
        assert tested["Metrics"]["ErrorMetrics"][0].keys() == {"ForecastType", "RMSE", "WAPE", "MAPE", "MASE"}
        with forks.forked_endpoints():
            rejected = ask("model", "reject", "1", "--reason", "just so", *arguments)
        assert rejected.returncode == 0, rejected.stderr
        assert "just so" in rejected.stdout
        assert "zero-shot" in ask("endpoint", "status", *arguments).stdout
        refused = ask("model", "roll-back", *arguments)
        assert refused.returncode == 1
        assert "no version of Shop is approved" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        stopped = _run(tmp_path, "endpoint", "stop", *arguments)
    assert "endpoint Shop stopped" in stopped.stdout
    assert "none" in ask("endpoint", "status", *arguments).stdout


def test_a_run_killed_at_any_time_is_completed_by_the_next(tmp_path: Path, data: Path, published: Path) -> None:
    """Killed while its first job runs, and before it publishes the forecast: the store is never half published."""
    store, reference = tmp_path / "store", published
    command = ("chronos_assets.cli", "run", "--data", str(data), "--backtest-windows", "1")
    for function in (
        "chronos_assets.platforms.local.warm_workers:WarmProcess.wait",
        "chronos_assets.platforms.local.store:FolderStore.publish_forecast",
    ):
        environment = _environment(CHRONOS_STORE=str(store))
        killed = forks.run(forks.KILLED, function, "1", *command, folder=tmp_path, environment=environment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        csv = store / "forecast" / "forecast.csv"
        if csv.exists():
            assert csv.read_bytes() == (reference / "forecast" / "forecast.csv").read_bytes()
        if (store / "tables" / "forecast.duckdb").exists():
            with duckdb.connect(str(store / "tables" / "forecast.duckdb"), read_only=True) as connection:
                assert connection.execute("SELECT count(*) FROM train").fetchall() == [(864,)]
    done = _run(tmp_path, "run", "--data", str(data), "--backtest-windows", "1", CHRONOS_STORE=str(store))
    assert done.returncode == 0, done.stderr
    for part in ("forecast/forecast.csv", "forecast/forecast.parquet"):
        assert (store / part).read_bytes() == (reference / part).read_bytes()
    last = sorted((reference / "history").glob("as_of=*"))[-1].name
    assert (store / "history" / last / "forecast.parquet").read_bytes() == (
        reference / "history" / last / "forecast.parquet"
    ).read_bytes()
    assert not [path for path in (store / ".jobs").iterdir() if path.is_dir()]


def test_run_says_what_is_wrong_and_keeps_what_was_published(tmp_path: Path, data: Path, store: Path) -> None:
    before = (store / "forecast" / "forecast.csv").read_bytes()
    (data / "train" / "late.csv").write_text("2024-01-13 00:00:00,oops,client_a\n")
    failed = _run(tmp_path, "run", "--data", str(data), "--backtest-windows", "0", CHRONOS_STORE=str(store))
    assert failed.returncode == 1
    for text in ("target_time_series", "train/late.csv", "oops"):
        assert text in failed.stderr
    assert "Traceback" not in failed.stderr
    assert (store / "forecast" / "forecast.csv").read_bytes() == before
    notice = json.loads((store / "notices.jsonl").read_text().splitlines()[-1])
    assert notice["outcome"] == "failure"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "--data", "nowhere"], "nowhere is not there"),
        (["query", "client_a"], "no forecast"),
        (["validate", "nowhere.json"], "nowhere.json"),
        (["run", "--backtest-windows", "-1"], "--backtest-windows"),
    ],
)
def test_what_can_not_be_done_is_one_line_on_stderr(
    ask: Callable[..., Result], arguments: list[str], text: str
) -> None:
    result = ask(*arguments)
    assert result.returncode == 1
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_an_impossible_setting_names_its_variable(tmp_path: Path) -> None:
    result = _run(tmp_path, "query", "x", CHRONOS_PARTITIONS="yearly")
    assert result.returncode == 1
    assert "CHRONOS_PARTITIONS='yearly'" in result.stderr


def test_validate_tells_everything_at_once(tmp_path: Path, data: Path, ask: Callable[..., Result]) -> None:
    good = _run(tmp_path, "validate", str(data / "params.json"))
    assert good.returncode == 0
    assert "24 periods of H" in good.stdout
    assert "PredictorName" in good.stdout
    broken = json.loads(json.dumps(PARAMS))
    broken["Predictor"]["ForecastHorizon"] = -3
    broken["Predictor"]["FeaturizationConfig"]["ForecastFrequency"] = "fortnightly"
    broken["Surprise"] = 1
    (data / "params.json").write_text(json.dumps(broken))
    bad = ask("validate", str(data))
    assert bad.returncode == 1
    for text in ("ForecastHorizon", "-3", "fortnightly", "Surprise"):
        assert text in bad.stderr


def test_only_new_files_are_copied_and_the_newer_one_wins(tmp_path: Path, data: Path, store: Path) -> None:
    shutil.copystat(store / "train" / "demand.csv", data / "train" / "demand.csv")  # the file that was copied
    first = (store / "train" / "demand.csv").stat().st_ino
    extra = data / "train" / "extra.csv"
    extra.write_text("\n".join(hourly_rows(1, first=datetime(2024, 1, 13))) + "\n")
    result = _run(tmp_path, "run", "--data", str(data), "--backtest-windows", "0", CHRONOS_STORE=str(store))
    assert result.returncode == 0
    assert (store / "train" / "demand.csv").stat().st_ino == first
    assert "2024-01-13T23:00:00" in result.stdout


def test_the_month_after_the_sample_is_written_where_it_is_asked_for(
    tmp_path: Path, ask: Callable[..., Result]
) -> None:
    (tmp_path / "train").mkdir()
    written = _run(tmp_path, "sample-july", "train/july.csv")
    assert written.returncode == 0
    assert "train/july.csv written" in written.stdout
    first = (tmp_path / "train" / "july.csv").read_text().split("\n", 1)[0]
    assert first.startswith("2025-07-01 00:00:00,")
    nowhere = ask("sample-july", "elsewhere/july.csv")
    assert nowhere.returncode == 1
    assert "elsewhere is not a folder" in nowhere.stderr


# --- the real samples -------------------------------------------------------------------------------------------------


def test_the_old_pipelines_own_sample_is_forecast_better_than_seasonal_naive(
    shared_data: Path, ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shared_data / "samples" / "amazon_forecast" / "testing-data"
    monkeypatch.setenv("CHRONOS_BASE_MODEL", "bundled")
    result = ask("run", "--data", str(source), "--no-training", "--backtest-windows", "1")
    assert result.returncode == 0, result.stderr
    assert "3 series × 72 steps" in result.stdout
    assert _share(result.stdout, "wQL") <= 1.0


def test_hourly_household_power_is_forecast_better_than_seasonal_naive(
    tmp_path: Path, shared_data: Path, ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "household"
    (data / "train").mkdir(parents=True)
    shutil.copy(shared_data / "samples" / "household_power" / "household_power_hourly.csv.gz", data / "train")
    (data / "params.json").write_text(json.dumps(_household_params()))
    monkeypatch.setenv("CHRONOS_BASE_MODEL", "bundled")
    result = ask("run", "--data", str(data), "--no-training", "--backtest-windows", "1")
    assert result.returncode == 0, result.stderr
    assert "1 series × 72 steps" in result.stdout
    assert _share(result.stdout, "wQL") <= 1.0


def _household_params() -> dict[str, object]:
    names = [
        "datetime", "Global_active_power", "Global_reactive_power", "Voltage", "Global_intensity",
        "Sub_metering_1", "Sub_metering_2", "Sub_metering_3", "minutes_observed",
    ]  # fmt: skip
    params = json.loads(json.dumps(PARAMS))
    params["Predictor"]["ForecastHorizon"] = 72
    params["Datasets"][0]["Schema"]["Attributes"] = [
        {"AttributeName": name, "AttributeType": "timestamp" if name == "datetime" else "float"} for name in names
    ]
    params["Chronos"] = {"Columns": {"timestamp": "datetime", "target_value": "Global_active_power", "item_id": None}}
    return params


def _share(summary: str, metric: str) -> float:
    """The `(0.67 times)` of a metric's line."""
    line = next(line for line in summary.splitlines() if line.split()[:1] == [metric])
    return float(line.rsplit("(", 1)[1].split()[0])


def test_melt_writes_a_wide_file_as_rows(tmp_path: Path, ask: Callable[..., Result]) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_text("date,north,south\n" + "".join(f"2024-01-{day:02d},{day}.5,{day}\n" for day in range(1, 31)))
    done = _run(tmp_path, "melt", "wide.csv", "long.csv")
    assert done.returncode == 0
    assert "60 rows of 2 columns (north, south)" in done.stdout
    assert len((tmp_path / "long.csv").read_text().splitlines()) == 61
    again = ask("melt", "wide.csv", "long.csv")
    assert again.returncode == 1
    assert "already exists" in again.stderr
