"""Shards of related time series, made of the cells of their attributes: whole series on the dataset's grid, gaps filled.

Elsewhere: making the cells (`related_columns`), the layout on disk (`related`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.params.attributes import Filling, RelatedFilling
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.cells import join_cells
from chronos_assets.timeseries.dataset.covariate_files import CovariateRows
from chronos_assets.timeseries.dataset.filling import fill_many
from chronos_assets.timeseries.dataset.gridding import (
    NOTHING,
    Cells,
)
from chronos_assets.timeseries.dataset.import_passes import Progress, hash_range
from chronos_assets.timeseries.dataset.related import (
    CovariateAttribute,
    RelatedManifest,
    related_version,
    shard_schema,
    write_related_shard,
)
from chronos_assets.timeseries.dataset.related_notes import related_notes
from chronos_assets.timeseries.dataset.series_keys import Key, as_category, key_list, keys_of
from chronos_assets.timeseries.dataset.shard_files import ShardFiles, shard_contents
from chronos_assets.timeseries.dataset.shards import HASHES, Manifest, Shard

if TYPE_CHECKING:
    import pyarrow as pa

    from chronos_assets.calendar.frequencies import Grid
    from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.related_columns import RelatedColumn

_ROWS_AT_ONCE = 1 << 19  # rows of the grid that a thread makes at once


@dataclass(frozen=True)
class _WrittenShard:
    """A shard and what was noticed on the way. uncovered: series of the dataset without values here; strange: the reverse."""

    shard: Shard | None
    uncovered: list[Key]
    strange: list[Key]
    without_future: dict[str, int]


class RelatedWriter:
    """Puts cells on the dataset's grid, shard by shard."""

    def __init__(
        self,
        columns: Sequence[RelatedColumn],
        params: ForecastParams,
        dataset: Manifest,
        files: ShardFiles,
        output: Path,
    ) -> None:
        self._columns = columns
        self._dataset = dataset
        self._files = files
        self._output = output
        self._grid: Grid = params.grid
        self._first, self._last = dataset.span(self._grid)
        self._horizon = self._last + params.horizon
        known = self._said = dict(params.known_in_advance)
        self.attributes = tuple(self._attribute(column, known) for column in columns)
        self._schema = shard_schema(dataset.dimensions, self.attributes)
        self._shared = {place: _Shared(column) for place, column in enumerate(columns) if not column.is_whole}

    def _attribute(self, column: RelatedColumn, known: Mapping[str, bool]) -> CovariateAttribute:
        in_advance = known.get(column.name, column.is_ahead or column.filling.futurefill != "nan")
        past = _past_filling(column.filling)
        # Of what nobody knows in advance, an as-of within a gap doesn't know how the gap ends.
        told_by_the_end = column.texts is None and not in_advance and _differs_at_the_end(past)
        return CovariateAttribute(
            name=column.name,
            kind="number" if column.texts is None else "category",
            known_in_advance=in_advance,
            last=None if column.is_empty else str(self._grid.start(column.last).astype("datetime64[s]")),
            filling=past if told_by_the_end else None,
        )

    def write(self, threads: int, progress: Progress) -> list[_WrittenShard]:
        """All shards, in order."""
        count, written = self._dataset.n_shards, []
        with ThreadPoolExecutor(threads, thread_name_prefix="related") as pool:
            for done, shard in enumerate(pool.map(self._write, range(count)), start=1):
                progress("write", done / count)
                written.append(shard)
        return written

    def _write(self, number: int) -> _WrittenShard:
        low, high = hash_range(number, self._dataset.n_shards)
        whole = {
            place: join_cells(list(column.store.of_hashes(low, high)), low, high)
            for place, column in enumerate(self._columns)
            if column.is_whole
        }
        dataset_keys = keys_of(shard_contents(self._files, self._dataset, number), self._dataset.dimensions)
        own = [key_list(cells.keys) for cells in whole.values() if cells is not None]
        keys = sorted(set(dataset_keys).union(*own))
        if not keys:
            return _WrittenShard(None, [], [], {})
        picked = []
        for place in range(len(self._columns)):
            if place in self._shared:
                picked.append(self._shared[place].pick(keys))
            else:
                picked.append(_Picked.of(whole[place], keys))
        spans = _spans(picked, self._columns, self._first, self._last, self._horizon)
        return self._write_keys(number, keys, frozenset(dataset_keys), picked, spans)

    def _write_keys(
        self, number: int, keys: list[Key], dataset_keys: frozenset[Key], picked: Sequence[_Picked], spans: _Spans
    ) -> _WrittenShard:
        is_own = np.array([key in dataset_keys for key in keys])
        without = {
            column.name: int(np.count_nonzero(is_own & (one.counts > 0) & (one.last < self._horizon)))
            for column, one, attribute in zip(self._columns, picked, self.attributes, strict=True)
            if attribute.known_in_advance and column.filling.futurefill == "nan"
        }
        uncovered = [keys[place] for place in np.flatnonzero(is_own & (spans.length == 0))]
        strange = [keys[place] for place in np.flatnonzero(~is_own & (spans.length > 0))]
        kept = np.flatnonzero(spans.length > 0)
        if not len(kept):
            return _WrittenShard(None, uncovered, strange, without)
        tables = (
            (self._table([keys[place] for place in chunk], chunk, picked, spans), len(chunk))
            for chunk in _chunks(kept, spans.length)
        )
        shard = write_related_shard(self._output, number, self._schema, tables)
        return _WrittenShard(shard, uncovered, strange, {name: count for name, count in without.items() if count})

    def _table(self, keys: Sequence[Key], chunk: Integers, picked: Sequence[_Picked], spans: _Spans) -> pa.Table:
        """The rows of some series, in the columns of the schema."""
        import pyarrow as pa

        first, length = spans.first[chunk], spans.length[chunk]
        starts = np.cumsum(length) - length
        series = np.repeat(np.arange(len(chunk), dtype=np.int32), length)
        ordinals = np.repeat(first - starts, length) + np.arange(int(length.sum()))
        columns: list[Any] = []
        for part in range(len(keys[0])):
            texts = pa.array([key[part] for key in keys]).dictionary_encode()
            columns.append(pa.DictionaryArray.from_arrays(texts.indices.take(pa.array(series)), texts.dictionary))
        columns.append(pa.array(self._grid.start(ordinals)))
        for column, attribute, one in zip(self._columns, self.attributes, picked, strict=True):
            values = self._values(column, one, chunk, first, length, starts)
            if attribute.filling is None:
                values = self._filled(values, column.filling, starts, ordinals)
            columns.append(pa.array(values) if column.texts is None else as_category(values, column.texts))
        return pa.table(columns, schema=self._schema)

    def _values(
        self,
        column: RelatedColumn,
        picked: _Picked,
        chunk: Integers,
        first: Integers,
        length: Integers,
        starts: Integers,
    ) -> NDArray[np.float64]:
        """(rows,) values of an attribute, with NaN for gaps."""
        cells = picked.take(chunk)
        owner = np.repeat(np.arange(len(chunk)), cells.counts)
        places = cells.ordinals - first[owner]
        inside = (places >= 0) & (places < length[owner])
        values = np.full(int(length.sum()), np.nan)
        values[(starts[owner] + places)[inside]] = cells.values[inside]
        return values

    def _filled(
        self, values: NDArray[np.float64], filling: RelatedFilling, starts: Integers, ordinals: Integers
    ) -> NDArray[np.float64]:
        """(rows,) values with their gaps filled."""
        observed = ~np.isnan(values)
        if observed.all() or (filling.middlefill, filling.backfill, filling.futurefill) == ("nan", "nan", "nan"):
            return values
        past = _past_filling(filling)
        filled = fill_many(values, observed, starts, past)
        future = replace(past, backfill=filling.futurefill, backfill_value=filling.futurefill_value)
        ahead = ordinals > self._last
        if ahead.any():
            filled[ahead] = fill_many(values, observed, starts, future)[ahead]
        return filled

    def manifest(self, written: Sequence[_WrittenShard], read: Sequence[CovariateRows]) -> RelatedManifest:
        """The manifest of everything that was written."""
        shards = tuple(each.shard for each in written if each.shard is not None)
        without: dict[str, int] = {}
        for each in written:
            for name, count in each.without_future.items():
                without[name] = without.get(name, 0) + count
        rejected: dict[str, int] = {}
        for rows in read:
            for reason, count in rows.bad.counts.items():
                rejected[reason] = rejected.get(reason, 0) + count
        made = RelatedManifest(
            data_version=related_version(self._dataset, self.attributes, shards),
            dataset_version=self._dataset.data_version,
            frequency=self._dataset.frequency,
            alignment=self._dataset.alignment or asdict(self._grid.alignment),
            dimensions=self._dataset.dimensions,
            attributes=self.attributes,
            n_shards=self._dataset.n_shards,
            shards=shards,
            rows=sum(shard.rows for shard in shards),
            series=sum(shard.series for shard in shards),
            uncovered=sum(len(each.uncovered) for each in written),
            items_without_future=without,
            constant=tuple(column.name for column in self._columns if column.is_constant),
            empty=tuple(column.name for column in self._columns if column.is_empty),
            rejected=rejected,
            files={file.key: file.rows for rows in read for file in rows.contents},
        )
        sparse = {
            column.name: column.extent.cells / column.extent.periods for column in self._columns if column.is_sparse
        }
        strays = {
            column.name: (column.extent.ahead, column.extent.series)
            for column, attribute in zip(self._columns, self.attributes, strict=True)
            if column.extent.ahead and not attribute.known_in_advance and attribute.name not in self._said
        }
        notes = related_notes(
            made,
            self._dataset,
            [
                f"{file.key}: {note}"
                for rows in read
                if not rows.source.is_target
                for file in rows.contents
                for note in file.notes
            ],
            uncovered=sorted(key for each in written for key in each.uncovered),
            strange=sorted(key for each in written for key in each.strange),
            strays=strays,
            sparse=sparse,
        )
        return replace(made, notes=tuple(notes))


