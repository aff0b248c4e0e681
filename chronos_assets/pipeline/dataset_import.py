"""Importing the train files: planned here, done in this process or in a job, published here.

Here: what an import reads, where it runs, what becomes of its outcome. Elsewhere: the import itself
(`timeseries.import_task`), the program of the job (`workloads.import_dataset`), what the dataset in the store says about itself
(`pipeline.dataset`).

Both ways run the same function on the same files, and leave the same two folders, the dataset and a report. A job reads the
files as they lie in the store when it starts. So they are looked at again before anything is published, and if one isn't what
the import was planned for, nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import dagster as dg

from chronos_assets.params.draft import with_guesses
from chronos_assets.params.forecast import ForecastParams, to_document
from chronos_assets.pipeline.dataset import least_shards
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.inferred import infer_again, is_inferred
from chronos_assets.pipeline.staging import place, staging
from chronos_assets.pipeline.state import GroupState, no_train_files, train_files
from chronos_assets.planning.listing import listing_digest, trusted_times
from chronos_assets.platforms.jobs import JobRequest, job_name
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import DATASET_KEY, IMPORT_MEMORY_KEY, PARAMS_KEY, REJECTED_KEY
from chronos_assets.timeseries.dataset.shards import Manifest

if TYPE_CHECKING:
    from chronos_assets.timeseries.covariate_task import CovariateOutcome
    from chronos_assets.timeseries.dataset.train_files import TrainFile
    from chronos_assets.timeseries.import_task import ImportOutcome

NAMED = 5  # files named in an error


class Outcome(Protocol):
    """What an import says of itself. rejected: see `ImportOutcome`."""

    @property
    def rejected(self) -> Mapping[str, str]:
        """See above."""


OutcomeT = TypeVar("OutcomeT", bound=Outcome)


@dataclass(frozen=True)
class ImportResult:
    """What an import made, and from what. facts: of its job, where it was one."""

    manifest: Manifest
    params: ForecastParams
    train_digest: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class ImportPlan:
    """What an import reads.

    Attributes:
        files: the train files, in order of their keys, with the times that are trusted.
        params: of the dataset.
        notes: sentences for the user, for the manifest.
        set_aside: keys of the files whose bad rows are where they belong.
        has_dataset: whether there is a dataset, and what its import left, to take over what has not changed.
        as_job: whether it is a job of its own.
    """

    files: tuple[ObjectInfo, ...]
    params: ForecastParams
    notes: tuple[str, ...]
    set_aside: frozenset[str]
    has_dataset: bool
    as_job: bool

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(info.size for info in self.files)


@dataclass(frozen=True)
class Imported(Generic[OutcomeT]):
    """What an import left.

    Attributes:
        outcome: what it did.
        report: folder on this machine with what the next import needs, and bad rows.
        publish: shows the dataset, all at once.
        facts: what people want to know of its job.
    """

    outcome: OutcomeT
    report: Path
    publish: Callable[[], object]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rejected(self) -> dict[str, Path]:
        """The files of bad rows, by the keys of the files that have them."""
        from chronos_assets.timeseries.import_task import REJECTED_FOLDER

        return {key: self.report / REJECTED_FOLDER / name for key, name in self.outcome.rejected.items()}


Run = Callable[[Group, ImportPlan, Any], AbstractContextManager["Imported[ImportOutcome]"]]


def import_dataset(state: GroupState, context: Any) -> ImportResult:
    """Import the train files and publish the dataset; on failure the one that was there stays.

    Files and shards that haven't changed since the last import are taken over where that is possible; the result is the same.

    Args:
        state: of the group.
        context: the asset's execution context, for its log, and where the import is a job.

    Raises:
        dg.Failure: no files, bad parameters or bad rows; the description says which.
    """
    plan = plan_import(state, context.log)
    run: Run = import_as_job if plan.as_job else import_here
    with run(state.group, plan, context) as made:
        return finish_import(state.group, plan, made, context.log)


# --- plan -------------------------------------------------------------------------------------------------------------


def plan_import(state: GroupState, log: Any) -> ImportPlan:
    """What an import reads, and where it runs.

    Raises:
        dg.Failure: no files, or bad parameters.
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
        files=tuple(trusted),
        params=params,
        notes=(*([inferred] if inferred else []), *doubts),
        set_aside=set_aside(group, files),
        has_dataset=group.store.shown(DATASET_KEY) is not None and group.store.exists(IMPORT_MEMORY_KEY),
        as_job=as_job,
    )


def is_job(group: Group, size: int) -> tuple[bool, str]:
    """Whether an import that reads so many bytes is a job of its own; and the bytes in words, with the reason."""
    limit = group.settings.import_job_bytes
    if limit is None or size <= limit:
        return False, f"{size:,} bytes"
    return True, f"{size:,} bytes, more than CHRONOS_IMPORT_JOB_BYTES={limit:,}: as a job of its own"


def set_aside(group: Group, files: Sequence[ObjectInfo]) -> frozenset[str]:
    """Keys of the files whose bad rows lie where they belong."""
    from chronos_assets.timeseries.dataset.bad_rows import rejected_name

    there = {info.key for info in group.store.list(REJECTED_KEY)}
    return frozenset(info.key for info in files if f"{REJECTED_KEY}/{rejected_name(info.key)}" in there)


