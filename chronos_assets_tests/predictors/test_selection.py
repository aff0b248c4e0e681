"""Weights and calibration: what is found where it is known what should be."""

import numpy as np

from chronos_assets.params.predictor import METRICS
from chronos_assets.predictors.calibration import Calibration, calibrate, coverage, likeness
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS, MEDIAN
from chronos_assets.predictors.selection import affordable, combine, item_weights, pooled_weights, with_more_of

Z = np.array([-2.326, -1.645, -1.282, -0.842, -0.524, -0.253, 0, 0.253, 0.524, 0.842, 1.282, 1.645, 2.326])
WQL = "AverageWeightedQuantileLoss"


def windows(count=80, horizon=6, seed=0):
    """Actuals around 10 with deviation 1."""
    rng = np.random.default_rng(seed)
    return Actuals(10 + rng.normal(size=(count, horizon)), np.ones(count))


def normal(centre, deviation, actuals):
    """The same normal forecast of every window."""
    made = centre + deviation * Z
    return np.broadcast_to(made, (*actuals.values.shape, len(LEVELS))).copy()


def test_the_better_member_gets_the_weight_and_equally_good_ones_share_it():
    actuals = windows()
    good, bad = normal(10, 1, actuals), normal(14, 1, actuals)
    low, high = normal(9, 1, actuals), normal(11, 1, actuals)
    even = np.full(2, 0.5)
    for metric in METRICS:
        assert pooled_weights(np.stack([good, bad]), actuals, metric, even)[0] > 0.9
    assert np.abs(pooled_weights(np.stack([low, high]), actuals, WQL, even) - 0.5).max() < 0.3


def test_a_lead_that_hangs_on_one_item_is_shared():
    actuals = windows(40)
    items = np.repeat(np.arange(5), 8)
    leading, other = normal(10.3, 1, actuals), normal(10, 1, actuals)
    other[items == 0] += 3
    made, even = np.stack([leading, other]), np.full(2, 0.5)
    together = pooled_weights(made, actuals, WQL, even, items=items)
    assert together[0] > 0.5
    assert together[1] > 1.5 * pooled_weights(made, actuals, WQL, even)[1]


def test_without_windows_the_prior_stands():
    none = windows().take(np.array([], dtype=np.intp))
    prior = np.array([0.7, 0.3])
    assert np.array_equal(pooled_weights(np.empty((2, 0, 6, len(LEVELS))), none, WQL, prior), prior)


def test_a_few_windows_are_enough_to_drop_a_member_that_fails_by_far():
    actuals = windows(2)
    good, useless = normal(10, 1, actuals), normal(40, 1, actuals)
    weights = pooled_weights(np.stack([good, useless]), actuals, WQL, np.array([0.1, 0.9]))
    assert weights[0] == 1.0


def test_a_large_series_does_not_decide_for_the_others():
    actuals = windows(40)
    large = Actuals(np.concatenate([actuals.values, actuals.values[:1] * 1e6]), np.ones(41))
    good = normal(10, 1, large)
    bad = normal(14, 1, large)
    good[-1], bad[-1] = 14e6, 10e6
    weights = pooled_weights(np.stack([good, bad]), large, WQL, np.full(2, 0.5))
    assert weights[0] > 0.2


def test_members_alike_in_the_metric_are_distinguished_by_their_medians():
    actuals = windows(200)
    # A band that is too wide costs as much as a median that is off.
    wide, off = normal(10, 2.4, actuals), normal(10.75, 1, actuals)
    wql = [actuals.value(WQL, made) for made in (wide, off)]
    assert abs(wql[0] / wql[1] - 1) < 0.03
    assert pooled_weights(np.stack([wide, off]), actuals, WQL, np.full(2, 0.5))[0] > 0.7


def test_who_is_nearer_where_it_is_hard_counts_more_than_where_it_is_easy():
    values = windows(20).values
    actuals = Actuals(np.concatenate([values, values]), np.ones(40))
    easy = np.arange(40) < 20
    better, worse = normal(11, 1, actuals), normal(12, 1, actuals)
    of_easy, of_hard = (np.where(chosen[:, None, None], better, worse) for chosen in (easy, ~easy))
    made, even = np.stack([of_easy, of_hard]), np.full(2, 0.5)
    # How hard a window was is told by how much its series changes usually, if that is known and it has no season.
    usually = Actuals(actuals.values, np.where(easy, 50.0, 1.0))
    assert pooled_weights(made, usually, WQL, even, seasonal=False)[1] > 0.7
    alike = np.arange(40) % 20
    for unknown in (actuals, Actuals(actuals.values, np.full(40, np.nan))):
        assert np.allclose(pooled_weights(made, unknown, WQL, even, items=alike, seasonal=False), 0.5)
    assert np.allclose(pooled_weights(made, usually, WQL, even, items=alike), 0.5)


def test_a_member_is_mixed_in_as_far_as_its_errors_are_its_own():
    actuals, rng = windows(400), np.random.default_rng(1)
    items, alone = np.arange(400), np.array([1.0, 0.0])
    shared, own = rng.normal(0, 1, (400, 6, 1)), rng.normal(0, 1.3, (400, 6, 1))
    usual = normal(10, 1, actuals) + shared
    for metric in METRICS:
        other = with_more_of(1, alone, np.stack([usual, normal(10, 1, actuals) + own]), actuals, metric, items)
        assert other[1] > 0.2
        alike = np.stack([usual, normal(10, 1, actuals) + 1.3 * shared])
        assert np.array_equal(with_more_of(1, alone, alike, actuals, metric, items), alone)


