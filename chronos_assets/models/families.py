"""The three Chronos families behind two small interfaces: networks that give quantiles, and one that samples.

Here belongs what differs between families: how a network is called for one block of periods, and which scaling leaves
its forecasts alone. What is done with the blocks (batches, long horizons, means) is in `forecasting`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from chronos_assets.models.loading import LoadedModel

Floats = NDArray[np.float64]


class QuantileNetwork(Protocol):
    """A network that forecasts a block of periods at its own quantile levels."""

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels, ascending, (Q,)."""

    @property
    def block_length(self) -> int:
        """Most periods that can be forecast at once."""

    def block(self, contexts: torch.Tensor, length: int) -> Floats:
        """Quantiles (R, length, Q) of the periods after `contexts` (R, T) float32, NaN where nothing was observed.

        `length` is at most `block_length`. Nothing is shared between rows. The values may cross.
        """


@dataclass(frozen=True)
class BoltNetwork:
    """Chronos-Bolt: one pass gives a block of `prediction_length` periods."""

    network: Any
    levels: tuple[float, ...]
    block_length: int
    device: torch.device

    def block(self, contexts: torch.Tensor, length: int) -> Floats:
        """See `QuantileNetwork.block`."""
        quantiles = self.network(context=contexts.to(self.device)).quantile_preds  # (R, Q, block)
        return _as_floats(quantiles[..., :length])


@dataclass(frozen=True)
class Chronos2Network:
    """Chronos-2: one pass gives as many patches as asked for, up to `max_output_patches`.

    Each row is a group of its own, so that series don't learn from each other (cross-learning makes a forecast depend
    on what else is in the batch).
    """

    network: Any
    levels: tuple[float, ...]
    block_length: int
    patch_length: int
    device: torch.device

    def block(self, contexts: torch.Tensor, length: int) -> Floats:
        """See `QuantileNetwork.block`."""
        quantiles = self.network(
            context=contexts.to(self.device),
            group_ids=torch.arange(len(contexts), device=self.device),
            num_output_patches=-(-length // self.patch_length),
        ).quantile_preds  # (R, Q, patches * patch length)
        return _as_floats(quantiles[..., :length])


@dataclass(frozen=True)
class T5Sampler:
    """Chronos-T5: a language model over binned values, which is sampled path by path."""

    pipeline: Any
    context_length: int
    block_length: int

    def paths(self, context: Floats, horizon: int, samples: int, seed: int) -> Floats:
        """Sample paths (samples, horizon) of one series, the same for the same seed on the same machine.

        Beyond a block each path goes on from its own values; the library would continue all from their median.

        Args:
            context: scaled observations (T,), NaN where there is none.
            horizon: number of periods.
            samples: number of paths.
            seed: of torch's generator, which is put back afterwards.
        """
        history = torch.tensor(context, dtype=torch.float32)[None]
        blocks: list[torch.Tensor] = []
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            while (done := sum(block.shape[-1] for block in blocks)) < horizon:
                length = min(self.block_length, horizon - done)
                drawn = self.pipeline.predict(history, prediction_length=length, num_samples=samples // len(history))
                block = drawn.reshape(samples, length)
                blocks.append(block)
                history = torch.cat([history.expand(samples, -1), block], dim=-1)[:, -self.context_length :]
        return torch.cat(blocks, dim=-1).double().numpy()


def adapt(model: LoadedModel) -> QuantileNetwork | T5Sampler:
    """The family's interface to a loaded model."""
    description, pipeline = model.description, model.pipeline
    if description.family == "t5":
        return T5Sampler(pipeline, description.context_length, description.block_length)
    if not description.quantiles:
        raise TypeError(f"{description.family} without quantile levels")
    shared = (pipeline.model, description.quantiles, description.block_length)
    if description.family == "chronos2":
        return Chronos2Network(*shared, patch_length=pipeline.model_output_patch_size, device=model.device)
    return BoltNetwork(*shared, device=model.device)


def _as_floats(quantiles: torch.Tensor) -> Floats:
    """(R, Q, H) on any device -> (R, H, Q) float64 in main memory."""
    return quantiles.swapaxes(1, 2).to(device="cpu", dtype=torch.float64).contiguous().numpy()
