"""Start-up of jobs: from request to files of a small forecast, as a multiple of `python -c "import torch"`.

    python -m benchmarks.startup                  10 series, 24 periods: cold and warm, medians of 7 alternating repeats
    python -m benchmarks.startup --repeats 3

Each repeat measures one after another, so that other work on the machine meets all alike: an interpreter that imports
torch; a job as a plain process; the first job of a fork server, which has imported nothing; a job that follows it. Exits
with 1 where the median of the repeats' ratios is above 2.5 (cold, both ways) or 1.5 (warm).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.forecast import FOLDER, make_dataset
from chronos_assets.platforms.local.processes import start_workload, workload_environment
from chronos_assets.platforms.local.warm_workers import OFF, WARM_WORKERS, WarmWorkers

MOST = {"plain": 2.5, "cold worker": 2.5, "warm worker": 1.5}
WORKLOAD = "chronos_assets.workloads.forecast"
SERIES, HOURS, HORIZON = 10, 512, 24


def main() -> int:
    """Measure and print.

    Returns:
        1 where a ratio is above its limit.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    FOLDER.mkdir(exist_ok=True)
    dataset = make_dataset(SERIES, HOURS)
    seconds: dict[str, list[float]] = {"import torch": [], **{name: [] for name in MOST}}
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        job = Job(Path(folder), dataset)
        import_torch()  # reads the files into memory
        for _ in range(repeats):
            seconds["import torch"].append(import_torch())
            os.environ[WARM_WORKERS] = OFF
            seconds["plain"].append(job.run())
            workers = WarmWorkers(workload_environment(job.root))
            os.environ[WARM_WORKERS] = str(workers.path)
            seconds["cold worker"].append(job.run())
            seconds["warm worker"].append(job.run())
            workers.close()
    print(f"{'':14}{'seconds':>9}{'ratio':>8}   of {repeats} repeats")
    good = True
    for name, values in seconds.items():
        ratios = [value / torch for value, torch in zip(values, seconds["import torch"], strict=True)]
        ratio = statistics.median(ratios)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name:14}{statistics.median(values):9.2f}{ratio:8.2f}   {spread}")
        good &= ratio <= MOST.get(name, 1.0)
    return 0 if good else 1


def import_torch() -> float:
    """Seconds that an interpreter takes to import torch and end."""
    return timed(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True))


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Job:
    """A forecast of all series as of the last day, in a folder that is laid out again for each run."""

    def __init__(self, folder: Path, dataset: Path) -> None:
        self.root = folder / "job"
        self._dataset = dataset

    def run(self) -> float:
        """Seconds from the start of the process to its end, with its files written.

        Raises:
            RuntimeError: the job failed.
        """
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "input" / "config").mkdir(parents=True)
        (self.root / "processing" / "input").mkdir(parents=True)
        (self.root / "processing" / "input" / "dataset").symlink_to(self._dataset)
        parameters = {
            "windows": [{"key": "last", "end": "2024-01-22T00:00:00"}],
            "frequency": "H",
            "horizon": HORIZON,
            "quantiles": [0.1, 0.5, 0.9],
            "mean": True,
            "model": "bundled",
        }
        (self.root / "input" / "config" / "parameters.json").write_text(json.dumps(parameters))
        seconds = timed(self._execute)
        if not (self.root / "processing" / "output" / "forecast" / "as_of=last" / "forecast.parquet").exists():
            raise RuntimeError((self.root / "log").read_text())
        return seconds

    def _execute(self) -> None:
        with (self.root / "log").open("wb") as log, (self.root / "lock").open("wb") as lock:
            environment = workload_environment(self.root)
            process = start_workload(WORKLOAD, self.root, environment, stderr=log, stdout=log, lock=lock.fileno())
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


if __name__ == "__main__":
    sys.exit(main())
