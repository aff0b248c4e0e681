"""Horizons beyond a block, with networks that know the process exactly."""

import numpy as np
import pytest
import torch

from chronos_assets.models.quantiles import normal_scores
from chronos_assets.models.unrolling import PATHS, SCORES, _noise, unroll
from chronos_assets_tests.models.tiny_levels import LEVELS_9, LEVELS_21

BLOCK = 64


class Exact:
    """A network that gives the true quantiles of a normal process with given levels."""

    block_length = BLOCK

    def __init__(self, process: str, levels: tuple[float, ...]) -> None:
        self.process, self.levels = process, levels
        self.contexts: list[np.ndarray] = []

    def block(self, contexts: torch.Tensor, length: int) -> np.ndarray:
        values = contexts.double().numpy()
        self.contexts.append(values)
        steps = np.arange(1, length + 1)
        mean, deviation = getattr(self, self.process)(values, steps)
        mean = np.broadcast_to(mean, (len(values), length))
        deviation = np.broadcast_to(deviation, (len(values), length))
        return mean[:, :, None] + deviation[:, :, None] * normal_scores(self.levels)

    @staticmethod
    def random_walk(values, steps):
        return values[:, -1:], np.sqrt(steps)

    @staticmethod
    def noise(values, steps):
        return values.mean(axis=1, keepdims=True), values.std(axis=1, keepdims=True)

    @staticmethod
    def season(values, steps):
        phase = (np.arange(values.shape[1])[None, :] - values.shape[1]) % 24
        profile = np.stack([np.where(phase == hour, values, np.nan) for hour in range(24)])
        means = np.nanmean(profile, axis=2).T
        return means[:, (steps - 1) % 24], 1 + 0.5 * np.sin((steps - 1) * np.pi / 12)

    @staticmethod
    def local_level(values, steps):
        """A random walk of unit steps seen through noise of deviation 4, by its Kalman filter."""
        variance = (1 + np.sqrt(1 + 4 * 16)) / 2
        gain = variance / (variance + 16)
        level = values[:, 0]
        for column in range(1, values.shape[1]):
            level = level + gain * (values[:, column] - level)
        return level[:, None], np.sqrt(variance - 1 + steps + 16)


def widths(process: str, levels: tuple[float, ...], blocks: int = 3) -> np.ndarray:
    """Mean width of the 80% band over time, as a multiple of that at the end of the first block."""
    rng = np.random.default_rng(0)
    contexts = rng.normal(size=(8, 240))
    if process in {"random_walk", "local_level"}:
        contexts = contexts.cumsum(axis=1)
    if process == "local_level":
        contexts += 4 * rng.normal(size=contexts.shape)
    contexts = torch.tensor(contexts, dtype=torch.float32)
    quantiles = unroll(Exact(process, levels), contexts, blocks * BLOCK, 512)
    assert quantiles.shape == (8, blocks * BLOCK, len(levels))
    assert np.all(np.diff(quantiles, axis=-1) >= -1e-9)
    band = quantiles[..., levels.index(0.9)] - quantiles[..., levels.index(0.1)]
    return (band / band[:, BLOCK - 1 : BLOCK]).mean(axis=0)


@pytest.mark.parametrize("levels", [LEVELS_9, LEVELS_21], ids=["9 levels", "21 levels"])
def test_the_band_of_a_random_walk_goes_on_widening_with_the_root_of_time(levels):
    expected = np.sqrt(np.arange(1, 4 * BLOCK + 1) / BLOCK)
    assert widths("random_walk", levels, blocks=4)[BLOCK:] == pytest.approx(expected[BLOCK:], rel=0.02)


@pytest.mark.parametrize("levels", [LEVELS_9, LEVELS_21], ids=["9 levels", "21 levels"])
def test_the_band_of_noise_around_a_level_stays_as_it_is(levels):
    assert widths("noise", levels) == pytest.approx(np.ones(3 * BLOCK), abs=0.02)


def test_a_band_that_breathes_with_the_season_goes_on_breathing():
    band = widths("season", LEVELS_21)
    hours = np.arange(3 * BLOCK)
    expected = 1 + 0.5 * np.sin(hours % 24 * np.pi / 12)
    # Each block starts the profile's clock again, since this network knows the time by counting back from the end.
    for start in range(0, 3 * BLOCK, BLOCK):
        assert band[start : start + BLOCK] / band[0] == pytest.approx(expected[:BLOCK], rel=0.1)


def test_the_band_of_a_level_seen_through_noise_follows_its_filter():
    steps = np.arange(1, 3 * BLOCK + 1)
    variance = (1 + np.sqrt(65)) / 2 - 1 + steps + 16
    assert widths("local_level", LEVELS_21) == pytest.approx(np.sqrt(variance / variance[BLOCK - 1]), rel=0.03)


def test_the_median_of_a_random_walk_stays_at_its_last_value():
    contexts = torch.tensor(np.random.default_rng(1).normal(size=(4, 100)).cumsum(axis=1), dtype=torch.float32)
    quantiles = unroll(Exact("random_walk", LEVELS_21), contexts, 3 * BLOCK, 512)
    drift = quantiles[:, :, 10] - contexts[:, -1:].double().numpy()
    assert np.abs(drift).max() < 0.02 * np.sqrt(3 * BLOCK)


def test_every_pass_has_the_shape_of_the_batch_and_reads_no_more_than_the_context():
    network = Exact("random_walk", LEVELS_9)
    unroll(network, torch.zeros(3, 100), 2 * BLOCK + 5, 128)
    assert [values.shape for values in network.contexts] == [(3, 100)] + 2 * PATHS * [(3, 128)]


def test_missing_values_of_the_context_stay_missing_and_those_of_paths_are_none():
    class Knowing(Exact):
        @staticmethod
        def noise(values, steps):
            return np.nanmean(values, axis=1, keepdims=True), np.nanstd(values, axis=1, keepdims=True)

    network = Knowing("noise", LEVELS_9)
    context = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    context[0, :20] = torch.nan
    unroll(network, context, 2 * BLOCK, 512)
    assert np.isnan(network.contexts[1][0, :20]).all()
    assert np.isfinite(network.contexts[1][:, 20:]).all()


@pytest.mark.parametrize("length", [1, 2, 3, 16, 64, 100])
def test_the_noise_of_a_path_is_balanced_at_its_end_and_opposite_in_its_mirror(length):
    noise = _noise(length, 1)
    assert noise.shape == (length, PATHS)
    assert np.array_equal(noise, -noise[:, ::-1])
    assert tuple(-score for score in reversed(SCORES)) == SCORES
    size = 1
    while size <= length:
        assert noise[-size:].sum(axis=0) == pytest.approx(0, abs=1e-9)
        size *= 2
    if length >= 16:
        assert noise[-16:-2].std() == pytest.approx(1, abs=0.1)
        assert not np.array_equal(noise, _noise(length, 2))


def test_a_band_of_no_width_stays_a_line():
    class Certain(Exact):
        @staticmethod
        def noise(values, steps):
            return values[:, -1:], np.zeros(1)

    quantiles = unroll(Certain("noise", LEVELS_9), torch.full((1, 10), 3.0), 2 * BLOCK, 512)
    assert quantiles == pytest.approx(np.full((1, 2 * BLOCK, 9), 3.0), rel=1e-12)
