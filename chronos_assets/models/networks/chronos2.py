"""Chronos-2 for forecasting series each on its own, or beside its covariates: patches of past and future are encoded together.

Here: the network and the sizes that its configuration names. Elsewhere: which rows of numbers a series' covariates give
(`covariate_rows`); series that learn from each other (`joint`, which uses the library); reading files (`loading`).

A series is a group of its own, or one with the rows of its covariates. Attention across a group, which is how the network
learns across rows, reads no others. The library has a mask over all rows of a pass for that; here groups are of one size, and
attention is over that axis: the same numbers, at a cost that grows with the size of a group, not of the pass.
Source: https://github.com/amazon-science/chronos-forecasting, `chronos2/`; https://arxiv.org/abs/2510.15821
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chronos_assets.models.networks.layers import (
    Attention,
    NetworkShape,
    ResidualBlock,
    RootMeanSquareNorm,
    Table,
    TwoLayers,
    hidden_from_attention,
    observed_patches,
    standardize,
)


@dataclass(frozen=True)
class Chronos2Config:
    """What a checkpoint's configuration says of its network.

    Attributes:
        shape: sizes of all layers.
        blocks: number of encoder blocks.
        rotation_base: of the rotary embedding of positions.
        context_length: most periods that are read.
        patch_size: periods of a patch of the past.
        patch_stride: periods between the starts of two patches.
        time_scale: number of periods that is 1 in the encoding of time.
        quantiles: number of levels.
        summary_token: whether a token (row 1 of the embedding) stands between past and future.
        arcsinh: whether values are read on the scale of the inverse hyperbolic sine.
    """

    shape: NetworkShape
    blocks: int
    rotation_base: float
    context_length: int
    patch_size: int
    patch_stride: int
    time_scale: int
    quantiles: int
    summary_token: bool
    arcsinh: bool

    @classmethod
    def from_document(cls, config: Mapping[str, Any]) -> Chronos2Config | None:
        """Read `config.json`; None for a network of another kind, which the library may know.

        Raises:
            KeyError: a size is missing.
        """
        chronos = config["chronos_config"]
        shape = NetworkShape.from_document(config)
        if shape is None or chronos["input_patch_size"] != chronos["output_patch_size"]:
            return None
        return cls(
            shape=shape,
            blocks=config["num_layers"],
            rotation_base=config.get("rope_theta", 10000.0),
            context_length=chronos["context_length"],
            patch_size=chronos["input_patch_size"],
            patch_stride=chronos["input_patch_stride"],
            time_scale=chronos.get("time_encoding_scale") or chronos["context_length"],
            quantiles=len(chronos["quantiles"]),
            summary_token=chronos.get("use_reg_token", False),
            arcsinh=chronos.get("use_arcsinh", False),
        )


class Chronos2(nn.Module):
    """The network."""

    def __init__(self, config: Chronos2Config) -> None:
        super().__init__()
        self.config = config
        shape = config.shape
        self.shared = Table(2 if config.summary_token else 1, shape.features)
        self.input_patch_embedding = ResidualBlock(3 * config.patch_size, shape.features, shape)
        self.encoder = _Encoder(config)
        self.output_patch_embedding = ResidualBlock(shape.features, config.quantiles * config.patch_size, shape)

    def forward(self, context: Tensor, future_patches: int, known: Tensor | None = None, group: int = 1) -> Tensor:
        """Quantiles (R, Q, future patches x patch size) of the periods after `context` (R, T) float32, NaN for gaps.

        Args:
            context: rows, those of a group one after another.
            future_patches: how many to forecast.
            known: (R, H) of the periods to forecast, at most all of them; NaN where nothing is known.
            group: rows of each group.
        """
        config, size = self.config, self.config.patch_size
        scaled, mean, scale = standardize(context[..., -config.context_length :])
        if config.arcsinh:
            scaled = torch.arcsinh(scaled)
        windows, observed = observed_patches(scaled, size, config.patch_stride)
        parts = [self._embed(self._times(-windows.shape[1] * size, 0), windows, observed)]
        visible = [observed.any(dim=-1)]
        if config.summary_token:
            parts.append(self.shared.weight[1].expand(len(context), 1, -1))
        parts.append(
            self._embed(self._times(0, future_patches * size), *self._ahead(known, mean, scale, future_patches))
        )
        states = torch.cat(parts, dim=1)
        visible.append(visible[0].new_ones(len(context), states.shape[1] - windows.shape[1]))
        states = self.encoder(states, torch.cat(visible, dim=1), group)
        forecast = self.output_patch_embedding(states[:, -future_patches:])  # (R, future patches, Q x patch size)
        forecast = forecast.unflatten(-1, (config.quantiles, size)).transpose(1, 2).flatten(1)
        if config.arcsinh:
            forecast = torch.sinh(forecast)
        return (forecast * scale + mean).unflatten(-1, (config.quantiles, -1))

    def _ahead(self, known: Tensor | None, mean: Tensor, scale: Tensor, patches: int) -> tuple[Tensor, Tensor]:
        """Patches (R, P, patch size) of what is known of the future, on the scale of the context, and where it is."""
        size = self.config.patch_size
        values = mean.new_full((len(mean), patches * size), torch.nan)
        if known is not None:
            values[:, : known.shape[1]] = (known - mean) / scale
        if self.config.arcsinh:
            values = torch.arcsinh(values)
        there = torch.isnan(values).logical_not()
        filled = torch.where(there, values, 0.0)
        return filled.unflatten(1, (patches, size)), there.to(values.dtype).unflatten(1, (patches, size))

    def _times(self, first: int, end: int) -> Tensor:
        """Encoding (P, patch size) of the periods from `first` until before `end`, 0 being the first of the future."""
        periods = torch.arange(first, end, device=self.shared.weight.device, dtype=torch.float32)
        return periods.div(self.config.time_scale).unflatten(0, (-1, self.config.patch_size))

    def _embed(self, times: Tensor, values: Tensor, known: Tensor) -> Tensor:
        """Embeddings (R, P, D) of patches (R, P, patch size)."""
        return self.input_patch_embedding(torch.cat([times.expand_as(values), values, known], dim=-1))


class _Encoder(nn.Module):
    def __init__(self, config: Chronos2Config) -> None:
        super().__init__()
        self.block = nn.ModuleList([_Block(config.shape) for _ in range(config.blocks)])
        self.final_layer_norm = RootMeanSquareNorm(config.shape)
        self.rotation_base = config.rotation_base
        self.head_features = config.shape.head_features

    def forward(self, states: Tensor, visible: Tensor, group: int) -> Tensor:
        rotation = rotations(states.shape[1], self.head_features, self.rotation_base, states.device)
        hidden = hidden_from_attention(visible)
        beside = hidden_from_attention(by_group(visible, group)) if group > 1 else None
        for block in self.block:
            states = block(states, hidden, rotation, beside)
        return self.final_layer_norm(states)


class _Block(nn.Module):
    layer: Any  # a list whose places are part of the names of weights

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_Attended(shape), _Attended(shape), _Chronos2FeedForward(shape)])

    def forward(self, states: Tensor, hidden: Tensor, rotation: tuple[Tensor, Tensor], beside: Tensor | None) -> Tensor:
        over_time, over_group, feed_forward = self.layer
        attention, normed = over_time.self_attention, over_time.layer_norm(states)
        queries, keys = (rotate(attention.split(part(normed)), *rotation) for part in (attention.q, attention.k))
        states = states + attention.attend(queries, keys, attention.split(attention.v(normed)), hidden)
        normed = over_group.layer_norm(states)
        states = states + (
            over_group.self_attention.alone(normed)
            if beside is None
            else _across(over_group.self_attention, normed, beside)
        )
        return states + feed_forward.mlp(feed_forward.layer_norm(states))


def by_group(values: Tensor, group: int) -> Tensor:
    """Rows (R, P, ...) as the rows of each group at each place, (R / group x P, group, ...)."""
    return values.unflatten(0, (-1, group)).transpose(1, 2).flatten(0, 1)


def _across(attention: Attention, states: Tensor, beside: Tensor) -> Tensor:
    """What states (R, P, D) become that attend to the rows of their group at the same place."""
    group, places = beside.shape[-1], states.shape[1]
    grouped = by_group(states, group)
    queries, keys, values = (attention.split(part(grouped)) for part in (attention.q, attention.k, attention.v))
    read = attention.attend(queries, keys, values, beside)
    return read.unflatten(0, (-1, places)).transpose(1, 2).flatten(0, 1)


class _Attended(nn.Module):
    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.self_attention = Attention(shape)
        self.layer_norm = RootMeanSquareNorm(shape)


class _Chronos2FeedForward(nn.Module):
    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.mlp = TwoLayers(shape)
        self.layer_norm = RootMeanSquareNorm(shape)


def rotations(length: int, features: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (P, K) of the rotary embedding of `length` places (https://arxiv.org/abs/2104.09864)."""
    steps = torch.arange(0, features, 2, device=device).float() / features
    angles = torch.arange(length, device=device).float()[:, None] * (1.0 / base**steps)[None, :]
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Heads (R, H, P, K), each turned by the angles of its place."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat([-second, first], dim=-1) * sines
