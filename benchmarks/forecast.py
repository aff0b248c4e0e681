"""Forecast job: throughput and peak memory against input size, and what a run over many windows saves.

    python -m benchmarks.forecast                 1,000 series, beside the library called directly, in the same run
    python -m benchmarks.forecast --sizes         1,000, 10,000 and 100,000 series: is the memory flat?
    python -m benchmarks.forecast --predictor     10,000 series: the default predictor with its backtests beside the bare model
    python -m benchmarks.forecast --windows       10 series x 60 days: one run, and (a few of) one run per day

Each measurement is a process of its own, started as a job starts it. Datasets are made by arithmetic and kept in
.benchmarks/. With `--sizes`, exits with 1 when the largest needs over 1.5 times the memory of the smallest.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.processes import Measurement, measure
from chronos_assets.params.predictor import PredictorParams

FOLDER = Path(__file__).resolve().parent.parent / ".benchmarks"
HOURS = 512
PER_SHARD = 2_000
SIZES = (1_000, 10_000, 100_000)
START = np.datetime64("2024-01-01T00:00:00", "us")


def make_dataset(series: int, hours: int) -> Path:
    """A dataset of hourly series with a day, noise and a level of their own, in shards of 2,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from chronos_assets.timeseries.dataset.shards import Manifest, Shard, shard_name
    from chronos_assets.timeseries.published_files import DATASET_MANIFEST

    target = FOLDER / f"forecast-{series}x{hours}"
    if (target / DATASET_MANIFEST).exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    timestamps = START + np.arange(hours) * np.timedelta64(1, "h")
    shards = []
    for number, first in enumerate(range(0, series, PER_SHARD)):
        ids = range(first, min(series, first + PER_SHARD))
        rng = np.random.default_rng(number)
        day = np.sin((np.arange(hours)[None, :] + rng.integers(0, 24, (len(ids), 1))) * np.pi / 12)
        values = rng.uniform(10, 100, (len(ids), 1)) * (2 + day + rng.normal(0, 0.2, (len(ids), hours)))
        names = pa.array([f"item_{i:06d}" for i in ids]).take(pa.array(np.repeat(np.arange(len(ids)), hours)))
        table = pa.table(
            {
                "item_id": names,
                "timestamp": pa.array(np.tile(timestamps, len(ids))),
                "target": values.ravel(),
                "filled": np.zeros(values.size, dtype=bool),
            }
        )
        pq.write_table(table, target / shard_name(number), row_group_size=122_880)
        shards.append(Shard(shard_name(number), table.num_rows, len(ids), 0, ""))
    rows = series * hours
    manifest = Manifest(
        data_version="benchmark",
        first=str(timestamps[0].astype("datetime64[s]")),
        last=str(timestamps[-1].astype("datetime64[s]")),
        frequency="H",
        dimensions=(),
        series=series,
        rows=rows,
        observed=rows,
        filled=0,
        missing=0,
        aggregated=0,
        duplicates=0,
        rejected={},
        files={},
        n_shards=len(shards),
        shards=tuple(shards),
    )
    (target / DATASET_MANIFEST).write_text(manifest.to_json())
    return target


def run_job(
    dataset: Path, days: list[np.datetime64], arguments: argparse.Namespace, *, predictor: bool = False
) -> Measurement:
    """Run the workload as a job does, as of the ends of `days`; with the default predictor around the model, or it alone."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        root = Path(folder)
        (root / "input" / "config").mkdir(parents=True)
        (root / "processing" / "input").mkdir(parents=True)
        (root / "processing" / "input" / "dataset").symlink_to(dataset)
        parameters = {
            "windows": [{"key": str(day), "end": f"{day + 1}T00:00:00"} for day in days],
            "frequency": "H",
            "horizon": arguments.horizon,
            "quantiles": [0.1, 0.5, 0.9],
            "mean": True,
            "model": arguments.model,
            "context_length": arguments.context,
            "zero_shot": PredictorParams().to_document() if predictor else None,
        }
        (root / "input" / "config" / "parameters.json").write_text(json.dumps(parameters))
        return measure([sys.executable, "-m", "chronos_assets.workloads.forecast"], {"CHRONOS_ML_ROOT": folder})


def run_library(dataset: Path, arguments: argparse.Namespace) -> None:
    """The reference: every series in memory, the library's own predict_quantiles in batches of 32, nothing written."""
    import torch

    from chronos_assets.models.loading import load_model
    from chronos_assets.timeseries.dataset.shards import iter_series, list_shards

    pipeline = load_model(arguments.model, device="cpu").pipeline
    length = arguments.context or pipeline.model_context_length
    contexts = [
        torch.tensor(series.target[-length:], dtype=torch.float32)
        for shard in list_shards(dataset)
        for series in iter_series(shard)
    ]
    for start in range(0, len(contexts), 32):
        pipeline.predict_quantiles(contexts[start : start + 32], arguments.horizon, [0.1, 0.5, 0.9])


