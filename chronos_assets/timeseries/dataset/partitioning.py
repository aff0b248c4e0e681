"""Rows dealt out by the hash of their series, on disk when they are many: what lets an import exceed the memory.

Reading rows and making series of them belong to `importing` and `gridding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.arrays import Integers

PARTITIONS = 256
MEMORY_BYTES = 64 << 20


class PeriodTooLargeError(ChronosAssetsError, ValueError):
    """One period of a partition has more rows than may be held at once; period and rows say where, and how many."""

    def __init__(self, period: int, rows: int) -> None:
        self.period = period
        self.rows = rows
        super().__init__(f"period {period} has {rows} rows")


class RowPartitions:
    """Record batches with a column `hash` (uint16, `shards.key_hash`), taken in order and given back by hash range.

    Until `memory_bytes` of rows have come they stay in memory, as one partition. Beyond, they go to files in `folder`,
    each with one batch per partition, so that writing is sequential and reading a partition touches only its rows.
    Within a partition rows keep the order in which they came.
    """

    def __init__(self, folder: Path, memory_bytes: int = MEMORY_BYTES) -> None:
        self.rows = 0
        self._folder = folder
        self._limit = memory_bytes
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._files: list[Path] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows; all batches have the same schema."""
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes > self._limit:
            self._flush()

    def finish(self) -> int:
        """No more rows will come: how many partitions there are."""
        if not self._files:
            return 1
        self._flush()
        return PARTITIONS

    def read(self, number: int) -> pa.Table:
        """The rows of one partition, of those that `finish` counted."""
        if not self._files:
            return pa.Table.from_batches(self._pending)
        batches = []
        for path in self._files:
            with pa.OSFile(str(path)) as source:
                batches.append(pa.ipc.open_file(source).get_batch(number))
        return pa.Table.from_batches(batches)

    def read_parts(self, number: int, most: int, period_of: Callable[[Integers], Integers]) -> Iterator[pa.Table]:
        """The rows of one partition in tables of `most` rows about, if it has more; none shares a period with another.

        `period_of` gives the periods (n,) of instants (n,) in microseconds. The rows are read once for each table.

        Raises:
            PeriodTooLargeError: the rows of one period alone are more than twice as many.
        """
        if sum(batch.num_rows for batch in self._batches(number)) <= most:
            yield self.read(number)
            return
        for first, last in self._spans(number, most, period_of):
            chosen = []
            for batch in self._batches(number):
                periods = period_of(_microseconds(batch))
                inside = (periods >= first) & (periods <= last)
                if inside.any():
                    chosen.append(batch.filter(pa.array(inside)))
            yield pa.Table.from_batches(chosen)

    def _batches(self, number: int) -> Iterator[pa.RecordBatch]:
        if not self._files:
            yield from self._pending
            return
        for path in self._files:
            with pa.OSFile(str(path)) as source:
                yield pa.ipc.open_file(source).get_batch(number)

    def _spans(self, number: int, most: int, period_of: Callable[[Integers], Integers]) -> list[tuple[int, int]]:
        """(first, last) periods of the tables, ascending."""
        found = [np.unique(period_of(_microseconds(batch)), return_counts=True) for batch in self._batches(number)]
        periods, places = np.unique(np.concatenate([each for each, _ in found]), return_inverse=True)
        counts = np.bincount(places, weights=np.concatenate([each for _, each in found])).astype(np.int64)
        largest = int(counts.argmax())
        if counts[largest] > 2 * most:
            raise PeriodTooLargeError(int(periods[largest]), int(counts[largest]))
        groups = (np.cumsum(counts) - 1) // most
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        ends = np.append(starts[1:], len(periods)) - 1
        return list(zip(periods[starts].tolist(), periods[ends].tolist(), strict=True))

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending).combine_chunks()
        self._pending, self._pending_bytes = [], 0
        numbers = table.column("hash").to_numpy() // np.uint16((1 << 16) // PARTITIONS)
        table = table.take(pa.array(np.argsort(numbers.astype(np.uint8), kind="stable")))
        ends = np.cumsum(np.bincount(numbers, minlength=PARTITIONS)).tolist()
        path = self._folder / f"rows-{len(self._files):05d}.arrow"
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                part = table.slice(start, end - start).combine_chunks()
                writer.write_batch(part.to_batches()[0] if end > start else _empty(table.schema))
        self._files.append(path)


def _microseconds(batch: pa.RecordBatch) -> Integers:
    instants = batch.column("instant").to_numpy(zero_copy_only=False)
    return np.asarray(instants.astype("datetime64[us]").astype(np.int64))


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
