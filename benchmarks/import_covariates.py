"""Import of related time series: peak memory and time of 100,000 items x 100 periods x 5 attributes.

    python -m benchmarks.import_covariates                    100,000 items
    python -m benchmarks.import_covariates --items 1000       fewer
    python -m benchmarks.import_covariates --sizes            1,000, 10,000 and 100,000: is the memory flat?
    python -m benchmarks.import_covariates --day              one more day after a year, of 8,000 items: beside everything

The files are made by arithmetic and kept in .benchmarks/ (0.6 GB at full size; `--clean` removes them): a dataset without the
last 10 periods, and related rows in time-major order, the worst for whole series: four numbers and a category. Both imports
are processes of their own.

`--day` imports a year of rows, then one more day of all items, which ends the horizon of a dataset that has grown by a day,
and then everything; the last two take turns, `--repeats` times each, and shares are those of the medians. Bytes are those that
the processes ask the kernel to read and write. The dataset is cut into shards of 2 MB, so that 3 million rows are as many
shards as thirty times more are otherwise. It takes about two minutes on quiet cores.

Exits with 1 when the import of the related time series needs more than `--limit` GB, or results differ.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.import_day import alternate, compare, counters, load_libraries, share_line
from benchmarks.processes import measure

if TYPE_CHECKING:
    from chronos_assets.timeseries.dataset.resources import Resources

FOLDER = Path(__file__).resolve().parent.parent / ".benchmarks"
PERIODS, HORIZON, YEAR = 100, 10, 365
SIZES = (1_000, 10_000, 100_000)

PARAMS = {
    "DatasetGroup": {"DatasetGroupName": "benchmark", "Domain": "CUSTOM"},
    "Datasets": [
        {
            "DatasetType": "TARGET_TIME_SERIES",
            "Schema": {"item_id": "string", "timestamp": "timestamp", "target_value": "float"},
        },
        {
            "DatasetType": "RELATED_TIME_SERIES",
            "Schema": {
                "item_id": "string",
                "timestamp": "timestamp",
                "price": "float",
                "promotion": "integer",
                "stock": "float",
                "temperature": "float",
                "event": "string",
            },
        },
    ],
    "TimestampFormat": "yyyy-MM-dd",
    "Predictor": {"ForecastHorizon": HORIZON, "FeaturizationConfig": {"ForecastFrequency": "D"}},
}


def make_csv(items: int, kind: str) -> Path:
    """The rows of the target or of the related time series, time-major."""
    path = FOLDER / f"covariates-{items}-{kind}.csv"
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        write_csv(path, items, kind, 0, PERIODS - HORIZON if kind == "target" else PERIODS)
    return path


def write_csv(path: Path, items: int, kind: str, first: int, periods: int) -> None:
    """The rows of so many periods from the `first` one on."""
    import duckdb

    item, day = f"printf('item_%06d', i % {items})", f"DATE '2024-01-01' + CAST({first} + i // {items} AS INTEGER)"
    values = "(i * 7919) % 101 / 7.0"
    if kind == "related":
        values = (
            "round(1 + (i * 7919) % 997 / 100.0, 2), (i * 31) % 7 = 0, (i * 104729) % 1000 / 8.0, "
            f"round(15 + 10 * sin(i // {items} * 0.0172), 2), "
            "CASE (i * 613) % 11 WHEN 0 THEN 'sale' WHEN 1 THEN 'feast' ELSE '' END"
        ).replace("(i * 31) % 7 = 0", "CAST((i * 31) % 7 = 0 AS INTEGER)")
    part = path.with_suffix(".part")
    with duckdb.connect(config={"memory_limit": "1GB", "threads": 2}) as connection:
        connection.execute(
            f"COPY (SELECT {item}, {day}, {values} FROM range({items * periods}) AS t(i)) "
            f"TO '{part}' (FORMAT csv, HEADER false)"
        )
    part.replace(path)


def run(what: str, items: int, arguments: argparse.Namespace) -> dict[str, object]:
    """One import, in this process: rows, bytes and the end of each stage."""
    from chronos_assets.params.reader import parse_params
    from chronos_assets.timeseries.dataset.covariate_files import related_source
    from chronos_assets.timeseries.dataset.importing import import_target_time_series
    from chronos_assets.timeseries.dataset.related_importing import import_related
    from chronos_assets.timeseries.dataset.shard_files import FolderFiles
    from chronos_assets.timeseries.dataset.train_files import TrainFile

    stages: dict[str, float] = {}
    start = time.perf_counter()

    def progress(stage: str, done: float) -> None:
        stages[stage] = round(time.perf_counter() - start, 1)

    work = FOLDER / f"covariates-{items}"
    params = parse_params(PARAMS)
    path = make_csv(items, what)
    file = TrainFile(path, path.name, datetime(2025, 1, 1, tzinfo=UTC))
    resources, rejected = replace(resources_of(arguments), progress=progress), work / "rejected"
    if what == "target":
        made = import_target_time_series(
            [file], params, output=work / "dataset", rejected=rejected, resources=resources
        )
        rows, shards = made.manifest.rows, made.manifest.shards
    else:
        source = related_source([file], params)
        assert source is not None  # noqa: S101 - the parameters above declare it
        related = import_related(
            [source],
            params,
            FolderFiles(work / "dataset"),
            output=work / "related",
            rejected=rejected,
            resources=resources,
        )
        rows, shards = related.manifest.rows, related.manifest.shards
    return {"rows": rows, "bytes": sum(shard.bytes for shard in shards), "stage_ends": stages}


def make_year(folder: Path, items: int, arguments: argparse.Namespace) -> None:
    """A year of files, one more day of them, and the datasets that they are put beside."""
    from chronos_assets.params.reader import parse_params
    from chronos_assets.timeseries.dataset.importing import import_target_time_series
    from chronos_assets.timeseries.dataset.train_files import TrainFile

    write_csv(folder / "year.csv", items, "related", 0, YEAR + HORIZON)
    write_csv(folder / "day.csv", items, "related", YEAR + HORIZON, 1)
    for days in (YEAR, YEAR + 1):
        path = folder / "target.csv"
        write_csv(path, items, "target", 0, days)
        import_target_time_series(
            [TrainFile(path, path.name, datetime(2025, 1, 1, tzinfo=UTC))],
            parse_params(PARAMS),
            output=folder / f"dataset-{days}",
            rejected=folder / "rejected",
            resources=resources_of(arguments),
            shard_bytes=2 << 20,
        )
        path.unlink()


def resources_of(arguments: argparse.Namespace) -> Resources:
    """What imports work with."""
    from chronos_assets.timeseries.dataset.resources import Resources

    return Resources(memory_limit=arguments.memory_limit, threads=arguments.threads)


def run_day(folder: Path, days: int, target: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Import the files that there are after so many days, by what another import left, if any; what it took."""
    from chronos_assets.params.reader import parse_params
    from chronos_assets.timeseries.dataset.covariate_files import related_source
    from chronos_assets.timeseries.dataset.dataset_before import Before
    from chronos_assets.timeseries.dataset.related_importing import import_related
    from chronos_assets.timeseries.dataset.shard_files import FolderFiles
    from chronos_assets.timeseries.dataset.train_files import TrainFile

    load_libraries()
    before, start, cpu = counters(), time.perf_counter(), time.process_time()
    params, there = parse_params(PARAMS), None
    if arguments.before:
        there = Before(lambda: FolderFiles(folder / arguments.before), folder / f"{arguments.before}.npz")
    names = ("year.csv", "day.csv")[: 1 + (days > YEAR)]
    when = datetime(2025, 1, 1, tzinfo=UTC)
    files = [TrainFile(folder / name, name, when + timedelta(days=at), name) for at, name in enumerate(names)]
    source = related_source(files, params)
    assert source is not None  # noqa: S101 - the parameters above declare it
    made = import_related(
        [source],
        params,
        FolderFiles(folder / f"dataset-{days}"),
        output=folder / target,
        rejected=folder / "rejected",
        resources=resources_of(arguments),
        before=there,
    )
    made.memory.save(folder / f"{target}.npz")
    took = {name: value - before[name] for name, value in counters().items()}
    return {
        "version": made.manifest.data_version,
        "said": made.reason
        or f"{len(made.kept_files)} files kept, {len(made.extended_shards)} shards with a new tail only",
        "rows": made.manifest.rows,
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        **took,
    }


