"""An import that reads only what has changed, and gives the same bytes as one of everything.

Here: which files and periods that is, what else has to be the same, and the order of the work. What is remembered belongs to
`import_memory`, merging to `cell_merging`.

The unit is the period. A file that is new, changed or gone has some timestamps; in their periods, and in no others, the rows
have changed. These periods are made again as a whole: from the new rows, and from the rows that other files have in
them. Where no other file has any, as with a file for each day, nothing else is read. What is known of each period
(rows, cells, rows that gave way or lack a value) adds up to what an import of everything would count.

A shard stays as it is when no file that changed names one of its series, and the dataset ends where it did: every series goes
up to the end. What depends on all rows at once (where periods start, how shards are cut, rows far ahead) is worked out
again; if it differs, or can't be told, everything is imported. Where rows are finer than periods, all cells are looked at again
to write what changes: see `fine_changes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chronos_assets.system import made_folder
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.bad_rows import BadRows, ImportFailure
from chronos_assets.timeseries.dataset.cell_merging import UnknownRowsError, rejoined, with_periods
from chronos_assets.timeseries.dataset.cells import CellStore, join_cells
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.dataset_before import Before, DatasetBefore, FullImportNeededError
from chronos_assets.timeseries.dataset.file_changes import FileChanges, instants_of, read_changes
from chronos_assets.timeseries.dataset.file_reading import Batches
from chronos_assets.timeseries.dataset.fine_changes import write_fine_changes
from chronos_assets.timeseries.dataset.gridding import NOTHING, CellCounts, Cells, LeftOut, Rule
from chronos_assets.timeseries.dataset.import_memory import MOST_INSTANTS, FileFacts, ImportMemory, WrittenWhole
from chronos_assets.timeseries.dataset.import_passes import Cut, ImportPasses, Settled, Written, hash_range
from chronos_assets.timeseries.dataset.import_report import ImportReport
from chronos_assets.timeseries.dataset.partitioning import RowPartitions
from chronos_assets.timeseries.dataset.placing import Placing, moments_matter, place_rows
from chronos_assets.timeseries.dataset.shard_writing import ShardForm, grid_rows, rows_digest, split, tail_start
from chronos_assets.timeseries.dataset.shards import DatasetError, Manifest
from chronos_assets.timeseries.dataset.strays import far_ahead
from chronos_assets.timeseries.dataset.summaries import PartitionSeries, Summary
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets.timeseries.dataset.unfinished import Extents

TargetReport = ImportReport[Manifest, ImportMemory]


def import_changes(
    passes: ImportPasses,
    files: Sequence[TrainFile],
    before: Before,
    output: Path,
    rejected: Path,
    scratch: Path,
) -> TargetReport:
    """Import what differs from the dataset that is there.

    Args:
        passes: of the import.
        files: all that are there now, from the oldest to the newest.
        before: the dataset that is there.
        output: gets the dataset; what stays as it is becomes a link to the file that is there.
        rejected: gets the bad rows of the files that are read.
        scratch: folder for temporary files.

    Raises:
        FullImportNeededError: everything has to be imported; `output` may hold parts.
    """
    try:
        memory = before.noted(ImportMemory, passes.recipe)
        changes = _Changes(passes, files, memory, before.set_aside, scratch)
        names = ("item_id", *passes.params.dimensions)
        return changes.run(DatasetBefore.open(memory, before, names, output), rejected)
    except (UnknownRowsError, DatasetError) as error:
        raise FullImportNeededError(str(error)) from error
    except (ImportFailure, FileProblem) as error:
        raise FullImportNeededError("something is wrong with the files") from error


class _Changes:
    """One import of changes; see the module's docstring."""

    def __init__(
        self,
        passes: ImportPasses,
        files: Sequence[TrainFile],
        memory: ImportMemory,
        set_aside: frozenset[str] | None,
        scratch: Path,
    ) -> None:
        self._passes = passes
        self._memory = memory
        self._scratch = scratch
        self._placing, self._renamed = Placing(memory.alignment, memory.snap), memory.renamed
        self._files = FileChanges.since(memory.files, files, set_aside)
        self._rows = RowPartitions(made_folder(scratch / "rows"))
        quarantine = passes.params.bad_rows == "quarantine"
        self._bad = BadRows(made_folder(scratch / "rejected"), quarantine=quarantine)

    def run(self, before: DatasetBefore, rejected: Path) -> TargetReport:
        """All passes, beside the dataset that is there.

        Raises:
            FullImportNeededError: everything has to be imported.
            UnknownRowsError: the same.
            ImportFailure: there is something wrong with the files.
            FileProblem: the same.
        """
        passes, memory = self._passes, self._memory
        changes = read_changes(self._files, self._read, self._placed, passes.instant_unit)
        placing = self._placing
        rule, touched, facts = passes.rule(placing.snap), changes.touched, changes.facts
        others = _without(memory.left_out, touched, self._new_ranks())
        if memory.is_fine:
            made = write_fine_changes(passes, before, self._rows, self._bad, rule, touched, others, self._scratch)
        else:
            made = self._write(before, rule, touched, others, changes.series)
        settled = made.settled
        if len(settled.summary.alike):
            raise FullImportNeededError("names of series look alike, which only all of them tell")
        reported = [*placing.notes, *settled.reported]
        manifest, reports = passes.manifest(made, facts, placing.snap, reported, before.taken.output)
        places = self._bad.publish(rejected, [file.key for file in changes.read.values()])
        return ImportReport(
            manifest,
            sum(file.contents.rows for file in facts),
            places,
            passes.memory(made, manifest, facts, placing, self._renamed, is_fine=memory.is_fine),
            files=reports,
            formulas=settled.summary.formulas,
        ).beside(before.taken, self._files.keys_but(changes.read))

    def _read(self, files: dict[int, TrainFile], chosen: Batches | None) -> dict[int, FileFacts]:
        """What is known of files, by rank, once their rows are taken."""
        found, self._renamed = self._passes.read(
            files,
            self._rows,
            self._bad,
            self._scratch,
            several=len(self._files.now) > 1,
            chosen=chosen,
            renamed=self._renamed,
        )
        return found

    def _placed(self, facts: Sequence[FileFacts]) -> Rule:
        """How all rows become cells: as they were, or everything has to be imported."""
        before = self._placing
        self._placing = place_rows(self._passes.params, self._moments(facts))
        if (self._placing.alignment, self._placing.snap) != (before.alignment, before.snap):
            raise FullImportNeededError("with these rows periods start elsewhere")
        self._passes.place(self._placing.alignment)
        return self._passes.rule(self._placing.snap)

    def _write(
        self, before: DatasetBefore, rule: Rule, touched: Integers, others: LeftOut, series: NDArray[np.bool_]
    ) -> Written:
        """Write the dataset where all rows of a period have the same timestamp; see `write_fine_changes`.

        series: (HASHES,) whether rows of one with that hash have changed.
        """
        passes, memory = self._passes, self._memory
        store = CellStore(made_folder(self._scratch / "cells"), self._rows.finish(), Cells)
        counts, _, spans = passes.aggregate(self._rows, store, rule.snap)
        if not spans.is_steady or counts.unfinished or counts.cut or counts.repeated or counts.thin.count:
            raise FullImportNeededError("rows of a period differ in their timestamps")
        periods = Extents.joined([memory.periods.without(touched.tolist()), spans])
        if not len(periods.ordinals) or far_ahead(periods):
            raise FullImportNeededError("some rows lie far ahead of all others, or none is left")
        left_out = others + counts.left_out
        counts = CellCounts(left_out, aggregated=int(periods.rows.sum() - periods.cells.sum()))

        last, may_miss = int(periods.ordinals[-1]), bool(others.missing[:, 1].sum())
        known = Cut(len(memory.wholes), memory.pieces)
        if passes.cut(_grid_rows(memory, last)) != known:
            raise FullImportNeededError("the series are dealt out over another number of shards")
        tail_from = tail_start(int(periods.ordinals[0]), last, len(memory.wholes))
        form = passes.form(last, tail_from)
        writer = _ChangeWriter(passes, before, form, store, touched, series, may_miss)
        cut = writer.cut
        written = tuple(passes.resources.each("write", writer.write, cut.wholes))
        summary = Summary.of([whole.series for whole in written if whole is not None])
        passes.check(summary, self._bad)
        if passes.cut(summary.rows) != cut or summary.last != last:
            raise FullImportNeededError("the series are dealt out over another number of shards")
        return Written(Settled(counts, summary, periods, (), ()), left_out, cut, tail_from, written)

    def _moments(self, files: Sequence[FileFacts]) -> NDArray[np.datetime64]:
        """All timestamps, as `place_rows` takes them. Raises FullImportNeededError where they are too many."""
        instants = instants_of(files)
        if moments_matter(self._passes.params) and len(instants) > MOST_INSTANTS:
            raise FullImportNeededError("there are too many timestamps to note")
        return instants.astype("datetime64[us]")

    def _new_ranks(self) -> Integers:
        """(n,) rank now of the files as the last import had them; -1 for those that are gone."""
        now = {file.identity: rank for rank, file in self._files.known.items()}
        return np.array([now.get(file.identity, -1) for file in self._memory.files], dtype=np.int64)


