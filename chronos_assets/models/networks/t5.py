"""Chronos-T5 for sampling: the encoder reads binned values once, the decoder draws many paths from them step by step.

Belongs here: the network, its bins, and the sizes that its configuration names. Does not belong here: how a token is drawn and
long horizons (`sampling`), reading files (`loading`).

What the encoder read of a series is the same for all of its paths. So its keys and values are made once for each series, and
all paths ask them together; the library copies them for every path, and reads each copy at every step. Keys and values of the
paths' own past lie in a buffer that is as long as the block from the start. The first step, which is the same for all paths of
a series, is taken once.

Source: https://github.com/amazon-science/chronos-forecasting, `chronos.py`; T5: https://arxiv.org/abs/1910.10683
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from chronos_assets.models.networks.layers import Attention, Linear, NetworkShape, Table, hidden_from_attention
from chronos_assets.models.networks.t5_layers import (
    CrossAttentionLayer,
    EncoderBlock,
    FeedForwardLayer,
    SelfAttentionLayer,
    Stack,
)


@dataclass(frozen=True)
class ValueBins:
    """Values as tokens: divided by the mean absolute value of the context, and cut into bins of equal width.

    Attributes:
        low, high: centres of the outermost bins.
        tokens: of all kinds.
        special: the first ones, which are no bins.
        pad: of what is not there; end: after the context, None for none.
    """

    low: float
    high: float
    tokens: int
    special: int
    pad: int
    end: int | None

    @property
    def centers(self) -> Tensor:
        """(tokens - special - 1,)."""
        return torch.linspace(self.low, self.high, self.tokens - self.special - 1)

    def encode(self, contexts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (R, T), which of them are to be read (R, T), and scales (R,) of contexts with NaN for what is not there."""
        there = ~torch.isnan(contexts)
        values = torch.where(there, contexts, 0.0)
        scales = values.abs().sum(dim=-1) / there.sum(dim=-1)
        scales = torch.where(scales > 0, scales, 1.0)  # NaN, of a row without any, is none
        middles = (self.centers[1:] + self.centers[:-1]) / 2
        ends = torch.tensor([1e20])
        edges = torch.cat([-ends, middles, ends])
        tokens = torch.bucketize(values / scales[:, None], edges, right=True) + self.special
        tokens = torch.where(there, tokens.clamp(0, self.tokens - 1), self.pad)
        if self.end is not None:
            tokens = functional.pad(tokens, (0, 1), value=self.end)
            there = functional.pad(there, (0, 1), value=True)
        return tokens, there, scales

    def decode(self, tokens: Tensor, scales: Tensor) -> Tensor:
        """Values (R, P, T) of drawn tokens, on the scales (R,) of their contexts."""
        centers = self.centers
        return centers[(tokens - self.special - 1).clamp(0, len(centers) - 1)] * scales[:, None, None]


@dataclass(frozen=True)
class T5Config:
    """What a checkpoint's configuration says of its network.

    Attributes:
        shape, buckets, farthest: see `t5_layers.T5Sizes`.
        encoder_blocks, decoder_blocks: numbers of blocks.
        start_token: what the decoder starts from.
        vocabulary: number of tokens that the network knows.
        scaled: whether what is compared with the tokens' weights is divided by the root of its length.
        bins: of values.
    """

    shape: NetworkShape
    buckets: int
    farthest: int
    encoder_blocks: int
    decoder_blocks: int
    start_token: int
    vocabulary: int
    scaled: bool
    bins: ValueBins

    @classmethod
    def from_document(cls, config: Mapping[str, Any]) -> T5Config | None:
        """Read `config.json`; None for a network of another kind, which the library may know.

        Raises:
            KeyError: a size is missing.
        """
        chronos = config["chronos_config"]
        shape = NetworkShape.from_document(config)
        if shape is None or chronos.get("tokenizer_class") != "MeanScaleUniformBins":
            return None
        limits = chronos["tokenizer_kwargs"]
        return cls(
            shape=shape,
            buckets=config.get("relative_attention_num_buckets", 32),
            farthest=config.get("relative_attention_max_distance", 128),
            encoder_blocks=config["num_layers"],
            decoder_blocks=config.get("num_decoder_layers") or config["num_layers"],
            start_token=config.get("decoder_start_token_id", 0),
            vocabulary=config["vocab_size"],
            # Since its version 5, transformers writes it down; before, it followed from the embedding being tied.
            scaled=config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False),
            bins=ValueBins(
                low=limits["low_limit"],
                high=limits["high_limit"],
                tokens=chronos["n_tokens"],
                special=chronos["n_special_tokens"],
                pad=chronos["pad_token_id"],
                end=chronos["eos_token_id"] if chronos["use_eos_token"] else None,
            ),
        )


@dataclass(frozen=True)
class _ReadyBlock:
    """A decoder block made ready for the steps of a block of periods.

    Attributes:
        keys, values: of what the encoder read, (R, H, T, K).
        hidden: bias (R, 1, 1, T) that hides what is not to be read.
        past: keys and values of the paths' own steps, (2, length, R, paths, H, K).
    """

    keys: Tensor
    values: Tensor
    hidden: Tensor
    past: Tensor


