"""Train files in, a dataset of Parquet shards out: the import as a whole, out of core.

Here belong the order of the work and what is reported of it. The parts have their own modules: `train_files`, `csv_records`
and `casting` (files to rows), `bad_rows`, `partitioning` and `gridding` (rows to series), `filling` (gaps), `shards` (the
dataset on disk). Publishing is the caller's.

The work, in three passes whose memory does not grow with the data:

1. Read: file by file, from the oldest to the newest. Rows are dealt out by a hash of their series into partitions on
   disk.
2. Aggregate: each partition by itself becomes cells, one for each series and period.
3. Write: each shard by itself is put on the grid, filled and written.

Nothing depends on the order of the listing, the number of threads or the clock: the same files give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from chronos_assets.calendar.time_zones import repeated_hours
from chronos_assets.timeseries.dataset.bad_rows import BadRows, ImportFailure, counted
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.duckdb_sql import scratch_connection
from chronos_assets.timeseries.dataset.gridding import (
    NOTHING,
    AggregateOverflowError,
    CellCounts,
    CellStore,
    Rule,
    aggregate,
    drop_periods,
    join_cells,
    period_of,
    series_digest,
    write_shard,
)
from chronos_assets.timeseries.dataset.partitioning import PeriodTooLargeError, RowPartitions
from chronos_assets.timeseries.dataset.placing import InstantSample, Placing, clock_notes, place_rows
from chronos_assets.timeseries.dataset.shards import HASHES, MANIFEST, Manifest, Shard
from chronos_assets.timeseries.dataset.strays import far_ahead
from chronos_assets.timeseries.dataset.summaries import (
    PartitionSeries,
    Periods,
    Summary,
    account,
    folder_hint,
    long_horizon,
)
from chronos_assets.timeseries.dataset.train_files import FileContents, TrainFile, TrainFileReader
from chronos_assets.timeseries.dataset.unfinished import Extents, unfinished

if TYPE_CHECKING:
    import pyarrow as pa

    from chronos_assets.params.forecast import ForecastParams

__all__ = ["FileReport", "ImportFailure", "ImportReport", "TrainFile", "import_target_time_series"]

DEFAULT_MEMORY_LIMIT = "2GB"
DEFAULT_SHARD_BYTES = 64 << 20

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

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class FileReport:
    """What was found in one file. replaced: its rows left out for those of newer files, by the newer file's key."""

    contents: FileContents
    replaced: dict[str, int]

    @property
    def key(self) -> str:
        """The file's key."""
        return self.contents.key


@dataclass(frozen=True)
class ImportReport:
    """What an import did. manifest: as written beside the shards. files: from the oldest to the newest.

    rows_read: good and bad; they are the manifest's observed + aggregated + missing + duplicates + unfinished + ahead +
        rejected.
    rejected_files: where bad rows were set aside, by the key of their file. notes: sentences a user should read.
    """

    manifest: Manifest
    files: tuple[FileReport, ...]
    rows_read: int
    rejected_files: dict[str, Path]
    notes: tuple[str, ...]


