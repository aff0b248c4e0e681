"""Accuracy of a partition: what counts, against what, and that the pieces it is read in don't matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.params.forecast import Filling, ForecastParams
from chronos_assets.timeseries.scoring import accuracy, metrics_file
from chronos_assets.timeseries.scoring.accuracy import (
    AccuracyError,
    AccuracyReport,
    MetricComparison,
    evaluate_partition,
    is_observed,
)
from chronos_assets.timeseries.scoring.anomalies import write_anomalies
from chronos_assets.timeseries.scoring.baselines import seasonal_naive
from chronos_assets.timeseries.scoring.metrics import season_error
from chronos_assets.timeseries.scoring.metrics_file import write_metrics
from chronos_assets_tests.timeseries.builders import (
    DatasetFolder,
    MadeSeries,
    make_params,
    write_dataset,
    write_forecast,
)

NAN = float("nan")
CONTEXT_END = np.datetime64("2024-01-02T23:00", "us")  # of series that begin at 2024-01-01T00:00, after 48 hours
FIRST = "2024-01-03T00:00"


def hours(count: int, seed: int) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(20, 5, count), 2)


def flat(value: float, steps: int = 3) -> dict[str, list[float]]:
    return {"p10": [value - 1] * steps, "p50": [value] * steps, "p90": [value + 1] * steps}


def evaluate(
    folder: Path, params: ForecastParams, series: list[MadeSeries], forecasts: dict[Any, Any], **options: Any
) -> AccuracyReport:
    dataset = write_dataset(folder / "dataset", params, series, shards=options.pop("shards", 2))
    forecast = write_forecast(folder / "forecast.parquet", params, FIRST, forecasts)
    return evaluate_partition(
        forecast, DatasetFolder(dataset), params, options.pop("context_end", CONTEXT_END), **options
    )


def test_measures_the_forecast_and_the_naive_one_on_the_same_points(tmp_path: Path) -> None:
    values = hours(51, 1)
    report = evaluate(tmp_path, make_params(), [MadeSeries(("a",), "2024-01-01", values)], {("a",): flat(20.0)})
    actual, history = values[48:], values[:48]
    assert set(report.baseline.errors) == {1, 24}  # a week doesn't fit in two days
    naive = seasonal_naive(history, report.baseline.season, 3)
    scale = season_error(history, 24)
    overall = report.overall()
    assert list(overall) == [
        "wql_p10", "wql_p50", "wql_p90", "wql", "wape", "rmse", "mase", "mape", "mae", "bias", "weighted_bias",
        "tracking_signal", "coverage_80", "error_contribution",
    ]  # fmt: skip
    assert overall["wape"].value == pytest.approx(np.abs(actual - 20).sum() / actual.sum())
    assert overall["wape"].seasonal_naive == pytest.approx(np.abs(actual - naive).sum() / actual.sum())
    assert overall["mase"].value == pytest.approx(np.abs(actual - 20).mean() / scale)
    assert overall["mase"].seasonal_naive == pytest.approx(np.abs(actual - naive).mean() / scale)
    # A point forecast's pinball losses at .1, .5 and .9 average to its absolute error.
    assert overall["wql"].seasonal_naive == pytest.approx(overall["wape"].seasonal_naive)
    assert overall["coverage_80"] == MetricComparison(
        pytest.approx(np.mean(np.abs(actual - 20) <= 1)), seasonal_naive=None, points=3, excluded=0
    )
    assert (report.points, report.excluded, report.horizon) == (3, 0, 3)
    assert report.measured_series == 1


def test_filled_and_missing_actuals_are_left_out_and_counted(tmp_path: Path) -> None:
    values = [*hours(48, 2), 20.0, 999.0, NAN]
    filled = [False] * 49 + [True, False]
    report = evaluate(tmp_path, make_params(), [MadeSeries(("a",), "2024-01-01", values, filled)], {("a",): flat(20.0)})
    assert report.overall()["wape"] == MetricComparison(
        0.0, pytest.approx(abs(values[24] - 20) / 20), points=1, excluded=2
    )
    assert (report.points, report.excluded) == (1, 2)


def test_filled_history_is_no_measure_of_the_season_but_is_what_the_naive_forecast_sees(tmp_path: Path) -> None:
    values = list(hours(51, 3))
    filled = [False] * 51
    for hour in (24, 47):
        values[hour], filled[hour] = 0.0, True  # as an import with middlefill "zero" writes them
    params = make_params(filling=Filling(middlefill="zero", backfill="value", backfill_value=7.0))
    report = evaluate(tmp_path, params, [MadeSeries(("a",), "2024-01-01", values, filled)], {("a",): flat(20.0)})
    observed = np.where(filled, NAN, values)
    naive = np.array([0.0, values[25], values[26]])
    actual = np.array(values[48:])
    assert report.overall()["wape"].seasonal_naive == pytest.approx(np.abs(actual - naive).sum() / actual.sum())
    assert report.overall()["mase"].value == pytest.approx(np.abs(actual - 20).mean() / season_error(observed[:48], 24))


def test_a_gap_that_ended_after_the_as_of_is_filled_as_the_model_saw_it(tmp_path: Path) -> None:
    values, filled = list(hours(51, 4)), [False] * 51
    values[47], filled[47] = 123.0, True  # a middle gap of the dataset, but the end of the data at the as-of
    params = make_params(filling=Filling(middlefill="value", middlefill_value=123.0, backfill="zero"), frequency="D")
    series = MadeSeries(("a",), "2023-11-16", values, filled)
    report = evaluate(tmp_path, params, [series], {("a",): flat(20.0)}, context_end=np.datetime64("2024-01-02", "us"))
    actual = np.array(values[48:])
    naive = seasonal_naive(np.array([*values[:47], 0.0]), report.baseline.season, 3)
    assert report.overall()["wape"].seasonal_naive == pytest.approx(np.abs(actual - naive).sum() / actual.sum())
    assert report.overall()["wape"].value == pytest.approx(np.abs(actual - 20).sum() / actual.sum())


def test_nothing_after_the_context_end_is_seen_by_the_baseline(tmp_path: Path) -> None:
    values = hours(80, 5)
    reports = []
    for name, later in (("one", values), ("two", np.concatenate([values[:51], hours(29, 99)]))):
        series = [MadeSeries(("a",), "2024-01-01", later)]
        reports.append(evaluate(tmp_path / name, make_params(), series, {("a",): flat(20.0)}))
    assert reports[0].overall() == reports[1].overall()


def test_series_without_a_forecast_and_forecasts_without_a_series_are_ignored(tmp_path: Path) -> None:
    series = [MadeSeries((name,), "2024-01-01", hours(51, seed)) for seed, name in enumerate("abcd")]
    forecasts = {("b",): flat(20.0), ("d",): flat(21.0), ("gone",): flat(1.0)}
    report = evaluate(tmp_path, make_params(), series, forecasts)
    assert report.series == (("b",), ("d",))
    assert report.points == 6


def test_a_series_that_began_within_the_horizon_has_only_its_own_points(tmp_path: Path) -> None:
    series = [MadeSeries(("old",), "2024-01-01", hours(51, 1)), MadeSeries(("new",), "2024-01-03T01:00", [5.0, 6.0])]
    report = evaluate(tmp_path, make_params(), series, {("old",): flat(20.0), ("new",): flat(5.0)})
    assert report.series == (("new",), ("old",))
    assert list(report.forecast.points) == [2, 3]
    assert report.forecast.absolute_error[0] == pytest.approx(1.0)


def test_dimensions_are_part_of_a_series(tmp_path: Path) -> None:
    params = make_params(dimensions=('st"ore', "size"))
    keys = [("a", "x,y", "1"), ("a", "x", "y,1"), ("'; DROP TABLE forecasts; --", "x", "")]
    series = [MadeSeries(key, "2024-01-01", [float(place)] * 51) for place, key in enumerate(keys)]
    report = evaluate(tmp_path, params, series, {key: flat(float(place)) for place, key in enumerate(keys)})
    assert report.series == tuple(sorted(keys))
    assert report.forecast.absolute_error.tolist() == [0.0, 0.0, 0.0]
    write_metrics(report, tmp_path / "metrics.parquet")
    table = pq.read_table(tmp_path / "metrics.parquet")
    assert table.column_names == [
        "level", "item_id", 'st"ore', "size", "segment_by", "segment_value", "metric", "value", "seasonal_naive",
        "baseline", "points", "excluded",
    ]  # fmt: skip
    rows = {tuple(row[name] for name in ("item_id", 'st"ore', "size")) for row in table.to_pylist()}
    assert rows == {(None, None, None), *keys}


def test_each_value_of_a_dimension_is_a_segment_with_its_share_of_the_error(tmp_path: Path) -> None:
    params = make_params(dimensions=("store",))
    series = [MadeSeries((item, store), "2024-01-01", [10.0] * 51) for item in "ab" for store in ("x", "y")]
    off = {("a", "x"): 13.0, ("a", "y"): 9.0, ("b", "x"): 10.0, ("b", "y"): 10.0}
    report = evaluate(tmp_path, params, series, {key: flat(value) for key, value in off.items()})
    write_metrics(report, tmp_path / "metrics.parquet")
    rows = pq.read_table(tmp_path / "metrics.parquet").to_pylist()

    def values(level: str, metric: str, name: str) -> dict[Any, Any]:
        return {row[name]: row["value"] for row in rows if (row["level"], row["metric"]) == (level, metric)}

    assert values("segment", "error_contribution", "segment_value") == {"x": 0.75, "y": 0.25}
    assert values("segment", "bias", "segment_value") == {"x": 1.5, "y": -0.5}
    assert values("segment", "tracking_signal", "segment_value") == {"x": 6.0, "y": -6.0}
    segments = [row for row in rows if row["level"] == "segment" and row["metric"] == "wape"]
    assert [(row["segment_by"], row["item_id"], row["store"], row["points"], row["excluded"]) for row in segments] == [
        ("store", None, None, 6, 0)
    ] * 2
    items = [row for row in rows if row["level"] == "item" and row["metric"] == "error_contribution"]
    assert {(row["item_id"], row["store"]): row["value"] for row in items} == {
        ("a", "x"): 0.75, ("a", "y"): 0.25, ("b", "x"): 0.0, ("b", "y"): 0.0,
    }  # fmt: skip
    assert values("all", "error_contribution", "item_id") == {None: 1.0}


def test_categories_of_items_are_segments_too(tmp_path: Path) -> None:
    params = make_params(dimensions=("store",))
    series = [MadeSeries((item, "x"), "2024-01-01", [10.0] * 51) for item in "abc"]
    report = evaluate(tmp_path, params, series, {("a", "x"): flat(13.0), ("b", "x"): flat(9.0), ("c", "x"): flat(10.0)})
    categories = {"brand": {"a": "Korn", "b": "Korn", "d": "Alm"}, "store": {"a": "not the dimension"}}
    write_metrics(report, tmp_path / "metrics.parquet", categories)
    rows = [
        (row["segment_by"], row["segment_value"], row["value"], row["points"])
        for row in pq.read_table(tmp_path / "metrics.parquet").to_pylist()
        if (row["level"], row["metric"]) == ("segment", "bias")
    ]
    assert rows == [("store", "x", pytest.approx(2 / 3), 9), ("brand", "Korn", 1.0, 6)]


def test_actuals_far_outside_the_band_are_anomalies_of_their_series(tmp_path: Path) -> None:
    params = make_params(anomaly_threshold=3.0)
    calm, wild = [20.0] * 48 + [20.0, 22.0, 19.0], [20.0] * 48 + [20.5, 24.0, 14.0]
    series = [MadeSeries(("wild",), "2024-01-01", wild), MadeSeries(("calm",), "2024-01-01", calm)]
    report = evaluate(tmp_path, params, series, {("wild",): flat(20.0), ("calm",): flat(20.0)})
    assert report.worst_anomalies(1) == [
        {"series": "wild", "timestamp": "2024-01-03T02:00:00", "actual": 14.0, "low": 19.0, "high": 21.0}
    ]
    path = tmp_path / "anomalies.parquet"
    assert write_anomalies(report.anomalies, report.series, report.timestamps, (), path) == 2
    assert [
        (row["item_id"], row["timestamp"].hour, row["target"], row["band_low"], row["band_middle"], row["band_high"],
         row["deviation"])
        for row in pq.read_table(path).to_pylist()
    ] == [("wild", 1, 24.0, 19.0, 20.0, 21.0, 4.0), ("wild", 2, 14.0, 19.0, 20.0, 21.0, -6.0)]  # fmt: skip


def test_a_mean_forecast_is_measured_too(tmp_path: Path) -> None:
    values = hours(51, 1)
    forecast = flat(20.0) | {"mean": [22.0] * 3}
    report = evaluate(tmp_path, make_params(mean=True), [MadeSeries(("a",), "2024-01-01", values)], {("a",): forecast})
    assert report.overall()["rmse"].value == pytest.approx(np.sqrt(np.mean((values[48:] - 22) ** 2)))
    assert report.overall()["wape"].value == pytest.approx(np.abs(values[48:] - 20).sum() / values[48:].sum())


@pytest.mark.process
@settings(max_examples=8)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4))
def test_pieces_and_shards_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, count: int, shards: int, at_once: int
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    series = [MadeSeries((f"item{seed}",), "2024-01-01", hours(51, seed)) for seed in range(count)]
    forecasts = {one.key: flat(18.0 + place) for place, one in enumerate(series)}
    whole = evaluate(folder / "whole", make_params(), series, forecasts, shards=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "_SERIES_AT_ONCE", at_once)
        patch.setattr(metrics_file, "_SERIES_PER_ROW_GROUP", at_once)
        pieces = evaluate(folder / "pieces", make_params(), series, forecasts, shards=shards)
        assert write_metrics(pieces, folder / "pieces.parquet") == 14 * (count + 1)
    write_metrics(whole, folder / "whole.parquet")
    assert pq.read_table(folder / "pieces.parquet").to_pylist() == pq.read_table(folder / "whole.parquet").to_pylist()


def test_metrics_file_has_the_whole_and_each_item_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    series = [MadeSeries(("a",), "2024-01-01", hours(51, 1)), MadeSeries(("zero",), "2024-01-01", [0.0] * 51)]
    for name in ("one", "two"):
        report = evaluate(tmp_path / name, make_params(), series, {("a",): flat(20.0), ("zero",): flat(0.5)})
        write_metrics(report, tmp_path / name / "metrics.parquet")
    assert (tmp_path / "one/metrics.parquet").read_bytes() == (tmp_path / "two/metrics.parquet").read_bytes()
    rows = pq.read_table(tmp_path / "one/metrics.parquet").to_pylist()
    overall = {row["metric"]: row for row in rows if row["level"] == "all"}
    assert overall["wql"]["value"] == report.overall()["wql"].value
    assert (overall["mape"]["points"], overall["mape"]["excluded"]) == (3, 3)  # zero actuals have no percentage
    zero = {row["metric"]: row for row in rows if row["item_id"] == "zero"}
    assert zero["wape"] == {
        "level": "item", "item_id": "zero", "segment_by": None, "segment_value": None,
        "metric": "wape", "value": None, "seasonal_naive": None,
        "baseline": "seasonal naive, 24 h",
        "points": 3, "excluded": 0,
    }  # fmt: skip
    assert zero["rmse"]["value"] == 0.5
    assert zero["coverage_80"]["seasonal_naive"] is None


def test_a_forecast_of_nothing_has_metrics_of_nothing(tmp_path: Path) -> None:
    params = make_params()
    series = [MadeSeries(("a",), "2024-01-01", hours(51, 1))]
    report = evaluate(tmp_path, params, series, {("a",): {"p10": [], "p50": [], "p90": []}})
    assert report.series == ()
    assert report.overall()["wql"] == MetricComparison(None, None, points=0, excluded=0)
    assert report.measured_series == 0
    assert write_metrics(report, tmp_path / "metrics.parquet") == 14


def test_what_can_not_be_measured_is_said(tmp_path: Path) -> None:
    long, short = [MadeSeries(("a",), "2024-01-01", hours(51, 1))], [MadeSeries(("a",), "2024-01-01", hours(50, 1))]
    with pytest.raises(AccuracyError, match=r"period of 2024-01-03T02.*the dataset with that of 2024-01-03T01"):
        evaluate(tmp_path / "early", make_params(), short, {("a",): flat(20.0)})
    with pytest.raises(AccuracyError, match="not right after"):
        evaluate(
            tmp_path / "gap", make_params(), long, {("a",): flat(20.0)}, context_end=np.datetime64("2024-01-02", "us")
        )
    lacking = flat(20.0) | {"p50": [20.0, NAN, 20.0]}
    with pytest.raises(AccuracyError, match=r"series \('a',\) lacks a value within its 3 steps"):
        evaluate(tmp_path / "nan", make_params(), long, {("a",): lacking})
    lacking = {("a",): flat(20.0), ("b",): flat(20.0, steps=2)}
    with pytest.raises(AccuracyError, match=r"series \('b',\) lacks a value"):
        evaluate(tmp_path / "short", make_params(), [*long, MadeSeries(("b",), "2024-01-01", hours(51, 2))], lacking)


@pytest.mark.parametrize("frequency, context_end, last, observed", [
    ("H", "2024-01-01T00:00", "2024-01-01T03:00", True),
    ("H", "2024-01-01T00:00", "2024-01-01T02:59", False),
    ("M", "2023-12-01", "2024-03-31", True),
    ("M", "2023-12-01", "2024-02-29", False),
])  # fmt: skip
def test_is_observed_once_the_last_period_of_the_horizon_is_there(
    frequency: str, context_end: str, last: str, observed: bool
) -> None:
    grid = Grid(Frequency.parse(frequency))
    assert is_observed(np.datetime64(context_end, "us"), 3, grid, np.datetime64(last, "us")) is observed
