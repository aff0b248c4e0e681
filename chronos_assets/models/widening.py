"""Bands that hold what they say: each level's distance from the median, corrected inside the weights.

Here belong the measurement of a network's coverage on synthetic windows and the correction. A network trained on a loss
that weighs windows unlike each other is right on that average, and too narrow or too wide on another. Its last layer is
linear, so that moving a quantile away from the median by a factor is a change of weights, and everyone who loads the model
needs to know nothing about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from chronos_assets.kernelsynth import families
from chronos_assets.kernelsynth.windows import Windows, training_windows
from chronos_assets.timeseries.arrays import Floats

if TYPE_CHECKING:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting


CALIBRATION_SEED = 7_927_000_000
"""Entropy of the windows that factors are fitted on; neither training nor validation shares it."""

LARGEST = 2.0
"""Factors beyond this, or below its inverse, say that something else is wrong."""


def calibrate(
    model: ChronosBoltModelForForecasting, lengths: Sequence[int] = (64, 128, 512, 1024), number: int = 96
) -> Floats:
    """Widen the bands of `model` to what synthetic windows show, and return the factors (Q,).

    Args:
        model: changed in place.
        lengths: of the contexts, cut to the model's.
        number: of windows of each family at each length.
    """
    config = model.chronos_config
    groups = [
        training_windows(
            (CALIBRATION_SEED, length, index), {name: 1.0}, number, length, config.prediction_length, missing=False
        )
        for length in sorted({min(length, config.context_length) for length in lengths})
        for index, name in enumerate(families.FAMILIES)
    ]
    factors = fit_factors(model, groups)
    widen(model, factors)
    return factors


def fit_factors(model: ChronosBoltModelForForecasting, groups: Sequence[Windows]) -> Floats:
    """Return by how much each level's distance from the median must grow (Q,), the same for a level and its mirror.

    The band between a level and its mirror then covers its share of the targets, averaged over `groups`, each of which
    counts the same. Factors never shrink outward, so that quantiles in order stay so.
    """
    levels = np.asarray(model.chronos_config.quantiles)
    middle = _middle(levels)
    factors = np.ones(len(levels))
    # How far each target lies from the median, in distances of the level on its side: covered if at most the factor.
    needed: dict[int, list[Floats]] = {low: [] for low in range(middle)}
    for group in groups:
        with torch.inference_mode():
            quantiles = model(context=torch.from_numpy(group.context)).quantile_preds.double().numpy()
        seen = (group.weight > 0) & ~np.isnan(group.target)
        error = group.target - quantiles[:, middle]
        for low, ratios in needed.items():
            side = np.where(error < 0, quantiles[:, low], quantiles[:, -1 - low]) - quantiles[:, middle]
            # A level on the wrong side of the median covers nothing, however it is stretched.
            ratio = np.divide(error, side, out=np.full_like(error, np.inf), where=side * np.sign(error) > 0)
            ratios.append(np.sort(np.where(error == 0, 0.0, ratio)[seen]))
    for low in range(middle - 1, -1, -1):
        share = levels[-1 - low] - levels[low]
        factor = np.clip(_covering(needed[low], share), 1 / LARGEST, LARGEST)
        factors[[low, -1 - low]] = max(factor, factors[low + 1]) if low + 1 < middle else factor
    return factors


def widen(model: ChronosBoltModelForForecasting, factors: Sequence[float] | Floats) -> None:
    """Change the weights so that each level's distance from the median is `factors` (Q,) times what it was."""
    levels = np.asarray(model.chronos_config.quantiles)
    middle = _middle(levels)
    block = model.output_patch_embedding
    with torch.no_grad():
        for parameter in (*block.output_layer.parameters(), *block.residual_layer.parameters()):
            rows = parameter.view(len(levels), model.chronos_config.prediction_length, -1)
            factor = torch.as_tensor(np.asarray(factors), dtype=parameter.dtype, device=parameter.device)[:, None, None]
            median = rows[middle].clone()
            rows.copy_(median + factor * (rows - median))


def _covering(ratios: Sequence[Floats], share: float) -> float:
    """Return the least factor by which `share` of the ratios, averaged over groups, are at most that factor."""
    low, high = 0.0, LARGEST
    for _ in range(40):
        factor = (low + high) / 2
        covered = np.mean([np.searchsorted(group, factor, side="right") / max(len(group), 1) for group in ratios])
        low, high = (low, factor) if covered >= share else (factor, high)
    return high


def _middle(levels: Floats) -> int:
    middle = len(levels) // 2
    if len(levels) % 2 == 0 or not np.allclose(levels + levels[::-1], 1.0):
        raise ValueError(f"levels must mirror each other around 0.5, got {levels.tolist()}")
    return middle
