import numpy as np
import pytest

from chronos_assets.kernelsynth import families, rates


def test_a_coarser_rate_is_the_mean_of_steps():
    values = np.arange(14.0).reshape(2, 7)
    assert rates.aggregated(values, 3).tolist() == [[1.0, 4.0], [8.0, 11.0]]


def test_a_finer_rate_lies_on_the_lines_between_steps():
    values = np.array([[0.0, 3.0, -3.0]])
    assert rates.interpolated(values, 3)[0] == pytest.approx([0, 1, 2, 3, 1, -1, -3])


def test_a_season_of_an_aggregated_series_is_shorter_by_the_factor():
    cycle = np.tile(np.random.default_rng(0).standard_normal(24), 20)[None]
    seen = rates.aggregated(cycle, 4)
    assert seen[:, 6:] == pytest.approx(seen[:, :-6])


@pytest.mark.process
@pytest.mark.parametrize("n, length", [(1, 77), (2, 50), (400, 128)])
def test_a_draw_has_the_size_asked_for_and_is_fixed_by_the_seed(n, length):
    series = rates.draw(np.random.default_rng(5), families.REALISTIC, n, length)
    assert series.shape == (n, length)
    assert np.isfinite(series).all()
    assert np.array_equal(series, rates.draw(np.random.default_rng(5), families.REALISTIC, n, length))


@pytest.mark.process
def test_some_series_are_seen_at_another_rate():
    counts = rates.draw(np.random.default_rng(0), {"counts": 1.0}, 600, 100)
    whole = (counts == np.rint(counts)).all(axis=1).mean()
    plain = (families.draw(np.random.default_rng(0), {"counts": 1.0}, 600, 100) % 1 == 0).all(axis=1).mean()
    assert 0.1 < plain - whole < 0.3