# --- run --------------------------------------------------------------------------------------------------------------


@contextmanager
def import_here(group: Group, plan: ImportPlan, context: Any) -> Iterator[Imported[ImportOutcome]]:
    """Import in this process; the files that it reads are fetched to this machine."""
    from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
    from chronos_assets.timeseries.dataset.dataset_before import Before
    from chronos_assets.timeseries.import_task import DATASET, REPORT, ImportTask, progress_lines, run_import

    store = group.store
    before = None
    if plan.has_dataset:
        before = Before(lambda: store.open(DATASET_KEY), store.fetch(IMPORT_MEMORY_KEY), plan.set_aside)
    settings = group.settings
    task = ImportTask(plan.params, settings.memory_limit, least_shards(group), settings.max_unpacked, plan.notes)
    with staging(group) as folder:
        dataset, report = folder / DATASET, folder / REPORT
        try:
            outcome = run_import(
                task,
                listed_files(group, plan.files),
                dataset=dataset,
                report=report,
                before=before,
                progress=progress_lines(context.log.info),
            )
        except ImportFailure as error:
            raise _refusal(group, str(error)) from error
        publish = partial(store.publish, DATASET_KEY, dataset, data="*.parquet")
        yield Imported(outcome, report, partial(publish, known=outcome.known, kept=outcome.elsewhere))


@contextmanager
def import_as_job(group: Group, plan: ImportPlan, context: Any) -> Iterator[Imported[ImportOutcome]]:
    """Import in a job: nothing of files and dataset comes here, except for the report.

    Raises:
        dg.Failure: the job failed, it refuses the files, or a file has changed since the plan was made.
    """
    from chronos_assets.timeseries.import_task import (
        DATASET,
        REPORT,
        ImportOutcome,
        ImportRefusedError,
        MoreFilesNeededError,
    )

    given, refused = likely_read(group, plan), ""
    while not refused:
        with group.jobs.run(context, job_request(group, plan, given)) as result:
            refused, outcome = changed_since(train_files(group), given, "target_time_series"), None
            try:
                outcome = None if refused else ImportOutcome.load(result.outputs[REPORT])
            except ImportRefusedError as error:
                refused = str(error)
            except MoreFilesNeededError as error:
                given = plan.files
                context.log.info(f"the files that have changed won't do ({error}): another job gets all of them")
            if outcome is not None:
                publish = partial(group.store.publish_stored, DATASET_KEY, result.stored[DATASET], data="*.parquet")
                publish = partial(publish, known=outcome.known, kept=outcome.elsewhere)
                yield Imported(outcome, result.outputs[REPORT], publish, result.facts)
                return
    raise _refusal(group, refused)  # out here, since what a job left is kept where publishing it fails


def _refusal(group: Group, reason: str) -> dg.Failure:
    """The failure of an import; a user who has written no `params.json` is told where the inferred one is."""
    if is_inferred(group):
        reason = reason.replace(f" in {PARAMS_KEY} ", f" in {place(group, PARAMS_KEY)} ")
    return dg.Failure(reason)


def likely_read(group: Group, plan: ImportPlan) -> tuple[ObjectInfo, ...]:
    """The files that an import reads, as far as the notes of the last one tell that."""
    from chronos_assets.timeseries.dataset.import_memory import ImportMemory, MemoryUnusableError, recipe_of
    from chronos_assets.timeseries.dataset.incremental import files_likely_read

    if not plan.has_dataset:
        return plan.files
    try:
        memory = ImportMemory.load(group.store.fetch(IMPORT_MEMORY_KEY))
    except MemoryUnusableError:
        return plan.files
    recipe = recipe_of(plan.params, group.settings.max_unpacked)
    read = {file.key for file in files_likely_read(memory, recipe, listed_files(group, plan.files), plan.set_aside)}
    return tuple(info for info in plan.files if info.key in read)


def job_request(group: Group, plan: ImportPlan, given: tuple[ObjectInfo, ...]) -> JobRequest:
    """The job of an import, which gets these of the files."""
    from chronos_assets.timeseries.import_task import (
        BEFORE,
        LEAST_SHARES,
        LIKELY_SHARES,
        MEMORY,
        disk_needed,
    )

    memory = group.store.head(IMPORT_MEMORY_KEY) if plan.has_dataset else None
    sizes, every = ({info.key: info.size for info in files} for files in (given, plan.files))
    least, likely = disk_needed(sizes, LEAST_SHARES), disk_needed(sizes, LIKELY_SHARES, every)
    return import_job(
        group,
        plan.params,
        {
            "files": documents_of(plan.files),
            "given": None if len(given) == len(plan.files) else [info.key for info in given],
            "min_shards": least_shards(group),
            "notes": list(plan.notes),
            "set_aside": sorted(plan.set_aside),
            "space": least.own,
        },
        given=given,
        remote={} if memory is None else {BEFORE: DATASET_KEY},
        objects={} if memory is None else {MEMORY: (memory,)},
        disk_bytes=(least.total, likely.total),
    )


