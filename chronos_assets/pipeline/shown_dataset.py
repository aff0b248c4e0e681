"""The dataset that the store shows, for who reads it shard by shard: on a store elsewhere only one is here at a time.

Elsewhere: single series (`dataset.shards_of`), jobs, which get the whole dataset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.store import OpenFolder
from chronos_assets.store_layout import DATASET_KEY
from chronos_assets.timeseries.dataset.shards import Manifest, Shard


@dataclass(frozen=True)
class ShownDataset:
    """One version of the dataset: a `timeseries.dataset.shards.ShardSource`."""

    folder: OpenFolder

    @classmethod
    def of(cls, group: Group) -> ShownDataset:
        """The one that is shown now; `FileNotFoundError` if there is none."""
        return cls(group.store.open(DATASET_KEY))

    @cached_property
    def manifest(self) -> Manifest:
        """See `ShardSource.manifest`."""
        from chronos_assets.timeseries.dataset.shard_files import manifest_in

        return manifest_in(self.folder)

    def each(self, shards: Iterable[Shard]) -> Iterator[tuple[Shard, Path]]:
        """See `ShardSource.each`."""
        for shard in shards:
            with self.folder.borrow(shard.files) as folder:
                yield shard, folder / shard.name
