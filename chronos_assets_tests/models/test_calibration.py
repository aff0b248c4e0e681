"""The bundled model's uncertainty: bands that hold what they say, that don't cross, and that widen with time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chronos_assets.benchmark.data import open_data
from chronos_assets.benchmark.models import chronos_contender
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import LoadedModel, load_model
from chronos_assets.workloads.zero_shot import measure

pytestmark = pytest.mark.process  # the bundled model forecasts whole sets

LEVELS = (0.1, 0.5, 0.9)
BLOCK = 64
SETS = ("ETTh", "monash_cif_2016", "monash_m3_quarterly", "monash_m3_yearly", "monash_tourism_quarterly", "nn5")


@pytest.fixture(scope="module")
def bundled() -> LoadedModel:
    return load_model("bundled", "cpu")


def random_walks(count: int, length: int) -> list[np.ndarray]:
    return list(np.random.default_rng(5).normal(size=(count, length)).cumsum(axis=1))


def test_the_band_of_a_random_walk_goes_on_widening_past_the_block(bundled: LoadedModel) -> None:
    made = Forecaster(bundled, 4 * BLOCK, LEVELS, workers=1).forecast(random_walks(16, 256))
    width = made.quantiles[..., 2] - made.quantiles[..., 0]
    # Each series by its own width at the end of the first block; of a walk it is the root of time, 2 at 4 blocks.
    relative = np.median(width / width[:, BLOCK - 1 : BLOCK], axis=0)
    at_ends = relative[BLOCK - 1 :: BLOCK]
    assert (np.diff(at_ends) > 0.05).all(), at_ends
    assert 1.4 < at_ends[-1] < 3.0


def test_the_band_of_a_random_walk_widens_within_the_block(bundled: LoadedModel) -> None:
    made = Forecaster(bundled, BLOCK, LEVELS, workers=1).forecast(random_walks(32, 256))
    width = np.median(made.quantiles[..., 2] - made.quantiles[..., 0], axis=0)
    assert width[-1] > 3 * width[0]
    assert 0.5 < width[0] / 2.56 < 2  # the true one has 2.56 standard deviations of a step


def test_quantiles_never_cross(bundled: LoadedModel, shared_data: Path) -> None:
    data = open_data(str(shared_data / "benchmark"))
    levels = tuple(round(0.05 * k, 2) for k in range(1, 20))
    for name, horizon in (("ETTh", 24), ("nn5", 3 * BLOCK)):
        contexts = [values for _, values in zip(range(8), data.series(name), strict=False)]
        made = Forecaster(bundled, horizon, levels, workers=1).forecast(contexts)
        assert (np.diff(made.quantiles, axis=-1) >= 0).all()


def test_the_80_percent_band_covers_about_that_on_real_series(shared_data: Path) -> None:
    """On a few series of half of the sets; the benchmark's own table has the coverage of all."""
    data = open_data(str(shared_data / "benchmark"))
    contender = replace(chronos_contender("bundled", "0", ours=True), max_series=60)
    covered = {name: measure(data, name, contender, workers=1).coverage for name in SETS}
    assert 0.72 < np.mean([share for share in covered.values() if share is not None]) < 0.9, covered
