"""The benchmarks of speed and memory at small sizes, one after another: `python -m benchmarks`. The full ones: README.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

SMALL = (
    ("Import: 0.5 million rows beside DuckDB's own sort", ["import_50m", "--series", "1000"]),
    ("Import: a day after a year, 0.7 million rows", ["import_day", "--items", "2000", "--limit", "1"]),
    ("Covariates: 0.1 million rows of 5 attributes", ["import_covariates", "--items", "1000"]),
    ("Sensor tick: 10,000 objects", ["sensor_tick", "--objects", "10000"]),
    ("Forecast: throughput and memory", ["forecast"]),
    ("KernelSynth: series per second beside the paper's procedure", ["kernelsynth", "--repeats", "3"]),
    ("Backfill: 14 partitions in one run beside one run each", ["backfill", "--partitions", "14", "--single", "2"]),
    ("Fine-tuning: steps per second beside the Hugging Face Trainer", ["finetune", "--steps", "6", "--pairs", "1"]),
    ("Endpoint: 1, 8 and 64 clients, with and without batching", ["endpoint", "--seconds", "2", "--rounds", "1"]),
    ("Queries: published forecasts of 10,000 items", ["query_forecast", "--items", "10000", "--seconds", "2"]),
    ("Dashboard: pages over 2,000 items in a browser", ["dashboard", "--repeats", "3"]),
    ("Endpoint: 1,000 malformed requests", ["malformed_requests", "--requests", "1000"]),
)


def main() -> int:
    """Run them; the number of those that failed."""
    failed = 0
    for title, (name, *options) in SMALL:
        command = ["-m", f"benchmarks.{name}", *options]
        print(f"\n== {title}\n   python {' '.join(command)}\n", flush=True)
        failed += subprocess.run([sys.executable, *command], cwd=REPOSITORY, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
