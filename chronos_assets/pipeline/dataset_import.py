"""Importing the train files: what is read, under which parameters, and what is said of it.

Elsewhere: how and where that is done (`imports`), what the dataset in the store says about itself (`dataset`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.dataset import least_shards
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.imports import ImportPlan, imported, is_job, table_before, what_was_read
from chronos_assets.pipeline.inferred import infer_again, is_inferred
from chronos_assets.pipeline.state import GroupState, files_to_sample, no_train_files, train_files
from chronos_assets.planning.listing import listing_digest, spread_within, trusted_times
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import DATASET_KEY, IMPORT_MEMORY_KEY, PARAMS_KEY
from chronos_assets.timeseries.dataset.shards import Manifest

# Of the newest files, at most so many, and bytes of all but one. Those that haven't changed are read for this alone, and have
# to be fetched where the store isn't on this machine.
_LOOKED_AT, _LOOKED_AT_BYTES, _ROWS_LOOKED_AT = 100, 50_000_000, 8_000


@dataclass(frozen=True)
class ImportResult:
    """What an import made, and from what. facts: of its job, where it was one."""

    manifest: Manifest
    params: ForecastParams
    train_digest: str
    facts: Mapping[str, Any]


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
        return ImportResult(manifest, plan.params, listing_digest(plan.files), made.facts)


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
    log.info(f"importing {len(files):,} {'file' if len(files) == 1 else 'files'}, {size}")
    return ImportPlan(
        table="target_time_series",
        key=DATASET_KEY,
        memory_key=IMPORT_MEMORY_KEY,
        params=params,
        listed=partial(train_files, group),
        files=tuple(trusted),
        before=table_before(group, DATASET_KEY, IMPORT_MEMORY_KEY, files),
        notes=(*([inferred] if inferred else []), *doubts, *([] if as_job else _looked_at(group, params, trusted))),
        min_shards=least_shards(group),
        as_job=as_job,
    )


def _looked_at(group: Group, params: ForecastParams, files: Sequence[ObjectInfo]) -> list[str]:
    """What to tell the user of values and names in a sample of the files, where inference has not said it already."""
    from chronos_assets.params.declared_notes import declared_notes
    from chronos_assets.timeseries.dataset.csv_records import FileProblem
    from chronos_assets.timeseries.dataset.sampling import sample_files

    if is_inferred(group):
        return []
    newest = sorted(files, key=lambda info: (info.last_modified, info.key))[-_LOOKED_AT:]
    try:
        looked_at = files_to_sample(group, spread_within(newest, _LOOKED_AT_BYTES))
        sample = sample_files(looked_at, _ROWS_LOOKED_AT, unpacked=group.settings.max_unpacked)
    except (FileProblem, FileNotFoundError):
        return []  # the import says what is wrong, and which file has gone
    return list(declared_notes(params, sample.header, sample.rows, sample.files))
