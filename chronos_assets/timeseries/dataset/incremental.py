"""An import that reads only what has changed, and gives the same bytes as one of everything.

Here: which files and periods that is, what else has to be the same, and the order of the work. What is remembered belongs to
`import_memory`, merging to `cell_merging`.

The unit is the period. A file that is new, changed or gone has some timestamps; in their periods, and in no others, the rows
have changed. These periods are made again as a whole: from the new rows, and from the rows that other files have in
them. Where no other file has any, as with a file for each day, nothing else is read. What is known of each period
(rows, cells, rows that gave way or lack a value) adds up to what an import of everything would count.

A shard stays as it is when no file that changed names one of its series, and the dataset ends where it did: every series goes
up to the end. What depends on all rows at once (where periods start, how shards are cut, rows far ahead) is worked out
again; if it differs, or can't be told, everything is imported.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.dataset.bad_rows import BadRows, ImportFailure
from chronos_assets.timeseries.dataset.cell_merging import UnknownRowsError, read_cells, rejoined, with_periods
from chronos_assets.timeseries.dataset.cells import CellStore, join_cells
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.gridding import NOTHING, CellCounts, Cells, LeftOut, Rule, period_of
from chronos_assets.timeseries.dataset.import_memory import (
    MOST_INSTANTS,
    FileFacts,
    ImportMemory,
    MemoryUnusableError,
    WrittenWhole,
    dataset_digest,
    identity,
)
from chronos_assets.timeseries.dataset.import_notes import ImportReport
from chronos_assets.timeseries.dataset.import_passes import Cut, ImportPasses, hash_range, made_folder
from chronos_assets.timeseries.dataset.partitioning import RowPartitions
from chronos_assets.timeseries.dataset.placing import place_rows
from chronos_assets.timeseries.dataset.shard_writing import (
    ShardForm,
    grid_rows,
    rows_digest,
    split,
    tail_start,
    write_tail,
)
from chronos_assets.timeseries.dataset.shards import (
    HASHES,
    MANIFEST,
    DatasetError,
    Shard,
    read_manifest,
    shard_name,
    tail_name,
)
from chronos_assets.timeseries.dataset.strays import far_ahead
from chronos_assets.timeseries.dataset.summaries import PartitionSeries, Summary
from chronos_assets.timeseries.dataset.train_files import RenamedColumns, TrainFile
from chronos_assets.timeseries.dataset.unfinished import Extents

if TYPE_CHECKING:
    import pyarrow as pa

Integers = NDArray[np.int64]

# The share of all bytes from which on reading the rest as well costs little.
MOST_READ = 0.5


class FullImportNeededError(ChronosAssetsError):
    """Changes alone don't tell what the dataset becomes; the message says why not."""


@dataclass(frozen=True)
class Before:
    """The dataset that is there. dataset: fetches its folder, once it is needed. memory: the file that its import left.

    set_aside: keys of the files whose bad rows are where they belong; None: all. The others are read again.
    """

    dataset: Callable[[], Path]
    memory: Path
    set_aside: frozenset[str] | None = None


def import_changes(
    passes: ImportPasses,
    files: Sequence[TrainFile],
    before: Before,
    output: Path,
    rejected: Path,
    scratch: Path,
) -> ImportReport:
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
        memory = _usable(passes, before)
        changes = _Changes(passes, files, memory, before.set_aside, scratch)
        return changes.run(_dataset(memory, before), output, rejected)
    except (MemoryUnusableError, UnknownRowsError, DatasetError) as error:
        raise FullImportNeededError(str(error)) from error
    except (ImportFailure, FileProblem) as error:
        raise FullImportNeededError("something is wrong with the files") from error


def _usable(passes: ImportPasses, before: Before) -> ImportMemory:
    """What the last import noted, if it is of use with these parameters.

    Raises:
        FullImportNeededError: it is not.
        MemoryUnusableError: it can't be read.
    """
    memory = ImportMemory.load(before.memory)
    if memory.recipe != passes.recipe:
        raise FullImportNeededError("the parameters or the program have changed")
    if memory.obstacle:
        raise FullImportNeededError(memory.obstacle)
    return memory


