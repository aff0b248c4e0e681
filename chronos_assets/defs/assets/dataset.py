"""Group dataset: the files people drop, and the dataset made of them."""

import dagster as dg

from chronos_assets.defs import metadata
from chronos_assets.defs.failures import failures
from chronos_assets.pipeline.dataset import import_dataset
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.store_layout import DATASET_KEY

TRAIN_FILES = """The objects under `train/` of the store: `*.csv`, `*.csv.gz`, `*.parquet`, with the columns of `params.json`.

Drop a file there, or replace one: `train_files_sensor` waits until the folder is quiet, records what it saw here (with a
data version over every key and etag) and asks for an import. Hidden, temporary and empty files are left alone.
"""

TARGET_TIME_SERIES = """Every train file imported, as one dataset on a regular grid.

Rows are validated, of a duplicate timestamp the newer file's row wins, values are aggregated to the forecast frequency,
aligned to its boundary, and gaps are filled as `params.json` says (by default left missing, which the model takes).
Parquet shards of whole series: a later step streams shard by shard. The data version is a hash of the content, so an
import that changes nothing makes nothing downstream stale.

A bad row fails the import, and the dataset that was there stays; `Chronos.BadRows: "quarantine"` writes bad rows to
`rejected/` and continues.
"""


def dataset_assets(group: Group) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """`train_files` (external) and `target_time_series`."""
    train_files = dg.AssetSpec(
        group.key("train_files"),
        group_name="dataset",
        description=TRAIN_FILES,
        owners=group.settings.owners,
        kinds={"csv", "parquet"},
        metadata={"dagster/uri": f"{group.settings.store}/train"},
    )

    @dg.asset(
        key=group.key("target_time_series"),
        deps=[train_files],
        group_name="dataset",
        description=TARGET_TIME_SERIES,
        owners=group.settings.owners,
        kinds={"duckdb", "parquet"},
        metadata={"dagster/uri": f"{group.settings.store}/{DATASET_KEY}"},
    )
    def target_time_series(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            imported = import_dataset(GroupState(group), context.log)
            return dg.MaterializeResult(
                metadata=metadata.dataset(group, imported), data_version=dg.DataVersion(imported.manifest.data_version)
            )

    return [train_files, target_time_series]
