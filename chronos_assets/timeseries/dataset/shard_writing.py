"""Cells on the regular grid, gaps filled, as the Parquet shards of a dataset; and digests of what was observed.

What a shard looks like to its readers belongs to `shards`, the numbers in the gaps to `filling`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.params.attributes import Filling
from chronos_assets.system import file_digest
from chronos_assets.timeseries.arrays import Floats, Integers
from chronos_assets.timeseries.dataset.cells import consecutive
from chronos_assets.timeseries.dataset.filling import WINDOW, fill_many
from chronos_assets.timeseries.dataset.gridding import Cells
from chronos_assets.timeseries.dataset.shards import ROW_GROUP, TAIL_FROM, Shard, ShardTail, shard_name, tail_name

# Grid rows made at once: bounds the memory of a shard, except for a single longer series.
_ROWS_AT_ONCE = 1 << 20


def grid_rows(first: Integers, last: int) -> Integers:
    """(k,) rows of series on the grid, from their first period to the dataset's last, at least one each."""
    return np.maximum(last - first + 1, 1)


@dataclass(frozen=True)
class ShardForm:
    """What the bytes of a shard depend on beside its series.

    names: of the key columns on disk. last: period up to which every series goes. tail_from: the period from which on rows
    go to the shard's tail, a file of their own; None without one.
    """

    names: tuple[str, ...]
    grid: Grid
    filling: Filling
    last: int
    tail_from: int | None = None

    @property
    def fills_alike(self) -> bool:
        """Whether a gap is filled by the same number whatever was observed before and after it."""
        filling = self.filling
        same = (filling.middlefill, filling.middlefill_value) == (filling.backfill, filling.backfill_value)
        return same and filling.middlefill in {"nan", "zero", "value"}

    @property
    def needs_past(self) -> bool:
        """Whether filling a gap takes the observations before it."""
        return not {self.filling.middlefill, self.filling.backfill} <= {"nan", "zero", "value"}


@dataclass(frozen=True)
class FileRows:
    """Series as they go into one file.

    cells: `first` is where a series' rows begin. last: where all of them end. known: (k,) observations before the rows that
    gaps may be filled from, at most `WINDOW` each; past: they, one series after another. later: (k,) whether there is any after
    the rows.
    """

    cells: Cells
    last: int
    known: Integers
    past: Floats
    later: NDArray[np.bool_]

    @classmethod
    def alone(cls, cells: Cells, last: int) -> FileRows:
        """Of series whose rows are all there."""
        count = len(cells.first)
        return cls(cells, last, np.zeros(count, np.int64), np.empty(0), np.zeros(count, dtype=bool))


def tail_start(first: int, last: int, wholes: int) -> int | None:
    """The period from which on rows go to the tails of a dataset with so many shares; None where it has no tails.

    A dataset that grows period by period keeps it for as many periods as a tail has at most: an eighth of all, or less. It
    depends on nothing but the dataset's ends, so that it doesn't matter how the dataset came to be.
    """
    periods = last - first + 1
    if wholes < 2 or periods < 16:
        return None
    longest = longest_tail(periods)
    start = last // longest * longest
    return start if start > first else None


