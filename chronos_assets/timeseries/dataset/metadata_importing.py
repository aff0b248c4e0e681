"""Users' item metadata in, one table of items out.

Here: from rows to one row for each item. Reading files belongs to `covariate_files`, the layout on disk to `related`.

Files of `item_metadata/` have one row for each item: of several files the newest counts, two different rows of one file are
refused. Columns of the train files are metadata, too, where they are declared: of the rows of an item the latest that has a
value counts, and the import reports for how many items earlier ones differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.covariate_files import CovariateRows, CovariateSource, read_source
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.import_report import ImportReport
from chronos_assets.timeseries.dataset.item_metadata import MetadataManifest, write_item_metadata
from chronos_assets.timeseries.dataset.look_alikes import named_alike
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.series_keys import keys_of
from chronos_assets.timeseries.dataset.shard_files import ShardFiles, manifest_in
from chronos_assets.wording import first_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMED = 3  # items in a message


MetadataReport = ImportReport[MetadataManifest, None]


def import_metadata(
    sources: Sequence[CovariateSource],
    dataset: ShardFiles,
    *,
    output: Path,
    rejected: Path,
    resources: Resources | None = None,
) -> MetadataReport:
    """Import item metadata into `output`, a staging folder that the caller publishes.

    Args:
        sources: what to read; no two have an attribute in common.
        dataset: whose items they describe.
        output: gets the table and the manifest. Temporary files live in its parent and are always removed.
        rejected: folder for bad rows.
        resources: to work with.

    Raises:
        ImportFailure: with everything that is wrong in the files.
    """
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".metadata-", dir=output.parent) as folder:
        read = [read_source(source, Path(folder), resources or Resources()) for source in sources]
        tables = [_table_of(rows) for rows in read]
        places: dict[str, Path] = {}
        for rows in read:
            places |= rows.publish(rejected, [file.key for file in rows.source.files])
    table = _joined([each.table for each in tables])
    items = set(table.column("item_id").to_pylist())
    known = _items_of(dataset)
    manifest = write_item_metadata(
        output,
        table,
        uncovered=len(known - items),
        newcomers=len(items - known),
        constant=tuple(_constant(table)),
        empty=tuple(column for column in _covariates(table) if table.column(column).null_count == table.num_rows),
        rejected=dict(sum((rows.rejected for rows in read), Counter[str]())),
        files={file.key: file.rows for rows in read for file in rows.contents},
        notes=tuple(_notes(table, known, items, read, [note for each in tables for note in each.notes])),
    )
    return ImportReport(manifest, sum(file.rows for rows in read for file in rows.contents), places, None)


@dataclass(frozen=True)
class _ItemTable:
    """item_id and the attributes of one source; notes for people."""

    table: pa.Table
    notes: tuple[str, ...]


def _table_of(rows: CovariateRows) -> _ItemTable:
    """One row for each item of a source.

    Raises:
        ImportFailure: a file of item metadata has two different rows for an item.
    """
    parts = [_latest(rows, number) for number in range(rows.rows.finish())] if rows.rows.rows else []
    items: list[str] = [item for part in parts for item in part.items]
    arrays: list[Any] = [pa.array(items, pa.string())]
    notes = []
    for place, attribute in enumerate(rows.source.covariates):
        values = np.concatenate([part.values[place] for part in parts]) if parts else np.empty(0)
        missing = np.isnan(values)
        if place in rows.categories:
            texts = rows.categories[place].texts
            arrays.append(
                pa.array(
                    [None if gap else texts[int(code)] for gap, code in zip(missing, values, strict=True)], pa.string()
                )
            )
        else:
            arrays.append(pa.array(values, mask=missing))
        differing = [item for part in parts for item in part.differing[place]]
        if differing:
            notes.append(
                f"{attribute.name} differs between rows of {len(differing):,} items ({first_of(differing, _NAMED)}): the "
                "latest counts; a value that changes belongs in Chronos.Related"
            )
    names = ["item_id", *(attribute.name for attribute in rows.source.covariates)]
    return _ItemTable(pa.table(arrays, names=names), tuple(notes))


@dataclass(frozen=True)
class _Latest:
    """The latest value of each attribute, (k,) by item; and the items whose rows differ, by attribute."""

    items: list[str]
    values: list[NDArray[np.float64]]
    differing: list[list[str]]


def _latest(rows: CovariateRows, number: int) -> _Latest:
    """What the rows of one partition say of each item.

    Raises:
        ImportFailure: a file of item metadata has two different rows for an item.
    """
    table = rows.rows.read(number)
    count = len(rows.source.covariates)
    if not table.num_rows:
        return _Latest([], [np.empty(0)] * count, [[]] * count)
    encoded = table.column("k0").combine_chunks().dictionary_encode()
    items: list[str] = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy().astype(np.int64)
    rank = table.column("rank").to_numpy()
    instant = table.column("instant").to_numpy().astype("datetime64[us]").astype(np.int64)
    # Rows of one time in the order of the files, from the oldest, and within a file as they stand.
    order = np.lexsort((rank, instant, codes))
    codes, rank = codes[order], rank[order]
    values, differing = [], []
    for place in range(count):
        column = table.column(f"v{place}").to_numpy()[order]
        some = ~np.isnan(column)
        latest = np.full(len(items), np.nan)
        latest[codes[some]] = column[some]  # of several assignments to one place the last counts
        values.append(latest)
        if rows.source.is_target:
            low, high = np.full(len(items), np.inf), np.full(len(items), -np.inf)
            np.minimum.at(low, codes[some], column[some])
            np.maximum.at(high, codes[some], column[some])
            differing.append([items[code] for code in np.flatnonzero(low < high)])
        else:
            _refuse_contradictions(rows, items, codes, rank, column, place)
            newest = np.full(len(items), np.nan)
            newest[codes] = column
            values[-1] = newest
            differing.append([])
    return _Latest(items, values, differing)


def _refuse_contradictions(
    rows: CovariateRows,
    items: list[str],
    codes: NDArray[np.int64],
    rank: NDArray[np.int32],
    column: NDArray[np.float64],
    place: int,
) -> None:
    """Refuse two rows of one file that say different things of an item."""
    same = (codes[1:] == codes[:-1]) & (rank[1:] == rank[:-1])
    equal = (column[1:] == column[:-1]) | (np.isnan(column[1:]) & np.isnan(column[:-1]))
    wrong = np.flatnonzero(same & ~equal)
    if not len(wrong):
        return
    first = int(wrong[0])
    key = rows.contents[int(rank[first])].key
    name = rows.source.covariates[place].name
    reason = f"item {items[int(codes[first])]} has several rows that differ in {name}"
    raise ImportFailure([FileProblem(key, reason, "keep one row for each item")], what="item metadata")


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """All attributes of all sources, one row for each item of any."""
    joined = tables[0]
    for other in tables[1:]:
        joined = joined.join(other, "item_id", join_type="full outer")
    return joined


def _covariates(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name != "item_id"]


def _constant(table: pa.Table) -> Iterator[str]:
    for name in _covariates(table):
        if table.num_rows > 1 and pc.count_distinct(table.column(name)).as_py() == 1:
            yield name


def _items_of(dataset: ShardFiles) -> set[str]:
    names = (name for shard in manifest_in(dataset).shards for name in shard.files)
    return {item for name in names for (item,) in keys_of([dataset.read(name)], ())}


def _notes(
    table: pa.Table, known: set[str], items: set[str], read: Sequence[CovariateRows], reported: Sequence[str]
) -> Iterator[str]:
    """What a user should know, one sentence each."""
    for rows in read:
        yield from rows.notes
    if missing := len(known - items):
        yield f"items without metadata: {missing:,} of {len(known):,}"
    if new := len(items - known):
        yield f"items with metadata, but without a past: {new:,} ({first_of(sorted(items - known), _NAMED)})"
    if alike := named_alike([(item,) for item in items - known], [(item,) for item in known - items]):
        yield alike
    for name in _constant(table):
        yield f"{name} is the same for all items: it explains nothing"
    for name in _covariates(table):
        if table.num_rows and table.column(name).null_count == table.num_rows:
            yield f"{name} has no value at all"
    yield from reported
