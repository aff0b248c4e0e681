"""Loading a checkpoint of any Chronos family, ready to forecast.

Here belongs what happens between a folder of files and a network in evaluation mode. Which folder a reference means,
and what its files say, is in `checkpoints` (which needs no torch); forecasting is in `forecasting`.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import torch

from chronos_assets.models.checkpoints import BUNDLED, ModelDescription, ModelError, describe_model, tensor_names

# Tensors that are other names of `shared.weight` and need not be saved.
_TIED = frozenset({"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight", "shared.weight"})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory: its description, the Chronos pipeline around it, and the device it is on."""

    description: ModelDescription
    pipeline: Any
    device: torch.device


def load_model(
    reference: str | os.PathLike[str] | ModelDescription = BUNDLED, device: str | None = None
) -> LoadedModel:
    """Load a model in float32, on the GPU if there is one.

    Args:
        reference: see `checkpoints.resolve_model`, or a model that has been described already.
        device: a torch device; "cuda" where available, else "cpu", if not given.

    Raises:
        ModelError: the files can't be had or are not a whole Chronos model.
    """
    description = reference if isinstance(reference, ModelDescription) else describe_model(reference)
    # Both are imported late: they cost two of the three seconds that a forecast job takes to start.
    from chronos import BaseChronosPipeline
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        pipeline = BaseChronosPipeline.from_pretrained(
            str(description.folder),
            dtype=torch.float32,
            device_map=str(target) if target.type != "cpu" else None,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AssertionError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"model {description.reference!r} in {description.folder} can't be loaded: {lines[0]}"
        ) from error
    network = pipeline.inner_model
    network.eval()
    _check_weights(network, description)
    log.info("loaded %s (%s, %d weights)", description.reference, description.family, description.parameters)
    return LoadedModel(description, pipeline, target)


def _check_weights(network: torch.nn.Module, description: ModelDescription) -> None:
    """Refuse a network of which a part was not in the files: transformers fills it with random numbers and a warning.

    The output layer is compared with the file, since transformers 5 ties it to the embedding unless both were saved.
    """
    saved = tensor_names(description.folder)
    missing = sorted(set(network.state_dict()) - set(saved) - _TIED)
    if missing or not _TIED & set(saved):
        raise ModelError(
            f"model {description.reference!r} in {description.folder} lacks {len(missing)} of its weights "
            f"({', '.join(missing[:3]) or 'the embedding'}...): its safetensors don't belong to its config.json"
        )
    if "lm_head.weight" in saved:
        from safetensors import safe_open

        with safe_open(saved["lm_head.weight"], framework="pt") as file:
            head = file.get_tensor("lm_head.weight").float()
        own = network.state_dict()["lm_head.weight"].cpu()
        if not torch.equal(head, own):
            raise ModelError(
                f"model {description.reference!r}: the output layer was replaced while loading (tied to the "
                "embedding); install the transformers version of this project's lock"
            )
