"""Imports of every table: done in this process or in a job, published here.

Here: how an import is tried, from the cheapest way to the surest, and what becomes of its outcome. Elsewhere: what an import of
each table reads (`dataset_import`, `covariate_imports`), the import itself (`timeseries.import_task`), the program of the job
(`workloads.import_dataset`).

All ways run the same function on the same files, and leave the same two folders, the table and a report. A job reads the
files as they lie in the store when it starts. So they are looked at again before anything is published, and if one isn't what
the import was planned for, nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.draft import with_guesses
from chronos_assets.params.forecast import ForecastParams, to_document
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.inferred import is_inferred
from chronos_assets.pipeline.staging import staging
from chronos_assets.platforms.jobs import JobRequest, JobResult, job_name
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets.store_layout import DATASET_KEY, PARAMS_KEY, REJECTED_KEY
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure, rejected_name
from chronos_assets.wording import counted, some_of

if TYPE_CHECKING:
    from chronos_assets.timeseries.dataset.dataset_before import Before
    from chronos_assets.timeseries.dataset.import_report import ImportReport
    from chronos_assets.timeseries.dataset.shards import Manifest
    from chronos_assets.timeseries.dataset.train_files import TrainFile
    from chronos_assets.timeseries.import_task import ImportFiles, ImportTask, Table

NAMED = 5  # files named in an error


@dataclass(frozen=True)
class ImportPlan:
    """What an import reads and makes.

    Attributes:
        table: what is made, by the name of its asset.
        key: where that is published.
        memory_key: where what its import left lies, for the next one; empty where it leaves nothing.
        params: of the dataset.
        listed: the files that there are now, among others.
        files: of the table alone, in order of their keys, with the times that are trusted.
        train_files: those of which columns are covariates, likewise.
        beside: manifest of the dataset that covariates are put beside.
        before: the table that is there, and what its import left, to take over what has not changed.
        notes: sentences for the user, for the manifest.
        min_shards: the least number of shards.
        as_job: whether reading everything is a job of its own.
    """

    table: Table
    key: str
    memory_key: str
    params: ForecastParams
    listed: Callable[[], Sequence[ObjectInfo]]
    files: tuple[ObjectInfo, ...]
    train_files: tuple[ObjectInfo, ...] = ()
    beside: Manifest | None = None
    before: Before | None = None
    notes: tuple[str, ...] = ()
    min_shards: int = 1
    as_job: bool = False

    @property
    def read(self) -> tuple[ObjectInfo, ...]:
        """All files."""
        return (*self.files, *self.train_files)

    @property
    def grid_bytes(self) -> int:
        """Disk for covariates on the grid: a value for all items has few bytes in its file, and a number in each row here."""
        if self.beside is None or self.table != "related_time_series" or self.params.related is None:
            return 0
        rows = self.beside.rows + self.beside.series * self.params.horizon
        return 8 * rows * len(self.params.related.covariates)

    def task(self, group: Group, *, only_changes: bool = False) -> ImportTask:
        """The task of an import in this process."""
        from chronos_assets.timeseries.import_task import ImportTask

        settings = group.settings
        return ImportTask(
            self.params,
            settings.memory_limit,
            self.table,
            self.min_shards,
            settings.max_unpacked,
            self.notes,
            only_changes,
        )

    def inputs(self, group: Group) -> ImportFiles:
        """What it reads."""
        from chronos_assets.timeseries.import_task import ImportFiles

        dataset = None if self.beside is None else group.store.open(DATASET_KEY)
        return ImportFiles(_files(group, self.files), _files(group, self.train_files), dataset, self.before)


@dataclass(frozen=True)
class Imported:
    """What an import left.

    Attributes:
        outcome: what it did.
        report: folder on this machine with what the next import needs.
        show: shows the table, all at once.
        facts: what people want to know of its job.
    """

    outcome: ImportReport[Any, Any]
    report: Path
    show: Callable[[], object]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def publish(self, group: Group, plan: ImportPlan, files: Sequence[ObjectInfo]) -> None:
        """Publish it: the bad rows of `files`, the table, and what the next import needs."""
        from chronos_assets.timeseries.import_task import MEMORY_FILE

        for info in files:
            key = f"{REJECTED_KEY}/{rejected_name(info.key)}"
            if info.key in self.outcome.rejected_files:
                group.store.put_file(key, self.outcome.rejected_files[info.key])
            elif info.key not in self.outcome.kept_files:
                group.store.delete(key)
        self.show()
        if plan.memory_key:
            group.store.put_file(plan.memory_key, self.report / MEMORY_FILE)


def is_job(group: Group, size: int) -> tuple[bool, str]:
    """Whether an import that reads so many bytes is a job of its own; and the bytes in words, with the reason."""
    limit = group.settings.import_job_bytes
    if limit is None or size <= limit:
        return False, f"{size:,} bytes"
    return True, f"{size:,} bytes, more than CHRONOS_IMPORT_JOB_BYTES={limit:,}: as a job of its own"


def table_before(
    group: Group, key: str, memory_key: str, files: Sequence[ObjectInfo], train_files: Sequence[ObjectInfo] = ()
) -> Before | None:
    """The table that is there, with what its import left; None where one of the two is missing.

    Args:
        group: whose.
        key: where the table is published.
        memory_key: where the rest lies; empty where there is none.
        files: of the table alone; one whose bad rows aren't where they belong is read again.
        train_files: of which columns are read; their bad rows are the dataset's.
    """
    from chronos_assets.timeseries.dataset.dataset_before import Before

    store = group.store
    if not memory_key or store.shown(key) is None or not store.exists(memory_key):
        return None
    there = {info.key for info in store.list(REJECTED_KEY)}
    own = (info.key for info in files if f"{REJECTED_KEY}/{rejected_name(info.key)}" in there)
    set_aside = frozenset([*own, *(info.key for info in train_files)])
    return Before(lambda: store.open(key), store.fetch(memory_key), set_aside)


# --- run --------------------------------------------------------------------------------------------------------------


@contextmanager
def imported(group: Group, plan: ImportPlan, context: Any) -> Iterator[Imported]:
    """What an import left, for as long as the block takes.

    Args:
        group: whose.
        plan: what it reads and makes.
        context: the asset's execution context, for its log, and where the import is a job.

    Raises:
        ChronosAssetsError: the files can't be imported, the job failed, or a file has changed since the plan was made.
    """
    from chronos_assets.timeseries.dataset.dataset_before import FullImportNeededError
    from chronos_assets.timeseries.import_task import MoreFilesNeededError

    with ExitStack() as stack:
        for run in _ways(group, plan):
            try:
                made = stack.enter_context(run(group, plan, context))
            except (FullImportNeededError, MoreFilesNeededError) as error:
                context.log.info(f"what has changed won't do ({error}): a job imports everything")
            else:
                yield made
                return


def _ways(group: Group, plan: ImportPlan) -> Iterator[Callable[..., AbstractContextManager[Imported]]]:
    """How to import, from the cheapest way to the one that always does."""
    if not plan.as_job:
        yield _import_here
        return
    given = _likely_read(group, plan)
    if len(given) < len(plan.read):
        # A target's changes may rewrite all of its shards; those of covariates are tails, or won't do.
        if plan.beside is not None and not is_job(group, sum(info.size for info in given))[0]:
            yield partial(_import_here, only_changes=True)
        else:
            yield partial(_import_as_job, given=given)
    yield _import_as_job


@contextmanager
def _import_here(group: Group, plan: ImportPlan, context: Any, *, only_changes: bool = False) -> Iterator[Imported]:
    """Import in this process, to which the files that are read come."""
    from chronos_assets.timeseries.import_task import DATASET, REPORT, progress_lines, run_import

    with staging(group) as folder:
        dataset, report = folder / DATASET, folder / REPORT
        task, progress = plan.task(group, only_changes=only_changes), progress_lines(context.log.info)
        try:
            outcome = run_import(task, plan.inputs(group), dataset=dataset, report=report, progress=progress)
        except ImportFailure as error:
            raise _refusal(group, str(error)) from error
        show = partial(group.store.publish, plan.key, dataset, data="*.parquet")
        yield Imported(outcome, report, partial(show, known=outcome.known, kept=outcome.elsewhere))


@contextmanager
def _import_as_job(
    group: Group, plan: ImportPlan, context: Any, *, given: Sequence[ObjectInfo] | None = None
) -> Iterator[Imported]:
    """Import in a job, which gets all files or the `given` ones: nothing of files and table comes here, but the report.

    Raises:
        ChronosAssetsError: the job failed, it refuses the files, or a file has changed since the plan was made.
        MoreFilesNeededError: the job has to read others, too.
    """
    from chronos_assets.timeseries.import_task import DATASET, REPORT, ImportRefusedError

    given = plan.read if given is None else given
    with group.jobs.run(context, job_request(group, plan, given)) as result:
        outcome = _outcome(plan, given, result)
        if not isinstance(outcome, ChronosAssetsError):
            show = partial(group.store.publish, plan.key, result.stored[DATASET], data="*.parquet")
            show = partial(show, known=outcome.known, kept=outcome.elsewhere)
            yield Imported(outcome, result.outputs[REPORT], show, result.facts)
            return
    # Out here, since what a job left is kept where publishing it fails.
    raise _refusal(group, str(outcome)) if isinstance(outcome, ImportRefusedError) else outcome


def _outcome(
    plan: ImportPlan, given: Sequence[ObjectInfo], result: JobResult
) -> ImportReport[Any, Any] | ChronosAssetsError:
    """What a job left, or why it left nothing."""
    from chronos_assets.timeseries.import_task import REPORT, ImportRefusedError, MoreFilesNeededError, load_outcome

    if changed := _changed_since(plan.listed(), given, plan.table):
        return ImportRefusedError(changed)
    try:
        return load_outcome(result.outputs[REPORT], plan.table)
    except (ImportRefusedError, MoreFilesNeededError) as error:
        return error


def _refusal(group: Group, reason: str) -> StepError:
    """The failure of an import; without a written `params.json` it says where the inferred one is."""
    if is_inferred(group):
        reason = reason.replace(f" in {PARAMS_KEY} ", f" in {group.place(PARAMS_KEY)} ")
    return StepError(reason)


def _likely_read(group: Group, plan: ImportPlan) -> tuple[ObjectInfo, ...]:
    """The files that an import reads, as far as the notes of the last one tell that."""
    from chronos_assets.timeseries.import_task import files_likely_read

    read = {file.key for file in files_likely_read(plan.task(group), plan.inputs(group), plan.beside)}
    return tuple(info for info in plan.read if info.key in read)


def job_request(group: Group, plan: ImportPlan, given: Sequence[ObjectInfo]) -> JobRequest:
    """The job of an import, which gets these of the files."""
    from chronos_assets.timeseries.import_task import (
        BEFORE,
        BESIDE,
        DATASET,
        LEAST_SHARES,
        LIKELY_SHARES,
        MEMORY,
        REPORT,
        TRAIN,
        disk_needed,
    )

    settings, before = group.settings, plan.before
    memory = None if before is None else group.store.head(plan.memory_key)
    sizes, every = ({info.key: info.size for info in files} for files in (given, plan.read))
    least, likely = disk_needed(sizes, LEAST_SHARES), disk_needed(sizes, LIKELY_SHARES, every)
    return JobRequest(
        workload="import_dataset",
        name=job_name("import", *([plan.table] if plan.beside is not None else []), plan.params.dataset_group),
        parameters={
            "table": plan.table,
            "params": with_guesses(to_document(plan.params), plan.params.guesses),
            "files": _documents(plan.files),
            "train_files": _documents(plan.train_files),
            "given": None if len(given) == len(plan.read) else [info.key for info in given],
            # The setting is that of the machine here; an instance has its own.
            "memory_limit": None if settings.deployment == "aws" else settings.memory_limit,
            "min_shards": plan.min_shards,
            "unpacked": settings.max_unpacked,
            "notes": list(plan.notes),
            "set_aside": None if before is None else sorted(before.set_aside or ()),
            "space": least.own,
        },
        remote={
            **({} if memory is None else {BEFORE: plan.key}),
            **({} if plan.beside is None else {BESIDE: DATASET_KEY}),
        },
        outputs=(DATASET, REPORT),
        objects={
            **({TRAIN: tuple(given)} if given else {}),
            **({} if memory is None else {MEMORY: (memory,)}),
        },
        stored=(DATASET,),
        disk_bytes=(least.total, likely.total + plan.grid_bytes),
    )


def _changed_since(there: Sequence[ObjectInfo], given: Sequence[ObjectInfo], asset: str) -> str:
    """What to say of files that aren't what the job of an asset was given any more; empty if all are."""
    etags = {info.key: info.etag for info in there}
    changed = [info.key for info in given if etags.get(info.key) != info.etag]
    if not changed:
        return ""
    return (
        f"{some_of(changed, NAMED)} changed while the job that imports them ran, so that nobody knows which version "
        "it read: nothing was published. The sensor asks for another import once the folder is quiet; without it, materialize "
        f"{asset} again"
    )


