"""What differs between families when they are fine-tuned: the loss of a batch, and where LoRA's matrices go.

Here belong the calls of the three networks as their own training code makes them. The loop is in `finetuning`, windows
in `finetuning_data`.

========  ============================================================================================================
T5        tokens of context and labels by the checkpoint's own tokenizer, cross-entropy; missing labels are ignored
Bolt      the network's quantile loss of one block, summed over its periods
Chronos-2 the network's quantile loss over as many patches as the target needs, summed over levels; each window is a
          group of its own
========  ============================================================================================================
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from chronos_assets.models.checkpoints import Family
from chronos_assets.models.finetuning_data import Batch, FinetuningError
from chronos_assets.models.loading import LoadedModel

Loss = Callable[[Batch], torch.Tensor]

LORA_TARGETS: Mapping[Family, tuple[str, ...]] = {
    "t5": ("q", "k", "v", "o"),
    "bolt": ("q", "k", "v", "o", "output_patch_embedding.output_layer"),
    "chronos2": (
        "self_attention.q",
        "self_attention.v",
        "self_attention.k",
        "self_attention.o",
        "output_patch_embedding.output_layer",
    ),
}
"""Modules that get low-rank matrices, by the end of their names; Chronos-2's are those of `Chronos2Pipeline.fit`."""

IGNORED_LABEL = -100  # what torch's cross-entropy leaves out


def loss_of(model: LoadedModel, network: torch.nn.Module) -> Loss:
    """The loss of a batch by `network`, which is the model's own, with or without LoRA around it."""
    if model.description.family == "t5":
        return lambda batch: _t5_loss(model, network, batch)
    if model.description.family == "chronos2":
        return lambda batch: _chronos2_loss(model, network, batch)
    return lambda batch: _bolt_loss(model, network, batch)


@contextmanager
def training_mode(model: LoadedModel, network: torch.nn.Module) -> Iterator[None]:
    """Training mode inside of the block.

    T5's attention adds a learned bias, whose gradient torch's fused attention on a CPU only has a slow way to: the
    plain one makes a step of T5 and Bolt 8% faster there.
    """
    inner = model.pipeline.inner_model
    before = inner.config._attn_implementation
    plain = model.description.family != "chronos2" and model.device.type == "cpu"
    if plain:
        inner.set_attn_implementation("eager")
    network.train()
    try:
        yield
    finally:
        network.eval()
        if plain:
            inner.set_attn_implementation(before)


def add_lora(model: LoadedModel, rank: int, alpha: int) -> Any:
    """The network with low-rank matrices beside its own, which are frozen. The network is changed in place.

    Raises:
        FinetuningError: peft is not installed; a full fine-tune under the name of LoRA would be the wrong model.
    """
    if importlib.util.find_spec("peft") is None:
        raise FinetuningError(
            "finetune_mode lora needs the library peft, which is not installed: pip install 'chronos-assets[lora]', "
            "or set finetune_mode to full"
        )
    from peft import LoraConfig, get_peft_model

    targets = list(LORA_TARGETS[model.description.family])
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)
    return get_peft_model(_Plain(model.pipeline.inner_model), config)


class _Plain(torch.nn.Module):
    """A network without transformers' ways around it: peft asks those for word embeddings, which Bolt has none of."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, **inputs: torch.Tensor) -> Any:
        """What the network says."""
        return self.network(**inputs)


def _tensors(model: LoadedModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(batch.context).to(model.device), torch.from_numpy(batch.target).to(model.device)


def _bolt_loss(model: LoadedModel, network: torch.nn.Module, batch: Batch) -> torch.Tensor:
    context, target = _tensors(model, batch)
    loss: torch.Tensor = network(context=context, target=target).loss
    return loss


def _chronos2_loss(model: LoadedModel, network: torch.nn.Module, batch: Batch) -> torch.Tensor:
    context, target = _tensors(model, batch)
    patches = -(-target.shape[1] // model.pipeline.model_output_patch_size)
    loss: torch.Tensor = network(context=context, future_target=target, num_output_patches=patches).loss
    return loss


def _t5_loss(model: LoadedModel, network: torch.nn.Module, batch: Batch) -> torch.Tensor:
    inputs = {name: tokens.to(model.device) for name, tokens in t5_inputs(model, batch).items()}
    loss: torch.Tensor = network(**inputs).loss
    return loss


def t5_inputs(model: LoadedModel, batch: Batch) -> dict[str, torch.Tensor]:
    """What T5 is given: input_ids and attention_mask (R, T + 1), labels (R, block + 1) with `IGNORED_LABEL`."""
    tokenizer = model.pipeline.tokenizer
    target = torch.full((len(batch.target), model.description.block_length), torch.nan)
    target[:, : batch.target.shape[1]] = torch.from_numpy(batch.target)
    tokens, mask, scale = tokenizer.context_input_transform(torch.from_numpy(batch.context))
    labels, labels_mask = tokenizer.label_input_transform(target, scale)
    return {
        "input_ids": tokens,
        "attention_mask": mask,
        "labels": labels.masked_fill(~labels_mask, IGNORED_LABEL),
    }
