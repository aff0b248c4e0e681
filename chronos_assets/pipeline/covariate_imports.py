"""Importing covariates beside the dataset: which files, where it is done, whether they are current, publishing what was made.

Here: related time series and item metadata as the store has them. How rows become series is for
`timeseries.dataset.related_importing` and `metadata_importing` to say, when to import for `planning.imports`, how an
import is done and published for `imports`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.covariate_kinds import KINDS, RELATED_KIND, CovariateKind, covariate_files
from chronos_assets.pipeline.dataset import dataset_is_current, last_import
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.imports import ImportPlan, imported, is_job, table_before, what_was_read
from chronos_assets.pipeline.inference import inferred_from
from chronos_assets.pipeline.inferred import is_outdated
from chronos_assets.pipeline.materializations import materialization_values
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.train_files import train_files
from chronos_assets.planning.imports import ImportRecord, with_covariates
from chronos_assets.planning.listing import files_digest, trusted_times
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import PARAMS_KEY
from chronos_assets.timeseries.dataset.item_metadata import MetadataManifest
from chronos_assets.timeseries.dataset.related import RelatedManifest
from chronos_assets.wording import counted

NOTHING_READ = "none"  # in place of the digest of files, where nothing is declared


@dataclass(frozen=True)
class CovariateImport:
    """What an import made.

    Attributes:
        kind: of covariates.
        manifest: of what is published now; None where nothing is declared, or there are no files.
        digest: of the files that were read, for `last_inputs`.
        notes: sentences for the user.
        facts: what was read, and of its job, where it was one.
    """

    kind: CovariateKind
    manifest: RelatedManifest | MetadataManifest | None
    digest: str
    notes: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def import_covariates(state: GroupState, kind: CovariateKind, context: Any) -> CovariateImport:
    """Import all files of a kind and publish what they hold; on failure what was there stays.

    Files of related time series that haven't changed are taken over where that is possible; the result is the same.

    Without a declaration, or without files, nothing is published, and what was there before is withdrawn.

    Args:
        state: of the group.
        kind: of covariates.
        context: the asset's execution context, for its log, and where the import is a job.

    Raises:
        ChronosAssetsError: bad rows or files; the message says which.
    """
    group, log, params = state.group, context.log, state.params
    dataset, files = state.require_manifest(), covariate_files(group, kind)
    digest = _expected(params, kind, files)
    notes = list(_undeclared(params, kind, files))
    for note in notes:
        log.warning(note)
    trusted, doubts = trusted_times(files, datetime.now(UTC))
    declared = kind.declared(params)
    own = tuple(trusted) if declared and declared.dataset else ()
    train = tuple(trusted_times(train_files(group), datetime.now(UTC))[0]) if declared and declared.columns else ()
    if not (own or train):
        group.store.withdraw(kind.key)
        return CovariateImport(kind, None, digest, tuple(notes))
    as_job, size = is_job(group, sum(info.size for info in (*own, *train)) + dataset.size)
    log.info(f"importing {kind.what}: files: {len(own):,}, train files: {len(train):,}; with the dataset {size}")
    plan = ImportPlan(
        table=kind.asset,
        key=kind.key,
        memory_key=kind.memory_key,
        params=state.written_params,
        listed=lambda: [*covariate_files(group, kind), *train_files(group)],
        files=own,
        train_files=train,
        beside=dataset,
        before=table_before(group, kind.key, kind.memory_key, own, train),
        as_job=as_job,
    )
    with imported(group, plan, context) as made:
        outcome, facts = made.outcome, dict(made.facts)
        manifest: RelatedManifest | MetadataManifest = outcome.manifest
        if getattr(manifest, "dataset_version", dataset.data_version) != dataset.data_version:
            raise StepError("the dataset changed while covariates were imported: materialize them again")
        made.publish(group, plan, files)
        if kind is RELATED_KIND:
            facts = {"what_was_read": what_was_read(outcome), **facts}
            log.info(facts["what_was_read"])
    for note in manifest.notes:
        log.info(note)
    return CovariateImport(kind, manifest, digest, (*notes, *doubts, *manifest.notes), facts)


def _undeclared(params: ForecastParams, kind: CovariateKind, files: list[ObjectInfo]) -> Iterator[str]:
    """What to tell the user of files that nothing declares, and of a declaration without files."""
    declared = kind.declared(params)
    has_schema = declared is not None and declared.dataset is not None
    if files and not has_schema:
        yield (
            f"{counted(len(files), 'file')} of {kind.what} ({files[0].key}) not used: {PARAMS_KEY} declares no data set of the "
            f"type {kind.data_type}; add one to Datasets, with the Schema of its columns"
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
    return kind.declared(params) is not None or state.group.store.shown(kind.key) is not None


def _expected(params: ForecastParams, kind: CovariateKind, files: list[ObjectInfo]) -> str:
    """What the published covariates should be made from."""
    return NOTHING_READ if kind.declared(params) is None else files_digest(files)


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
