"""One more day after a year: an import of what has changed beside one of everything, by time and by bytes read and written.

    python -m benchmarks.import_day                  137,000 items x 365 days, 50 million rows, and one day of all items
    python -m benchmarks.import_day --items 14000    5 million rows
    python -m benchmarks.import_day --items 600 --hourly    5 million rows by the hour, which are finer than the forecast's days

50 million rows take some minutes, and about 5 GB of disk below `.benchmarks/`.

Each measurement is a process of its own: the import, and publishing what it made on this machine. Bytes are those that the
process asked the kernel to read and write (`/proc/self/io`, Linux), whatever the page cache had. The day and everything take
turns, `--repeats` times each; shares are those of the medians. Fails when the day takes more than `--limit` of the time, or of
the bytes, of everything.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.processes import measure

FOLDER = Path(__file__).resolve().parent.parent / ".benchmarks"
FIRST = datetime(2023, 1, 3, tzinfo=UTC)


def make_csv(path: Path, items: int, first: int, days: int, a_day: int) -> None:
    """Days of all items with so many rows each, one after another as daily exports are; made by arithmetic alone."""
    import duckdb

    form = "%Y-%m-%d" if a_day == 1 else "%Y-%m-%d %H:00:00"
    start, steps = f"TIMESTAMP '{FIRST + timedelta(days=first):%Y-%m-%d}'", f"(i // {items})"
    with duckdb.connect(config={"memory_limit": "1GB", "threads": 2}) as connection:
        connection.execute(
            f"""
            COPY (
                SELECT strftime({start} + to_hours({steps} * {24 // a_day}), '{form}'),
                       round(100 + 50 * sin({steps} * 0.9 + i % {items}) + ((i * 7919) % 10007) / 500, 2),
                       printf('item_%07d', i % {items})
                FROM range({items * days * a_day}) AS t(i)
            ) TO '{path}' (FORMAT csv, HEADER false)
            """
        )


def run_import(
    folder: Path, names: list[str], target: str, before: str | None, threads: int, a_day: int
) -> dict[str, object]:
    """Import and publish files of `folder`, by what the import of another target left, if any; what came out."""
    from chronos_assets.params.reader import parse_params
    from chronos_assets.platforms.local.publishing import current, publish_directory
    from chronos_assets.timeseries.dataset.dataset_before import Before
    from chronos_assets.timeseries.dataset.importing import import_target_time_series
    from chronos_assets.timeseries.dataset.resources import Resources
    from chronos_assets.timeseries.dataset.sample import sample_params
    from chronos_assets.timeseries.dataset.shard_files import FolderFiles
    from chronos_assets.timeseries.dataset.train_files import TrainFile

    document = sample_params()
    document["Datasets"][0]["DataFrequency"] = "D" if a_day == 1 else "H"
    document["Predictor"]["FeaturizationConfig"] = {"ForecastFrequency": "D"}
    document["TimestampFormat"] = "yyyy-MM-dd" if a_day == 1 else "yyyy-MM-dd HH:mm:ss"
    shown, staged = folder / target, folder / "staged" / target
    there = None if before is None else Before(lambda: FolderFiles(current(folder / before)), folder / f"{before}.npz")
    staged.parent.mkdir(exist_ok=True)
    files = [
        TrainFile(folder / name, f"train/{name}", FIRST + timedelta(days=place), name)
        for place, name in enumerate(names)
    ]
    report = import_target_time_series(
        files,
        parse_params(document),
        output=staged,
        rejected=folder / "rejected",
        resources=Resources(threads=threads),
        before=there,
    )
    known = {name: sha256 for shard in report.manifest.shards for name, sha256 in shard.files.items()}
    publish_directory(shown, staged, known=known)
    report.memory.save(folder / f"{target}.npz")
    shards = len(report.manifest.shards)
    return {
        "version": current(shown).name.rpartition("-")[2],
        "said": report.reason
        or f"{len(report.kept_files)} files and {len(report.kept_shards)} of {shards} shards kept, "
        f"{len(report.extended_shards)} with a new tail only",
        "rows": report.rows_read,
    }


def counters() -> dict[str, int]:
    """Bytes that this process has read and written so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines) if name in {"rchar", "wchar"}}


def load_libraries() -> None:
    """Load what an import needs, which is not a part of what is measured."""
    import numpy as np
    import pyarrow as pa
    import pydantic  # noqa: F401

    import chronos_assets.timeseries.import_task  # noqa: F401

    pa.array(np.zeros(1))  # loads pandas


def child(arguments: argparse.Namespace) -> int:
    """One measurement."""
    load_libraries()
    before, start, cpu = counters(), time.perf_counter(), time.process_time()
    answer = run_import(
        arguments.folder,
        arguments.files.split(","),
        arguments.target,
        arguments.before,
        arguments.threads,
        arguments.rows_a_day,
    )
    answer |= {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    answer |= {name: value - before[name] for name, value in counters().items()}
    print(json.dumps(answer))
    return 0


def measure_one(
    folder: Path, files: list[str], target: str, arguments: argparse.Namespace, before: str | None = None
) -> dict[str, Any]:
    """An import in a process of its own, shown as a line."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.import_day",
        "--folder",
        str(folder),
        "--threads",
        str(arguments.threads),
    ]
    command += ["--files", ",".join(files), "--target", target, *(["--hourly"] if arguments.hourly else [])]
    command += ["--before", before] if before else []
    measured = measure(command)
    found = measured.answer
    print(share_line(target, found, measured.peak_mb), flush=True)
    return found


def share_line(target: str, found: Mapping[str, Any], peak_mb: float) -> str:
    """What an import took."""
    return (
        f"{target:<12}{found['rows'] / 1e6:>8.1f} M{found['seconds']:>9.1f} s{found['cpu']:>9.1f} s CPU"
        f"{found['rchar'] / 1e6:>10.0f} MB read{found['wchar'] / 1e6:>10.0f} MB written"
        f"{peak_mb:>8.0f} MB peak  {found['said']}"
    )


def alternate(
    day: Callable[[int], dict[str, Any]], everything: Callable[[int], dict[str, Any]], repeats: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What both took, one after the other, as often as they are repeated."""
    pairs = [(day(number), everything(number)) for number in range(repeats)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def compare(days: Sequence[Mapping[str, Any]], wholes: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Tell what the day took of everything's time, processor time and bytes, by medians; None where results differ."""
    if len({run["version"] for run in (*days, *wholes)}) > 1:
        print("the results differ")
        return None
    day, everything = (
        {name: statistics.median(run[name] for run in runs) for name in ("seconds", "cpu", "rchar", "wchar")}
        for runs in (days, wholes)
    )
    found = {
        "time": day["seconds"] / everything["seconds"],
        "CPU": day["cpu"] / everything["cpu"],
        "bytes": (day["rchar"] + day["wchar"]) / (everything["rchar"] + everything["wchar"]),
    }
    told = ", ".join(f"{share:.3f} of the {name}" for name, share in found.items())
    print(f"one day takes, of everything: {told} (medians of {len(days)} alternating repeats)")
    return found


def main() -> int:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=137_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=0.05, help="share of the time, and of the bytes, of everything")
    parser.add_argument("--hourly", action="store_true", help="24 rows a day, for forecasts by the day")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--files", help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--before", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.rows_a_day = 24 if arguments.hourly else 1
    if arguments.folder:
        return child(arguments)
    FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="import-day-", dir=FOLDER))
    try:
        make_csv(folder / "year.csv", arguments.items, 0, arguments.days, arguments.rows_a_day)
        make_csv(folder / "day.csv", arguments.items, arguments.days, 1, arguments.rows_a_day)
        measure_one(folder, ["year.csv"], "year", arguments)
        both = ["year.csv", "day.csv"]
        days, wholes = alternate(
            lambda number: measure_one(folder, both, f"day-{number}", arguments, before="year"),
            lambda number: measure_one(folder, both, f"everything-{number}", arguments),
            arguments.repeats,
        )
    finally:
        shutil.rmtree(folder)
    found = compare(days, wholes)
    return int(found is None or max(found["time"], found["bytes"]) > arguments.limit)


if __name__ == "__main__":
    sys.exit(main())
