import numpy as np
import pytest

from chronos_assets.kernelsynth import compounding


@pytest.mark.parametrize(("length", "most"), [(72, 1e6), (576, 1e4)])
def test_no_record_grows_beyond_what_a_network_could_scale(length, most):
    series = compounding.compounding(np.random.default_rng(1), 400, length)
    positive = series[(series > 0).all(axis=1)]
    assert len(positive) > 200
    assert (positive.max(axis=1) / positive.min(axis=1)).max() < most


def test_most_records_are_smooth_enough_to_be_continued():
    series = compounding.compounding(np.random.default_rng(1), 300, 192)
    last_year, next_year = series[:, 96:108], series[:, 108:120]
    moved = next_year - np.diff([s.mean(axis=1) for s in (last_year, next_year)], axis=0).T
    error = np.abs(moved - last_year).mean(axis=1) / series[:, :108].std(axis=1)
    assert np.median(error) < 0.25
    assert np.quantile(error, 0.9) > 0.3
