"""Windows and their mixture: what a step sees follows from (seed, step), and nothing that is held out is in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.models.finetuning_data import (
    MIN_PAST,
    FinetuningError,
    Mixture,
    TrainingSeries,
    WindowShape,
    WindowSource,
    mixture_probabilities,
)
from chronos_assets.models.scaling import standardise

SHAPE = WindowShape(context_length=64, prediction_length=16)


def series(values, observed=None):
    values = np.asarray(values, dtype=np.float64)
    return TrainingSeries(values, np.isfinite(values) if observed is None else np.asarray(observed))


def noise(length, seed=0):
    return series(np.random.default_rng(seed).normal(size=length))


def mix(sources, *, seed=0, rows=8, family="bolt"):
    return Mixture(sources, family=family, batch_size=rows, context_length=64, seed=seed)


def test_a_batch_follows_from_seed_and_step():
    first, again = (mix({WindowSource("target", [noise(200)], SHAPE, 16): 1.0}) for _ in range(2))
    wanted = [first.batch(step) for step in range(4)]
    for step in (2, 0, 3):  # in any order
        np.testing.assert_array_equal(again.batch(step).context, wanted[step].context)
        np.testing.assert_array_equal(again.batch(step).target, wanted[step].target)
    assert not np.array_equal(wanted[0].context, wanted[1].context)
    other = mix({WindowSource("target", [noise(200)], SHAPE, 16): 1.0}, seed=1)
    assert not np.array_equal(other.batch(0).context, wanted[0].context)


@given(
    length=st.integers(2, 150),
    min_past=st.none() | st.integers(1, 40),
    min_future=st.integers(1, 20),
    context=st.integers(1, 80),
)
def test_a_window_is_a_stretch_of_its_series(length, min_past, min_future, context):
    shape = WindowShape(context, 16, min_past)
    values = np.arange(length) + 1000.0
    if min_past is not None and min_past >= length:
        with pytest.raises(FinetuningError, match=f"at most {length} periods"):
            WindowSource("target", [series(values)], shape, min_future)
        return
    source = WindowSource("target", [series(values)], shape, min_future)
    rng = np.random.default_rng(0)
    for _ in range(20):
        past, future = source.draw(rng)
        observed = future[np.isfinite(future)]
        joined = np.concatenate([past, observed])
        np.testing.assert_array_equal(joined, np.arange(len(joined)) + past[0])
        assert joined[-1] <= values[-1]
        cut = int(past[-1] - 1000) + 1
        least = min_past if min_past is not None else max(1, min(MIN_PAST, length // 2))
        assert cut >= least
        assert len(past) == min(cut, context)
        assert len(observed) == min(16, length - cut)
        assert len(observed) >= min(min_future, 16, length - least)


def test_10001_beside_10000_stays_what_it_is_to_the_last_bit_of_float32():
    values = 10_000.0 + np.random.default_rng(0).integers(0, 3, size=80)
    batch = mix({WindowSource("target", [series(values)], SHAPE, 16): 1.0}).batch(0)
    assert batch.context.dtype == batch.target.dtype == np.float32
    for row, target in zip(batch.context, batch.target, strict=True):
        known = row[np.isfinite(row)]
        assert {len(np.unique(known)), len(np.unique(np.concatenate([known, target[np.isfinite(target)]])))} == {3}
        assert known.std() == pytest.approx(1.0, rel=1e-5)


def test_targets_are_on_the_scale_of_their_own_context():
    values = np.arange(81.0) * 1e9
    shape = WindowShape(context_length=64, prediction_length=16, min_past=65)
    batch = mix({WindowSource("target", [series(values)], shape, 16): 1.0}).batch(0)
    expected = standardise(values[1:65]).apply(values[65:])
    np.testing.assert_allclose(batch.target, np.tile(expected, (8, 1)), rtol=1e-6)


def test_filled_values_are_context_but_not_to_be_forecast():
    values = np.random.default_rng(0).normal(size=100)
    observed = np.arange(100) % 2 == 0
    batch = mix({WindowSource("target", [series(values, observed)], SHAPE, 16): 1.0}, rows=32).batch(0)
    assert np.isfinite(batch.context[:, -30:]).all()
    assert np.isnan(batch.target).sum(axis=1).tolist() == [8] * 32


def test_at_most_the_stated_share_is_hidden():
    shape = WindowShape(context_length=64, prediction_length=16, min_past=64, drop_prob=0.5)
    batch = mix({WindowSource("target", [noise(500)], shape, 16): 1.0}, rows=200).batch(0)
    hidden = np.isnan(np.concatenate([batch.context, batch.target], axis=1)).mean(axis=1)
    assert 0.2 < hidden.mean() < 0.3
    assert hidden.max() < 0.65
    assert hidden.min() < 0.1


def test_windows_come_from_the_sources_as_often_as_stated():
    up = WindowSource("target", [series(np.arange(100.0))], SHAPE, 16)
    down = WindowSource("synthetic", [series(-np.arange(100.0))], SHAPE, 16)
    mixture = mix({up: 0.8, down: 0.2}, rows=500)
    batch = mixture.batch(0)
    rising = (batch.target[:, 0] > batch.context[:, -1]).mean()
    assert rising == pytest.approx(0.8, abs=0.06)


def test_flat_and_empty_windows_are_drawn_again_and_a_source_of_nothing_else_is_named():
    good, flat, empty = noise(200), series(np.full(200, 3.0)), series(np.full(200, np.nan))
    batch = mix({WindowSource("target", [good, flat, empty], SHAPE, 16): 1.0}, rows=64).batch(0)
    assert np.nanstd(batch.context, axis=1) == pytest.approx(1.0, rel=1e-4)
    assert np.isfinite(batch.target).any(axis=1).all()
    with pytest.raises(FinetuningError, match="no window left in source 'target': 200 in a row"):
        mix({WindowSource("target", [flat, empty], SHAPE, 16): 1.0}).batch(0)


def test_a_source_without_series_or_with_short_ones_only_is_refused():
    with pytest.raises(FinetuningError, match="source 'synthetic' has no series"):
        WindowSource("synthetic", [], SHAPE, 16)
    with pytest.raises(FinetuningError, match="no window left in source 'target': its 2 series have at most 1 periods"):
        WindowSource("target", [noise(1), noise(1)], SHAPE, 16)
    assert WindowSource("target", [noise(1), noise(100)], SHAPE, 16).left_out == 1


@pytest.mark.parametrize(
    ("asked", "present", "expected"),
    [
        (None, ["target", "synthetic"], {"target": 0.9, "synthetic": 0.1}),
        (None, ["synthetic"], {"synthetic": 1.0}),
        ({"target": 1.0, "synthetic": 0.0}, ["target"], {"target": 1.0}),
        ({"synthetic": 0.25, "target": 0.75}, ["target", "synthetic"], {"synthetic": 0.25, "target": 0.75}),
    ],
)
def test_probabilities_of_the_sources(asked, present, expected):
    assert mixture_probabilities(asked, present) == expected


@pytest.mark.parametrize(
    ("asked", "present", "reason"),
    [
        (None, [], "nothing to train on"),
        ({"target": 0.5, "synthetic": 0.5}, ["target"], "synthetic has 0.5 but the job has no such channel"),
        ({"target": 0.5}, ["target"], "sum to 0.5, not to 1"),
        ({}, ["target"], "sum to 0, not to 1"),
        ({"target": 1.5, "synthetic": -0.5}, ["target", "synthetic"], "synthetic has -0.5, which is below 0"),
    ],
)
def test_impossible_probabilities_are_refused(asked, present, reason):
    with pytest.raises(FinetuningError, match=reason):
        mixture_probabilities(asked, present)
