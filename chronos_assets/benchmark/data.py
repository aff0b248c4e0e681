"""The benchmark's series: from a folder of JSON lines and the ETT archive, or from the Hugging Face Hub.

Here belongs reading, a series at a time; what is asked of a set is in `tasks`.

A folder holds `<set>.jsonl.gz` or `<set>.jsonl`, a series per line: {"item_id", "start", "freq", "target"} with null
where a value is missing; and `ETT-small.zip` of https://github.com/zhouhaoyi/ETDataset, from which the sets ETTh and
ETTm come (every column of both transformers is a series). The Hub's sets are Parquet files below a folder per set, a
series in each list column of each row, with its `timestamp`. Archives are read in place; nothing is ever unpacked.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, TypeVar, cast

import numpy as np

from chronos_assets.benchmark.tasks import HUB_REPOSITORY, TASKS, BenchmarkError, Task, read_tasks
from chronos_assets.system import file_digest, text_digest
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.wording import first_line

ETT_ARCHIVE = "ETT-small.zip"
_ETT = {"ETTh": "h", "ETTm": "15min"}
_MAX_MEMBER = 1 << 28  # bytes of a table of the ETT archive, which has ten million
_HUB_TIMEOUT_SECONDS = 10


Part = TypeVar("Part")


class BenchmarkData(Protocol):
    """Sets that can be read."""

    @property
    def tasks(self) -> Mapping[str, Task]:
        """What is asked of the sets that are there, in order of their names."""

    def digest(self, name: str) -> str:
        """SHA-256 of the files that hold a set, hexadecimal."""

    def frequency(self, name: str) -> str:
        """The frequency of a set, as pandas names it."""

    def count(self, name: str) -> int:
        """Number of series in a set."""

    def series(self, name: str) -> Iterator[Floats]:
        """The values of each series (n,), NaN where missing, always in the same order."""


def open_data(source: str) -> BenchmarkData:
    """The sets of a folder, or those of a repository on the Hub; an empty source is `autogluon/chronos_datasets`.

    Raises:
        BenchmarkError: there is no such folder, or no set in it.
    """
    if source in ("", HUB_REPOSITORY):
        return HubData(source or HUB_REPOSITORY)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise BenchmarkError(
            f"no benchmark data at {folder}: set CHRONOS_BENCHMARK_DATA to a folder with <set>.jsonl.gz files, "
            f"or to {HUB_REPOSITORY}"
        )
    return FolderData(folder)


class FolderData:
    """See the module. `folder` may also hold `published/` with the configurations and results of chronos-forecasting."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tasks = read_tasks(folder)
        self._files = {name: path for name in sorted(tasks) if (path := self._find(name)) is not None}
        self.tasks: Mapping[str, Task] = {name: tasks[name] for name in self._files}
        if not self.tasks:
            raise BenchmarkError(
                f"no set of the benchmark in {folder}: put <set>.jsonl.gz files or {ETT_ARCHIVE} there"
            )

    def digest(self, name: str) -> str:
        """See `BenchmarkData`."""
        return file_digest(self._file(name))

    def frequency(self, name: str) -> str:
        """See `BenchmarkData`."""
        if name in _ETT:
            return _ETT[name]
        with _lines(self._file(name)) as lines:
            return _frequency(_record(self._file(name), 1, next(lines, "")))

    def count(self, name: str) -> int:
        """See `BenchmarkData`."""
        if name in _ETT:
            return sum(len(header) for header in _read_ett(self._file(name), name, _column_names))
        with _lines(self._file(name)) as lines:
            return sum(1 for _ in lines)

    def series(self, name: str) -> Iterator[Floats]:
        """See `BenchmarkData`."""
        path = self._file(name)
        if name in _ETT:
            for columns in _read_ett(path, name, _columns):
                yield from columns
            return
        frequency = self.frequency(name)
        with _lines(path) as lines:
            for number, line in enumerate(lines, 1):
                record = _record(path, number, line)
                if _frequency(record) != frequency:
                    raise BenchmarkError(f"{path}, line {number}: freq is {record['freq']!r} after {frequency!r}")
                yield _values(record["target"], f"{path}, line {number}")

    def _find(self, name: str) -> Path | None:
        names = [ETT_ARCHIVE] if name in _ETT else [f"{name}.jsonl.gz", f"{name}.jsonl"]
        return next((path for file in names if (path := self.folder / file).is_file()), None)

    def _file(self, name: str) -> Path:
        if name not in self._files:
            raise BenchmarkError(f"set {name} is not in {self.folder}, which has {', '.join(self._files)}")
        return self._files[name]


