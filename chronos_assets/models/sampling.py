"""Chronos-T5 as a sampler: paths of several series at once, each series from a random generator of its own.

Belongs here: how tokens are drawn, long horizons, and how many paths fit into memory. Does not belong here: the network
(`networks.t5`), quantiles of the paths (`forecasting`).

Paths have the distribution of those of `ChronosPipeline.predict` (temperature, top-k and top-p of the checkpoint, no end of
sequence), with two differences: each series has a generator of its own, where transformers' `generate` only knows the
process's one, and beyond a block each path resumes from its own values, where the library continues all from their median.

A pass has the same number of series and the same width whatever is asked for with it, so that a series' paths follow from the
series and its seed alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chronos_assets.models.batching import SHARE, read_config
from chronos_assets.models.networks.t5 import T5
from chronos_assets.timeseries.arrays import Floats

if TYPE_CHECKING:
    from chronos_assets.models.loading import LoadedModel


_MEMORY_OF_PATHS = 256 * 1024 * 1024  # on a CPU, whose number of paths is to be the same on every machine
_MOST_SERIES = 64
_FLOAT32 = 4


@dataclass(frozen=True)
class Sampler(ABC):
    """A network that samples paths."""

    context_length: int
    block_length: int
    device: torch.device

    @abstractmethod
    def series_at_once(self, width: int, horizon: int, samples: int) -> int:
        """How many series share a pass: as many as keep all of their paths in memory."""

    @abstractmethod
    def paths(
        self,
        contexts: Sequence[NDArray[np.float32]],
        horizon: int,
        samples: int,
        seeds: Sequence[int],
        *,
        width: int = 0,
        rows: int = 0,
    ) -> Floats:
        """Sample paths (n, samples, horizon) of n series, the same for the same seed.

        Args:
            contexts: scaled observations (T,) of each, NaN where there is none.
            horizon: number of periods.
            samples: number of paths of each.
            seeds: of the series' generators.
            width: periods that contexts are filled up to on the left; the longest's, if not given.
            rows: series that the pass is filled up to.
        """


def open_sampler(model: LoadedModel) -> Sampler:
    """The sampler of a T5 checkpoint."""
    description = model.description
    shared = (description.context_length, description.block_length, model.device)
    if not isinstance(model.network, T5):
        return LibrarySampler(*shared, model.pipeline)
    chronos = read_config(description)["chronos_config"]
    return PathSampler(*shared, model.network, Drawing(*(chronos[name] for name in Drawing.__annotations__)))


@dataclass(frozen=True)
class Drawing:
    """How a token is drawn, as `chronos_config` has it."""

    temperature: float
    top_k: int | None
    top_p: float
    eos_token_id: int


@dataclass(frozen=True)
class PathSampler(Sampler):
    """The slim network, several series at once."""

    network: T5
    drawing: Drawing

    def series_at_once(self, width: int, horizon: int, samples: int) -> int:
        """See `Sampler.series_at_once`."""
        return min(_MOST_SERIES, max(1, self._paths_at_once(width, horizon) // samples))

    def paths(
        self,
        contexts: Sequence[NDArray[np.float32]],
        horizon: int,
        samples: int,
        seeds: Sequence[int],
        *,
        width: int = 0,
        rows: int = 0,
    ) -> Floats:
        """See `Sampler.paths`."""
        width = min(width or max(map(len, contexts)), self.context_length)
        history = torch.full((max(rows, len(contexts)), width), torch.nan)
        for row, context in enumerate(contexts):
            recent = torch.from_numpy(context[-width:])
            history[row, width - len(recent) :] = recent
        seeds = [*seeds, *[0] * (len(history) - len(seeds))]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        at_once = max(1, min(samples, self._paths_at_once(width, horizon)))
        counts = [min(at_once, samples - done) for done in range(0, samples, at_once)]
        portions = [self._go_on(history, horizon, count, generators) for count in counts]
        return torch.cat(portions, dim=1)[: len(contexts)].double().numpy()

    def _paths_at_once(self, width: int, horizon: int) -> int:
        """As many paths as keep keys and values of what they read in memory; beyond a block, that is a context each."""
        config = self.network.config
        own = min(horizon, self.block_length) + (width + self.block_length + 1 if horizon > self.block_length else 0)
        values = 2 * config.decoder_blocks * config.shape.heads * config.shape.head_features * own
        memory = _MEMORY_OF_PATHS
        if self.device.type == "cuda":
            memory = int(SHARE * torch.cuda.mem_get_info(self.device)[0])
        return max(1, memory // (_FLOAT32 * values))

    def _go_on(self, history: Tensor, horizon: int, count: int, generators: Sequence[torch.Generator]) -> Tensor:
        """`count` paths of each history (R, T), block after block: (R, count, horizon)."""
        made = self._block(history, min(self.block_length, horizon), count, generators)
        while (done := made.shape[-1]) < horizon:
            own = torch.cat([history[:, None].expand(-1, count, -1), made], dim=-1)[..., -self.context_length :]
            length = min(self.block_length, horizon - done)
            more = self._block(own.flatten(0, 1), length, 1, generators)
            made = torch.cat([made, more.unflatten(0, (len(history), count))[:, :, 0]], dim=-1)
        return made

    def _block(self, history: Tensor, length: int, count: int, generators: Sequence[torch.Generator]) -> Tensor:
        """The next `length` values of `count` paths of each history (R, T): (R, count, length)."""
        bins = self.network.config.bins
        tokens, there, scales = bins.encode(history)

        each = len(tokens) * count // len(generators)  # paths that a series has by now
        chances = torch.cat([torch.rand((each, length), generator=generator) for generator in generators])
        chances = chances.to(self.device)
        drawn = self.network.generate(
            tokens.to(self.device),
            there.to(self.device),
            count,
            length,
            lambda scores, step: draw(scores, self.drawing, chances[:, step]),
        )
        return bins.decode(drawn.cpu().unflatten(0, (len(history), count)), scales)


@dataclass(frozen=True)
class LibrarySampler(Sampler):
    """A network that only the library knows, or one in training: one series at a time."""

    pipeline: Any

    def series_at_once(self, width: int, horizon: int, samples: int) -> int:
        """See `Sampler.series_at_once`."""
        return 1

    def paths(
        self,
        contexts: Sequence[NDArray[np.float32]],
        horizon: int,
        samples: int,
        seeds: Sequence[int],
        *,
        width: int = 0,
        rows: int = 0,
    ) -> Floats:
        """See `Sampler.paths`."""
        return np.stack([self._of_one(*pair, horizon, samples) for pair in zip(contexts, seeds, strict=True)])

    def _of_one(self, context: NDArray[np.float32], seed: int, horizon: int, samples: int) -> Floats:
        generator = torch.Generator().manual_seed(seed)
        history = torch.from_numpy(context)[None, -self.context_length :]
        at_once = self._paths_at_once(history.shape[1])
        counts = [min(at_once, samples - done) for done in range(0, samples, at_once)]
        return torch.cat([self._go_on(history, horizon, count, generator) for count in counts]).double().numpy()

    def _paths_at_once(self, length: int) -> int:
        """As many paths as keep the decoder's view of the context within 256 MB (large models have 100 MB a path)."""
        config = self.pipeline.model.model.config
        values = 2 * config.num_decoder_layers * config.num_heads * config.d_kv * (length + 1)
        return max(1, _MEMORY_OF_PATHS // (4 * values))

    def _go_on(self, history: Tensor, horizon: int, count: int, generator: torch.Generator) -> Tensor:
        """Paths (count, horizon) from one history (1, T), block after block."""
        blocks: list[Tensor] = []
        while (done := sum(block.shape[1] for block in blocks)) < horizon:
            blocks.append(self._block(history, min(self.block_length, horizon - done), count, generator))
            history = torch.cat([history.expand(count, -1), blocks[-1]], dim=1)[:, -self.context_length :]
        return torch.cat(blocks, dim=1)

    def _block(self, history: Tensor, length: int, count: int, generator: torch.Generator) -> Tensor:
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
            last = draw(logits, config, torch.rand(count, generator=generator).to(self.device))
            drawn.append(last)
        # The tokenizer wants (series, samples, length) and one scale for each series.
        paths = torch.cat(drawn, dim=1).cpu().reshape(len(scale), -1, length)
        return tokenizer.output_transform(paths, scale).reshape(count, length)


def draw(scores: Tensor, config: Any, chances: Tensor) -> Tensor:
    """The next token (S, 1) of each path, of those that `transformers.generate` keeps for the same settings.

    Tokens are laid out by their probability, the likeliest first, and the one is taken that a number falls on. So one number
    a path is enough, and only the few tokens that can be drawn at all are looked at; `torch.multinomial` takes one for
    every token of the vocabulary.

    Args:
        scores: of each token to come next, (S, V).
        config: see `Drawing`.
        chances: evenly distributed from 0 until before 1, (S,).
    """
    scores = scores / config.temperature
    scores[:, config.eos_token_id] = -torch.inf
    best = torch.topk(scores, min(config.top_k or scores.shape[-1], scores.shape[-1]))
    shares = best.values.softmax(dim=-1)
    ends = shares.cumsum(dim=-1)
    # The fewest tokens that have `top_p` together; the first one is always among them.
    kept = (ends - shares < config.top_p).sum(dim=-1, keepdim=True).clamp(min=1)
    chosen = torch.searchsorted(ends, chances[:, None] * ends.gather(1, kept - 1), right=True)
    return best.indices.gather(1, torch.minimum(chosen, kept - 1))
