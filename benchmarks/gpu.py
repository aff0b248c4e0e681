"""Networks of the Chronos families on a GPU: series per second at batch 16 and at the batch that the device's memory holds.

    python -m benchmarks.gpu                      bolt-small-, chronos-2-small- and t5-small-sized networks, random weights
    python -m benchmarks.gpu --device cpu --tiny  the same path on a CPU, with networks of a few thousand weights

Weights are random: nothing is downloaded, and a network's speed doesn't depend on them. All settings of a family run in one
process, alternately; the table has medians of the repeats and their ratio to batch 16 in float32. A setting in TF32 or bf16 is
forced, whatever it does to the quantiles: their largest difference from float32's is in the table, to be held against
`models.precision.TOLERANCE`. With `--compile`, the last one also runs compiled; what compiling took is in the table. With
`--processes 2`, as many processes share the device, each with the batch of `--rows` or half of what is free when it starts.
"""

from __future__ import annotations

import argparse
import json
import pkgutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from chronos_assets.params.options import PRECISIONS

if TYPE_CHECKING:
    from chronos_assets.models.loading import LoadedModel

Floats = NDArray[np.float64]

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
    """What was measured of a family in one setting.

    Attributes:
        rate: series per second, the median of the repeats.
        ratio: how many times as many as at a batch of 16 in float32.
        rows: of a pass.
        apart: the largest difference of a quantile from float32's at a batch of 16, in deviations; None of paths.
        ready: seconds until it was ready, compiling included.
    """

    family: str
    setting: str
    rate: float
    ratio: float
    rows: int
    apart: float | None
    ready: float

    def line(self) -> str:
        """One row of the table."""
        apart = "" if self.apart is None else f"{self.apart:.1e}"
        return (
            f"{self.family:<10}{self.setting:<22}{self.rows:>6}{self.rate:>11.1f} s/s{self.ratio:>8.2f}{apart:>10}"
            f"{self.ready:>8.1f} s"
        )


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


@contextmanager
def opened(family: str, arguments: argparse.Namespace, device: str) -> Iterator[LoadedModel]:
    """A network of the family, on a device; its files are there until the end."""
    from chronos_assets.models.loading import load_model

    sizes = TINY if arguments.tiny else SMALL[family]
    with tempfile.TemporaryDirectory() as folder:
        yield load_model(str(save_network(family, Path(folder), sizes, arguments.context)), device=device)


def contexts_of(family: str, arguments: argparse.Namespace) -> list[Floats]:
    """Contexts to forecast."""
    rng = np.random.default_rng(0)
    count = min(arguments.series, arguments.t5_series) if family == "t5" else arguments.series
    return [rng.normal(size=arguments.context) for _ in range(count)]


def settings(family: str, arguments: argparse.Namespace, rows: int) -> dict[str, dict[str, Any]]:
    """Options of the forecaster by the name of the setting; networks that draw stay in float32 and as they are."""
    found: dict[str, dict[str, Any]] = {
        "batch 16": {"batch_size": BASE},
        "tuned": {"batch_size": rows},
    }
    if family == "t5":
        return found
    for precision in arguments.precisions:
        found[f"tuned, {precision}"] = {"batch_size": rows, "precision": precision}
    if arguments.compile:
        name = list(found)[-1]
        found[f"{name}, compiled"] = {**found[name], "compiling": True}
    return found


def measure(family: str, arguments: argparse.Namespace) -> list[Result]:
    """A family's series per second in each setting, alternately."""
    from chronos_assets.models import precision
    from chronos_assets.models.batching import default_rows
    from chronos_assets.models.forecasting import Forecaster

    contexts = contexts_of(family, arguments)
    forecasters, ready = {}, {}
    with opened(family, arguments, arguments.device) as model, mock.patch.object(precision, "TOLERANCE", np.inf):
        ways = settings(family, arguments, arguments.rows or default_rows(model, arguments.context))
        for name, options in ways.items():
            began = time.perf_counter()
            forecasters[name] = Forecaster(model, arguments.horizon, LEVELS, **options)
            ready[name] = time.perf_counter() - began
    made: dict[str, Floats] = {}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(arguments.repeats + 1):
        for name, forecaster in forecasters.items():

            def work(name: str = name, forecaster: Forecaster = forecaster) -> None:
                made[name] = forecaster.forecast(contexts).quantiles

            took = seconds(work, model.device)
            if repeat:  # the first one warms up
                rates[name].append(len(contexts) / took)
    base = statistics.median(rates["batch 16"])
    return [
        Result(
            family,
            name,
            statistics.median(rates[name]),
            statistics.median(rates[name]) / base,
            forecaster.batch_size,
            None if family == "t5" else float(np.abs(made[name] - made["batch 16"]).max()),
            ready[name],
        )
        for name, forecaster in forecasters.items()
    ]


def beside_others(family: str, arguments: argparse.Namespace, base: float) -> Result:
    """The tuned setting in several processes that share the device: the sum of their series per second."""
    from chronos_assets.container.processes import divided

    began = time.perf_counter()
    worker = partial(pkgutil.resolve_name("benchmarks.gpu:open_process"), family, arguments)
    devices = [arguments.device] * arguments.processes
    answers = list(divided(worker, devices, range(arguments.processes)))
    rate = sum(rate for rate, _, _ in answers)
    working = max(took for _, _, took in answers)
    name, rows = f"tuned, {arguments.processes} processes", answers[0][1]
    return Result(family, name, rate, rate / base, rows, None, time.perf_counter() - began - working)


def open_process(family: str, arguments: argparse.Namespace, device: str) -> Callable[[int], tuple[float, int, float]]:
    """What measures in a process of its own: series per second, rows of a pass, and seconds that it worked."""
    from chronos_assets.models.forecasting import Forecaster

    contexts = contexts_of(family, arguments)
    with opened(family, arguments, device) as model:
        forecaster = Forecaster(model, arguments.horizon, LEVELS, batch_size=arguments.rows)
    forecaster.forecast(contexts)

    def work(_: int) -> tuple[float, int, float]:
        took = seconds(lambda: [forecaster.forecast(contexts) for _ in range(arguments.repeats)], model.device)
        return arguments.repeats * len(contexts) / took, forecaster.batch_size, took

    return work


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
    parser.add_argument(
        "--precisions", nargs="*", choices=PRECISIONS[1:], default=PRECISIONS[1:], help="to measure beside float32"
    )
    parser.add_argument("--compile", action="store_true", help="measure the last setting compiled, too")
    parser.add_argument("--processes", type=int, default=1, help="measure as many processes on the device, too")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args(given)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that torch can use: run with --device cpu --tiny to try the script", file=sys.stderr)
        return 2
    card = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    print(f"{card}, torch {torch.__version__}, context {arguments.context}, horizon {arguments.horizon}")
    print(f"{'':<10}{'':<22}{'rows':>6}{'series':>15}{'ratio':>8}{'apart':>10}{'ready':>10}", flush=True)
    results: list[Result] = []
    for family in arguments.families:
        found = measure(family, arguments)
        if arguments.processes > 1:
            found.append(beside_others(family, arguments, found[0].rate))
        print("\n".join(result.line() for result in found), flush=True)
        results += found
    if arguments.json:
        document = {"card": card, "torch": torch.__version__, "results": [vars(result) for result in results]}
        arguments.json.write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
