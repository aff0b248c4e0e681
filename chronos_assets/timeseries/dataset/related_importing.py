"""Users' related time series in, Parquet shards beside those of the dataset out.

Here: the order of things, and the rules. Reading files belongs to `covariate_files`, cells of rows to `related_columns`,
series of cells to `related_writing`, the layout on disk to `related`.

- Numbers of one period become their mean, categories the most frequent one (of several the one seen first in the files),
  unless `aggregation` says otherwise. A missing value takes no part.
- Rows without the item, or without some dimension, apply to all series that share the rest. Such attributes are held in
  memory; all others are dealt out by hash as the target is, one shard at a time.
- A series goes from the dataset's first period, or its own first value, to its own last value, but no further than the
  horizon after the dataset's end. Its gaps are filled as `RelatedFilling` says: middlefill between two values, backfill from
  the last value to the dataset's end, futurefill from there to the end of the horizon.
- An attribute is known in advance if it has values after the dataset's end (for a tenth of its series: a stray row makes none),
  or if its future is filled, unless `Chronos.KnownInAdvance` says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from chronos_assets.system import made_folder, usable_cores
from chronos_assets.timeseries.dataset.covariate_files import CovariateRows, CovariateSource, read_source
from chronos_assets.timeseries.dataset.import_passes import Progress
from chronos_assets.timeseries.dataset.importing import DEFAULT_MEMORY_LIMIT
from chronos_assets.timeseries.dataset.related import (
    RelatedManifest,
)
from chronos_assets.timeseries.dataset.related_columns import RelatedColumn, related_columns
from chronos_assets.timeseries.dataset.related_writing import RelatedWriter
from chronos_assets.timeseries.dataset.shard_files import ShardFiles, manifest_in
from chronos_assets.timeseries.dataset.shards import MANIFEST

if TYPE_CHECKING:
    from chronos_assets.params.forecast import ForecastParams


@dataclass(frozen=True)
class RelatedReport:
    """What an import did. manifest: as written beside the shards. rejected_files: by the key of their file."""

    manifest: RelatedManifest
    rows_read: int
    rejected_files: dict[str, Path]


def import_related(
    sources: Sequence[CovariateSource],
    params: ForecastParams,
    dataset: ShardFiles,
    *,
    output: Path,
    rejected: Path,
    memory_limit: str = DEFAULT_MEMORY_LIMIT,
    threads: int | None = None,
    unpacked: int | None = None,
    progress: Progress = lambda _stage, _done: None,
) -> RelatedReport:
    """Import related time series into `output`, a staging folder that the caller publishes.

    Args:
        sources: what to read; no two have an attribute in common.
        params: of the dataset, with the alignment that its import found.
        dataset: that they are to fit; of its shards only the keys are read.
        output: gets the shards and the manifest. Temporary files live in its parent and are always removed.
        rejected: folder for bad rows.
        memory_limit: of DuckDB; the whole process needs up to a gigabyte more.
        threads: workers, one for each core when None.
        unpacked: the bytes that a compressed file may unpack to.
        progress: called with "read", "aggregate" or "write", and how much of that is done.

    Raises:
        ImportFailure: with everything that is wrong in the files.
    """
    manifest, workers = manifest_in(dataset), threads or usable_cores()
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".related-", dir=output.parent) as folder:
        scratch = Path(folder)
        found: list[RelatedColumn] = []
        read: list[CovariateRows] = []
        for number, source in enumerate(sources):
            rows = read_source(
                source,
                scratch,
                memory_limit=memory_limit,
                threads=workers,
                unpacked=unpacked,
                advance=lambda done, number=number: progress("read", (number + done) / len(sources)),  # type: ignore[misc]
            )
            read.append(rows)
            found += related_columns(
                rows, params, manifest, made_folder(scratch / "cells" / str(number)), workers, progress
            )
        writer = RelatedWriter(found, params, manifest, dataset, output)
        written = writer.write(workers, progress)
        places: dict[str, Path] = {}
        for rows in read:
            places |= rows.publish(rejected)
    made = writer.manifest(written, read)
    (output / MANIFEST).write_text(made.to_json(), encoding="utf-8")
    return RelatedReport(made, sum(file.rows for rows in read for file in rows.contents), places)
