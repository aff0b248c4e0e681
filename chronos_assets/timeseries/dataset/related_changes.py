"""An import of related time series that reads only what has changed, and gives the same bytes as one of everything.

Here: which files and periods that is, and what else has to be the same. It goes by files and periods as an import of the
target does (`incremental`, `file_changes`), but only within the tails: what lies before them is taken over unread. So a price
list of the day, or of the next weeks, costs the reading and writing of tails, an eighth of all periods at most.

Everything is imported where something before the tails changes, and so it is where a value depends on more than the rows of its
period: attributes that are filled, or that apply to several series; rows finer than periods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.system import document_digest
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.cell_merging import read_attributes, with_periods
from chronos_assets.timeseries.dataset.covariate_files import CovariateRows, CovariateSource, SourceReader
from chronos_assets.timeseries.dataset.dataset_before import Before, FullImportNeededError, TakenOver
from chronos_assets.timeseries.dataset.file_changes import FileChanges, ReadChanges, read_changes
from chronos_assets.timeseries.dataset.gridding import Cells
from chronos_assets.timeseries.dataset.import_memory import recipe_of
from chronos_assets.timeseries.dataset.import_passes import hash_range
from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets.timeseries.dataset.related_columns import RelatedColumn, rule_of
from chronos_assets.timeseries.dataset.related_form import RelatedForm
from chronos_assets.timeseries.dataset.related_memory import RelatedMemory, SourceMemory
from chronos_assets.timeseries.dataset.related_writing import RelatedWriter, WrittenShard
from chronos_assets.timeseries.dataset.shards import DatasetError, Manifest, Shard, shard_name, tail_name
from chronos_assets.timeseries.published_files import DATASET_MANIFEST


def read_source_changes(
    source: CovariateSource,
    known: SourceMemory,
    form: RelatedForm,
    reader: SourceReader,
    set_aside: frozenset[str] | None,
) -> tuple[ReadChanges, CovariateRows]:
    """Which files and periods of a source have changed, and all rows of these periods.

    Raises:
        FullImportNeededError: everything has to be imported.
        ImportFailure: there is something wrong with the files.
    """
    files = FileChanges.since(known.files, source.ordered, set_aside)

    def relevant(touched: Integers) -> Integers:
        if form.tail_from is None or (touched < form.tail_from).any():
            raise FullImportNeededError("rows have changed before the last periods, which lie in files of their own")
        return touched[touched <= form.end]

    rule = rule_of(source.params)
    changes = read_changes(files, reader.read, lambda _facts: rule, source.instant_unit, relevant)
    return changes, reader.result(changes.facts)


def related_recipe(params: ForecastParams, dataset: Manifest, unpacked: int | None) -> str:
    """Digest of everything but the files and the dataset's end that the bytes of related time series depend on."""
    grid = [str(params.frequency), repr(params.grid.alignment), dataset.dimensions, dataset.n_shards]
    return document_digest([recipe_of(params, unpacked), grid])


def noted(
    params: ForecastParams,
    dataset: Manifest,
    unpacked: int | None,
    made: RelatedManifest,
    form: RelatedForm,
    read: Sequence[CovariateRows],
    written: Sequence[WrittenShard],
    *,
    obstacle: str,
) -> RelatedMemory:
    """What to leave for the next import; `obstacle`: what its rows have that only an import of everything deals with."""
    recipe = related_recipe(params, dataset, unpacked)
    facts = [file for rows in read for file in rows.facts]
    if form.tail_from is None:
        obstacle = "attributes are filled or apply to several series, or the dataset has a single shard"
    elif not obstacle and any(file.instants is None for file in facts):
        obstacle = "there are too many timestamps to note"
    if obstacle:
        return RelatedMemory(recipe, made.data_version, form, obstacle=obstacle)
    sources = tuple(
        SourceMemory(
            tuple(rows.facts), rows.renamed, {place: tuple(each.texts) for place, each in rows.categories.items()}
        )
        for rows in read
    )
    return RelatedMemory(recipe, made.data_version, form, sources, tuple(each.early for each in written))


@dataclass
class RelatedChanges:
    """The related time series that are there, for an import of what has changed since.

    Attributes:
        manifest: of what is there.
        memory: what its import noted.
        taken: gets what stays as it is.
    """

    manifest: RelatedManifest
    memory: RelatedMemory
    taken: TakenOver

    @classmethod
    def open(cls, before: Before, recipe: str, form: RelatedForm, output: Path) -> RelatedChanges:
        """What is there, if it is of use.

        Raises:
            FullImportNeededError: it is not.
        """
        memory, files = before.noted(RelatedMemory, recipe), before.dataset()
        try:
            manifest = RelatedManifest.from_json(files.read(DATASET_MANIFEST))
        except (DatasetError, OSError) as error:
            raise FullImportNeededError(str(error)) from error
        if memory.version != manifest.data_version:
            raise FullImportNeededError("the last import noted nothing of what is there")
        if _reach(memory.form) != _reach(form):
            raise FullImportNeededError("the last periods, which lie in files of their own, begin elsewhere by now")
        return cls(manifest, memory, TakenOver(files, output))

    def write(
        self, writer: RelatedWriter, columns: Sequence[tuple[RelatedColumn, ReadChanges]], number: int
    ) -> WrittenShard:
        """One shard: its tail with the periods that have changed.

        Raises:
            FullImportNeededError: a file of what is there isn't as it was written.
        """
        low, high = hash_range(number, self.manifest.n_shards)
        early, shard = self.memory.early[number], self._shard(number)
        there: Sequence[Cells | None] = [None] * len(columns) if shard is None else self._tail(shard, writer)
        late = [
            with_periods(old, column.cells(low, high), changes.touched, may_miss=False)
            for old, (column, changes) in zip(there, columns, strict=True)
        ]
        same = not any(changes.series[low:high].any() for _, changes in columns)
        found = writer.written(
            number,
            early,
            late,
            writer.empty if shard is None else partial(self._base, shard),
            shard.tail if shard is not None and same else None,
        )
        if shard is not None and found.shard is not None:
            if same and shard.tail is not None:
                self.taken.keep(tail_name(shard.name), shard.tail.bytes)
            (self.taken.kept if same else self.taken.extended).append(shard.name)
        return found

    def _shard(self, number: int) -> Shard | None:
        return next((shard for shard in self.manifest.shards if shard.name == shard_name(number)), None)

    def _base(self, shard: Shard, name: str) -> Shard:
        """The file with what lies before a tail, taken over."""
        self.taken.keep(name, shard.bytes)
        return shard

    def _tail(self, shard: Shard, writer: RelatedWriter) -> list[Cells | None]:
        """The cells of a shard's tail, by column."""
        if shard.tail is None:
            raise FullImportNeededError(f"{shard.name} has no file with the last periods")
        names = ("item_id", *self.manifest.dimensions)
        texts = {column.name: column.texts for column in writer.columns}
        with self.taken.opened(tail_name(shard.name), shard.tail.sha256, (*names, *filter(texts.get, texts))) as file:
            return list(read_attributes(file, names, self.manifest.grid, texts))


def _reach(form: RelatedForm) -> tuple[int, int | None, int]:
    """What of a form the files depend on."""
    return form.first, form.tail_from, form.end