def measure_day(arguments: argparse.Namespace) -> int:
    """A year, one more day, and everything; 1 where the last two differ."""
    FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="covariates-day-", dir=FOLDER))

    def one(days: int, target: str, before: str | None = None) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.import_covariates", "--target", target, "--folder", str(folder)]
        command += ["--days", str(days), "--memory-limit", arguments.memory_limit, "--threads", str(arguments.threads)]
        measured = measure([*command, *(["--before", before] if before else [])])
        print(share_line(target, measured.answer, measured.peak_mb), flush=True)
        return measured.answer

    try:
        make_year(folder, arguments.items, arguments)
        one(YEAR, "year")
        days, wholes = alternate(
            lambda number: one(YEAR + 1, f"day-{number}", "year"),
            lambda number: one(YEAR + 1, f"everything-{number}"),
            arguments.repeats,
        )
    finally:
        shutil.rmtree(folder)
    return int(compare(days, wholes) is None)


def measure_one(what: str, items: int, arguments: argparse.Namespace) -> float:
    """Run one import as a child, print a line about it, and give its peak in GB."""
    command = [sys.executable, "-m", "benchmarks.import_covariates", "--child", what, "--items", str(items)]
    command += ["--memory-limit", arguments.memory_limit, "--threads", str(arguments.threads)]
    make_csv(items, what)
    measured = measure(command)
    found = measured.answer
    print(
        f"{what:<8}{items:>8} items {found['rows']:>12,} rows {measured.seconds:>7.1f} s {measured.peak_mb:>7.0f} MB peak "
        f"{found['bytes'] / 1e6:>7.0f} MB on disk  {found['stage_ends']}",
        flush=True,
    )
    return measured.peak_mb / 1024


def main() -> int:
    """Measure; 1 where the related time series need more memory than they may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int)
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--day", action="store_true", help="one more day beside everything")
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--limit", type=float, default=2.0, help="GB")
    parser.add_argument("--memory-limit", default="1GB", help="of DuckDB")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="of --day")
    parser.add_argument("--child", choices=("target", "related"), help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--before", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--days", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.items = arguments.items or (8_000 if arguments.day else SIZES[-1])
    if arguments.folder:
        print(json.dumps(run_day(arguments.folder, arguments.days, arguments.target, arguments)))
        return 0
    if arguments.day:
        return measure_day(arguments)
    if arguments.child:
        print(json.dumps(run(arguments.child, arguments.items, arguments)))
        return 0
    failed = 0
    for items in SIZES if arguments.sizes else (arguments.items,):
        measure_one("target", items, arguments)
        failed += measure_one("related", items, arguments) > arguments.limit
    if arguments.clean:
        for path in FOLDER.glob("covariates-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
