"""The three Chronos families behind two small interfaces: networks that give quantiles, and one that samples.

Here belongs what differs between families: how a network is called for one block of periods, and which scaling leaves
its forecasts alone. What is done with the blocks (batches, long horizons, means) is in `forecasting`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from chronos_assets.models.loading import LoadedModel
from chronos_assets.models.networks.chronos2 import Chronos2

Floats = NDArray[np.float64]

_MEMORY_OF_PATHS = 256 * 1024 * 1024


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
        quantiles = self.network(contexts.to(self.device))  # (R, Q, block)
        return _as_floats(quantiles[..., :length])


@dataclass(frozen=True)
class Chronos2Network:
    """Chronos-2: one pass gives as many patches as asked for, up to `max_output_patches`.

    Each row is a group of its own, so that series don't learn from each other (cross-learning makes a forecast depend
    on what else is in the batch).
    """

    network: Callable[..., torch.Tensor]
    levels: tuple[float, ...]
    block_length: int
    patch_length: int
    device: torch.device

    def block(self, contexts: torch.Tensor, length: int) -> Floats:
        """See `QuantileNetwork.block`."""
        patches = -(-length // self.patch_length)
        quantiles = self.network(contexts.to(self.device), patches)  # (R, Q, patches * patch length)
        return _as_floats(quantiles[..., :length])


@dataclass(frozen=True)
class T5Sampler:
    """Chronos-T5: a language model over binned values, which is sampled path by path.

    The sampling is that of `ChronosPipeline.predict` (temperature, top-k and top-p of the checkpoint, no end of
    sequence), value for value, with two differences: each series has a random generator of its own, where transformers'
    `generate` only knows the process's one, and beyond a block each path resumes from its own values, where the library
    continues all from their median.
    """

    pipeline: Any
    context_length: int
    block_length: int
    device: torch.device

    def paths(self, context: NDArray[np.float32], horizon: int, samples: int, seed: int) -> Floats:
        """Sample paths (samples, horizon) of one series, the same for the same seed.

        Args:
            context: scaled observations (T,), NaN where there is none.
            horizon: number of periods.
            samples: number of paths.
            seed: of this series' generator.
        """
        generator = torch.Generator(device=self.device).manual_seed(seed)
        history = torch.from_numpy(context)[None, -self.context_length :]
        at_once = self._paths_at_once(history.shape[1])
        counts = [min(at_once, samples - done) for done in range(0, samples, at_once)]
        return torch.cat([self._go_on(history, horizon, count, generator) for count in counts]).double().numpy()

    def _paths_at_once(self, length: int) -> int:
        """As many paths as keep the decoder's view of the context within 256 MB (large models have 100 MB a path)."""
        config = self.pipeline.model.model.config
        values = 2 * config.num_decoder_layers * config.num_heads * config.d_kv * (length + 1)
        return max(1, _MEMORY_OF_PATHS // (4 * values))

    def _go_on(self, history: torch.Tensor, horizon: int, count: int, generator: torch.Generator) -> torch.Tensor:
        """Paths (count, horizon) from one history (1, T), block after block."""
        blocks: list[torch.Tensor] = []
        while (done := sum(block.shape[1] for block in blocks)) < horizon:
            blocks.append(self._block(history, min(self.block_length, horizon - done), count, generator))
            history = torch.cat([history.expand(count, -1), blocks[-1]], dim=1)[:, -self.context_length :]
        return torch.cat(blocks, dim=1)

    def _block(self, history: torch.Tensor, length: int, count: int, generator: torch.Generator) -> torch.Tensor:
        """Sample the next `length` values of each path, (count, length), from one history (1, T) or one each."""
        tokenizer, network, config = self.pipeline.tokenizer, self.pipeline.model.model, self.pipeline.model.config
        tokens, mask, scale = tokenizer.context_input_transform(history)
        rows = len(history)  # 1 until the first values are drawn: what the decoder reads is computed once, then copied
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        encoded = (network.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state,)
        last = torch.full((rows, 1), network.config.decoder_start_token_id, device=self.device)
        cache, drawn = None, []
        for _ in range(length):
            output = network(
                encoder_outputs=encoded,
                attention_mask=mask,
                decoder_input_ids=last,
                past_key_values=cache,
                use_cache=True,
            )
            cache, logits = output.past_key_values, output.logits[:, -1].float()
            if rows < count:
                rows, mask, logits = count, mask.expand(count, -1), logits.expand(count, -1)
                encoded = (encoded[0].expand(count, -1, -1),)
                cache.batch_repeat_interleave(count)
            last = torch.multinomial(_probabilities(logits, config), 1, generator=generator)
            drawn.append(last)
        # The tokenizer wants (series, samples, length) and one scale for each series.
        paths = torch.cat(drawn, dim=1).cpu().reshape(len(scale), -1, length)
        return tokenizer.output_transform(paths, scale).reshape(count, length)


def _probabilities(logits: torch.Tensor, config: Any) -> torch.Tensor:
    """What the next token is drawn from, (S, V): as `transformers.generate` filters it for the same settings."""
    logits = logits / config.temperature
    logits[:, config.eos_token_id] = -torch.inf
    if config.top_k:
        smallest = torch.topk(logits, min(config.top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if config.top_p < 1:
        ascending, order = torch.sort(logits, descending=False)
        removed = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - config.top_p
        removed[:, -1:] = False
        logits = logits.masked_fill(removed.scatter(1, order, removed), -torch.inf)
    return logits.softmax(dim=-1)


def adapt(model: LoadedModel) -> QuantileNetwork | T5Sampler:
    """The family's interface to a loaded model."""
    description = model.description
    if description.family == "t5":
        return T5Sampler(model.pipeline, description.context_length, description.block_length, model.device)
    if not description.quantiles:
        raise TypeError(f"{description.family} without quantile levels")
    network = model.network or _library_network(model)
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
    return lambda contexts, patches: (
        network(
            context=contexts,
            group_ids=torch.arange(len(contexts), device=contexts.device),
            num_output_patches=patches,
        ).quantile_preds
    )


def _as_floats(quantiles: torch.Tensor) -> Floats:
    """(R, Q, H) on any device -> (R, H, Q) float64 in main memory."""
    return quantiles.swapaxes(1, 2).to(device="cpu", dtype=torch.float64).contiguous().numpy()