class HubData:
    """The zero-shot sets of a repository on the Hub, fetched to the Hugging Face cache when first read."""

    def __init__(self, repository: str = HUB_REPOSITORY, cache: Path | None = None) -> None:
        self.repository = repository
        self._cache = cache
        self.tasks: Mapping[str, Task] = {
            name: task
            for name, task in sorted(TASKS.items())
            if task.repository == repository and task.benchmark == "zero-shot"
        }

    def digest(self, name: str) -> str:
        """See `BenchmarkData`."""
        return text_digest("".join(file_digest(path) for path in self._files(name)))

    def frequency(self, name: str) -> str:
        """See `BenchmarkData`; that of the first row's timestamps."""
        import pandas as pd

        _, timestamps = next(self._rows(name), (None, ()))
        try:
            return str(pd.DatetimeIndex(timestamps).to_period().freqstr)
        except (ValueError, TypeError) as error:
            raise BenchmarkError(
                f"set {name} of {self.repository}: the timestamps of its first series have no frequency: {error}"
            ) from error

    def count(self, name: str) -> int:
        """See `BenchmarkData`."""
        import pyarrow.parquet as pq

        files = [pq.ParquetFile(path) for path in self._files(name)]
        return sum(file.metadata.num_rows * len(_series_columns(file.schema_arrow)) for file in files)

    def series(self, name: str) -> Iterator[Floats]:
        """See `BenchmarkData`."""
        for values, _ in self._rows(name):
            yield from values

    def _rows(self, name: str) -> Iterator[tuple[list[Floats], Any]]:
        """Each row's series and timestamps."""
        import pyarrow.parquet as pq

        for path in self._files(name):
            file = pq.ParquetFile(path)
            columns = _series_columns(file.schema_arrow)
            for batch in file.iter_batches(batch_size=64, columns=[*columns, "timestamp"]):
                for row in range(batch.num_rows):
                    lists = [batch.column(column)[row].values for column in columns]
                    yield (
                        [np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64) for values in lists],
                        batch.column("timestamp")[row].values.to_numpy(zero_copy_only=False),
                    )

    def _files(self, name: str) -> list[Path]:
        if name not in self.tasks:
            raise BenchmarkError(f"set {name} is not one of {self.repository}'s zero-shot sets")
        folder = _fetched(self.repository, name, self._cache)
        files = sorted((folder / name).glob("*.parquet"))
        if not files:
            raise BenchmarkError(f"{self.repository} has no Parquet files of set {name} (looked in {folder / name})")
        return files


@lru_cache(maxsize=128)
def _fetched(repository: str, name: str, cache: Path | None) -> Path:
    """The folder of a repository's snapshot that holds a set's files."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # The Hub's own error derives from those of its HTTP library, which is another one from version to version.
    library = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    unreachable: tuple[type[Exception], ...] = (*library, HFValidationError, LocalEntryNotFoundError, OSError)
    try:
        folder = snapshot_download(
            repository,
            repo_type="dataset",
            allow_patterns=[f"{name}/*.parquet"],
            cache_dir=cache,
            etag_timeout=_HUB_TIMEOUT_SECONDS,
        )
    except unreachable as error:
        raise BenchmarkError(
            f"set {name} of {repository} could not be fetched from the Hugging Face Hub ({first_line(error)}): check the "
            "network, or set CHRONOS_BENCHMARK_DATA to a folder with <set>.jsonl.gz files"
        ) from error
    return Path(folder)


def _series_columns(schema: Any) -> list[str]:
    """The list columns of a set's table, of which each row's is a series, except for the timestamps."""
    import pyarrow as pa

    def is_list(kind: Any) -> bool:
        return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))

    return [field.name for field in schema if field.name != "timestamp" and is_list(field.type)]


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a text file, plain or compressed, that aren't empty."""
    with path.open("rb") as raw:
        file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
        yield _filled_lines(path, io.TextIOWrapper(file, encoding="utf-8"))


def _filled_lines(path: Path, file: Iterable[str]) -> Iterator[str]:
    try:
        yield from (line for line in file if line.strip())
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise BenchmarkError(f"{path} can't be read: {error}; copy it again") from error


def _record(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise BenchmarkError(f"{path}, line {number}: not JSON: {error}") from error
    if not isinstance(record, Mapping) or not {"freq", "target"} <= set(record):
        raise BenchmarkError(f"{path}, line {number}: not an object with item_id, start, freq and target")
    return record


def _frequency(record: Mapping[str, Any]) -> str:
    return str(record["freq"])


def _values(target: Any, where: str) -> Floats:
    try:
        values = np.array(target, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(f"{where}: target is not a list of numbers and nulls: {error}") from error
    if values.ndim != 1:
        raise BenchmarkError(f"{where}: target is not a flat list")
    return values


def _read_ett(archive: Path, name: str, read: Callable[[IO[bytes], str], Part]) -> Iterator[Part]:
    """What `read` finds in both transformers' tables; the members' names are looked up, never used as paths."""
    try:
        with zipfile.ZipFile(archive) as files:
            for wanted in (f"{name}1.csv", f"{name}2.csv"):
                found = [item for item in files.infolist() if PurePosixPath(item.filename).name == wanted]
                if len(found) != 1 or found[0].file_size > _MAX_MEMBER:
                    raise BenchmarkError(f"{archive} holds no {wanted} of at most {_MAX_MEMBER >> 20} MiB, or several")
                with files.open(found[0]) as member:
                    yield read(member, f"{archive}, {wanted}")
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise BenchmarkError(f"{archive} can't be read: {error}; copy it again") from error


def _rows(member: IO[bytes]) -> Any:
    return csv.reader(io.TextIOWrapper(member, encoding="utf-8", newline=""))


def _column_names(member: IO[bytes], where: str) -> list[str]:
    """Names of a CSV table's columns but the first, which is the date."""
    return next(_rows(member), [where])[1:]


def _columns(member: IO[bytes], where: str) -> list[Floats]:
    """Every column of a CSV table but the first."""
    rows = _rows(member)
    header: Sequence[str] = next(rows, [])
    columns = [array("d") for _ in header[1:]]
    try:
        for row in rows:
            for column, text in zip(columns, row[1:], strict=True):
                column.append(float(text) if text else float("nan"))
    except (ValueError, csv.Error) as error:
        raise BenchmarkError(f"{where}, line {rows.line_num}: {error}") from error
    if not columns or not len(columns[0]):
        raise BenchmarkError(f"{where} is empty")
    return [np.frombuffer(column, dtype=np.float64) for column in columns]