def import_job(
    group: Group,
    params: ForecastParams,
    parameters: Mapping[str, Any],
    *,
    given: tuple[ObjectInfo, ...],
    remote: Mapping[str, str],
    disk_bytes: tuple[int, int],
    objects: Mapping[str, tuple[ObjectInfo, ...]] | None = None,
    what: str = "",
) -> JobRequest:
    """The job of an import of any kind.

    Args:
        group: whose files they are.
        params: of the dataset.
        parameters: of this kind.
        given: the files that it gets.
        remote: see `JobRequest`, as for `objects` and `disk_bytes`.
        disk_bytes: inputs and all.
        objects: beside the files.
        what: it is called, where it isn't that of the train files.
    """
    from chronos_assets.timeseries.import_task import DATASET, REPORT, TRAIN

    settings = group.settings
    return JobRequest(
        workload="import_dataset",
        name=job_name("import", *([what] if what else []), params.dataset_group),
        parameters={
            "params": with_guesses(to_document(params), params.guesses),
            # The setting is that of the machine here; an instance has its own.
            "memory_limit": None if settings.deployment == "aws" else settings.memory_limit,
            "unpacked": settings.max_unpacked,
            **parameters,
        },
        remote=remote,
        outputs=(DATASET, REPORT),
        objects={**({TRAIN: given} if given else {}), **(objects or {})},
        stored=(DATASET,),
        disk_bytes=disk_bytes,
    )


def changed_since(there: Iterable[ObjectInfo], given: Sequence[ObjectInfo], asset: str) -> str:
    """What to say of files that aren't what the job of an asset was given any more; empty if all are."""
    etags = {info.key: info.etag for info in there}
    changed = [info.key for info in given if etags.get(info.key) != info.etag]
    if not changed:
        return ""
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return (
        f"{', '.join(changed[:NAMED])}{more} changed while the job that imports them ran, so that nobody knows which version "
        "it read: nothing was published. The sensor asks for another import once the folder is quiet; without it, materialize "
        f"{asset} again"
    )


def documents_of(files: Sequence[ObjectInfo]) -> list[dict[str, Any]]:
    """Files, as a job gets them described."""
    return [
        {"key": info.key, "modified": info.last_modified.isoformat(), "bytes": info.size, "etag": info.etag}
        for info in files
    ]


def listed_files(group: Group, files: Sequence[ObjectInfo]) -> list[TrainFile]:
    """The train files, each of which comes to this machine once it is read."""
    from chronos_assets.timeseries.dataset.train_files import TrainFile

    return [
        TrainFile(partial(group.store.fetch, info.key), info.key, info.last_modified, info.etag, info.size)
        for info in files
    ]


# --- finish -----------------------------------------------------------------------------------------------------------


def finish_import(group: Group, plan: ImportPlan, made: Imported[ImportOutcome], log: Any) -> ImportResult:
    """Publish what an import left: bad rows, the dataset, and what the next import needs."""
    from chronos_assets.timeseries.import_task import MEMORY_FILE

    outcome = made.outcome
    keep_rejected(group, [info for info in plan.files if info.key not in outcome.kept_files], made.rejected)
    made.publish()
    group.store.put_file(IMPORT_MEMORY_KEY, made.report / MEMORY_FILE)
    manifest = outcome.manifest
    log.info(what_was_read(outcome))
    log.info(
        f"imported {outcome.rows_read:,} rows: {manifest.series:,} series from {manifest.first} to {manifest.last}, "
        f"{manifest.observed:,} periods observed, {manifest.filled:,} filled, {manifest.duplicates:,} duplicates "
        f"resolved, {sum(manifest.rejected.values()):,} bad rows set aside"
    )
    return ImportResult(manifest, plan.params, listing_digest(plan.files), made.facts)


def what_was_read(outcome: ImportOutcome | CovariateOutcome) -> str:
    """What an import took over, and why it took over nothing."""
    files, shards = len(outcome.manifest.files), len(getattr(outcome.manifest, "shards", ()))
    if outcome.reason:
        file, shard = ("file" if files == 1 else "files"), ("shard" if shards == 1 else "shards")
        return f"everything read ({files:,} {file}) and written ({shards:,} {shard}): {outcome.reason}"
    read, written = files - len(outcome.kept_files), shards - len(outcome.kept_shards)
    extended = len(outcome.extended_shards)
    tails = f", {extended:,} with a new tail only" if extended else ""
    return (
        f"{read:,} of {files:,} files read, {len(outcome.kept_files):,} unchanged; {written - extended:,} of {shards:,} shards "
        f"rewritten{tails}, {len(outcome.kept_shards):,} kept"
    )


def keep_rejected(group: Group, files: Sequence[ObjectInfo], rejected: Mapping[str, Path]) -> None:
    """Keep nothing in `rejected/` of these files but their present bad rows."""
    from chronos_assets.timeseries.dataset.bad_rows import rejected_name

    for info in files:
        key = f"{REJECTED_KEY}/{rejected_name(info.key)}"
        if info.key in rejected:
            group.store.put_file(key, rejected[info.key])
        else:
            group.store.delete(key)
