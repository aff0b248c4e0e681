"""The seasonal naive forecast: GluonTS's, and what it does about gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_assets.timeseries.baselines import seasonal_naive, spread_to_quantiles

NAN = float("nan")
WHOLE = st.integers(-1000, 1000).map(float)  # exact in GluonTS's float32

# GluonTS says so once, when it's first imported.
pytestmark = pytest.mark.filterwarnings("ignore:Using `json`-module:UserWarning")


def by_gluonts(history: np.ndarray, season: int, horizon: int) -> np.ndarray:
    from gluonts.model.seasonal_naive import SeasonalNaivePredictor

    pd = pytest.importorskip("pandas")
    entry = {"target": history, "start": pd.Period("2024-01-01", "D")}
    return np.asarray(SeasonalNaivePredictor(horizon, season).predict_item(entry).samples[0], dtype=np.float64)


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=WHOLE), st.integers(1, 8), st.integers(1, 20))
def test_is_gluonts_forecast_where_nothing_is_missing(history: np.ndarray, season: int, horizon: int) -> None:
    np.testing.assert_allclose(
        seasonal_naive(history, season, horizon), by_gluonts(history, season, horizon), rtol=1e-6
    )


@given(hnp.arrays(np.float64, st.integers(2, 30), elements=st.one_of(WHOLE, st.just(NAN))), st.integers(1, 20))
def test_is_gluonts_forecast_with_gaps_too_when_there_is_no_season(history: np.ndarray, horizon: int) -> None:
    np.testing.assert_array_equal(seasonal_naive(history, 1, horizon), by_gluonts(history, 1, horizon))


@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=st.one_of(WHOLE, st.just(NAN))),
    st.integers(1, 8),
    st.integers(1, 20),
)
def test_a_gap_takes_the_last_value_of_its_phase(history: np.ndarray, season: int, horizon: int) -> None:
    forecast = seasonal_naive(history, season, horizon)
    assert np.isfinite(forecast).all()
    for step in range(horizon if len(history) >= season else 0):
        phase = history[(len(history) + step) % season :: season]
        known = phase[np.isfinite(phase)]
        if len(known):
            assert forecast[step] == known[-1]


def test_a_phase_never_seen_takes_the_value_before_it() -> None:
    history = np.array([1.0, NAN, 3.0, NAN, 4.0, NAN, 6.0, NAN])
    np.testing.assert_array_equal(seasonal_naive(history, 4, 6), [4.0, 4.0, 6.0, 6.0, 4.0, 4.0])
    np.testing.assert_array_equal(seasonal_naive(np.array([NAN, 5.0]), 2, 2), [5.0, 5.0])


def test_a_short_history_is_forecast_by_its_mean_and_an_empty_one_by_zero() -> None:
    np.testing.assert_array_equal(seasonal_naive(np.array([1.0, NAN, 3.0]), 7, 2), [2.0, 2.0])
    np.testing.assert_array_equal(seasonal_naive(np.array([NAN, NAN]), 1, 2), [0.0, 0.0])
    np.testing.assert_array_equal(seasonal_naive(np.array([]), 7, 2), [0.0, 0.0])


def test_does_not_touch_the_history_it_is_given() -> None:
    history = np.array([1.0, NAN, 3.0])
    seasonal_naive(history, 1, 2)[:] = 9
    np.testing.assert_array_equal(history, [1.0, NAN, 3.0])


def test_impossible_questions_are_errors() -> None:
    with pytest.raises(ValueError, match="season of 0"):
        seasonal_naive(np.ones(3), 0, 2)


def test_spreads_a_point_over_quantiles() -> None:
    assert spread_to_quantiles(np.ones((2, 3)), 5).shape == (2, 3, 5)