def import_target_time_series(
    files: Sequence[TrainFile],
    params: ForecastParams,
    *,
    output: Path,
    rejected: Path,
    memory_limit: str = DEFAULT_MEMORY_LIMIT,
    threads: int | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    min_shards: int = 1,
    unpacked: int | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import train files into `output`, a staging folder that the caller publishes.

    output: gets the shards and the manifest (see `shards`). What an earlier import left there is removed, and nothing
        stays there when the import fails. Temporary files live in its parent folder and are always removed.
    rejected: folder for bad rows, one CSV for each file that has any, when params.bad_rows is "quarantine". It then
        speaks of these files by their present bad rows only. An import that fails leaves it alone.
    memory_limit: of DuckDB; the whole process needs up to a gigabyte more.
    threads: workers, one for each core when None. shard_bytes: of a shard on disk, about.
    min_shards: the least number by which series are dealt out, so that so many readers can share them. It is met by
        cutting each shard evenly: the data version is the same whatever it is.
    unpacked: the bytes that a compressed file may unpack to; see `reading.unpacked_limit` for None.
    progress: called with "read", "aggregate" or "write", and how much of that is done, 0 to 1.

    Raises:
        ImportFailure: with everything that is wrong in the files.
    """
    workers = threads or usable_cores()
    run = _Import(params, memory_limit, workers, shard_bytes, min_shards, unpacked, progress or _silent)
    output.mkdir(parents=True, exist_ok=True)
    _clear(output)
    with TemporaryDirectory(prefix=".import-", dir=output.parent) as folder:
        try:
            return run.execute(files, output, rejected, Path(folder))
        except BaseException:
            _clear(output)
            raise


def usable_cores() -> int:
    """Cores that this process may use; macOS only knows how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _silent(stage: str, done: float) -> None:
    """Report no progress."""


def _clear(output: Path) -> None:
    for path in [*output.glob("part-*.parquet"), output / MANIFEST]:
        path.unlink(missing_ok=True)


def made_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Import:
    """The passes of one import; see the module's docstring."""

    def __init__(
        self,
        params: ForecastParams,
        memory_limit: str,
        threads: int,
        shard_bytes: int,
        min_shards: int,
        unpacked: int | None,
        progress: Progress,
    ) -> None:
        self._params = params
        self._memory_limit = memory_limit
        self._threads = threads
        self._shard_bytes = shard_bytes
        self._min_shards = min_shards
        self._unpacked = unpacked
        self._progress = progress
        self._instants = InstantSample()

    def execute(self, files: Sequence[TrainFile], output: Path, rejected: Path, scratch: Path) -> ImportReport:
        """All passes.

        Raises:
            ImportFailure: with everything that is wrong in the files.
        """
        ordered = sorted(files, key=lambda file: (file.last_modified, file.key))
        if not ordered:
            raise ImportFailure([FileProblem("train/", "there are no files", "put CSV or Parquet files there")])
        contents, rows, bad, left_out = self._read_good(ordered, scratch)
        placing = self._place()
        store = CellStore(made_folder(scratch / "cells"), rows.finish())
        counts, summary, periods = self._aggregate(rows, store, placing.snap)
        reported: list[str] = []
        if strays := far_ahead(periods):
            reported += self._stray_notes(periods, strays, summary)
            left, summary = self._drop(store, counts, periods, strays)
            counts = replace(left, ahead=left.unfinished - counts.unfinished, unfinished=counts.unfinished)
            periods = periods.without(strays)
        dropped = unfinished(periods, self._step)
        reported += self._unfinished_notes(periods, dropped, counts)
        if dropped:
            counts, summary = self._drop(store, counts, periods, dropped)
        if counts.unfinished and not summary.cells:
            fix = "add rows, or choose a finer ForecastFrequency"
            raise ImportFailure([FileProblem("train/", f"no period is whole: {'; '.join(reported)}", fix)])
        self._check(summary, bad)
        wholes = min(max(1, -(-summary.rows * _BYTES_PER_ROW // self._shard_bytes)), HASHES)
        pieces = min(-(-self._min_shards // wholes), HASHES // wholes)
        written = self._write(store, wholes, pieces, summary.last, output)
        reports = _with_replaced(contents, counts.duplicates)
        reported = [*(f"{key} was left out as a whole: {reason}" for key, reason in left_out.items()), *reported]
        notes = (*placing.notes, *reported, *_notes(self._params, reports, counts, summary, bad.total))
        notes += tuple(account(sum(file.rows for file in contents), counts, summary, bad.total))
        manifest = Manifest(
            data_version=self._data_version(summary.last, [digest for digest, _ in written]),
            first=self._start(summary.first),
            last=self._start(summary.last),
            frequency=str(self._params.frequency),
            dimensions=self._params.dimensions,
            series=summary.series,
            rows=summary.rows,
            observed=summary.cells,
            filled=summary.rows - summary.cells,
            missing=counts.missing,
            aggregated=counts.aggregated,
            duplicates=sum(counts.duplicates.values()),
            rejected=dict(sorted(bad.counts.items())),
            files={file.key: file.rows for file in sorted(contents, key=lambda file: file.key)},
            n_shards=wholes * pieces,
            shards=tuple(shard for _, shards in written for shard in shards),
            notes=notes,
            unfinished=counts.unfinished,
            ahead=counts.ahead,
            alignment=asdict(self._params.alignment),
            lag_seconds=None if self._step is not None or periods.several else periods.lag / 1_000_000,
        )
        (output / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        places = bad.publish(rejected, [file.key for file in ordered])
        return ImportReport(manifest, reports, sum(file.rows for file in contents), places, notes)

    def _start(self, ordinal: int) -> str:
        """ISO 8601 text of the start of a period."""
        return str(self._params.grid.start(ordinal).astype("datetime64[s]"))

    @property
    def _step(self) -> int | None:
        """Microseconds between rows, at most, where they are declared finer than periods."""
        data = self._params.data_frequency
        if data == self._params.frequency:
            return None
        return data.microseconds or data.n * _LONGEST_MONTH

    # -------------------------------------------------------------------------------------------------- read

    def _read_good(
        self, files: Sequence[TrainFile], scratch: Path
    ) -> tuple[list[FileContents], RowPartitions, BadRows, dict[str, str]]:
        """What all files hold; those that can't be read are left out if the parameters say so, and named with the reason.

        Raises:
            ImportFailure: a file can't be read, and may not be left out, or none is left.
        """
        kept, left_out = list(files), dict[str, str]()
        while True:
            attempt = str(len(left_out))
            rows = RowPartitions(made_folder(scratch / "rows" / attempt))
            bad = BadRows(made_folder(scratch / "rejected" / attempt), quarantine=self._params.bad_rows == "quarantine")
            self._instants = InstantSample()
            try:
                return self._read(kept, rows, bad, scratch), rows, bad, left_out
            except ImportFailure as failure:
                reasons = _by_file(failure, bad)
                if self._params.bad_files != "quarantine" or not reasons or len(reasons) == len(kept):
                    raise
                left_out |= reasons
                kept = [file for file in kept if file.key not in left_out]

    def _read(self, files: Sequence[TrainFile], rows: RowPartitions, bad: BadRows, scratch: Path) -> list[FileContents]:
        several = len(files) > 1
        problems: list[FileProblem] = []
        sizes = [_size(file, problems) for file in files]
        if problems:
            raise ImportFailure(problems)
        contents: list[FileContents] = []
        self._progress("read", 0.0)
        with scratch_connection(scratch, memory_limit=self._memory_limit, threads=self._threads) as connection:
            reader = TrainFileReader(connection, self._params, bad, several=several, unpacked=self._unpacked)
            for rank, file in enumerate(files):
                take = partial(self._take, partial(_take_ranked, rows, rank) if several else rows.add)
                advance = partial(self._advance, sum(sizes[:rank]), sizes[rank], sum(sizes))
                try:
                    with TemporaryDirectory(dir=scratch) as folder:
                        contents.append(reader.read(file, take, Path(folder), advance))
                except FileProblem as problem:
                    problems.append(problem)
        if problems or (bad.total and not bad.quarantine):
            raise ImportFailure(problems, bad.first, bad.counts)
        self._progress("read", 1.0)
        return contents

    def _take(self, add: Callable[[pa.RecordBatch], None], batch: pa.RecordBatch) -> None:
        self._instants.add(batch.column("instant").to_numpy(zero_copy_only=False))
        add(batch)

    def _place(self) -> Placing:
        """How rows are placed on the grid, which is settled from here on."""
        try:
            placing = place_rows(self._params, self._instants.moments)
        except FileProblem as problem:
            raise ImportFailure([problem]) from problem
        self._params = replace(self._params, alignment=placing.alignment)
        return placing

    def _advance(self, before: int, size: int, total: int, share: float) -> None:
        self._progress("read", min((before + size * share) / total, 1.0))

    # --------------------------------------------------------------------------------------------- aggregate

    def _aggregate(self, rows: RowPartitions, store: CellStore, snap: int) -> tuple[CellCounts, Summary, Extents]:
        """Cells of all rows, kept in `store`: what happened on the way, what they are as a whole, and of which periods."""
        rule = Rule(self._params.grid, self._params.aggregation, snap, self._step, self._repeated())

        def work(number: int) -> tuple[CellCounts, PartitionSeries, Extents] | None:
            tables = rows.read_parts(number, self._rows_at_once(), partial(period_of, rule=rule))
            answer = aggregate(tables, rule)
            if answer is None:
                return None
            cells, counts, periods = answer
            store.put(number, cells)
            return counts, PartitionSeries.of(cells), periods

        total = CellCounts(Counter(), 0, 0)
        parts: list[PartitionSeries] = []
        spans: list[Extents] = []
        try:
            for answer in self._each("aggregate", work, store.partitions if rows.rows else 0):
                if answer is not None:
                    total += answer[0]
                    parts.append(answer[1])
                    spans.append(answer[2])
        except AggregateOverflowError as error:
            place = f"series {', '.join(error.key)}"
            reason = f"the {self._params.aggregation} of the period {self._start(error.ordinal)} is beyond a double"
            fix = "look for wrong values in that period, or aggregate otherwise"
            raise ImportFailure([FileProblem(place, reason, fix)]) from error
        except PeriodTooLargeError as error:
            reason = (
                f"the period {self._start(error.period)} has {error.rows:,} rows of a few series, more than the "
                f"{2 * self._rows_at_once():,} that CHRONOS_MEMORY_LIMIT={self._memory_limit} holds at once"
            )
            fix = "set it higher, choose a finer ForecastFrequency, or add the rows up beforehand"
            raise ImportFailure([FileProblem("train/", reason, fix)]) from error
        return total, Summary.of(parts), Extents.joined(spans)

    def _rows_at_once(self) -> int:
        """Rows of a partition that each thread may hold while it aggregates them."""
        amount = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG])i?B", self._memory_limit)
        size = float(amount[1]) * 10 ** {"M": 6, "G": 9}[amount[2]] if amount else _UNKNOWN_LIMIT
        return max(int(size / self._threads / _BYTES_HELD), _LEAST_AT_ONCE)

    def _repeated(self) -> Periods:
        """(r, 2) spans of clock time, in microseconds, that occur twice on the clock of the data, for hours and minutes."""
        params = self._params
        if params.clock is None or params.frequency.approximate_seconds > 3600:
            return np.empty((0, 2), dtype=np.int64)
        spans = np.array(repeated_hours(params.clock), dtype="datetime64[us]").astype(np.int64)
        return spans.reshape(-1, 2)

    def _drop(
        self, store: CellStore, counts: CellCounts, periods: Extents, dropped: Sequence[int]
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

    def _stray_notes(self, periods: Extents, strays: Sequence[int], summary: Summary) -> Iterator[str]:
        """What was left out because it lies far ahead of everything else."""
        rows = counted(int(periods.rows[np.isin(periods.ordinals, strays)].sum()), "row")
        before = int(periods.ordinals[periods.ordinals < strays[0]].max())
        yield (
            f"{rows} far ahead of all others left out, from {self._start(strays[0])} on (series {summary.last_key}), where the "
            f"others end at {self._start(before)}: fix the timestamp, if it is wrong"
        )

    def _unfinished_notes(self, periods: Extents, dropped: Sequence[int], counts: CellCounts) -> Iterator[str]:
        """What was left out because rows don't fill it, one sentence each."""
        grid = self._params.grid
        for ordinal in dropped:
            place = int(np.searchsorted(periods.ordinals, ordinal))
            start, end = grid.start(np.array([ordinal, ordinal + 1]))
            first = start + np.timedelta64(int(periods.head[place]), "us")
            last = end - np.timedelta64(int(periods.tail[place]), "us")
            if place:
                yield (
                    f"the last period, {_shown(start)}, is left out: its rows end at {_shown(last)}, before the period "
                    f"does at {_shown(end)}"
                )
            else:
                yield f"the first period, {_shown(start)}, is left out: its rows begin at {_shown(first)}"
        if counts.cut:
            yield (
                f"series whose own rows end, or begin, within a period that others may fill: {counts.cut}; the period is "
                "left out of them"
            )
        yield from counts.thin.notes(grid)

    def _each(self, stage: str, work: Callable[[int], Any], count: int) -> Iterator[Any]:
        """The answers of `work` for 0 … count - 1, in order, made by several threads."""
        self._progress(stage, 0.0)
        with ThreadPoolExecutor(self._threads, thread_name_prefix=f"import-{stage}") as pool:
            try:
                for done, answer in enumerate(pool.map(work, range(count)), start=1):
                    self._progress(stage, done / count)
                    yield answer
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _check(self, summary: Summary, bad: BadRows) -> None:
        """Refuse a dataset without values, and one whose grid would be absurdly larger than its data."""
        if not summary.cells:
            problem = FileProblem("train/", "no good row of any file has a value", "give the target column numbers")
            raise ImportFailure([problem], bad.first, bad.counts)
        if summary.rows > max(_SPARSE_ROWS, _SPARSE_RATIO * summary.cells):
            reason = (
                f"{summary.cells} observed periods would make {summary.rows} rows at the frequency "
                f"{self._params.frequency}, from {self._start(summary.first)} (series {summary.first_key}) to "
                f"{self._start(summary.last)} (series {summary.last_key})"
            )
            fix = "fix the timestamp that is too early or too late, or choose a coarser ForecastFrequency"
            raise ImportFailure([FileProblem("train/", reason, fix)])

    # ------------------------------------------------------------------------------------------------- write

    def _write(
        self, store: CellStore, wholes: int, pieces: int, last: int, output: Path
    ) -> list[tuple[bytes, list[Shard]]]:
        """Digests of the series of `wholes` equal shares of the hashes, and the shards that hold them, `pieces` each."""
        names = ("item_id", *self._params.dimensions)
        grid, filling = self._params.grid, self._params.filling

        def work(whole: int) -> tuple[bytes, list[Shard]] | None:
            low, high = hash_range(whole, wholes)
            cells = join_cells(list(store.of_hashes(low, high)), low, high)
            if cells is None:
                return None
            shards = []
            for number in range(whole * pieces, (whole + 1) * pieces):
                piece = join_cells([cells], *hash_range(number, wholes * pieces))
                if piece is not None:
                    shards.append(
                        write_shard(output, number, piece, names=names, grid=grid, last=last, filling=filling)
                    )
            return series_digest(cells, last), shards

        return [written for written in self._each("write", work, wholes) if written is not None]

    def _data_version(self, last: int, digests: Sequence[bytes]) -> str:
        boundary = self._params.grid.alignment
        parts = [boundary.month, boundary.day_of_month, boundary.day_of_week, boundary.hour, boundary.anchor]
        filling = self._params.filling
        gaps = [filling.middlefill, filling.middlefill_value, filling.backfill, filling.backfill_value]
        meaning = [str(self._params.frequency), parts, self._params.dimensions, last, gaps]
        version = hashlib.sha256(json.dumps(meaning).encode())
        for digest in digests:
            version.update(digest)
        return version.hexdigest()


def _shown(moment: np.datetime64) -> str:
    """A time for people: a date where it is midnight."""
    text = str(moment.astype("datetime64[s]"))
    return text.removesuffix("T00:00:00").replace("T", " ")


def _size(file: TrainFile, problems: list[FileProblem]) -> int:
    """Bytes of a file, at least 1; a file that can't be opened is added to `problems`."""
    try:
        with file.path.open("rb") as stream:
            return max(stream.seek(0, os.SEEK_END), 1)
    except OSError as error:
        problems.append(FileProblem(file.key, f"the file can't be opened ({error.strerror})", "look at the folder"))
        return 1


def _by_file(failure: ImportFailure, bad: BadRows) -> dict[str, str]:
    """What is wrong with each file; bad rows only where they can't be set aside by themselves."""
    failing = () if bad.quarantine else reversed(failure.rows)
    rows = {row.file: f"line {row.line}: {row.explanation}" for row in failing}
    return rows | {problem.file: problem.reason for problem in failure.files}


def hash_range(number: int, n_shards: int) -> tuple[int, int]:
    """The hashes h with h * n_shards // HASHES == number, low <= h < high; see `shards.shard_number`."""
    return -(-number * HASHES // n_shards), -(-(number + 1) * HASHES // n_shards)


def _take_ranked(rows: RowPartitions, rank: int, batch: pa.RecordBatch) -> None:
    """Add rows of the `rank`-th file from the oldest."""
    import pyarrow as pa

    rows.add(batch.append_column("rank", pa.array(np.full(batch.num_rows, rank, dtype=np.int32))))


def _with_replaced(files: Sequence[FileContents], duplicates: Counter[tuple[int, int]]) -> tuple[FileReport, ...]:
    """Reports of the files; the ranks in `duplicates` (lost, won) are positions in `files`."""
    pairs = sorted(duplicates.items())
    return tuple(
        FileReport(file, {files[won].key: count for (lost, won), count in pairs if lost == rank})
        for rank, file in enumerate(files)
    )


def _notes(
    params: ForecastParams, files: Sequence[FileReport], counts: CellCounts, summary: Summary, rejected: int
) -> Iterator[str]:
    """What a user should know, one sentence each."""
    yield from params.guesses
    yield from clock_notes(params)
    for file in files:
        yield from (f"{file.key}: {note}" for note in file.contents.notes)
        if file.contents.ignored:
            yield f"{file.key}: columns that the schema does not have were ignored: {', '.join(file.contents.ignored)}"
        for winner, count in file.replaced.items():
            yield f"{counted(count, 'row')} of {file.key} gave way to {winner}, which is newer{folder_hint(file.key, winner)}"
    yield from long_horizon(summary, params.horizon)
    if rejected:
        yield f"bad rows set aside in rejected/: {rejected}"
    if counts.aggregated:
        yield f"rows that joined another of the same period ({params.aggregation}): {counts.aggregated}"
    if counts.unfinished:
        yield f"rows of periods that they don't fill, left out: {counts.unfinished}"
    if counts.repeated:
        yield (
            f"rows of an hour that clocks in {params.time_zone} show twice, of which the mean is taken: {counts.repeated}"
        )
    if counts.missing:
        yield f"rows without a value, which count as not observed: {counts.missing}"
    empty = int(np.count_nonzero(summary.lasts == NOTHING))
    if empty:
        yield f"series without any observed value: {empty} of {summary.series}"
    early = int(np.count_nonzero(summary.lasts < summary.last - params.horizon))
    if early > empty:
        end = params.grid.start(summary.last).astype("datetime64[s]")
        named = [
            f"{key} on {_shown(params.grid.start(np.array([last]))[0])}"
            for last, key in summary.earliest
            if last < summary.last - params.horizon
        ]
        more = early - empty - len(named)
        yield (
            f"{early} of {summary.series} series end more than a forecast horizon before the last observation of the "
            f"dataset ({end}, series {summary.last_key}): {', '.join(named)}{f' and {more} more' if more else ''}"
            f"{'; if that timestamp is wrong, fix it' if 2 * early > summary.series else ''}"
        )
