"""Metrics: the published definitions, and that sums of parts make the whole."""

from __future__ import annotations

import logging
from collections import ChainMap
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_assets.timeseries.scoring.baselines import seasonal_naive, spread_to_quantiles
from chronos_assets.timeseries.scoring.metrics import ErrorSums, central_bands, error_sums, season_error
from chronos_assets_tests.timeseries.benchmark_sets import PUBLISHED_LEVELS, published_row, read_benchmark_set

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)

BENCHMARK_SETS = (
    "ETTh", "ETTm", "exchange_rate", "m4_hourly", "m4_weekly", "m4_yearly", "monash_cif_2016", "monash_fred_md",
    "monash_hospital", "monash_m3_monthly", "monash_m3_quarterly", "monash_m3_yearly", "monash_tourism_quarterly",
    "nn5",
)  # fmt: skip

# GluonTS says so once, when it's first imported.
pytestmark = pytest.mark.filterwarnings("ignore:Using `json`-module:UserWarning")


def gluonts_values(
    actual: np.ndarray, quantiles: np.ndarray, mean: np.ndarray, histories: list[np.ndarray], season: int
) -> dict[str, float]:
    """The same metrics by gluonts.ev, fed as `gluonts.model.evaluate_forecasts` feeds it."""
    from gluonts.ev import metrics as ev
    from gluonts.ev.ts_stats import seasonal_error

    errors = [seasonal_error(np.ma.masked_invalid(history), season, time_axis=-1) for history in histories]
    batch: ChainMap[str, Any] = ChainMap(
        {"label": np.ma.masked_invalid(actual), "seasonal_error": np.array(errors), "mean": mean},
        {str(level): quantiles[..., position] for position, level in enumerate(LEVELS)},
    )
    definitions: dict[str, Any] = {
        "wql": ev.MeanWeightedSumQuantileLoss(LEVELS),
        "mase": ev.MASE(),
        "wape": ev.ND(),
        "rmse": ev.RMSE(),
        "mape": ev.MAPE(),
        **{f"wql_p{round(100 * level)}": ev.WeightedSumQuantileLoss(level) for level in LEVELS},
    }
    with np.errstate(all="ignore"):
        return {name: float(metric(axis=(0, 1)).update(batch).get()) for name, metric in definitions.items()}


def our_sums(
    actual: np.ndarray, quantiles: np.ndarray, mean: np.ndarray, histories: list[np.ndarray], season: int
) -> ErrorSums:
    scales = np.array([season_error(history, season) for history in histories])
    return error_sums(actual, quantiles, LEVELS, mean=mean, season_errors=scales)


def values(sums: ErrorSums) -> dict[str, float]:
    return {name: float(measure.value) for name, measure in sums.total().measures().items()}


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray], int]:
    """Actuals with gaps and zeros, a forecast around them, histories with gaps, some shorter than the season."""
    series, steps = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    number = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-1e6, 1e6).map(lambda x: round(x, 3)))
    gappy = st.one_of(number, number, number, st.just(float("nan")))
    actual = draw(hnp.arrays(np.float64, (series, steps), elements=gappy))
    quantiles = np.sort(draw(hnp.arrays(np.float64, (series, steps, len(LEVELS)), elements=number)), axis=-1)
    mean = draw(hnp.arrays(np.float64, (series, steps), elements=number))
    histories = [draw(hnp.arrays(np.float64, draw(st.integers(2, 12)), elements=gappy)) for _ in range(series)]
    return actual, quantiles, mean, histories, draw(st.integers(1, 4))


@pytest.mark.process
@given(evaluations())
def test_agrees_with_gluonts_wherever_gluonts_has_an_answer(
    evaluation: tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray], int],
) -> None:
    actual, _, _, histories, season = evaluation
    # GluonTS loses the mask of a season error it can't compute and divides by what lies beneath; that isn't mirrored.
    usable = [index for index, history in enumerate(histories) if np.isfinite(season_error(history, season))]
    if not usable or not np.isfinite(actual[usable]).any():
        return
    kept = tuple(part[usable] for part in evaluation[:3])
    theirs = gluonts_values(*kept, [histories[index] for index in usable], season)
    ours = values(our_sums(*kept, [histories[index] for index in usable], season))
    for name, expected in theirs.items():
        if np.isfinite(expected):
            assert ours[name] == pytest.approx(expected, rel=1e-9, abs=1e-9), name
        else:
            assert np.isnan(ours[name]), name


