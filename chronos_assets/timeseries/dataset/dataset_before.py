"""The dataset that is there, for an import of changes: cells are read of its shards, and files taken over as they are.

Which of them change belongs to `incremental`, the files themselves to `shards`, merging cells to `cell_merging`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.dataset.cell_merging import read_cells, rejoined
from chronos_assets.timeseries.dataset.cells import join_cells
from chronos_assets.timeseries.dataset.gridding import Cells
from chronos_assets.timeseries.dataset.import_memory import (
    FileFacts,
    ImportMemory,
    MemoryUnusableError,
    WrittenWhole,
    dataset_digest,
)
from chronos_assets.timeseries.dataset.import_passes import Cut, hash_range
from chronos_assets.timeseries.dataset.shard_files import ShardFiles
from chronos_assets.timeseries.dataset.shard_writing import ShardForm, split, write_tail
from chronos_assets.timeseries.dataset.shards import HASHES, Manifest, Shard, shard_name, tail_name
from chronos_assets.timeseries.published_files import DATASET_MANIFEST


class FullImportNeededError(ChronosAssetsError):
    """Changes alone don't tell what the dataset becomes; the message says why not."""


class Notes(Protocol):
    """What an import noted for the next one.

    depends_on: what the recipe is a digest of, in words.
    """

    depends_on: ClassVar[str]

    @property
    def recipe(self) -> str:
        """Digest of everything but the files, and of the code, that the bytes depend on."""

    @property
    def obstacle(self) -> str:
        """Why only an import of everything will do next time; empty if changes may."""

    @property
    def by_source(self) -> Sequence[Sequence[FileFacts]]:
        """What is known of the files, by kinds of files."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """What was noted in a file. Raises `MemoryUnusableError` for a damaged one."""


NotesT = TypeVar("NotesT", bound=Notes)


@dataclass(frozen=True)
class Before:
    """What is there. dataset: gets at its files, once they are needed. memory: the file that its import left.

    set_aside: keys of the files whose bad rows are where they belong; None: all. The others are read again.
    """

    dataset: Callable[[], ShardFiles]
    memory: Path
    set_aside: frozenset[str] | None = None
    _noted: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def noted(self, notes: type[NotesT], recipe: str) -> NotesT:
        """What the last import noted, which is read once.

        Raises:
            FullImportNeededError: it is of no use to an import with this recipe.
        """
        try:
            if not self._noted:
                self._noted.append(notes.load(self.memory))
        except MemoryUnusableError as error:
            raise FullImportNeededError(str(error)) from error
        found: NotesT = self._noted[0]
        if found.recipe != recipe:
            raise FullImportNeededError(f"{notes.depends_on} have changed")
        if found.obstacle:
            raise FullImportNeededError(found.obstacle)
        return found


@dataclass(frozen=True)
class TakenOver:
    """Files of a dataset that is there, for the next one.

    Attributes:
        files: there.
        output: gets those that stay as they are.
        elsewhere: URLs of those that aren't copied there, by name.
        kept: names of the shards that stay as they are.
        extended: names of those of which only the tail is written.
    """

    files: ShardFiles
    output: Path
    elsewhere: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)

    @contextmanager
    def opened(self, name: str, sha256: str, dictionaries: Sequence[str]) -> Iterator[pq.ParquetFile]:
        """A file, whose columns `dictionaries` are read as such.

        Raises:
            FullImportNeededError: it isn't as it was written, or what reads it doesn't understand it.
        """
        try:
            content = self.files.read(name)
            if hashlib.sha256(content).hexdigest() != sha256:
                raise ValueError("its content has changed")
            with pq.ParquetFile(pa.BufferReader(content), read_dictionary=list(dictionaries)) as file:
                yield file
        except (OSError, ValueError, pa.ArrowException) as error:
            raise FullImportNeededError(f"{name} of the dataset can't be taken over ({error})") from error

    def keep(self, name: str, size: int) -> None:
        """Take a file of so many bytes over as it is.

        Raises:
            FullImportNeededError: it isn't as it was written.
        """
        target = self.output / name
        try:
            url = self.files.keep(name, target)
            found = size if url else target.stat().st_size
        except OSError as error:
            raise FullImportNeededError(f"{name} of the dataset can't be taken over ({error})") from error
        if found != size:
            raise FullImportNeededError(f"{name} of the dataset has {found} bytes instead of {size}")
        if url:
            self.elsewhere[name] = url


@dataclass
class DatasetBefore:
    """A dataset and what its import noted, beside the folder that gets the next one.

    taken: gets what is taken over. memory: of the dataset. names: of its key columns.
    """

    taken: TakenOver
    memory: ImportMemory
    names: tuple[str, ...]

    @classmethod
    def open(cls, memory: ImportMemory, before: Before, names: tuple[str, ...], output: Path) -> DatasetBefore:
        """The dataset that a memory is of.

        Raises:
            FullImportNeededError: the last import noted nothing of it.
            DatasetError: it can't be read.
        """
        files = before.dataset()
        try:
            manifest = Manifest.from_json(files.read(DATASET_MANIFEST))
        except OSError as error:
            raise FullImportNeededError(f"there is no dataset that can be read ({error})") from error
        if memory.dataset != dataset_digest(manifest):
            raise FullImportNeededError("the last import noted nothing of the dataset that is there")
        return cls(TakenOver(files, output), memory, names)

    def cells(self, whole: WrittenWhole) -> Cells:
        """What the shards of a whole hold, with their tails.

        Raises:
            FullImportNeededError: a shard isn't as it was written.
        """
        start, firsts = self.memory.tail_from, whole.series.firsts
        every = np.arange(len(firsts))
        if start is None:
            base = self.read(whole, tails=False)
            return rejoined(base, firsts, [(base, every, firsts)])
        begun = np.flatnonzero(firsts < start)
        base, tail = self.read(whole, tails=False, series=len(begun)), self.read(whole, tails=True)
        opens = np.clip(firsts, start, self.memory.last)
        return rejoined(tail, firsts, [(base, begun, firsts[begun]), (tail, every, opens)])

    def read(self, whole: WrittenWhole, *, tails: bool, series: int | None = None) -> Cells:
        """The cells of a whole's files, with the hashes of all its series where it has all of them.

        Raises:
            FullImportNeededError: a file isn't as it was written.
        """
        parts: list[Cells] = []
        for shard in whole.shards:
            name, sha256 = list(shard.files.items())[-1 if tails else 0]
            with self.taken.opened(name, sha256, self.names) as file:
                parts.append(read_cells(file, self.names))
        hashes = whole.series.hashes
        cells = join_cells(parts, 0, HASHES) or parts[0]
        if len(cells.first) != (len(hashes) if series is None else series):
            raise FullImportNeededError("the dataset has other series than its import noted")
        return replace(cells, hash=hashes) if series is None else cells

    def keep(self, whole: WrittenWhole | None) -> WrittenWhole | None:
        """Take over the shards of a whole as they are.

        Raises:
            FullImportNeededError: one isn't as it was written.
        """
        for shard in whole.shards if whole is not None else ():
            self.taken.keep(shard.name, shard.bytes)
            if shard.tail is not None:
                self.taken.keep(tail_name(shard.name), shard.tail.bytes)
            self.taken.kept.append(shard.name)
        return whole

    def extend(
        self, number: int, old: WrittenWhole, cells: Cells, cut: Cut, form: ShardForm
    ) -> tuple[Shard, ...] | None:
        """The shards of a whole with new tails, taken over but for these; None where there would be others.

        Args:
            number: of the whole.
            old: the whole, as it is.
            cells: those that it has now; those of the tails will do where filling needs no others.
            cut: of the dataset, as it was before.
            form: of the shards now, whose tails begin where they did.

        Raises:
            FullImportNeededError: a shard isn't as it was written.
        """
        there = {shard.name: shard for shard in old.shards}
        pieces: dict[str, Cells] = {}
        for place in range(number * cut.pieces, (number + 1) * cut.pieces):
            piece = join_cells([cells], *hash_range(place, cut.wholes * cut.pieces))
            if piece is not None:
                pieces[shard_name(place)] = piece
        if pieces.keys() != there.keys():
            return None
        shards = []
        for name, piece in pieces.items():
            shard = there[name]
            self.taken.keep(name, shard.bytes)
            tail = write_tail(self.taken.output, name, split(piece, form)[-1], form)
            rows = shard.rows - (0 if shard.tail is None else shard.tail.rows) + tail.rows
            shards.append(replace(shard, rows=rows, series=len(piece.first), tail=tail))
            self.taken.extended.append(name)
        return tuple(shards)