def _dataset(memory: ImportMemory, before: Before) -> Path:
    """The folder of the dataset that is there.

    Raises:
        FullImportNeededError: the last import noted nothing of it.
        DatasetError: it can't be read.
    """
    folder = before.dataset()
    if memory.dataset != dataset_digest(read_manifest(folder)):
        raise FullImportNeededError("the last import noted nothing of the dataset that is there")
    return folder


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
        self._files = dict(enumerate(files))
        self._facts = _known_facts(memory, self._files, set_aside)
        self._fresh = {rank: file for rank, file in self._files.items() if rank not in self._facts}
        kept = {file.identity for file in self._facts.values()}
        self._gone = [file for file in memory.files if file.identity not in kept]
        self._rows = RowPartitions(made_folder(scratch / "rows"))
        quarantine = passes.params.bad_rows == "quarantine"
        self._bad = BadRows(made_folder(scratch / "rejected"), quarantine=quarantine)

    def run(self, dataset: Path, output: Path, rejected: Path) -> ImportReport:
        """All passes, beside the folder of the dataset that is there.

        Raises:
            FullImportNeededError: everything has to be imported.
            UnknownRowsError: the same.
            ImportFailure: there is something wrong with the files.
            FileProblem: the same.
        """
        passes, memory = self._passes, self._memory
        _check_share(self._fresh, self._files)
        fresh, renamed = self._read(self._fresh, memory.renamed)
        facts = [file for _, file in sorted({**self._facts, **fresh}.items())]
        placing = place_rows(passes.params, _moments(facts))
        if (placing.alignment, placing.snap) != (memory.alignment, memory.snap):
            raise FullImportNeededError("with these rows periods start elsewhere")
        passes.place(placing.alignment)
        rule = passes.rule(placing.snap)
        changed = [*fresh.values(), *self._gone]
        touched = np.unique(period_of(_instants(changed), rule))
        beside = {
            rank: self._files[rank]
            for rank, file in self._facts.items()
            if np.isin(period_of(_instants([file]), rule), touched).any()
        }
        _check_share({**self._fresh, **beside}, self._files)
        again, renamed = self._read(beside, renamed, partial(_in_periods, touched, rule))
        if any(not _is_alike(file, self._facts[rank]) for rank, file in again.items()):
            raise FullImportNeededError("a file has changed behind its etag")

        store = CellStore(made_folder(self._scratch / "cells"), self._rows.finish())
        counts, _, spans = passes.aggregate(self._rows, store, placing.snap)
        if not spans.is_steady or counts.unfinished or counts.cut or counts.repeated or counts.thin.count:
            raise FullImportNeededError("rows of a period differ in their timestamps")
        periods = Extents.joined([memory.periods.without(touched.tolist()), spans])
        if not len(periods.ordinals) or far_ahead(periods):
            raise FullImportNeededError("some rows lie far ahead of all others, or none is left")
        left_out = _without(memory.left_out, touched, self._new_ranks()) + counts.left_out
        counts = CellCounts(left_out, aggregated=int(periods.rows.sum() - periods.cells.sum()))

        last, may_miss = int(periods.ordinals[-1]), bool(_outside(memory, touched))
        known = Cut(len(memory.wholes), memory.pieces)
        if passes.cut(_grid_rows(memory, last)) != known:
            raise FullImportNeededError("the series are dealt out over another number of shards")
        series = _series(changed)
        tail_from = tail_start(int(periods.ordinals[0]), last, len(memory.wholes))
        form = passes.form(last, tail_from)
        writer = _ChangeWriter(passes, memory, dataset, output, form, store, touched, series, may_miss)
        cut = writer.cut
        written = list(passes.each("write", writer.write, cut.wholes))
        summary = Summary.of([whole.series for whole in written if whole is not None])
        passes.check(summary, self._bad)
        if passes.cut(summary.rows) != cut or summary.last != last:
            raise FullImportNeededError("the series are dealt out over another number of shards")
        counted: dict[str, int] = {}
        for file in facts:
            for reason, count in file.rejected.items():
                counted[reason] = counted.get(reason, 0) + count
        manifest, reports = passes.manifest(
            facts, counts, summary, periods, cut, written, rejected=counted, reported=placing.notes
        )
        (output / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        read = {**self._fresh, **beside}
        places = self._bad.publish(rejected, [file.key for file in read.values()])
        return ImportReport(
            manifest,
            reports,
            sum(file.contents.rows for file in facts),
            places,
            manifest.notes,
            ImportMemory(
                recipe=passes.recipe,
                dataset=dataset_digest(manifest),
                alignment=placing.alignment,
                snap=placing.snap,
                files=tuple(facts),
                renamed=renamed,
                periods=periods,
                left_out=left_out,
                wholes=tuple(written),
                pieces=cut.pieces,
                tail_from=tail_from,
                last=last,
            ),
            kept_files=frozenset(file.key for rank, file in self._files.items() if rank not in read),
            kept_shards=frozenset(writer.kept),
            extended_shards=frozenset(writer.extended),
        )

    def _read(
        self, files: dict[int, TrainFile], renamed: RenamedColumns, chosen: partial[pa.RecordBatch] | None = None
    ) -> tuple[dict[int, FileFacts], RenamedColumns]:
        """Files by rank, read into the rows."""
        if not files:
            return {}, renamed
        several = len(self._files) > 1
        return self._passes.read(
            files, self._rows, self._bad, self._scratch, several=several, chosen=chosen, renamed=renamed
        )

    def _new_ranks(self) -> Integers:
        """(n,) rank now of the files as the last import had them; -1 for those that are gone."""
        now = {file.identity: rank for rank, file in self._facts.items()}
        return np.array([now.get(file.identity, -1) for file in self._memory.files], dtype=np.int64)


@dataclass
class _ChangeWriter:
    """Writes the wholes that change, and takes the others over.

    form: of the shards now. store: the cells of the periods `touched` (p,), ordinals. series: (HASHES,) whether rows of one
    with that hash have changed. may_miss: whether there are rows without a value in other periods. kept, extended: names of
    the shards that were taken over, and of those of which only the tail was written.
    """

    passes: ImportPasses
    memory: ImportMemory
    dataset: Path
    output: Path
    form: ShardForm
    store: CellStore
    touched: Integers
    series: NDArray[np.bool_]
    may_miss: bool
    kept: list[str] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)

    @property
    def cut(self) -> Cut:
        """The cut of the dataset that is there."""
        return Cut(len(self.memory.wholes), self.memory.pieces)

    def write(self, number: int) -> WrittenWhole | None:
        """One whole; None without series.

        Raises:
            FullImportNeededError: a shard of the dataset isn't as it was written.
            UnknownRowsError: see `with_periods`.
        """
        low, high = hash_range(number, self.cut.wholes)
        old = self.memory.wholes[number]
        same = (self.form.last, self.form.tail_from) == (self.memory.last, self.memory.tail_from)
        if same and not self.series[low:high].any():
            for shard in old.shards if old is not None else ():
                self._keep(shard.name, shard.bytes)
                if shard.tail is not None:
                    self._keep(tail_name(shard.name), shard.tail.bytes)
                self.kept.append(shard.name)
            return old
        new = join_cells(list(self.store.of_hashes(low, high)), low, high)
        if old is not None and self._is_late and (made := self._with_tails(number, old, new)) is not None:
            return made
        before = None if old is None else self._cells(old)
        cells = with_periods(before, new, self.touched, may_miss=self.may_miss)
        return None if cells is None else self.passes.write_whole(number, cells, self.cut, self.form, self.output)

    @property
    def _is_late(self) -> bool:
        """Whether all that changes lies in the tails, and they can be filled by themselves."""
        start = self.form.tail_from
        if start is None or start != self.memory.tail_from or self.form.needs_past:
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
        tail = self._read(old, tails=True)
        earlier = _single(tail, np.flatnonzero(begun))
        opens = np.clip(firsts, start, self.memory.last)
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
        shards = self._write_tails(number, old, cells)
        if shards is None:
            return None
        series = PartitionSeries.of_series(cells.keys, cells.hash, known_firsts, known_lasts, count)
        return WrittenWhole((old.digests[0], rows_digest(split(cells, self.form)[-1])), shards, series)

    def _write_tails(self, number: int, old: WrittenWhole, cells: Cells) -> tuple[Shard, ...] | None:
        """The shards of a whole with new tails; None where there would be others."""
        there = {shard.name: shard for shard in old.shards}
        cut = self.cut
        pieces: dict[str, Cells] = {}
        for place in range(number * cut.pieces, (number + 1) * cut.pieces):
            piece = join_cells([cells], *hash_range(place, cut.wholes * cut.pieces))
            if piece is not None:
                pieces[shard_name(place)] = piece
        if pieces.keys() != there.keys():
            return None
        shards = []
        for name, piece in pieces.items():
            shard = there[name]
            self._keep(name, shard.bytes)
            tail = write_tail(self.output, name, split(piece, self.form)[-1], self.form)
            rows = shard.rows - (0 if shard.tail is None else shard.tail.rows) + tail.rows
            shards.append(replace(shard, rows=rows, series=len(piece.first), tail=tail))
            self.extended.append(name)
        return tuple(shards)

    def _cells(self, whole: WrittenWhole) -> Cells:
        """What the shards of a whole hold, with their tails."""
        start, firsts = self.memory.tail_from, whole.series.firsts
        every = np.arange(len(firsts))
        if start is None:
            base = self._read(whole, tails=False)
            return rejoined(base, firsts, [(base, every, firsts)])
        begun = np.flatnonzero(firsts < start)
        base, tail = self._read(whole, tails=False, series=len(begun)), self._read(whole, tails=True)
        opens = np.clip(firsts, start, self.memory.last)
        return rejoined(tail, firsts, [(base, begun, firsts[begun]), (tail, every, opens)])

    def _read(self, whole: WrittenWhole, *, tails: bool, series: int | None = None) -> Cells:
        """The cells of a whole's files, with the hashes of all its series where it has all of them."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = self.form.names
        parts: list[Cells] = []
        for shard in whole.shards:
            name, sha256 = list(shard.files.items())[-1 if tails else 0]
            try:
                content = (self.dataset / name).read_bytes()
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise ValueError("its content has changed")
                with pq.ParquetFile(pa.BufferReader(content), read_dictionary=list(names)) as file:
                    parts.append(read_cells(file, names))
            except (OSError, ValueError, pa.ArrowException) as error:
                raise FullImportNeededError(f"{name} of the dataset can't be taken over ({error})") from error
        hashes = whole.series.hashes
        cells = join_cells(parts, 0, HASHES) or parts[0]
        if len(cells.first) != (len(hashes) if series is None else series):
            raise FullImportNeededError("the dataset has other series than its import noted")
        return replace(cells, hash=hashes) if series is None else cells

    def _keep(self, name: str, size: int) -> None:
        """Take a file over as it is, by a link where that is possible."""
        source, target = self.dataset / name, self.output / name
        try:
            target.unlink(missing_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
            found = target.stat().st_size
        except OSError as error:
            raise FullImportNeededError(f"{name} of the dataset can't be taken over ({error})") from error
        if found != size:
            raise FullImportNeededError(f"{name} of the dataset has {found} bytes instead of {size}")


def _single(cells: Cells, series: Integers) -> Cells:
    """One cell of no value for each of these series."""
    ones = np.ones(len(series), dtype=np.int64)
    nothing = np.zeros(len(series), dtype=np.int64)
    keys, hashes = cells.keys.take(series), cells.hash[series]
    return Cells(keys, hashes, nothing, ones, nothing.astype(np.int32), np.zeros(len(series)))


def _grid_rows(memory: ImportMemory, last: int) -> int:
    """Rows of the grid that the known series have up to a period."""
    return sum(int(grid_rows(whole.series.firsts, last).sum()) for whole in memory.wholes if whole is not None)


def files_likely_read(
    memory: ImportMemory, recipe: str, files: Sequence[TrainFile], set_aside: frozenset[str] | None
) -> list[TrainFile]:
    """The files that an import of what has changed reads, where no other has rows in their periods; all where it won't do."""
    known = _known_facts(memory, dict(enumerate(files)), set_aside)
    fresh = [file for rank, file in enumerate(files) if rank not in known]
    most = MOST_READ * sum(file.size for file in files)
    usable = memory.recipe == recipe and not memory.obstacle and sum(file.size for file in fresh) <= most
    return fresh if usable else list(files)