def _past_filling(filling: RelatedFilling) -> Filling:
    """What fills the past: of the service's three, all but the future's."""
    return Filling(filling.middlefill, filling.backfill, filling.middlefill_value, filling.backfill_value)


def _differs_at_the_end(filling: Filling) -> bool:
    """Whether a gap that a value closes is filled otherwise than one that none closes."""
    return (filling.middlefill, filling.middlefill_value) != (filling.backfill, filling.backfill_value)


@dataclass(frozen=True)
class _Spans:
    """(k,) first ordinal and number of periods of each series; none where nothing is known of it."""

    first: Integers
    length: Integers


def _spans(picked: Sequence[_Picked], columns: Sequence[RelatedColumn], low: int, last: int, horizon: int) -> _Spans:
    """From the first value of any attribute to the last, or to where an attribute is filled; within [low, horizon]."""
    first = np.full(len(picked[0].first), horizon + 1, dtype=np.int64)
    end = np.full(len(first), NOTHING, dtype=np.int64)
    for one, column in zip(picked, columns, strict=True):
        some = one.counts > 0
        first[some] = np.minimum(first[some], one.first[some])
        reach = one.last[some]
        if column.filling.backfill != "nan":
            reach = np.maximum(reach, last)
        if column.filling.futurefill != "nan":
            reach = np.full_like(reach, horizon)
        end[some] = np.maximum(end[some], reach)
    first = np.maximum(first, low)
    return _Spans(first, np.maximum(np.minimum(end, horizon) - first + 1, 0))


