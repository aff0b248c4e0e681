"""Group dataset: the files people drop, and the dataset made of them."""

import dagster as dg

from chronos_assets.defs import covariate_metadata, metadata
from chronos_assets.defs.failures import failures
from chronos_assets.pipeline.covariate_imports import (
    NOTHING_READ,
    CovariateImport,
    covariate_assets,
    import_covariates,
)
from chronos_assets.pipeline.covariate_kinds import KINDS, METADATA_KIND, RELATED_KIND, CovariateKind
from chronos_assets.pipeline.dataset_import import import_dataset
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.store_layout import DATASET_KEY

TRAIN_FILES = """The objects under `train/` of the store: `*.csv`, `*.csv.gz`, `*.parquet`, with the columns of `params.json`.

Drop a file there, or replace one: `train_files_sensor` waits until the folder is quiet, records what it saw here (with a
data version over every key and etag) and asks for an import. Hidden, temporary and empty files are left alone.
"""

TARGET_TIME_SERIES = """Every train file imported, as one dataset on a regular grid.

Rows are validated, values are aggregated to the forecast frequency and aligned to its boundary, and gaps are filled as
`params.json` says (by default they stay missing, which the models handle). If two files have a row for one timestamp of a
series, the newer file's row wins. The result is Parquet shards of whole series, which later steps read one by one. The data
version is a hash of the content, so an import that changes nothing makes nothing downstream stale.

A bad row fails the import, and the previous dataset stays; `Chronos.BadRows: "quarantine"` writes bad rows to
`rejected/` and continues.
"""


RELATED_FILES = """The objects under `related/` of the store, and `train/<name>.related.csv`: what explains the target.

Declared in `params.json` as `RELATED_TIME_SERIES`. `train_files_sensor` looks at them together with `train/`, waits for all
files of a drop, and records what it saw here, with a data version over every key and etag.
"""

METADATA_FILES = """The objects under `item_metadata/` of the store, and `train/<name>.metadata.csv`: one row for each item.

Declared in `params.json` as `ITEM_METADATA`. `train_files_sensor` looks at them together with `train/`.
"""

RELATED_TIME_SERIES = """Related time series on the grid of the dataset, in the same shards: what explains the target.

Read from `related/` and from columns of the train files (`Chronos.Related`), with the target's reader: a bad row fails the
import, or is set aside. Within a period, numbers are averaged and the most frequent text counts; gaps are filled as
`params.json` says for each attribute. An attribute that reaches beyond the target's end is known in advance, unless
`Chronos.KnownInAdvance` says otherwise.

Without a declaration this asset is empty.
"""

ITEM_METADATA = """One row of attributes for each item.

From `item_metadata/` and columns of the train files (`Chronos.Metadata`). If several files have a row for an item, the newest
counts; two different rows in one file are refused. Without a declaration this asset is empty.
"""


def dataset_assets(group: Group) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """The files (external), `target_time_series`, `related_time_series` and `item_metadata`."""
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
            imported = import_dataset(GroupState(group), context)
            _record_undeclared(group, context.instance)
            return dg.MaterializeResult(
                metadata=metadata.dataset(group, imported), data_version=dg.DataVersion(imported.manifest.data_version)
            )

    return [
        train_files,
        target_time_series,
        *(_files(group, kind, text) for kind, text in zip(KINDS, (RELATED_FILES, METADATA_FILES), strict=True)),
        _covariates(group, RELATED_KIND, RELATED_TIME_SERIES),
        _covariates(group, METADATA_KIND, ITEM_METADATA),
    ]


def _record_undeclared(group: Group, instance: dg.DagsterInstance) -> None:
    """Record once that covariates which nobody declares are empty.

    Without it Dagster asks whoever materializes forecasts whether they are sure: what they are made of were missing.
    """
    state = GroupState(group)
    declared = covariate_assets(state)
    for kind in KINDS:
        key = group.key(kind.asset)
        if kind.asset not in declared and instance.get_latest_materialization_event(key) is None:
            empty = CovariateImport(kind, None, NOTHING_READ, (f"{kind.what}: none are declared",))
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    key,
                    metadata=covariate_metadata.covariates(group, state, empty),
                    tags={"dagster/data_version": NOTHING_READ},
                )
            )


def _files(group: Group, kind: CovariateKind, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        group.key(kind.files_asset),
        group_name="dataset",
        description=description,
        owners=group.settings.owners,
        kinds={"csv", "parquet"},
        metadata={"dagster/uri": f"{group.settings.store}/{kind.folder}"},
    )


def _covariates(group: Group, kind: CovariateKind, description: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=group.key(kind.asset),
        # After the dataset, whose grid and shards they take over; columns of the train files may be among them.
        deps=[group.key(name) for name in ("target_time_series", kind.files_asset)],
        group_name="dataset",
        description=description,
        owners=group.settings.owners,
        kinds={"duckdb", "parquet"},
        metadata={"dagster/uri": f"{group.settings.store}/{kind.key}"},
    )
    def covariates(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            state = GroupState(group)
            made = import_covariates(state, kind, context)
            version = made.manifest.data_version if made.manifest is not None else NOTHING_READ
            return dg.MaterializeResult(
                metadata=covariate_metadata.covariates(group, state, made), data_version=dg.DataVersion(version)
            )

    return covariates