def test_agrees_with_evaluate_forecasts_on_a_noisy_set_with_gaps() -> None:
    from gluonts.dataset.split import split
    from gluonts.ev import metrics as ev
    from gluonts.model.evaluation import evaluate_forecasts
    from gluonts.model.forecast import QuantileForecast

    pd = pytest.importorskip("pandas")
    generator = np.random.default_rng(7)
    steps, length = 12, 120
    targets = generator.normal(50, 20, (20, length))
    targets[generator.random(targets.shape) < 0.1] = np.nan
    entries = [
        {"target": row, "start": pd.Period("2024-01-01", "h"), "item_id": str(n)} for n, row in enumerate(targets)
    ]
    _, template = split(entries, offset=-steps)
    test_data = template.generate_instances(steps)
    quantiles = np.sort(generator.normal(50, 20, (20, steps, len(LEVELS))), axis=-1)
    forecasts = [
        QuantileForecast(
            forecast_arrays=rows.T,
            forecast_keys=[str(level) for level in LEVELS],
            start_date=pd.Period("2024-01-05", "h"),
        )
        for rows in quantiles
    ]
    logging.disable(logging.WARNING)
    try:
        found = evaluate_forecasts(
            forecasts, test_data=test_data, metrics=[ev.MASE(), ev.MeanWeightedSumQuantileLoss(LEVELS)]
        )
    finally:
        logging.disable(logging.NOTSET)
    histories = [row[:-steps] for row in targets]
    scales = np.array([season_error(history, 24) for history in histories])
    ours = values(error_sums(targets[:, -steps:], quantiles, LEVELS, season_errors=scales))
    assert ours["wql"] == pytest.approx(found["mean_weighted_sum_quantile_loss"].item(), rel=1e-9)
    assert ours["mase"] == pytest.approx(found["MASE[0.5]"].item(), rel=1e-9)


@pytest.mark.process
@given(evaluations(), st.data())
def test_sums_of_parts_make_the_whole(
    evaluation: tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray], int], data: st.DataObject
) -> None:
    actual, quantiles, mean, histories, season = evaluation
    whole = our_sums(actual, quantiles, mean, histories, season)
    cut = data.draw(st.integers(0, len(actual)))
    parts = [
        our_sums(actual[piece], quantiles[piece], mean[piece], histories[piece], season)
        for piece in (slice(None, cut), slice(cut, None))
    ]
    joined = values(ErrorSums.concatenate(parts))
    added = {name: float(m.value) for name, m in (parts[0].total() + parts[1].total()).measures().items()}
    for name, expected in values(whole).items():
        assert joined[name] == pytest.approx(expected, rel=1e-12, nan_ok=True)
        assert added[name] == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.process
@given(evaluations(), st.floats(0.01, 100))
def test_relative_metrics_do_not_change_with_the_unit(
    evaluation: tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray], int], unit: float
) -> None:
    actual, quantiles, mean, histories, season = evaluation
    before = values(our_sums(actual, quantiles, mean, histories, season))
    after = values(our_sums(actual * unit, quantiles * unit, mean * unit, [h * unit for h in histories], season))
    for name in ("wql", "wape", "mase", "mape", "weighted_bias"):
        assert after[name] == pytest.approx(before[name], rel=1e-6, abs=1e-6, nan_ok=True), name
    assert after["rmse"] == pytest.approx(before["rmse"] * unit, rel=1e-9, abs=1e-9, nan_ok=True)


@pytest.mark.process
@given(evaluations())
def test_a_perfect_forecast_has_no_error_and_covers_everything(
    evaluation: tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray], int],
) -> None:
    actual, _, _, histories, season = evaluation
    perfect = np.where(np.isfinite(actual), actual, 0.0)
    found = values(our_sums(actual, spread_to_quantiles(perfect, len(LEVELS)), perfect, histories, season))
    for name, value in found.items():
        assert np.isnan(value) or value == (1.0 if name.startswith("coverage") else 0.0), name