def _chunks(series: Integers, length: Integers) -> Iterable[Integers]:
    """Runs of series with at most `_ROWS_AT_ONCE` rows, or one longer series."""
    ends = np.cumsum(length[series])
    cuts, start = [], 0
    while start < len(series):
        before = int(ends[start - 1]) if start else 0
        end = max(int(np.searchsorted(ends, before + _ROWS_AT_ONCE, side="right")), start + 1)
        cuts.append(series[start:end])
        start = end
    return cuts


@dataclass(frozen=True)
class _Flat:
    """Cells of some series: counts (k,), ordinals and values (m,)."""

    counts: Integers
    ordinals: Integers
    values: NDArray[np.float64]


@dataclass(frozen=True)
class _Picked:
    """Cells of an attribute for k series: where each series' cells lie among all; counts are 0 where there are none."""

    cells: Cells | None
    rows: Integers
    counts: Integers
    first: Integers
    last: Integers
    starts: Integers

    @classmethod
    def of(cls, cells: Cells | None, keys: Sequence[Key]) -> _Picked:
        """The cells of these keys."""
        rows = np.full(len(keys), -1, dtype=np.int64)
        if cells is not None:
            places = {key: place for place, key in enumerate(key_list(cells.keys))}
            rows = np.fromiter((places.get(key, -1) for key in keys), dtype=np.int64, count=len(keys))
        return cls.at(cells, rows)

    @classmethod
    def at(cls, cells: Cells | None, rows: Integers) -> _Picked:
        """The cells of series by their places, -1 for none."""
        nothing = np.zeros(len(rows), dtype=np.int64)
        if cells is None:
            return cls(None, rows, nothing, nothing, np.full(len(rows), NOTHING, dtype=np.int64), nothing)
        there = rows >= 0
        starts = np.cumsum(cells.counts) - cells.counts
        return cls(
            cells,
            rows,
            np.where(there, cells.counts[rows], 0),
            np.where(there, cells.first[rows], 0),
            np.where(there, cells.last[rows], NOTHING),
            starts,
        )

    def take(self, chunk: Integers) -> _Flat:
        """The cells of some of the series."""
        counts = self.counts[chunk]
        if self.cells is None or not counts.sum():
            return _Flat(np.zeros_like(counts), np.empty(0, dtype=np.int64), np.empty(0))
        rows = self.rows[chunk][counts > 0]
        some = counts[counts > 0]
        begins = self.starts[rows]
        places = np.repeat(begins - (np.cumsum(some) - some), some) + np.arange(int(some.sum()))
        ordinals = np.repeat(self.cells.first[rows], some) + self.cells.offsets[places]
        return _Flat(counts, ordinals, self.cells.values[places])


class _Shared:
    """Cells of an attribute that apply to all series that share some parts of their key."""

    def __init__(self, column: RelatedColumn) -> None:
        self._parts = column.parts
        self._cells = join_cells(list(column.store.of_hashes(0, HASHES)), 0, HASHES)
        self._places: dict[Key, int] = {}
        if self._cells is not None:
            self._places = {key: place for place, key in enumerate(key_list(self._cells.keys))}

    def pick(self, keys: Sequence[Key]) -> _Picked:
        """The cells that apply to these series."""
        if not self._parts:  # the only series there is
            rows = np.zeros(len(keys), dtype=np.int64) if self._cells is not None else np.full(len(keys), -1)
            return _Picked.at(self._cells, rows.astype(np.int64))
        found = (self._places.get(tuple(key[part] for part in self._parts), -1) for key in keys)
        return _Picked.at(self._cells, np.fromiter(found, dtype=np.int64, count=len(keys)))
