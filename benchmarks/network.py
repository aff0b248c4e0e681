"""Networks on a CPU: each family beside the best setting of the library, and the forecast job beside the bare network.

    python -m benchmarks.network                    small-sized networks, random weights, beside the library
    python -m benchmarks.network --job              10,000 series: the whole job beside the bare network, a small-sized Bolt
    python -m benchmarks.network --job --model bundled

Weights are random unless `--model` names a model: nothing is downloaded, and a network's speed doesn't depend on them. What is
compared runs in one process, alternately; the ratio is that of the medians. Exits with 1 below what is asked: level with the
library for Bolt and Chronos-2, 4 times it for T5, and 0.8 of the bare network for the job.

The library's setting is the quickest of `BATCHES` on one thread and on all cores, by its series per second. Of T5, which takes
seconds a series, batches of 1 and 4 are tried on all cores, each once; with 8 series its ratio takes below six minutes on two
quiet cores. The job is the workload in this process, from its parameters to the window's files, the loading of the model
included; the bare network is passes of as many rows over contexts that lie ready in memory, on as many cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.forecast import FOLDER, HOURS, make_dataset
from benchmarks.gpu import LEVELS, SMALL, TINY, save_network, seconds
from chronos_assets.container.contract import Reporter, Workspace

BATCHES = (16, 32, 64, 256)
ASKED = {"bolt": 1.0, "chronos2": 1.0, "t5": 4.0}
ASKED_OF_THE_JOB = 0.8
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pair:
    """Two ways to forecast as many series, alternately.

    Attributes:
        ours: seconds of each repeat.
        other: likewise, of what it is compared with.
        asked: the least ratio.
    """

    name: str
    series: int
    ours: Sequence[float]
    other: Sequence[float]
    asked: float

    @property
    def ratio(self) -> float:
        """How many times as many series per second."""
        return statistics.median(self.other) / statistics.median(self.ours)

    def line(self) -> str:
        """One row of the table."""
        rates = [self.series / statistics.median(found) for found in (self.ours, self.other)]
        return f"{self.name:<48}{rates[0]:>10.1f} s/s{rates[1]:>10.1f} s/s{self.ratio:>8.2f}{self.asked:>8.1f}"


class Quiet(Reporter):
    """A job's reporter that tells nobody."""

    def log(self, message: str) -> None:
        """Nothing."""

    def message(self, document: Mapping[str, Any]) -> None:
        """Nothing."""


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """As many threads for each operation; what was set before is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def alternate(ours: Callable[[], object], other: Callable[[], object], repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of both, one after the other."""
    pairs = [(seconds(ours, CPU), seconds(other, CPU)) for _ in range(repeats)]
    return [own for own, _ in pairs], [its for _, its in pairs]


def beside_the_library(family: str, arguments: argparse.Namespace) -> Pair:
    """A family's forecasts beside the library's, at the setting that suits the library best."""
    from chronos_assets.models.forecasting import Forecaster
    from chronos_assets.models.loading import load_model
    from chronos_assets.system import usable_cores

    sizes = TINY if arguments.tiny else SMALL[family]
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(str(save_network(family, Path(folder), sizes, arguments.context)), device="cpu")
        pipeline, forecaster = model.pipeline, Forecaster(model, arguments.horizon, LEVELS)
    count = arguments.t5_series if family == "t5" else arguments.series
    contexts = list(np.random.default_rng(0).normal(size=(count, arguments.context)))
    tensors = [torch.tensor(context, dtype=torch.float32) for context in contexts]
    options = {"num_samples": forecaster.samples} if family == "t5" else {}

    def library(batch: int, threads: int, series: int = count) -> None:
        with threads_of_torch(threads):
            for start in range(0, series, batch):
                pipeline.predict_quantiles(tensors[start : start + batch], arguments.horizon, list(LEVELS), **options)

    def rate(setting: tuple[int, int]) -> float:
        series = min(count, setting[0]) if family == "t5" else count
        return series / seconds(lambda: library(*setting, series), CPU)

    # A series of T5 takes as many rows of a pass as it has sample paths.
    batches, threads = ((1, 4), {usable_cores()}) if family == "t5" else (BATCHES, {1, usable_cores()})
    settings = [(batch, number) for batch in batches for number in sorted(threads)]
    if family != "t5":
        library(*settings[0])
    best = max(settings, key=rate)
    forecaster.forecast(contexts)
    ours, other = alternate(lambda: forecaster.forecast(contexts), lambda: library(*best), arguments.repeats)
    name = f"{family} beside the library (batch {best[0]}, {best[1]} threads)"
    return Pair(name, count, ours, other, ASKED[family])


