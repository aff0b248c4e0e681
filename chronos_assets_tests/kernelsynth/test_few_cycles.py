import numpy as np
import pytest

from chronos_assets.kernelsynth import few_cycles, noise, windows


@pytest.mark.parametrize("length", [72, 320])
def test_levels_stay_within_what_a_network_can_scale(length):
    series = few_cycles.few_cycles(np.random.default_rng(1), 400, length)
    positive = series[(series > 0).all(axis=1)]
    assert len(positive) > 200
    ratio = positive.max(axis=1) / np.median(positive, axis=1)
    # The level alone makes e^4 at most; seasons and noise come on top.
    assert (ratio < 1e3).all()
    assert (ratio > 1.5).mean() > 0.4


def test_the_past_moved_to_the_present_level_says_much_but_not_all():
    series = noise.standardised(few_cycles.few_cycles(np.random.default_rng(1), 300, 96))
    known = windows.attainable_error(series, np.ones_like(series, dtype=bool), 8).mean(axis=1)
    assert 0.1 < np.median(known) < 0.6
    assert np.quantile(known, 0.9) > 0.4


def test_growth_turns_or_fades_in_many_records():
    series = few_cycles.few_cycles(np.random.default_rng(1), 400, 120)
    first, last = (np.diff(half.mean(axis=2), axis=1)[:, 0] for half in np.split(series.reshape(400, 4, 30), 2, axis=1))
    assert 0.15 < (np.sign(first) != np.sign(last)).mean() < 0.5
