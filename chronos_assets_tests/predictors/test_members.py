"""Statistical members: the recipe, gaps, short series, independence of rows."""

from dataclasses import replace

import numpy as np
import pytest

from chronos_assets.predictors.members.autoregression import Autoregression
from chronos_assets.predictors.members.base import LEVELS, MEDIAN, Contexts
from chronos_assets.predictors.members.damped_trend import DampedTrend
from chronos_assets.predictors.members.exponential_smoothing import ExponentialSmoothing
from chronos_assets.predictors.members.intermittent import Intermittent
from chronos_assets.predictors.members.pooled_autoregression import fit_pooled
from chronos_assets.predictors.members.random_walk import RandomWalk
from chronos_assets.predictors.members.recent_values import RecentValues
from chronos_assets.predictors.members.seasonal_naive import SeasonalNaive
from chronos_assets.predictors.members.seasons import adjust, find_seasons
from chronos_assets.predictors.members.theta import ALPHAS, Theta
from chronos_assets_tests.predictors.ets_reference import ets
from chronos_assets_tests.predictors.theta_reference import theta

MEMBERS = (
    Theta(),
    ExponentialSmoothing(),
    ExponentialSmoothing("log_ets", logarithms=True),
    DampedTrend(),
    Autoregression(),
    SeasonalNaive(),
    RandomWalk(),
    RecentValues(),
    Intermittent(),
)
SEASONS = (7, 24)


def some_series(seed=0):
    """Seasonal and not, positive and not, long and short, flat."""
    rng = np.random.default_rng(seed)
    time = np.arange(200)
    yield 50 + 10 * np.sin(2 * np.pi * time / 24) + rng.normal(size=200)
    yield (10 + 0.1 * time) * (1 + 0.4 * np.cos(2 * np.pi * time / 7)) * np.exp(0.02 * rng.normal(size=200))
    yield np.cumsum(rng.normal(size=131))
    yield rng.normal(size=60) + 0.2 * np.arange(60)
    yield np.abs(rng.normal(size=14)) + 1
    yield np.full(30, 3.0)
    yield rng.poisson(0.4, 90).astype(float)
    yield np.array([1.0, 2.0, 4.0])
    yield np.array([5.0])


def test_theta_is_the_recipe():
    series = list(some_series())
    made = Theta().forecast(Contexts(series, 12, SEASONS))
    for values, quantiles in zip(series, made, strict=True):
        expected = theta(values, 12, SEASONS, LEVELS, ALPHAS)
        assert np.allclose(quantiles, expected, rtol=1e-6, atol=1e-6 * (1 + np.abs(values).max()))


def test_exponential_smoothing_is_the_recipe():
    series = [values for values in some_series() if len(values) > 2 and np.ptp(values) > 0]
    made = ExponentialSmoothing().forecast(Contexts(series, 12))
    for values, quantiles in zip(series, made, strict=True):
        assert np.allclose(quantiles, ets(values, 12, LEVELS), rtol=1e-6, atol=1e-6 * (1 + np.abs(values).max()))


def test_exponential_smoothing_in_logarithms_is_that_of_the_logarithms():
    series = [np.exp(0.1 * values) for values in some_series() if len(values) > 2 and np.ptp(values) > 0]
    member = ExponentialSmoothing("log_ets", logarithms=True)
    made = member.forecast(Contexts(series, 12))
    expected = np.exp(ExponentialSmoothing().forecast(Contexts([np.log(values) for values in series], 12)))
    limit = []
    for values in series:
        third = len(values) // 3
        parts = [np.log(part).mean() for part in np.split(values, [third, len(values) - third])]
        half = third // 2
        of_late = np.log(values[-half:]).mean() - np.log(values[-third : half - third]).mean() if half else np.inf
        trend = min(2 * np.diff(parts).min() / (len(values) - third), of_late / (third - half))
        grown = (values.max() / values.min()) ** ((len(values) - 1) / (len(values) + 11))
        growth = np.minimum(np.exp(2 * max(trend, 0.0) * np.arange(1, 13)), grown)
        limit.append(np.exp(1) * values.max() * growth)
    assert np.allclose(made, np.minimum(expected, np.array(limit)[:, :, None]))
    growing = 1.05 ** np.arange(40.0)
    ahead = member.forecast(Contexts([growing], 12))[0, :, MEDIAN]
    assert np.allclose(ahead, 1.05 ** np.arange(40, 52), rtol=0.05)
    assert np.isnan(member.forecast(Contexts([growing - 1], 12))).all()
    stand_ins = np.where(np.arange(40) % 5 < 2, 0.01, 100.0)  # of zeros, which have no logarithm
    assert member.forecast(Contexts([stand_ins], 12)).max() < 1000
    assert member.forecast(Contexts([2.0 ** np.arange(5)], 24)).max() < 6 * 16
    leap, launch = np.array([2.0, 1, 3, 2, 500]), np.array([0.01, 0.02, 1, 5, 100, 95, 110, 98, 104])
    for values in (leap, launch):
        assert member.forecast(Contexts([values], 12)).max() < 3 * values.max()


