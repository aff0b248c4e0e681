"""Which files have changed since an import, and in which periods rows have changed with them.

Here: files. What becomes of the periods belongs to `incremental` for the target, to `related_changes` for related time series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.dataset_before import Before, FullImportNeededError, Notes
from chronos_assets.timeseries.dataset.file_reading import Batches
from chronos_assets.timeseries.dataset.gridding import Rule, period_of
from chronos_assets.timeseries.dataset.import_memory import FileFacts, identity
from chronos_assets.timeseries.dataset.shards import HASHES
from chronos_assets.timeseries.dataset.train_files import TrainFile

# The share of all bytes from which on reading the rest as well costs little.
MOST_READ = 0.5


@dataclass(frozen=True)
class FileChanges:
    """The files that are there now, beside those of the last import.

    Attributes:
        now: by rank, from the oldest to the newest.
        known: what is known of those that haven't changed, and of which nothing is to be written, by rank.
        gone: those of the last import that aren't there as they were.
    """

    now: Mapping[int, TrainFile]
    known: Mapping[int, FileFacts]
    gone: tuple[FileFacts, ...]

    @classmethod
    def since(
        cls, before: Sequence[FileFacts], files: Sequence[TrainFile], set_aside: frozenset[str] | None
    ) -> FileChanges:
        """Of files from the oldest to the newest; for `set_aside` see `Before`."""
        facts = {file.identity: file for file in before}
        found = {rank: facts.get(identity(file)) for rank, file in enumerate(files) if file.etag}
        known = {rank: file for rank, file in found.items() if file is not None and _is_set_aside(file, set_aside)}
        kept = {file.identity for file in known.values()}
        gone = tuple(file for file in before if file.identity not in kept)
        return cls(dict(enumerate(files)), known, gone)

    @property
    def fresh(self) -> dict[int, TrainFile]:
        """Files to be read, by rank."""
        return {rank: file for rank, file in self.now.items() if rank not in self.known}

    def facts(self, fresh: Mapping[int, FileFacts]) -> list[FileFacts]:
        """What is known of all files, in order, once the fresh ones are read."""
        return [file for _, file in sorted({**self.known, **fresh}.items())]

    def beside(self, touched: Integers, rule: Rule, unit: int) -> dict[int, TrainFile]:
        """Files that haven't changed and may have rows in these periods, by rank."""
        return {
            rank: self.now[rank]
            for rank, file in self.known.items()
            if np.isin(periods_of([file], rule, unit), touched).any()
        }

    def check_share(self, read: Iterable[int]) -> None:
        """Refuse to read most of the data. Raises FullImportNeededError."""
        if self._bytes(read) > MOST_READ * self._bytes(self.now):
            raise FullImportNeededError("most of the data has to be read")

    def check_alike(self, again: Mapping[int, FileFacts]) -> None:
        """See that files which were read again are what they were. Raises FullImportNeededError."""
        if any(not _is_alike(file, self.known[rank]) for rank, file in again.items()):
            raise FullImportNeededError("a file has changed behind its etag")

    def keys_but(self, read: Mapping[int, TrainFile]) -> frozenset[str]:
        """Keys of the files that weren't read."""
        return frozenset(file.key for rank, file in self.now.items() if rank not in read)

    def likely_read(self) -> list[TrainFile]:
        """The files that an import reads where no other has rows in their periods; all where that won't do."""
        fresh = self.fresh
        return list((fresh if self._bytes(fresh) <= MOST_READ * self._bytes(self.now) else self.now).values())

    def _bytes(self, ranks: Iterable[int]) -> int:
        return sum(self.now[rank].size for rank in ranks)


@dataclass(frozen=True)
class ReadChanges:
    """What an import of changes read.

    Attributes:
        facts: of all files, in order, whether they were read or not.
        touched: ordinals of the periods in which rows have changed; all rows of these were read.
        series: (HASHES,) whether rows of one with that hash have changed.
        read: the files, by rank.
    """

    facts: list[FileFacts]
    touched: Integers
    series: NDArray[np.bool_]
    read: dict[int, TrainFile]


