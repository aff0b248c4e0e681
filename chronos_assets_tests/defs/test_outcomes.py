"""What a notice says of a run: its name, and its anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.events import EngineEventData, JobFailureData
from dagster._utils.error import SerializableErrorInfo

from chronos_assets.defs import sensor_parts
from chronos_assets.defs.instance import open_instance
from chronos_assets.defs.metadata import table
from chronos_assets.defs.outcomes import FROM_OUTSIDE, anomalies_of, failure_of, job_of
from chronos_assets.defs.sensor_parts import run_state
from chronos_assets.pipeline.group import Group
from chronos_assets.planning.cursor import RunStatus

GROUP = cast(Group, SimpleNamespace(key=lambda name: dg.AssetKey(["shop", name])))
COLUMNS = {"series": "string", "timestamp": "string", "actual": "float", "low": "float", "high": "float"}


def scored(partition: str, count: int, rows: Sequence[dict[str, Any]]) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset_key=["shop", "forecast_accuracy"],
        partition=partition,
        metadata={"anomalies": count, "worst_anomalies": table(COLUMNS, rows)},
    )


def row(series: str) -> dict[str, Any]:
    return {"series": series, "timestamp": "2024-01-05", "actual": 40.0, "low": 3.0, "high": 7.25}


def test_the_worst_of_the_newest_partition_are_named_and_the_others_counted() -> None:
    older = scored("2024-01-03", 1, [row("old")])
    newest = scored("2024-01-04", 1234, [row(f"item {number}") for number in range(7)])
    text = anomalies_of([newest, older], GROUP)
    assert text.startswith("1,234 as of 2024-01-04: item 0 at 2024-01-05: 40, expected 3 to 7.25; item 1 at ")
    assert text.endswith("item 4 at 2024-01-05: 40, expected 3 to 7.25; and 1,229 more")
    assert "old" not in text


def test_a_run_that_scored_nothing_or_found_none_has_none_to_name() -> None:
    forecast = dg.AssetMaterialization(asset_key=["shop", "forecasts"], partition="2024-01-04")
    assert anomalies_of([forecast], GROUP) == ""
    assert anomalies_of([scored("2024-01-04", 0, [])], GROUP) == ""


def test_a_run_of_assets_chosen_in_the_ui_is_known_by_their_names() -> None:
    chosen = frozenset({dg.AssetKey(["shop", "forecasts"]), dg.AssetKey(["shop", "forecast_explanations"])})
    assert job_of(dg.DagsterRun("__ASSET_JOB", asset_selection=chosen)) == "forecast_explanations, forecasts"
    assert job_of(dg.DagsterRun("retrain", asset_selection=chosen)) == "retrain"


def test_a_run_that_could_not_be_started_says_why() -> None:
    @dg.job
    def forecasts() -> None:
        pass

    with dg.DagsterInstance.ephemeral() as instance:
        run, other = (instance.create_run_for_job(forecasts) for _ in range(2))
        message = "dagster._core.errors.DagsterUserCodeUnreachableError: User code server request timed out.\n"
        error = SerializableErrorInfo(message, [], "DagsterUserCodeUnreachableError")
        instance.report_engine_event("Unexpected error", run, EngineEventData.engine_error(error))
        for each in (run, other):
            instance.report_run_failed(each)
        why = failure_of(instance, run.run_id)
        assert why.reason == "it couldn't be started: User code server request timed out."
        assert not why.foreseen
        assert failure_of(instance, other.run_id).reason.startswith(FROM_OUTSIDE)


def test_a_run_whose_process_crashed_says_with_which_status(tmp_path: Path) -> None:
    @dg.job
    def forecasts() -> None:
        pass

    with open_instance(tmp_path) as instance:
        run = instance.create_run_for_job(forecasts)
        instance.report_engine_event(f"Run execution process for {run.run_id} unexpectedly exited with code 1.", run)
        instance.report_run_failed(run)
        assert "its process ended unexpectedly (exit status 1)" in failure_of(instance, run.run_id).reason


def test_a_run_that_dagster_could_not_go_on_with_says_why() -> None:
    @dg.job
    def forecasts() -> None:
        pass

    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(forecasts)
        cause = SerializableErrorInfo("DagsterInvariantViolationError: no such variable DAGSTER_LOGS\n", [], "Error")
        error = SerializableErrorInfo("DagsterConfigError: can't open the logs\n", [], "Error", cause)
        instance.report_run_failed(run, "An exception was thrown during execution.", JobFailureData(error))
        why = failure_of(instance, run.run_id)
        assert why.reason == "DagsterInvariantViolationError: no such variable DAGSTER_LOGS"
        assert not why.foreseen


def test_a_sensor_waits_for_dagsters_own_retry_of_its_run_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both made the forecast: two runs of the same work."""

    @dg.job
    def forecasts() -> None:
        pass

    asked = {"dagster/run_key": "forecasts-1", "dagster/sensor_name": "new_data_sensor"}
    with dg.DagsterInstance.ephemeral() as instance:

        def state() -> RunStatus:
            context = SimpleNamespace(instance=instance, sensor_name="new_data_sensor")
            found = run_state(cast(dg.SensorEvaluationContext, context), "forecasts-1")
            assert found is not None
            return found.status

        run = instance.create_run_for_job(forecasts, tags=asked)
        instance.report_run_failed(run)
        assert state() == RunStatus.FAILED
        instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
        assert state() == RunStatus.RUNNING
        monkeypatch.setattr(sensor_parts, "RETRY_PATIENCE", timedelta(0))
        assert state() == RunStatus.FAILED
        retry = instance.create_run_for_job(forecasts, tags=asked)
        assert state() == RunStatus.RUNNING
        instance.report_run_failed(retry)
        assert state() == RunStatus.FAILED
