"""The seasonal naive forecast: GluonTS's, what it does about gaps, and the season that is hardest to beat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.timeseries.scoring.baselines import (
    Baseline,
    Past,
    choose_baseline,
    plausible_seasons,
    season_name,
    seasonal_naive,
    spread_to_quantiles,
)

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


def past(values: np.ndarray, observed: np.ndarray | None = None) -> Past:
    return Past(values, values if observed is None else observed)


def pattern(season: int, count: int, trend: float = 0.0) -> np.ndarray:
    return np.resize(np.random.default_rng(season).permutation(season) * 1.0, count) + trend * np.arange(count)


@pytest.mark.parametrize(
    ("frequency", "seasons"),
    [
        ("H", (1, 24, 168)), ("15min", (1, 4, 96, 672)), ("1min", (1, 60, 1440, 10080)), ("2H", (1, 12, 84)),
        ("7H", (1, 24)), ("D", (1, 7, 364)), ("2D", (1, 182)), ("W", (1, 52)), ("2W", (1, 26)), ("3W", (1,)),
        ("M", (1, 12)), ("3M", (1, 4)), ("5M", (1,)), ("Y", (1,)),
    ],
)  # fmt: skip
def test_the_calendar_suggests_seasons(frequency: str, seasons: tuple[int, ...]) -> None:
    assert plausible_seasons(Frequency.parse(frequency)) == seasons


@pytest.mark.parametrize(
    ("frequency", "season", "horizon", "count", "name"),
    [
        ("H", 168, 24, 800, "seasonal naive, 168 h"),
        ("H", 24, 48, 800, "seasonal naive, 24 h"),
        ("15min", 672, 96, 3000, "seasonal naive, 168 h"),
        ("15min", 4, 8, 300, "seasonal naive, 1 h"),
        ("D", 7, 14, 120, "seasonal naive, 7 days"),
        ("D", 364, 28, 900, "seasonal naive, 364 days"),
        ("W", 52, 8, 200, "seasonal naive, 52 weeks"),
        ("M", 12, 6, 60, "seasonal naive, 12 months"),
        ("3M", 4, 4, 40, "seasonal naive, 12 months"),
        ("W", 1, 4, 60, "naive (last value)"),
    ],
)
def test_the_season_that_repeats_is_found_and_named(
    frequency: str, season: int, horizon: int, count: int, name: str
) -> None:
    parsed = Frequency.parse(frequency)
    level = np.cumsum(np.random.default_rng(0).normal(size=count)) if season == 1 else pattern(season, count, 0.001)
    found = choose_baseline([past(level), past(3 * level)], parsed, horizon)
    assert (found.season, found.name) == (season, name)
    assert found.errors[season] == min(found.errors.values())


def test_a_season_longer_than_what_is_known_is_not_named() -> None:
    found = choose_baseline([past(np.random.default_rng(1).normal(20, 5, 60))], Frequency.parse("D"), 7)
    assert set(found.errors) == {1, 7}


def test_a_history_too_short_to_try_keeps_the_default_season() -> None:
    assert choose_baseline([past(np.ones(7))], Frequency.parse("D"), 7) == Baseline.of(1, Frequency.parse("D"))
    assert choose_baseline([], Frequency.parse("H"), 7) == Baseline.of(24, Frequency.parse("H"))
    assert choose_baseline([past(np.full(60, NAN))], Frequency.parse("M"), 3).errors == {}


def test_of_equal_seasons_the_default_wins() -> None:
    assert choose_baseline([past(np.full(900, 3.0))], Frequency.parse("H"), 24).season == 24


def test_values_that_filling_made_are_no_errors() -> None:
    # Every second day is observed and follows the week; the zeros between would reward the last value.
    values = pattern(7, 140) + 10
    observed = np.where(np.arange(140) % 2 == 0, values, NAN)
    found = choose_baseline([Past(np.nan_to_num(observed), observed)], Frequency.parse("D"), 7)
    by_hand = choose_baseline([Past(values, observed)], Frequency.parse("D"), 7)
    assert by_hand.season == 7
    assert by_hand.errors[7] == 0.0
    assert found.errors[7] > 0.0  # it repeats zeros, as the forecast that is compared does


@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 100))
def test_any_history_gives_a_plausible_season(count: int, horizon: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = np.where(generator.random(count) < 0.3, NAN, generator.normal(size=count))
    frequency = Frequency.parse("D")
    found = choose_baseline([past(values)], frequency, horizon)
    assert found.season in plausible_seasons(frequency)
    assert found.name == season_name(found.season, frequency)
    assert all(season <= count - horizon or season == 1 for season in found.errors)