def _known_facts(
    memory: ImportMemory, files: Mapping[int, TrainFile], set_aside: frozenset[str] | None
) -> dict[int, FileFacts]:
    """What is known of files that haven't changed, and of which nothing is to be written, by rank."""
    known = {file.identity: file for file in memory.files}
    now = {rank: identity(file) for rank, file in files.items()}
    return {
        rank: known[key]
        for rank, key in now.items()
        if key in known and key[1] and _is_set_aside(known[key], set_aside)
    }


def _is_set_aside(file: FileFacts, set_aside: frozenset[str] | None) -> bool:
    """Whether there is nothing to write of a file's bad rows."""
    return not file.rejected or set_aside is None or file.key in set_aside


def _check_share(read: dict[int, TrainFile], files: dict[int, TrainFile]) -> None:
    """Refuse to read most of the data. Raises FullImportNeededError."""
    sizes = {rank: file.size for rank, file in files.items()}
    if sum(sizes[rank] for rank in read) > MOST_READ * sum(sizes.values()):
        raise FullImportNeededError("most of the data has to be read")


def _instants(files: Sequence[FileFacts]) -> Integers:
    """Distinct timestamps of files. Raises FullImportNeededError where they are not known."""
    found = [file.instants for file in files]
    known = [instants for instants in found if instants is not None]
    if len(known) < len(found):
        raise FullImportNeededError("there are too many timestamps to note")
    return np.unique(np.concatenate([np.empty(0, np.int64), *known]))


