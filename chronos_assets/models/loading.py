"""Loading a checkpoint of any Chronos family, ready to forecast.

Here belongs what happens between a folder of files and a network in evaluation mode: the slim one of `networks`, and
the library's whenever more than a forecast is wanted. Which folder a reference means,
and what its files say, is in `checkpoints` (which needs no torch); forecasting is in `forecasting`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from chronos_assets.models.checkpoints import BUNDLED, ModelDescription, ModelError, describe_model, tensor_names
from chronos_assets.models.networks.bolt import Bolt, BoltConfig
from chronos_assets.models.networks.chronos2 import Chronos2, Chronos2Config
from chronos_assets.models.networks.t5 import T5, T5Config

# Tensors that are other names of `shared.weight` and need not be saved.
_TIED = frozenset({"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight", "shared.weight"})
_UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, TypeError, AssertionError)

SlimNetwork = Bolt | Chronos2 | T5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes:
        description: what its files say.
        device: where its weights are.
        network: for forecasts alone, without the library; None for one that is trained, or that only the library knows.
    """

    description: ModelDescription
    device: torch.device
    network: SlimNetwork | None

    @cached_property
    def pipeline(self) -> Any:
        """The library's own pipeline: to train, to sample, to read series together.

        Loaded when it is first asked for, since importing the library takes longer than a small forecast. Its weights
        are its own: what is changed there does not reach `network`.

        Raises:
            ModelError: the library can't load the files.
        """
        return _load_pipeline(self.description, self.device)


def load_model(
    reference: str | os.PathLike[str] | ModelDescription = BUNDLED,
    device: str | None = None,
    *,
    trainable: bool = False,
) -> LoadedModel:
    """Load a model in float32, on the GPU if there is one.

    Args:
        reference: see `checkpoints.resolve_model`, or a model that has been described already.
        device: a torch device; "cuda" where available, else "cpu", if not given.
        trainable: whether its weights are to change; forecasts are then those of the library's network in training.

    Raises:
        ModelError: the files can't be had or are not a whole Chronos model.
    """
    description = reference if isinstance(reference, ModelDescription) else describe_model(reference)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = LoadedModel(description, target, None if trainable else _load_network(description, target))
    if model.network is None:
        _ = model.pipeline  # what can't be loaded is refused here, not at the first forecast
    log.info("loaded %s (%s, %d weights)", description.reference, description.family, description.parameters)
    return model


def usable_devices() -> tuple[str, ...]:
    """Where models can run at once: every GPU, or the CPU."""
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) or ("cpu",)


def _load_network(description: ModelDescription, device: torch.device) -> SlimNetwork | None:
    """The slim network of a checkpoint; None for a family or a variant that has none."""
    try:
        config = json.loads((description.folder / "config.json").read_text(encoding="utf-8"))
        network = _build_network(description, config)
        if network is None:
            return None
        missing = sorted(set(network.state_dict()) - set(tensor_names(description.folder)))
        if missing:
            raise _lacking(description, missing)
        network.load_state_dict(_read_weights(description, network.state_dict()), strict=True, assign=True)
    except _UNREADABLE as error:
        raise error if isinstance(error, ModelError) else _unloadable(description, error) from error
    return network.requires_grad_(False).to(device).eval()


def _build_network(description: ModelDescription, config: Mapping[str, Any]) -> SlimNetwork | None:
    if description.family == "bolt":
        sizes = BoltConfig.from_document(config)
        return None if sizes is None else Bolt(sizes)
    if description.family == "chronos2":
        shape = Chronos2Config.from_document(config)
        return None if shape is None else Chronos2(shape)
    plan = T5Config.from_document(config)
    if plan is None or (names := tensor_names(description.folder)).get("shared.weight") is None:
        return None  # which of its other names the embedding has is for the library to find out
    return T5(plan, tied="lm_head.weight" not in names)


def _read_weights(description: ModelDescription, wanted: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The `wanted` tensors of a checkpoint in float32; it may hold more, such as other names of the embedding."""
    from safetensors import safe_open

    places = tensor_names(description.folder)
    weights: dict[str, torch.Tensor] = {}
    for path in sorted({places[name] for name in wanted}):
        with safe_open(path, framework="pt") as file:
            weights |= {name: file.get_tensor(name).float() for name in wanted if places[name] == path}
    return weights


def _load_pipeline(description: ModelDescription, device: torch.device) -> Any:
    """The library's pipeline, in evaluation mode, with all of its weights from the files."""
    from chronos import BaseChronosPipeline
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        pipeline = BaseChronosPipeline.from_pretrained(
            str(description.folder),
            dtype=torch.float32,
            device_map=str(device) if device.type != "cpu" else None,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except _UNREADABLE as error:
        raise _unloadable(description, error) from error
    pipeline.inner_model.eval()
    _check_weights(pipeline.inner_model, description)
    return pipeline


def _unloadable(description: ModelDescription, error: BaseException) -> ModelError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelError(f"model {description.reference!r} in {description.folder} can't be loaded: {' '.join(lines[:2])}")


def _lacking(description: ModelDescription, missing: list[str]) -> ModelError:
    return ModelError(
        f"model {description.reference!r} in {description.folder} lacks {len(missing)} of its weights "
        f"({', '.join(missing[:3]) or 'the embedding'}...): its safetensors don't belong to its config.json"
    )


def _check_weights(network: torch.nn.Module, description: ModelDescription) -> None:
    """Refuse a network of which a part was not in the files: transformers fills it with random numbers and a warning.

    The output layer is compared with the file, since transformers 5 ties it to the embedding unless both were saved.
    """
    saved = tensor_names(description.folder)
    missing = sorted(set(network.state_dict()) - set(saved) - _TIED)
    if missing or not _TIED & set(saved):
        raise _lacking(description, missing)
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