def test_a_random_walk_stays_where_it_is_and_its_band_grows_with_the_root_of_time():
    steps = np.random.default_rng(9).normal(size=(40, 400))
    made = RandomWalk().forecast(Contexts(list(np.cumsum(steps, axis=1)), 16))
    assert np.allclose(made[:, :, MEDIAN], steps.sum(axis=1)[:, None])
    width = made[:, :, LEVELS.index(0.9)] - made[:, :, LEVELS.index(0.1)]
    assert np.allclose(width[:, 15], 4 * width[:, 0])
    assert abs(width[:, 0].mean() - 2 * 1.2816) < 0.1


def test_an_autoregression_returns_to_its_level_and_never_leaves_what_the_series_did():
    shocks = np.random.default_rng(4).normal(size=(40, 300))
    values = np.zeros_like(shocks)
    for step in range(1, 300):
        values[:, step] = 0.8 * values[:, step - 1] + shocks[:, step]
    made = Autoregression().forecast(Contexts(list(values), 8))
    for step in (0, 7):
        error = np.abs(made[:, step, MEDIAN] - 0.8 ** (step + 1) * values[:, -1]).mean()
        assert error < 0.2 * np.sqrt((1 - 0.64 ** (step + 1)) / 0.36)  # of the deviation that can't be foreseen
    explosive = 1.2 ** np.arange(30.0)
    far = Autoregression().forecast(Contexts([explosive], 12))[0, :, MEDIAN]
    assert explosive[-1] < far.max() <= explosive[-1] + 1.26 * 12 / 10 * (explosive[-1] - explosive[-11])


