"""Import of 50 million rows (100,000 series x 500 hours): peak memory, time, and a reference beside it in the same run.

    python -m benchmarks.import_50m              the import, and DuckDB sorting the same file into one Parquet file
    python -m benchmarks.import_50m --sizes      the import at 0.5, 5 and 50 million rows: is the memory flat?

The CSV is time-major (all series of an hour, then the next hour), as daily exports are, and the worst order for an import
that needs whole series. It is made once and kept in .benchmarks/ (2.1 GB at full size; `--clean` removes it). Each
measurement is a process of its own.

Exits with 1 when the import needs more than `--limit` GB.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.processes import Measurement, measure

FOLDER = Path(__file__).resolve().parent.parent / ".benchmarks"
STEPS = 500
SIZES = (1_000, 10_000, 100_000)


def make_csv(series: int) -> Path:
    """The data of `series` series, made by arithmetic alone so that it is the same everywhere."""
    import duckdb

    path = FOLDER / f"import-{series}x{STEPS}.csv"
    if path.exists():
        return path
    FOLDER.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    with duckdb.connect(config={"memory_limit": "1GB", "threads": 2}) as connection:
        connection.execute(
            f"""
            COPY (
                SELECT strftime(TIMESTAMP '2024-01-01' + to_hours(CAST(i // {series} AS INTEGER)), '%Y-%m-%d %H:%M:%S'),
                       round(100 + 50 * sin((i // {series}) * 0.2618 + i % {series})
                             + ((i * 7919 + (i % {series}) * 104729) % 10007) / 500, 3),
                       printf('item_%06d', i % {series})
                FROM range({series * STEPS}) AS t(i)
            ) TO '{part}' (FORMAT csv, HEADER false)
            """
        )
    part.replace(path)
    return path


def measure_one(what: str, path: Path, arguments: argparse.Namespace) -> Measurement:
    """Do one thing in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.import_50m", "--child", what, "--file", str(path)]
    command += ["--memory-limit", arguments.memory_limit, "--threads", str(arguments.threads)]
    return measure(command)


def run_import(path: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Import the file; seconds of each stage, and what came out."""
    from chronos_assets.params.reader import parse_params
    from chronos_assets.timeseries.dataset.importing import import_target_time_series
    from chronos_assets.timeseries.dataset.resources import Resources
    from chronos_assets.timeseries.dataset.sample import sample_params
    from chronos_assets.timeseries.dataset.train_files import TrainFile

    stages: dict[str, float] = {}
    start = time.perf_counter()

    def progress(stage: str, done: float) -> None:
        stages[stage] = round(time.perf_counter() - start, 1)

    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        report = import_target_time_series(
            [TrainFile(path, path.name, datetime(2025, 1, 1, tzinfo=UTC))],
            parse_params(sample_params()),
            output=Path(folder) / "dataset",
            rejected=Path(folder) / "rejected",
            resources=Resources(memory_limit=arguments.memory_limit, threads=arguments.threads, progress=progress),
        )
    manifest = report.manifest
    size = sum(shard.bytes + (shard.tail.bytes if shard.tail else 0) for shard in manifest.shards)
    return {
        "rows": manifest.rows,
        "series": manifest.series,
        "shards": len(manifest.shards),
        "bytes": size,
        "stage_ends": stages,
    }


def run_reference(path: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """What DuckDB needs to read the same file, sort it and write it: no checks, no grid, no shards of whole series."""
    import duckdb

    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        settings = {"memory_limit": arguments.memory_limit, "threads": arguments.threads, "temp_directory": folder}
        target = Path(folder) / "sorted.parquet"
        with duckdb.connect(config=settings) as connection:
            connection.execute(
                f"COPY (SELECT item_id, timestamp, target FROM read_csv('{path}', header=false, columns={{"
                "'timestamp': 'TIMESTAMP', 'target': 'DOUBLE', 'item_id': 'VARCHAR'}) ORDER BY item_id, timestamp) "
                f"TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
            )
        return {"bytes": target.stat().st_size}


def line(name: str, rows: int, found: Measurement) -> str:
    """One row of the table."""
    size, ends = found.answer["bytes"] / 1e6, found.answer.get("stage_ends", "")
    return (
        f"{name:<22}{rows / 1e6:>8.1f} M{found.seconds:>9.1f} s{found.cpu_seconds:>9.1f} s"
        f"{rows / found.seconds / 1e6:>9.2f} M/s"
        f"{found.peak_mb:>9.0f} MB{size:>9.0f} MB  {ends}"
    )


def main() -> int:
    """Parse the arguments, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=SIZES[-1], help="series of 500 hours each")
    parser.add_argument("--sizes", action="store_true", help="peak memory at 1x, 10x and 100x")
    parser.add_argument("--memory-limit", default="2GB", help="of DuckDB")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=4.0, help="GB that the import may need")
    parser.add_argument("--clean", action="store_true", help="remove the data afterwards")
    parser.add_argument("--child", choices=("import", "reference"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        work = run_import if arguments.child == "import" else run_reference
        print(json.dumps(work(arguments.file, arguments)))
        return 0
    sizes = SIZES if arguments.sizes else (arguments.series,)
    print(f"{'':<22}{'rows':>10}{'time':>11}{'CPU':>11}{'rate':>13}{'peak':>12}{'Parquet':>12}")
    peak = 0.0
    for series in sizes:
        path = make_csv(series)
        found = measure_one("import", path, arguments)
        peak = max(peak, found.peak_mb)
        print(line("import", series * STEPS, found), flush=True)
        if not arguments.sizes:
            print(line("DuckDB, sorted copy", series * STEPS, measure_one("reference", path, arguments)), flush=True)
    if arguments.clean:
        for path in FOLDER.glob(f"import-*x{STEPS}.csv"):
            path.unlink()
    if peak > arguments.limit * 1024:
        print(f"the import needed {peak / 1024:.1f} GB, more than {arguments.limit} GB")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
