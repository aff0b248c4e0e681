"""The passes that an import of everything and an import of changes share: reading, aggregating, writing, the manifest.

What is read, and in which order the passes come, belongs to `importing` and `incremental`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from chronos_assets.calendar.frequencies import Alignment
from chronos_assets.calendar.time_zones import repeated_hours
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.bad_rows import BadRows, ImportFailure
from chronos_assets.timeseries.dataset.cells import CellStore, join_cells
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.file_reading import Batches, read_files, with_rank
from chronos_assets.timeseries.dataset.gridding import (
    AggregateOverflowError,
    CellCounts,
    Cells,
    Condensed,
    LeftOut,
    Rule,
    cells_of,
    condense,
    drop_periods,
    join_condensed,
    period_of,
)
from chronos_assets.timeseries.dataset.import_memory import (
    FileFacts,
    ImportMemory,
    WrittenWhole,
    dataset_digest,
    noted_unit,
    recipe_of,
)
from chronos_assets.timeseries.dataset.import_notes import (
    FileReport,
    early_notes,
    import_notes,
    sparse_notes,
    stray_notes,
    unfinished_notes,
    with_replaced,
)
from chronos_assets.timeseries.dataset.partitioning import PeriodTooLargeError, RowPartitions
from chronos_assets.timeseries.dataset.placing import InstantSample, Placing, moments_matter
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.row_cells import RowCells, noted
from chronos_assets.timeseries.dataset.shard_writing import ShardForm, rows_digest, split, write_shard
from chronos_assets.timeseries.dataset.shards import HASHES, WITH_TAILS, Manifest
from chronos_assets.timeseries.dataset.strays import far_ahead
from chronos_assets.timeseries.dataset.summaries import PartitionSeries, Periods, Summary, account
from chronos_assets.timeseries.dataset.train_files import RenamedColumns, TrainFile
from chronos_assets.timeseries.dataset.unfinished import Extents, unfinished
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

# What a row of the grid takes in a shard at most, measured on series of random values: the value, and a little more.
_BYTES_PER_ROW = 10

# A grid this much larger than its data, and this large, is a wrong timestamp and not a dataset.
_SPARSE_RATIO = 1000
_SPARSE_ROWS = 100_000_000

# What a row takes while it is aggregated, measured; the least that is aggregated at once whatever the memory's limit.
_BYTES_HELD = 150
_LEAST_AT_ONCE = 100_000
_UNKNOWN_LIMIT = 1e9

_LONGEST_MONTH = 31 * 86_400_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class Cut:
    """How series are dealt out: `wholes` equal shares of the hashes, each cut into as many `pieces`, which are shards."""

    wholes: int
    pieces: int

    @classmethod
    def of(cls, rows: int, shard_bytes: int, min_shards: int) -> Cut:
        """For so many rows of the grid.

        The wholes are a power of two, so that a dataset which grows keeps its cut until it has doubled.
        """
        needed = min(max(1, -(-rows * _BYTES_PER_ROW // shard_bytes)), HASHES)
        wholes = 1 << (needed - 1).bit_length()
        return cls(wholes, min(-(-min_shards // wholes), HASHES // wholes))


@dataclass(frozen=True)
class Settled:
    """What is left of the cells without periods that rows don't fill, which are `dropped`, or that lie far ahead.

    reported: what to tell the user of them, one sentence each.
    """

    counts: CellCounts
    summary: Summary
    periods: Extents
    dropped: tuple[int, ...]
    reported: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """What an import wrote: see `Settled`, and `ImportMemory` for the rest."""

    settled: Settled
    left_out: LeftOut
    cut: Cut
    tail_from: int | None
    wholes: tuple[WrittenWhole | None, ...]


class ImportPasses:
    """The passes of one import; see the docstring of `importing`.

    `params` gets the alignment that the rows show once they are placed. recipe: see `ImportMemory`.
    """

    def __init__(self, params: ForecastParams, resources: Resources, shard_bytes: int, min_shards: int) -> None:
        self.params = params
        self.recipe = recipe_of(params, resources.unpacked)
        self.resources = resources
        self._shard_bytes = shard_bytes
        self._min_shards = min_shards

    @property
    def step(self) -> int | None:
        """Microseconds between rows, at most, where they are declared finer than periods."""
        data = self.params.data_frequency
        if data == self.params.frequency:
            return None
        return data.microseconds or data.n * _LONGEST_MONTH

    def rule(self, snap: int) -> Rule:
        """How rows become cells."""
        return Rule(self.params.grid, self.params.aggregation, snap, self.step, self._repeated())

    @property
    def instant_unit(self) -> int:
        """Microseconds to which timestamps are noted: all that is known where they tell how periods start."""
        if moments_matter(self.params):
            return 1
        return noted_unit(self.params.frequency)

    def is_fine(self, periods: Extents) -> bool:
        """Whether rows are finer than periods, so that all of them tell which periods are whole."""
        return self.step is not None or periods.several

    def place(self, alignment: Alignment) -> None:
        """Settle the grid."""
        self.params = replace(self.params, alignment=alignment)

    def cut(self, rows: int) -> Cut:
        """How so many rows of the grid are dealt out."""
        return Cut.of(rows, self._shard_bytes, self._min_shards)

    # -------------------------------------------------------------------------------------------------- read

    def read(
        self,
        files: Mapping[int, TrainFile],
        rows: RowPartitions,
        bad: BadRows,
        scratch: Path,
        *,
        several: bool,
        sample: InstantSample | None = None,
        chosen: Batches | None = None,
        renamed: RenamedColumns | None = None,
    ) -> tuple[dict[int, FileFacts], RenamedColumns]:
        """Read files: their good rows go to `rows`, their bad ones to `bad`; see `read_files`.

        Args:
            files: by rank among all files, ascending.
            rows: takes the good rows.
            bad: takes the others.
            scratch: folder for temporary files.
            several: whether there are other files, read or not.
            sample: takes the timestamps.
            chosen: those of a batch's rows that are to be taken; all without it.
            renamed: see `TrainFileReader`.

        Raises:
            ImportFailure: with everything that is wrong in the files.
        """

        def take(rank: int, batch: pa.RecordBatch, distinct: Integers) -> None:
            if sample is not None:
                sample.add(distinct.astype("datetime64[us]"))
            taken = batch if chosen is None else chosen(batch)
            rows.add(with_rank(taken, rank) if several else taken)

        return read_files(
            files,
            self.params,
            take,
            bad,
            scratch,
            self.resources,
            unit=self.instant_unit,
            several=several,
            renamed=renamed,
        )

    # --------------------------------------------------------------------------------------------- aggregate

    def aggregate(
        self, rows: RowPartitions, store: CellStore[Cells], snap: int, row_cells: CellStore[RowCells] | None = None
    ) -> tuple[CellCounts, Summary, Extents]:
        """Cells of all rows, kept in `store`: what happened on the way, what they are as a whole, and of which periods.

        `row_cells` gets the same with what is known of their rows, where some are finer than periods, or may be.
        """
        rule = self.rule(snap)

        def made(number: int) -> Condensed | None:
            condensed = self._condensed(rows, number, rule)
            if row_cells is not None and condensed is not None:
                ends = condensed.ends
                if self.step is not None or (ends.first != ends.last).any():
                    row_cells.put(number, RowCells.of(condensed, rule.grid))
            return condensed

        return self.to_cells(made, store.partitions if rows.rows else 0, store, rule)

    def condense(self, rows: RowPartitions, row_cells: CellStore[RowCells], snap: int) -> tuple[LeftOut, int]:
        """All rows as cells that know of them, whole or not; rows that observe nothing, and those that clocks show twice."""
        rule = self.rule(snap)

        def work(number: int) -> tuple[LeftOut, int] | None:
            condensed = self._condensed(rows, number, rule)
            if condensed is None:
                return None
            row_cells.put(number, RowCells.of(condensed, rule.grid))
            return condensed.left_out, condensed.repeated

        answers = self._aggregating(work, row_cells.partitions if rows.rows else 0)
        return sum((left_out for left_out, _ in answers), LeftOut()), sum(repeated for _, repeated in answers)

    def _condensed(self, rows: RowPartitions, number: int, rule: Rule) -> Condensed | None:
        """The rows of a partition by series and period; None without any."""
        tables = rows.read_parts(number, self._rows_at_once(), partial(period_of, rule=rule))
        parts = [condense(by_rank(table), rule) for table in tables if table.num_rows]
        return join_condensed(parts) if parts else None

    def to_cells(
        self, made: Callable[[int], Condensed | None], numbers: int, store: CellStore[Cells], rule: Rule
    ) -> tuple[CellCounts, Summary, Extents]:
        """Cells of what is `made` for each of so many parts, kept in `store`; see `aggregate`."""

        def work(number: int) -> tuple[CellCounts, PartitionSeries, Extents] | None:
            condensed = made(number)
            if condensed is None:
                return None
            cells, counts, periods = cells_of(condensed, rule)
            store.put(number, cells)
            return counts, PartitionSeries.of(cells), periods

        answers = self._aggregating(work, numbers)
        total = sum((counts for counts, _, _ in answers), CellCounts())
        return total, Summary.of([series for _, series, _ in answers]), Extents.joined([span for *_, span in answers])

    def _aggregating(self, work: Callable[[int], T | None], numbers: int) -> list[T]:
        """The answers of `work`, but for None.

        Raises:
            ImportFailure: an aggregate can't be made.
        """
        try:
            return [answer for answer in self.resources.each("aggregate", work, numbers) if answer is not None]
        except AggregateOverflowError as error:
            place = f"series {', '.join(error.key)}"
            reason = (
                f"the {self.params.aggregation} of the period {self.params.grid.iso(error.ordinal)} is beyond a double"
            )
            fix = "look for wrong values in that period, or aggregate otherwise"
            raise ImportFailure([FileProblem(place, reason, fix)]) from error
        except PeriodTooLargeError as error:
            reason = (
                f"the period {self.params.grid.iso(error.period)} has {error.rows:,} rows of a few series, more than the "
                f"{2 * self._rows_at_once():,} that CHRONOS_MEMORY_LIMIT={self.resources.memory_limit} holds at once"
            )
            fix = (
                "set it higher (in a job on AWS: a larger CHRONOS_IMPORT_INSTANCE), choose a finer ForecastFrequency, or add "
                "the rows up beforehand"
            )
            raise ImportFailure([FileProblem("train/", reason, fix)]) from error

    def settle(self, store: CellStore[Cells], counts: CellCounts, summary: Summary, periods: Extents) -> Settled:
        """Leave out what rows don't fill, and what lies far ahead of all others.

        Raises:
            ImportFailure: no period is whole.
        """
        reported: list[str] = []
        if strays := far_ahead(periods):
            reported += stray_notes(self.params.grid, periods, strays, summary)
            left, summary = _without(store, counts, periods, strays)
            counts = replace(left, ahead=left.unfinished - counts.unfinished, unfinished=counts.unfinished)
            periods = periods.without(strays)
        dropped = unfinished(periods, self.params.grid, self.step)
        reported += unfinished_notes(self.params.grid, periods, dropped, counts)
        if dropped:
            counts, summary = _without(store, counts, periods, dropped)
        if counts.unfinished and not summary.cells:
            fix = "add rows, or choose a finer ForecastFrequency"
            raise ImportFailure([FileProblem("train/", f"no period is whole: {'; '.join(reported)}", fix)])
        return Settled(counts, summary, periods, dropped, tuple(reported))

    def _rows_at_once(self) -> int:
        """Rows of a partition that each thread may hold while it aggregates them."""
        amount = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG])i?B", self.resources.memory_limit)
        size = float(amount[1]) * 10 ** {"M": 6, "G": 9}[amount[2]] if amount else _UNKNOWN_LIMIT
        return max(int(size / self.resources.threads / _BYTES_HELD), _LEAST_AT_ONCE)

    def _repeated(self) -> Periods:
        """(r, 2) spans of clock time, in microseconds, that occur twice on the clock of the data, for hours and minutes."""
        params = self.params
        if params.clock is None or params.frequency.approximate_seconds > 3600:
            return np.empty((0, 2), dtype=np.int64)
        spans = np.array(repeated_hours(params.clock), dtype="datetime64[us]").astype(np.int64)
        return spans.reshape(-1, 2)

    # ------------------------------------------------------------------------------------------------- write

    def form(self, last: int, tail_from: int | None) -> ShardForm:
        """How shards are written whose series go up to `last`."""
        names = ("item_id", *self.params.dimensions)
        return ShardForm(names, self.params.grid, self.params.filling, last, tail_from)

    def write_whole(
        self, whole: int, cells: Cells, cut: Cut, form: ShardForm, output: Path, note: bytes = b""
    ) -> WrittenWhole:
        """Write the series of one whole, of which there is something to note."""
        shards = []
        for number in range(whole * cut.pieces, (whole + 1) * cut.pieces):
            piece = join_cells([cells], *hash_range(number, cut.wholes * cut.pieces))
            if piece is not None:
                shards.append(write_shard(output, number, piece, form))
        digests = tuple(rows_digest(rows) for rows in split(cells, form))
        return WrittenWhole(digests, tuple(shards), PartitionSeries.of(cells), note)

    def manifest(
        self, made: Written, files: Sequence[FileFacts], snap: int, reported: Sequence[str], output: Path
    ) -> tuple[Manifest, tuple[FileReport, ...]]:
        """Write the manifest of what was written beside it; the reports of the files.

        Args:
            made: what was written.
            files: from the oldest to the newest.
            snap: microseconds that a row may come before the period it belongs to.
            reported: what was noticed on the way, one sentence each.
            output: folder of the dataset.
        """
        params, cut = self.params, made.cut
        counts, summary, periods = made.settled.counts, made.settled.summary, made.settled.periods
        contents = [file.contents for file in files]
        reports = with_replaced(contents, counts.duplicates)
        rejected = sum((Counter(file.rejected) for file in files), Counter[str]())
        odd = (*sparse_notes(params, periods), *early_notes(params.grid, periods, summary))
        notes = (*reported, *odd, *import_notes(params, reports, counts, summary, rejected.total()))
        notes += tuple(account(sum(file.rows for file in contents), counts, summary, rejected.total()))
        wholes = [whole for whole in made.wholes if whole is not None]
        manifest = Manifest(
            data_version=self._data_version(summary.last, [digest for whole in wholes for digest in whole.digests]),
            first=self.params.grid.iso(summary.first),
            last=self.params.grid.iso(summary.last),
            frequency=str(params.frequency),
            dimensions=params.dimensions,
            series=summary.series,
            rows=summary.rows,
            observed=summary.cells,
            filled=summary.rows - summary.cells,
            missing=counts.missing,
            aggregated=counts.aggregated,
            duplicates=sum(counts.duplicates.values()),
            rejected=dict(sorted(rejected.items())),
            files={file.key: file.rows for file in sorted(contents, key=lambda file: file.key)},
            n_shards=cut.wholes * cut.pieces,
            shards=tuple(shard for whole in wholes for shard in whole.shards),
            notes=notes,
            unfinished=counts.unfinished,
            ahead=counts.ahead,
            alignment=asdict(params.alignment),
            format_version=WITH_TAILS if any(shard.tail for whole in wholes for shard in whole.shards) else 1,
            lag_seconds=None if self.step is not None or periods.several else periods.usual_lag / 1_000_000,
            snap_seconds=snap / 1_000_000,
        )
        (output / DATASET_MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        return manifest, reports

    def memory(
        self,
        made: Written,
        manifest: Manifest,
        files: Sequence[FileFacts],
        placing: Placing,
        renamed: RenamedColumns,
        *,
        is_fine: bool,
    ) -> ImportMemory:
        """What the next import has to know of this one; see there."""
        return ImportMemory(
            recipe=self.recipe,
            dataset=dataset_digest(manifest),
            alignment=placing.alignment,
            snap=placing.snap,
            files=tuple(files),
            renamed=renamed,
            periods=made.settled.periods,
            left_out=made.left_out,
            wholes=made.wholes,
            pieces=made.cut.pieces,
            tail_from=made.tail_from,
            last=made.settled.summary.last,
            is_fine=is_fine,
        ).or_nothing()

    def _data_version(self, last: int, digests: Sequence[bytes]) -> str:
        boundary = self.params.grid.alignment
        parts = [boundary.month, boundary.day_of_month, boundary.day_of_week, boundary.hour, boundary.anchor]
        filling = self.params.filling
        gaps = [filling.middlefill, filling.middlefill_value, filling.backfill, filling.backfill_value]
        meaning = [str(self.params.frequency), parts, self.params.dimensions, last, gaps]
        version = hashlib.sha256(json.dumps(meaning).encode())
        for digest in digests:
            version.update(digest)
        return version.hexdigest()

    def check(self, summary: Summary, bad: BadRows) -> None:
        """Refuse a dataset without values, and one whose grid would be absurdly larger than its data."""
        if not summary.cells:
            problem = FileProblem("train/", "no good row of any file has a value", "give the target column numbers")
            raise ImportFailure([problem], bad.first, bad.counts)
        if summary.rows > max(_SPARSE_ROWS, _SPARSE_RATIO * summary.cells):
            reason = (
                f"{summary.cells} observed periods would make {summary.rows} rows at the frequency "
                f"{self.params.frequency}, from {self.params.grid.iso(summary.first)} (series {summary.first_key}) to "
                f"{self.params.grid.iso(summary.last)} (series {summary.last_key})"
            )
            fix = "fix the timestamp that is too early or too late, or choose a coarser ForecastFrequency"
            raise ImportFailure([FileProblem("train/", reason, fix)])


def row_note(row_cells: CellStore[RowCells], cells: Cells, low: int, high: int) -> bytes:
    """What to note of the rows of a share of the hashes; empty where some of them are not known."""
    found = join_cells(list(row_cells.of_hashes(low, high)), low, high)
    return b"" if found is None or len(found.first) != len(cells.first) else noted(found, cells)


def _without(
    store: CellStore[Cells], counts: CellCounts, periods: Extents, dropped: Sequence[int]
) -> tuple[CellCounts, Summary]:
    """Leave out the dataset's periods that rows don't fill."""
    parts = []
    for number in range(store.partitions):
        cells = store.get(number)
        if cells is not None:
            cells = drop_periods(cells, dropped)
            store.put(number, cells)
            parts.append(PartitionSeries.of(cells))
    chosen = np.isin(periods.ordinals, dropped)
    rows, cells_left_out = int(periods.rows[chosen].sum()), int(periods.cells[chosen].sum())
    aggregated = counts.aggregated - (rows - cells_left_out)
    return replace(counts, unfinished=counts.unfinished + rows, aggregated=aggregated), Summary.of(parts)


def hash_range(number: int, n_shards: int) -> tuple[int, int]:
    """The hashes h with h * n_shards // HASHES == number, low <= h < high; see `shards.shard_number`."""
    return -(-number * HASHES // n_shards), -(-(number + 1) * HASHES // n_shards)


def by_rank(table: pa.Table) -> pa.Table:
    """The rows of older files first."""
    if "rank" not in table.column_names:
        return table
    ranks = table.column("rank").to_numpy()
    if (ranks[1:] >= ranks[:-1]).all():
        return table
    return table.take(pa.array(np.argsort(ranks, kind="stable")))
