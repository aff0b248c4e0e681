"""Forecast job with covariates: peak memory against the number of items, 100 periods and 5 attributes each.

    python -m benchmarks.forecast_covariates                         10,000 and 100,000 items: is the memory flat?
    python -m benchmarks.forecast_covariates --sizes 1000 10000      others
    python -m benchmarks.forecast_covariates --members theta regression     of these members instead of the default predictor
    python -m benchmarks.forecast_covariates --levels                forecasts of sums as well, by their store and kind of shop

The imports are those of `benchmarks.import_covariates` (its files in .benchmarks/ are used, and made where they are
missing), the items' metadata are two categories. The job is a process of its own, started as a job starts it. `--levels`
measures in another process what the run does after the job: reading forecast and dataset, adding up, writing the sums.

Exits with 1 when the largest needs over 1.5 times the memory of the smallest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.forecast import line
from benchmarks.import_covariates import FOLDER, HORIZON
from benchmarks.processes import Measurement, measure
from chronos_assets.params.predictor import PredictorParams
from chronos_assets_tests.timeseries.builders import DatasetFolder

AS_OF = "2024-03-30"  # the target's last period
SIZES = (10_000, 100_000)
SHOPS = 50


def imported(items: int) -> Path:
    """Folder with the dataset, its related time series and the items' metadata."""
    import pyarrow as pa

    from chronos_assets.timeseries.dataset.item_metadata import write_item_metadata

    work = FOLDER / f"covariates-{items}"
    if not (work / "related" / "_manifest.json").exists():
        measure([sys.executable, "-m", "benchmarks.import_covariates", "--items", str(items)])
    if not (work / "metadata" / "_manifest.json").exists():
        numbers = range(items)
        columns = {
            "item_id": [f"item_{number:06d}" for number in numbers],
            "kind": [f"kind {number % SHOPS % 5}" for number in numbers],
            "shop": [f"shop {number % SHOPS}" for number in numbers],
        }
        write_item_metadata(work / "metadata", pa.table(columns))
    return work


def run_job(items: int, arguments: argparse.Namespace) -> Measurement:
    """The forecast workload as of the target's end; its output is kept beside the dataset for `--levels`."""
    work = imported(items)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        root = Path(folder)
        (root / "input" / "config").mkdir(parents=True)
        channels = root / "processing" / "input"
        channels.mkdir(parents=True)
        for channel, name in (
            ("dataset", "dataset"),
            ("related_time_series", "related"),
            ("item_metadata", "metadata"),
        ):
            (channels / channel).symlink_to(work / name)
        predictor = PredictorParams(members=tuple(arguments.members)) if arguments.members else PredictorParams()
        parameters = {
            "windows": [{"key": AS_OF, "end": "2024-03-31T00:00:00"}],
            "frequency": "D",
            "horizon": HORIZON,
            "quantiles": [0.1, 0.5, 0.9],
            "mean": True,
            "model": arguments.model,
            "holidays": None,
            "zero_shot": predictor.to_document(),
        }
        (root / "input" / "config" / "parameters.json").write_text(json.dumps(parameters))
        found = measure([sys.executable, "-m", "chronos_assets.workloads.forecast"], {"CHRONOS_ML_ROOT": folder})
        if not arguments.levels:
            return found
        made = root / "processing" / "output" / "forecast" / f"as_of={AS_OF}"
        command = [sys.executable, "-m", "benchmarks.forecast_covariates", "--add-up", str(made), str(work)]
        print(line("its sums", items, measure(command)), flush=True)
        return found


def add_up(forecast: Path, work: Path) -> None:
    """The sums of a forecast, as the run makes them."""
    from chronos_assets.calendar.frequencies import Frequency, Grid
    from chronos_assets.predictors.hierarchy import find_hierarchy
    from chronos_assets.predictors.reconciliation import LEVELS_FILE, series_of, write_levels
    from chronos_assets.timeseries.dataset.item_metadata import read_item_metadata
    from chronos_assets.timeseries.forecast.files import WindowFolder

    window, dataset = WindowFolder.read(forecast), work / "dataset"
    hierarchy = find_hierarchy(series_of(window), ["kind", "shop"], (), read_item_metadata(work / "metadata"))
    write_levels(
        forecast / LEVELS_FILE, window, DatasetFolder(dataset), hierarchy, "min_trace", Grid(Frequency.parse("D"))
    )


def main() -> int:
    """Measure; 1 where memory grows with the items."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--members", nargs="+", help="of the predictor; all if not given")
    parser.add_argument("--levels", action="store_true", help="forecast sums, too")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--add-up", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.add_up:
        add_up(*arguments.add_up)
        return 0
    FOLDER.mkdir(exist_ok=True)
    print(f"{'':<34}{'series':>9}{'time':>12}{'CPU':>12}{'series/s':>10}{'peak':>12}")
    peaks = []
    for items in arguments.sizes:
        found = run_job(items, arguments)
        peaks.append(found.peak_mb)
        print(line("forecast with covariates", items, found), flush=True)
    print(f"peak memory: {peaks[-1] / peaks[0]:.2f} times that of the smallest")
    return 1 if peaks[-1] > 1.5 * peaks[0] else 0


if __name__ == "__main__":
    sys.exit(main())
