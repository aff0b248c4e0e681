import numpy as np
import pytest

from chronos_assets.kernelsynth import families, gaussian, noise, realism, seasons, trends, windows


@pytest.mark.parametrize("name", families.FAMILIES)
@pytest.mark.parametrize("length", [76, 300])
def test_a_family_gives_finite_varied_series_fixed_by_the_seed(name, length):
    family = families.FAMILIES[name]
    series = family(np.random.default_rng(3), 20, length)
    assert series.shape == (20, length)
    assert np.isfinite(series).all()
    assert np.array_equal(series, family(np.random.default_rng(3), 20, length))
    assert len(np.unique(series.round(9), axis=0)) == 20


@pytest.mark.parametrize("mixture", [families.REALISTIC, families.SHORT, families.LONG, families.CURRICULUM_START])
def test_mixtures_name_families_and_add_up_to_one(mixture):
    assert set(mixture) <= set(families.FAMILIES)
    assert sum(mixture.values()) == pytest.approx(1.0)


def test_every_family_is_part_of_the_realistic_mixture():
    assert set(families.REALISTIC) == set(families.FAMILIES)


def test_draw_takes_only_the_families_that_have_weight():
    series = families.draw(np.random.default_rng(0), {"counts": 1.0}, 50, 100)
    assert series.shape == (50, 100)
    assert (series == np.rint(series)).all(axis=1).mean() > 0.7


def test_a_season_without_drift_repeats_exactly():
    series = seasons.season(np.random.default_rng(1), 200, 800)
    lags = np.arange(1, 441)
    errors = np.stack([np.abs(series[:, lag:] - series[:, :-lag]).max(axis=1) for lag in lags])
    repeats = errors.min(axis=0) < 1e-9
    # Periods that are no whole number of steps come round only nearly.
    assert 0.6 < repeats.mean() <= 1.0


def test_regular_days_repeat_on_levels_that_go_elsewhere():
    series = noise.standardised(families.regular_days(np.random.default_rng(1), 60, 700))
    known = windows.attainable_error(series, np.ones_like(series, dtype=bool), 24).mean(axis=1)
    assert np.median(known) < 0.2
    assert (np.abs(series[:, :168].mean(axis=1) - series[:, -168:].mean(axis=1)) > 1.0).mean() > 0.2


def test_steps_hold_their_level_between_few_jumps():
    levels = trends.steps(np.random.default_rng(1), 100, 300)
    assert ((np.diff(levels, axis=1) != 0).sum(axis=1) <= 3).all()
    assert (levels[:, -1] != 0).all()


def test_drift_keeps_a_season_from_repeating():
    rng = np.random.default_rng(1)
    series = seasons.season(rng, 50, 800, drift=1.0)
    errors = np.stack([np.abs(series[:, lag:] - series[:, :-lag]).max(axis=1) for lag in range(1, 441)])
    assert (errors.min(axis=0) > 1e-3).mean() > 0.6


@pytest.mark.parametrize("longest", [4, 30, 200])
def test_periods_stay_within_the_longest(longest):
    periods = seasons.periods(np.random.default_rng(0), 5000, longest)
    assert periods.min() >= 3.0
    assert periods.max() <= longest


def test_periods_hold_the_usual_calendars_and_any_other():
    periods = seasons.periods(np.random.default_rng(0), 20_000, 400)
    for usual in (4, 7, 12, 24, 48, 52, 96, 168, 365):
        assert (periods == usual).mean() > 0.004
    assert len(np.unique(np.rint(periods))) > 250
    assert 0.05 < (periods != np.rint(periods)).mean() < 0.2


def test_profiles_are_standardised_and_read_at_any_position():
    table = seasons.profiles(np.random.default_rng(0), 100)
    assert table.mean(axis=1) == pytest.approx(np.zeros(100), abs=1e-9)
    assert table.std(axis=1) == pytest.approx(np.ones(100), abs=1e-4)
    cycles = np.array([[0.0, 1.0, -1.0, 0.999999]] * 100)
    assert np.array_equal(seasons.read_profile(table, cycles), table[:, [0, 0, 0, 0]])


def test_a_calendar_repeats_after_its_long_cycle_alone():
    series = seasons.calendar(np.random.default_rng(5), 100, 1200)
    long_cycles = np.unique(seasons.CALENDARS.prod(axis=1))
    exact = np.stack([np.abs(series[:, c:] - series[:, :-c]).max(axis=1) < 1e-9 for c in long_cycles])
    assert exact.any(axis=0).all()


def test_a_calendar_may_show_a_few_short_cycles_of_a_longer_one():
    series = seasons.calendar(np.random.default_rng(5), 300, 576)
    long_cycles = np.unique(seasons.CALENDARS.prod(axis=1))
    exact = np.stack([np.abs(series[:, c:] - series[:, :-c]).max(axis=1) < 1e-9 for c in long_cycles if c < 576])
    assert 0.05 < (~exact.any(axis=0)).mean() < 0.5


def test_drift_changes_the_amplitude_of_a_calendar():
    series = seasons.calendar(np.random.default_rng(5), 50, 1200, drift=0.5)
    errors = np.stack([np.abs(series[:, lag:] - series[:, :-lag]).max(axis=1) for lag in range(1, 1100)])
    assert (errors.min(axis=0) > 1e-3).all()


def test_momentum_makes_the_steps_of_a_walk_alike():
    steps = np.diff(noise.momentum(np.random.default_rng(0), 200, 500), axis=1)
    steps -= steps.mean(axis=1, keepdims=True)
    likeness = (steps[:, 1:] * steps[:, :-1]).mean(axis=1) / (steps**2).mean(axis=1)
    assert likeness.mean() > 0.4


def test_a_calendar_of_a_short_series_is_still_drawn():
    assert seasons.calendar(np.random.default_rng(0), 5, 20).shape == (5, 20)


def test_coloured_noise_is_smoother_the_larger_its_exponent():
    rng = np.random.default_rng(0)
    rough = [
        np.diff(noise.coloured(rng, 100, 500, np.full((100, 1), exponent)), axis=1).std()
        for exponent in (0.0, 1.0, 2.0)
    ]
    assert rough[0] == pytest.approx(np.sqrt(2), rel=0.05)
    assert rough[0] > 1.5 * rough[1] > 3.0 * rough[2]


def test_gaussian_process_draws_of_a_periodic_kernel_repeat():
    series = gaussian.periodic(np.random.default_rng(0), 60, 600)
    errors = np.stack([np.abs(series[:, lag:] - series[:, :-lag]).max(axis=1) for lag in range(3, 331)])
    assert (errors.min(axis=0) < 1e-2).mean() > 0.5


def test_growth_starts_at_one_and_stays_positive():
    growth = trends.growth(np.random.default_rng(0), 100, 50)
    assert growth[:, 0] == pytest.approx(np.ones(100))
    assert growth.min() > 0.1


def test_spoilt_series_keep_what_was_not_hit():
    rng = np.random.default_rng(0)
    series = rng.standard_normal((50, 400))
    outlying = realism.with_outliers(rng, series)
    assert 0 < (outlying != series).mean() < 0.01
    shifted = realism.with_level_shifts(rng, series, most=2) - series
    assert max(len(np.unique(row.round(6))) for row in shifted) <= 3
    floored = realism.with_floor_or_cap(rng, series)
    assert ((floored == series) | (floored > series)).all(axis=1).mean() > 0.5
    assert 0 < realism.missing_mask(rng, 200, 400).mean() < 0.3
