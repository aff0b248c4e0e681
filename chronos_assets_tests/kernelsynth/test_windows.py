import numpy as np
import pytest

from chronos_assets.kernelsynth import families, windows


def observed_of(values):
    return ~np.isnan(values), np.nan_to_num(values)


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
    usable = batch.weight > 0
    assert np.nanmean(batch.context[usable], axis=1) == pytest.approx(np.zeros(usable.sum()), abs=1e-4)
    assert np.nanstd(batch.context[usable], axis=1) == pytest.approx(np.ones(usable.sum()), abs=1e-3)
    assert np.nanmax(np.abs(batch.target)) <= windows.TARGET_LIMIT


def test_short_histories_are_padded_on_the_left():
    batch = windows.training_windows((0,), families.REALISTIC, 300, 128, 16, missing=False)
    missing = np.isnan(batch.context)
    assert 0.1 < missing.any(axis=1).mean() < 0.4
    assert not missing[:, -windows.SHORTEST_HISTORY :].any()
    assert (np.diff(missing.astype(int), axis=1) <= 0).all()
    assert not np.isnan(batch.target).any()


def test_some_windows_lose_values_in_context_and_target():
    batch = windows.training_windows((0,), families.REALISTIC, 600, 128, 64)
    inner = np.isnan(batch.context[:, 1:]) & ~np.isnan(batch.context[:, :-1])
    assert 0.01 < inner.any(axis=1).mean() < 0.2
    assert 0.0 < np.isnan(batch.target).any(axis=1).mean() < 0.2


def test_a_context_without_scale_does_not_count():
    context = np.stack([np.full(32, 5.0), np.arange(32.0), np.full(32, np.nan)])
    batch = windows.standardise(context, np.ones((3, 8)))
    assert batch.weight[[0, 2]].tolist() == [0.0, 0.0]
    assert batch.weight[1] == pytest.approx(3.0)
    assert np.isfinite(batch.target).all()


@pytest.mark.parametrize("period", [3, 7, 24, 50, 90])
@pytest.mark.parametrize("horizon", [8, 64])
def test_the_best_repeat_finds_a_cycle_and_its_error(period, horizon):
    rng = np.random.default_rng(period)
    cycle = np.tile(rng.standard_normal(period), 200)[:360]
    noisy = cycle + 0.1 * rng.standard_normal(360)
    values = np.stack([cycle, noisy])
    values = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    lag, error = windows.best_repeat(values, np.ones_like(values, dtype=bool), horizon)
    assert (lag % period == 0).all()
    assert error[0] == pytest.approx(0.0, abs=1e-6)
    assert error[1] == pytest.approx(2 * 0.1**2 / noisy.var(), rel=0.3)


def test_the_best_repeat_of_noise_has_an_error_near_one():
    values = np.random.default_rng(0).standard_normal((20, 400))
    _, error = windows.best_repeat(values, np.ones_like(values, dtype=bool), 64)
    assert error.min() > 0.8


def test_the_error_of_a_walk_is_that_of_the_whole_horizon_not_of_one_step():
    walk = np.cumsum(np.random.default_rng(0).standard_normal((50, 400)), axis=1)
    walk = (walk - walk.mean(axis=1, keepdims=True)) / walk.std(axis=1, keepdims=True)
    observed = np.ones_like(walk, dtype=bool)
    _, near = windows.best_repeat(walk, observed, 1)
    _, far = windows.best_repeat(walk, observed, 64)
    assert near.mean() < 0.05 < far.mean()


def test_the_repeated_forecast_continues_a_cycle_across_missing_values():
    cycle = np.tile([0.0, 2.0, -1.0, 3.0, -4.0], 30)[None, :]
    context = cycle[:, :100].copy()
    context[0, [3, 11, 50]] = np.nan
    assert np.array_equal(windows.repeat_forecast(context, 50), cycle[:, 100:150])