class T5(nn.Module):
    """The network.

    Args:
        config: its sizes.
        tied: whether the embedding of the tokens is what paths are compared with in the end; other weights, if not.
    """

    def __init__(self, config: T5Config, *, tied: bool) -> None:
        super().__init__()
        self.config = config
        shape = config.shape
        self.shared = Table(config.vocabulary, shape.features)
        self.encoder = Stack([EncoderBlock(config, first=i == 0) for i in range(config.encoder_blocks)], shape)
        self.decoder = Stack([_DecoderBlock(config, first=i == 0) for i in range(config.decoder_blocks)], shape)
        self.lm_head = None if tied else Linear(shape.features, config.vocabulary, bias=False)

    def generate(
        self, tokens: Tensor, there: Tensor, paths: int, length: int, draw: Callable[[Tensor, int], Tensor]
    ) -> Tensor:
        """Tokens (R x paths, length) that follow each row.

        Args:
            tokens: (R, T).
            there: which of them are to be read, (R, T).
            paths: of each row.
            length: steps.
            draw: the next token (R x paths, 1) of each path, from its scores (R x paths, V) and the number of the step.
        """
        rows, hidden = len(tokens), hidden_from_attention(there)
        encoded = self._encode(tokens, hidden)
        ready = [block.ready(encoded, hidden, paths, length) for block in self.decoder.block]
        drawn = torch.empty((rows, paths, length), dtype=torch.long, device=tokens.device)
        # The paths of a row part at the first draw: until then, one stands for all.
        last = torch.full((rows, 1), self.config.start_token, device=tokens.device)
        for step in range(length):
            states, bias = self.shared.weight[last], self._distances(step)
            for block, its in zip(self.decoder.block, ready, strict=True):
                states = block(states, its, step, bias)
            scores = self._scores(self.decoder.final_layer_norm(states)).expand(-1, paths, -1)
            last = draw(scores.flatten(0, 1), step).view(rows, paths)
            drawn[..., step] = last
        return drawn.flatten(0, 1)

    def _scores(self, states: Tensor) -> Tensor:
        """Scores (R, n, V) of each token to come next."""
        weight = (self.shared if self.lm_head is None else self.lm_head).weight
        return functional.linear(states * self.config.shape.features**-0.5 if self.config.scaled else states, weight)

    def _encode(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        states = self.shared.weight[tokens]
        bias = self.encoder.block[0].layer[0].SelfAttention.distances(tokens.shape[1]) + hidden
        for block in self.encoder.block:
            states = block(states, bias)
        return self.encoder.final_layer_norm(states)

    def _distances(self, step: int) -> Tensor:
        """Bias (step + 1, 1, 1, H) of the scores of a step and all before it."""
        weight = self.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        back = torch.arange(step, -1, -1, device=weight.device)
        return weight[past_classes(back, self.config.buckets, self.config.farthest)][:, None, None]


class _DecoderBlock(nn.Module):
    layer: Any  # a list whose places are part of the names of weights

    def __init__(self, config: T5Config, *, first: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            [
                SelfAttentionLayer(config, first=first),
                CrossAttentionLayer(config.shape),
                FeedForwardLayer(config.shape),
            ]
        )

    def ready(self, encoded: Tensor, hidden: Tensor, paths: int, length: int) -> _ReadyBlock:
        """What all steps of `paths` paths of each row share."""
        own, across = self.layer[0].SelfAttention, self.layer[1].EncDecAttention
        features = own.k.weight.shape[0] // own.heads
        return _ReadyBlock(
            across.split(across.k(encoded)),
            across.split(across.v(encoded)),
            hidden,
            encoded.new_empty((2, length, len(encoded), paths, own.heads, features)),
        )

    def forward(self, states: Tensor, ready: _ReadyBlock, step: int, bias: Tensor) -> Tensor:
        """States (R, n, D) of a step, of n paths of each row."""
        own, across, feed_forward = self.layer
        states = states + self._own(own.SelfAttention, own.layer_norm(states), ready, step, bias)
        attention = across.EncDecAttention
        queries = attention.split(attention.q(across.layer_norm(states)))
        # The paths of a row ask what was read of it together.
        return feed_forward(states + attention.attend(queries, ready.keys, ready.values, ready.hidden))

    def _own(self, attention: Attention, normed: Tensor, ready: _ReadyBlock, step: int, bias: Tensor) -> Tensor:
        """What each path (R, n, D) reads of its own steps.

        A step of all paths lies together: sums over them take a third of the time of a product of matrices for each path.
        """
        parts = (attention.q, attention.k, attention.v)
        queries, keys, values = (part(normed).unflatten(-1, (attention.heads, -1)) for part in parts)
        ready.past[0, step], ready.past[1, step] = keys, values  # while one path stands for all: of all
        past = ready.past[:, : step + 1, :, : normed.shape[1]]
        weights = ((past[0] * queries).sum(dim=-1) + bias).softmax(dim=0)[..., None]
        return attention.o(_weighted(weights, past[1]).flatten(-2))


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Sum (..., K) of values (s, ..., K) by weights (s, ..., 1)."""
    if values.is_cuda:  # where starting many operations takes longer
        return (weights * values).sum(dim=0)
    read = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        read.addcmul_(weight, value)
    return read


def past_classes(distances: Tensor, buckets: int, farthest: int) -> Tensor:
    """T5's classes of distances back, from 0: near ones each their own, far ones in log steps."""
    near = buckets // 2
    far = near + (torch.log(distances.float() / near) / math.log(farthest / near) * (buckets - near)).long()
    return torch.where(distances < near, distances, far.clamp(max=buckets - 1))
