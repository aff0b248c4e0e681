"""Checks of the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.system import file_digest
from chronos_assets.timeseries.checks import MAX_ROWS, CheckOutcome, Row
from chronos_assets.timeseries.dataset.series_keys import series_name
from chronos_assets.timeseries.dataset.shards import (
    DatasetError,
    Manifest,
    Series,
    Shard,
    ShardSource,
    iter_series,
    shard_name,
    shard_number,
)
from chronos_assets.timeseries.published_files import DATASET_MANIFEST
from chronos_assets.wording import first_line

# --- dataset ----------------------------------------------------------------------------------------------------------

_DATASET_FIX = """The dataset's files are not what the import wrote, or `params.json` was changed since.

1. Materialize `target_time_series`: it is rebuilt from `train/`, and published only when it is whole.
2. If the same rows fail again, look at the disk (`dmesg`, free space), and report a bug with these rows.

Forecasts that were made from this dataset are suspect: materialize their partitions again afterwards."""


def check_dataset(dataset: ShardSource, params: ForecastParams) -> CheckOutcome:
    """Is the dataset whole, sorted, on the regular grid, and what its manifest says?

    Reads every shard once, in pieces. Each series must be in the shard that its key belongs to and once only, so none
    is in two shards; its periods must follow each other without a gap up to the dataset's last one; observed values
    must be numbers.
    """
    try:
        manifest = dataset.manifest
    except DatasetError as error:
        return CheckOutcome(
            passed=False,
            severity="error",
            description=f"The dataset can't be read: {error}",
            failing_rows=(_dataset_row(DATASET_MANIFEST, None, "unreadable", str(error)),),
            failing=1,
            fix=_DATASET_FIX,
        )
    problems = _Problems()
    totals: Counter[str] = Counter()
    for row in _manifest_problems(manifest, params):
        problems.add(row)
    for shard, path in dataset.each(manifest.shards):
        for row in _shard_problems(path, shard, manifest, params, totals):
            problems.add(row)
    for name, expected in (("series", manifest.series), ("rows", manifest.rows), ("observed", manifest.observed)):
        if not problems.count and totals[name] != expected:
            problems.add(
                _dataset_row(DATASET_MANIFEST, None, f"wrong {name}", f"{expected}, but there are {totals[name]}")
            )
    numbers = {"shards": len(manifest.shards), **{name: totals[name] for name in ("series", "rows", "observed")}}
    if problems.count:
        return problems.outcome(
            f"{problems.count} problems in {len(manifest.shards)} shards: {problems.summary()}.",
            numbers=numbers,
            fix=_DATASET_FIX,
        )
    return CheckOutcome(
        passed=True,
        severity="error",
        description=f"{totals['series']} series with {totals['rows']} rows in {len(manifest.shards)} shards are sorted, "
        f"regular ({params.frequency}) and as the manifest says.",
        numbers=numbers,
    )


@dataclass
class _Problems:
    """Failing rows, of which only the first are kept."""

    rows: list[Row] = field(default_factory=list)
    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        self.count += 1
        self.kinds[str(row["problem"])] += 1
        if len(self.rows) < MAX_ROWS:
            self.rows.append(row)

    def summary(self) -> str:
        return ", ".join(f"{kind} ({count})" for kind, count in self.kinds.most_common())

    def outcome(self, description: str, *, numbers: Mapping[str, int | float], fix: str) -> CheckOutcome:
        return CheckOutcome(
            passed=False,
            severity="error",
            description=description,
            failing_rows=tuple(self.rows),
            failing=self.count,
            numbers=numbers,
            fix=fix,
        )


def _dataset_row(file: str, key: Sequence[str] | None, problem: str, detail: str) -> Row:
    return {"file": file, "series": "" if key is None else series_name(key), "problem": problem, "detail": detail}


def _manifest_problems(manifest: Manifest, params: ForecastParams) -> Iterator[Row]:
    """Where the manifest disagrees with the parameters."""
    for name, found, wanted in (
        ("frequency", manifest.frequency, str(params.frequency)),
        ("dimensions", list(manifest.dimensions), list(params.dimensions)),
    ):
        if found != wanted:
            yield _dataset_row(DATASET_MANIFEST, None, f"other {name}", f"{found}, but params.json says {wanted}")


def _shard_problems(
    path: Path, shard: Shard, manifest: Manifest, params: ForecastParams, totals: Counter[str]
) -> Iterator[Row]:
    """What is wrong with a shard, read to its end; adds its series, rows and observations to `totals`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = {
        **dict.fromkeys(("item_id", *params.dimensions), "string"),
        "timestamp": "timestamp[us]",
        "target": "double",
        "filled": "bool",
    }
    for name, expected in shard.files.items():
        try:
            digest = file_digest(path.with_name(name))
            schema = pq.read_schema(path.with_name(name))
        except (OSError, pa.ArrowException) as error:
            yield _dataset_row(name, None, "unreadable", first_line(error))
            return
        if digest != expected:
            yield _dataset_row(name, None, "changed", f"its SHA-256 is {digest}, not {expected}")
        found = {column: str(schema.field(column).type) for column in schema.names}
        if found != wanted:
            yield _dataset_row(name, None, "wrong columns", f"{found}, not {wanted}")
            return
    before: tuple[str, ...] | None = None
    counts: Counter[str] = Counter()
    try:
        for series in iter_series(path, params.dimensions):
            for problem, detail in _series_problems(series, before, shard, manifest, params.grid):
                yield _dataset_row(shard.name, series.key, problem, detail)
            before = series.key
            counts.update(series=1, rows=len(series.target), observed=int((~series.filled).sum()))
    except (OSError, DatasetError, pa.ArrowException) as error:
        yield _dataset_row(shard.name, None, "unreadable", first_line(error))
        return
    totals.update(counts)
    for name, count in (("series", shard.series), ("rows", shard.rows)):
        if counts[name] != count:
            yield _dataset_row(shard.name, None, f"wrong {name}", f"{counts[name]}, but the manifest says {count}")


def _series_problems(
    series: Series, before: tuple[str, ...] | None, shard: Shard, manifest: Manifest, grid: Grid
) -> Iterator[tuple[str, str]]:
    """(problem, detail) of one series; `before` is the key of the series before it in the shard."""
    if before is not None and series.key <= before:
        yield "not sorted", f"it comes after {series_name(before)}, or twice"
    home = shard_name(shard_number(series.key, manifest.n_shards))
    if home != shard.name:
        yield "wrong shard", f"it belongs into {home}"
    ordinals = grid.ordinal(series.timestamps)
    starts = grid.start(ordinals)
    if (off := np.flatnonzero(starts != series.timestamps)).size:
        yield "off the grid", f"{series.timestamps[off[0]]} is not the start of a period ({off.size} rows)"
    elif (gaps := np.flatnonzero(np.diff(ordinals) != 1)).size:
        yield "irregular", f"{series.timestamps[gaps[0] + 1]} follows {series.timestamps[gaps[0]]} ({gaps.size} places)"
    if series.timestamps[-1] != manifest.last_timestamp:
        yield "wrong end", f"it ends at {series.timestamps[-1]}, the dataset at {manifest.last}"
    known = np.isfinite(series.target)
    bad = np.flatnonzero(np.isinf(series.target) | (~known & ~series.filled))
    if bad.size:
        yield "no number", f"{series.target[bad[0]]} was observed at {series.timestamps[bad[0]]} ({bad.size} rows)"
