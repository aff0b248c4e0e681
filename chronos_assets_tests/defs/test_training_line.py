"""The training line through Dagster, with real jobs and a real server: search, gate, registry, endpoint, forecasts by it."""

import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import PARENT_RUN_ID_TAG

from chronos_assets.defs.main_job import run_main_job
from chronos_assets.models.checkpoints import describe_model
from chronos_assets.pipeline import decisions, model_in_use, serving, training, tuning
from chronos_assets.pipeline.endpoint_comparison import compare_endpoint
from chronos_assets.pipeline.forecast_states import stale_forecasts
from chronos_assets.pipeline.forecast_windows import main_windows
from chronos_assets.pipeline.tuning import read_tuned
from chronos_assets_tests import forks
from chronos_assets_tests.defs.line import FIRST, PARAMS, Line, failure_reason, hourly_rows, make_line
from chronos_assets_tests.defs.test_sensors import Daemon
from chronos_assets_tests.models.tiny import folder_of, save_bolt

LINE = ["synthetic_dataset", "tuned_checkpoints", "model_package", "endpoint"]
TUNED = "models/Shop-0123456789ab"  # named as a search names them
TRAINING = {
    "ValidationWindows": 1,
    "TestWindows": 1,
    "Hyperparameters": {"max_steps": 12, "batch_size": 8, "threads": 1},
    "Ranges": {"learning_rate": {"Type": "Continuous", "Min": 1e-2, "Max": 3e-2, "Scale": "log"}},
    "Synthetic": {"Train": 4, "Validation": 2, "Test": 2, "Length": 128},
}


def noisy_rows(days: int, *, seed: int = 1) -> str:
    """A day's pattern is nowhere in these: a seasonal naive forecast is worse than the mean."""
    rng = random.Random(seed)
    return "".join(
        f"{FIRST + timedelta(hours=hour):%Y-%m-%d %H:%M:%S},{100 + rng.gauss(0, 10):.3f},{item}\n"
        for item in ("a", "b")
        for hour in range(24 * days)
    )


def put_params(line: Line, **changes: Any) -> None:
    perform_delete = changes.pop("PerformDelete", False)
    # Networks alone: with the statistical members there would be nothing to gain by tuning a network that knows nothing.
    chronos = {"Training": TRAINING | changes, "Predictor": {"Members": ["chronos/1", "tuned/1"]}}
    line.put("params.json", json.dumps(PARAMS | {"Chronos": chronos, "PerformDelete": perform_delete}))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """A line whose endpoint's servers are forked."""
    with forks.forked_endpoints(), dg.DagsterInstance.ephemeral() as instance:
        made = make_line(tmp_path / "store", instance, model=str(folder_of("bolt")))
        put_params(made)
        made.put("train/demand.csv", noisy_rows(10))
        yield made
        made.group.endpoints.delete(serving.endpoint_name(made.state))


def decide(line: Line, job: str, *, again: str = "", **config: Any) -> dg.ExecuteInProcessResult:
    """Run a decision's job; `again`: the run that it repeats."""
    return line.definitions.resolve_job_def(job).execute_in_process(
        instance=line.instance,
        run_config={"ops": {f"{job}_op": {"config": config}}, "loggers": {"console": {}}},
        tags={PARENT_RUN_ID_TAG: again} if again else {},
        raise_on_error=False,
    )


def served(line: Line) -> str:
    state = line.group.endpoints.describe(serving.endpoint_name(line.state))
    assert state is not None
    assert state.healthy
    return state.version


def in_use(line: Line) -> model_in_use.ModelInUse:
    return line.state.model_in_use


def _killed(state: Any) -> bool:
    raise RuntimeError("the process ends here")


