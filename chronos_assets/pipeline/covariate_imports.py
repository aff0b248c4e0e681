"""Importing covariates beside the dataset: which files, whether they are current, publishing what was made of them.

Here: related time series and item metadata as the store has them. How rows become series is for
`timeseries.dataset.related_importing` and `metadata_importing` to say, when to import for `planning.imports`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.covariate_kinds import KINDS, METADATA_KIND, RELATED_KIND, CovariateKind, covariate_files
from chronos_assets.pipeline.dataset import dataset_is_current, last_import
from chronos_assets.pipeline.dataset_import import fetch_files, keep_rejected
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.inferred import is_outdated
from chronos_assets.pipeline.staging import materialization_values, staging
from chronos_assets.pipeline.state import GroupState, inferred_from, train_files
from chronos_assets.planning.imports import ImportRecord, with_covariates
from chronos_assets.planning.listing import files_digest, trusted_times
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import (
    DATASET_KEY,
    PARAMS_KEY,
    REJECTED_KEY,
)

if TYPE_CHECKING:
    from chronos_assets.timeseries.dataset.covariate_files import CovariateSource
    from chronos_assets.timeseries.dataset.metadata_importing import MetadataReport
    from chronos_assets.timeseries.dataset.related import MetadataManifest, RelatedManifest
    from chronos_assets.timeseries.dataset.related_importing import RelatedReport


@dataclass(frozen=True)
class CovariateImport:
    """What an import made.

    Attributes:
        kind: of covariates.
        manifest: of what is published now; None where nothing is declared, or there are no files.
        digest: of the files that were read, for `last_inputs`.
        notes: sentences for the user.
    """

    kind: CovariateKind
    manifest: RelatedManifest | MetadataManifest | None
    digest: str
    notes: tuple[str, ...]


def import_covariates(state: GroupState, kind: CovariateKind, log: Any) -> CovariateImport:
    """Import all files of a kind and publish what they hold; on failure what was there stays.

    Without a declaration, or without files, nothing is published, and what was there before is withdrawn.

    Raises:
        dg.Failure: bad rows or files; the description says which.
    """
    from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
    from chronos_assets.timeseries.import_task import progress_lines

    group, params = state.group, state.params
    dataset = state.require_manifest()
    files = covariate_files(group, kind)
    digest = _expected(params, kind, files)
    notes = list(_undeclared(params, kind, files))
    for note in notes:
        log.warning(note)
    trusted, doubts = trusted_times(files, datetime.now(UTC))
    sources = list(_sources(group, params, kind, trusted))
    if not sources:
        group.store.withdraw(kind.key)
        return CovariateImport(kind, None, digest, tuple(notes))
    log.info(f"importing {kind.what}: {', '.join(f'files: {len(source.files)} ({source.what})' for source in sources)}")
    with staging(group) as folder:
        try:
            report = _import(group, kind, sources, params, folder, progress_lines(log.info))
        except ImportFailure as error:
            raise dg.Failure(str(error)) from error
        if _of_another(report, dataset.data_version):
            raise dg.Failure("the dataset changed while covariates were imported: materialize them again")
        keep_rejected(group, files, report.rejected_files)
        group.store.publish(kind.key, folder / kind.asset, data="*.parquet")
    manifest = report.manifest
    for note in manifest.notes:
        log.info(note)
    return CovariateImport(kind, manifest, digest, (*notes, *doubts, *manifest.notes))


def _import(
    group: Group,
    kind: CovariateKind,
    sources: list[CovariateSource],
    params: ForecastParams,
    folder: Path,
    progress: Callable[[str, float], None],
) -> RelatedReport | MetadataReport:
    from chronos_assets.timeseries.dataset.metadata_importing import import_metadata
    from chronos_assets.timeseries.dataset.related_importing import import_related

    dataset, output, rejected = group.store.snapshot(DATASET_KEY), folder / kind.asset, folder / REJECTED_KEY
    settings = group.settings
    if kind is METADATA_KIND:
        return import_metadata(
            sources,
            dataset,
            output=output,
            rejected=rejected,
            memory_limit=settings.memory_limit,
            unpacked=settings.max_unpacked,
        )
    return import_related(
        sources,
        params,
        dataset,
        output=output,
        rejected=rejected,
        memory_limit=settings.memory_limit,
        unpacked=settings.max_unpacked,
        progress=progress,
    )


def _of_another(report: RelatedReport | MetadataReport, data_version: str) -> bool:
    return getattr(report.manifest, "dataset_version", data_version) != data_version


def _sources(
    group: Group, params: ForecastParams, kind: CovariateKind, files: list[ObjectInfo]
) -> Iterator[CovariateSource]:
    """What to read: the files of the kind, and columns of the train files."""
    from chronos_assets.timeseries.dataset.covariate_files import metadata_source, related_source, target_source

    declared = params.related if kind is RELATED_KIND else params.metadata
    if declared is None:
        return
    if files and declared.dataset is not None:
        make = related_source if kind is RELATED_KIND else metadata_source
        source = make(fetch_files(group, files), params)
        if source is not None:
            yield source
    if declared.columns:
        own = target_source(fetch_files(group, train_files(group)), params, declared.columns)
        if own is not None:
            yield own


def _undeclared(params: ForecastParams, kind: CovariateKind, files: list[ObjectInfo]) -> Iterator[str]:
    """What to tell the user of files that nothing declares, and of a declaration without files."""
    declared = params.related if kind is RELATED_KIND else params.metadata
    has_schema = declared is not None and declared.dataset is not None
    if files and not has_schema:
        yield (
            f"{len(files)} files of {kind.what} ({files[0].key}) are not used: {PARAMS_KEY} declares no data set of "
            f"the type {kind.data_type}; add one to Datasets, with the Schema of its columns"
        )
    if has_schema and not files:
        yield f"{PARAMS_KEY} declares {kind.what}, but there are no files in {kind.folder}/: forecasts do without"


def undeclared_files(state: GroupState) -> Iterator[str]:
    """What to tell the user of files that nothing declares, and of declarations without files."""
    for kind in KINDS:
        yield from _undeclared(state.params, kind, covariate_files(state.group, kind))


# --- whether they are current


def inputs_digest(state: GroupState) -> str:
    """Digest of the parameters and of the covariates that an import would read now, see `planning.imports`."""
    params = state.readable_params
    if params is None:
        return state.params_digest
    if state.params_text is not None and is_outdated(state.group, state.params_text):
        return f"inferred-{inferred_from(state.group)}"
    parts = [
        _expected(params, kind, covariate_files(state.group, kind)) for kind in KINDS if _matters(state, params, kind)
    ]
    return with_covariates(state.params_digest, ".".join(parts))


def last_inputs(state: GroupState, instance: dg.DagsterInstance) -> ImportRecord | None:
    """What the dataset and the covariates that are there now were made from; None if that is not known."""
    imported = last_import(state, instance)
    if imported is None:
        return None
    params = state.readable_params
    if params is None:
        return imported
    parts = [_recorded(state, kind, instance) for kind in KINDS if _matters(state, params, kind)]
    return replace(imported, params=with_covariates(imported.params, ".".join(parts)))


def stale_inputs(state: GroupState, instance: dg.DagsterInstance) -> list[str]:
    """Names of the assets that an import has to make; empty if all are current."""
    outdated = state.params_text is not None and is_outdated(state.group, state.params_text)
    if outdated or not dataset_is_current(state, instance):
        return ["target_time_series", *covariate_assets(state)]
    recorded = last_inputs(state, instance)
    current = recorded is not None and recorded.params == inputs_digest(state)
    return [] if current else covariate_assets(state)


def covariate_assets(state: GroupState) -> list[str]:
    """Names of the assets of covariates that are declared, or were before."""
    params = state.readable_params
    return [] if params is None else [kind.asset for kind in KINDS if _matters(state, params, kind)]


def pending_covariates(state: GroupState, instance: dg.DagsterInstance) -> str:
    """Why a forecast has to wait for covariates; empty if it hasn't."""
    params = state.readable_params
    if params is None:
        return ""
    for kind in KINDS:
        if _matters(state, params, kind):
            expected = _expected(params, kind, covariate_files(state.group, kind))
            if _recorded(state, kind, instance) != expected:
                return f"the {kind.what} have changed: waiting for their import; where it failed, its run says why"
    return ""


