"""What explains a series beside its own past: its related time series and its item's metadata, as they were imported.

Here: reading those of one series. Elsewhere: their files (`timeseries.dataset.related`), drawing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from chronos_assets.dashboard.queries import ItemSeries
from chronos_assets.platforms.store import Store
from chronos_assets.store_layout import METADATA_KEY, RELATED_KEY
from chronos_assets.timeseries.dataset.item_metadata import ItemMetadata
from chronos_assets.timeseries.dataset.related import CovariateAttribute
from chronos_assets.wording import first_line


@dataclass(frozen=True)
class Related:
    """The related time series of a series.

    Attributes:
        attributes: in the order of the columns.
        values: `timestamp` and a column for each attribute, in order of time; empty where the series has none.
    """

    attributes: tuple[CovariateAttribute, ...]
    values: pd.DataFrame

    @property
    def known(self) -> tuple[CovariateAttribute, ...]:
        """Attributes that are known in advance."""
        return tuple(attribute for attribute in self.attributes if attribute.known_in_advance)


def related(store: Store, series: ItemSeries) -> Related | None:
    """The related time series of a series; None where none are imported.

    Raises:
        DatasetError: they can't be read.
    """
    from chronos_assets.timeseries.dataset.related import RelatedManifest
    from chronos_assets.timeseries.dataset.shards import shard_number
    from chronos_assets.timeseries.published_files import DATASET_MANIFEST

    try:
        manifest = RelatedManifest.from_json(store.read(RELATED_KEY, DATASET_MANIFEST))
    except FileNotFoundError:
        return None
    key = series.key
    columns = ["timestamp", *(attribute.name for attribute in manifest.attributes)]
    number = shard_number(tuple(key.get(name, "") for name in ("item_id", *manifest.dimensions)), manifest.n_shards)
    path = manifest.shard(store.snapshot(RELATED_KEY), number)
    if path is None:
        return Related(manifest.attributes, pd.DataFrame(columns=columns))
    wanted = [(name, "==", key.get(name, "")) for name in ("item_id", *manifest.dimensions)]
    with _readable("related_time_series"):
        parts = [
            pq.read_table(each, columns=columns, filters=wanted, partitioning=None) for each in manifest.files_of(path)
        ]
        table = pa.concat_tables(parts).sort_by("timestamp")
    return Related(manifest.attributes, table.to_pandas())


def metadata(store: Store, item: str) -> Mapping[str, float | str | None]:
    """The attributes of an item; none where no metadata are imported, or none of this item.

    Raises:
        DatasetError: they can't be read.
    """
    table = _items(store)
    return table.of(item) if table is not None and item in table else {}


def categories(store: Store) -> dict[str, list[str]]:
    """Attributes of items that are texts, with the values that they have; none where no metadata are imported.

    Raises:
        DatasetError: they can't be read.
    """
    table = _items(store)
    if table is None:
        return {}
    return {
        attribute.name: sorted({value for value in table.values[attribute.name] if value is not None})
        for attribute in table.attributes
        if attribute.kind == "category"
    }


def items_with(store: Store, wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Items whose attributes have these values.

    Raises:
        DatasetError: they can't be read.
    """
    table = _items(store)
    if table is None:
        return ()
    columns = [table.values[name] == value for name, value in wanted.items()]
    return tuple(item for item, *same in zip(table.items, *columns, strict=True) if all(same))


def _items(store: Store) -> ItemMetadata | None:
    """The metadata as they are now; None where there are none."""
    if store.shown(METADATA_KEY) is None:
        return None
    with _readable("item_metadata"):
        return _read_items(store.snapshot(METADATA_KEY))


@contextmanager
def _readable(asset: str) -> Iterator[None]:
    """Say of a Parquet file that is damaged, or gone, which asset makes it again."""
    from chronos_assets.timeseries.dataset.shards import DatasetError

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"a file of {asset} can't be read ({first_line(error)}): materialize {asset}, which makes it again"
        ) from error


@lru_cache(maxsize=2)
def _read_items(folder: Path) -> ItemMetadata:
    """The metadata of one version's folder."""
    from chronos_assets.timeseries.dataset.item_metadata import read_item_metadata

    return read_item_metadata(folder)
