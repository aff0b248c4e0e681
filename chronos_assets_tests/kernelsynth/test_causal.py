import numpy as np
import pytest

from chronos_assets.kernelsynth import causal


def test_an_effect_never_comes_before_its_cause(monkeypatch):
    """What changes in the roots from a step on changes nothing before that step but by the scale of the whole row."""
    monkeypatch.setattr(causal, "standardised", lambda values: values)
    drawn = causal.gaussian.composed
    still = causal.causal_graph(np.random.default_rng(0), 30, 200)

    def stepped(rng, n, length):
        values = drawn(rng, n, length)
        values[:, length - 50 :] += 1.0
        return values

    monkeypatch.setattr(causal.gaussian, "composed", stepped)
    moved = causal.causal_graph(np.random.default_rng(0), 30, 200)
    assert np.array_equal(moved[:, :150], still[:, :150])
    assert (moved[:, 150:] != still[:, 150:]).any(axis=1).all()


@pytest.mark.process
def test_rows_of_one_draw_depend_on_one_another():
    series = causal.causal_graph(np.random.default_rng(0), 200, 300)
    alone = np.concatenate([causal.causal_graph(np.random.default_rng(seed), 1, 300) for seed in range(200)])

    def likeness(values):
        together = np.abs(np.corrcoef(values))
        return np.sort(together - np.eye(200), axis=1)[:, -1].mean()

    assert likeness(series) > likeness(alone)


def test_no_activation_makes_a_constant_of_a_series():
    values = np.random.default_rng(0).standard_normal((500, 100)) - 2.0
    assert causal.activated(np.random.default_rng(1), values).std(axis=1).min() > 1e-3
