"""Changes of rows that are finer than periods: all cells are looked at again, and written where they differ.

Which periods of a series are whole depends on all of its periods, and which of the dataset's are on all series. So the cells of
all series are put together: those of the periods that were read again, the others as the dataset and the notes have them. From
there on everything is done as by an import of everything; see `importing`. That costs a pass over all cells, not over all rows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from chronos_assets.system import made_folder
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.bad_rows import BadRows
from chronos_assets.timeseries.dataset.cells import CellStore, join_cells
from chronos_assets.timeseries.dataset.dataset_before import DatasetBefore, FullImportNeededError
from chronos_assets.timeseries.dataset.gridding import Cells, Condensed, LeftOut, Rule
from chronos_assets.timeseries.dataset.import_memory import WrittenWhole
from chronos_assets.timeseries.dataset.import_passes import Cut, ImportPasses, Written, hash_range, row_note
from chronos_assets.timeseries.dataset.partitioning import RowPartitions
from chronos_assets.timeseries.dataset.row_cells import RowCells, recalled, with_rows_of
from chronos_assets.timeseries.dataset.shard_writing import ShardForm, rows_digest, split, tail_start
from chronos_assets.timeseries.dataset.summaries import PartitionSeries


def write_fine_changes(
    passes: ImportPasses,
    before: DatasetBefore,
    rows: RowPartitions,
    bad: BadRows,
    rule: Rule,
    touched: Integers,
    others: LeftOut,
    scratch: Path,
) -> Written:
    """Write the dataset with the periods `touched` made again.

    Args:
        passes: of the import, placed.
        before: the dataset that is there.
        rows: all rows in those periods.
        bad: the bad rows of the files that were read.
        rule: of the cells.
        touched: (p,) ordinals, ascending.
        others: rows that observe nothing in other periods, with the ranks of the files now.
        scratch: folder for temporary files.

    Raises:
        FullImportNeededError: everything has to be imported.
        UnknownRowsError: the same.
        ImportFailure: there is something wrong with the files.
    """
    if tells_by_all_rows(rule):
        raise FullImportNeededError("which hours clocks show twice is told by all rows")
    wholes = len(before.memory.wholes)
    read = CellStore(made_folder(scratch / "read"), rows.finish(), RowCells)
    left_out, _ = passes.condense(rows, read, rule.snap)
    found = CellStore(made_folder(scratch / "found"), wholes, RowCells)
    store = CellStore(made_folder(scratch / "cells"), wholes, Cells)

    def made(number: int) -> Condensed | None:
        cells = _rows_now(before, number, read, touched, may_miss=bool(others.missing[:, 1].sum()))
        if cells is not None:
            found.put(number, cells)
        return None if cells is None else cells.condensed(rule.grid)

    counts, summary, periods = passes.to_cells(made, wholes, store, rule)
    if not len(periods.ordinals) or not passes.is_fine(periods):
        raise FullImportNeededError("rows are no finer than periods any more")
    counts = replace(counts, left_out=others + left_out)
    settled = passes.settle(store, counts, summary, periods)
    passes.check(settled.summary, bad)
    cut = passes.cut(settled.summary.rows)
    first, last = int(settled.periods.without(settled.dropped).ordinals[0]), settled.summary.last
    form = passes.form(last, tail_start(first, last, cut.wholes))

    def write(number: int) -> WrittenWhole | None:
        low, high = hash_range(number, cut.wholes)
        cells = join_cells(list(store.of_hashes(low, high)), low, high)
        if cells is None:
            return None
        return _write_whole(passes, before, number, cells, row_note(found, cells, low, high), cut, form)

    written = tuple(passes.resources.each("write", write, cut.wholes))
    return Written(settled, others + left_out, cut, form.tail_from, written)


def _rows_now(
    before: DatasetBefore, number: int, read: CellStore[RowCells], touched: Integers, *, may_miss: bool
) -> RowCells | None:
    """The rows of a whole as they are now: in the periods `touched` those that were read, elsewhere the earlier."""
    low, high = hash_range(number, len(before.memory.wholes))
    new = join_cells(list(read.of_hashes(low, high)), low, high)
    whole = before.memory.wholes[number]
    old = None if whole is None else _recalled(before, whole)
    return with_rows_of(old, new, touched, may_miss=may_miss)


def tells_by_all_rows(rule: Rule) -> bool:
    """Whether the value of a row depends on rows of other periods."""
    return bool(len(rule.repeated)) and rule.method == "sum"


def _recalled(before: DatasetBefore, whole: WrittenWhole) -> RowCells:
    try:
        return recalled(before.cells(whole), whole.note)
    except (ValueError, KeyError) as error:
        raise FullImportNeededError(f"what the last import noted can't be read ({error})") from error


def _write_whole(
    passes: ImportPasses, before: DatasetBefore, number: int, cells: Cells, note: bytes, cut: Cut, form: ShardForm
) -> WrittenWhole:
    """Write a whole, and of one that lay in as many shards before only what differs."""
    same = cut == Cut(len(before.memory.wholes), before.memory.pieces)
    made = _where_it_differs(before, number, cells, cut, form, note) if same else None
    return made or passes.write_whole(number, cells, cut, form, before.taken.output, note)


def _where_it_differs(
    before: DatasetBefore, number: int, cells: Cells, cut: Cut, form: ShardForm, note: bytes
) -> WrittenWhole | None:
    """A whole of which files that stay the same are taken over; None where none does."""
    memory, old = before.memory, before.memory.wholes[number]
    if old is None or form.tail_from != memory.tail_from:
        return None
    files = split(cells, form)
    digests, series = tuple(map(rows_digest, files)), PartitionSeries.of(cells)
    if form.last == memory.last and digests == old.digests:
        before.keep(old)
        return WrittenWhole(digests, old.shards, series, note)
    start = form.tail_from
    if start is None or digests[0] != old.digests[0]:
        return None
    # What fills the end of the base may depend on whether anything comes after it.
    later = (old.series.lasts >= start)[old.series.firsts < start]
    if not form.fills_alike and not np.array_equal(later, files[0].later):
        return None
    shards = before.extend(number, old, cells, cut, form)
    return None if shards is None else WrittenWhole(digests, shards, series, note)
