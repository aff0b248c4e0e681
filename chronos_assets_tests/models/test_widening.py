from dataclasses import replace

import numpy as np
import pytest
import torch

from chronos_assets.kernelsynth.windows import Windows
from chronos_assets.models import pretraining, pretraining_recipe, widening

SHAPE = pretraining_recipe.ModelShape(
    d_model=16, d_ff=32, d_kv=4, num_heads=4, num_layers=1, num_decoder_layers=1, context_length=64, prediction_length=8,
    quantiles=(0.1, 0.3, 0.5, 0.7, 0.9),
)  # fmt: skip


def noise_of(model, number, strength, seed):
    """Windows whose targets are normal around the model's median, with a band of `strength` model bands."""
    rng = np.random.default_rng(seed)
    context = rng.standard_normal((number, 64)).astype(np.float32)
    with torch.inference_mode():
        quantiles = model(context=torch.from_numpy(context)).quantile_preds.numpy()
    median, upper, lower = quantiles[:, 2], quantiles[:, 4], quantiles[:, 0]
    z = rng.standard_normal(median.shape)
    side = np.where(z > 0, upper - median, median - lower)
    target = median + strength * side * z / 1.2815515655446004
    return Windows(context, target.astype(np.float32), np.ones(median.shape, np.float32))


def spread_model():
    """A model whose levels are in order, whatever the context: biases far apart beside small weights."""
    model = pretraining.build_model(SHAPE, 0).eval()
    with torch.no_grad():
        block = model.output_patch_embedding
        for layer in (block.output_layer, block.residual_layer):
            layer.weight.mul_(0.1)
            layer.bias.zero_()
        # Distances of a normal distribution.
        block.output_layer.bias.view(5, 8).add_(torch.tensor([-1.2816, -0.5244, 0.0, 0.5244, 1.2816])[:, None])
    return model


def test_widening_moves_each_level_away_from_the_median_by_its_factor():
    model = pretraining.build_model(SHAPE, 1).eval()
    context = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = model(context=context).quantile_preds
    factors = torch.tensor([1.5, 1.2, 1.0, 1.2, 1.5])
    widening.widen(model, factors.numpy())
    with torch.inference_mode():
        after = model(context=context).quantile_preds
    median = before[:, 2:3]
    assert torch.allclose(after, median + factors[:, None] * (before - median), atol=1e-5)


@pytest.mark.parametrize("strength", [0.8, 1.0, 1.3])
def test_the_factor_found_is_the_one_by_which_bands_were_off(strength):
    model = spread_model()
    groups = [noise_of(model, 400, strength, seed) for seed in (1, 2)]
    factors = widening.fit_factors(model, groups)
    assert factors == pytest.approx([strength, strength, 1.0, strength, strength], rel=0.05)


def test_after_widening_a_band_covers_its_share():
    model = spread_model()
    group = noise_of(model, 600, 1.4, 3)
    widening.widen(model, widening.fit_factors(model, [group]))
    with torch.inference_mode():
        quantiles = model(context=torch.from_numpy(group.context)).quantile_preds.numpy()
    inside = (group.target >= quantiles[:, 0]) & (group.target <= quantiles[:, 4])
    assert inside.mean() == pytest.approx(0.8, abs=0.02)  # what a factor within 5% lets it be off


def test_windows_without_weight_and_missing_targets_do_not_count():
    model = spread_model()
    group = noise_of(model, 400, 1.0, 4)
    group.target[:100] = 1e6
    group.weight[:100] = 0.0
    group.target[100:150, 3:] = np.nan
    assert widening.fit_factors(model, [group]) == pytest.approx([1.0] * 5, rel=0.06)


def test_levels_that_do_not_mirror_each_other_are_refused():
    model = pretraining.build_model(replace(SHAPE, quantiles=(0.1, 0.5, 0.6)), 0)
    with pytest.raises(ValueError, match="mirror each other"):
        widening.widen(model, [1.0, 1.0, 1.0])
