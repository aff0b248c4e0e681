"""What a run exports, as params.json asks for it."""

from __future__ import annotations

import csv
import difflib
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from chronos_assets.cli.summary import forecast_rows
from chronos_assets.pipeline import exports
from chronos_assets.pipeline.current_forecast import shown_state
from chronos_assets.pipeline.exports import publish_exports
from chronos_assets.pipeline.published import published_manifest
from chronos_assets.serving.forecast_queries import ForecastPlaces
from chronos_assets_tests.defs.line import Line
from chronos_assets_tests.defs.test_current_forecast import DAILY, make_daily_line, rows, run
from chronos_assets_tests.service_shapes import parsed


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def make_run(root: Path, instance: dg.DagsterInstance, backtest: int = 0, **params: object) -> Line:
    """A line of daily rows, after a run."""
    line = make_daily_line(root / "store", instance, **params)
    line.put("train/a.csv", rows(0, 60))
    run(line, backtest)
    return line


def files(line: Line, key: str) -> list[str]:
    return sorted(path.name for path in (line.root / key).iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize(
    ("export", "names"),
    [
        ({}, ["forecast.csv"]),
        ({"Compression": "GZIP"}, ["forecast.csv.gz"]),
        ({"Compression": "GZIP", "MaxMegabytes": 1}, ["forecast_part0.csv.gz"]),
        ({"ExportFormat": "PARQUET"}, []),
    ],
)
def test_the_forecast_is_exported_as_params_json_asks(
    tmp_path: Path, instance: dg.DagsterInstance, export: dict[str, object], names: list[str]
) -> None:
    line = make_run(tmp_path, instance, Chronos=DAILY["Chronos"] | {"Export": export})
    assert files(line, "forecast") == sorted([*names, "forecast.parquet", "manifest.json"])
    manifest = published_manifest(line.group)
    assert manifest is not None
    told = [place for _, place in forecast_rows(line.group, manifest)]
    assert [Path(place).name for place in told] == [*names, "forecast.parquet"]
    assert shown_state(line.state, thorough=True) is not None
    if names and names[0].endswith(".gz"):
        path = line.root / "forecast" / names[0]
        assert gzip.decompress(path.read_bytes()).startswith(b"timestamp,target_value,item_id,type\n")
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        assert shown_state(line.state, thorough=True) is None


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def backtest_files(line: Line, folder: str) -> list[Path]:
    return sorted((line.root / "backtest" / folder).iterdir())


NO_METRICS = ("item_id", "backtest_window", "backtestwindow_start_time", "backtestwindow_end_time")
EVALUATION = {"NumberOfBacktestWindows": 3, "BackTestWindowOffset": 10}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """After a run that had to forecast windows of the export beyond those of its own backtest."""
    predictor = {**DAILY["Predictor"], "EvaluationParameters": EVALUATION}
    forecast = {"ForecastTypes": ["0.10", "0.50", "0.90", "mean"]}
    with dg.DagsterInstance.ephemeral() as instance:
        root = tmp_path_factory.mktemp("exports") / "store"
        line = make_daily_line(root, instance, Predictor=predictor, Forecast=forecast)
        line.put("train/a.csv", rows(0, 60) + rows(0, 59, items=("=late",)))
        run(line, 1)
        yield line


# Columns of files that the service wrote for the forecast types mean, 0.65 and 0.9: outputs 16 and 14 of
# notebooks/advanced/Item_Level_Accuracy/Item_Level_Accuracy_Using_Bike_Example.ipynb in aws-samples/amazon-forecast-samples at
# 0a7a372ab9f6c2fc91d1ede9ee87176ec881c91a. The developer guide (metrics.html, "Exporting Accuracy Metrics") says what they are:
# the forecast of each type, item, dimensions, timestamp, target value, start and end of the window; wQL at each quantile,
# Average wQL, RMSE, MASE, MAPE and WAPE.
SERVICE_VALUES = "item_id,timestamp,target_value,backtestwindow_start_time,backtestwindow_end_time,mean,p65,p90"
SERVICE_METRICS = (
    "item_id,backtest_window,backtestwindow_start_time,backtestwindow_end_time,"
    "wQL[0.65],wQL[0.9],Average wQL,RMSE,WAPE,MAPE,MASE"
)


def test_backtests_have_the_service_s_columns_and_names(exported: Line) -> None:
    (values,) = backtest_files(exported, "forecasted-values")
    (scores,) = backtest_files(exported, "accuracy-metrics-values")
    assert values.name == scores.name == "Shop_2024-02-29T00-00-00Z_part0.csv"
    for path, header, theirs, ours in (
        (values, SERVICE_VALUES, "p65,p90", "p10,p50,p90"),
        (scores, SERVICE_METRICS, "wQL[0.65],wQL[0.9]", "wQL[0.1],wQL[0.5],wQL[0.9]"),
    ):
        expected, written = header.replace(theirs, ours).split(","), path.read_text().splitlines()[0].split(",")
        assert list(difflib.unified_diff(expected, written, "the service's", "ours", lineterm="")) == []


def test_backtests_show_what_was_forecast_beside_what_happened(exported: Line) -> None:
    (path,) = backtest_files(exported, "forecasted-values")
    values = read_csv(path)
    # Three windows of 7 days, 10 days apart and before the end of the data.
    bounds = {(row["backtestwindow_start_time"], row["backtestwindow_end_time"]) for row in values}
    assert sorted(bounds) == [
        ("2024-01-31T00:00:00", "2024-02-06T00:00:00"),
        ("2024-02-10T00:00:00", "2024-02-16T00:00:00"),
        ("2024-02-20T00:00:00", "2024-02-26T00:00:00"),
    ]
    assert len(values) == 3 * 3 * 7
    actual = {
        (item, f"{time[:10]}T00:00:00"): float(value)
        for time, value, item in (
            line.split(",") for line in (exported.root / "train" / "a.csv").read_text().splitlines()
        )
    }
    assert all(float(row["target_value"]) == actual[row["item_id"], row["timestamp"]] for row in values)
    history = pq.ParquetFile(exported.root / "history" / "as_of=2024-02-09" / "forecast.parquet").read().to_pylist()
    made = {(row["item_id"], row["timestamp"].isoformat()): row for row in history}
    shown = [row for row in values if row["backtestwindow_start_time"] == "2024-02-10T00:00:00"]
    assert len(shown) == 21
    for row in shown:
        forecast = made[row["item_id"], row["timestamp"]]
        assert [float(row[name]) for name in ("mean", "p10", "p50", "p90")] == [
            forecast[name] for name in ("mean", "p10", "p50", "p90")
        ]


def test_backtest_metrics_are_those_of_the_windows_and_their_means(exported: Line) -> None:
    (path,) = backtest_files(exported, "accuracy-metrics-values")
    scores = read_csv(path)
    assert [row["backtest_window"] for row in scores] == [*["Computed"] * 3, "Summary"] * 3
    measured = pq.ParquetFile(exported.root / "accuracy" / "as_of=2024-02-09" / "metrics.parquet").read().to_pylist()
    expected = {row["metric"]: row["value"] for row in measured if row["level"] == "item" and row["item_id"] == "b"}
    computed = [row for row in scores if row["item_id"] == "b" and row["backtest_window"] == "Computed"]
    names = {
        "wQL[0.1]": "wql_p10",
        "Average wQL": "wql",
        "RMSE": "rmse",
        "WAPE": "wape",
        "MAPE": "mape",
        "MASE": "mase",
    }
    for title, name in names.items():
        shown = computed[1][title]
        assert shown == "not defined" if expected[name] is None else float(shown) == expected[name]
    (summary,) = (row for row in scores if row["item_id"] == "b" and row["backtest_window"] == "Summary")
    assert (summary["backtestwindow_start_time"], summary["backtestwindow_end_time"]) == (
        "2024-01-31T00:00:00",
        "2024-02-26T00:00:00",
    )
    assert float(summary["WAPE"]) == pytest.approx(sum(float(row["WAPE"]) for row in computed) / 3)


def test_accuracy_metrics_have_the_shape_of_the_service_s_answer(exported: Line) -> None:
    answer = parsed("GetAccuracyMetrics", (exported.root / "backtest" / "accuracy-metrics.json").read_bytes())
    (result,) = answer["PredictorEvaluationResults"]
    assert [window["EvaluationType"] for window in result["TestWindows"]] == ["SUMMARY", *["COMPUTED"] * 3]
    window = result["TestWindows"][2]
    assert window["TestWindowStart"] == datetime(2024, 2, 10, tzinfo=UTC)
    assert window["ItemCount"] == 3
    measured = pq.ParquetFile(exported.root / "accuracy" / "as_of=2024-02-09" / "metrics.parquet").read().to_pylist()
    expected = {row["metric"]: row["value"] for row in measured if row["level"] == "all"}
    metrics = window["Metrics"]
    assert metrics["AverageWeightedQuantileLoss"] == expected["wql"]
    assert metrics["WeightedQuantileLosses"][0] == {"Quantile": 0.1, "LossValue": expected["wql_p10"]}
    assert metrics["ErrorMetrics"][0] == {
        "ForecastType": "0.5",
        **{name.upper(): expected[name] for name in ("wape", "rmse", "mase", "mape")},
    }
    means = [one["Metrics"]["RMSE"] for one in result["TestWindows"]]
    assert means[0] == pytest.approx(sum(means[1:]) / 3)


def test_monitor_results_have_the_shape_of_the_service_s_answer(exported: Line) -> None:
    answer = parsed("ListMonitorEvaluations", (exported.root / "monitor" / "evaluations.json").read_bytes())
    evaluations = answer["PredictorMonitorEvaluations"]
    starts = [one["WindowStartDatetime"] for one in evaluations]
    assert starts == sorted(starts, reverse=True)
    assert len(evaluations) == len(list((exported.root / "accuracy").iterdir())) - 1  # .versions
    newest = evaluations[0]
    assert newest["EvaluationState"] == "SUCCESS"
    assert newest["NumItemsEvaluated"] == 3
    assert {result["MetricName"] for result in newest["MetricResults"]} <= {
        "AverageWeightedQuantileLoss", "RMSE", "WAPE", "MAPE", "MASE",
    }  # fmt: skip
    arn = newest["MonitorDataSource"]["ForecastArn"]
    place = ForecastPlaces("Shop", "current", str(exported.root / "history" / "as_of={}")).of(arn, "forecast")
    assert (Path(place) / "forecast.parquet").is_file()


def test_partitions_scored_by_older_versions_are_reported_all_the_same(exported: Line) -> None:
    path = exported.root / "accuracy" / "as_of=2024-02-09" / "manifest.json"
    manifest = json.loads(path.read_bytes())
    before = exports._scores(exported.state, scored(exported, "2024-02-09"))
    path.write_text(json.dumps({name: value for name, value in manifest.items() if name != "metrics"}))
    try:
        after = exports._scores(exported.state, scored(exported, "2024-02-09"))
    finally:
        path.write_text(json.dumps(manifest))
    assert after == before
    assert len(after.metrics) > 8


def scored(line: Line, key: str) -> Any:
    """The scored partition `key`."""
    (one,) = (one for one in exports._scored_partitions(line.state) if one.key == key)
    return one


def test_partitions_of_another_frequency_or_other_dimensions_are_left_out(exported: Line) -> None:
    keys = {one.key for one in exports._scored_partitions(exported.state)}
    assert {"2024-02-09", "2024-02-19"} <= keys
    for name, value in (("frequency", "W"), ("dimensions", ["store"])):
        path = (exported.root / "history" / "as_of=2024-02-09" / "manifest.json").resolve()
        text = path.read_text()
        path.write_text(json.dumps(json.loads(text) | {name: value}))
        try:
            assert {one.key for one in exports._scored_partitions(exported.state)} == keys - {"2024-02-09"}
        finally:
            path.write_text(text)


def test_exports_are_made_again_only_where_something_is_new(exported: Line) -> None:
    assert publish_exports(exported.state) == ()
    predictor = {**DAILY["Predictor"], "EvaluationParameters": {"NumberOfBacktestWindows": 2}}
    exported.put("params.json", json.dumps(DAILY | {"Predictor": predictor}))
    # What a monitor reports doesn't depend on it.
    assert publish_exports(exported.state) == ("backtest",)
    (path,) = backtest_files(exported, "forecasted-values")
    values = read_csv(path)
    # The latest that were scored, and start a horizon apart at least.
    assert {row["backtestwindow_start_time"] for row in values} == {"2024-02-23T00:00:00", "2024-02-10T00:00:00"}
    # Nothing was observed there: no value, and none made up.
    (late,) = (row for row in values if row["item_id"] == "=late" and row["timestamp"] == "2024-02-29T00:00:00")
    assert late["target_value"] == ""


def test_exports_are_parquet_or_gzipped_where_params_json_asks(exported: Line) -> None:
    csv_columns = list(read_csv(backtest_files(exported, "forecasted-values")[0])[0])
    chronos: dict[str, Any] = {"QuoteFormulas": True, "Export": {"ExportFormat": "PARQUET"}}
    exported.put("params.json", json.dumps(DAILY | {"Chronos": chronos}))
    assert publish_exports(exported.state) == ("backtest", "monitor")
    (path,) = backtest_files(exported, "forecasted-values")
    assert path.name == "Shop_2024-02-29T00-00-00Z_part0.parquet"
    table = pq.read_table(path)
    assert table.column_names == csv_columns
    assert table["backtestwindow_end_time"][0].as_py() == datetime(2024, 2, 29)
    assert set(table["item_id"].to_pylist()) == {"a", "b", "=late"}
    (path,) = backtest_files(exported, "accuracy-metrics-values")
    assert {str(field.type) for field in pq.read_schema(path) if field.name not in NO_METRICS} == {"double"}
    chronos["Export"] = {"Compression": "GZIP", "MaxMegabytes": 1}
    exported.put("params.json", json.dumps(DAILY | {"Chronos": chronos}))
    publish_exports(exported.state)
    (path,) = backtest_files(exported, "accuracy-metrics-values")
    assert gzip.decompress(path.read_bytes()).decode().splitlines()[1].startswith("'=late,Computed,")
