"""Related time series and item metadata on disk: names, layout, reading and writing of the files.

Here: what the two folders hold. Making them from users' files belongs to `related_importing` and
`metadata_importing`, publishing them to `platforms`, turning them into covariates of a forecast to `predictors`.

`related_time_series/` holds `part-00000.parquet` … and `_manifest.json`. The columns of a shard are item_id, the dataset's
dimensions, timestamp (naive, microseconds; start of a period of the dataset's grid) and one column for each attribute:
double for numbers, string for categories. Rows are sorted by series and timestamp, without gaps within a series; NaN or null
where nothing is known after filling. Series are dealt out by the same hash and number of shards as the dataset's, so that a
shard of the dataset is read beside the one shard of the same number here. A series of the dataset may be missing here, and
series without a past may be here that the dataset doesn't have.

Of several shards whose attributes are neither filled nor shared by series, the latest periods lie in files beside them,
`tail-00000.parquet` …, as those of the dataset do. Each of the two has the periods from the first to the last value of a series
that lies there, so that neither depends on the other; `iter_related` joins them without a gap.

`item_metadata/` holds `items.parquet` (item_id and one column for each attribute, one row for each item, sorted) and
`_manifest.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from heapq import merge
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Alignment, Frequency, Grid
from chronos_assets.params.attributes import Filling
from chronos_assets.system import document_digest, file_digest
from chronos_assets.timeseries.dataset.series_keys import key_changes
from chronos_assets.timeseries.dataset.shards import (
    ROW_GROUP,
    WITH_TAILS,
    DatasetError,
    FolderManifest,
    Manifest,
    Shard,
    shard_name,
    tail_name,
)
from chronos_assets.timeseries.manifests import DATASET_MANIFEST

if TYPE_CHECKING:
    import pyarrow as pa

ITEMS = "items.parquet"
MOST_SEGMENTS = 200  # an attribute with more categories says what each item says

Kind = Literal["number", "category"]
Values = NDArray[Any]  # float64 of numbers, object (str or None) of categories


@dataclass(frozen=True)
class CovariateAttribute:
    """A column of the related time series or of the item metadata.

    Attributes:
        name: of the column, as in the schema.
        kind: "number" (float64, NaN where unknown) or "category" (text, None where unknown).
        known_in_advance: whether a forecast may read it beyond its as-of. Always false in metadata.
        last: start of the last period that any series has a value for, "2014-01-01T00:00:00"; None without any.
        filling: how its gaps are filled as of a period, where that depends on whether a value follows: the shards have the
            gaps then. None where they are filled there already.
    """

    name: str
    kind: Kind
    known_in_advance: bool = False
    last: str | None = None
    filling: Filling | None = None


@dataclass(frozen=True)
class RelatedManifest(FolderManifest):
    """What a folder of related time series holds.

    Attributes:
        data_version: SHA-256 of series and attributes.
        dataset_version: data version of the dataset that it fits: grid, dimensions and shards are that dataset's.
        frequency: of the grid.
        alignment: of the grid, as `frequencies.Alignment` has it.
        dimensions: of the dataset.
        attributes: in the order of the columns.
        n_shards: the number by which series are dealt out, see `shards.shard_number`.
        shards: that have rows.
        rows: of all shards.
        series: of all shards.
        uncovered: series of the dataset without any related values.
        items_without_future: by attribute that is known in advance, series for which it ends before the horizon does; those
            without any value of it are not among them.
        constant: attributes that have the same value everywhere.
        empty: attributes without any value.
        rejected: bad rows set aside, by reason.
        files: rows read, by key.
        notes: sentences a user should read.
    """

    what: ClassVar[str] = "related time series"
    source: ClassVar[str] = "files in related/"
    newest_format: ClassVar[int] = WITH_TAILS

    data_version: str
    dataset_version: str
    frequency: str
    alignment: Mapping[str, Any]
    dimensions: tuple[str, ...]
    attributes: tuple[CovariateAttribute, ...]
    n_shards: int
    shards: tuple[Shard, ...]
    rows: int
    series: int
    uncovered: int = 0
    items_without_future: Mapping[str, int] = field(default_factory=dict)
    constant: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        """The dataset's grid."""
        return Grid(Frequency.parse(self.frequency), Alignment(**self.alignment))

    @property
    def known(self) -> tuple[CovariateAttribute, ...]:
        """Attributes that are known in advance."""
        return tuple(attribute for attribute in self.attributes if attribute.known_in_advance)

    def shard(self, folder: Path, number: int) -> Path | None:
        """The file with the series of one of the dataset's shards; None where none of them has related values."""
        name = shard_name(number)
        return folder / name if any(shard.name == name for shard in self.shards) else None

    def files_of(self, path: Path) -> list[Path]:
        """The files of a shard, which is at a path, as they should be: the one with its latest periods comes last."""
        tails = [path.with_name(tail_name(path.name)) for each in self.shards if each.name == path.name and each.tail]
        return [path, *tails]

    def check(self, dataset: Manifest) -> None:
        """See that the related time series are cut as the dataset is.

        Raises:
            DatasetError: they were made for another dataset.
        """
        if (self.dataset_version, self.n_shards) != (dataset.data_version, dataset.n_shards):
            raise DatasetError(
                "the related time series were made for another version of the dataset: materialize related_time_series again"
            )