def longest_tail(periods: int) -> int:
    """The periods that a tail has at most, of a dataset with so many, 16 or more."""
    return 1 << ((periods // 8).bit_length() - 1)


def split(cells: Cells, form: ShardForm) -> list[FileRows]:
    """Series as they go into the files of a shard, the tail last."""
    if form.tail_from is None:
        return [FileRows.alone(cells, form.last)]
    start, count = form.tail_from, len(cells.first)
    series, ordinals = cells.series, cells.ordinals
    late = ordinals >= start
    earlier = np.bincount(series[~late], minlength=count)
    old = np.flatnonzero(cells.first < start)
    offsets = (ordinals[~late] - cells.first[series[~late]]).astype(np.int32)
    begun = Cells(cells.keys.take(old), cells.hash[old], cells.first[old], earlier[old], offsets, cells.values[~late])
    nothing = np.zeros(len(old), np.int64)
    base = FileRows(begun, start - 1, nothing, np.empty(0), (cells.counts > earlier)[old])
    rows = np.clip(cells.first, start, form.last)
    offsets = (ordinals[late] - rows[series[late]]).astype(np.int32)
    tail = Cells(cells.keys, cells.hash, rows, cells.counts - earlier, offsets, cells.values[late])
    most = WINDOW if form.needs_past else 1
    known = np.minimum(earlier, most)
    ends = np.cumsum(cells.counts) - cells.counts + earlier
    past = cells.values[consecutive(ends - known, known)]
    return [base, FileRows(tail, form.last, known, past, np.zeros(count, dtype=bool))]


def rows_digest(rows: FileRows) -> bytes:
    """SHA-256 of series as they were observed, whatever fills their gaps."""
    digest = hashlib.sha256()
    for chunk in _chunks(rows):
        _feed(digest, chunk.cells)
    return digest.digest()


def write_shard(folder: Path, number: int, cells: Cells, form: ShardForm) -> Shard:
    """Write the series of one shard to `folder`, on the grid, gaps filled.

    The bytes depend on the arguments and on the version of Arrow only.
    """
    path = folder / shard_name(number)
    if form.tail_from is None:
        rows, size, sha256 = _write(path, FileRows.alone(cells, form.last), form)
        return Shard(path.name, rows, len(cells.first), size, sha256)
    base, tail = split(cells, form)
    since = str(form.grid.start(form.tail_from).astype("datetime64[us]"))
    rows, size, sha256 = _write(path, base, form, {TAIL_FROM: since})
    last = write_tail(folder, path.name, tail, form)
    return Shard(path.name, rows + last.rows, len(cells.first), size, sha256, last)


def write_tail(folder: Path, shard: str, rows: FileRows, form: ShardForm) -> ShardTail:
    """Write the tail of a shard."""
    return ShardTail(*_write(folder / tail_name(shard), rows, form))


def _write(path: Path, rows: FileRows, form: ShardForm, said: Mapping[str, str] | None = None) -> tuple[int, int, str]:
    """Write a file that says these things of itself: its rows, bytes and SHA-256."""
    schema = pa.schema(
        [
            *((name, pa.dictionary(pa.int32(), pa.string())) for name in form.names),
            ("timestamp", pa.timestamp("us")),
            ("target", pa.float64()),
            ("filled", pa.bool_()),
        ]
    )
    count = 0
    path.unlink(missing_ok=True)  # it may be a link to a file of the dataset that is there
    # Without the Arrow schema readers see plain strings; the dictionaries are this writer's own affair.
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, store_schema=False) as writer:
        for chunk in _chunks(rows):
            table = _on_grid(chunk, schema, form.grid, form.filling)
            writer.write_table(table, row_group_size=ROW_GROUP)
            count += table.num_rows
        if said:
            writer.add_key_value_metadata(dict(said))
    return count, path.stat().st_size, file_digest(path)


def _chunks(rows: FileRows) -> Iterator[FileRows]:
    """Runs of series with at most `_ROWS_AT_ONCE` grid rows, or one longer series."""
    cells = rows.cells
    length = np.cumsum(grid_rows(cells.first, rows.last))
    ends, known = np.cumsum(cells.counts), np.cumsum(rows.known)
    start, total = 0, 0
    while start < len(length):
        end = max(int(np.searchsorted(length, total + _ROWS_AT_ONCE, side="right")), start + 1)
        low, high = (int(ends[start - 1]) if start else 0), int(ends[end - 1])
        before, after = (int(known[start - 1]) if start else 0), int(known[end - 1])
        part = Cells(
            cells.keys.slice(start, end - start),
            cells.hash[start:end],
            cells.first[start:end],
            cells.counts[start:end],
            cells.offsets[low:high],
            cells.values[low:high],
        )
        yield FileRows(part, rows.last, rows.known[start:end], rows.past[before:after], rows.later[start:end])
        start, total = end, int(length[end - 1])


def _feed(digest: Any, cells: Cells) -> None:
    """Add to a digest everything that tells these series from others."""
    for column in cells.keys.columns:
        digest.update("\x1e".join(column.to_pylist()).encode())
    for array in (cells.first, cells.counts, cells.offsets, cells.values):
        digest.update(np.ascontiguousarray(array).data)


def _on_grid(rows: FileRows, schema: pa.Schema, grid: Grid, filling: Filling) -> pa.Table:
    """The rows of some series, in the columns of `schema`."""
    cells = rows.cells
    first = np.minimum(cells.first, rows.last)
    length = grid_rows(first, rows.last)
    places = np.repeat(np.cumsum(length) - length, cells.counts) + cells.offsets
    target = np.full(int(length.sum()), np.nan)
    observed = np.zeros(len(target), dtype=bool)
    target[places] = cells.values
    observed[places] = True
    if len(places) < len(target) and (filling.middlefill, filling.backfill) != ("nan", "nan"):
        target = _filled(rows, target, observed, length, filling)
    series = np.repeat(np.arange(len(first), dtype=np.int32), length)
    columns = []
    for column in cells.keys.columns:
        # Dimensions repeat between series, but the entries of a dictionary differ.
        texts = column.combine_chunks().dictionary_encode()
        codes = pa.array(texts.indices.to_numpy()[series])
        columns.append(pa.DictionaryArray.from_arrays(codes, texts.dictionary))
    timestamps = grid.start(consecutive(first, length))
    return pa.table([*columns, pa.array(timestamps), pa.array(target), pa.array(~observed)], schema=schema)


def _filled(rows: FileRows, target: Floats, observed: NDArray[np.bool_], length: Integers, filling: Filling) -> Floats:
    """(n,) values of the rows of some series, gaps filled as if the observations before and after them were there."""
    whole = rows.known + length + rows.later
    starts = np.cumsum(whole) - whole
    values, present = np.zeros(int(whole.sum())), np.ones(int(whole.sum()), dtype=bool)
    values[consecutive(starts, rows.known)] = rows.past
    own = consecutive(starts + rows.known, length)
    values[own], present[own] = target, observed
    return fill_many(values, present, starts, filling)[own]
