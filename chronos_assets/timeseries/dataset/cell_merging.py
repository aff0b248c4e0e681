"""Cells of a dataset that is there, with some of its periods replaced: what lets an import leave the others unread.

Cells between the passes of one import belong to `cells`; which periods are replaced, to `incremental`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.cells import take_series
from chronos_assets.timeseries.dataset.gridding import Cells, encode_keys
from chronos_assets.timeseries.dataset.series_keys import key_changes
from chronos_assets.timeseries.dataset.shards import ROW_GROUP

if TYPE_CHECKING:
    import pyarrow.parquet as pq


_NEVER = np.iinfo(np.int64).max


class UnknownRowsError(ChronosAssetsError, ValueError):
    """Whether a series still has rows, all of them without a value, is not known here."""


def read_cells(file: pq.ParquetFile, names: Sequence[str]) -> Cells:
    """The cells of a file of a shard, whose key columns are `names`.

    `first` and `hash` are zeros, since its import knows them; offsets count from the first row of each series.
    """
    keys: list[pa.Table] = [_key_table(None, names)]
    starts, places, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    rows, before = 0, None
    for batch in file.iter_batches(ROW_GROUP, columns=[*names, "target", "filled"]):
        found, before = _starts(batch, names, before)
        keys.append(_key_table(batch.take(found), names))
        observed = np.flatnonzero(~batch.column("filled").to_numpy(zero_copy_only=False))
        starts.append(found + rows)
        places.append(observed + rows)
        values.append(batch.column("target").to_numpy(zero_copy_only=False)[observed])
        rows += batch.num_rows
    return _cells_of_rows(keys, np.concatenate(starts), np.concatenate(places), np.concatenate(values))


def read_attributes(
    file: pq.ParquetFile, names: Sequence[str], grid: Grid, texts: Mapping[str, Sequence[str] | None]
) -> Iterator[Cells | None]:
    """The cells of each attribute in a file of related time series, of the series that have any; `hash` is zeros.

    Args:
        file: whose keys and categories are read as dictionaries.
        names: of its key columns.
        grid: of its timestamps.
        texts: of the attributes, in order: those of a category by code, None of numbers.

    Raises:
        ValueError: a category has another text.
    """
    codes = {
        name: {text: code for code, text in enumerate(known)} for name, known in texts.items() if known is not None
    }
    keys, starts, moments = [_key_table(None, names)], [np.empty(0, np.int64)], [np.empty(0, "datetime64[us]")]
    values: dict[str, list[NDArray[np.float64]]] = {name: [np.empty(0)] for name in texts}
    rows, before = 0, None
    for batch in file.iter_batches(ROW_GROUP, columns=[*names, "timestamp", *texts]):
        found, before = _starts(batch, names, before)
        keys.append(_key_table(batch.take(found), names))
        starts.append(found + rows)
        moments.append(batch.column("timestamp").to_numpy(zero_copy_only=False).astype("datetime64[us]"))
        for name, parts in values.items():
            column = batch.column(name)
            parts.append(_coded(column, codes[name]) if name in codes else column.to_numpy(zero_copy_only=False))
        rows += batch.num_rows
    table, ordinals = pa.concat_tables(keys).combine_chunks(), grid.ordinal(np.concatenate(moments))
    begins = np.concatenate(starts)
    series = np.searchsorted(begins, np.arange(rows), side="right") - 1
    for parts in values.values():
        column = np.concatenate(parts)
        there = ~np.isnan(column)
        counts = np.bincount(series[there], minlength=len(begins))
        some, own = np.flatnonzero(counts), ordinals[there]
        counts = counts[some]
        first = own[np.cumsum(counts) - counts]
        offsets = (own - np.repeat(first, counts)).astype(np.int32)
        hashes = np.zeros(len(some), dtype=np.uint16)
        yield Cells(table.take(some), hashes, first, counts, offsets, column[there]) if len(some) else None


def _coded(column: pa.DictionaryArray, codes: Mapping[str, int]) -> NDArray[np.float64]:
    """(n,) codes of texts, NaN for none."""
    texts = column.dictionary.to_pylist()
    if unknown := [text for text in texts if text not in codes]:
        raise ValueError(f"it has the text {unknown[0]!r}, which its import didn't note")
    found = np.array([*(codes[text] for text in texts), np.nan], dtype=np.float64)
    return np.asarray(found[column.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)])


def _key_table(rows: pa.RecordBatch | None, names: Sequence[str]) -> pa.Table:
    """The keys of rows, as cells have them; none of None."""
    columns = [pa.array([], pa.string()) if rows is None else rows.column(name).cast(pa.string()) for name in names]
    return pa.table(columns, names=[f"k{place}" for place in range(len(names))])


def _cells_of_rows(keys: Sequence[pa.Table], starts: Integers, places: Integers, values: NDArray[np.float64]) -> Cells:
    """Cells of series that begin at the rows `starts` (k,), from the rows that are observed (m,)."""
    series = np.searchsorted(starts, places, side="right") - 1
    return Cells(
        pa.concat_tables(keys).combine_chunks(),
        np.zeros(len(starts), dtype=np.uint16),
        np.zeros(len(starts), dtype=np.int64),
        np.bincount(series, minlength=len(starts)),
        (places - starts[series]).astype(np.int32),
        values,
    )


def rejoined(keys: Cells, firsts: Integers, parts: Sequence[tuple[Cells, Integers, Integers]]) -> Cells:
    """Series in one, whose periods lie in several parts.

    Args:
        keys: has the keys and hashes of the series (k,).
        firsts: (k,) of the series.
        parts: cells of some series; their places among all (n,), and the ordinals that their offsets count from (n,).
    """
    merged = _nothing()
    for cells, places, starts in parts:
        own = np.repeat(np.arange(len(places)), cells.counts)
        merged = merged_columns(merged, (places[own], starts[own] + cells.offsets, cells.values))
    series, ordinals, values = merged
    counts = np.bincount(series, minlength=len(firsts))
    return Cells(keys.keys, keys.hash, firsts, counts, (ordinals - firsts[series]).astype(np.int32), values)


def _starts(
    batch: pa.RecordBatch, names: Sequence[str], before: tuple[str, ...] | None
) -> tuple[Integers, tuple[str, ...]]:
    """(n,) rows that begin a series, and the key of the last; `before` is the key of the row before."""
    changes, columns = key_changes(batch, names), [batch.column(name) for name in names]
    changes[0] = tuple(column[0].as_py() for column in columns) != before
    return np.flatnonzero(changes), tuple(column[-1].as_py() for column in columns)


def with_periods(old: Cells | None, new: Cells | None, replaced: Integers, *, may_miss: bool) -> Cells | None:
    """The cells of `old` with those of `new` in place of the periods `replaced`; None when no series is left.

    Args:
        old: series with the same hashes, sorted by key.
        new: theirs of all rows that there are now in the periods replaced, and no other.
        replaced: (p,) ordinals.
        may_miss: whether there are rows without a value in other periods.

    Raises:
        UnknownRowsError: a series has no cell left, and may have such rows or not.
    """
    if old is None and new is None:
        return None
    keys, hashes, mine, theirs = series_of_both(old, new)
    count = len(hashes)
    kept = columns_of(old, mine, replaced) if old is not None else _nothing()
    series, ordinals, values = merged_columns(kept, columns_of(new, theirs) if new is not None else _nothing())
    counts = np.bincount(series, minlength=count)
    first = np.full(count, _NEVER)
    if new is not None:
        first[theirs] = new.first
    if old is not None:
        # Of a series without a cell only the first row is known, and only where its period stays.
        known = (old.counts == 0) & ~np.isin(old.first, replaced)
        first[mine[known]] = np.minimum(first[mine[known]], old.first[known])
        if may_miss and (counts[mine[~known]] == 0).any():
            raise UnknownRowsError("a series has lost its last observation")
    some = counts > 0
    first[some] = ordinals[np.cumsum(counts)[some] - counts[some]]
    offsets = (ordinals - np.repeat(first, counts)).astype(np.int32)
    together = Cells(keys, hashes, first, counts, offsets, values)
    left = np.flatnonzero(first != _NEVER)
    return take_series(together, left) if len(left) else None


def series_of_both(old: Cells | None, new: Cells | None) -> tuple[pa.Table, NDArray[np.uint16], Integers, Integers]:
    """The k series that are in either: keys (k,), sorted, hashes (k,), and the places there of the series of each."""
    parts = [part for part in (old, new) if part is not None]
    keys = pa.concat_tables([part.keys for part in parts]).combine_chunks()
    codes, rows = encode_keys(keys)
    split = 0 if old is None else len(old.first)
    return keys.take(rows), np.concatenate([part.hash for part in parts])[rows], codes[:split], codes[split:]


# Series (m,), ordinals (m,), and whatever else each cell has, such as values; sorted by the first two.
Columns = tuple[NDArray[Any], ...]


def _nothing() -> Columns:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)


def columns_of(cells: Cells, codes: Integers, without: Integers | None = None, names: Sequence[str] = ()) -> Columns:
    """(m,) series, ordinals, values and the columns `names` of cells, but those of the periods `without`."""
    series = np.repeat(codes, cells.counts)
    ordinals = cells.ordinals
    columns = (series, ordinals, cells.values, *(getattr(cells, name) for name in names))
    if without is None or not len(ordinals):
        return columns
    kept = ~np.isin(ordinals, without)
    return tuple(column[kept] for column in columns)


def merged_columns(one: Columns, other: Columns) -> Columns:
    """Two columns that are sorted by series and ordinal, and have none in common, as one."""
    if not len(one[0]) or not len(other[0]):
        return one if len(one[0]) else other
    lowest = min(int(one[1].min()), int(other[1].min()))
    span = max(int(one[1].max()), int(other[1].max())) - lowest + 1
    # At most 2**16 hashes x keys of a shard, and less than 2**31 periods of a series: far from 2**63.
    places = np.searchsorted(one[0] * span + (one[1] - lowest), other[0] * span + (other[1] - lowest))
    return tuple(np.insert(mine, places, theirs) for mine, theirs in zip(one, other, strict=True))
