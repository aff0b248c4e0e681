"""Workload: import train files, or covariates, where that is more than the process that asks for it should do.

    python -m chronos_assets.workloads.import_dataset

Parameters (one JSON document):

```
table         what is made: "target_time_series" (default), "related_time_series" or "item_metadata"
params        the parameter file, as params.json has it
files         [{"key", "modified", "bytes"}]: modified as ISO 8601 with a zone, which decides which file is newer;
              etag beside them, which tells a file that was read before
train_files   as `files`: those of which columns are covariates
given         keys of the files that are there (null: all); the others haven't changed since the last import
memory_limit  of DuckDB, as "2GB" (default: half of the machine's memory)
min_shards, unpacked, notes    see `timeseries.import_task.ImportTask`
set_aside     keys of the files whose bad rows are where they belong (null: all)
space         bytes that the import needs on disk at least, beside its inputs; the job fails at once where there are fewer
```

Channels: reads `train` (each file under its key); for covariates `beside`, the dataset that they are put beside; for an import
of what has changed `before` (the files of the table that is there) and `memory` (one file, what its import left). The files of
`beside` and `before` are fetched one by one. Writes `dataset`, of which files that stay as they are aren't written but named,
and `report`, as `timeseries.import_task` describes them. Files that can't be imported are no failure of the job, nor is it one
that others have to be read than those that were given: the report says so, in full.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import duckdb
from pydantic import PlainValidator

from chronos_assets.container.contract import Reporter, WorkloadError, Workspace, run_workload
from chronos_assets.container.parameters import Count, CountOrNone, Text, checked, read_parameters
from chronos_assets.container.remote_files import RemoteFiles
from chronos_assets.params.reader import parse_params
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.dataset_before import Before
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets.timeseries.import_task import (
    BEFORE,
    BESIDE,
    DATASET,
    MEMORY,
    REPORT,
    TRAIN,
    ImportFiles,
    ImportTask,
    MoreFilesNeededError,
    Table,
    progress_lines,
    run_import,
    save_need,
    save_refusal,
)
from chronos_assets.wording import first_line


def _instant(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError("it must be a time with a zone, such as 2024-01-01T00:00:00+00:00")
    return moment


@checked
@dataclass(frozen=True)
class ListedFile:
    """A train file, as it was when the import was planned."""

    key: Text
    modified: Annotated[datetime, PlainValidator(_instant)]
    bytes: CountOrNone
    etag: str = ""


@checked
@dataclass(frozen=True, kw_only=True)
class ImportJobRequest:
    """The parameters, checked; see the module's docstring."""

    params: dict[str, Any]
    files: tuple[ListedFile, ...]
    table: Table = "target_time_series"
    train_files: tuple[ListedFile, ...] = ()
    given: tuple[str, ...] | None = None
    memory_limit: Text | None = None
    min_shards: Count = 1
    unpacked: CountOrNone | None = None
    notes: tuple[str, ...] = ()
    set_aside: tuple[str, ...] | None = None
    space: CountOrNone = 0


def main(workspace: Workspace, reporter: Reporter) -> None:
    """Import the files, or say what is wrong with them."""
    request = read_parameters(ImportJobRequest, "import", workspace.parameters())
    memory_limit = request.memory_limit or _half_of_memory()
    _check_space(workspace.output(DATASET), request.space)
    given = "" if request.given is None else f" ({len(request.given):,} of them given)"
    files = len(request.files) + len(request.train_files)
    reporter.log(f"files: {files:,}{given}; memory of DuckDB: {memory_limit}")
    report = workspace.output(REPORT)
    task = ImportTask(
        parse_params(request.params), memory_limit, request.table, request.min_shards, request.unpacked, request.notes
    )
    beside = workspace.optional_input(BESIDE)
    read = ImportFiles(
        _train_files(workspace, request, request.files),
        _train_files(workspace, request, request.train_files),
        RemoteFiles.of(beside) if beside else None,
        _before(workspace, request),
    )
    try:
        run_import(task, read, dataset=workspace.output(DATASET), report=report, progress=progress_lines(reporter.log))
    except ImportFailure as failure:
        save_refusal(report, str(failure))
    except MoreFilesNeededError as need:
        save_need(report, str(need))
    except duckdb.OutOfMemoryException as error:
        raise WorkloadError(
            f"{memory_limit} of memory are too little for DuckDB: choose an instance with more (CHRONOS_IMPORT_INSTANCE; "
            f"on a machine of your own CHRONOS_MEMORY_LIMIT): {first_line(error)}"
        ) from error


def _train_files(workspace: Workspace, request: ImportJobRequest, files: Sequence[ListedFile]) -> list[TrainFile]:
    return [_train_file(workspace, request, file) for file in files]


def _train_file(workspace: Workspace, request: ImportJobRequest, file: ListedFile) -> TrainFile:
    """A train file in its channel, or one that hasn't been given.

    Raises:
        WorkloadError: it isn't the one that was planned for.
    """
    if request.given is not None and file.key not in request.given:
        return TrainFile(partial(_needed, file.key), file.key, file.modified, file.etag, file.bytes)
    path = workspace.input(TRAIN) / file.key
    found = path.stat().st_size if path.is_file() else None
    if found != file.bytes:
        there = "is not there" if found is None else f"has {found:,} bytes instead of {file.bytes:,}"
        raise WorkloadError(f"{file.key} {there}: it has changed since the import was planned; import again")
    return TrainFile(path, file.key, file.modified, file.etag)


def _needed(key: str) -> Path:
    raise MoreFilesNeededError(f"{key} has to be read, too")


def _before(workspace: Workspace, request: ImportJobRequest) -> Before | None:
    """The dataset that is there, where the job was given it with what its import left."""
    if not all(workspace.optional_input(channel) for channel in (BEFORE, MEMORY)):
        return None
    memory = next((path for path in workspace.input(MEMORY).rglob("*") if path.is_file()), None)
    if memory is None:
        return None
    set_aside = None if request.set_aside is None else frozenset(request.set_aside)
    return Before(lambda: RemoteFiles.of(workspace.input(BEFORE)), memory, set_aside)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WorkloadError(
            f"the import needs {_gigabytes(needed)} of disk at least beside its inputs, and {folder} has {_gigabytes(free)}: "
            "free some, or raise CHRONOS_IMPORT_VOLUME_GB by the difference (an instance with a local NVMe drive, such as "
            "ml.r5d.xlarge, has that and no other: choose a larger CHRONOS_IMPORT_INSTANCE)"
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"


def _half_of_memory() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages // 2 // 10**6}MB"


if __name__ == "__main__":
    run_workload(main)