def test_counts_points_and_leaves_out_missing_and_zero_actuals() -> None:
    actual = np.array([[10.0, 0.0, np.nan, 5.0]])
    quantiles = np.array([[[8.0, 9.0, 12.0], [1.0, 2.0, 3.0], [np.nan] * 3, [1.0, 4.0, 5.0]]])
    sums = error_sums(actual, quantiles, (0.1, 0.5, 0.9), season_errors=np.array([2.0])).total()
    found = sums.measures()
    assert {name: int(measure.points) for name, measure in found.items()} == {
        "wql_p10": 3, "wql_p50": 3, "wql_p90": 3, "wql": 3, "wape": 3, "rmse": 3, "mase": 3, "mape": 2,
        "mae": 3, "bias": 3, "weighted_bias": 3, "tracking_signal": 3, "coverage_80": 3,
    }  # fmt: skip
    assert found["wape"].value == pytest.approx((1 + 2 + 1) / 15)
    assert found["rmse"].value == pytest.approx(np.sqrt((1 + 4 + 1) / 3))
    assert found["mase"].value == pytest.approx((1 + 2 + 1) / 2 / 3)
    assert found["mape"].value == pytest.approx((1 / 10 + 1 / 5) / 2)
    assert found["mae"].value == pytest.approx(4 / 3)
    assert found["bias"].value == pytest.approx((-1 + 2 - 1) / 3)
    assert found["coverage_80"].value == pytest.approx(2 / 3)
    assert found["wql_p10"].value == pytest.approx(2 * (0.1 * 2 + 0.9 * 1 + 0.1 * 4) / 15)


def test_a_series_without_a_scale_counts_in_everything_but_mase() -> None:
    actual = np.array([[4.0, 4.0], [6.0, 6.0]])
    forecast = spread_to_quantiles(np.array([[3.0, 3.0], [5.0, 5.0]]), 1)
    sums = error_sums(actual, forecast, (0.5,), season_errors=np.array([0.0, 0.5])).total()
    assert sums.measures()["mase"].value == pytest.approx(2.0)
    assert int(sums.measures()["mase"].points) == 2
    assert sums.measures()["wape"].value == pytest.approx(4 / 20)


def test_without_a_median_the_mean_is_the_point_forecast_and_without_both_only_quantile_metrics_are_left() -> None:
    actual = np.array([[4.0, 6.0]])
    pair = np.array([[[1.0, 9.0], [1.0, 9.0]]])
    scale = np.array([1.0])
    with_mean = error_sums(actual, pair, (0.1, 0.9), season_errors=scale, mean=np.array([[5.0, 5.0]])).total()
    assert with_mean.measures()["wape"].value == pytest.approx(2 / 10)
    without = error_sums(actual, pair, (0.1, 0.9), season_errors=scale).total().measures()
    assert list(without) == ["wql_p10", "wql_p90", "wql", "coverage_80"]
    only_mean = error_sums(actual, np.empty((1, 2, 0)), (), season_errors=scale, mean=np.array([[5.0, 5.0]])).total()
    assert list(only_mean.measures()) == [
        "wape", "rmse", "mase", "mape", "mae", "bias", "weighted_bias", "tracking_signal",
    ]  # fmt: skip


def test_bias_is_above_zero_where_the_forecast_is_too_high_and_the_tracking_signal_counts_misses_of_one_side() -> None:
    forecast = np.array([[[12.0], [11.0], [14.0]], [[8.0], [10.0], [9.0]]])
    sums = error_sums(np.full((2, 3), 10.0), forecast, (0.5,), season_errors=np.ones(2))
    found = sums.measures()
    assert found["bias"].value == pytest.approx([7 / 3, -1.0])
    assert found["weighted_bias"].value == pytest.approx([7 / 30, -0.1])
    assert found["tracking_signal"].value == pytest.approx([3.0, -3.0])
    assert sums.contribution(sums.total()).value == pytest.approx([0.7, 0.3])
    whole = values(sums)
    assert whole["tracking_signal"] == pytest.approx(4 / (10 / 6))


