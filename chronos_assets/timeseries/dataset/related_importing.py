"""Users' related time series in, Parquet shards beside those of the dataset out.

Here: the order of things, and the rules. Reading files belongs to `covariate_files`, cells of rows to `related_columns`,
series of cells to `related_writing`, the layout on disk to `related`.

- Numbers of one period become their mean, categories the most frequent one (of several the first one by the alphabet),
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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.system import made_folder
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.covariate_files import CovariateRows, CovariateSource, SourceReader, read_source
from chronos_assets.timeseries.dataset.dataset_before import Before, FullImportNeededError
from chronos_assets.timeseries.dataset.file_changes import ReadChanges
from chronos_assets.timeseries.dataset.import_report import ImportReport, import_into
from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets.timeseries.dataset.related_changes import RelatedChanges, noted, read_source_changes, related_recipe
from chronos_assets.timeseries.dataset.related_columns import RelatedColumn, related_columns
from chronos_assets.timeseries.dataset.related_form import RelatedForm
from chronos_assets.timeseries.dataset.related_memory import RelatedMemory
from chronos_assets.timeseries.dataset.related_writing import RelatedWriter, WrittenShard
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.shard_files import ShardFiles, manifest_in
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

RelatedReport = ImportReport[RelatedManifest, RelatedMemory]


def import_related(
    sources: Sequence[CovariateSource],
    params: ForecastParams,
    dataset: ShardFiles,
    *,
    output: Path,
    rejected: Path,
    resources: Resources | None = None,
    before: Before | None = None,
    only_changes: bool = False,
    found: bool = False,
) -> RelatedReport:
    """Import related time series into `output`, a staging folder that the caller publishes.

    Args:
        sources: what to read; no two have an attribute in common.
        params: of the dataset, with the alignment that its import found.
        dataset: that they are to fit; of its shards only the keys are read.
        output: gets the shards and the manifest. Temporary files live in its parent and are always removed.
        rejected: folder for bad rows.
        resources: to work with.
        before: the related time series that are there now, and what their import noted. The result is the same with and without
            them; with them, files that haven't changed are left alone where that is possible, see `related_changes`.
        only_changes: whether nothing is to be done where that isn't.
        found: whether the dataset's rows alone say where periods start, so that these rows have to agree.

    Raises:
        ImportFailure: with everything that is wrong in the files.
        FullImportNeededError: everything has to be imported, and only changes are to be.
    """
    run = _RelatedImport(
        sources, params, dataset, manifest_in(dataset), output, rejected, resources or Resources(), found
    )
    return import_into(output, before, run.changes, run.everything, only_changes=only_changes)


@dataclass(frozen=True)
class _RelatedImport:
    """One import; see `import_related`. manifest: of the dataset."""

    sources: Sequence[CovariateSource]
    params: ForecastParams
    dataset: ShardFiles
    manifest: Manifest
    output: Path
    rejected: Path
    resources: Resources
    found: bool

    @property
    def form(self) -> RelatedForm:
        """Where rows lie."""
        return RelatedForm.of(self.sources, self.params, self.manifest)

    def everything(self, scratch: Path) -> RelatedReport:
        """Of all files."""
        columns: list[RelatedColumn] = []
        read: list[CovariateRows] = []
        for source in self.sources:
            read.append(read_source(source, scratch, self.resources))
            columns += self._columns(read[-1], scratch)
        writer = self._writer(columns)
        written = list(self.resources.each("write", writer.write, self.manifest.n_shards))
        return self._report(writer, written, read, [[file.key for file in source.files] for source in self.sources])

    def changes(self, before: Before, scratch: Path) -> RelatedReport:
        """Of what differs from the related time series that are there.

        Raises:
            FullImportNeededError: everything has to be imported; the output may hold parts.
        """
        recipe = related_recipe(self.params, self.manifest, self.resources.unpacked)
        there = RelatedChanges.open(before, recipe, self.form, self.output)
        if len(there.memory.sources) != len(self.sources):
            raise FullImportNeededError("other kinds of files have the attributes")
        columns: list[tuple[RelatedColumn, ReadChanges]] = []
        read: list[CovariateRows] = []
        keys: list[list[str]] = []
        try:
            for source, known in zip(self.sources, there.memory.sources, strict=True):
                reader = SourceReader(source, scratch, self.resources, texts=known.texts, renamed=known.renamed)
                changes, rows = read_source_changes(source, known, self.form, reader, before.set_aside)
                columns += [(column, changes) for column in self._columns(rows, scratch)]
                read.append(rows)
                keys.append([file.key for file in changes.read.values()])
            if any(column.is_fine for column, _ in columns):
                raise FullImportNeededError("rows are finer than periods")
            if any(column.repeats.rows for column, _ in columns):
                raise FullImportNeededError("rows repeat a timestamp of their series")
            writer = self._writer([column for column, _ in columns])
            write = partial(there.write, writer, columns)
            written = list(self.resources.each("write", write, self.manifest.n_shards))
        except ImportFailure as error:
            raise FullImportNeededError("something is wrong with the files") from error
        kept = frozenset(file.key for source in self.sources for file in source.files).difference(*keys)
        return self._report(writer, written, read, keys).beside(there.taken, kept)

    def _columns(self, rows: CovariateRows, scratch: Path) -> Iterator[RelatedColumn]:
        cells = made_folder(scratch / "cells" / rows.source.what)
        for column in related_columns(rows, self.params, self.manifest, cells, self.resources):
            if self.found and (problem := column.places.problem(self.params.grid, column.name)):
                raise ImportFailure([problem], what=rows.source.what)
            yield column

    def _writer(self, columns: Sequence[RelatedColumn]) -> RelatedWriter:
        return RelatedWriter(columns, self.params, self.manifest, self.dataset, self.output, self.form)

    def _report(
        self,
        writer: RelatedWriter,
        written: Sequence[WrittenShard],
        read: Sequence[CovariateRows],
        keys: Sequence[Iterable[str]],
    ) -> RelatedReport:
        """Set bad rows aside and write the manifest; `keys` are those of the files that were read, by source."""
        places: dict[str, Path] = {}
        for rows, own in zip(read, keys, strict=True):
            places |= rows.publish(self.rejected, own)
        made = writer.manifest(written, read)
        (self.output / DATASET_MANIFEST).write_text(made.to_json(), encoding="utf-8")
        obstacle = ""
        if any(column.is_fine for column in writer.columns):
            obstacle = "rows are finer than periods"
        elif any(column.repeats.rows for column in writer.columns):
            obstacle = "rows repeat a timestamp of their series"
        memory = noted(
            self.params, self.manifest, self.resources.unpacked, made, writer.form, read, written, obstacle=obstacle
        )
        return ImportReport(made, sum(file.rows for rows in read for file in rows.contents), places, memory)