@dataclass(frozen=True)
class MetadataManifest(FolderManifest):
    """What a folder of item metadata holds.

    Attributes:
        data_version: SHA-256 of the rows.
        attributes: in the order of the columns.
        items: rows of the table.
        uncovered: items of the dataset without a row.
        newcomers: items without a series in the dataset.
        constant: attributes that have the same value everywhere.
        empty: attributes without any value.
        rejected: bad rows set aside, by reason.
        files: rows read, by key.
        notes: sentences a user should read.
    """

    what: ClassVar[str] = "item metadata"
    source: ClassVar[str] = "files in item_metadata/"
    shards: ClassVar[tuple[Shard, ...]] = ()  # it is a single table

    data_version: str
    attributes: tuple[CovariateAttribute, ...]
    items: int
    uncovered: int = 0
    newcomers: int = 0
    constant: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------------- related


@dataclass(frozen=True)
class RelatedSeries:
    """The covariates of one series.

    Attributes:
        key: item id and dimensions, as in the dataset.
        first: ordinal of the first period on the dataset's grid.
        values: by attribute, (T,): float64 of numbers with NaN, object of categories with None, where nothing is known.
    """

    key: tuple[str, ...]
    first: int
    values: dict[str, Values]

    def __len__(self) -> int:
        return len(next(iter(self.values.values()), ()))


def iter_related(shard: Path, manifest: RelatedManifest, *, batch_rows: int = ROW_GROUP) -> Iterator[RelatedSeries]:
    """The series of one shard, sorted by key as the dataset's are; memory is bounded by `batch_rows` and one series."""
    import pyarrow.parquet as pq

    grid = manifest.grid
    keys = ["item_id", *manifest.dimensions]
    categories = [attribute.name for attribute in manifest.attributes if attribute.kind == "category"]
    columns = [*keys, "timestamp", *(attribute.name for attribute in manifest.attributes)]

    def pieces(path: Path) -> Iterator[RelatedSeries]:
        with pq.ParquetFile(path, read_dictionary=[*keys, *categories]) as file:
            for batch in file.iter_batches(batch_rows, columns=columns):
                yield from _pieces(batch, keys, manifest.attributes, grid)

    files = manifest.files_of(shard)
    if missing := [path.name for path in files if not path.is_file()]:
        raise DatasetError(f"the related time series lack {missing[0]} of their manifest: materialize them again")
    runs = [pieces(path) for path in files]
    for _, run in groupby(merge(*runs, key=attrgetter("key")) if len(runs) > 1 else runs[0], attrgetter("key")):
        yield _joined(list(run))


def _pieces(
    batch: pa.RecordBatch, keys: Sequence[str], attributes: Sequence[CovariateAttribute], grid: Grid
) -> Iterator[RelatedSeries]:
    """The runs of rows of one series in a record batch; a series may continue in the next batch."""
    if not batch.num_rows:
        return
    texts = [batch.column(name) for name in keys]
    starts = np.flatnonzero(key_changes(batch, keys))
    moments = batch.column("timestamp").to_numpy(zero_copy_only=False).astype("datetime64[us]")
    firsts = grid.ordinal(moments[starts]).tolist()
    values = {attribute.name: _values(batch.column(attribute.name), attribute.kind) for attribute in attributes}
    for start, end, first in zip(starts.tolist(), [*starts[1:].tolist(), batch.num_rows], firsts, strict=True):
        key = tuple(column[start].as_py() for column in texts)
        yield RelatedSeries(key, first, {name: array[start:end] for name, array in values.items()})


def _values(column: pa.Array, kind: Kind) -> Values:
    if kind == "number":
        numbers: Values = column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        return numbers
    # One Python string for each category, not for each row.
    names = np.array([*column.dictionary.to_pylist(), None], dtype=object)
    codes = column.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(names[codes])


def _joined(pieces: Sequence[RelatedSeries]) -> RelatedSeries:
    # Copies, of a single piece, too: whoever keeps a series would keep the whole batch that it was read with.
    first, end, parts = pieces[0], pieces[0].first, list[RelatedSeries]()
    for piece in pieces:
        if piece.first > end:  # between the last value before the tail and the first one in it
            parts.append(RelatedSeries(piece.key, end, _nothing(piece, piece.first - end)))
        parts.append(piece)
        end = piece.first + len(piece)
    values = {name: np.concatenate([piece.values[name] for piece in parts]) for name in first.values}
    return RelatedSeries(first.key, first.first, values)


def _nothing(series: RelatedSeries, periods: int) -> dict[str, Values]:
    """So many periods of which nothing is known, in the attributes of a series."""
    return {
        name: np.full(periods, None if values.dtype == object else np.nan, dtype=values.dtype)
        for name, values in series.values.items()
    }