@dataclass
class _ChangeWriter:
    """Writes the wholes that change, and takes the others over.

    form: of the shards now. store: the cells of the periods `touched` (p,), ordinals. series: (HASHES,) whether rows of one
    with that hash have changed. may_miss: whether there are rows without a value in other periods.
    """

    passes: ImportPasses
    before: DatasetBefore
    form: ShardForm
    store: CellStore[Cells]
    touched: Integers
    series: NDArray[np.bool_]
    may_miss: bool

    @property
    def cut(self) -> Cut:
        """The cut of the dataset that is there."""
        return Cut(len(self.before.memory.wholes), self.before.memory.pieces)

    def write(self, number: int) -> WrittenWhole | None:
        """One whole; None without series.

        Raises:
            FullImportNeededError: a shard of the dataset isn't as it was written.
            UnknownRowsError: see `with_periods`.
        """
        low, high = hash_range(number, self.cut.wholes)
        old = self.before.memory.wholes[number]
        same = (self.form.last, self.form.tail_from) == (self.before.memory.last, self.before.memory.tail_from)
        if same and not self.series[low:high].any():
            return self.before.keep(old)
        new = join_cells(list(self.store.of_hashes(low, high)), low, high)
        if old is not None and self._is_late and (made := self._with_tails(number, old, new)) is not None:
            return made
        before = None if old is None else self.before.cells(old)
        cells = with_periods(before, new, self.touched, may_miss=self.may_miss)
        return (
            None
            if cells is None
            else self.passes.write_whole(number, cells, self.cut, self.form, self.before.taken.output)
        )

    @property
    def _is_late(self) -> bool:
        """Whether all that changes lies in the tails, and they can be filled by themselves."""
        start = self.form.tail_from
        if start is None or start != self.before.memory.tail_from or self.form.needs_past:
            return False
        return bool((self.touched >= start).all())

    def _with_tails(self, number: int, old: WrittenWhole, new: Cells | None) -> WrittenWhole | None:
        """A whole of which only the tails are written; None where that isn't enough.

        What was observed before the tail is a single cell here, of no value: that there was something is all that counts.
        """
        start = self.form.tail_from
        assert start is not None  # noqa: S101 - seen by the caller
        firsts, lasts = old.series.firsts, old.series.lasts
        old_base, begun = firsts < start, (firsts < start) & (lasts != NOTHING)
        tail = self.before.read(old, tails=True)
        earlier = _single(tail, np.flatnonzero(begun))
        opens = np.clip(firsts, start, self.before.memory.last)
        view = rejoined(
            tail,
            np.where(begun, start - 1, firsts),
            [
                (tail, np.arange(len(firsts)), opens),
                (earlier, np.flatnonzero(begun), np.full(len(earlier.first), start - 1)),
            ],
        )
        cells = with_periods(view, new, self.touched, may_miss=self.may_miss)
        if cells is None:
            return None
        base = cells.first < start
        if not np.array_equal(cells.first[base], view.first[old_base]):
            return None
        # Of the series that have rows before the tail: whether they are observed in it.
        was, now = (view.counts - begun)[old_base] > 0, (cells.counts[base] - begun[old_base]) > 0
        silent = begun[old_base] & ~now
        if (not self.form.fills_alike and (was != now).any()) or (lasts[old_base][silent] >= start).any():
            return None
        known_firsts, known_lasts = cells.first.copy(), cells.last
        known_firsts[base] = firsts[old_base]
        known_lasts[np.flatnonzero(base)[silent]] = lasts[old_base][silent]
        count = old.series.cells - len(tail.values) + len(cells.values) - int(begun.sum())
        shards = self.before.extend(number, old, cells, self.cut, self.form)
        if shards is None:
            return None
        series = PartitionSeries.of_series(cells.keys, cells.hash, known_firsts, known_lasts, count)
        return WrittenWhole((old.digests[0], rows_digest(split(cells, self.form)[-1])), shards, series)


def _single(cells: Cells, series: Integers) -> Cells:
    """One cell of no value for each of these series."""
    ones = np.ones(len(series), dtype=np.int64)
    nothing = np.zeros(len(series), dtype=np.int64)
    keys, hashes = cells.keys.take(series), cells.hash[series]
    return Cells(keys, hashes, nothing, ones, nothing.astype(np.int32), np.zeros(len(series)))


def _grid_rows(memory: ImportMemory, last: int) -> int:
    """Rows of the grid that the known series have up to a period."""
    return sum(int(grid_rows(whole.series.firsts, last).sum()) for whole in memory.wholes if whole is not None)


def _without(left_out: LeftOut, ordinals: Integers, ranks: Integers) -> LeftOut:
    """What was left out in other periods; `ranks` (n,) are the new ones of files."""
    missing = left_out.missing[~np.isin(left_out.missing[:, 0], ordinals)]
    lost = left_out.lost[~np.isin(left_out.lost[:, 0], ordinals)]
    if len(lost):
        lost = np.column_stack([lost[:, 0], ranks[lost[:, 1]], ranks[lost[:, 2]], lost[:, 3]])
    return LeftOut(missing, lost)
