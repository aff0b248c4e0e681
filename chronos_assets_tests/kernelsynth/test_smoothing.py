import numpy as np
import pytest

from chronos_assets.kernelsynth import noise, smoothing


@pytest.mark.process
@pytest.mark.parametrize("length", [20, 128, 600])
def test_no_process_grows_beyond_what_a_network_could_scale(length):
    series = smoothing.exponential_smoothing(np.random.default_rng(1), 2000, length)
    positive = series[(series > 0).all(axis=1)]
    assert (series.std(axis=1) > 0).all()
    assert (positive.max(axis=1) / positive.min(axis=1)).max() < 1000


def test_a_season_that_nothing_moves_repeats_exactly():
    period = np.array([1, 4, 12, 7])
    season = smoothing.season_states(np.random.default_rng(0), period, np.zeros((4, 100)))
    assert (season[0] == 0).all()
    for row, steps in zip(season[1:], period[1:], strict=True):
        assert row.std() > 0
        assert row[steps:] == pytest.approx(row[:-steps], abs=1e-12)


def test_a_move_of_a_season_is_seen_at_its_next_turns_and_nowhere_else():
    moves = np.zeros((1, 50))
    moves[0, 6] = 5.0
    still = smoothing.season_states(np.random.default_rng(0), np.array([12]), np.zeros((1, 50)))
    moved = smoothing.season_states(np.random.default_rng(0), np.array([12]), moves)
    assert np.flatnonzero(~np.isclose(moved, still)[0]).tolist() == [18, 30, 42]
    assert (moved - still)[0, [18, 30, 42]] == pytest.approx(5.0)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.97, 1.0])
def test_a_decaying_sum_is_the_recursion_it_says(keep):
    values = np.random.default_rng(0).standard_normal((3, 200))
    total = np.zeros((3, 200))
    for step in range(200):
        total[:, step] = keep * total[:, step - 1] * (step > 0) + values[:, step]
    assert noise.decaying_sum(values, np.full((3, 1), keep)) == pytest.approx(total, abs=1e-9)
