import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from chronos_assets.kernelsynth import families, windows
from chronos_assets.models import pretraining, pretraining_recipe

pytestmark = pytest.mark.process  # the library's pipeline takes seconds to import

BUNDLED = Path(pretraining.__file__).parent / "bundled"
LEVELS = [0.1, 0.5, 0.9]


@pytest.fixture(scope="module")
def pipeline():
    from chronos import BaseChronosPipeline

    return BaseChronosPipeline.from_pretrained(BUNDLED)


def quantile_loss(forecast, actual, levels=LEVELS):
    """Return twice the mean quantile loss; `forecast` is (n, steps, levels)."""
    error = np.asarray(actual)[..., None] - np.asarray(forecast)
    tau = np.array(levels)
    return 2 * np.maximum(tau * error, (tau - 1) * error).mean()


def hourly_load(seed, n, length):
    """Days within weeks, in noise of a fifth of the season, on another clock and scale in every row."""
    rng = np.random.default_rng(seed)
    hour = np.arange(length) + rng.integers(0, 168, (n, 1))
    day = np.sin(2 * np.pi * hour / 24) + 0.5 * np.sin(4 * np.pi * hour / 24 + 1.0)
    weekend = np.where(hour // 24 % 7 >= 5, 0.6, 1.0)
    return 100.0 * rng.uniform(0.1, 10.0, (n, 1)) * (3.0 + weekend * day + 0.2 * rng.standard_normal((n, length)))


def test_the_files_are_those_of_a_small_float32_checkpoint():
    assert {path.name for path in BUNDLED.iterdir()} == {"config.json", "model.safetensors", "MODEL_CARD.md"}
    weights = load_file(BUNDLED / "model.safetensors")
    assert sum(value.numel() for value in weights.values()) <= 4_000_000
    assert (BUNDLED / "model.safetensors").stat().st_size <= 16 * 2**20
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_the_configuration_is_that_of_the_default_recipe():
    network = json.loads((BUNDLED / "config.json").read_text())
    config = network["chronos_config"]
    shape = pretraining_recipe.ModelShape()
    for size in ("d_model", "d_ff", "d_kv", "num_heads", "num_layers", "num_decoder_layers"):
        assert network[size] == getattr(shape, size)
    assert config["quantiles"] == list(shape.quantiles) == [0.01, *(round(0.05 * k, 2) for k in range(1, 20)), 0.99]
    assert config["prediction_length"] == shape.prediction_length == 64
    assert config["context_length"] == shape.context_length


def test_quantiles_do_not_cross_by_more_than_rounding(pipeline):
    batch = windows.training_windows((11,), families.REALISTIC, 64, 512, 64, missing=False)
    quantiles = pipeline.predict(torch.from_numpy(batch.context)).numpy()
    crossing = np.maximum(-np.diff(quantiles, axis=1), 0.0)
    assert crossing.mean() < 2e-3


@pytest.mark.parametrize("period", [4, 7, 12, 24, 48, 52, 96, 168])
def test_a_clean_season_of_a_usual_period_is_copied(pipeline, period):
    rng = np.random.default_rng(period)
    cycles = np.stack(
        [np.convolve(np.tile(rng.standard_normal(period), 3), [0.25, 0.5, 0.25], "same") for _ in range(16)]
    )
    series = np.tile(cycles[:, period : 2 * period], 600 // period + 2)[:, :576]
    quantiles, _ = pipeline.predict_quantiles(torch.tensor(series[:, :512]), 64, quantile_levels=LEVELS)
    mean_forecast = np.repeat(series[:, :512].mean(axis=1)[:, None, None], 64, axis=1)
    assert quantile_loss(quantiles, series[:, 512:]) < 0.25 * quantile_loss(mean_forecast, series[:, 512:], [0.5])


@pytest.mark.parametrize("horizon", [24, 64])
def test_an_hourly_load_is_forecast_much_better_than_by_seasonal_naive(pipeline, horizon):
    series = hourly_load(0, 32, 720 + horizon)
    quantiles, _ = pipeline.predict_quantiles(torch.tensor(series[:, :720]), horizon, quantile_levels=LEVELS)
    naive = series[:, 720 - 168 : 720 - 168 + horizon, None]
    assert quantile_loss(quantiles, series[:, 720:]) < 0.65 * quantile_loss(naive, series[:, 720:], [0.5])


@pytest.mark.process
def test_the_band_covers_what_it_says_on_the_validation_split(pipeline):
    inside = []
    for batch in pretraining.validation_sets(pretraining_recipe.ModelShape(), 32).values():
        quantiles, _ = pipeline.predict_quantiles(torch.from_numpy(batch.context), 64, quantile_levels=LEVELS)
        low, high = quantiles[..., 0].numpy(), quantiles[..., 2].numpy()
        inside.append(((batch.target >= low) & (batch.target <= high)).mean())
    assert 0.75 < np.mean(inside) < 0.85


@pytest.mark.parametrize(
    "context",
    [
        np.full(100, 7.0),
        np.array([3.0]),
        np.array([1.0, 2.0]),
        np.r_[np.full(50, np.nan), np.arange(20.0)],
        1e12 * (1 + 0.1 * np.sin(np.arange(300.0))),
        1e-9 * np.cos(np.arange(300.0)),
        np.zeros(2000),
    ],
    ids=["constant", "one step", "two steps", "missing at first", "huge", "tiny", "zeros, longer than the context"],
)
def test_forecasts_of_odd_series_are_finite(pipeline, context):
    quantiles = pipeline.predict(torch.tensor(context, dtype=torch.float32))
    assert quantiles.shape == (1, 21, 64)
    assert torch.isfinite(quantiles).all()


def test_forecasts_follow_a_change_of_scale_and_offset(pipeline):
    series = torch.tensor(hourly_load(1, 4, 512) / 100.0, dtype=torch.float32)
    scaled = pipeline.predict(series * 1000.0 + 5000.0)
    assert torch.allclose(scaled, pipeline.predict(series) * 1000.0 + 5000.0, rtol=1e-2)


def test_padding_on_the_left_hardly_changes_a_forecast(pipeline):
    series = torch.tensor(hourly_load(2, 1, 400), dtype=torch.float32)
    padded = torch.cat([torch.full((1, 112), torch.nan), series], dim=1)
    assert torch.allclose(pipeline.predict(series), pipeline.predict(padded), rtol=2e-2)
