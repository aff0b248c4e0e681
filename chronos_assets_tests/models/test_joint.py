"""Series that are read together, with a tiny Chronos-2."""

from functools import cache

import numpy as np
import pytest

from chronos_assets.models.checkpoints import ModelError, QuantileRangeError
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.joint import JointSeries, forecast_jointly
from chronos_assets.models.loading import load_model
from chronos_assets_tests.models.tiny import folder_of

LEVELS = (0.1, 0.5, 0.9)
RNG = np.random.default_rng(0)
WALKS = np.cumsum(RNG.normal(size=(3, 40)), axis=1)


@cache
def model(family="chronos2"):
    return load_model(folder_of(family))


def forecast(*series, horizon=5, **options):
    made = forecast_jointly(model(), series, horizon, LEVELS, **options)
    for item, (mean, quantiles) in zip(series, made, strict=True):
        assert mean.shape == (len(item.target), horizon)
        assert quantiles.shape == (len(item.target), horizon, 3)
        assert np.isfinite(mean).all()
        assert (np.diff(quantiles, axis=-1) >= 0).all()
    return made


def test_one_series_alone_is_forecast_as_by_itself():
    alone = Forecaster(model(), 5, LEVELS).forecast(WALKS[:1])
    ((mean, quantiles),) = forecast(JointSeries(WALKS[:1]))
    scale = np.std(WALKS[0])
    assert np.abs(mean - alone.mean).max() / scale < 1e-5
    assert np.abs(quantiles - alone.quantiles).max() / scale < 1e-5


def test_the_mean_is_no_median():
    ((mean, quantiles),) = forecast(JointSeries(WALKS[:1]))
    assert not np.array_equal(mean, quantiles[..., 1])


def test_dimensions_and_covariates_change_a_forecast_and_scales_do_not():
    price = WALKS[1]
    ((alone, _),) = forecast(JointSeries(WALKS[:1]))
    ((two, _),) = forecast(JointSeries(WALKS[:2]))
    ((known, _),) = forecast(JointSeries(WALKS[:1], {"price": price}, {"price": np.full(5, 9.0)}))
    ((larger, _),) = forecast(JointSeries(1e9 + 1e3 * WALKS[:1], {"price": 7e5 * price}, {"price": np.full(5, 63e5)}))
    assert np.abs(two[0] - alone[0]).max() > 1e-6
    assert np.abs(known - alone).max() > 1e-6
    np.testing.assert_allclose((larger - 1e9) / 1e3, known, atol=1e-4)


def test_series_of_several_forms_are_answered_in_their_order():
    text = {"day": np.array(["a", "b"] * 20)}
    series = [JointSeries(WALKS[:2]), JointSeries(WALKS[:1], text), JointSeries(WALKS[1:3]), JointSeries(WALKS[2:])]
    together = forecast(*series, batch_size=1)
    for item, made in zip(series, together, strict=True):
        (alone,) = forecast(item)
        np.testing.assert_allclose(made[1], alone[1], atol=1e-5)


@pytest.mark.parametrize(
    ("past", "future"),
    [
        (np.full(40, 3.0), np.full(5, 4.0)),
        (np.zeros(40), np.zeros(5)),
        (np.full(40, np.nan), np.full(5, np.nan)),
        (np.where(np.arange(40) < 20, np.nan, 1.0), np.array([1.0, np.nan, 2.0, 3.0, 4.0])),
        (np.array(["same"] * 40), np.array(["new"] * 5)),
    ],
)
def test_covariates_without_a_scale_are_read(past, future):
    forecast(JointSeries(WALKS[:1], {"x": past}, {"x": future}))
    forecast(JointSeries(WALKS[:1], {"x": past}))


def test_equal_values_and_gaps_in_a_target_are_read():
    target = np.stack([np.full(40, 10001.0), np.where(np.arange(40) % 3 == 0, np.nan, WALKS[0])])
    forecast(JointSeries(target))
    forecast(JointSeries(np.zeros((1, 3))), JointSeries(np.full((1, 3), -1e280)))


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ModelError, match="reads one series at a time: use a Chronos-2 model"):
        forecast_jointly(model("bolt"), [JointSeries(WALKS[:1])], 5, LEVELS)
    with pytest.raises(ModelError, match="forecasts 1 to 16 periods of series read together"):
        forecast_jointly(model(), [JointSeries(WALKS[:1])], 17, LEVELS)
    with pytest.raises(QuantileRangeError):
        forecast_jointly(model(), [JointSeries(WALKS[:1])], 5, [0.001])
