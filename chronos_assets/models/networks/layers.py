"""Layers that Chronos-Bolt and Chronos-2 share.

Here: normalization, patches, residual blocks and attention, with parameters named as checkpoints name them.
Elsewhere: how a network puts them together (`bolt`, `chronos2`).

Shapes: R series (rows), T periods, P patches, D features of a patch, H heads of K features each.
Source: https://github.com/amazon-science/chronos-forecasting and the T5 model of Hugging Face transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of a network.

    Attributes:
        features: D, of a patch's embedding.
        hidden: of the layer inside of a feed-forward block.
        heads: H.
        head_features: K.
        activation: a name of `ACTIVATIONS`.
        epsilon: keeps the normalization of a zero vector finite.
    """

    features: int
    hidden: int
    heads: int
    head_features: int
    activation: str = "relu"
    epsilon: float = 1e-6

    @classmethod
    def from_document(cls, config: Mapping[str, Any]) -> NetworkShape | None:
        """The sizes in a T5 configuration; None for an activation that these layers don't have, such as a gated one.

        Raises:
            KeyError: a size is missing.
        """
        name = config.get("feed_forward_proj", "relu")
        if name not in ACTIVATIONS or config.get("dense_act_fn", name) != name or config.get("is_gated_act", False):
            return None
        return cls(
            features=config["d_model"],
            hidden=config["d_ff"],
            heads=config["num_heads"],
            head_features=config["d_kv"],
            activation=name,
            epsilon=config.get("layer_norm_epsilon", 1e-6),
        )


def standardize(context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Context (R, T) with mean 0 and deviation 1 in each row, the means and the deviations, (R, 1); NaN is ignored."""
    mean = torch.nan_to_num(torch.nanmean(context, dim=-1, keepdim=True), nan=0.0)
    scale = torch.nan_to_num((context - mean).square().nanmean(dim=-1, keepdim=True).sqrt(), nan=1.0)
    scale = torch.where(scale == 0, 1e-5, scale)
    return (context - mean) / scale, mean, scale


def patches(values: Tensor, size: int, stride: int) -> Tensor:
    """Windows (R, P, size) of rows (R, T), with NaN on the left of rows whose length is no multiple of `size`."""
    missing = -values.shape[-1] % size
    return functional.pad(values, (missing, 0), value=torch.nan).unfold(-1, size, stride)


def observed_patches(context: Tensor, size: int, stride: int) -> tuple[Tensor, Tensor]:
    """Patches of a context (R, T) with NaN as 0, and which of their values were observed (1 or 0); both (R, P, size)."""
    windows = patches(context, size, stride)
    observed = torch.isnan(windows).logical_not()
    return torch.where(observed, windows, 0.0), observed.to(context.dtype)


class Linear(nn.Module):
    """torch's linear layer without initial values, which would be drawn only to be replaced by a checkpoint's."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, values: Tensor) -> Tensor:
        """Values (..., inputs) to (..., outputs)."""
        return functional.linear(values, self.weight, self.bias)


class Table(nn.Module):
    """Rows (N, D) to look up, without initial values."""

    def __init__(self, rows: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, features))


class RootMeanSquareNorm(nn.Module):
    """T5's normalization: scaled by the root of the mean square, not shifted (https://arxiv.org/abs/1910.07467)."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape.features))
        self.epsilon = shape.epsilon

    def forward(self, states: Tensor) -> Tensor:
        """States (..., D)."""
        return self.weight * (states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + self.epsilon))


class ResidualBlock(nn.Module):
    """Two layers beside a linear one; embeds patches and reads forecasts from embeddings."""

    def __init__(self, inputs: int, outputs: int, shape: NetworkShape) -> None:
        super().__init__()
        self.hidden_layer = Linear(inputs, shape.hidden)
        self.output_layer = Linear(shape.hidden, outputs)
        self.residual_layer = Linear(inputs, outputs)
        self.activation = ACTIVATIONS[shape.activation]

    def forward(self, values: Tensor) -> Tensor:
        """Values (..., inputs) to (..., outputs), in float32 whatever else is in: they are the data's, and it costs little."""
        with torch.autocast(values.device.type, enabled=False):
            return self.output_layer(self.activation(self.hidden_layer(values))) + self.residual_layer(values)


class TwoLayers(nn.Module):
    """The feed-forward layers of a block."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.wi = Linear(shape.features, shape.hidden, bias=False)
        self.wo = Linear(shape.hidden, shape.features, bias=False)
        self.activation = ACTIVATIONS[shape.activation]

    def forward(self, states: Tensor) -> Tensor:
        """States (..., D)."""
        return self.wo(self.activation(self.wi(states)))


class Attention(nn.Module):
    """Attention of several heads whose scores are not scaled, as in T5."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        inner = shape.heads * shape.head_features
        self.heads = shape.heads
        self.q = Linear(shape.features, inner, bias=False)
        self.k = Linear(shape.features, inner, bias=False)
        self.v = Linear(shape.features, inner, bias=False)
        self.o = Linear(inner, shape.features, bias=False)

    def split(self, states: Tensor) -> Tensor:
        """(R, P, H x K) to (R, H, P, K)."""
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Heads (R, H, P, K) to states (R, P, D); `bias` is added to the scores (R, H, P, P')."""
        read = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, scale=1.0)
        return self.o(read.transpose(1, 2).flatten(-2))

    def alone(self, states: Tensor) -> Tensor:
        """What states (R, P, D) become that have nothing to attend to but themselves."""
        return self.o(self.v(states))


def hidden_from_attention(visible: Tensor) -> Tensor:
    """A bias (R, 1, 1, P) that keeps attention from all but the `visible` (R, P) patches."""
    lowest = torch.finfo(torch.bfloat16).min  # float32's is infinite there, and a row of infinities has no softmax
    return torch.zeros(visible.shape, device=visible.device).masked_fill(~visible, lowest)[:, None, None, :]
