"""Quantile arithmetic against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.models.quantiles import (
    at_scores,
    clip_at_zero,
    interpolate,
    is_non_negative,
    marginal_quantiles,
    mean_of_quantiles,
    normal_scores,
    sort_quantiles,
)
from chronos_assets_tests.models.tiny_levels import LEVELS_9, LEVELS_21

levels_strategy = st.lists(st.integers(1, 99), min_size=2, max_size=21, unique=True).map(
    lambda percents: tuple(percent / 100 for percent in sorted(percents))
)
ascending = st.lists(st.floats(-1e6, 1e6), min_size=21, max_size=21).map(sorted)


@given(levels_strategy, levels_strategy, st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_any_two_quantiles_of_a_normal_give_all_others_and_its_mean(levels, wanted, location, scale):
    quantiles = location + scale * normal_scores(levels)
    size = abs(location) + scale
    assert interpolate(quantiles, levels, wanted) == pytest.approx(
        location + scale * normal_scores(wanted), abs=1e-7 * size
    )
    assert mean_of_quantiles(quantiles, levels) == pytest.approx(location, abs=1e-7 * size)


@pytest.mark.parametrize(
    ("quantile_function", "mean", "deviation", "tolerance", "coarse_tolerance"),
    [
        (lambda u: np.exp(0.5 * normal_scores(u)), math.exp(0.125), 0.604, 0.001, 0.03),
        (lambda u: np.exp(normal_scores(u)), math.exp(0.5), 2.161, 0.005, 0.07),
        (lambda u: -np.log1p(-np.array(u)), 1.0, 1.0, 0.002, 0.03),
        (np.array, 0.5, 12**-0.5, 0.001, 0.001),
    ],
    ids=["lognormal 0.5", "lognormal 1", "exponential", "uniform"],
)
def test_the_mean_of_a_skewed_distribution_is_its_mean_and_not_its_median(
    quantile_function, mean, deviation, tolerance, coarse_tolerance
):
    assert abs(mean_of_quantiles(quantile_function(LEVELS_21), LEVELS_21) - mean) < tolerance * deviation
    assert abs(mean_of_quantiles(quantile_function(LEVELS_9), LEVELS_9) - mean) < coarse_tolerance * deviation


@given(ascending, levels_strategy)
def test_interpolated_quantiles_ascend_and_stay_between_their_neighbours(quantiles, wanted):
    values = np.array(quantiles)
    inside = [level for level in wanted if LEVELS_21[0] <= level <= LEVELS_21[-1]]
    result = interpolate(values, LEVELS_21, inside) if inside else np.array([])
    slack = 1e-9 * (1 + np.abs(values).max())
    assert np.all(np.diff(result) >= -slack)
    for level, value in zip(inside, result, strict=True):
        left = np.searchsorted(LEVELS_21, level, side="right") - 1
        assert values[left] - slack <= value <= values[min(left + 1, 20)] + slack


@given(ascending)
def test_a_models_own_level_is_copied_bit_for_bit(quantiles):
    values = np.array(quantiles)
    assert np.array_equal(interpolate(values, LEVELS_21, LEVELS_21[3:9]), values[3:9])


@given(ascending)
def test_a_mean_lies_between_the_outermost_quantiles(quantiles):
    values = np.array(quantiles)
    slack = 1e-9 * (1 + np.abs(values).max())
    assert values[0] - slack <= mean_of_quantiles(values, LEVELS_21) <= values[-1] + slack


@given(st.lists(st.floats(-10, 10), min_size=9, max_size=9), st.floats(0.1, 1e3), st.floats(-1e3, 1e3))
def test_scale_and_shift_pass_through_the_mean(quantiles, scale, shift):
    values = np.array(quantiles)
    moved = mean_of_quantiles(scale * values + shift, LEVELS_9)
    assert moved == pytest.approx(scale * mean_of_quantiles(values, LEVELS_9) + shift, abs=1e-9 * (abs(shift) + scale))


def test_crossed_quantiles_are_put_in_order_and_pointed_out():
    ordered, crossed = sort_quantiles(np.array([[1.0, 3.0, 2.0], [1.0, 2.0, 2.0]]))
    assert ordered.tolist() == [[1.0, 2.0, 3.0], [1.0, 2.0, 2.0]]
    assert crossed.tolist() == [True, False]


@pytest.mark.parametrize("levels", [(), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5), (0.9, 0.1)])
def test_impossible_levels_are_refused(levels):
    with pytest.raises(ValueError, match="ascend strictly between 0 and 1"):
        normal_scores(levels)


def test_a_single_level_stands_for_the_whole_distribution():
    values = np.array([[5.0]])
    assert interpolate(values, (0.5,), (0.1, 0.9)).tolist() == [[5.0, 5.0]]
    assert mean_of_quantiles(values, (0.5,)).tolist() == [5.0]


def test_values_at_scores_are_those_of_the_interpolation():
    quantiles = np.sort(np.random.default_rng(1).normal(size=(4, 21)), axis=-1)
    wanted = (0.02, 0.33, 0.5, 0.97)
    scores = np.broadcast_to(normal_scores(wanted), (4, 4))
    assert at_scores(quantiles, LEVELS_21, scores) == pytest.approx(interpolate(quantiles, LEVELS_21, wanted))


@pytest.mark.parametrize("levels", [LEVELS_9, LEVELS_21])
@pytest.mark.parametrize("scores", [(-1.5, 0.0, 1.5), (-2.2, -1.3, -0.6, 0.0, 0.6, 1.3, 2.2)])
@pytest.mark.parametrize(
    ("between", "within"), [(1, 1), (3, 1), (1, 3), (10, 1), (1, 10), (1.37, 1), (2, 1), (0, 1), (1, 0)]
)
def test_the_marginal_of_a_normal_given_a_normal_is_normal(levels, scores, between, within):
    conditional = between * np.array(scores)[:, None] + within * normal_scores(levels)
    deviation = math.hypot(between, within)
    result = marginal_quantiles(conditional[None], scores, levels)[0]
    assert result == pytest.approx(deviation * normal_scores(levels), abs=0.015 * deviation)


@given(st.integers(0, 10_000))
def test_a_marginal_ascends_and_depends_on_no_other_row(seed):
    rng = np.random.default_rng(seed)
    conditional = np.sort(rng.standard_t(2, size=(5, 3, 21)), axis=-1)
    scores = (-1.5, 0.0, 1.5)
    together = marginal_quantiles(conditional, scores, LEVELS_21)
    assert np.all(np.diff(together, axis=-1) >= 0)
    alone = marginal_quantiles(conditional[3:4], scores, LEVELS_21)
    assert np.array_equal(alone[0], together[3])


@pytest.mark.parametrize("levels", [LEVELS_9, LEVELS_21, (0.1, 0.5, 0.9)])
@pytest.mark.parametrize("location", [-3.0, -0.5, 0.0, 0.5, 1.2])
def test_clipped_at_zero_a_normal_has_the_mean_of_the_censored_normal(levels, location):
    quantiles = location + normal_scores(levels)
    clipped, mean = clip_at_zero(quantiles[None], np.array([location]), levels)
    density = math.exp(-(location**2) / 2) / math.sqrt(2 * math.pi)
    share = 0.5 * math.erfc(-location / math.sqrt(2))
    assert mean[0] == pytest.approx(location * share + density, abs=0.006)
    assert np.array_equal(clipped[0], np.maximum(quantiles, 0))


@given(ascending, st.floats(0, 1))
def test_clipping_leaves_a_consistent_distribution_and_nothing_to_clip(values, share):
    quantiles = np.array(values)
    mean = mean_of_quantiles(quantiles, LEVELS_21)
    clipped, raised = clip_at_zero(quantiles, mean, LEVELS_21)
    assert np.all(clipped >= 0)
    assert np.all(np.diff(clipped) >= 0)
    assert raised >= max(mean, 0) - 1e-9
    if quantiles[0] >= 0:
        assert np.array_equal(clipped, quantiles)
        assert raised == mean or mean < 0
    else:
        assert np.array_equal(clipped[quantiles > 0], quantiles[quantiles > 0])


def test_the_rule_asks_the_history_only_where_nothing_is_set():
    assert [is_non_negative(None, lowest) for lowest in (0.0, 3.0, -0.1)] == [True, True, False]
    assert is_non_negative(True, -5.0)
    assert not is_non_negative(False, 5.0)
