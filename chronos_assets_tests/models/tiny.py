"""Tiny checkpoints of the three Chronos families with random weights, saved as their libraries save them.

They forecast nothing sensible; they have every part that a real one has, and load in milliseconds. The libraries, which
take five seconds to import, are imported where one is made for the first time: all processes and sessions of this checkout
copy it from `build/`, until a library or what is written here changes.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chronos_assets.platforms.file_locks import locked_file
from chronos_assets_tests.models.tiny_levels import LEVELS_21

_SHAPE = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "pad_token_id": 0}


def save_bolt(folder: Path, *, levels: Sequence[float] = LEVELS_21, context: int = 64, block: int = 16) -> Path:
    return _copy(folder, _bolt, levels=list(levels), context=context, block=block)


def save_chronos2(folder: Path, *, levels: Sequence[float] = LEVELS_21, context: int = 64, patches: int = 2) -> Path:
    return _copy(folder, _chronos2, levels=list(levels), context=context, patches=patches)


def save_t5(folder: Path, *, context: int = 64, block: int = 8) -> Path:
    return _copy(folder, _t5, context=context, block=block)


def _bolt(levels: list[float], context: int, block: int) -> tuple[type, Any]:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    config = T5Config(**_SHAPE, num_decoder_layers=1, vocab_size=2, decoder_start_token_id=0, feed_forward_proj="relu")
    config.chronos_pipeline_class = "ChronosBoltPipeline"
    config.chronos_config = {
        "context_length": context,
        "prediction_length": block,
        "input_patch_size": 8,
        "input_patch_stride": 8,
        "quantiles": levels,
        "use_reg_token": True,
    }
    return ChronosBoltModelForForecasting, config


def _chronos2(levels: list[float], context: int, patches: int) -> tuple[type, Any]:
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    config = Chronos2CoreConfig(**_SHAPE, vocab_size=2)
    config.chronos_pipeline_class = "Chronos2Pipeline"
    config.chronos_config = {
        "context_length": context,
        "input_patch_size": 8,
        "input_patch_stride": 8,
        "output_patch_size": 8,
        "quantiles": levels,
        "use_reg_token": True,
        "use_arcsinh": True,
        "max_output_patches": patches,
    }
    return Chronos2Model, config


def _t5(context: int, block: int) -> tuple[type, Any]:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        **_SHAPE,
        num_decoder_layers=1,
        vocab_size=64,
        decoder_start_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    config.chronos_pipeline_class = "ChronosPipeline"
    config.chronos_config = {
        "tokenizer_class": "MeanScaleUniformBins",
        "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
        "context_length": context,
        "prediction_length": block,
        "n_tokens": 64,
        "n_special_tokens": 2,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "use_eos_token": True,
        "model_type": "seq2seq",
        "num_samples": 20,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    }
    return T5ForConditionalGeneration, config


def _copy(folder: Path, make: Callable[..., tuple[type, Any]], **options: Any) -> Path:
    """Put a checkpoint into a folder.

    Args:
        make: gives the model's class and configuration.
        **options: for it.
    """
    kept = _kept() / f"{make.__name__}-{sha256(json.dumps(options).encode()).hexdigest()[:16]}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(kept.with_suffix(".lock")):
            if not kept.is_dir():
                _save(*make(**options), kept.with_suffix(".new"))
                kept.with_suffix(".new").rename(kept)
    shutil.copytree(kept, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return folder


@cache
def _kept() -> Path:
    """Where checkpoints are kept: the libraries and this file say what they are."""
    libraries = [f"{name} {version(name)}" for name in ("chronos-forecasting", "torch", "transformers")]
    digest = sha256(Path(__file__).read_bytes() + repr((libraries, LEVELS_21)).encode()).hexdigest()[:16]
    return Path(__file__).resolve().parents[2] / "build" / "tiny-checkpoints" / digest


def _save(model_class: Any, config: Any, folder: Path) -> None:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model_class(config).save_pretrained(folder)


@cache
def folder_of(family: str) -> Path:
    """A checkpoint of `family`, made once a process and removed with it."""
    folder = Path(_scratch().name) / family
    return {"bolt": save_bolt, "chronos2": save_chronos2, "t5": save_t5}[family](folder)


@cache
def _scratch() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="tiny-checkpoints-")
