"""What a network is shown keeps its digits: the regression test of inputs that were rounded to bfloat16."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.models.scaling import restored, scale_only, standardise


@pytest.mark.parametrize("scale", [standardise, scale_only])
@pytest.mark.parametrize(
    "values",
    [
        [10_000.0, 10_001.0, 10_002.0, 10_001.0],  # bfloat16 has 9984 for all of them
        (1e12 + np.sin(np.arange(50))).tolist(),
        [1e-290, 2e-290, 1.5e-290],
        [-1e290, 1e290, 5e289],
    ],
)
def test_the_way_there_and_back_keeps_the_differences(scale, values):
    array = np.array(values)
    item = scale(array)
    (back,) = restored([item], item.values[None].astype(np.float64))
    assert np.abs(back - array).max() < 1e-6 * np.ptp(array / 1e3) * 1e3
    assert len(np.unique(item.values)) == len(np.unique(array))


@given(st.floats(-1e12, 1e12), st.floats(1e-3, 1e3))
def test_what_follows_is_on_the_scale_of_the_context(level, spread):
    context = level + spread * np.array([-1.0, 1.0, np.nan, 1.0, -1.0])
    item = standardise(context)
    np.testing.assert_array_equal(item.apply(context), item.values)
    assert item.apply(np.array([level]))[0] == pytest.approx(0.0, abs=1e-6 + 1e-3 * abs(level) / spread / 1e10)


def test_what_lies_far_off_stays_finite():
    item = standardise(np.array([0.0, 1e-300, 0.0]))
    assert np.isfinite(item.apply(np.array([1e300, -1e300]))).all()


def test_a_flat_context_has_no_scale():
    assert standardise(np.array([3.0, np.nan, 3.0])) is None
    assert scale_only(np.array([3.0, 3.0])) is None
