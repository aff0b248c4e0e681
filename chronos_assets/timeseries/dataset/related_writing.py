"""Shards of related time series, made of the cells of their attributes: whole series on the dataset's grid, gaps filled.

Elsewhere: making the cells (`related_columns`), where they lie (`related_spans`), the layout on disk (`related`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.params.attributes import Filling, RelatedFilling
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.covariate_files import CovariateRows
from chronos_assets.timeseries.dataset.filling import fill_many
from chronos_assets.timeseries.dataset.gridding import Cells, drop_periods
from chronos_assets.timeseries.dataset.import_passes import hash_range
from chronos_assets.timeseries.dataset.related import (
    CovariateAttribute,
    Kind,
    RelatedManifest,
    related_version,
    shard_schema,
    write_related_file,
)
from chronos_assets.timeseries.dataset.related_columns import Extent, RelatedColumn
from chronos_assets.timeseries.dataset.related_form import EarlyCells, RelatedForm
from chronos_assets.timeseries.dataset.related_notes import related_notes, repeat_note
from chronos_assets.timeseries.dataset.related_spans import Picked, SharedCells, Spans, runs_of_series, spans_of
from chronos_assets.timeseries.dataset.series_keys import Key, as_category, key_list, keys_of
from chronos_assets.timeseries.dataset.shard_files import ShardFiles, all_series
from chronos_assets.timeseries.dataset.shards import WITH_TAILS, Manifest, Shard, ShardTail, shard_name, tail_name


@dataclass(frozen=True)
class WrittenShard:
    """A shard and what was noticed on the way.

    Attributes:
        shard: None where there are no rows.
        early: what lies before its tail.
        uncovered: series of the dataset without values here.
        strange: the reverse.
        without_future: by attribute that isn't filled, series of the dataset that have it, but not to the end of the horizon.
        extents: of the attributes that each series has its own of, by place.
    """

    shard: Shard | None
    early: EarlyCells
    uncovered: list[Key] = field(default_factory=list)
    strange: list[Key] = field(default_factory=list)
    without_future: Mapping[str, int] = field(default_factory=dict)
    extents: Mapping[int, Extent] = field(default_factory=dict)


class RelatedWriter:
    """Puts cells on the dataset's grid, shard by shard."""

    def __init__(
        self,
        columns: Sequence[RelatedColumn],
        params: ForecastParams,
        dataset: Manifest,
        files: ShardFiles,
        output: Path,
        form: RelatedForm,
    ) -> None:
        self.columns = columns
        self.form = form
        self.schema = shard_schema(dataset.dimensions, [CovariateAttribute(each.name, _kind(each)) for each in columns])
        self._dataset = dataset
        self._files = files
        self._output = output
        self._grid: Grid = params.grid
        self._said = dict(params.known_in_advance)
        self._shared = {place: SharedCells(column) for place, column in enumerate(columns) if not column.is_whole}

    def write(self, number: int) -> WrittenShard:
        """A shard, of the cells of all columns."""
        low, high = hash_range(number, self._dataset.n_shards)
        cells = [column.cells(low, high) if column.is_whole else None for column in self.columns]
        start = self.form.tail_from
        if start is None:
            return self.written(number, EarlyCells.of([None] * len(cells)), cells)
        parts = [(None, None) if one is None else _divided(one, start) for one in cells]
        early = EarlyCells.of([before for before, _ in parts])
        picked = [Picked.of(before, early.keys) for before, _ in parts]
        spans = spans_of(picked, self.columns, self.form.first, self.form.last, start - 1)
        return self.written(
            number, early, [late for _, late in parts], lambda name: self._file(name, early.keys, picked, spans)
        )

    def written(
        self,
        number: int,
        early: EarlyCells,
        late: Sequence[Cells | None],
        base: Callable[[str], Shard] | None = None,
        tail: ShardTail | None = None,
    ) -> WrittenShard:
        """A shard.

        Args:
            number: its.
            early: what lies before its tail; nothing where there are no tails.
            late: the other cells of each column, of those that each series has its own of.
            base: makes the file with what lies before the tail, by its name; None where there are no tails.
            tail: the file of the others where it is there already.
        """
        form = self.form
        if form.tail_from is not None:  # what lies beyond the end comes in once the tails begin later
            late = [None if cells is None else _divided(cells, form.end + 1)[0] for cells in late]
        dataset_keys = frozenset(keys_of(all_series(self._files, self._dataset, number), self._dataset.dimensions))
        own = [key_list(cells.keys) for cells in late if cells is not None]
        keys = sorted(dataset_keys.union(early.keys, *own))
        if not keys:
            return WrittenShard(None, early)
        picked = [
            self._shared[place].pick(keys) if place in self._shared else Picked.of(cells, keys)
            for place, cells in enumerate(late)
        ]
        places = early.places(keys)
        joined = [early.joined(place, one, places) for place, one in enumerate(picked)]
        extents = {
            place: early.extent(place, late[place], one, form)
            for place, one in enumerate(joined)
            if place not in self._shared
        }
        late_from = form.first if form.tail_from is None else form.tail_from
        late_spans = spans_of(picked, self.columns, late_from, form.last, form.end)
        nothing = [early.joined(place, Picked.of(None, keys), places) for place in range(len(picked))]
        spans = spans_of(nothing, self.columns, form.first, form.last, late_from - 1).followed_by(late_spans)
        is_own = np.array([key in dataset_keys for key in keys])
        without = {
            column.name: int(np.count_nonzero(is_own & (one.counts > 0) & (one.last < form.horizon)))
            for column, one in zip(self.columns, joined, strict=True)
            if column.filling.futurefill == "nan"
        }
        uncovered = [keys[place] for place in np.flatnonzero(is_own & (spans.length == 0))]
        strange = [keys[place] for place in np.flatnonzero(~is_own & (spans.length > 0))]
        found = WrittenShard(None, early, uncovered, strange, without, extents)
        if not spans.length.any():
            return found
        if form.tail_from is None or base is None:
            return replace(found, shard=self._file(shard_name(number), keys, picked, spans))
        shard = base(shard_name(number))
        if tail is None:
            made = self._file(tail_name(shard.name), keys, picked, late_spans)
            tail = ShardTail(made.rows, made.bytes, made.sha256)
        rows, series = int(spans.length.sum()), int(np.count_nonzero(spans.length))
        return replace(found, shard=replace(shard, rows=rows, series=series, tail=tail))

    def _file(self, name: str, keys: Sequence[Key], picked: Sequence[Picked], spans: Spans) -> Shard:
        """Write a file with the series that have rows in these spans."""
        tables = (
            (self._table([keys[place] for place in chunk], chunk, picked, spans), len(chunk))
            for chunk in runs_of_series(np.flatnonzero(spans.length > 0), spans.length)
        )
        return write_related_file(self._output / name, self.schema, tables)

    def empty(self, name: str) -> Shard:
        """Write a file without rows."""
        return write_related_file(self._output / name, self.schema, ())

    def _table(self, keys: Sequence[Key], chunk: Integers, picked: Sequence[Picked], spans: Spans) -> pa.Table:
        """The rows of some series, in the columns of the schema."""
        first, length = spans.first[chunk], spans.length[chunk]
        starts = np.cumsum(length) - length
        series = np.repeat(np.arange(len(chunk), dtype=np.int32), length)
        ordinals = np.repeat(first - starts, length) + np.arange(int(length.sum()))
        columns: list[Any] = []
        for part in range(len(keys[0])):
            texts = pa.array([key[part] for key in keys]).dictionary_encode()
            columns.append(pa.DictionaryArray.from_arrays(texts.indices.take(pa.array(series)), texts.dictionary))
        columns.append(pa.array(self._grid.start(ordinals)))
        for column, one in zip(self.columns, picked, strict=True):
            values = self._values(one, chunk, first, length, starts)
            if self._told_by_the_end(column, column.extent) is None:
                values = self._filled(values, column.filling, starts, ordinals)
            columns.append(pa.array(values) if column.texts is None else as_category(values, column.texts))
        return pa.table(columns, schema=self.schema)

    def _values(
        self,
        picked: Picked,
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
        ahead = ordinals > self.form.last
        if ahead.any():
            filled[ahead] = fill_many(values, observed, starts, future)[ahead]
        return filled

    def _in_advance(self, column: RelatedColumn, extent: Extent) -> bool:
        return self._said.get(column.name, extent.is_ahead or column.filling.futurefill != "nan")

    def _told_by_the_end(self, column: RelatedColumn, extent: Extent) -> Filling | None:
        """What fills the past of an attribute where an as-of within a gap can't tell how the gap ends; None elsewhere."""
        past = _past_filling(column.filling)
        differs = (past.middlefill, past.middlefill_value) != (past.backfill, past.backfill_value)
        return past if column.texts is None and differs and not self._in_advance(column, extent) else None

    def _extents(self, written: Sequence[WrittenShard]) -> list[Extent]:
        """Of all attributes."""
        return [
            self.columns[place].extent
            if place in self._shared
            else sum((each.extents[place] for each in written if place in each.extents), Extent())
            for place in range(len(self.columns))
        ]

    def manifest(self, written: Sequence[WrittenShard], read: Sequence[CovariateRows]) -> RelatedManifest:
        """The manifest of everything that was written."""
        extents = self._extents(written)
        attributes = tuple(
            CovariateAttribute(
                name=column.name,
                kind=_kind(column),
                known_in_advance=self._in_advance(column, extent),
                last=None if extent.is_empty else str(self._grid.start(extent.last).astype("datetime64[s]")),
                filling=self._told_by_the_end(column, extent),
            )
            for column, extent in zip(self.columns, extents, strict=True)
        )
        shards = tuple(each.shard for each in written if each.shard is not None)
        without: Counter[str] = Counter()
        for each in written:
            without.update(each.without_future)
        known = {attribute.name for attribute in attributes if attribute.known_in_advance}
        named = {attribute.name: extent for attribute, extent in zip(attributes, extents, strict=True)}
        made = RelatedManifest(
            data_version=related_version(self._dataset, attributes, shards),
            dataset_version=self._dataset.data_version,
            frequency=self._dataset.frequency,
            alignment=self._dataset.alignment or asdict(self._grid.alignment),
            dimensions=self._dataset.dimensions,
            attributes=attributes,
            n_shards=self._dataset.n_shards,
            shards=shards,
            rows=sum(shard.rows for shard in shards),
            series=sum(shard.series for shard in shards),
            uncovered=sum(len(each.uncovered) for each in written),
            items_without_future={name: without[name] for name in named if name in known and without[name]},
            constant=tuple(name for name, extent in named.items() if extent.is_constant),
            empty=tuple(name for name, extent in named.items() if extent.is_empty),
            rejected=dict(sum((rows.rejected for rows in read), Counter[str]())),
            files={file.key: file.rows for rows in read for file in rows.contents},
            format_version=WITH_TAILS if any(shard.tail for shard in shards) else 1,
        )
        return replace(made, notes=tuple(self._notes(made, extents, written, read)))

    def _notes(
        self,
        made: RelatedManifest,
        extents: Sequence[Extent],
        written: Sequence[WrittenShard],
        read: Sequence[CovariateRows],
    ) -> Iterator[str]:
        """What to say of it."""
        named = {column.name: extent for column, extent in zip(self.columns, extents, strict=True)}
        known = {attribute.name for attribute in made.attributes if attribute.known_in_advance}
        sparse = {
            column.name: extent.cells / extent.periods
            for column, extent in zip(self.columns, extents, strict=True)
            if extent.is_sparse
            and column.texts is None
            and not extent.is_constant
            and column.filling.middlefill == "nan"
        }
        patchy = {
            column.name: extent.cells / extent.periods
            for column, extent in zip(self.columns, extents, strict=True)
            if extent.is_constant and extent.cells < extent.periods and column.filling.middlefill == "nan"
        }
        strays = {
            name: (extent.ahead, extent.series)
            for name, extent in named.items()
            if extent.ahead and name not in known and name not in self._said
        }
        return related_notes(
            made,
            self._dataset,
            [note for rows in read for note in rows.notes],
            uncovered=sorted(key for each in written for key in each.uncovered),
            strange=sorted(key for each in written for key in each.strange),
            strays=strays,
            sparse=sparse,
            patchy=patchy,
            repeats=[
                note
                for column in self.columns
                if (note := repeat_note(column.name, column.repeats, column.texts, column.method))
            ],
        )


def _past_filling(filling: RelatedFilling) -> Filling:
    """What fills the past: of the service's three, all but the future's."""
    return Filling(filling.middlefill, filling.backfill, filling.middlefill_value, filling.backfill_value)


def _kind(column: RelatedColumn) -> Kind:
    return "number" if column.texts is None else "category"


def _divided(cells: Cells, start: int) -> tuple[Cells, Cells]:
    """The cells before a period, and the others; each of all series."""
    ordinals = np.unique(cells.ordinals)
    early = ordinals < start
    return drop_periods(cells, ordinals[~early].tolist()), drop_periods(cells, ordinals[early].tolist())
