"""Users' files, one after another, into rows: what imports of every kind do with them alike.

Here: the order of things, and what is noted of each file. Elsewhere: a single file (`train_file_reader`), what becomes of
its rows (`import_passes` for the target, `covariate_files` for covariates).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.bad_rows import BadRows, ImportFailure
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.duckdb_sql import scratch_connection
from chronos_assets.timeseries.dataset.import_memory import FileFacts, FileWatch
from chronos_assets.timeseries.dataset.misread_times import misread
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.train_file_reader import TrainFileReader
from chronos_assets.timeseries.dataset.train_files import CovariateReading, RenamedColumns, TrainFile, bring

Batches = Callable[[pa.RecordBatch], pa.RecordBatch]
# Gets the rank of a file, some of its good rows, and their distinct timestamps (n,) in microseconds.
Take = Callable[[int, pa.RecordBatch, Integers], None]

_NONE = np.empty(0, dtype=np.int64)


def read_files(
    files: Mapping[int, TrainFile],
    params: ForecastParams,
    take: Take,
    bad: BadRows,
    scratch: Path,
    resources: Resources,
    *,
    unit: int | None,
    several: bool = True,
    renamed: RenamedColumns | None = None,
    reading: CovariateReading | None = None,
    what: str = "train files",
) -> tuple[dict[int, FileFacts], RenamedColumns]:
    """Read files: their good rows are taken, their bad ones collected.

    Args:
        files: by rank among all files, ascending.
        params: whose columns they have.
        take: gets the good rows, in order.
        bad: collects the others.
        scratch: folder for temporary files.
        resources: to work with.
        unit: microseconds to which timestamps are noted; None where rows have none.
        several: whether there are other files, read or not.
        renamed: see `TrainFileReader`.
        reading: of covariates instead of the target.
        what: the files are, for messages.

    Returns:
        What is known of each, by rank, and which columns were found by their place.

    Raises:
        ImportFailure: with everything that is wrong in the files.
    """
    if not files:
        return {}, dict(renamed or {})
    problems: list[FileProblem] = []
    bring(files.values())
    sizes = {rank: _size(file, problems) for rank, file in files.items()}
    if problems:
        raise ImportFailure(problems, what=what)
    total, done = sum(sizes.values()), 0
    found: dict[int, FileFacts] = {}
    resources.progress("read", 0.0)
    with scratch_connection(scratch, memory_limit=resources.memory_limit, threads=resources.threads) as connection:
        reader = TrainFileReader(
            connection, params, bad, several=several, unpacked=resources.unpacked, reading=reading, renamed=renamed
        )
        for rank, file in files.items():
            advance = partial(_advance, resources, done / total, sizes[rank] / total)
            try:
                found[rank] = _read_file(reader, file, params, partial(take, rank), bad, scratch, advance, unit)
            except FileProblem as problem:
                problems.append(problem)
            done += sizes[rank]
    if problems or (bad.total and not bad.quarantine):
        raise ImportFailure(problems, bad.first, bad.counts, what=what)
    resources.progress("read", 1.0)
    return found, reader.renamed


def _read_file(
    reader: TrainFileReader,
    file: TrainFile,
    params: ForecastParams,
    take: Callable[[pa.RecordBatch, Integers], None],
    bad: BadRows,
    scratch: Path,
    advance: Callable[[float], None],
    unit: int | None,
) -> FileFacts:
    """What is known of one file, once its rows are taken; see `read_files`.

    Raises:
        FileProblem: it can't be read, or its timestamps mean something else than they say.
    """
    watch, before = FileWatch(unit or 1), dict(bad.counts)

    def good(batch: pa.RecordBatch) -> None:
        take(batch, _NONE if unit is None else watch.see(batch))

    with TemporaryDirectory(dir=scratch) as folder:
        contents = reader.read(file, good, Path(folder), advance)
    facts = watch.facts(file, contents, bad.since(before))
    if unit is not None and (problem := misread(facts, params)):
        raise problem
    return facts


def _advance(resources: Resources, before: float, own: float, share: float) -> None:
    resources.progress("read", min(before + own * share, 1.0))


def _size(file: TrainFile, problems: list[FileProblem]) -> int:
    """Bytes of a file, at least 1; a file that can't be opened is added to `problems`."""
    try:
        with file.path.open("rb") as stream:
            return max(stream.seek(0, os.SEEK_END), 1)
    except OSError as error:
        problems.append(
            FileProblem(file.key, f"the file can't be opened ({error.strerror or error})", "look at the folder")
        )
        return 1


def with_rank(batch: pa.RecordBatch, rank: int) -> pa.RecordBatch:
    """Rows of the `rank`-th file from the oldest."""
    return batch.append_column("rank", pa.array(np.full(batch.num_rows, rank, dtype=np.int32)))
