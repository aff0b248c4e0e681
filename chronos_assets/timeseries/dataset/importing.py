"""Train files in, a dataset of Parquet shards out: the import as a whole, out of core.

Here belong the order of the work and what is reported of it. The parts have their own modules: `train_file_reader`,
`csv_records` and `casting` (files to rows), `bad_rows`, `partitioning` and `gridding` (rows to series), `filling` (gaps),
`shards` (the dataset on disk). Publishing is the caller's.

The work, in three passes whose memory does not grow with the data:

1. Read: file by file, from the oldest to the newest. Rows are dealt out by a hash of their series into partitions on
   disk.
2. Aggregate: each partition by itself becomes cells, one for each series and period.
3. Write: each shard by itself is put on the grid, filled and written.

Nothing depends on the order of the listing, the number of threads or the clock: the same files give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.system import made_folder
from chronos_assets.timeseries.dataset.bad_rows import BadRows, ImportFailure
from chronos_assets.timeseries.dataset.cells import CellStore, join_cells
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.dataset_before import Before
from chronos_assets.timeseries.dataset.fine_changes import tells_by_all_rows
from chronos_assets.timeseries.dataset.gridding import CellCounts, Cells
from chronos_assets.timeseries.dataset.import_memory import MOST_INSTANTS, FileFacts, ImportMemory, WrittenWhole
from chronos_assets.timeseries.dataset.import_passes import Cut, ImportPasses, Written, hash_range, row_note
from chronos_assets.timeseries.dataset.import_report import ImportReport, import_into
from chronos_assets.timeseries.dataset.incremental import TargetReport, import_changes
from chronos_assets.timeseries.dataset.look_alikes import look_alike_note
from chronos_assets.timeseries.dataset.partitioning import RowPartitions
from chronos_assets.timeseries.dataset.placing import InstantSample, Placing, moments_matter, place_rows
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.row_cells import RowCells
from chronos_assets.timeseries.dataset.shard_writing import ShardForm, tail_start
from chronos_assets.timeseries.dataset.train_files import RenamedColumns, TrainFile
from chronos_assets.timeseries.dataset.unfinished import Extents

_ALIKE = "names of series look alike, which only all of them tell"
DEFAULT_SHARD_BYTES = 64 << 20

_NONE = np.empty(0, dtype=np.int64)


def import_target_time_series(
    files: Sequence[TrainFile],
    params: ForecastParams,
    *,
    output: Path,
    rejected: Path,
    resources: Resources | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    min_shards: int = 1,
    before: Before | None = None,
) -> TargetReport:
    """Import train files into `output`, a staging folder that the caller publishes.

    output: gets the shards and the manifest (see `shards`). What an earlier import left there is removed, and nothing
        stays there when the import fails. Temporary files live in its parent folder and are always removed.
    rejected: folder for bad rows, one CSV for each file that has any, when params.bad_rows is "quarantine". It then
        speaks of these files by their present bad rows only. An import that fails leaves it alone.
    resources: to work with. shard_bytes: of a shard on disk, about.
    min_shards: the least number by which series are dealt out, so that so many readers can share them. It is met by
        cutting each shard evenly: the data version is the same whatever it is.
    before: the dataset that is there now, and what its import knew. The result is the same with and without it; with it,
        files and shards that haven't changed are left alone where that is possible, see `incremental`.

    Raises:
        ImportFailure: with everything that is wrong in the files.
    """
    ordered = sorted(files, key=lambda file: (file.last_modified, file.key))
    if not ordered:
        raise ImportFailure([FileProblem("train/", "there are no files", "put CSV or Parquet files there")])

    def run() -> _Import:
        return _Import(params, resources or Resources(), shard_bytes, min_shards)

    return import_into(
        output,
        before,
        lambda there, scratch: import_changes(run(), ordered, there, output, rejected, scratch),
        lambda scratch: run().execute(ordered, output, rejected, scratch),
    )


class _Import(ImportPasses):
    """An import of everything; see the module's docstring."""

    def execute(self, files: Sequence[TrainFile], output: Path, rejected: Path, scratch: Path) -> TargetReport:
        """All passes over files in order of their age.

        Raises:
            ImportFailure: with everything that is wrong in the files.
        """
        read = self._read_good(files, scratch)
        placing = self._place(read.sample)
        partitions = read.rows.finish()
        store = CellStore(made_folder(scratch / "cells"), partitions, Cells)
        row_cells = CellStore(made_folder(scratch / "row-cells"), partitions, RowCells)
        settled = self.settle(store, *self.aggregate(read.rows, store, placing.snap, row_cells))
        counts, summary, periods = settled.counts, settled.summary, settled.periods
        self.check(summary, read.bad)
        keys = (cells.keys for number in range(store.partitions) if (cells := store.get(number)) is not None)
        alike = [look_alike_note(keys, summary.alike)] if len(summary.alike) else []
        cut = self.cut(summary.rows)
        tail_from = tail_start(int(periods.without(settled.dropped).ordinals[0]), summary.last, cut.wholes)
        obstacle = _ALIKE if alike else self._obstacle(read, counts, periods, placing.snap)
        notable = row_cells if self.is_fine(periods) and not obstacle else None
        written = self._write(store, notable, cut, self.form(summary.last, tail_from), output)
        left_out = [f"{key} was left out as a whole: {reason}" for key, reason in read.left_out.items()]
        made = Written(settled, counts.left_out, cut, tail_from, written)
        reported = [*placing.notes, *left_out, *alike, *settled.reported]
        manifest, reports = self.manifest(made, read.files, placing.snap, reported, output)
        places = read.bad.publish(rejected, [file.key for file in files])
        memory = (
            ImportMemory.nothing(self.recipe, obstacle)
            if obstacle
            else self.memory(made, manifest, read.files, placing, read.renamed, is_fine=notable is not None)
        )
        total = sum(file.contents.rows for file in read.files)
        return ImportReport(manifest, total, places, memory, files=reports, formulas=summary.formulas)

    # -------------------------------------------------------------------------------------------------- read

    def _read_good(self, files: Sequence[TrainFile], scratch: Path) -> _ReadFiles:
        """What all files hold; those that can't be read are left out if the parameters say so, and named with the reason.

        Raises:
            ImportFailure: a file can't be read, and may not be left out, or none is left.
        """
        kept, left_out = list(files), dict[str, str]()
        while True:
            attempt = str(len(left_out))
            rows = RowPartitions(made_folder(scratch / "rows" / attempt))
            bad = BadRows(made_folder(scratch / "rejected" / attempt), quarantine=self.params.bad_rows == "quarantine")
            sample = InstantSample()
            try:
                ranked = dict(enumerate(kept))
                found, renamed = self.read(ranked, rows, bad, scratch, several=len(kept) > 1, sample=sample)
                return _ReadFiles(tuple(found.values()), renamed, rows, bad, sample, left_out)
            except ImportFailure as failure:
                reasons = _by_file(failure, bad)
                if self.params.bad_files != "quarantine" or not reasons or len(reasons) == len(kept):
                    raise
                left_out |= reasons
                kept = [file for file in kept if file.key not in left_out]

    def _place(self, sample: InstantSample) -> Placing:
        """How rows are placed on the grid, which is settled from here on."""
        try:
            placing = place_rows(self.params, sample.moments)
        except FileProblem as problem:
            raise ImportFailure([problem]) from problem
        self.place(placing.alignment)
        return placing

    # ----------------------------------------------------------------------------------------------- the rest

    def _write(
        self, store: CellStore[Cells], row_cells: CellStore[RowCells] | None, cut: Cut, form: ShardForm, output: Path
    ) -> tuple[WrittenWhole | None, ...]:
        """All shards, by wholes; None for one without series. row_cells: of what is noted of rows."""

        def work(whole: int) -> WrittenWhole | None:
            low, high = hash_range(whole, cut.wholes)
            cells = join_cells(list(store.of_hashes(low, high)), low, high)
            if cells is None:
                return None
            note = b"" if row_cells is None else row_note(row_cells, cells, low, high)
            return self.write_whole(whole, cells, cut, form, output, note)

        return tuple(self.resources.each("write", work, cut.wholes))

    def _obstacle(self, read: _ReadFiles, counts: CellCounts, periods: Extents, snap: int) -> str:
        """Why the next import can't go by this one; empty if it can.

        What is inferred from the rows of a period, or of a series, as a whole can't be told from a change of some of them,
        unless it is noted what rows each cell has.
        """
        if read.left_out:
            return "files that can't be read are tried again"
        if self.is_fine(periods):
            if tells_by_all_rows(self.rule(snap)):
                return "which hours clocks show twice is told by all rows"
        elif not periods.is_steady:
            return "rows of a period differ in their timestamps, so that all of them tell whether it is whole"
        elif counts.unfinished or counts.cut or counts.ahead or counts.repeated or counts.thin.count:
            return "rows were left out, or counted half, for what the others are like"
        known = [file.instants for file in read.files if file.instants is not None]
        too_many = moments_matter(self.params) and len(np.unique(np.concatenate(known or [_NONE]))) > MOST_INSTANTS
        return "there are too many timestamps to note" if too_many or len(known) < len(read.files) else ""


@dataclass(frozen=True)
class _ReadFiles:
    """What reading came to. files: from the oldest to the newest. left_out: files, and why."""

    files: tuple[FileFacts, ...]
    renamed: RenamedColumns
    rows: RowPartitions
    bad: BadRows
    sample: InstantSample
    left_out: dict[str, str]


def _by_file(failure: ImportFailure, bad: BadRows) -> dict[str, str]:
    """What is wrong with each file; bad rows only where they can't be set aside by themselves."""
    failing = () if bad.quarantine else reversed(failure.rows)
    rows = {row.file: f"line {row.line}: {row.explanation}" for row in failing}
    return rows | {problem.file: problem.reason for problem in failure.files}
