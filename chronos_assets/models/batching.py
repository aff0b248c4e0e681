"""How many rows share a pass of a network: few on a CPU, as many as the device's memory holds on a GPU.

Here: the model of a pass's memory, and what a lack of memory looks like. Elsewhere: what a pass does
(`forecasting`), how many paths are sampled at once (`families`).

On a CPU the number is fixed, since a forecast's last bits depend on it, and every machine must produce the same. On a GPU a
batch of 16 leaves most of the device idle. There the start is an estimate of the memory that a row takes at the peak of a pass,
and half of what is free; where the device refuses, the number is halved until it fits. It is recorded with the forecast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chronos_assets.models.checkpoints import ModelDescription
    from chronos_assets.models.loading import LoadedModel

ON_CPU = 16  # on one core, more rows a pass gain nothing from contexts of 512 up
FULL, MOST_TIMES = 512, 4  # before: as many times as many as such a context is longer, but so many at most
FEWEST, MOST = 16, 4096
SHARE = 0.5  # of the memory that is free: the estimate is none of the allocator's leftovers
FLOAT32 = 4
# Of tensors as wide as the states that live at once in a block: states, their norm, queries, keys, values, what was read.
_STATES_AT_ONCE = 6


def bytes_per_row(config: Mapping[str, Any], tokens: int) -> int:
    """Memory that one row takes at the peak of a pass: that of one block, since inference keeps no other's.

    Args:
        config: `config.json` of the model.
        tokens: patches, or values, of a row.
    """
    inner = config["num_heads"] * config["d_kv"]
    states = _STATES_AT_ONCE * max(config["d_model"], inner)
    # Not every mask has a kernel that never writes the scores down.
    scores = 2 * config["num_heads"] * tokens
    return int(FLOAT32 * tokens * (states + 2 * config["d_ff"] + scores))


def tokens_of(config: Mapping[str, Any], context_length: int) -> int:
    """Patches of a row: of its context, and of a forecast where the network reads both together."""
    chronos = config["chronos_config"]
    stride = chronos.get("input_patch_stride", 1)
    return int(-(-context_length // stride) + chronos.get("max_output_patches", 1) + 1)


def rows_that_fit(free: int, per_row: int) -> int:
    """Rows of a pass in `free` bytes: a power of two."""
    fitting = int(SHARE * free) // max(1, per_row)
    return min(MOST, max(FEWEST, 1 << max(0, fitting.bit_length() - 1)))


def default_rows(model: LoadedModel, context_length: int) -> int:
    """Rows of a pass on the device that a model is on."""
    if model.device.type != "cuda":
        return ON_CPU
    import torch

    free, _ = torch.cuda.mem_get_info(model.device)
    config = read_config(model.description)
    return rows_that_fit(free, bytes_per_row(config, tokens_of(config, context_length)))


def read_config(description: ModelDescription) -> dict[str, Any]:
    """`config.json` of a model that has been described, and so is whole."""
    config: dict[str, Any] = json.loads((description.folder / "config.json").read_text(encoding="utf-8"))
    return config


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a pass failed because the device's memory, or the machine's, holds fewer rows."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def device_name(model: LoadedModel) -> str:
    """The device that a model is on, as people know it: `cpu`, or the card."""
    if model.device.type != "cuda":
        return model.device.type
    import torch

    return torch.cuda.get_device_name(model.device)
