"""Users' related time series in, Parquet shards beside those of the dataset out.

Here: the order of things, and the rules. Reading files belongs to `covariate_files`, cells of rows to `related_columns`,
series of cells to `related_writing`, the layout on disk to `related`.

- Numbers of one period become their mean, categories the most frequent one (of several the one seen first in the files),
  unless `aggregation` says otherwise. A missing value takes no part.
- Rows without the item, or without some dimension, apply to all series that share the rest. Such attributes are held in
  memory; all others are dealt out by hash as the target is, one shard at a time.
- A series goes from the dataset's first period, or its own first value, to its own last value, but no further than the
  horizon after the dataset's end, or than a tail may reach (see `related_writing.RelatedForm`). Its gaps are filled as
  `RelatedFilling` says: middlefill between two values, backfill from the last value to the dataset's end, futurefill from there
  to the end of the horizon.
- An attribute is known in advance if it has values after the dataset's end (for a tenth of its series: a stray row makes none),
  or if its future is filled, unless `Chronos.KnownInAdvance` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from chronos_assets.system import made_folder, usable_cores
from chronos_assets.timeseries.dataset.covariate_files import CovariateRows, CovariateSource, read_source
from chronos_assets.timeseries.dataset.dataset_before import Before, FullImportNeededError
from chronos_assets.timeseries.dataset.import_passes import Progress
from chronos_assets.timeseries.dataset.importing import DEFAULT_MEMORY_LIMIT
from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets.timeseries.dataset.related_changes import import_related_changes, noted
from chronos_assets.timeseries.dataset.related_columns import RelatedColumn, related_columns
from chronos_assets.timeseries.dataset.related_memory import RelatedMemory
from chronos_assets.timeseries.dataset.related_writing import RelatedForm, RelatedWriter, WrittenShard
from chronos_assets.timeseries.dataset.shard_files import ShardFiles, manifest_in
from chronos_assets.timeseries.dataset.shards import MANIFEST

if TYPE_CHECKING:
    from chronos_assets.params.forecast import ForecastParams


@dataclass(frozen=True)
class RelatedReport:
    """What an import did.

    Attributes:
        manifest: as written beside the shards.
        rows_read: of all files.
        rejected_files: where bad rows were set aside, by the key of their file.
        memory: for the next import.
        kept_files: keys of the files that weren't read.
        kept_shards: names of those that stay as they are.
        extended_shards: of those of which only the tail was written.
        elsewhere: URLs of files that stay as they are and aren't in the folder, by name.
        reason: why everything was read; empty where it wasn't.
    """

    manifest: RelatedManifest
    rows_read: int
    rejected_files: dict[str, Path]
    memory: RelatedMemory
    kept_files: frozenset[str] = frozenset()
    kept_shards: frozenset[str] = frozenset()
    extended_shards: frozenset[str] = frozenset()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


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
    before: Before | None = None,
    only_changes: bool = False,
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
        before: the related time series that are there now, and what their import noted. The result is the same with and without
            them; with them, files that haven't changed are left alone where that is possible, see `related_changes`.
        only_changes: whether nothing is to be done where that isn't.

    Raises:
        ImportFailure: with everything that is wrong in the files.
        FullImportNeededError: everything has to be imported, and only changes are to be.
    """
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".related-", dir=output.parent) as folder:
        workers, scratch = threads or usable_cores(), Path(folder)
        places = output, rejected, scratch
        run = _RelatedImport(sources, params, dataset, *places, memory_limit, workers, unpacked, progress)
        reason = "there is no earlier import to build on"
        if before is not None:
            try:
                return run.changes(before)
            except FullImportNeededError as error:
                if only_changes:
                    raise
                reason = str(error)
                for path in output.glob("*.parquet"):
                    path.unlink()
        return replace(run.everything(), reason=reason)


@dataclass(frozen=True)
class _RelatedImport:
    """One import; see `import_related`."""

    sources: Sequence[CovariateSource]
    params: ForecastParams
    dataset: ShardFiles
    output: Path
    rejected: Path
    scratch: Path
    memory_limit: str
    threads: int
    unpacked: int | None
    progress: Progress

    def everything(self) -> RelatedReport:
        """Of all files."""
        scratch, manifest = made_folder(self.scratch / "all"), manifest_in(self.dataset)
        found: list[RelatedColumn] = []
        read: list[CovariateRows] = []
        for number, source in enumerate(self.sources):
            rows = read_source(
                source,
                scratch,
                memory_limit=self.memory_limit,
                threads=self.threads,
                unpacked=self.unpacked,
                advance=lambda done, number=number: self.progress("read", (number + done) / len(self.sources)),  # type: ignore[misc]
            )
            read.append(rows)
            cells = made_folder(scratch / "cells" / str(number))
            found += related_columns(rows, self.params, manifest, cells, self.threads, self.progress)
        form = RelatedForm.of(self.sources, self.params, manifest)
        writer = RelatedWriter(found, self.params, manifest, self.dataset, self.output, form)
        written = writer.each(writer.write, self.threads, self.progress)
        files = [[file.key for file in source.files] for source in self.sources]
        return self._report(writer, read, written, files)

    def changes(self, before: Before) -> RelatedReport:
        """Of what differs from the related time series that are there.

        Raises:
            FullImportNeededError: everything has to be imported.
        """
        writer, read, written, made = import_related_changes(
            self.sources,
            self.params,
            self.dataset,
            manifest_in(self.dataset),
            before,
            self.output,
            made_folder(self.scratch / "changes"),
            memory_limit=self.memory_limit,
            threads=self.threads,
            unpacked=self.unpacked,
            progress=self.progress,
        )
        files = [[file.key for file in each.read.values()] for each in read]
        kept = {file.key for source in self.sources for file in source.files}.difference(*files)
        return replace(
            self._report(writer, [each.rows for each in read], written, files),
            kept_files=frozenset(kept),
            kept_shards=frozenset(made.kept),
            extended_shards=frozenset(made.extended),
            elsewhere=made.taken.elsewhere,
        )

    def _report(
        self,
        writer: RelatedWriter,
        read: Sequence[CovariateRows],
        written: Sequence[WrittenShard],
        files: Sequence[Sequence[str]],
    ) -> RelatedReport:
        """Set bad rows aside and write the manifest; `files` are keys of those that were read, by source."""
        places: dict[str, Path] = {}
        for rows, keys in zip(read, files, strict=True):
            places |= rows.publish(self.rejected, keys)
        made = writer.manifest(written, read)
        (self.output / MANIFEST).write_text(made.to_json(), encoding="utf-8")
        is_fine = any(column.is_fine for column in writer.columns)
        dataset = manifest_in(self.dataset)
        memory = noted(self.params, dataset, self.unpacked, made, writer.form, read, written, is_fine=is_fine)
        return RelatedReport(made, sum(file.rows for rows in read for file in rows.contents), places, memory)
