import numpy as np
import pytest

from chronos_assets.kernelsynth import regimes


def test_hidden_states_hold_for_a_while_and_all_of_them_come():
    state = regimes.hidden_states(np.random.default_rng(0), 300, 512)
    assert set(np.unique(state)) == {0, 1, 2}
    changes = (np.diff(state, axis=1) != 0).mean(axis=1)
    assert changes.max() < 0.2
    assert (changes == 0).any()


@pytest.mark.process
def test_a_switching_process_returns_to_its_levels_and_never_runs_away():
    series = regimes.switching(np.random.default_rng(0), 300, 2000)
    early, late = series[:, :500].std(axis=1), series[:, -500:].std(axis=1)
    assert np.median(late / early) < 1.3
    assert np.abs(series).max() < 100


def test_volatility_comes_in_spells():
    steps = np.abs(np.diff(regimes.switching(np.random.default_rng(0), 300, 1000), axis=1))
    spells = steps.reshape(300, -1, 27).mean(axis=2)
    shuffled = np.random.default_rng(1).permuted(steps, axis=1).reshape(300, -1, 27).mean(axis=2)
    assert np.median(spells.std(axis=1) / spells.mean(axis=1)) > 1.3 * np.median(
        shuffled.std(axis=1) / shuffled.mean(axis=1)
    )
