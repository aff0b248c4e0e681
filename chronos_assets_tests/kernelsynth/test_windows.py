import numpy as np
import pytest

from chronos_assets.kernelsynth import families, windows


def test_windows_are_fixed_by_the_seed_and_standardised():
    batch = windows.training_windows((1, 2), families.REALISTIC, 64, 128, 16)
    again = windows.training_windows((1, 2), families.REALISTIC, 64, 128, 16)
    other = windows.training_windows((1, 3), families.REALISTIC, 64, 128, 16)
    assert batch.context.dtype == batch.target.dtype == batch.weight.dtype == np.float32
    assert batch.context.shape == (64, 128)
    assert batch.target.shape == (64, 16)
    assert np.array_equal(batch.context, again.context, equal_nan=True)
    assert np.array_equal(batch.target, again.target, equal_nan=True)
    assert not np.array_equal(batch.context, other.context, equal_nan=True)
    usable = batch.weight[:, 0] > 0
    assert np.nanmean(batch.context[usable], axis=1) == pytest.approx(np.zeros(usable.sum()), abs=1e-4)
    assert np.nanstd(batch.context[usable], axis=1) == pytest.approx(np.ones(usable.sum()), abs=1e-3)
    assert np.nanmax(np.abs(batch.target)) <= windows.TARGET_LIMIT


def test_short_histories_are_padded_on_the_left():
    batch = windows.training_windows((0,), families.REALISTIC, 300, 128, 16, missing=False)
    missing = np.isnan(batch.context)
    assert 0.5 < missing.any(axis=1).mean() < 0.75
    assert not missing[:, -windows.SHORTEST_HISTORY :].any()
    assert (np.diff(missing.astype(int), axis=1) <= 0).all()
    assert not np.isnan(batch.target).any()


@pytest.mark.parametrize("length", [64, 128, 512])
def test_many_histories_end_within_the_first_patch_and_all_have_a_few_steps(length):
    history = windows.history_lengths(np.random.default_rng(0), 2000, length)
    assert history.min() >= windows.SHORTEST_HISTORY
    assert history.max() == length
    within = (history > length - windows.PATCH) & (history < length)
    assert within.mean() > 0.3
    assert 0.3 < (history == length).mean() < 0.5


@pytest.mark.process
def test_some_windows_lose_values_in_context_and_target():
    batch = windows.training_windows((0,), families.REALISTIC, 600, 128, 64)
    inner = np.isnan(batch.context[:, 1:]) & ~np.isnan(batch.context[:, :-1])
    assert 0.01 < inner.any(axis=1).mean() < 0.2
    assert 0.0 < np.isnan(batch.target).any(axis=1).mean() < 0.2


def test_a_context_without_scale_does_not_count():
    context = np.stack([np.full(32, 5.0), np.arange(32.0), np.full(32, np.nan)])
    batch = windows.standardise(context, np.ones((3, 8)))
    assert (batch.weight[[0, 2]] == 0.0).all()
    assert batch.weight.mean() == pytest.approx(1.0)
    assert np.isfinite(batch.target).all()


def standardised(values):
    return (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)


def attainable(values, horizon):
    return windows.attainable_error(values, np.ones_like(values, dtype=bool), horizon)


@pytest.mark.parametrize("period", [3, 7, 24, 50, 90])
@pytest.mark.parametrize("horizon", [8, 64])
def test_the_best_repeat_finds_a_cycle_and_the_attainable_error_is_its_noise(period, horizon):
    rng = np.random.default_rng(period)
    cycle = np.tile(rng.standard_normal(period), 200)[:360]
    values = standardised(np.stack([cycle, cycle + 0.1 * rng.standard_normal(360)]))
    lag = windows.best_repeat(values, np.ones_like(values, dtype=bool), horizon)
    assert (lag % period == 0).all()
    error = attainable(values, horizon)
    assert error.shape == (2, horizon)
    assert error[0] == pytest.approx(np.zeros(horizon), abs=1e-6)
    assert error[1] == pytest.approx(np.full(horizon, 0.1 * np.sqrt(2) / cycle.std()), rel=0.3)


def test_the_attainable_error_of_noise_is_near_one():
    values = standardised(np.random.default_rng(0).standard_normal((20, 400)))
    assert attainable(values, 64).min() > 0.9


def test_the_attainable_error_of_a_walk_grows_with_the_steps_ahead():
    walk = standardised(np.cumsum(np.random.default_rng(0).standard_normal((50, 400)), axis=1))
    error = attainable(walk, 64)
    assert (np.diff(error, axis=1) >= 0).all()
    assert error[:, 0].mean() < 0.15
    assert error[:, 63].mean() > 0.4


def test_what_grows_steadily_is_as_good_as_known():
    line = standardised(np.arange(200.0)[None, :] + 5 * np.sin(np.pi * np.arange(200.0) / 6))
    assert attainable(line, 64).max() < 1e-3
    assert windows.lag_errors(line, np.ones_like(line, dtype=bool))[0, 12] == pytest.approx(0.04, rel=0.2)


def test_a_jump_long_ago_says_nothing_of_what_is_known_now():
    cycle = np.tile(np.random.default_rng(0).standard_normal(24), 20)[None, :]
    jump = np.where(np.arange(480) < 150, 0.0, 30.0)
    assert attainable(standardised(cycle + jump), 64).max() < 1e-3


def test_steps_beyond_a_short_history_count_as_unpredictable():
    context = np.full((1, 200), np.nan)
    context[0, -10:] = np.arange(10.0)
    error = windows.attainable_error(np.nan_to_num(standardised(context[:, -10:])), np.ones((1, 10), dtype=bool), 64)
    assert error[0, 0] < 0.5
    assert (error[0, 10:] == 1.0).all()


def test_the_repeated_forecast_continues_a_cycle_across_missing_values():
    cycle = np.tile([0.0, 2.0, -1.0, 3.0, -4.0], 30)[None, :]
    context = cycle[:, :100].copy()
    context[0, [3, 11, 50]] = np.nan
    assert np.array_equal(windows.repeat_forecast(context, 50), cycle[:, 100:150])


def test_near_steps_count_more_than_far_ones_of_what_repeats():
    cycle = np.tile(np.random.default_rng(0).standard_normal(8), 60)[None, :]
    weight = windows.standardise(cycle[:, :400], cycle[:, 400:464]).weight[0]
    assert weight[windows.NEAR_STEPS] == pytest.approx(weight[0] / 2, rel=1e-3)
    assert (np.diff(weight) < 0).all()