def test_few_windows_mix_in_less_and_none_nothing():
    actuals, rng = windows(400), np.random.default_rng(1)
    made = np.stack([normal(10, 1, actuals) + rng.normal(0, 1, (400, 6, 1)) for _ in range(2)])
    items, alone = np.arange(400), np.array([1.0, 0.0])
    many, few, none = (
        with_more_of(1, alone, made[:, :count], actuals.take(items[:count]), WQL, items[:count])[1]
        for count in (400, 20, 0)
    )
    assert many > 2 * few > 0 == none
    made[1, :, 0] = np.nan
    assert np.array_equal(with_more_of(1, alone, made, actuals, WQL, items), alone)


def test_items_that_differ_get_weights_of_their_own_and_noise_gets_none():
    rng = np.random.default_rng(1)
    items = np.repeat(np.arange(30), 4)
    first = np.where(items < 15, 1.0, 2.0) * np.exp(0.05 * rng.normal(size=120))
    weights, trust = item_weights(np.stack([first, first[::-1]]), items, np.full(2, 0.5))
    assert trust > 0.8
    assert weights[0, 0] > 0.7
    assert weights[-1, 0] < 0.3
    noise = np.exp(0.5 * rng.normal(size=(2, 120)))
    weights, trust = item_weights(noise, items, np.full(2, 0.5))
    assert np.abs(weights - 0.5).max() < 0.25
    assert item_weights(noise[:, :30], np.arange(30), np.full(2, 0.5))[1] == 0.0


def test_members_that_cost_more_than_they_are_worth_are_left_out():
    weights = affordable(np.array([0.5, 0.3, 0.2]), np.array([1.0, 1.0, 0.1]), 1.2)
    assert weights[1] == 0
    assert np.isclose(weights.sum(), 1)
    assert affordable(np.array([1.0]), np.array([9.0]), 1.0)[0] == 1.0


def test_a_member_without_a_forecast_is_left_out_of_that_series():
    actuals = windows(2)
    one, other = normal(10, 1, actuals), normal(12, 1, actuals)
    other[0] = np.nan
    made = combine(np.stack([one, other]), np.array([0.5, 0.5]))
    assert np.array_equal(made[0], one[0])
    assert np.allclose(made[1, :, MEDIAN], 11)


def test_calibration_widens_and_narrows_bands_to_hold_their_share():
    actuals, later = windows(400), windows(400, seed=1)
    for deviation in (0.5, 1.0, 2.0):
        factors = calibrate(normal(10, deviation, actuals), actuals)
        made = factors.apply(normal(10, deviation, later))
        assert abs(coverage(made, later) - 0.8) < 0.04
        assert (np.diff(made, axis=2) >= 0).all()
    few = windows(2)
    assert np.abs(calibrate(normal(10, 0.5, few), few).factors - 1).max() < 0.3


def test_windows_unlike_the_forecast_count_less_in_its_bands():
    actuals = windows(200)
    values = actuals.values.copy()
    values[:100] = 10 + 4 * (values[:100] - 10)  # long ago, or with half of the history
    made, seen = normal(10, 1, actuals), Actuals(values, actuals.scale)
    even, calm = calibrate(made, seen), calibrate(made[100:], seen.take(np.arange(100, 200)))
    for histories, ages in ((np.full(200, 30), np.repeat([9, 0], 100)), (np.repeat([10, 30], 100), np.zeros(200))):
        found = calibrate(made, seen, likeness(histories, ages, np.full(200, 30)))
        assert (found.factors[:, 2] < 1.2 * calm.factors[:, 2]).all()  # the 80% band
        assert (found.factors[:, 2] < 0.7 * even.factors[:, 2]).all()
    half = likeness([15, 30, 30], [0, 0, 1], [30, 30, 30])
    assert half[1] == 1.0
    assert half[0] < half[2] < 1
    # What windows say together is worth as many as count alike.
    few = calibrate(normal(10, 0.5, actuals), actuals, np.where(np.arange(200) < 2, 1.0, 1e-6))
    assert np.abs(few.factors - 1).max() < 0.3


def test_factors_follow_the_horizon_and_survive_their_document():
    actuals = windows(300, 6)
    values = actuals.values.copy()
    values[:, 4:] = 10 + 3 * (values[:, 4:] - 10)
    factors = calibrate(normal(10, 1, actuals), Actuals(values, actuals.scale))
    assert factors.ends == (2, 4, 6)
    assert factors.factors[2, 2] > 1.5 * factors.factors[0, 2]
    again = Calibration.from_document(factors.to_document())
    assert np.allclose(again.factors, factors.factors, atol=1e-6)


def test_widened_bands_are_so_many_times_as_wide():
    actuals = windows(300)
    made = normal(10, 1, actuals)
    factors = calibrate(made, actuals)
    assert np.allclose(factors.widened(2.0).apply(made) - 10, 2 * (factors.apply(made) - 10))
