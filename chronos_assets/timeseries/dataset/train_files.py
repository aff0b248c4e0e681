"""Files to import: where they are, which of their columns are read, and what was found in them.

Elsewhere: reading their rows (`train_file_reader`), reading them all (`file_reading`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from chronos_assets.params.columns import is_remark
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.csv_layout import TrainSchema

FETCHES = 8  # files brought to this machine at once

# By the names of a header that the schema doesn't know: the file that had it first, and (name, column of the schema).
RenamedColumns = dict[tuple[str, ...], tuple[str, tuple[tuple[str, str], ...]]]


@dataclass(frozen=True)
class TrainFile:
    """A file to import. key: what the user calls it (its key in the store).

    source: where it is on this machine, or what brings it here and says where; that is called once it is read.
    last_modified decides, before the key, which of two files is newer. etag: changes with its content; empty where nobody
    knows, so that it is always read. listed_bytes: its size as a listing has it; None: it is on this machine.
    """

    source: Path | Callable[[], Path]
    key: str
    last_modified: datetime
    etag: str = ""
    listed_bytes: int | None = None
    _brought: list[Path] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def path(self) -> Path:
        """Where it is on this machine; brought here by the first look.

        Raises:
            FileNotFoundError: it is gone.
        """
        if isinstance(self.source, Path):
            return self.source
        # Not a `cached_property`: before Python 3.12 one lock is of all files, so that they would come one after another.
        if not self._brought:
            self._brought.append(self.source())
        return self._brought[0]

    @property
    def size(self) -> int:
        """Its bytes, without a look at what isn't here; 0 of a file that is gone."""
        if self.listed_bytes is not None:
            return self.listed_bytes
        return self.path.stat().st_size if self.path.exists() else 0


def bring(files: Iterable[TrainFile]) -> None:
    """Bring files to this machine, several at once; whoever opens one that is gone gets the error."""

    def look(file: TrainFile) -> None:
        with suppress(FileNotFoundError):
            _ = file.path

    away = [file for file in files if not isinstance(file.source, Path)]
    with ThreadPoolExecutor(FETCHES) as pool:
        for _ in pool.map(look, away):
            pass


@dataclass(frozen=True)
class FileContents:
    """What was found in one file. format: "csv" or "parquet". rows: all of them; rejected: the bad ones.

    header: whether a CSV file has one. ignored: its columns that the schema does not know. notes: what was assumed.
    """

    key: str
    format: str
    rows: int
    rejected: int
    header: bool
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()


def schema_of(params: ForecastParams) -> TrainSchema:
    """The columns that an import needs, from the parameters."""
    parts = {params.item_column, params.timestamp_column, params.target_column, *params.dimensions}
    return TrainSchema(
        names=tuple(attribute.name for attribute in params.attributes),
        item=params.item_column,
        dimensions=params.dimensions,
        timestamp=params.timestamp_column,
        target=params.target_column,
        others=tuple(
            attribute.name
            for attribute in params.attributes
            if attribute.type == "string" and attribute.name not in parts and not is_remark(attribute.name)
        ),
        decimal_comma=params.decimal_comma,
    )


@dataclass(frozen=True)
class CovariateReading:
    """What of a file is read beside, or instead of, the target. clock: zone of the instants, as the dataset has it."""

    schema: TrainSchema
    clock: str | None
