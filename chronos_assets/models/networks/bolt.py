"""Chronos-Bolt for forecasting: patches of the context are encoded, one decoder step gives a block of quantiles.

Here: the network and the sizes that its configuration names. Elsewhere: reading files (`loading`),
long horizons (`unrolling`).

Source: https://github.com/amazon-science/chronos-forecasting, `chronos_bolt.py`; T5: https://arxiv.org/abs/1910.10683
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chronos_assets.models.networks.layers import (
    NetworkShape,
    ResidualBlock,
    Table,
    hidden_from_attention,
    observed_patches,
    standardize,
)
from chronos_assets.models.networks.t5_layers import (
    CrossAttentionLayer,
    EncoderBlock,
    FeedForwardLayer,
    SelfAttentionLayer,
    Stack,
)


@dataclass(frozen=True)
class BoltConfig:
    """What a checkpoint's configuration says of its network.

    Attributes:
        shape: sizes of all layers.
        encoder_blocks: number of encoder blocks.
        decoder_blocks: number of decoder blocks.
        buckets: number of classes of the distance between two patches.
        farthest: distance from which on all are of one class.
        start_token: row of the embedding that the decoder starts from.
        context_length: most periods that are read.
        patch_size: periods of a patch.
        patch_stride: periods between the starts of two patches.
        block_length: periods of a forecast.
        quantiles: number of levels.
        summary_token: whether the encoder reads a token (row 1 of the embedding) after the patches.
    """

    shape: NetworkShape
    encoder_blocks: int
    decoder_blocks: int
    buckets: int
    farthest: int
    start_token: int
    context_length: int
    patch_size: int
    patch_stride: int
    block_length: int
    quantiles: int
    summary_token: bool

    @classmethod
    def from_document(cls, config: Mapping[str, Any]) -> BoltConfig | None:
        """Read `config.json`; None for a network of another kind, which the library may know.

        Raises:
            KeyError: a size is missing.
        """
        chronos = config["chronos_config"]
        shape = NetworkShape.from_document(config)
        if shape is None:
            return None
        return cls(
            shape=shape,
            encoder_blocks=config["num_layers"],
            decoder_blocks=config.get("num_decoder_layers") or config["num_layers"],
            buckets=config.get("relative_attention_num_buckets", 32),
            farthest=config.get("relative_attention_max_distance", 128),
            start_token=config.get("decoder_start_token_id", 0),
            context_length=chronos["context_length"],
            patch_size=chronos["input_patch_size"],
            patch_stride=chronos["input_patch_stride"],
            block_length=chronos["prediction_length"],
            quantiles=len(chronos["quantiles"]),
            summary_token=chronos.get("use_reg_token", False),
        )


class Bolt(nn.Module):
    """The network."""

    def __init__(self, config: BoltConfig) -> None:
        super().__init__()
        self.config = config
        shape = config.shape
        self.shared = Table(2 if config.summary_token else 1, shape.features)
        self.input_patch_embedding = ResidualBlock(2 * config.patch_size, shape.features, shape)
        self.encoder = Stack([EncoderBlock(config, first=i == 0) for i in range(config.encoder_blocks)], shape)
        self.decoder = Stack([_BoltDecoderBlock(config, first=i == 0) for i in range(config.decoder_blocks)], shape)
        self.output_patch_embedding = ResidualBlock(shape.features, config.quantiles * config.block_length, shape)

    def forward(self, context: Tensor) -> Tensor:
        """Quantiles (R, Q, block length) of the periods after `context` (R, T) float32, NaN where nothing was observed."""
        config = self.config
        scaled, mean, scale = standardize(context[..., -config.context_length :])
        windows, observed = observed_patches(scaled, config.patch_size, config.patch_stride)
        states = self.input_patch_embedding(torch.cat([windows, observed], dim=-1))
        visible = observed.any(dim=-1)
        if config.summary_token:
            token = self.shared.weight[1].expand(len(states), 1, -1)
            states = torch.cat([states, token], dim=1)
            visible = torch.cat([visible, visible.new_ones(len(visible), 1)], dim=1)
        hidden = hidden_from_attention(visible)
        encoded = self._encode(states, hidden)
        answer = self.shared.weight[config.start_token].expand(len(states), 1, -1)
        for block in self.decoder.block:
            answer = block(answer, encoded, hidden)
        forecast = self.output_patch_embedding(self.decoder.final_layer_norm(answer))  # (R, 1, Q x block length)
        return (forecast.flatten(1) * scale + mean).unflatten(-1, (config.quantiles, config.block_length))

    def _encode(self, states: Tensor, hidden: Tensor) -> Tensor:
        """Read embedded patches (R, P, D) together, but for those that `hidden` (R, 1, 1, P) hides."""
        bias = self.encoder.block[0].layer[0].SelfAttention.distances(states.shape[1]) + hidden
        for block in self.encoder.block:
            states = block(states, bias)
        return self.encoder.final_layer_norm(states)


class _BoltDecoderBlock(nn.Module):
    """The decoder reads one token: its attention to itself has nothing else to attend to."""

    layer: Any

    def __init__(self, config: BoltConfig, *, first: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            [SelfAttentionLayer(config, first=first), CrossAttentionLayer(config.shape), FeedForwardLayer(config.shape)]
        )

    def forward(self, states: Tensor, encoded: Tensor, hidden: Tensor) -> Tensor:
        alone = states + self.layer[0].SelfAttention.alone(self.layer[0].layer_norm(states))
        return self.layer[2](self.layer[1](alone, encoded, hidden))