def _moments(files: Sequence[FileFacts]) -> NDArray[np.datetime64]:
    """All timestamps, as `place_rows` takes them. Raises FullImportNeededError where they are too many."""
    instants = _instants(files)
    if len(instants) > MOST_INSTANTS:
        raise FullImportNeededError("there are too many timestamps to note")
    return instants.astype("datetime64[us]")


def _series(files: Sequence[FileFacts]) -> NDArray[np.bool_]:
    """(HASHES,) whether one of the files has a series with that hash."""
    found = np.zeros(HASHES, dtype=bool)
    for file in files:
        found |= np.unpackbits(file.hashes).astype(bool)
    return found


def _in_periods(ordinals: Integers, rule: Rule, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of a batch that lie in these periods."""
    import pyarrow as pa

    instants = batch.column("instant").to_numpy(zero_copy_only=False).astype("datetime64[us]").astype(np.int64)
    return batch.filter(pa.array(np.isin(period_of(instants, rule), ordinals)))


def _is_alike(one: FileFacts, other: FileFacts) -> bool:
    """Whether two readings of a file found the same."""
    same = (one.contents, dict(one.rejected)) == (other.contents, dict(other.rejected))
    return same and np.array_equal(_instants([one]), _instants([other])) and bool((one.hashes == other.hashes).all())


def _without(left_out: LeftOut, ordinals: Integers, ranks: Integers) -> LeftOut:
    """What was left out in other periods; `ranks` (n,) are the new ones of files."""
    missing = left_out.missing[~np.isin(left_out.missing[:, 0], ordinals)]
    lost = left_out.lost[~np.isin(left_out.lost[:, 0], ordinals)]
    if len(lost):
        lost = np.column_stack([lost[:, 0], ranks[lost[:, 1]], ranks[lost[:, 2]], lost[:, 3]])
    return LeftOut(missing, lost)


def _outside(memory: ImportMemory, ordinals: Integers) -> int:
    """Rows without a value in other periods."""
    missing = memory.left_out.missing
    return int(missing[~np.isin(missing[:, 0], ordinals), 1].sum())
