"""Tiny checkpoints of the three Chronos families with random weights, saved as their libraries save them.

They forecast nothing sensible; they have every part that a real one has, and load in milliseconds. The libraries, which
take seconds to import, are imported by those who save one.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from chronos_assets_tests.models.tiny_levels import LEVELS_21

_SHAPE = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "pad_token_id": 0}


def save_bolt(folder: Path, *, levels: Sequence[float] = LEVELS_21, context: int = 64, block: int = 16) -> Path:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    config = T5Config(**_SHAPE, num_decoder_layers=1, vocab_size=2, decoder_start_token_id=0, feed_forward_proj="relu")
    config.chronos_pipeline_class = "ChronosBoltPipeline"
    config.chronos_config = {
        "context_length": context,
        "prediction_length": block,
        "input_patch_size": 8,
        "input_patch_stride": 8,
        "quantiles": list(levels),
        "use_reg_token": True,
    }
    return _save(ChronosBoltModelForForecasting, config, folder)


def save_chronos2(folder: Path, *, levels: Sequence[float] = LEVELS_21, context: int = 64, patches: int = 2) -> Path:
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    config = Chronos2CoreConfig(**_SHAPE, vocab_size=2)
    config.chronos_pipeline_class = "Chronos2Pipeline"
    config.chronos_config = {
        "context_length": context,
        "input_patch_size": 8,
        "input_patch_stride": 8,
        "output_patch_size": 8,
        "quantiles": list(levels),
        "use_reg_token": True,
        "use_arcsinh": True,
        "max_output_patches": patches,
    }
    return _save(Chronos2Model, config, folder)


def save_t5(folder: Path, *, context: int = 64, block: int = 8) -> Path:
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
    return _save(T5ForConditionalGeneration, config, folder)


def _save(model_class: type, config: object, folder: Path) -> Path:
    from transformers.utils import logging

    logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model_class(config).save_pretrained(folder)
    return folder


@cache
def folder_of(family: str) -> Path:
    """A checkpoint of `family`, made once a process and removed with it."""
    folder = Path(_scratch().name) / family
    return {"bolt": save_bolt, "chronos2": save_chronos2, "t5": save_t5}[family](folder)


@cache
def _scratch() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="tiny-checkpoints-")
