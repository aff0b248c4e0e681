import numpy as np
import pytest

from chronos_assets.kernelsynth import days


def test_deviations_are_of_unit_variance_from_the_first_step_and_persist():
    values = days.persistent(np.random.default_rng(0), 3000, 200, longest=np.full((3000, 1), 60.0))
    # Volatility makes for heavy tails, and so for a rough estimate.
    assert values[:, 0].std() == pytest.approx(1.0, abs=0.2)
    assert values[:, -1].std() == pytest.approx(1.0, abs=0.2)
    step, hour = (np.abs(values[:, lag:] - values[:, :-lag]).mean(axis=1) for lag in (1, 24))
    assert (step < hour).mean() > 0.95


def test_a_value_between_days_is_on_the_line_from_one_to_the_next():
    cycles = 3.0 + np.arange(97.0)[None, :] / 24
    value = days.between_days(np.random.default_rng(0), cycles, 0.5)[0]
    bends = np.flatnonzero(np.abs(np.diff(value, 2)) > 1e-9) + 1
    assert bends.tolist() == [24, 48, 72]


def test_the_last_values_say_more_of_the_next_hour_than_the_day_before():
    series = days.wandering_days(np.random.default_rng(2), 200, 600)
    hour = series[:, 500:504]
    by_level = np.abs(hour - series[:, 496:500].mean(axis=1, keepdims=True)).mean(axis=1)
    # A multiple of most of the days.
    by_day = np.abs(hour - series[:, 404:408]).mean(axis=1)
    assert (by_level < by_day).mean() > 0.55


def test_what_is_switched_is_on_or_off_for_a_while():
    states = days.switched(np.random.default_rng(0), 500, 600)
    assert set(np.unique(states)) == {0.0, 1.0}
    changes = np.abs(np.diff(states, axis=1)).mean(axis=1)
    assert 0.01 < np.median(changes) < 0.3


def test_days_off_come_back_with_the_week():
    cycles = np.broadcast_to(np.arange(14 * 24) / 24, (100, 14 * 24))
    values = days.with_days_off(np.random.default_rng(3), np.zeros_like(cycles), cycles)
    assert np.allclose(values[:, : 7 * 24], values[:, 7 * 24 :])
    changed = (values.reshape(100, 14, 24) != 0).any(axis=2).sum(axis=1)
    assert set(changed) == {2, 4}
