"""Networks of the Chronos families on a GPU: series per second at batch 16 and at the batch that the device's memory holds.

    python -m benchmarks.gpu                      bolt-small-, chronos-2-small- and t5-small-sized networks, random weights
    python -m benchmarks.gpu --device cpu --tiny  the same path on a CPU, with networks of a few thousand weights

Weights are random: nothing is downloaded, and a network's speed doesn't depend on them. Both settings run in one process,
alternately; the table has medians of the repeats and their ratio. With `--tensor-cores`, the second setting may use TF32
where that is within the tolerance, as a job does; the largest difference of its quantiles from float32's is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

BASE = 16
LEVELS = (0.1, 0.5, 0.9)
# https://huggingface.co/amazon/chronos-bolt-small, chronos-2-small and chronos-t5-small: config.json
SMALL: dict[str, Any] = {
    "bolt": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_decoder_layers": 6, "num_heads": 8},
    "chronos2": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "t5": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_decoder_layers": 6, "num_heads": 8},
}
TINY = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}


@dataclass(frozen=True)
class Result:
    """What was measured of a family.

    Attributes:
        base: series per second at a batch of 16, the median of the repeats.
        tuned: at the batch that the device holds.
        rows: of that batch.
    """

    family: str
    base: float
    tuned: float
    rows: int

    @property
    def ratio(self) -> float:
        """How many times as many series."""
        return self.tuned / self.base


def save_network(family: str, folder: Path, sizes: dict[str, Any], context: int) -> Path:
    """A checkpoint with random weights."""
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config, T5ForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(7)
    levels = [round(level, 2) for level in np.arange(0.1, 0.95, 0.1).tolist()]
    if family == "t5":
        config: Any = T5Config(
            **sizes,
            vocab_size=4096,
            decoder_start_token_id=0,
            eos_token_id=1,
            pad_token_id=0,
            tie_word_embeddings=False,
        )
        config.chronos_pipeline_class = "ChronosPipeline"
        config.chronos_config = {
            "tokenizer_class": "MeanScaleUniformBins",
            "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
            "context_length": context, "prediction_length": 64, "n_tokens": 4096, "n_special_tokens": 2,
            "pad_token_id": 0, "eos_token_id": 1, "use_eos_token": True, "model_type": "seq2seq",
            "num_samples": 20, "temperature": 1.0, "top_k": 50, "top_p": 1.0,
        }  # fmt: skip
        T5ForConditionalGeneration(config).save_pretrained(folder)
        return folder
    patch = 16 if context >= 64 else 8
    chronos = {
        "context_length": context, "input_patch_size": patch, "input_patch_stride": patch, "quantiles": levels,
        "use_reg_token": True,
    }  # fmt: skip
    if family == "bolt":
        config = T5Config(**sizes, vocab_size=2, decoder_start_token_id=0, pad_token_id=0, feed_forward_proj="relu")
        config.chronos_pipeline_class = "ChronosBoltPipeline"
        config.chronos_config = chronos | {"prediction_length": 64}
        ChronosBoltModelForForecasting(config).save_pretrained(folder)
        return folder
    own = {name: value for name, value in sizes.items() if name != "num_decoder_layers"}
    config = Chronos2CoreConfig(**own, vocab_size=2, pad_token_id=0)
    config.chronos_pipeline_class = "Chronos2Pipeline"
    config.chronos_config = chronos | {"output_patch_size": patch, "use_arcsinh": True, "max_output_patches": 4}
    Chronos2Model(config).save_pretrained(folder)
    return folder


def seconds(work: Any, device: torch.device) -> float:
    """Of one call, the device's queue included."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def measure(family: str, arguments: argparse.Namespace) -> Result:
    """A family's series per second, both ways, alternately."""
    from chronos_assets.models.batching import default_rows
    from chronos_assets.models.forecasting import Forecaster
    from chronos_assets.models.loading import load_model

    sizes = TINY if arguments.tiny else SMALL[family]
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(str(save_network(family, Path(folder), sizes, arguments.context)), device=arguments.device)
        rng = np.random.default_rng(0)
        count = min(arguments.series, arguments.t5_series) if family == "t5" else arguments.series
        contexts = [rng.normal(size=arguments.context) for _ in range(count)]
        rows = arguments.rows or default_rows(model, arguments.context)
        least = "tf32" if arguments.tensor_cores else "float32"
        ways = {
            name: Forecaster(model, arguments.horizon, LEVELS, batch_size=batch, precision=precision)
            for name, batch, precision in (("base", BASE, "float32"), ("tuned", rows, least))
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        made = {}
        for repeat in range(arguments.repeats + 1):
            for name, forecaster in ways.items():
                took = seconds(lambda it=forecaster, key=name: made.update({key: it.forecast(contexts)}), model.device)
                if repeat:  # the first one warms up
                    found[name].append(count / took)
        if family != "t5":
            apart = float(np.abs(made["base"].quantiles - made["tuned"].quantiles).max())
            print(
                f"{family}: {ways['tuned'].precision}, quantiles differ by {apart:.1e} deviations at most", flush=True
            )
        base, tuned = (statistics.median(found[name]) for name in ways)
        return Result(family, base, tuned, ways["tuned"].batch_size)


def main(given: Sequence[str] | None = None) -> int:
    """Parse the arguments, measure, print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the script")
    parser.add_argument("--tiny", action="store_true", help="networks of a few thousand weights")
    parser.add_argument("--families", nargs="+", choices=list(SMALL), default=list(SMALL))
    parser.add_argument("--series", type=int, default=4096)
    parser.add_argument("--t5-series", type=int, default=64, help="series of the family that samples")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--rows", type=int, help="rows of the tuned batch; what the memory holds, if not given")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tensor-cores", action="store_true", help="allow TF32 in the tuned setting")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args(given)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that torch can use: run with --device cpu --tiny to try the script", file=sys.stderr)
        return 2
    card = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    print(f"{card}, torch {torch.__version__}, context {arguments.context}, horizon {arguments.horizon}")
    results = [measure(family, arguments) for family in arguments.families]
    print(f"{'':<12}{'batch 16':>14}{'tuned':>14}{'rows':>8}{'ratio':>8}")
    for result in results:
        print(
            f"{result.family:<12}{result.base:>10.1f} s/s{result.tuned:>10.1f} s/s{result.rows:>8}{result.ratio:>8.2f}"
        )
    if arguments.json:
        rows = [{**vars(result), "ratio": result.ratio} for result in results]
        arguments.json.write_text(json.dumps({"card": card, "torch": torch.__version__, "results": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