def _documents(files: Sequence[ObjectInfo]) -> list[dict[str, Any]]:
    """Files, as a job gets them described."""
    return [
        {"key": info.key, "modified": info.last_modified.isoformat(), "bytes": info.size, "etag": info.etag}
        for info in files
    ]


def _files(group: Group, files: Sequence[ObjectInfo]) -> list[TrainFile]:
    """Files, each of which comes to this machine once it is read."""
    from chronos_assets.timeseries.dataset.train_files import TrainFile

    return [
        TrainFile(partial(group.store.fetch, info.key), info.key, info.last_modified, info.etag, info.size)
        for info in files
    ]


def what_was_read(outcome: ImportReport[Any, Any]) -> str:
    """What an import took over, and why it took over nothing."""
    files, shards = len(outcome.manifest.files), len(outcome.manifest.shards)
    if outcome.reason:
        return f"everything read ({counted(files, 'file')}) and written ({counted(shards, 'shard')}): {outcome.reason}"
    read, written = files - len(outcome.kept_files), shards - len(outcome.kept_shards)
    extended = len(outcome.extended_shards)
    tails = f", {extended:,} with a new tail only" if extended else ""
    return (
        f"{read:,} of {files:,} files read, {len(outcome.kept_files):,} unchanged; {written - extended:,} of {shards:,} shards "
        f"rewritten{tails}, {len(outcome.kept_shards):,} kept"
    )