def test_from_data_to_a_served_version_and_back(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line.run(["target_time_series"]).success
    assert training.is_due(line.state, datetime.now(UTC).replace(tzinfo=None)) == (
        True,
        "no version has been registered yet",
    )
    result = line.run(LINE, job="retrain")
    assert result.success, failure_reason(result)

    # Every trial is in the table, the best one marked, its checkpoint alone in the folder.
    trials = line.table("tuned_checkpoints", "trials")
    assert [row["trial"] for row in trials] == [0, 1]
    assert all(row["steps"] == 12 and row["validation_wql"] > 0 for row in trials if row["state"] == "Completed")
    best = min((row for row in trials if row["state"] == "Completed"), key=lambda row: row["validation_wql"])
    assert [row["trial"] for row in trials if row["best"]] == [best["trial"]]
    tuned = read_tuned(line.group)
    assert tuned is not None
    folder = line.root / tuned["candidates"][0]["model"]
    left = {path.name for path in folder.iterdir()}
    assert left - {"base"} == {"config.json", "model.safetensors", "predictor.json"}
    assert line.metadata("tuned_checkpoints")["loss_curves"].startswith("![")

    # The gate held it against base and seasonal naive, and approved it.
    gate = {row["name"]: row for row in line.table("model_package", "gate")}
    assert gate.keys() == {"candidate", "zero-shot base", "seasonal naive, 24 h"}
    assert gate["candidate"]["wql"] <= min(row["wql"] for row in gate.values())
    assert all(" to " in row["difference"] for name, row in gate.items() if name != "candidate")
    package = line.metadata("model_package")
    assert (package["version"], package["status"]) == ("Shop/1", "Approved")
    first, *members = line.table("model_package", "leaderboard")
    assert (first["member"], first["weight"]) == ("ensemble", None)
    assert all(row["series/s"] > 0 for row in members)
    counted = [row["weight"] > 0 for row in members]
    assert counted == sorted(counted, reverse=True)
    registered = json.loads((line.root / "packages" / "Shop" / "1.json").read_text())
    told = json.dumps(registered)
    for part in (
        tuned["data_version"],
        "learning_rate",
        "chronos-assets:",
        "text/csv",
        "PYTORCH",
        "OTHER",
        "MACHINE_LEARNING",
        "training_cutoff",
    ):
        assert part in told
    assert registered["document"]["training_cutoff"] == "2024-01-08T23:00:00"

    # It is served, and makes the forecasts.
    assert served(line) == "Shop/1"
    assert "](data:image/svg+xml;base64," in line.metadata("endpoint")["sample_forecast"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/invocations", line.metadata("endpoint")["invocations"])
    assert line.run(["forecasts"], ("2024-01-07", "2024-01-10")).success
    forecast = line.metadata("forecasts", "2024-01-10")
    assert (forecast["model"], forecast["trained_on_later_data"]) == ("Shop/1", False)
    compared = compare_endpoint(line.state)
    assert compared.series == 2
    assert compared.difference is not None
    assert compared.difference <= 1e-5
    assert line.metadata("forecasts", "2024-01-07")["trained_on_later_data"] is True

    # The same search on the same data gives the same version.
    again = line.run(["model_package"], job="retrain")
    assert again.success
    assert line.metadata("model_package")["version"] == "Shop/1"

    # Data that repeat each day: seasonal naive is perfect, the new candidate worse, and so not used.
    line.put("train/demand.csv", "\n".join(hourly_rows(10, items=("a", "b"))) + "\n")
    assert line.run(["target_time_series"]).success
    put_params(line, MaxJobs=1)
    result = line.run(["tuned_checkpoints", "model_package"], job="retrain")
    assert result.success, failure_reason(result)
    package = line.metadata("model_package")
    assert (package["version"], package["status"]) == ("Shop/2", "Rejected")
    assert "seasonal naive" in package["reason"]
    assert {row["name"] for row in line.table("model_package", "gate")} >= {"approved version"}
    assert in_use(line).label == served(line) == "Shop/1"

    # People decide: one job each.
    refused = failure_reason(decide(line, "approve_model", version=7))
    assert "7" in refused
    assert "Shop" in refused
    assert decide(line, "approve_model", version=2, reason="we know better").success
    assert in_use(line).label == served(line) == "Shop/2"
    # It is about the version in use: a number would be read as the one to go back to.
    with pytest.raises(dg.DagsterInvalidConfigError, match="version"):
        decide(line, "roll_back_model", version=2)
    # One that ends between registry and endpoint goes back one version, however often the run is repeated.
    with monkeypatch.context() as killed:
        killed.setattr(decisions, "is_deployed", _killed)
        failed = decide(line, "roll_back_model")
    assert not failed.success
    assert (in_use(line).label, served(line)) == ("Shop/1", "Shop/2")
    assert decide(line, "roll_back_model", again=failed.run_id).success
    assert in_use(line).label == served(line) == "Shop/1"
    assert decide(line, "roll_back_model").success
    assert in_use(line).note == "zero-shot: no version is approved, Shop/2 is Rejected"
    assert served(line).startswith("zero-shot")
    history = line.group.registry.versions("Shop")[1].history
    assert [entry["status"] for entry in history] == ["Rejected", "Approved", "Rejected"]
    assert "seasonal naive" in history[0]["reason"]


def register(line: Line, *, data_version: str, age_days: float) -> None:
    created = datetime.now(UTC) - timedelta(days=age_days)
    line.group.registry.register(
        "Shop",
        model="models/Shop-none",
        identity=f"{data_version} {age_days}",
        document={"created": created.isoformat(), "data_version": data_version, "metrics": {"wql": 0.1}},
        status="Rejected",
        reason="for the test",
    )


def test_the_sensor_asks_for_a_training_once_and_says_why_not(line: Line) -> None:
    daemon = Daemon(line)
    assert line.run(["target_time_series"]).success
    requests = {request.job_name: request for request in daemon.tick("new_data_sensor").run_requests or ()}
    assert set(requests) == {"refresh_forecasts", "retrain"}
    assert requests["retrain"].tags["chronos/reason"] == "no version has been registered yet"

    # The run that the daemon makes of it is on its way: nothing is asked for twice.
    run = line.instance.create_run_for_job(
        line.definitions.resolve_job_def("retrain"),
        tags={"dagster/run_key": str(requests["retrain"].run_key), "dagster/sensor_name": "new_data_sensor"},
    )
    plan = daemon.tick("new_data_sensor")
    assert "retrain" not in {request.job_name for request in plan.run_requests or ()}
    line.instance.report_run_canceled(run)
    assert "retrain" not in {request.job_name for request in daemon.tick("new_data_sensor").run_requests or ()}

    manifest = line.state.require_manifest()
    register(line, data_version=manifest.data_version, age_days=30)
    assert training.is_due(line.state, datetime.now(UTC).replace(tzinfo=None)) == (
        False,
        "Shop/1 (Rejected) was trained on the data that are there",
    )
    register(line, data_version="other", age_days=8)
    requests = {request.job_name: request for request in daemon.tick("new_data_sensor").run_requests or ()}
    assert "Shop/2 is 8.0 days old" in requests["retrain"].tags["chronos/reason"]


def in_use_since(line: Line, days: float, **document: Any) -> Path:
    """Folder of a version in use, of other weights than the base model's, made from other data than are there."""
    line.group.store.publish(TUNED, save_bolt(line.root.parent / "tuned", levels=[0.1, 0.5, 0.9]))
    made: dict[str, Any] = {
        "created": (datetime.now(UTC) - timedelta(days=days)).isoformat(),
        "data_version": "other",
        "metrics": {"wql": 0.1},
        "model_digest": describe_model(line.root / TUNED).digest,
    }
    line.group.registry.register(
        "Shop",
        model=TUNED,
        identity="tuned",
        document=made | document,
        status="Approved",
        reason="for the test",
    )
    return line.root / TUNED


@pytest.mark.parametrize("strategy", ["TRAIN", "RETRAIN"])
def test_retrain_starts_from_the_version_in_use_that_came_from_the_same_base(line: Line, strategy: str) -> None:
    base = str(folder_of("bolt"))
    in_use_since(line, 1, base_model=base)
    put_params(line, Strategy=strategy, BaseModels=[base, str(folder_of("chronos2"))])
    setup = line.state.setup
    points = tuning._starting_points(line.state)
    channels = {
        reference: tuning._search(line.group, setup, "search", reference, start).inputs.get("model")
        for reference, start in points.items()
    }
    assert channels == {base: TUNED if strategy == "RETRAIN" else None, str(folder_of("chronos2")): None}


def test_scores_that_drift_make_a_training_due(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    in_use_since(line, 1)
    now = datetime.now(UTC).replace(tzinfo=None)
    for day, (model, later) in enumerate([("Shop/1", False)] * 6 + [("bundled", False), ("Shop/1", True)], 1):
        scored = {"model": model, "trained_on_later_data": later, "wql": 0.2}
        line.put(f"accuracy/as_of=2024-01-{day:02}/manifest.json", json.dumps(scored))
    # Of the eight, six are the version's own, made without knowing what came.
    assert training.is_due(line.state, now)[1].startswith("Shop/1 is 24 hours old")
    scored = {"model": "Shop/1", "trained_on_later_data": False, "wql": 0.2}
    line.put("accuracy/as_of=2024-01-09/manifest.json", json.dumps(scored))
    due, reason = training.is_due(line.state, now)
    assert due
    assert "Shop/1 drifted: wQL 0.2 over 7 windows, 2 times the 0.1 at its registration" in reason


def test_without_a_dataset_a_model_is_tuned_gated_and_served_on_synthetic_series(line: Line) -> None:
    put_params(line, MaxJobs=1)
    result = line.run(LINE, job="retrain")
    assert result.success, failure_reason(result)
    (version,) = line.group.registry.versions("Shop")
    assert version.document["training_cutoff"] is None
    assert {row["model"] for row in version.document["gate"]["rows"]} == {"candidate", "base", "seasonal_naive"}
    assert served(line) == (version.name if version.status == "Approved" else f"zero-shot {folder_of('bolt')}")


def test_a_registry_that_can_not_be_read_is_a_reason_to_skip_not_an_error_each_tick(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    line.put("packages/Shop/1.json", "{}")
    skipped = Daemon(line).tick("new_data_sensor").skip_reason
    assert skipped is not None
    assert "packages/Shop/1.json can't be read" in str(skipped)


def test_a_dataset_group_may_have_underscores_where_a_registry_can_not(line: Line) -> None:
    line.put(
        "params.json", json.dumps(PARAMS | {"DatasetGroup": {"DatasetGroupName": "my__shop_", "Domain": "CUSTOM"}})
    )
    assert line.run(["target_time_series"]).success
    result = line.run(["forecasts"], "2024-01-10")
    assert result.success, failure_reason(result)
    name = training.package_group(line.state)
    assert name == serving.endpoint_name(line.state) == "my--shop"
    assert line.group.registry.versions(name) == []
    assert line.group.endpoints.describe(name) is None


def test_perform_delete_removes_what_it_made_and_nothing_else(line: Line) -> None:
    put_params(line, PerformDelete=True)
    line.put("models/mine/config.json", "{}")
    assert line.run(["target_time_series"]).success
    folder = in_use_since(line, 0, data_version=line.state.require_manifest().data_version)
    result = line.run(["endpoint"], job="retrain")
    assert result.success, failure_reason(result)
    assert served(line) == "Shop/1"
    assert line.run(["forecasts", "forecast_tables"], "2024-01-10").success
    assert line.metadata("forecast_tables")["endpoint_stopped"] == "Shop"
    assert line.metadata("forecast_tables")["checkpoints_deleted"] == f"models/{folder.name}"
    assert not folder.exists()
    assert line.group.endpoints.describe("Shop") is None
    assert (line.root / "models" / "mine" / "config.json").exists()
    # Forecasts, history and registry stay, and nothing asks for the forecast to be made again without the model.
    assert (line.root / "forecast" / "forecast.csv").exists()
    assert line.group.registry.versions("Shop")[0].status == "Approved"
    assert "was deleted" in in_use(line).note
    window, _ = main_windows(line.state, 0)
    assert stale_forecasts(line.state, line.instance, [window]) == []
    assert not training.is_due(line.state, datetime.now(UTC).replace(tzinfo=None))[0]


def test_a_training_that_fails_leaves_the_forecast_and_is_reported(line: Line) -> None:
    put_params(line, Hyperparameters={"max_steps": 2, "learning_rate": 1e30}, Ranges={}, MaxJobs=1)
    result = run_main_job(line.launcher, backtest_windows=1)
    assert "tuned_checkpoints" in result.training_failure
    assert (line.root / "forecast" / "forecast.csv").exists()
    assert [notice["outcome"] for notice in line.notices()].count("failure") == 1


def test_series_too_short_to_hold_anything_out_are_forecast_zero_shot(line: Line) -> None:
    line.put("train/demand.csv", noisy_rows(3))
    result = run_main_job(line.launcher, backtest_windows=0)
    assert "no model can be trained" in result.training
    assert not result.training_failure
    assert line.metadata("forecasts", "2024-01-03")["model_note"] == "zero-shot: no version has been registered yet"
