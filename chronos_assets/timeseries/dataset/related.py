"""Related time series on disk: names, layout, reading and writing of the files.

Here: what the folder holds. Making it from users' files belongs to `related_importing`, publishing it to `platforms`, turning
it into covariates of a forecast to `predictors`. Elsewhere, too: item metadata (`item_metadata`).

`related_time_series/` holds `part-00000.parquet` … and `_manifest.json`. The columns of a shard are item_id, the dataset's
dimensions, timestamp (naive, microseconds; start of a period of the dataset's grid) and one column for each attribute:
double for numbers, string for categories. Rows are sorted by series and timestamp, without gaps within a series; NaN or null
where nothing is known after filling. Series are dealt out by the same hash and number of shards as the dataset's, so that a
shard of the dataset is read beside the one shard of the same number here. A series of the dataset may be missing here, and
series without a past may be here that the dataset doesn't have.

Of several shards whose attributes are neither filled nor shared by series, the latest periods lie in files beside them,
`tail-00000.parquet` …, as those of the dataset do. Each of the two has the periods from the first to the last value of a series
that lies there, so that neither depends on the other; `iter_related` joins them without a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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

if TYPE_CHECKING:
    import pyarrow as pa


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
    values = {attribute.name: column_values(batch.column(attribute.name), attribute.kind) for attribute in attributes}
    for start, end, first in zip(starts.tolist(), [*starts[1:].tolist(), batch.num_rows], firsts, strict=True):
        key = tuple(column[start].as_py() for column in texts)
        yield RelatedSeries(key, first, {name: array[start:end] for name, array in values.items()})


def column_values(column: pa.Array, kind: Kind) -> Values:
    """The values of a column as it was read: see `Values`."""
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
