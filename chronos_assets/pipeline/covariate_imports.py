"""Importing covariates beside the dataset: which files, where it is done, whether they are current, publishing what was made.

Here: related time series and item metadata as the store has them. How rows become series is for
`timeseries.dataset.related_importing` and `metadata_importing` to say, when to import for `planning.imports`; what imports
have in common is in `dataset_import`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.covariate_kinds import KINDS, RELATED_KIND, CovariateKind, covariate_files
from chronos_assets.pipeline.dataset import dataset_is_current, last_import
from chronos_assets.pipeline.dataset_import import (
    Imported,
    changed_since,
    documents_of,
    import_job,
    is_job,
    keep_rejected,
    listed_files,
    set_aside,
    what_was_read,
)
from chronos_assets.pipeline.failures import failures
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.inferred import is_outdated
from chronos_assets.pipeline.staging import materialization_values, staging
from chronos_assets.pipeline.state import GroupState, inferred_from, train_files
from chronos_assets.planning.imports import ImportRecord, with_covariates
from chronos_assets.planning.listing import files_digest, trusted_times
from chronos_assets.platforms.jobs import JobRequest
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import DATASET_KEY, PARAMS_KEY, RELATED_KEY, RELATED_MEMORY_KEY
from chronos_assets.timeseries.dataset.related import MetadataManifest, RelatedManifest
from chronos_assets.timeseries.dataset.shards import Manifest

if TYPE_CHECKING:
    from chronos_assets.timeseries.covariate_task import CovariateOutcome, CovariateTask
    from chronos_assets.timeseries.dataset.dataset_before import Before


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


@dataclass(frozen=True)
class CovariatePlan:
    """What an import reads.

    Attributes:
        kind: of covariates.
        params: as `params.json` has them.
        dataset: manifest of the dataset that they are put beside.
        files: of covariates, with the times that are trusted.
        train_files: those whose columns are read, likewise.
    """

    kind: CovariateKind
    params: ForecastParams
    dataset: Manifest
    files: tuple[ObjectInfo, ...]
    train_files: tuple[ObjectInfo, ...]

    @property
    def read(self) -> tuple[ObjectInfo, ...]:
        """All files."""
        return (*self.files, *self.train_files)

    @property
    def size(self) -> int:
        """Bytes of what is read: files, and the dataset."""
        return sum(info.size for info in self.read) + self.dataset.size

    def task(self, memory_limit: str, unpacked: int | None, *, only_changes: bool = False) -> CovariateTask:
        """What the import is told."""
        from chronos_assets.timeseries.covariate_task import CovariateTask

        return CovariateTask(self.params, self.kind is RELATED_KIND, memory_limit, unpacked, only_changes)


def import_covariates(state: GroupState, kind: CovariateKind, context: Any) -> CovariateImport:
    """Import all files of a kind and publish what they hold; on failure what was there stays.

    Files of related time series that haven't changed are taken over where that is possible; the result is the same.

    Without a declaration, or without files, nothing is published, and what was there before is withdrawn.

    Args:
        state: of the group.
        kind: of covariates.
        context: the asset's execution context, for its log, and where the import is a job.

    Raises:
        dg.Failure: bad rows or files; the description says which.
    """
    from chronos_assets.timeseries.import_task import MEMORY_FILE

    group, log, params = state.group, context.log, state.params
    dataset, files = state.require_manifest(), covariate_files(group, kind)
    digest = _expected(params, kind, files)
    notes = list(_undeclared(params, kind, files))
    for note in notes:
        log.warning(note)
    trusted, doubts = trusted_times(files, datetime.now(UTC))
    declared = kind.declared(params)
    own = trusted if declared and declared.dataset else ()
    train = trusted_times(train_files(group), datetime.now(UTC))[0] if declared and declared.columns else ()
    plan = CovariatePlan(kind, state.written_params, dataset, tuple(own), tuple(train))
    if not plan.read:
        group.store.withdraw(kind.key)
        return CovariateImport(kind, None, digest, tuple(notes))
    as_job, size = is_job(group, plan.size)
    log.info(f"importing {kind.what}: files: {len(own):,}, train files: {len(train):,}; with the dataset {size}")
    with ExitStack() as stack:
        made = stack.enter_context(_import_changes(group, plan, context)) if as_job else None
        if made is None:
            made = stack.enter_context((_import_as_job if as_job else _import_here)(group, plan, context))
        outcome = made.outcome
        manifest, facts = outcome.manifest, dict(made.facts)
        if getattr(manifest, "dataset_version", dataset.data_version) != dataset.data_version:
            raise dg.Failure("the dataset changed while covariates were imported: materialize them again")
        keep_rejected(group, [info for info in files if info.key not in outcome.kept_files], made.rejected)
        made.publish()
        if kind is RELATED_KIND:
            group.store.put_file(RELATED_MEMORY_KEY, made.report / MEMORY_FILE)
            facts = {"what_was_read": what_was_read(outcome), **facts}
            log.info(facts["what_was_read"])
    for note in manifest.notes:
        log.info(note)
    return CovariateImport(kind, manifest, digest, (*notes, *doubts, *manifest.notes), facts)


@contextmanager
def _import_changes(group: Group, plan: CovariatePlan, context: Any) -> Iterator[Imported[CovariateOutcome] | None]:
    """Import what has changed in this process, where that is little; None where it isn't, or doesn't tell all."""
    from chronos_assets.timeseries.dataset.dataset_before import FullImportNeededError

    if is_job(group, _likely_read(group, plan))[0]:
        yield None
        return
    with ExitStack() as stack:
        try:
            made = stack.enter_context(_import_here(group, plan, context, only_changes=True))
        except FullImportNeededError as error:
            context.log.info(f"what has changed won't do ({error}): a job imports everything")
            made = None
        yield made


def _likely_read(group: Group, plan: CovariatePlan) -> int:
    """Bytes that an import of what has changed reads, as far as the notes of the last one tell that."""
    from chronos_assets.timeseries.dataset.import_memory import MemoryUnusableError, identity
    from chronos_assets.timeseries.dataset.related_memory import RelatedMemory

    before = _before(group, plan)
    try:
        memory = None if before is None else RelatedMemory.load(before.memory)
    except MemoryUnusableError:
        memory = None
    if memory is None or memory.obstacle:
        return plan.size
    known = {file.identity for source in memory.sources for file in source.files}
    files = listed_files(group, plan.read)
    return sum(file.size for file in files if identity(file) not in known)


def _before(group: Group, plan: CovariatePlan) -> Before | None:
    """The related time series that are there, with what their import noted."""
    from chronos_assets.timeseries.dataset.dataset_before import Before

    store = group.store
    if plan.kind is not RELATED_KIND or store.shown(RELATED_KEY) is None or not store.exists(RELATED_MEMORY_KEY):
        return None
    return Before(lambda: store.open(RELATED_KEY), store.fetch(RELATED_MEMORY_KEY), set_aside(group, plan.files))


@contextmanager
def _import_here(
    group: Group, plan: CovariatePlan, context: Any, *, only_changes: bool = False
) -> Iterator[Imported[CovariateOutcome]]:
    """Import in this process, to which the files that are read come."""
    from chronos_assets.timeseries.covariate_task import run_covariate_import
    from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
    from chronos_assets.timeseries.import_task import REPORT, progress_lines

    store, settings = group.store, group.settings
    with staging(group) as folder:
        output, report = folder / plan.kind.asset, folder / REPORT
        with failures(ImportFailure):
            outcome = run_covariate_import(
                plan.task(settings.memory_limit, settings.max_unpacked, only_changes=only_changes),
                listed_files(group, plan.files),
                listed_files(group, plan.train_files),
                store.open(DATASET_KEY),
                output=output,
                report=report,
                progress=progress_lines(context.log.info),
                before=_before(group, plan),
            )
        publish = partial(store.publish, plan.kind.key, output, data="*.parquet", known=outcome.known)
        yield Imported(outcome, report, partial(publish, kept=outcome.elsewhere))


@contextmanager
def _import_as_job(group: Group, plan: CovariatePlan, context: Any) -> Iterator[Imported[CovariateOutcome]]:
    """Import in a job: nothing of files and covariates comes here, except for the report."""
    from chronos_assets.timeseries.covariate_task import CovariateOutcome
    from chronos_assets.timeseries.import_task import DATASET, REPORT, ImportRefusedError

    kind, store = plan.kind, group.store
    with group.jobs.run(context, _job_request(group, plan)) as result:
        there, report = [*covariate_files(group, kind), *train_files(group)], result.outputs[REPORT]
        refused = changed_since(there, plan.read, kind.asset)
        try:
            outcome = None if refused else CovariateOutcome.load(report, is_related=kind is RELATED_KIND)
        except ImportRefusedError as error:
            outcome, refused = None, str(error)
        if outcome is not None:
            publish = partial(store.publish_stored, kind.key, result.stored[DATASET], data="*.parquet")
            yield Imported(outcome, report, partial(publish, known=outcome.known), result.facts)
            return
    raise dg.Failure(refused)  # out here, since what a job left is kept where publishing it fails


def _job_request(group: Group, plan: CovariatePlan) -> JobRequest:
    """The job of an import."""
    from chronos_assets.timeseries.import_task import BEFORE, LEAST_SHARES, LIKELY_SHARES, disk_needed

    sizes = {info.key: info.size for info in plan.read}
    least, likely = disk_needed(sizes, LEAST_SHARES), disk_needed(sizes, LIKELY_SHARES)
    related = plan.params.related if plan.kind is RELATED_KIND else None
    # A value for all items has few bytes in its file, and a number in each row of the grid.
    rows = plan.dataset.rows + plan.dataset.series * plan.params.horizon
    grid = 8 * rows * len(related.covariates) if related else 0
    return import_job(
        group,
        plan.params,
        {
            "covariates": plan.kind.asset,
            "files": documents_of(plan.files),
            "train_files": documents_of(plan.train_files),
            "space": least.own,
        },
        what=plan.kind.asset,
        given=plan.read,
        remote={BEFORE: DATASET_KEY},
        disk_bytes=(least.total, likely.total + grid),
    )


def _undeclared(params: ForecastParams, kind: CovariateKind, files: list[ObjectInfo]) -> Iterator[str]:
    """What to tell the user of files that nothing declares, and of a declaration without files."""
    declared = kind.declared(params)
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
    return kind.declared(params) is not None or state.group.store.shown(kind.key) is not None


def _expected(params: ForecastParams, kind: CovariateKind, files: list[ObjectInfo]) -> str:
    """What the published covariates should be made from."""
    return "none" if kind.declared(params) is None else files_digest(files)


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