def test_a_forecast_without_an_error_has_no_tracking_signal_and_no_share_in_one() -> None:
    sums = error_sums(np.ones((1, 2)), np.ones((1, 2, 1)), (0.5,), season_errors=np.ones(1))
    assert np.isnan(sums.measures()["tracking_signal"].value).all()
    assert np.isnan(sums.contribution(sums.total()).value).all()


def test_bands_are_the_symmetric_pairs_of_the_quantiles() -> None:
    assert central_bands((0.01, 0.1, 0.25, 0.5, 0.9, 0.99)) == [("coverage_98", 0, 5), ("coverage_80", 1, 4)]
    assert central_bands((0.5,)) == []


def test_nothing_to_divide_by_is_nan_and_not_a_number_made_up() -> None:
    found = values(error_sums(np.zeros((1, 2)), np.ones((1, 2, 1)), (0.5,), season_errors=np.array([np.nan])))
    assert np.isnan([found["wql"], found["wape"], found["mase"], found["mape"]]).all()
    assert found["rmse"] == 1.0


def test_a_forecast_that_is_nan_at_an_actual_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"quantile forecast is NaN .*series 1"):
        error_sums(np.ones((2, 1)), np.array([[[1.0]], [[np.nan]]]), (0.5,), season_errors=np.ones(2))


def test_wrong_shapes_and_mixed_forecasts_are_errors() -> None:
    with pytest.raises(ValueError, match=r"quantiles has the shape \(1, 2, 2\)"):
        error_sums(np.ones((1, 2)), np.ones((1, 2, 2)), (0.5,), season_errors=np.ones(1))
    with pytest.raises(ValueError, match="must ascend"):
        error_sums(np.ones((1, 2)), np.ones((1, 2, 2)), (0.5, 0.1), season_errors=np.ones(1))
    one = error_sums(np.ones((1, 2)), np.ones((1, 2, 1)), (0.5,), season_errors=np.ones(1))
    other = error_sums(np.ones((1, 2)), np.ones((1, 2, 1)), (0.9,), season_errors=np.ones(1))
    with pytest.raises(ValueError, match="don't add up"):
        one + other
    with pytest.raises(ValueError, match="no error sums"):
        ErrorSums.concatenate([])


@pytest.mark.parametrize("history, season, expected", [
    ([1.0, 2.0, 4.0, 7.0], 1, 2.0),
    ([1.0, 2.0, 4.0, 7.0], 2, 4.0),
    ([1.0, 2.0, 4.0, 7.0], 5, 2.0),       # shorter than the season: a season of 1
    ([1.0, np.nan, 4.0, 7.0], 1, 3.0),    # only pairs of which both are known
    ([1.0, np.inf, np.inf, 2.0, 5.0], 1, 3.0),
    ([1.0, 2.0], 2, np.nan),
    ([3.0], 1, np.nan),
    ([], 1, np.nan),
])  # fmt: skip
def test_season_error(history: list[float], season: int, expected: float) -> None:
    assert season_error(np.array(history), season) == pytest.approx(expected, nan_ok=True)


@pytest.mark.process
@pytest.mark.parametrize("name", BENCHMARK_SETS)
def test_reproduces_the_published_seasonal_naive_rows(shared_data: Any, name: str) -> None:
    cut = read_benchmark_set(shared_data, name)
    naive = np.stack([seasonal_naive(history, cut.season, cut.actuals.shape[1]) for history in cut.histories])
    sums = error_sums(
        cut.actuals,
        spread_to_quantiles(naive, len(PUBLISHED_LEVELS)),
        PUBLISHED_LEVELS,
        season_errors=np.array([season_error(history, cut.season) for history in cut.histories]),
    ).total()
    mase, wql = published_row(shared_data, name, "seasonal-naive")
    found = sums.measures()
    assert float(found["mase"].value) == pytest.approx(mase, abs=1e-3)
    assert float(found["wql"].value) == pytest.approx(wql, abs=1e-3)
