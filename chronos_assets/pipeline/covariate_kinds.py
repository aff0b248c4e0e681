"""Related time series and item metadata as the store has them: where their files are, and where they are published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chronos_assets.params.attributes import MetadataParams, RelatedParams
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.group import Group
from chronos_assets.planning.listing import is_covariate_file
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import (
    METADATA_FILES_KEY,
    METADATA_KEY,
    RELATED_FILES_KEY,
    RELATED_KEY,
    RELATED_MEMORY_KEY,
    TRAIN_KEY,
)


@dataclass(frozen=True)
class CovariateKind:
    """Related time series or item metadata.

    Attributes:
        asset: name of the asset.
        files_asset: of the external asset of its files.
        folder: where its files are dropped.
        key: where it is published.
        memory_key: where its import leaves what the next one needs; empty where there is nothing.
        what: it is called.
        data_type: in `Datasets`.
    """

    asset: Literal["related_time_series", "item_metadata"]
    files_asset: str
    folder: str
    key: str
    memory_key: str
    what: str
    data_type: str

    def declared(self, params: ForecastParams) -> RelatedParams | MetadataParams | None:
        """What `params.json` says of them; None where it doesn't declare any."""
        return params.related if self is RELATED_KIND else params.metadata


RELATED_KIND = CovariateKind(
    "related_time_series",
    "related_files",
    RELATED_FILES_KEY,
    RELATED_KEY,
    RELATED_MEMORY_KEY,
    "related time series",
    "RELATED_TIME_SERIES",
)
METADATA_KIND = CovariateKind(
    "item_metadata", "metadata_files", METADATA_FILES_KEY, METADATA_KEY, "", "item metadata", "ITEM_METADATA"
)
KINDS = (RELATED_KIND, METADATA_KIND)


def covariate_files(group: Group, kind: CovariateKind) -> list[ObjectInfo]:
    """The data files of a kind, in order of their keys: below its folder; without any, those in `train/` by their names."""
    for folder in (kind.folder, TRAIN_KEY):
        listed = (info for info in group.store.list(folder) if is_covariate_file(info, kind.folder, kind.what))
        if found := sorted(listed, key=lambda info: info.key):
            return found
    return []
