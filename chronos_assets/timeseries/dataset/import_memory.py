"""What an import leaves for the next one, so that it need not read files again that haven't changed.

Here: what is known of each file, each period and each shard, and the one file that holds it. Whether and how it is used
belongs to `incremental`. It is a cache: without it, or with a damaged one, the next import reads everything.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Alignment, Frequency
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.system import document_digest
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.gridding import LeftOut
from chronos_assets.timeseries.dataset.shards import HASHES, Manifest, Shard, ShardTail
from chronos_assets.timeseries.dataset.summaries import PartitionSeries
from chronos_assets.timeseries.dataset.train_files import FileContents, RenamedColumns, TrainFile
from chronos_assets.timeseries.dataset.unfinished import Extents

Noted = TypeVar("Noted")

# To be raised with every change of what the same files become.
RECIPE = 11

# Distinct timestamps of a file that are kept; files with more are always read.
MOST_INSTANTS = 100_000

# Bytes that are noted of finer rows in all: a few millions of cells of purchases by the second, or any number of regular rows.
MOST_NOTED = 128 << 20

_NONE = np.empty(0, dtype=np.int64)
_MINUTE, _HOUR, _DAY_SECONDS = 60_000_000, 3_600_000_000, 86_400

UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile, zlib.error, EOFError)


class MemoryUnusableError(ChronosAssetsError, ValueError):
    """What an earlier import left can't be used; the message says why."""


@dataclass(frozen=True)
class FileFacts:
    """What is known of a file that was read.

    etag, modified: of the object, as identity. rejected: its bad rows, by reason. instants: (n,) its distinct timestamps in
    microseconds, ascending, down to a multiple of `ImportPasses.instant_unit`; None if they are too many. hashes: (HASHES / 8,)
    bits of the hashes of its series.
    """

    key: str
    etag: str
    modified: str
    contents: FileContents
    rejected: Mapping[str, int]
    instants: Integers | None
    hashes: NDArray[np.uint8]

    @property
    def identity(self) -> tuple[str, str, str]:
        """What changes whenever the file, or its place among the others, does."""
        return self.key, self.etag, self.modified


