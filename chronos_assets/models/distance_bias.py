"""What a patch's distance adds to attention: where the network starts, and what becomes of it when the stride grows.

Here belongs the encoder's table of distances. The rest of the network, and how it learns, lives in
`chronos_assets.models.pretraining`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting

TABLE = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
"""Where a Chronos-Bolt network keeps the table of all its encoder's blocks."""


def initial_bias(distances: int, heads: int, patch: int) -> Tensor:
    """Return the encoder's initial bias (2 * distances, heads) of attention by signed distance in strides.

    Rows are T5's: distances 0, 1, ... to the left, then to the right. Half of the heads hold sines and cosines of
    geometrically growing wavelength; the others a preference for near patches, of growing width, but for the last,
    which prefers the patch that ends where a patch begins, `patch` strides to the left: what came before.
    """
    distance = np.arange(distances, dtype=np.float32)[:, None]
    waves = heads // 2
    number = np.arange(waves)
    wavelength = 6.0 * 4.0 ** (number // 2).astype(np.float32)
    wave = 2.0 * np.sin(2 * np.pi * distance / wavelength + np.where(number % 2, np.pi / 2, 0.0))
    near = (-distance / 2.0 ** np.arange(1, heads - waves + 1, dtype=np.float32)).clip(-3.0, 0.0)
    left = np.concatenate([wave, near], axis=1)
    right = left.copy()
    left[:, -1] = np.where(distance[:, 0] == patch, 3.0, 0.0)
    right[:, -1] = 0.0
    return torch.from_numpy(np.concatenate([left, right]).astype(np.float32))


def weights_at_stride(model: ChronosBoltModelForForecasting, stride: int) -> dict[str, Tensor]:
    """Return the weights of `model` for a network of the same size whose patches begin every `stride` steps.

    That network reads as much more context by as many patches, and patches are what they were; distances are not.

    Raises:
        ValueError: `stride` is no multiple of the model's.
    """
    factor, rest = divmod(stride, model.chronos_config.input_patch_stride)
    if rest or not factor:
        raise ValueError(f"patches every {model.chronos_config.input_patch_stride} steps can't become every {stride}")
    weights = dict(model.state_dict())
    weights[TABLE] = at_longer_strides(weights[TABLE], factor)
    return weights


def at_longer_strides(table: Tensor, factor: int) -> Tensor:
    """Return `table` (2 * distances, heads) for strides that are `factor` times as long.

    The forecast is made from what the token after the last patch reads. It stands one stride after that patch, however long
    strides are: so a patch at distance d from it ends `factor` * (d - 1) old strides before the last, which was distance
    `factor` * (d - 1) + 1. Distances that the table does not reach get its last row.
    """
    distances = len(table) // 2
    old = (factor * (torch.arange(distances) - 1) + 1).clamp(0, distances - 1)
    return torch.cat([table[:distances][old], table[distances:][old]])
