"""Keys of series, and categories, between Arrow and numpy.

Here: what files of series have of them. Elsewhere: what an import of covariates makes of them (`related_importing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Integers

if TYPE_CHECKING:
    import pyarrow as pa

Key = tuple[str, ...]
KEY_SEPARATOR = " / "  # between the item and its dimensions, where a series has one name


def series_name(key: Sequence[str]) -> str:
    """The name of a series for people, and its `item_id` at the endpoint."""
    return KEY_SEPARATOR.join(key)


def key_list(keys: pa.Table) -> list[Key]:
    """The rows of a table of key columns."""
    return list(zip(*(column.to_pylist() for column in keys.columns), strict=True))


def key_changes(batch: pa.RecordBatch, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows of a batch have another key than the row before them, as the first has."""
    changes = np.zeros(batch.num_rows, dtype=bool)
    changes[:1] = True
    for name in names:
        codes = batch.column(name).indices.to_numpy(zero_copy_only=False)
        changes[1:] |= codes[1:] != codes[:-1]
    return changes


def keys_of(files: Iterable[Path | bytes], dimensions: Sequence[str]) -> list[Key]:
    """The keys in files of a shard of the dataset, or in their contents."""
    keys: dict[Key, None] = {}
    for file in files:
        _add_keys(keys, file, ["item_id", *dimensions])
    return list(keys)


def _add_keys(keys: dict[Key, None], source: Path | bytes, names: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    readable = source if isinstance(source, Path) else pa.BufferReader(source)
    with pq.ParquetFile(readable, read_dictionary=list(names)) as file:
        for batch in file.iter_batches(columns=names):
            codes = [column.indices.to_numpy(zero_copy_only=False) for column in batch.columns]
            changes = np.ones(batch.num_rows, dtype=bool)
            changes[1:] = np.logical_or.reduce([code[1:] != code[:-1] for code in codes])
            for row in np.flatnonzero(changes).tolist():
                keys[tuple(column[row].as_py() for column in batch.columns)] = None


def ranks_of(texts: Sequence[str]) -> tuple[Integers, Integers]:
    """(n,) which place each of different texts has in their order, and (n,) which text each place has."""
    order = np.array(sorted(range(len(texts)), key=texts.__getitem__), dtype=np.int64)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks, order


def as_category(codes: NDArray[np.float64], texts: list[str]) -> pa.DictionaryArray:
    """Codes as texts, of which only those that occur are kept, in their order as texts; NaN is null."""
    import pyarrow as pa

    missing = np.isnan(codes)
    used, places = np.unique(codes[~missing].astype(np.int64), return_inverse=True)
    occurring = [texts[code] for code in used.tolist()]
    ranks, order = ranks_of(occurring)
    indices = np.zeros(len(codes), dtype=np.int32)
    indices[~missing] = ranks[places]
    dictionary = pa.array([occurring[place] for place in order], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(indices, mask=missing), dictionary)