@pytest.mark.parametrize(
    "member", [*MEMBERS, fit_pooled([*some_series(3), *some_series(4)], 8, SEASONS)], ids=lambda member: member.name
)
def test_a_forecast_depends_on_nothing_but_its_series(member):
    series = [*some_series(), *some_series(1), *some_series(2)]
    contexts = Contexts(series, 10, SEASONS)
    together = member.forecast(contexts)
    for place in range(len(series)):
        alone = member.forecast(Contexts([series[place]], 10, SEASONS))
        assert np.array_equal(alone[0], together[place], equal_nan=True)
    rows = np.arange(0, len(series), 2)[::-1]
    for some in (
        contexts.take(rows),
        Contexts(series, 10, SEASONS).take(rows),
    ):  # with and without what is there already
        assert np.array_equal(member.forecast(some), together[rows], equal_nan=True)
    changed = replace(contexts.take(rows), values=[series[place - 1] for place in rows])
    assert np.array_equal(member.forecast(changed), together[rows - 1], equal_nan=True)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_quantiles_are_in_order_and_scale_with_the_series(member):
    series = list(some_series())
    made = member.forecast(Contexts(series, 10, SEASONS))
    known = np.isfinite(made).all(axis=(1, 2))
    assert (np.diff(made[known], axis=2) >= -1e-9).all()
    if member.name != "intermittent":  # which is for counts alone
        positive = np.array([values.min() > 0 for values in series])
        assert np.array_equal(known, positive | (member.name != "log_ets"))
        thrice = member.forecast(Contexts([3 * values for values in series], 10, SEASONS))
        assert np.allclose(thrice, 3 * made, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_gaps_are_no_values(member):
    rng = np.random.default_rng(3)
    values = 20 + 5 * np.sin(2 * np.pi * np.arange(120) / 24) + rng.normal(size=120)
    gappy = np.where(rng.random(120) < 0.2, np.nan, values)
    padded = np.concatenate([np.full(40, np.nan), gappy])
    made = member.forecast(Contexts([gappy, padded, np.full(9, np.nan)], 6, SEASONS))
    assert np.array_equal(made[0], made[1], equal_nan=True)
    assert np.isnan(made[2]).all()
    if member.name != "intermittent":
        assert np.abs(made[0, :, MEDIAN] - values.mean()).max() < 15


def test_a_season_is_found_where_there_is_one():
    rng = np.random.default_rng(5)
    hours = np.arange(24 * 28)
    day = 10 + 3 * np.sin(2 * np.pi * hours / 24)
    week = day + 6 * ((hours // 24) % 7 >= 5)
    noise = rng.normal(size=(60, len(hours)))
    panel = Contexts([day + noise[0], week + noise[1]], 24, (24, 168)).panels[0]
    assert find_seasons(panel, (24, 168)).tolist() == [24, 168]
    panel = Contexts([*noise, *np.cumsum(noise, axis=1)], 24, (24, 168)).panels[0]
    found = find_seasons(panel, (24, 168)) > 1
    assert found[:60].mean() < 0.15
    assert found[60:].mean() < 0.25  # three seasons of the longer candidate are not much to tell by


def test_the_season_is_the_one_of_late_and_chance_is_none():
    """A season that grew tenfold is put back at nearly its last size; what is left of noise is small."""
    rng = np.random.default_rng(8)
    time = np.arange(40 * 12)
    grown = 5 * np.sin(2 * np.pi * time / 12) * np.linspace(0.2, 2.0, len(time))
    shaken = 5 * rng.normal(size=(20, 36))
    adjusted = adjust(Contexts([grown], 12).panels[0], (12,), 12)
    assert adjusted.season.tolist() == [12]
    assert 0.75 * 10 < np.abs(adjusted.indices[0]).max() < 10
    assert np.abs(adjusted.values[0]).mean() < 0.3 * np.abs(grown).mean()
    means = np.array([row.reshape(3, 12).mean(axis=0) for row in shaken])
    assert np.abs(adjust(Contexts(list(shaken), 12).panels[0], (12,), 12).indices).mean() < 0.3 * np.abs(means).mean()


def test_seasonal_naive_averages_noisy_seasons_and_repeats_clean_ones():
    rng = np.random.default_rng(6)
    pattern = rng.normal(size=7) * 10
    clean = np.tile(pattern, 20) + np.cumsum(np.repeat(rng.normal(size=20), 7))
    noisy = np.tile(pattern, 20) + 4 * rng.normal(size=140)
    made = SeasonalNaive().forecast(Contexts([clean, noisy], 7, (7,)))[:, :, MEDIAN]
    assert np.abs(made[1] - pattern).mean() < np.abs(noisy[-7:] - pattern).mean()
    assert np.abs(made[0] - clean[-7:]).max() < 5


def test_intermittent_demand_is_counts_with_its_share_of_zeros():
    rng = np.random.default_rng(8)
    sold = rng.binomial(1, 0.3, 400) * (1 + rng.poisson(2.0, 400))
    ended = np.concatenate([sold[:300], np.zeros(100)])
    made = Intermittent().forecast(Contexts([sold.astype(float), ended.astype(float), sold + 0.5], 5))
    assert np.array_equal(made[0], np.rint(made[0]))
    assert made[0, 0, LEVELS.index(0.5)] == 0
    assert abs((sold <= made[0, 0, LEVELS.index(0.9)]).mean() - 0.9) < 0.08
    assert made[1, 0, LEVELS.index(0.99)] <= made[0, 0, LEVELS.index(0.99)]
    assert np.isnan(made[2]).all()