def beside_the_network(arguments: argparse.Namespace) -> Pair:
    """The whole forecast job beside passes of its network over contexts in memory."""
    with tempfile.TemporaryDirectory() as folder:
        reference = arguments.model or str(
            save_network("bolt", Path(folder), TINY if arguments.tiny else SMALL["bolt"], arguments.context)
        )
        FOLDER.mkdir(exist_ok=True)
        dataset = make_dataset(arguments.job_series, HOURS)
        job, bare = partial(run_job, dataset, reference, arguments), bare_network(dataset, reference, arguments)
        alternate(job, bare, 1)  # to warm up
        ours, other = alternate(job, bare, arguments.repeats)
    return Pair("the whole job beside the bare network", arguments.job_series, ours, other, ASKED_OF_THE_JOB)


def run_job(dataset: Path, reference: str, arguments: argparse.Namespace) -> None:
    """The workload `forecast` in this process, as of the dataset's last whole day."""
    from chronos_assets.workloads import forecast

    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        workspace = Workspace(Path(folder))
        (workspace.root / "processing" / "input").mkdir(parents=True)
        (workspace.root / "processing" / "input" / "dataset").symlink_to(dataset)
        workspace.parameters_file.parent.mkdir(parents=True)
        parameters = {
            "windows": [{"key": "2024-01-21", "end": "2024-01-22T00:00:00"}],
            "frequency": "H",
            "horizon": arguments.horizon,
            "quantiles": list(LEVELS),
            "mean": True,
            "model": reference,
            "context_length": arguments.context,
        }
        workspace.parameters_file.write_text(json.dumps(parameters))
        forecast.main(workspace, Quiet())


def bare_network(dataset: Path, reference: str, arguments: argparse.Namespace) -> Callable[[], None]:
    """Passes of the network over the same contexts, which are read and put into rows here, before they are timed."""
    from chronos_assets.models.families import adapt
    from chronos_assets.models.forecasting import Forecaster
    from chronos_assets.models.loading import load_model
    from chronos_assets.models.sampling import Sampler
    from chronos_assets.system import usable_cores
    from chronos_assets.timeseries.dataset.shards import iter_series, list_shards

    model = load_model(reference, device="cpu")
    network = adapt(model)
    if isinstance(network, Sampler):
        raise SystemExit("--job measures networks that give quantiles: name a Bolt or Chronos-2 model")
    size = Forecaster(model, arguments.horizon, LEVELS).batch_size
    days = HOURS // 24 * 24  # the job's window ends with a day
    width = min(arguments.context, model.description.context_length)
    values = np.stack(
        [series.target[:days][-width:] for shard in list_shards(dataset) for series in iter_series(shard)]
    )
    scaled = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    rows = torch.from_numpy(scaled.astype(np.float32))
    steps = min(arguments.horizon, network.block_length)

    def one(start: int) -> None:
        with torch.inference_mode():
            network.block(rows[start : start + size], steps)

    def run() -> None:
        with threads_of_torch(1), ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(one, range(0, len(rows), size)))

    return run


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", action="store_true", help="the whole job beside the bare network")
    parser.add_argument("--job-series", type=int, default=10_000)
    parser.add_argument("--model", help="of the job: bundled, a folder or a Hub id; random weights if not given")
    parser.add_argument("--families", nargs="+", choices=list(SMALL), default=list(SMALL))
    parser.add_argument("--tiny", action="store_true", help="networks of a few thousand weights, to try the script")
    parser.add_argument("--series", type=int, default=512)
    parser.add_argument("--t5-series", type=int, default=8, help="series of the family that samples")
    parser.add_argument("--context", type=int, default=480)
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 where a ratio is below what is asked."""
    arguments = parse(given)
    print(
        f"context {arguments.context}, horizon {arguments.horizon}, medians of {arguments.repeats} alternating repeats"
    )
    print(f"{'':<48}{'ours':>14}{'other':>14}{'ratio':>8}{'asked':>8}", flush=True)
    met = True
    works = [lambda name=name: beside_the_library(name, arguments) for name in arguments.families]
    for work in [lambda: beside_the_network(arguments)] if arguments.job else works:
        pair = work()
        print(pair.line(), flush=True)
        met = met and pair.ratio >= pair.asked
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
