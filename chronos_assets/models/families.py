"""The three Chronos families behind two small interfaces: networks that give quantiles, and one that samples.

Here belongs what differs between families: how a network is called for one block of periods, and which scaling leaves
its forecasts alone. What is done with the blocks (batches, long horizons, means) is in `forecasting`; sampling in `sampling`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from chronos_assets.models.loading import LoadedModel
from chronos_assets.models.networks.bolt import Bolt
from chronos_assets.models.networks.chronos2 import Chronos2
from chronos_assets.models.sampling import Sampler, open_sampler
from chronos_assets.timeseries.arrays import Floats


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

    network: Callable[..., torch.Tensor]
    levels: tuple[float, ...]
    block_length: int
    device: torch.device

    def block(self, contexts: torch.Tensor, length: int) -> Floats:
        """See `QuantileNetwork.block`."""
        quantiles = self.network(moved(contexts, self.device))  # (R, Q, block)
        return _as_floats(quantiles[..., :length])


@dataclass(frozen=True)
class Chronos2Network:
    """Chronos-2: one pass gives as many patches as asked for, up to `max_output_patches`.

    Each series is a group of its own, with its covariates where there are some, so that series don't learn from each other
    (cross-learning makes a forecast depend on what else is in the batch).
    """

    network: Callable[..., torch.Tensor]
    levels: tuple[float, ...]
    block_length: int
    patch_length: int
    device: torch.device

    def block(self, contexts: torch.Tensor, length: int) -> Floats:
        """See `QuantileNetwork.block`."""
        patches = -(-length // self.patch_length)
        quantiles = self.network(moved(contexts, self.device), patches)  # (R, Q, patches * patch length)
        return _as_floats(quantiles[..., :length])

    def beside(self, known: torch.Tensor, group: int) -> GroupedChronos2:
        """The network for rows in groups, of which something is known ahead; see `GroupedChronos2`."""
        return GroupedChronos2(self, known, group)


@dataclass(frozen=True)
class GroupedChronos2:
    """Chronos-2 for rows that are read together, each group of its own: a series, and its covariates after it.

    Attributes:
        base: the network.
        known: (R, horizon) float32 of the periods to forecast, NaN where nothing is known.
        group: rows of each group, which follow each other.
    """

    base: Chronos2Network
    known: torch.Tensor
    group: int

    @property
    def levels(self) -> tuple[float, ...]:
        """See `QuantileNetwork`."""
        return self.base.levels

    @property
    def block_length(self) -> int:
        """See `QuantileNetwork`."""
        return self.base.block_length

    def block(self, contexts: torch.Tensor, length: int) -> Floats:
        """See `QuantileNetwork.block`."""
        device, patches = self.base.device, -(-length // self.base.patch_length)
        ahead = moved(self.known[:, : patches * self.base.patch_length], device)
        return _as_floats(self.base.network(moved(contexts, device), patches, ahead, self.group)[..., :length])

    def after(self, paths: NDArray[np.float32]) -> tuple[NDArray[np.float32], GroupedChronos2]:
        """Paths (R, K, H) with what is known in its place, and the network for the periods after them."""
        done = paths.shape[-1]
        known = self.known[:, None, :done].numpy()
        return np.where(np.isnan(known), paths, known), replace(self, known=self.known[:, done:])


def adapt(model: LoadedModel) -> QuantileNetwork | Sampler:
    """The family's interface to a loaded model."""
    description = model.description
    if description.family == "t5":
        return open_sampler(model)
    if not description.quantiles:
        raise TypeError(f"{description.family} without quantile levels")
    network = model.network if isinstance(model.network, Bolt | Chronos2) else _library_network(model)
    shared = (network, description.quantiles, description.block_length)
    if description.family == "chronos2":
        return Chronos2Network(*shared, patch_length=_patch_length(model), device=model.device)
    return BoltNetwork(*shared, device=model.device)


def _patch_length(model: LoadedModel) -> int:
    """Periods of a patch of Chronos-2's forecast."""
    network = model.network
    return network.config.patch_size if isinstance(network, Chronos2) else model.pipeline.model_output_patch_size


def _library_network(model: LoadedModel) -> Callable[..., torch.Tensor]:
    """The library's network of a variant that has no slim one, called as the slim ones are."""
    network = model.pipeline.model
    if model.description.family == "bolt":
        return lambda contexts: network(context=contexts).quantile_preds
    return lambda contexts, patches, known=None, group=1: (
        network(
            context=contexts,
            group_ids=torch.arange(len(contexts), device=contexts.device) // group,
            future_covariates=known,
            num_output_patches=patches,
        ).quantile_preds
    )


def moved(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values on a device; to a GPU from pinned memory, so that the copy doesn't wait for what the GPU still works on."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def _as_floats(quantiles: torch.Tensor) -> Floats:
    """(R, Q, H) on any device -> (R, H, Q) float64 in main memory."""
    return quantiles.swapaxes(1, 2).to(device="cpu", dtype=torch.float64).contiguous().numpy()