def read_changes(
    files: FileChanges,
    read: Callable[[dict[int, TrainFile], Batches | None], dict[int, FileFacts]],
    placed: Callable[[list[FileFacts]], Rule],
    unit: int,
    relevant: Callable[[Integers], Integers] = lambda touched: touched,
) -> ReadChanges:
    """Read all rows of the periods in which rows have changed.

    Args:
        files: that have changed, and the others.
        read: reads files by rank; the second argument chooses among a batch's rows.
        placed: how rows become periods, by what is known of all files.
        unit: microseconds to which timestamps are noted.
        relevant: of the periods, those that other files are read for.

    Raises:
        FullImportNeededError: everything has to be imported.
        ImportFailure: there is something wrong with the files.
    """
    files.check_share(files.fresh)
    fresh = read(files.fresh, None)
    facts = files.facts(fresh)
    rule, changed = placed(facts), [*fresh.values(), *files.gone]
    touched = periods_of(changed, rule, unit)
    beside = files.beside(relevant(touched), rule, unit)
    every = {**files.fresh, **beside}
    files.check_share(every)
    files.check_alike(read(beside, partial(_in_periods, touched, rule)))
    return ReadChanges(facts, touched, _series_in(changed), every)


def likely_read(
    before: Before, notes: type[Notes], recipe: str, sources: Sequence[Sequence[TrainFile]]
) -> list[TrainFile]:
    """The files that an import reads where no other has rows in the periods that change; all where changes won't do.

    Args:
        before: what is there.
        notes: of its import.
        recipe: of this one.
        sources: all files that are there now, by kinds of files.
    """
    try:
        known = before.noted(notes, recipe).by_source
    except FullImportNeededError:
        known = ()
    if len(known) != len(sources):
        return [file for files in sources for file in files]
    changes = [FileChanges.since(facts, files, before.set_aside) for facts, files in zip(known, sources, strict=True)]
    return [file for each in changes for file in each.likely_read()]


def instants_of(files: Sequence[FileFacts]) -> Integers:
    """Distinct timestamps of files. Raises FullImportNeededError where they are not known."""
    found = [file.instants for file in files]
    known = [instants for instants in found if instants is not None]
    if len(known) < len(found):
        raise FullImportNeededError("there are too many timestamps to note")
    return np.unique(np.concatenate([np.empty(0, np.int64), *known]))


def periods_of(files: Sequence[FileFacts], rule: Rule, unit: int) -> Integers:
    """Ordinals in which files may have rows, whose timestamps are noted to so many microseconds.

    Raises:
        FullImportNeededError: their timestamps are not known.
    """
    found = instants_of(files)
    ends = found if unit == 1 else np.concatenate([found, found + unit - 1])
    return np.unique(period_of(ends, rule))


def _series_in(files: Sequence[FileFacts]) -> NDArray[np.bool_]:
    """(HASHES,) whether one of the files has a series with that hash."""
    found = np.zeros(HASHES, dtype=bool)
    for file in files:
        found |= np.unpackbits(file.hashes).astype(bool)
    return found


def _in_periods(ordinals: Integers, rule: Rule, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of a batch that lie in these periods."""
    instants = batch.column("instant").to_numpy(zero_copy_only=False).astype("datetime64[us]").astype(np.int64)
    return batch.filter(pa.array(np.isin(period_of(instants, rule), ordinals)))


def _is_set_aside(file: FileFacts, set_aside: frozenset[str] | None) -> bool:
    """Whether there is nothing to write of a file's bad rows."""
    return not file.rejected or set_aside is None or file.key in set_aside


def _is_alike(one: FileFacts, other: FileFacts) -> bool:
    """Whether two readings of a file found the same."""
    same = (one.contents, dict(one.rejected)) == (other.contents, dict(other.rejected))
    return (
        same and np.array_equal(instants_of([one]), instants_of([other])) and bool((one.hashes == other.hashes).all())
    )
