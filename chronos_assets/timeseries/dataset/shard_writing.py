"""Cells on the regular grid, gaps filled, as the Parquet shards of a dataset; and digests of what was observed.

What a shard looks like to its readers belongs to `shards`, the numbers in the gaps to `filling`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.dataset.cells import consecutive
from chronos_assets.timeseries.dataset.filling import fill_many
from chronos_assets.timeseries.dataset.gridding import Cells
from chronos_assets.timeseries.dataset.shards import ROW_GROUP, Shard, shard_name

if TYPE_CHECKING:
    import pyarrow as pa

    from chronos_assets.calendar.frequencies import Grid
    from chronos_assets.params.attributes import Filling

Integers = NDArray[np.int64]

# Grid rows made at once: bounds the memory of a shard, except for a single longer series.
_ROWS_AT_ONCE = 1 << 20


def grid_rows(first: Integers, last: int) -> Integers:
    """(k,) rows of series on the grid, from their first period to the dataset's last, at least one each."""
    return np.maximum(last - first + 1, 1)


def series_digest(cells: Cells, last: int) -> bytes:
    """SHA-256 of series as they were observed, whatever fills their gaps."""
    digest = hashlib.sha256()
    for chunk in _chunks(cells, last):
        _feed(digest, chunk)
    return digest.digest()


def write_shard(
    folder: Path, number: int, cells: Cells, *, names: Sequence[str], grid: Grid, last: int, filling: Filling
) -> Shard:
    """Write the series of one shard to `folder`, on the grid up to the period `last`, gaps filled.

    names: of the key columns on disk. The bytes depend on the arguments and on the version of Arrow only.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            *((name, pa.dictionary(pa.int32(), pa.string())) for name in names),
            ("timestamp", pa.timestamp("us")),
            ("target", pa.float64()),
            ("filled", pa.bool_()),
        ]
    )
    path = folder / shard_name(number)
    rows = 0
    # Without the Arrow schema readers see plain strings; the dictionaries are this writer's own affair.
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, store_schema=False) as writer:
        for chunk in _chunks(cells, last):
            table = _on_grid(chunk, schema, grid, last, filling)
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows += table.num_rows
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Shard(path.name, rows, len(cells.first), path.stat().st_size, sha256)


def _chunks(cells: Cells, last: int) -> Iterator[Cells]:
    """Runs of series with at most `_ROWS_AT_ONCE` grid rows, or one longer series."""
    rows = np.cumsum(grid_rows(cells.first, last))
    ends = np.cumsum(cells.counts)
    start, total = 0, 0
    while start < len(rows):
        end = max(int(np.searchsorted(rows, total + _ROWS_AT_ONCE, side="right")), start + 1)
        low, high = (int(ends[start - 1]) if start else 0), int(ends[end - 1])
        yield Cells(
            cells.keys.slice(start, end - start),
            cells.hash[start:end],
            cells.first[start:end],
            cells.counts[start:end],
            cells.offsets[low:high],
            cells.values[low:high],
        )
        start, total = end, int(rows[end - 1])


def _feed(digest: Any, cells: Cells) -> None:
    """Add to a digest everything that tells these series from others."""
    for column in cells.keys.columns:
        digest.update("\x1e".join(column.to_pylist()).encode())
    for array in (cells.first, cells.counts, cells.offsets, cells.values):
        digest.update(np.ascontiguousarray(array).data)


def _on_grid(cells: Cells, schema: pa.Schema, grid: Grid, last: int, filling: Filling) -> pa.Table:
    """The rows of some series, in the columns of `schema`."""
    import pyarrow as pa

    first = np.minimum(cells.first, last)
    length = grid_rows(first, last)
    starts = np.cumsum(length) - length
    places = np.repeat(starts, cells.counts) + cells.offsets
    target = np.full(int(length.sum()), np.nan)
    observed = np.zeros(len(target), dtype=bool)
    target[places] = cells.values
    observed[places] = True
    if len(places) < len(target) and (filling.middlefill, filling.backfill) != ("nan", "nan"):
        target = fill_many(target, observed, starts, filling)
    series = np.repeat(np.arange(len(first), dtype=np.int32), length)
    columns = []
    for column in cells.keys.columns:
        # Dimensions repeat between series, but the entries of a dictionary differ.
        texts = column.combine_chunks().dictionary_encode()
        codes = pa.array(texts.indices.to_numpy()[series])
        columns.append(pa.DictionaryArray.from_arrays(codes, texts.dictionary))
    timestamps = grid.start(consecutive(first, length))
    return pa.table([*columns, pa.array(timestamps), pa.array(target), pa.array(~observed)], schema=schema)
