import numpy as np
import pytest

from chronos_assets.kernelsynth import pulses


def test_half_of_the_events_come_by_a_clock():
    heights = pulses.arrivals(np.random.default_rng(0), 400, 1000)
    gaps = [np.diff(np.flatnonzero(row)) for row in heights]
    regular = [np.ptp(gap) <= 1 for gap in gaps if gap.size > 3]
    assert 0.15 < np.mean(regular) < 0.6
    assert heights.min() == 0.0


def test_a_pulse_rises_stays_and_falls_after_it_starts():
    heights = np.zeros((300, 200))
    heights[:, 50] = 2.0
    shape = pulses.shaped(np.random.default_rng(0), heights, longest=20)
    assert shape[:, :50] == pytest.approx(0.0, abs=1e-9)
    assert shape.max() == pytest.approx(2.0, abs=1e-6)
    assert shape.min() > -1e-9
    # One top: up to it nothing falls, after it nothing rises.
    signs = np.sign(np.diff(shape.round(6), axis=1))
    assert ((np.diff(np.cumsum(signs == -1, axis=1) > 0, axis=1).sum(axis=1)) <= 1).all()
    fallen = np.cumsum(signs == -1, axis=1) > 0
    assert not (fallen & (signs == 1)).any()


def test_pulses_add_up():
    heights = np.random.default_rng(0).random((5, 100)) * (np.random.default_rng(1).random((5, 100)) < 0.1)
    one, two = (pulses.shaped(np.random.default_rng(2), factor * heights, longest=10) for factor in (1.0, 2.0))
    assert two == pytest.approx(2.0 * one)


def test_an_outage_holds_a_value_that_was_there():
    values = np.random.default_rng(0).standard_normal((200, 300))
    spoilt = pulses.with_outages(np.random.default_rng(1), values)
    changed = spoilt != values
    assert 0.02 < changed.mean() < 0.3
    assert changed.any(axis=1).all()
    for row, original in zip(spoilt, values, strict=True):
        assert set(row) <= set(original)
