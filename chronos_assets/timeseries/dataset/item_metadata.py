"""Item metadata on disk: names, layout, reading and writing of the files.

`item_metadata/` holds `items.parquet` (item_id and one column for each attribute, one row for each item, sorted) and
`_manifest.json`.

Elsewhere: importing it (`metadata_importing`), covariates that change over time (`related`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from chronos_assets.timeseries.dataset.related import CovariateAttribute, Values, column_values
from chronos_assets.timeseries.dataset.shards import FolderManifest, Shard
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

if TYPE_CHECKING:
    import pyarrow as pa


ITEMS = "items.parquet"
MOST_SEGMENTS = 200  # an attribute with more categories says what each item says


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
        each.name: column_values(_chunk(table.column(each.name)), each.kind)
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