def shard_schema(dimensions: Sequence[str], attributes: Sequence[CovariateAttribute]) -> pa.Schema:
    """The columns of a shard as its writer has them; texts are dictionaries in memory and plain strings for readers."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            *((name, text) for name in ("item_id", *dimensions)),
            ("timestamp", pa.timestamp("us")),
            *((attribute.name, text if attribute.kind == "category" else pa.float64()) for attribute in attributes),
        ]
    )


def write_related_file(path: Path, schema: pa.Schema, tables: Iterable[tuple[pa.Table, int]]) -> Shard:
    """Write a file of a shard from tables of `schema`, each with its number of series: sorted, without gaps.

    Returns:
        What is in this one file, under its name.
    """
    import pyarrow.parquet as pq

    rows, series = 0, 0
    path.unlink(missing_ok=True)  # it may be a link to a file that is published
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, store_schema=False) as writer:
        for table, count in tables:
            writer.write_table(table, row_group_size=ROW_GROUP)
            rows, series = rows + table.num_rows, series + count
    return Shard(path.name, rows, series, path.stat().st_size, file_digest(path))


def related_version(dataset: Manifest, attributes: Sequence[CovariateAttribute], shards: Sequence[Shard]) -> str:
    """Data version: SHA-256 of the attributes, the grid and the bytes of all shards."""
    meaning = [dataset.frequency, dataset.alignment, dataset.dimensions, [asdict(each) for each in attributes]]
    files = [sha256 for shard in shards for sha256 in shard.files.values()]
    return document_digest([meaning, files])


# --------------------------------------------------------------------------------------------------- metadata


@dataclass(frozen=True)
class ItemMetadata:
    """The attributes of items, all in memory.

    Attributes:
        attributes: in the order of the columns.
        items: item ids, ascending.
        values: by attribute, (items,): float64 of numbers with NaN, object of categories with None, where nothing is known.
    """

    attributes: tuple[CovariateAttribute, ...]
    items: tuple[str, ...]
    values: dict[str, Values]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {item: place for place, item in enumerate(self.items)}

    def __contains__(self, item: object) -> bool:
        return item in self._places

    def categories(self, most: int = MOST_SEGMENTS) -> dict[str, dict[str, str]]:
        """Attribute -> item -> category, of the categories with at most `most` different values."""
        found = {}
        for attribute in self.attributes:
            if attribute.kind == "category":
                labels = {
                    item: text for item, text in zip(self.items, self.values[attribute.name], strict=True) if text
                }
                if len(set(labels.values())) <= most:
                    found[attribute.name] = labels
        return found

    def of(self, item: str) -> dict[str, float | str | None]:
        """The attributes of one item by name; all NaN or None for an item without a row."""
        place = self._places.get(item)
        if place is None:
            return {each.name: None if each.kind == "category" else float("nan") for each in self.attributes}
        return {
            each.name: self.values[each.name][place]
            if each.kind == "category"
            else float(self.values[each.name][place])
            for each in self.attributes
        }


def read_item_metadata(folder: Path) -> ItemMetadata:
    """The item metadata of a folder.

    Raises:
        DatasetError: where there is none, or it can't be read.
    """
    import pyarrow.parquet as pq

    manifest = MetadataManifest.read(folder)
    categories = [attribute.name for attribute in manifest.attributes if attribute.kind == "category"]
    # An open file and no path: a path is searched for partitions in the names of its folders.
    with pq.ParquetFile(folder / ITEMS, read_dictionary=categories) as file:
        table = file.read().combine_chunks()
    values = {
        each.name: _values(_chunk(table.column(each.name)), each.kind)
        if table.num_rows
        else np.empty(0, dtype=object if each.kind == "category" else np.float64)
        for each in manifest.attributes
    }
    return ItemMetadata(manifest.attributes, tuple(table.column("item_id").to_pylist()), values)


def _chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def write_item_metadata(folder: Path, table: pa.Table, **counts: Any) -> MetadataManifest:
    """Write a folder of item metadata.

    Args:
        folder: to write to.
        table: item_id (string) and the attributes, float64 or string; one row for each item, in any order.
        counts: further fields of the manifest.

    Raises:
        ValueError: an item has several rows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    table = table.sort_by("item_id").combine_chunks()
    if table.num_rows and pc.count_distinct(table.column("item_id")).as_py() != table.num_rows:
        raise ValueError("an item has several rows of metadata")
    pq.write_table(table, folder / ITEMS, compression="zstd", compression_level=1, store_schema=False)
    attributes = tuple(
        CovariateAttribute(column.name, "number" if pa.types.is_floating(column.type) else "category")
        for column in table.schema
        if column.name != "item_id"
    )
    version = hashlib.sha256(json.dumps([asdict(attribute) for attribute in attributes]).encode())
    version.update((folder / ITEMS).read_bytes())
    manifest = MetadataManifest(version.hexdigest(), attributes, table.num_rows, **counts)
    (folder / DATASET_MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest
