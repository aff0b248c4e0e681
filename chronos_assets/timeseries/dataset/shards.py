"""The dataset on disk: Parquet shards of whole series, and the manifest beside them. Names, layout, reading.

Making the dataset belongs to `importing`; publishing it to `platforms`.

A dataset folder holds `part-00000.parquet` … and `_manifest.json`. The columns of a shard are item_id, the dimensions,
timestamp (naive, microseconds), target (NaN where nothing was observed and nothing filled in) and filled (true where
nothing was observed); its rows are sorted by series and timestamp, on the regular grid, without gaps. A series is whole
in one shard, found by `key_hash`; numbers are left out where no series falls into a shard.

The latest periods of a large dataset lie in files beside the shards, `tail-00000.parquet` …, with the same columns and order,
so that a new period needn't write everything again. `iter_series` reads a shard with its tail; who reads rows in any order
reads `list_files`. Who reads every shard once takes a `ShardSource`, which has them here one at a time where the dataset is
elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Alignment, Frequency, Grid
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.series_keys import key_changes, series_name
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

if TYPE_CHECKING:
    import pyarrow.parquet as pq


HASHES = 1 << 16

# Rows of a row group, at most: also what a reader holds at once.
ROW_GROUP = 122_880

# The format of a dataset with tails, which earlier versions would not read.
WITH_TAILS = 2
# What a shard's Parquet file says of itself where it has a tail: from when on, "2024-01-01T00:00:00.000000".
TAIL_FROM = "tail_from"


class DatasetError(ChronosAssetsError, ValueError):
    """A dataset folder that can't be read: not there, not finished, or made by a newer version."""


@dataclass(frozen=True)
class ShardTail:
    """The file with a shard's latest periods. sha256: of its bytes."""

    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """One file of the dataset, and the one with its latest periods where it has a tail. bytes, sha256: of the first.

    rows, series: of both together.
    """

    name: str
    rows: int
    series: int
    bytes: int
    sha256: str
    tail: ShardTail | None = None

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of its files, by name; the last one has a row of every series."""
        return {self.name: self.sha256} | ({} if self.tail is None else {tail_name(self.name): self.tail.sha256})


@dataclass(frozen=True)
class FolderManifest:
    """How the `_manifest.json` of a folder is written and read; a subclass has the fields.

    Attributes:
        what: the folder holds.
        source: the files that it was made from.
        format_version: of the folder's files.
    """

    what: ClassVar[str]
    source: ClassVar[str]
    newest_format: ClassVar[int] = 1

    format_version: int = field(default=1, kw_only=True)

    def to_json(self) -> str:
        """The text of the file: equal manifests give equal bytes."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The manifest of a text.

        Raises:
            DatasetError: for a text that is no manifest, or one of a newer format.
        """
        try:
            document = json.loads(text)
            written: int = document["format_version"]
            if written <= cls.newest_format:
                made: Self = _reader(cls).validate_python(document)
                return made
        except (ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise DatasetError(
                f"the manifest of the {cls.what} can't be read ({reason}): import the data again"
            ) from error
        raise DatasetError(
            f"the folder of the {cls.what} has format {written}, this version reads {cls.newest_format}: upgrade"
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a folder.

        Raises:
            DatasetError: where there is none, or it can't be read.
        """
        try:
            return cls.from_json((folder / DATASET_MANIFEST).read_bytes())
        except FileNotFoundError as error:
            raise DatasetError(f"{folder} holds no {cls.what}: import the {cls.source} first") from error


_reader: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


