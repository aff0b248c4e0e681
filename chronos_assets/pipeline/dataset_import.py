"""Importing the train files: what is read, under which parameters, and what is said of it.

Elsewhere: how and where that is done (`imports`), what the dataset in the store says about itself (`dataset`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.dataset import least_shards
from chronos_assets.pipeline.file_remarks import look_at_files, remember_remarks
from chronos_assets.pipeline.imports import ImportPlan, imported, is_job, table_before, what_was_read
from chronos_assets.pipeline.inferred import infer_again
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.train_files import no_train_files, train_files
from chronos_assets.planning.listing import listing_digest, trusted_times
from chronos_assets.store_layout import DATASET_KEY, IMPORT_MEMORY_KEY, PARAMS_KEY
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.wording import counted


@dataclass(frozen=True)
class ImportResult:
    """What an import made, and from what. facts: of its job, where it was one. remarks: see `file_remarks`."""

    manifest: Manifest
    params: ForecastParams
    train_digest: str
    facts: Mapping[str, Any]
    remarks: tuple[str, ...]


def import_dataset(state: GroupState, context: Any) -> ImportResult:
    """Import the train files and publish the dataset; on failure the one that was there stays.

    Files and shards that haven't changed since the last import are taken over where that is possible; the result is the same.

    Args:
        state: of the group.
        context: the asset's execution context, for its log, and where the import is a job.

    Raises:
        ChronosAssetsError: no files, bad parameters or bad rows; the message says which.
    """
    group, log = state.group, context.log
    plan = plan_import(state, log)
    with imported(group, plan, context) as made:
        made.publish(group, plan, plan.files)
        outcome = made.outcome
        manifest: Manifest = outcome.manifest
        log.info(what_was_read(outcome))
        log.info(
            f"imported {outcome.rows_read:,} rows: {manifest.series:,} series from {manifest.first} to {manifest.last}, "
            f"{manifest.observed:,} periods observed, {manifest.filled:,} filled, {manifest.duplicates:,} duplicates "
            f"resolved, {sum(manifest.rejected.values()):,} bad rows set aside"
        )
        remarks = remember_remarks(
            group, manifest, () if plan.as_job else look_at_files(group, plan.params, plan.files)
        )
        return ImportResult(manifest, plan.params, listing_digest(plan.files), made.facts, remarks)


def plan_import(state: GroupState, log: Any) -> ImportPlan:
    """What an import reads, and where it runs.

    Raises:
        ChronosAssetsError: no files, or bad parameters.
    """
    group = state.group
    files = train_files(group)
    if not files:
        raise no_train_files(group)
    group.jobs.expect("forecast")
    inferred = infer_again(group)
    params = (GroupState(group) if inferred else state).written_params
    if inferred:
        log.warning(inferred)
    for note in params.notes:
        log.info(f"{PARAMS_KEY}: {note}")
    trusted, doubts = trusted_times(files, datetime.now(UTC))
    for doubt in doubts:
        log.warning(doubt)
    as_job, size = is_job(group, sum(info.size for info in files))
    log.info(f"importing {counted(len(files), 'file')}, {size}")
    return ImportPlan(
        table="target_time_series",
        key=DATASET_KEY,
        memory_key=IMPORT_MEMORY_KEY,
        params=params,
        listed=partial(train_files, group),
        files=tuple(trusted),
        before=table_before(group, DATASET_KEY, IMPORT_MEMORY_KEY, files),
        notes=(*([inferred] if inferred else []), *doubts),
        min_shards=least_shards(group),
        as_job=as_job,
    )
