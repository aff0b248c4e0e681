"""Horizons longer than what a network forecasts at once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from chronos_assets.models.families import QuantileNetwork
from chronos_assets.models.quantiles import at_scores, marginal_quantiles, sort_quantiles

Floats = NDArray[np.float64]
SCORES = (-2.0, -1.0, 0.0, 1.0, 2.0)
PATHS = len(SCORES)


def unroll(network: QuantileNetwork, contexts: torch.Tensor, horizon: int, context_length: int) -> Floats:
    """Quantiles (R, horizon, Q), in no order."""
    first = network.block(contexts, min(horizon, network.block_length))
    blocks = [first]
    done = first.shape[1]
    rows, _, count = first.shape
    histories = [contexts for _ in SCORES]
    while done < horizon:
        quantiles, _ = sort_quantiles(blocks[-1])
        length = min(horizon - done, network.block_length)
        conditional = np.empty((rows, length, PATHS, count))
        scores = np.broadcast_to(np.array(SCORES), (*quantiles.shape[:2], PATHS))
        paths = at_scores(quantiles, network.levels, scores)
        for k in range(PATHS):
            histories[k] = torch.cat([histories[k], torch.from_numpy(paths[:, :, k].astype(np.float32))], dim=1)[
                :, -context_length:
            ]
            conditional[:, :, k] = sort_quantiles(network.block(histories[k], length))[0]
        blocks.append(
            marginal_quantiles(conditional.reshape(rows * length, PATHS, count), SCORES, network.levels).reshape(
                rows, length, count
            )
        )
        done += length
    return np.concatenate(blocks, axis=1)