@dataclass(frozen=True)
class Manifest(FolderManifest):
    """What a dataset folder holds.

    data_version: SHA-256 of the series (keys, periods, observed values) and of the rule that fills their gaps. first,
    last: start of the first and of the last period of the grid, "2014-01-01T00:00:00". rows = observed + filled.
    duplicates: rows left out because a newer file has the same series and timestamp. unfinished: rows left out because
    they don't fill their period, the last or the first. ahead: rows left out because they lie far ahead of all others.
    alignment: where periods start, as `frequencies.Alignment` has it,
    None in a manifest of an older version. lag_seconds: how long after a period's start its value is known, None where it
    is made up of finer rows and known at its end. snap_seconds: how early a row may come that belongs to a period, as the
    import found it. rejected: bad rows set aside, by reason. files: rows read, by key. n_shards: the
    number by which series are dealt out, see `shard_number`.
    """

    what: ClassVar[str] = "dataset"
    source: ClassVar[str] = "train files"
    newest_format: ClassVar[int] = WITH_TAILS

    data_version: str
    first: str
    last: str
    frequency: str
    dimensions: tuple[str, ...]
    series: int
    rows: int
    observed: int
    filled: int
    missing: int
    aggregated: int
    duplicates: int
    rejected: Mapping[str, int]
    files: Mapping[str, int]
    n_shards: int
    shards: tuple[Shard, ...]
    notes: tuple[str, ...] = ()
    unfinished: int = 0
    ahead: int = 0
    alignment: Mapping[str, Any] | None = None
    lag_seconds: float | None = 0.0
    snap_seconds: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of its shards."""
        return sum(shard.bytes + (shard.tail.bytes if shard.tail else 0) for shard in self.shards)

    @property
    def first_timestamp(self) -> np.datetime64:
        """`first` as datetime64[us]."""
        return np.datetime64(self.first, "us")

    @property
    def last_timestamp(self) -> np.datetime64:
        """`last` as datetime64[us]."""
        return np.datetime64(self.last, "us")

    @property
    def lag(self) -> np.timedelta64 | None:
        """`lag_seconds` as timedelta64[us]."""
        return None if self.lag_seconds is None else np.timedelta64(round(self.lag_seconds * 1_000_000), "us")

    def resolve(self, params: ForecastParams) -> ForecastParams:
        """The parameters with the alignment that the import took from the rows, where they leave it open."""
        if self.alignment is None or Frequency.parse(self.frequency) != params.frequency:
            return params
        if params.alignment != DEFAULT_ALIGNMENT and not params.grid.phase_is_open:
            return params
        return replace(params, alignment=Alignment(**self.alignment))

    def placing(self, params: ForecastParams) -> ForecastParams:
        """The parameters that rows of other files are placed by: as `resolve` has them, and how early a row may come."""
        resolved = self.resolve(params)
        snap = params.snap_seconds if params.snap_seconds is not None else self.snap_seconds
        return replace(resolved, snap_seconds=snap or None)

    def span(self, grid: Grid) -> tuple[int, int]:
        """Numbers of the first and of the last period on the dataset's grid."""
        first, last = grid.ordinal(np.array([self.first_timestamp, self.last_timestamp])).tolist()
        return first, last

    def check(self, job: str, frequency: Frequency, dimensions: tuple[str, ...]) -> None:
        """See that a job gets the dataset that its parameters describe.

        Args:
            job: what it is about, for the message.
            frequency: as the job was given it.
            dimensions: as the job was given them.

        Raises:
            DatasetError: the dataset has others: it was made before `params.json` changed.
        """
        if tuple(self.dimensions) != dimensions or Frequency.parse(self.frequency) != frequency:
            raise DatasetError(
                f"the dataset has frequency {self.frequency} and dimensions {list(self.dimensions)}, "
                f"the {job} is to have {frequency} and {list(dimensions)}: "
                "materialize target_time_series again with the current params.json"
            )


@dataclass(frozen=True)
class Series:
    """One series of a dataset. key: item id and dimensions. timestamps: (n,) datetime64[us], regular.

    target: (n,) float64, NaN where nothing is known. filled: (n,) bool, true where nothing was observed.
    """

    key: tuple[str, ...]
    timestamps: NDArray[np.datetime64]
    target: NDArray[np.float64]
    filled: NDArray[np.bool_]

    @property
    def observed(self) -> NDArray[np.bool_]:
        """(n,) bool, true where a value was observed."""
        return ~self.filled & np.isfinite(self.target)

    @property
    def known(self) -> NDArray[np.float64]:
        """(n,) float64, what was observed, NaN elsewhere."""
        return np.where(self.observed, self.target, np.nan)


class ShardSource(Protocol):
    """A dataset whose shards are read one after another: it needn't be on this machine as a whole."""

    @property
    def manifest(self) -> Manifest:
        """Of the dataset; `DatasetError` where there is none."""

    def each(self, shards: Iterable[Shard]) -> Iterator[tuple[Shard, Path]]:
        """Each of some shards, in order, as a file for `iter_series` that may be gone once the next is asked for."""


def list_shards(directory: Path) -> list[Path]:
    """The shards of a dataset folder for `iter_series`, in order of their names, as its manifest has them."""
    return [directory / shard.name for shard in Manifest.read(directory).shards]


def list_files(directory: Path) -> list[Path]:
    """All Parquet files of a dataset folder, tails too: each row is in one of them, a series may be in two."""
    return [directory / name for shard in Manifest.read(directory).shards for name in shard.files]


def tail_name(shard: str) -> str:
    """Name of the file with a shard's latest periods."""
    return shard.replace("part-", "tail-", 1)


def shard_files(shard: Path) -> list[Path]:
    """The files of one shard that are there; none where it isn't."""
    return [path for path in (shard, shard.with_name(tail_name(shard.name))) if path.is_file()]


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"part-{number:05d}.parquet"


def key_hash(key: Sequence[str]) -> int:
    """0 … 65535, from a series' key alone: the same on every machine and in every version.

    The last two bytes, little-endian, of the MD5 of the key's UTF-8 parts joined by U+001F. `casting.sql_rows` has the
    same in SQL.
    """
    digest = hashlib.md5("\x1f".join(key).encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[14:], "little")


def seeded_digest(seed: int, *parts: str) -> bytes:
    """SHA-256 of a seed and texts: orders series at random, the same for the same seed in whatever order they are read."""
    return hashlib.sha256(json.dumps([seed, *parts]).encode()).digest()


def shard_number(key: Sequence[str], n_shards: int) -> int:
    """The shard that holds a series: equal shares of the range of `key_hash`."""
    return key_hash(key) * n_shards // HASHES


def iter_series(
    path: Path, dimensions: Sequence[str] = (), *, until: np.datetime64 | None = None, batch_rows: int = ROW_GROUP
) -> Iterator[Series]:
    """The series of one shard, in order; memory is bounded by `batch_rows` and the longest series, not by the shard.

    With `until`, only rows before that instant, and only series that have any.

    Raises:
        DatasetError: the shard's tail is missing.
    """
    import pyarrow.parquet as pq

    names = ["item_id", *dimensions]
    with pq.ParquetFile(path, read_dictionary=names) as file:
        since = _tail_from(file)
        pieces = _iter_file(file, names, batch_rows)
        if since is None or (until is not None and until <= since):
            for piece in pieces:
                yield from _cut(piece, until)
            return
        tail = path.with_name(tail_name(path.name))
        if not tail.is_file():
            raise DatasetError(f"{path} is there without {tail.name}: import the train files again")
        with pq.ParquetFile(tail, read_dictionary=names) as other:
            for piece in _extended(pieces, _iter_file(other, names, batch_rows), path):
                yield from _cut(piece, until)


def _tail_from(file: pq.ParquetFile) -> np.datetime64 | None:
    """When a shard's tail begins; None without one."""
    text = (file.metadata.metadata or {}).get(TAIL_FROM.encode())
    return None if text is None else np.datetime64(text.decode(), "us")


def _iter_file(file: pq.ParquetFile, names: Sequence[str], batch_rows: int) -> Iterator[Series]:
    """The series of one file."""
    batches = file.iter_batches(batch_rows, columns=[*names, "timestamp", "target", "filled"])
    pieces = chain.from_iterable(_pieces(batch, names) for batch in batches)
    for _, run in groupby(pieces, attrgetter("key")):
        yield _joined(list(run))


def _extended(series: Iterator[Series], tail: Iterator[Series], path: Path) -> Iterator[Series]:
    """Series with their latest periods. Every series of a shard is in its tail; some begin there."""
    begun = next(series, None)
    for rest in tail:
        if begun is not None and begun.key == rest.key:
            yield _joined([begun, rest])
            begun = next(series, None)
        else:
            yield rest
    if begun is not None:
        raise DatasetError(
            f"series {series_name(begun.key)} of {path} is not in its tail: import the train files again"
        )


def _pieces(batch: Any, names: Sequence[str]) -> Iterator[Series]:
    """The runs of rows of one series in a record batch; a series may continue in the next batch."""
    if not batch.num_rows:
        return
    timestamps = batch.column("timestamp").to_numpy(zero_copy_only=False)
    target = batch.column("target").to_numpy(zero_copy_only=False)
    filled = batch.column("filled").to_numpy(zero_copy_only=False)
    columns = [batch.column(name) for name in names]
    starts = np.flatnonzero(key_changes(batch, names))
    for start, end in zip(starts, np.append(starts[1:], batch.num_rows), strict=True):
        key = tuple(column[int(start)].as_py() for column in columns)
        yield Series(key, timestamps[start:end], target[start:end], filled[start:end])


def _joined(pieces: Sequence[Series]) -> Series:
    """The pieces of one series as one."""
    return Series(
        pieces[0].key,
        np.concatenate([piece.timestamps for piece in pieces]).astype("datetime64[us]"),
        np.concatenate([piece.target for piece in pieces]),
        np.concatenate([piece.filled for piece in pieces]),
    )


def _cut(series: Series, until: np.datetime64 | None) -> Iterator[Series]:
    """A series before `until`; nothing when no row is left."""
    if until is None:
        yield series
        return
    length = int(np.searchsorted(series.timestamps, until.astype("datetime64[us]")))
    if length:
        yield Series(series.key, series.timestamps[:length], series.target[:length], series.filled[:length])
