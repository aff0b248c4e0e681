"""What is measured of scores, forecasts and runs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from chronos_assets.defs import measurements
from chronos_assets.defs.forecast_age_sensor import forecast_age_sensor
from chronos_assets.pipeline.accuracy import WindowAccuracy
from chronos_assets.pipeline.forecasts import ForecastRun, WindowForecast
from chronos_assets.platforms.metrics import Measurement
from chronos_assets.platforms.notices import Notice
from chronos_assets.timeseries.scoring.accuracy import MetricComparison
from chronos_assets_tests.defs.line import make_line
from chronos_assets_tests.models.tiny import folder_of

NOW = datetime(2026, 1, 2, 3, tzinfo=UTC)


class Report:
    """Stands for a report with these values."""

    def __init__(self, **values: float | None) -> None:
        self.values = values

    def overall(self) -> dict[str, MetricComparison]:
        return {name: MetricComparison(value, None, 1, 0) for name, value in self.values.items()}


def scored(key: str, **values: float | None) -> WindowAccuracy:
    report: Any = Report(**values)
    return WindowAccuracy(key, report, "bolt", "data-1", "forecast-1", rows=9)


def test_scores_of_the_newest_partition_are_measured() -> None:
    windows = [
        scored(
            "2024-01-02", wql=0.1, wql_p10=0.2, wql_p90=0.3, rmse=4.0, mase=None, wape=0.5, mape=0.6, coverage_80=0.7
        ),
        scored("2024-01-01", wql=9.0),
    ]
    found = measurements.of_scores(windows, ["2024-01-01", "2024-01-02"], NOW)
    assert {item.name: item.value for item in found} == {
        "WQL": 0.1, "WQL_p10": 0.2, "WQL_p90": 0.3, "RMSE": 4.0, "WAPE": 0.5,
    }  # fmt: skip
    assert {(item.model, item.at, item.unit) for item in found} == {("bolt", NOW, "None")}


def test_a_backfill_of_older_partitions_measures_no_scores() -> None:
    assert measurements.of_scores([scored("2024-01-01", wql=0.1)], ["2024-01-01", "2024-01-02"], NOW) == []
    assert measurements.of_scores([], [], NOW) == []


def made(*published: bool) -> ForecastRun:
    windows = tuple(
        WindowForecast(f"2024-01-0{number}", {"series": number, "model": {"reference": "bolt"}}, {}, shown)
        for number, shown in enumerate(published, 1)
    )
    anything: Any = None
    return ForecastRun(windows, "data-1", anything, 12.5, anything, {})


def test_a_forecast_that_became_the_current_one_is_measured() -> None:
    assert measurements.of_forecasts(made(False, True), NOW) == [
        Measurement("Items", 2.0, NOW, "Count", "bolt"),
        Measurement("Seconds", 12.5, NOW, "Seconds", "bolt"),
        Measurement("ForecastAge", 0.0, NOW),
    ]
    # The alarm on staleness hears nothing of a backfill.
    assert measurements.of_forecasts(made(False, False), NOW) == []


def test_the_age_of_a_forecast_is_reported_in_days() -> None:
    assert measurements.of_age(NOW - timedelta(hours=36), NOW) == [Measurement("ForecastAge", 1.5, NOW)]
    # The store's clock may be ahead of this one.
    assert measurements.of_age(NOW + timedelta(seconds=2), NOW) == [Measurement("ForecastAge", 0.0, NOW)]


class Kept:
    """Metrics that are looked at."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Measurement]] = []

    def put(self, group: str, found: Sequence[Measurement]) -> None:
        self.found += [(group, item) for item in found]


def test_a_sensor_reports_the_age_of_what_is_shown_and_nothing_without_a_forecast(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_line(tmp_path / "store", instance, model=str(folder_of("bolt")))
        kept = line.group.__dict__["metrics"] = Kept()
        sensor = forecast_age_sensor(line.group)

        def tick() -> str:
            answer = sensor(dg.build_sensor_context(instance=instance))
            assert isinstance(answer, dg.SkipReason)
            return str(answer.skip_message)

        assert tick() == "there is no forecast yet"
        assert kept.found == []
        shown = tmp_path / "store" / "forecast" / "forecast.parquet"
        shown.parent.mkdir()
        shown.write_bytes(b"1")
        old = time.time() - 3 * 86_400
        os.utime(shown, (old, old))
        assert tick() == "the current forecast is 3.0 days old"
        ((group, age),) = kept.found
        assert (group, age.name) == ("Shop", "ForecastAge")
        assert abs(age.value - 3) < 0.01


def test_a_runs_end_is_a_failure_or_a_success() -> None:
    def told(outcome: Any) -> dict[str, float]:
        return {item.name: item.value for item in measurements.of_outcome(Notice(outcome, "shop", "r1", NOW))}

    assert told("failure") == {"Failures": 1.0, "Successes": 0.0}
    assert told("success") == {"Failures": 0.0, "Successes": 1.0}
    assert told("canceled") == {}
