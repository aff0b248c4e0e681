import numpy as np
import pytest

from chronos_assets.kernelsynth import noise, prices


def test_the_last_price_is_a_better_forecast_than_any_direction_the_past_had():
    series = prices.prices(np.random.default_rng(1), 600, 330)
    past, future = series[:, :300], series[:, 329]
    step = np.abs(np.diff(past, axis=1)).mean(axis=1)
    last = past[:, -1]
    followed = last + (last - past[:, -31])
    returning = past[:, -100:].mean(axis=1)
    error, *others = (np.abs((future - forecast) / step).mean() for forecast in (last, followed, returning))
    assert all(error < 0.9 * other for other in others)


def test_calm_and_rough_times_follow_their_own_kind():
    moves = np.abs(np.diff(prices.prices(np.random.default_rng(2), 400, 500), axis=1))
    before, after = moves[:, 400:440].mean(axis=1), moves[:, 440:480].mean(axis=1)
    relative = [np.log((part + 1e-9) / (moves.mean(axis=1) + 1e-9)) for part in (before, after)]
    assert np.corrcoef(*relative)[0, 1] > 0.3


def test_volatility_is_of_unit_mean_square_from_the_first_step():
    factors = noise.volatility(np.random.default_rng(0), 3000, 100)
    assert (factors > 0).all()
    assert np.sqrt((factors**2).mean(axis=0)[[0, 50, 99]]) == pytest.approx([1.0, 1.0, 1.0], abs=0.1)