def line(name: str, count: int, found: Measurement) -> str:
    """One row of the table."""
    rate = count / found.seconds
    return f"{name:<34}{count:>9,}{found.seconds:>10.1f} s{found.cpu_seconds:>10.1f} s{rate:>10.1f}{found.peak_mb:>9.0f} MB"


def compare_sizes(arguments: argparse.Namespace) -> int:
    """Throughput and peak memory at 1x, 10x and 100x."""
    peaks = []
    for series in SIZES:
        found = run_job(make_dataset(series, HOURS), [np.datetime64("2024-01-22")], arguments)
        peaks.append(found.peak_mb)
        print(line("one window", series, found), flush=True)
    if peaks[-1] > 1.5 * peaks[0]:
        print(f"memory grows with the input: {peaks[0]:.0f} MB, then {peaks[-1]:.0f} MB")
        return 1
    return 0


def compare_predictor(arguments: argparse.Namespace) -> int:
    """The default predictor at two sizes, and the model alone at the larger one."""
    small, large = arguments.series // 10, arguments.series
    day = [np.datetime64("2024-01-22")]
    found = {
        (series, predictor): run_job(make_dataset(series, HOURS), day, arguments, predictor=predictor)
        for series, predictor in ((small, True), (large, True), (large, False))
    }
    for (series, predictor), measured in found.items():
        print(line("the default predictor" if predictor else "the model alone", series, measured), flush=True)
    ratio = found[large, False].cpu_seconds / found[large, True].cpu_seconds
    peaks = [found[series, True].peak_mb for series in (small, large)]
    print(f"the predictor forecasts {ratio:.2f} times the model's series per second of CPU; a third is asked for")
    if ratio < 1 / 3 or peaks[1] > 1.5 * peaks[0]:
        print(f"too slow, or memory grows with the input: {peaks[0]:.0f} MB, then {peaks[1]:.0f} MB")
        return 1
    return 0


def compare_windows(arguments: argparse.Namespace) -> int:
    """A backfill of 60 days in one run, and by one run for each day (of which `--runs` are made)."""
    hours = 24 * 150
    dataset = make_dataset(10, hours)
    days = list(np.arange(START.astype("datetime64[D]") + 80, START.astype("datetime64[D]") + 140))
    together = run_job(dataset, days, arguments)
    print(line("60 windows in one run", 600, together), flush=True)
    apart = [run_job(dataset, [day], arguments) for day in days[:: max(1, 60 // arguments.runs)]]
    mean = Measurement(
        float(np.mean([found.seconds for found in apart])),
        float(np.mean([found.cpu_seconds for found in apart])),
        max(found.peak_mb for found in apart),
    )
    print(line(f"one window a run (mean of {len(apart)})", 10, mean))
    print(f"seconds for each window: {together.seconds / 60:.2f} in one run, {mean.seconds:.2f} in a run of its own")
    return 0


def main() -> int:
    """Parse the arguments, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", action="store_true", help="peak memory at 1x, 10x and 100x")
    parser.add_argument("--predictor", action="store_true", help="the default predictor beside the model alone")
    parser.add_argument("--series", type=int, default=10_000, help="how many `--predictor` forecasts")
    parser.add_argument("--windows", action="store_true", help="60 windows in one run and in runs of their own")
    parser.add_argument("--runs", type=int, default=6, help="how many of the 60 runs of one window are made")
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--context", type=int, help="latest periods to read, all that the model can if not given")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--clean", action="store_true", help="remove the datasets afterwards")
    parser.add_argument("--library", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.library:
        run_library(arguments.library, arguments)
        return 0
    FOLDER.mkdir(exist_ok=True)
    print(f"{'':<34}{'series':>9}{'time':>12}{'CPU':>12}{'series/s':>10}{'peak':>12}")
    if arguments.predictor:
        status = compare_predictor(arguments)
    elif arguments.sizes or arguments.windows:
        status = compare_sizes(arguments) if arguments.sizes else 0
        status = (compare_windows(arguments) if arguments.windows else 0) or status
    else:
        dataset = make_dataset(SIZES[0], HOURS)
        print(line("forecast job", SIZES[0], run_job(dataset, [np.datetime64("2024-01-22")], arguments)), flush=True)
        command = [sys.executable, "-m", "benchmarks.forecast", "--library", str(dataset), "--model", arguments.model]
        command += ["--horizon", str(arguments.horizon)]
        command += ["--context", str(arguments.context)] if arguments.context else []
        print(line("the library, contexts in memory", SIZES[0], measure(command)), flush=True)
        status = 0
    if arguments.clean:
        for path in FOLDER.glob("forecast-*x*"):
            shutil.rmtree(path)
    return status


if __name__ == "__main__":
    sys.exit(main())