def _matters(state: GroupState, params: ForecastParams, kind: CovariateKind) -> bool:
    """Whether a kind is declared, or published from before."""
    declared = params.related if kind is RELATED_KIND else params.metadata
    return declared is not None or state.group.store.shown(kind.key) is not None


def _expected(params: ForecastParams, kind: CovariateKind, files: list[ObjectInfo]) -> str:
    """What the published covariates should be made from."""
    declared = params.related if kind is RELATED_KIND else params.metadata
    return "none" if declared is None else files_digest(files)


def _recorded(state: GroupState, kind: CovariateKind, instance: dg.DagsterInstance) -> str:
    """What the published covariates were made from; "stale" where they don't fit the dataset, or nothing is known."""
    event = instance.get_latest_materialization_event(state.group.key(kind.asset))
    if event is None or event.asset_materialization is None:
        return "stale"
    seen = materialization_values(event.asset_materialization)
    manifest = state.related_manifest if kind is RELATED_KIND else state.metadata_manifest
    published = "" if manifest is None else manifest.data_version
    dataset = "" if state.manifest is None else state.manifest.data_version
    if (seen.get("data_version"), seen.get("dataset_version")) != (published, dataset):
        return "stale"
    # The same data may be dealt out over another number of shards.
    shards = None if state.manifest is None else state.manifest.n_shards
    if kind is RELATED_KIND and state.related_manifest is not None and state.related_manifest.n_shards != shards:
        return "stale"
    return str(seen.get("files_digest"))
