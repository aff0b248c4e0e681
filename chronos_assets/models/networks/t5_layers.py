"""Blocks of T5 that Chronos-Bolt and Chronos-T5 share, with parameters named as checkpoints name them.

Belongs here: encoder blocks, attention that knows distances, cross attention. Does not belong here: how a network puts them
together (`bolt`, `t5`), layers that Chronos-2 has, too (`layers`).

Source: https://arxiv.org/abs/1910.10683 and the T5 model of Hugging Face transformers.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from chronos_assets.models.networks.layers import Attention, NetworkShape, RootMeanSquareNorm, Table, TwoLayers


class T5Sizes(Protocol):
    """Sizes that the blocks of a stack have in common."""

    @property
    def shape(self) -> NetworkShape:
        """Of all layers."""

    @property
    def buckets(self) -> int:
        """Number of classes of the distance between two places."""

    @property
    def farthest(self) -> int:
        """Distance from which on all are of one class."""


class Stack(nn.Module):
    """Blocks one after another, and the norm at their end."""

    block: Any  # a list whose places are part of the names of weights

    def __init__(self, blocks: list[nn.Module], shape: NetworkShape) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.final_layer_norm = RootMeanSquareNorm(shape)


class EncoderBlock(nn.Module):
    """Attention to all places, then the feed-forward layers."""

    layer: Any

    def __init__(self, config: T5Sizes, *, first: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([SelfAttentionLayer(config, first=first), FeedForwardLayer(config.shape)])

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """States (R, P, D), with a bias (R, H, P, P) of the scores."""
        return self.layer[1](self.layer[0](states, bias))


class SelfAttentionLayer(nn.Module):
    """Attention of the places of a row to each other; the first of a stack knows the distances."""

    def __init__(self, config: T5Sizes, *, first: bool) -> None:
        super().__init__()
        self.SelfAttention = RelativeAttention(config) if first else Attention(config.shape)
        self.layer_norm = RootMeanSquareNorm(config.shape)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """States (R, P, D), with a bias (R, H, P, P) of the scores."""
        attention, normed = self.SelfAttention, self.layer_norm(states)
        queries, keys, values = (
            attention.split(project(normed)) for project in (attention.q, attention.k, attention.v)
        )
        return states + attention.attend(queries, keys, values, bias)


class RelativeAttention(Attention):
    """Attention that knows how far apart two patches are; the first block's is that of all of its stack."""

    def __init__(self, config: T5Sizes) -> None:
        super().__init__(config.shape)
        self.relative_attention_bias = Table(config.buckets, config.shape.heads)
        self.farthest = config.farthest

    def distances(self, length: int) -> Tensor:
        """Bias (1, H, P, P) of the scores of `length` patches."""
        weight = self.relative_attention_bias.weight
        places = torch.arange(length, device=weight.device)
        classes = distance_classes(places[None, :] - places[:, None], len(weight), self.farthest)
        return weight[classes].permute(2, 0, 1)[None]


class CrossAttentionLayer(nn.Module):
    """Attention of the decoder to what the encoder read."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.EncDecAttention = Attention(shape)
        self.layer_norm = RootMeanSquareNorm(shape)

    def forward(self, states: Tensor, encoded: Tensor, hidden: Tensor) -> Tensor:
        """States (R, P, D) that read what was encoded, (R, P', D), but for what is hidden (R, 1, 1, P')."""
        attention = self.EncDecAttention
        queries = attention.split(attention.q(self.layer_norm(states)))
        keys, values = attention.split(attention.k(encoded)), attention.split(attention.v(encoded))
        return states + attention.attend(queries, keys, values, hidden)


class FeedForwardLayer(nn.Module):
    """The feed-forward layers with their norm."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.DenseReluDense = TwoLayers(shape)
        self.layer_norm = RootMeanSquareNorm(shape)

    def forward(self, states: Tensor) -> Tensor:
        """States (R, P, D)."""
        return states + self.DenseReluDense(self.layer_norm(states))


def distance_classes(distances: Tensor, buckets: int, farthest: int) -> Tensor:
    """T5's classes of signed distances: half for each direction; near ones each their own, far ones in log steps."""
    half = buckets // 2
    near = half // 2
    far = near + (torch.log(distances.abs().float() / near) / math.log(farthest / near) * (half - near)).long()
    classes = torch.where(distances.abs() < near, distances.abs(), far.clamp(max=half - 1))
    return classes + half * (distances > 0)
