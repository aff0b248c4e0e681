"""The checks: each finds what it is for, names it, and says what to do; and says nothing of what is sound."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.checks import MAX_ROWS, CheckOutcome
from chronos_assets.timeseries.dataset.checks import check_dataset
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.forecast.checks import check_coverage, check_freshness, check_quantiles
from chronos_assets.timeseries.published_files import DATASET_MANIFEST
from chronos_assets.timeseries.scoring.accuracy import AccuracyReport, evaluate_partition
from chronos_assets.timeseries.scoring.checks import check_accuracy
from chronos_assets_tests.timeseries.builders import (
    DatasetFolder,
    Key,
    MadeSeries,
    make_params,
    write_dataset,
    write_forecast,
)

NAN = float("nan")
CONTEXT_END = np.datetime64("2024-01-02T23:00", "us")
FIRST = "2024-01-03T00:00"


def series_of(*names: str, hours: int = 51) -> list[MadeSeries]:
    return [MadeSeries((name,), "2024-01-01", np.arange(hours) % 7 + 1.0) for name in names]


def band(value: float = 4.0, steps: int = 3) -> dict[str, list[float]]:
    return {"p10": [value - 1] * steps, "p50": [value] * steps, "p90": [value + 1] * steps}


def check_failed(outcome: CheckOutcome, severity: str, *problems: str) -> None:
    """The outcome is a failure of these problems, and can be shown."""
    assert (outcome.passed, outcome.severity) == (False, severity)
    assert [row["problem"] for row in outcome.failing_rows] == list(problems)
    assert outcome.failing == len(problems)
    assert outcome.fix
    assert len({tuple(row) for row in outcome.failing_rows}) == 1
    for row in outcome.failing_rows:
        assert all(value is None or isinstance(value, str | int | float) for value in row.values())


# --- dataset


def rewrite(dataset: Path, change: Any, *, shard: int = 0) -> None:
    """Change the rows of a shard, as a table of columns, and let the manifest know its new bytes."""
    manifest = Manifest.read(dataset)
    path = dataset / manifest.shards[shard].name
    table = pq.read_table(path)
    pq.write_table(change(table), path)
    update(dataset, shard, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def update(dataset: Path, shard: int, **changes: Any) -> None:
    manifest = Manifest.read(dataset)
    shards = list(manifest.shards)
    shards[shard] = dataclasses.replace(shards[shard], **changes)
    (dataset / DATASET_MANIFEST).write_text(dataclasses.replace(manifest, shards=tuple(shards)).to_json())


def with_column(name: str, change: Any) -> Any:
    def changed(table: pa.Table) -> pa.Table:
        values = change(table.column(name).to_pylist())
        return table.set_column(table.schema.get_field_index(name), table.schema.field(name), [values])

    return changed


def test_a_sound_dataset_passes(tmp_path: Path) -> None:
    params = make_params(dimensions=("store",))
    series = [MadeSeries((name, "x"), "2024-01-01", [1.0, NAN, 3.0], [False, True, False]) for name in "abcdef"]
    outcome = check_dataset(DatasetFolder(write_dataset(tmp_path, params, series, shards=3)), params)
    assert (outcome.passed, outcome.failing_rows, outcome.fix) == (True, (), "")
    assert outcome.description == "6 series with 18 rows in 3 shards are sorted, regular (H) and as the manifest says."
    assert outcome.numbers == {"shards": 3, "series": 6, "rows": 18, "observed": 12}


def shifted(values: list[Any]) -> list[Any]:
    return [*values[:-1], values[-1] + timedelta(hours=1)]


@pytest.mark.parametrize("column, change, problems", [
    ("timestamp", lambda times: [time + timedelta(minutes=7) for time in times], ["off the grid", "wrong end"]),
    ("timestamp", shifted, ["irregular", "wrong end"]),
    ("timestamp", lambda times: [time - timedelta(hours=1) for time in times], ["wrong end"]),
    ("target", lambda values: [float("inf"), *values[1:]], ["no number"]),
    ("target", lambda values: [NAN, *values[1:]], ["no number"]),
])  # fmt: skip
def test_a_series_that_is_not_regular_or_not_a_number_is_named(
    tmp_path: Path, column: str, change: Any, problems: list[str]
) -> None:
    params = make_params()
    dataset = write_dataset(tmp_path, params, series_of("a"), shards=1)
    rewrite(dataset, with_column(column, change))
    outcome = check_dataset(DatasetFolder(dataset), params)
    check_failed(outcome, "error", *problems)
    assert {row["series"] for row in outcome.failing_rows} == {"a"}
    assert {row["file"] for row in outcome.failing_rows} == {"part-00000.parquet"}


def test_a_series_in_two_shards_or_out_of_order_is_named(tmp_path: Path) -> None:
    params = make_params()
    dataset = write_dataset(tmp_path, params, series_of(*"abcdefgh"), shards=2)
    other = pq.read_table(dataset / "part-00001.parquet").slice(0, 51)
    stranger = other.column("item_id")[0].as_py()

    def added(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table, other])

    rewrite(dataset, added)
    problems = {(row["problem"], row["series"]) for row in check_dataset(DatasetFolder(dataset), params).failing_rows}
    assert ("wrong shard", stranger) in problems
    assert {problem for problem, _ in problems} <= {"wrong shard", "not sorted", "wrong series", "wrong rows"}

    dataset = write_dataset(tmp_path / "twice", params, series_of("a"), shards=1)
    rewrite(dataset, lambda table: pa.concat_tables([table, other, table]))
    assert "not sorted" in {row["problem"] for row in check_dataset(DatasetFolder(dataset), params).failing_rows}


def test_files_that_are_not_those_of_the_manifest_are_named(tmp_path: Path) -> None:
    params = make_params()
    dataset = write_dataset(tmp_path / "changed", params, series_of("a"), shards=1)
    path = dataset / "part-00000.parquet"
    pq.write_table(pq.read_table(path), path, compression="none")
    check_failed(check_dataset(DatasetFolder(dataset), params), "error", "changed")

    for name, content in (("cut", path.read_bytes()[:-100]), ("text", b"not parquet")):
        dataset = write_dataset(tmp_path / name, params, series_of("a"), shards=1)
        (dataset / "part-00000.parquet").write_bytes(content)
        check_failed(check_dataset(DatasetFolder(dataset), params), "error", "unreadable")

    dataset = write_dataset(tmp_path / "gone", params, series_of("a"), shards=1)
    (dataset / "part-00000.parquet").unlink()
    check_failed(check_dataset(DatasetFolder(dataset), params), "error", "unreadable")

    dataset = write_dataset(tmp_path / "columns", params, series_of("a"), shards=1)
    rewrite(dataset, lambda table: table.rename_columns(["item_id", "timestamp", "value", "filled"]))
    check_failed(check_dataset(DatasetFolder(dataset), params), "error", "wrong columns")

    dataset = write_dataset(tmp_path / "counts", params, series_of("a"), shards=1)
    update(dataset, 0, rows=7, series=2)
    check_failed(check_dataset(DatasetFolder(dataset), params), "error", "wrong series", "wrong rows")

    check_failed(check_dataset(DatasetFolder(tmp_path / "nothing"), params), "error", "unreadable")


def test_totals_of_the_manifest_and_the_parameters_are_compared_too(tmp_path: Path) -> None:
    params = make_params()
    dataset = write_dataset(tmp_path, params, series_of("a"), shards=1)
    manifest = Manifest.read(dataset)
    (dataset / DATASET_MANIFEST).write_text(dataclasses.replace(manifest, observed=3).to_json())
    check_failed(check_dataset(DatasetFolder(dataset), params), "error", "wrong observed")
    (dataset / DATASET_MANIFEST).write_text(dataclasses.replace(manifest, frequency="D").to_json())
    check_failed(check_dataset(DatasetFolder(dataset), params), "error", "other frequency")


def test_only_the_first_rows_are_kept_but_all_are_counted(tmp_path: Path) -> None:
    params = make_params()
    dataset = write_dataset(tmp_path, params, series_of(*(f"item{n:02d}" for n in range(30))), shards=1)
    rewrite(dataset, with_column("target", lambda values: [float("inf")] * len(values)))
    outcome = check_dataset(DatasetFolder(dataset), params)
    assert (len(outcome.failing_rows), outcome.failing) == (MAX_ROWS, 30)
    assert outcome.description == "30 problems in 1 shards: no number (30)."


# --- freshness


def manifest_ending(last: str) -> Manifest:
    return Manifest("v", "2024-01-01T00:00:00", last, "H", (), 1, 1, 1, 0, 0, 0, 0, {}, {}, 1, ())


def forecast_of(context_end: str, **more: Any) -> dict[str, Any]:
    return {"as_of": "2024-01-02", "context_end": context_end, **more}


def test_a_forecast_of_the_newest_data_is_fresh() -> None:
    outcome = check_freshness(forecast_of("2024-01-02T23:00:00"), manifest_ending("2024-01-02T23:00:00"), make_params())
    assert (outcome.passed, outcome.numbers) == (True, {"periods_behind": 0})


def test_a_forecast_older_than_the_data_is_not_fresh() -> None:
    dataset = manifest_ending("2024-01-03T05:00:00")
    outcome = check_freshness(forecast_of("2024-01-02T23:00:00"), dataset, make_params())
    assert (outcome.passed, outcome.severity, outcome.numbers) == (False, "error", {"periods_behind": 6})
    assert "6 periods before the dataset's last (2024-01-03T05:00:00)" in outcome.description
    assert outcome.failing_rows == (
        {"what": "data in the forecast", "found": "2024-01-02T23:00:00.000000", "wanted": "2024-01-03T05:00:00"},
    )
    assert not check_freshness(None, dataset, make_params()).passed


def test_a_last_period_that_was_not_over_may_be_left_out() -> None:
    forecast = forecast_of("2024-01-02T23:00:00", complete_periods=True)
    assert check_freshness(forecast, manifest_ending("2024-01-03T00:00:00"), make_params()).passed
    assert not check_freshness(forecast, manifest_ending("2024-01-03T01:00:00"), make_params()).passed


@pytest.mark.parametrize("zone, now, passed", [
    (None, datetime(2024, 1, 3, 2, tzinfo=UTC), True),                                     # two hours after the last hour
    (None, datetime(2024, 1, 3, 2, 1, tzinfo=UTC), False),
    (None, datetime(2024, 1, 3, 4, tzinfo=timezone(timedelta(hours=2))), True),
    ("Europe/Berlin", datetime(2024, 1, 3, 1, tzinfo=UTC), True),                          # 02:00 by the data's clock
    ("Europe/Berlin", datetime(2024, 1, 3, 1, 1, tzinfo=UTC), False),
])  # fmt: skip
def test_data_that_ended_too_long_ago_are_stale(zone: str | None, now: datetime, passed: bool) -> None:
    params = make_params(max_data_age=7200.0, time_zone=zone)
    dataset = manifest_ending("2024-01-02T23:00:00")
    outcome = check_freshness(forecast_of("2024-01-02T23:00:00"), dataset, params, now=now)
    assert (outcome.passed, outcome.severity) == (passed, "warn")
    assert outcome.numbers["data_age_seconds"] == (7200 if passed else 7260)
    assert bool(outcome.fix) is not passed


def test_age_is_not_looked_at_unless_asked_and_needs_a_real_clock() -> None:
    dataset, forecast = manifest_ending("2024-01-02T23:00:00"), forecast_of("2024-01-02T23:00:00")
    assert check_freshness(forecast, dataset, make_params(), now=datetime(2030, 1, 1, tzinfo=UTC)).passed
    with pytest.raises(ValueError, match="time zone"):
        check_freshness(forecast, dataset, make_params(max_data_age=1.0), now=datetime(2024, 1, 1))


# --- quantiles


def test_ascending_quantiles_pass_and_equal_ones_too(tmp_path: Path) -> None:
    forecast = {("a",): {"p10": [1.0, 2.0], "p50": [1.0, 2.5], "p90": [1.0, 9.0], "mean": [100.0, -5.0]}}
    outcome = check_quantiles(write_forecast(tmp_path / "f.parquet", make_params(), FIRST, forecast))
    assert (outcome.passed, outcome.numbers) == (True, {"rows": 2, "crossing": 0, "not_a_number": 0})
    only_mean = write_forecast(tmp_path / "m.parquet", make_params(), FIRST, {("a",): {"mean": [1.0]}})
    assert check_quantiles(only_mean).passed


def test_crossing_quantiles_and_missing_values_are_named_with_their_values(tmp_path: Path) -> None:
    params = make_params(dimensions=("rows",))
    forecast: dict[Key, Any] = {
        ("'; DROP TABLE failing; --", "x"): {"p10": [1.0, 2.0], "p50": [1.5, 1.9], "p90": [2.0, 3.0]},
        ("b", "y"): {"p10": [1.0, 2.0], "p50": [NAN, 2.0], "p90": [2.0, float("inf")]},
    }
    outcome = check_quantiles(write_forecast(tmp_path / "f.parquet", params, FIRST, forecast))
    check_failed(outcome, "error", "crossing", "not a number", "not a number")
    assert outcome.failing_rows[0] == {
        "problem": "crossing", "series": "'; DROP TABLE failing; -- / x", "timestamp": "2024-01-03T01:00:00",
        "p10": 2.0, "p50": 1.9, "p90": 3.0,
    }  # fmt: skip
    assert outcome.failing_rows[1]["p50"] is None
    assert outcome.numbers == {"rows": 4, "crossing": 1, "not_a_number": 2}


# --- coverage


def coverage(
    folder: Path, params: ForecastParams, series: list[MadeSeries], forecasts: dict[Key, Any], skipped: dict[Key, str]
) -> CheckOutcome:
    dataset = write_dataset(folder / "dataset", params, series)
    write_forecast(folder / "forecast.parquet", params, FIRST, forecasts)
    names = ["item_id", *params.dimensions, "reason"]
    columns = zip(*((*key, reason) for key, reason in skipped.items()), strict=True) if skipped else [[]] * len(names)
    table = pa.table([pa.array(column, pa.string()) for column in columns], names=names)
    pq.write_table(table, folder / "skipped.parquet")
    return check_coverage(folder, DatasetFolder(dataset), params, context_end=CONTEXT_END, horizon=3)


def test_a_forecast_of_every_series_that_had_begun_is_complete(tmp_path: Path) -> None:
    params = make_params(dimensions=("first",))
    series = [MadeSeries(("a", "x"), "2024-01-01", [1.0] * 51), MadeSeries(("late", "x"), "2024-01-03", [1.0] * 3)]
    outcome = coverage(tmp_path, params, series, {("a", "x"): band()}, {})
    assert (outcome.passed, outcome.description) == (True, "All 1 series have a forecast of 3 steps.")
    assert outcome.numbers == {
        "series": 2, "not_started": 1, "forecast": 1, "skipped": 0, "missing": 0, "wrong_steps": 0, "unknown": 0,
    }  # fmt: skip


def test_every_series_without_a_whole_forecast_is_named_with_its_reason(tmp_path: Path) -> None:
    forecasts = {("a",): band(), ("short",): band(steps=2), ("stranger",): band()}
    outcome = coverage(
        tmp_path, make_params(), series_of("a", "lost", "short", "empty"), forecasts, {("empty",): "no observations"}
    )
    check_failed(outcome, "error", "missing", "unknown", "wrong_steps", "skipped")
    assert [(row["series"], row["detail"]) for row in outcome.failing_rows] == [
        ("lost", "no forecast, no reason"),
        ("stranger", "not in the dataset"),
        ("short", "2 steps in 2 rows"),
        ("empty", "no observations"),
    ]


def test_series_that_were_skipped_with_a_reason_are_a_warning(tmp_path: Path) -> None:
    outcome = coverage(tmp_path, make_params(), series_of("a", "b"), {("a",): band()}, {("b",): "all missing"})
    check_failed(outcome, "warn", "skipped")
    assert outcome.description == "1 of 2 series have a forecast; skipped: 1."


# --- accuracy


def report_of(folder: Path, series: list[MadeSeries], forecasts: dict[Key, Any]) -> AccuracyReport:
    params = make_params()
    dataset = write_dataset(folder / "dataset", params, series)
    forecast = write_forecast(folder / "f.parquet", params, FIRST, forecasts)
    return evaluate_partition(forecast, DatasetFolder(dataset), params, CONTEXT_END)


def test_a_forecast_better_than_seasonal_naive_passes(tmp_path: Path) -> None:
    series = [MadeSeries(("a",), "2024-01-01", np.arange(51.0))]  # seasonal naive is a day behind
    outcome = check_accuracy(report_of(tmp_path, series, {("a",): band(49.0)}))
    assert (outcome.passed, outcome.fix) == (True, "")
    assert outcome.numbers["relative"] == pytest.approx(outcome.numbers["wql"] / outcome.numbers["wql_seasonal_naive"])
    assert outcome.numbers["relative"] < 1


def test_a_forecast_worse_than_seasonal_naive_is_a_warning_that_names_the_series_at_fault(tmp_path: Path) -> None:
    steady = [MadeSeries((name,), "2024-01-01", [5.0] * 51) for name in ("bad", "worse", "good")]
    outcome = check_accuracy(
        report_of(tmp_path, steady, {("bad",): band(7.0), ("worse",): band(20.0), ("good",): {
            "p10": [5.0] * 3, "p50": [5.0] * 3, "p90": [5.0] * 3
        }})
    )  # fmt: skip
    assert (outcome.passed, outcome.severity, outcome.failing) == (False, "warn", 2)
    assert [row["series"] for row in outcome.failing_rows] == ["worse", "bad"]
    assert outcome.failing_rows[0]["wql_seasonal_naive"] == 0.0
    assert "relative" not in outcome.numbers  # seasonal naive is perfect
    assert outcome.numbers["series_worse"] == 2


def test_only_a_mean_is_compared_by_mase(tmp_path: Path) -> None:
    series = [MadeSeries(("a",), "2024-01-01", np.arange(51.0))]
    outcome = check_accuracy(report_of(tmp_path, series, {("a",): {"mean": [0.0] * 3}}))
    assert not outcome.passed
    assert set(outcome.failing_rows[0]) == {"series", "mase", "mase_seasonal_naive", "points"}


def test_what_can_not_be_compared_passes_and_says_so(tmp_path: Path) -> None:
    series = [MadeSeries(("a",), "2024-01-01", [*np.arange(48.0), NAN, NAN, NAN])]
    outcome = check_accuracy(report_of(tmp_path / "none", series, {("a",): band()}))
    assert outcome.passed
    assert outcome.description == "Not compared with naive (last value): the horizon has no observed values."
    zeros = [MadeSeries(("a",), "2024-01-01", [0.0] * 51)]
    outcome = check_accuracy(report_of(tmp_path / "zero", zeros, {("a",): band()}))
    assert outcome.passed
    assert outcome.description == "Not compared with seasonal naive, 24 h: wql is undefined there."
