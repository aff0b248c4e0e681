"""The benchmarks of speed and memory at small sizes, one after another: `python -m benchmarks`. The full ones: README.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

SMALL = (
    ("Import: 0.5 million rows beside DuckDB's own sort", ["import_50m.py", "--series", "1000"]),
    ("Sensor tick: 10,000 objects", ["sensor_tick.py", "--objects", "10000"]),
    ("Forecast: throughput and memory", ["forecast.py"]),
    ("KernelSynth: series per second beside the paper's procedure", ["kernelsynth.py", "--repeats", "3"]),
    ("Backfill: 14 partitions in one run beside one run each", ["backfill.py", "--partitions", "14", "--single", "2"]),
)


def main() -> int:
    """Run them; the number of those that failed."""
    failed = 0
    for title, arguments in SMALL:
        print(f"\n== {title}\n   python benchmarks/{' '.join(arguments)}\n", flush=True)
        failed += (
            subprocess.run([sys.executable, str(FOLDER / arguments[0]), *arguments[1:]], check=False).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