class FileWatch:
    """Collects the facts of a file while it is read. unit: microseconds to which timestamps are noted."""

    def __init__(self, unit: int = 1) -> None:
        self._unit = unit
        self._hashes = np.zeros(HASHES, dtype=bool)
        self._instants: Integers | None = np.empty(0, dtype=np.int64)

    def see(self, batch: pa.RecordBatch) -> Integers:
        """Note the timestamps and series of some rows; the distinct timestamps (n,), in microseconds."""
        instants = batch.column("instant").to_numpy(zero_copy_only=False).astype("datetime64[us]")
        distinct = np.unique(instants.astype(np.int64))
        self.add(distinct, batch.column("hash").to_numpy(zero_copy_only=False))
        return distinct

    def add(self, instants: Integers, hashes: NDArray[np.uint16]) -> None:
        """Take the distinct timestamps and the hashes of some rows."""
        self._hashes[hashes] = True
        if self._instants is not None:
            self._instants = np.union1d(self._instants, instants // self._unit * self._unit)
            if len(self._instants) > MOST_INSTANTS:
                self._instants = None

    def facts(self, file: TrainFile, contents: FileContents, rejected: Mapping[str, int]) -> FileFacts:
        """Of the file whose rows were taken."""
        bits = np.packbits(self._hashes)
        return FileFacts(*identity(file), contents, dict(rejected), self._instants, bits)


def noted_unit(frequency: Frequency) -> int:
    """Microseconds to which timestamps are noted where it is known how periods of this frequency start."""
    return _MINUTE if frequency.approximate_seconds < _DAY_SECONDS else _HOUR


def identity(file: TrainFile) -> tuple[str, str, str]:
    """The `FileFacts.identity` of a file that is there now."""
    return file.key, file.etag, file.last_modified.isoformat()


@dataclass(frozen=True)
class WrittenWhole:
    """An equal share of the hashes, as it was written. digests: of its cells, by file. shards: it may be cut into several.

    note: of rows that are finer than periods, see `row_cells`.
    """

    digests: tuple[bytes, ...]
    shards: tuple[Shard, ...]
    series: PartitionSeries
    note: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class ImportMemory:
    """What an import knew.

    recipe: digest of the parameters and of the code. dataset: of what it wrote, see `dataset_digest`. alignment, snap: how
    rows were placed. files: from the oldest to the newest; `left_out` has their places. renamed: see `TrainFileReader`.
    wholes: equal shares of the hashes, None where no series falls, each cut into `pieces` shards. tail_from, last: see
    `ShardForm`. is_fine: whether rows are finer than periods, so that what is noted of them decides. obstacle: why only an
    import of everything will do next time; nothing else is known then.
    """

    depends_on: ClassVar[str] = "the parameters or the program"

    recipe: str
    dataset: str
    alignment: Alignment
    snap: int
    files: tuple[FileFacts, ...]
    renamed: RenamedColumns
    periods: Extents
    left_out: LeftOut
    wholes: tuple[WrittenWhole | None, ...]
    pieces: int
    tail_from: int | None
    last: int
    is_fine: bool = False
    obstacle: str = field(default="")

    @property
    def by_source(self) -> tuple[tuple[FileFacts, ...]]:
        """The files, which are all of one kind."""
        return (self.files,)

    @classmethod
    def nothing(cls, recipe: str, obstacle: str) -> ImportMemory:
        """Of an import that can't be carried on."""
        periods = Extents.joined([])
        return cls(recipe, "", Alignment(), 0, (), {}, periods, LeftOut(), (), 1, None, 0, obstacle=obstacle)

    def or_nothing(self) -> ImportMemory:
        """What is worth keeping: of finer rows nothing, where a part of what has to be known is missing, or it is too much."""
        if not self.is_fine:
            return self
        notes = [whole.note for whole in self.wholes if whole is not None]
        if not all(notes) or sum(map(len, notes)) > MOST_NOTED:
            return self.nothing(self.recipe, "there is too much to note of the rows of each period")
        return self

    def save(self, path: Path) -> None:
        """Write it to one file."""
        series = [whole.series for whole in self.wholes if whole is not None]
        document = {
            "recipe": self.recipe,
            "dataset": self.dataset,
            "alignment": asdict(self.alignment),
            "snap": self.snap,
            "pieces": self.pieces,
            "tail_from": self.tail_from,
            "last": self.last,
            "is_fine": self.is_fine,
            "obstacle": self.obstacle,
            "files": [file_document(file) for file in self.files],
            "renamed": renamed_document(self.renamed),
            "wholes": [None if whole is None else _whole_document(whole) for whole in self.wholes],
        }
        save_noted(
            path,
            document,
            self.files,
            periods=np.stack([getattr(self.periods, name) for name in _PERIODS]),
            missing=self.left_out.missing,
            lost=self.left_out.lost,
            firsts=np.concatenate([_NONE, *(part.firsts for part in series)]),
            lasts=np.concatenate([_NONE, *(part.lasts for part in series)]),
            keys=np.concatenate([np.empty(0, np.uint16), *(part.hashes for part in series)]),
            notes=np.frombuffer(b"".join(whole.note for whole in self.wholes if whole is not None), dtype=np.uint8),
            folds=np.concatenate([np.empty(0, np.uint64), *(part.folds for part in series)]),
        )

    @classmethod
    def load(cls, path: Path) -> ImportMemory:
        """What `save` wrote.

        Raises:
            MemoryUnusableError: it is damaged, or of another version.
        """
        return load_noted(path, _read)


_PERIODS = ("ordinals", "head", "tail", "cells", "rows", "late")


def recipe_of(params: ForecastParams, unpacked: int | None) -> str:
    """Digest of everything but the files that a dataset's bytes depend on."""
    versions = [RECIPE, duckdb.__version__, pa.__version__, np.__version__]
    return document_digest([versions, params.digest, unpacked])


def dataset_digest(manifest: Manifest) -> str:
    """Digest of what a dataset holds and of which files, whatever its manifest says beside that."""
    shards = [asdict(shard) for shard in manifest.shards]
    return document_digest([manifest.data_version, shards, dict(manifest.files)])


def save_noted(path: Path, document: Mapping[str, Any], files: Sequence[FileFacts], **arrays: NDArray[Any]) -> None:
    """Write what is noted to one file: a document, arrays, and those of the files, see `read_files`."""
    known = [file.instants for file in files if file.instants is not None]
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            allow_pickle=False,
            document=np.frombuffer(json.dumps(document, ensure_ascii=False).encode(), dtype=np.uint8),
            instants=np.concatenate([_NONE, *known]),
            hashes=np.array([file.hashes for file in files], dtype=np.uint8).reshape(-1, HASHES // 8),
            **arrays,
        )


def load_noted(path: Path, read: Callable[[Mapping[str, Any], Mapping[str, NDArray[Any]]], Noted]) -> Noted:
    """What `read` makes of the document and the arrays of a file that an import left.

    Raises:
        MemoryUnusableError: it is damaged, or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        return read(json.loads(arrays["document"].tobytes()), arrays)
    except UNREADABLE as error:
        raise MemoryUnusableError(f"what the last import noted can't be read ({error})") from error


def file_document(file: FileFacts) -> dict[str, Any]:
    """What is known of a file but for the arrays, see `read_files`."""
    return {
        "identity": list(file.identity),
        "contents": asdict(file.contents),
        "rejected": dict(file.rejected),
        "instants": None if file.instants is None else len(file.instants),
    }


def renamed_document(renamed: RenamedColumns) -> list[Any]:
    """Renamed columns as `read_renamed` takes them."""
    return [[list(names), key, pairs] for names, (key, pairs) in renamed.items()]


def read_renamed(document: Sequence[Any]) -> RenamedColumns:
    """What `renamed_document` wrote."""
    return {tuple(names): (key, tuple((one, other) for one, other in pairs)) for names, key, pairs in document}


def _whole_document(whole: WrittenWhole) -> dict[str, Any]:
    series = whole.series
    return {
        "digests": [digest.hex() for digest in whole.digests],
        "shards": [asdict(shard) for shard in whole.shards],
        "series": len(series.firsts),
        "cells": series.cells,
        "first": series.first,
        "last": series.last,
        "earliest": series.earliest,
        "formulas": series.formulas,
        "note": len(whole.note),
    }


def _read(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ImportMemory:
    """What a document and its arrays say; any error for those that don't fit."""
    table = dict(zip(_PERIODS, arrays["periods"], strict=True))
    periods = Extents(**table, spread=(0, int(table["cells"].sum())), lag=0)
    return ImportMemory(
        recipe=document["recipe"],
        dataset=document["dataset"],
        alignment=Alignment(**document["alignment"]),
        snap=document["snap"],
        files=tuple(read_files(document["files"], arrays["instants"], arrays["hashes"])),
        renamed=read_renamed(document["renamed"]),
        periods=periods,
        left_out=LeftOut(arrays["missing"], arrays["lost"]),
        wholes=tuple(_read_wholes(document["wholes"], arrays)),
        pieces=document["pieces"],
        tail_from=document["tail_from"],
        last=document["last"],
        is_fine=document["is_fine"],
        obstacle=document["obstacle"],
    )


def read_files(
    documents: Sequence[Mapping[str, Any]], instants: Integers, hashes: NDArray[np.uint8]
) -> list[FileFacts]:
    """Files of their documents, of all their timestamps one after another, and of the bits of each."""
    files, start = [], 0
    for document, bits in zip(documents, hashes, strict=True):
        count = document["instants"]
        end = start + (count or 0)
        contents = {
            **document["contents"],
            **{name: tuple(document["contents"][name]) for name in ("ignored", "notes")},
        }
        found = None if count is None else instants[start:end]
        key, etag, modified = document["identity"]
        files.append(FileFacts(key, etag, modified, FileContents(**contents), document["rejected"], found, bits))
        start = end
    return files


def _read_wholes(
    documents: Sequence[Mapping[str, Any] | None], arrays: Mapping[str, NDArray[Any]]
) -> list[WrittenWhole | None]:
    firsts, lasts, hashes, folds, notes = (arrays[name] for name in ("firsts", "lasts", "keys", "folds", "notes"))
    wholes: list[WrittenWhole | None] = []
    start, noted = 0, 0
    for document in documents:
        if document is None:
            wholes.append(None)
            continue
        end = start + document["series"]
        series = PartitionSeries(
            document["cells"],
            firsts[start:end],
            lasts[start:end],
            _pair(document["first"]),
            _pair(document["last"]),
            tuple(_pair(pair) for pair in document["earliest"]),
            hashes[start:end],
            folds[start:end],
            document["formulas"],
        )
        shards = tuple(_shard(shard) for shard in document["shards"])
        note = notes[noted : noted + document["note"]].tobytes()
        wholes.append(WrittenWhole(tuple(map(bytes.fromhex, document["digests"])), shards, series, note))
        start, noted = end, noted + document["note"]
    if {start} != {len(firsts), len(lasts), len(hashes), len(folds)}:
        raise ValueError("it names another number of series")
    return wholes


def _shard(document: Mapping[str, Any]) -> Shard:
    tail = document["tail"]
    return Shard(**{**document, "tail": None if tail is None else ShardTail(**tail)})


def _pair(value: Sequence[Any]) -> tuple[int, tuple[str, ...]]:
    return int(value[0]), tuple(map(str, value[1]))
