"""Users' files of covariates, read into rows that are dealt out by hash: what related time series and metadata share.

Here: reading. Series are made of the rows in `related_importing`, tables of items in `metadata_importing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from chronos_assets.timeseries.dataset.bad_rows import BadRows, ImportFailure
from chronos_assets.timeseries.dataset.csv_records import FileProblem, TrainSchema
from chronos_assets.timeseries.dataset.duckdb_sql import scratch_connection
from chronos_assets.timeseries.dataset.partitioning import RowPartitions
from chronos_assets.timeseries.dataset.train_files import CovariateReading, FileContents, TrainFile, TrainFileReader

if TYPE_CHECKING:
    import pyarrow as pa

    from chronos_assets.params.attributes import Attribute
    from chronos_assets.params.forecast import ForecastParams

# Texts that differ in every row describe nothing; their codes would fill the memory.
MOST_CATEGORIES = 100_000


@dataclass(frozen=True)
class CovariateSource:
    """Files of one schema that hold covariates.

    Attributes:
        files: to read.
        params: whose schema, keys and timestamps are those of the files.
        covariates: the columns to read.
        clock: zone of the dataset's timestamps.
        has_times: whether rows have a timestamp.
        is_target: whether they are the train files, whose keys have been checked.
    """

    files: tuple[TrainFile, ...]
    params: ForecastParams
    covariates: tuple[Attribute, ...]
    clock: str | None
    has_times: bool = True
    is_target: bool = False

    @property
    def what(self) -> str:
        """What the files are, for messages."""
        if self.is_target:
            return "train files"
        return "related time series" if self.has_times else "item metadata"

    @property
    def schema(self) -> TrainSchema:
        """The columns that are read."""
        params = self.params
        return TrainSchema(
            names=tuple(attribute.name for attribute in params.attributes),
            item=params.item_column,
            dimensions=params.dimensions,
            timestamp=params.timestamp_column if self.has_times else None,
            target=None,
            values=tuple(attribute.name for attribute in self.covariates),
            numbers=tuple(attribute.name for attribute in self.covariates if attribute.type != "string"),
        )


def related_source(files: Sequence[TrainFile], params: ForecastParams) -> CovariateSource | None:
    """The files below `related/`; None where none are declared."""
    schema = params.related.dataset if params.related else None
    if schema is None:
        return None
    own = replace(
        params,
        attributes=schema.attributes,
        item_column=schema.item_column,
        timestamp_column=schema.timestamp_column or params.timestamp_column,
        dimensions=schema.dimensions,
        timestamp_format=schema.timestamp_format or params.timestamp_format,
        data_frequency=schema.data_frequency or params.frequency,
    )
    return CovariateSource(tuple(files), own, schema.covariates, params.clock)


def metadata_source(files: Sequence[TrainFile], params: ForecastParams) -> CovariateSource | None:
    """The files below `item_metadata/`; None where none are declared."""
    schema = params.metadata.dataset if params.metadata else None
    if schema is None:
        return None
    own = replace(params, attributes=schema.attributes, item_column=schema.item_column, dimensions=())
    return CovariateSource(tuple(files), own, schema.covariates, params.clock, has_times=False)


def target_source(
    files: Sequence[TrainFile], params: ForecastParams, columns: Sequence[Attribute]
) -> CovariateSource | None:
    """The train files, for those of their columns that are covariates; None where there are no such columns."""
    if not columns:
        return None
    return CovariateSource(tuple(files), params, tuple(columns), params.clock, is_target=True)


class Categories:
    """Texts of one attribute as numbers, in the order in which they are first seen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}

    def encode(self, column: pa.Array) -> pa.Array:
        """(n,) codes as float64, NaN for null.

        Raises:
            FileProblem: there are too many.
        """
        import pyarrow as pa

        found = column.dictionary_encode()
        places = np.empty(len(found.dictionary) + 1)
        places[-1] = np.nan
        for number, text in enumerate(found.dictionary.to_pylist()):
            code = self._codes.setdefault(text, len(self._codes))
            if code == len(self.texts):
                self.texts.append(text)
            places[number] = code
        if len(self.texts) > MOST_CATEGORIES:
            reason = f"it has more than {MOST_CATEGORIES:,} different texts, so it describes nothing"
            raise FileProblem(f"column {self.name}", reason, "leave it out of the schema, or make it a number")
        return pa.array(places[found.indices.fill_null(len(places) - 1).to_numpy(zero_copy_only=False)])


@dataclass(frozen=True)
class CovariateRows:
    """What was read of a source.

    Attributes:
        source: what was read.
        rows: with k0, k1, … instant, hash, v0, v1, … (float64: numbers, or codes of categories), rank and others.
        categories: by place among the covariates.
        contents: of each file.
        bad: rows set aside.
    """

    source: CovariateSource
    rows: RowPartitions
    categories: dict[int, Categories]
    contents: list[FileContents]
    bad: BadRows

    def publish(self, rejected: Path) -> dict[str, Path]:
        """Set aside the bad rows of the source's own files; those of train files are the target's import to keep."""
        if self.source.is_target:
            return {}
        return self.bad.publish(rejected, [file.key for file in self.source.files])


def read_source(
    source: CovariateSource,
    scratch: Path,
    *,
    memory_limit: str,
    threads: int,
    unpacked: int | None = None,
    advance: Callable[[float], None] = lambda _: None,
) -> CovariateRows:
    """Read all files of a source, from the oldest to the newest.

    Raises:
        ImportFailure: with everything that is wrong in the files.
    """
    folder = scratch / source.what.replace(" ", "-")
    for part in ("rows", "rejected", "duckdb"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rows = RowPartitions(folder / "rows")
    bad = BadRows(folder / "rejected", quarantine=source.params.bad_rows == "quarantine")
    categories = {
        place: Categories(attribute.name)
        for place, attribute in enumerate(source.covariates)
        if attribute.type == "string"
    }
    problems: list[FileProblem] = []
    contents: list[FileContents] = []
    ordered = sorted(source.files, key=lambda file: (file.last_modified, file.key))
    with scratch_connection(folder / "duckdb", memory_limit=memory_limit, threads=threads) as connection:
        reading = CovariateReading(source.schema, source.clock)
        reader = TrainFileReader(connection, source.params, bad, several=True, unpacked=unpacked, reading=reading)
        for rank, file in enumerate(ordered):
            try:
                with TemporaryDirectory(dir=folder) as own:
                    contents.append(reader.read(file, _taking(rows, rank, categories), Path(own), lambda _: None))
            except FileProblem as problem:
                problems.append(problem)
            advance((rank + 1) / len(ordered))
    if problems or (bad.total and not bad.quarantine):
        raise ImportFailure(problems, bad.first, bad.counts, what=source.what)
    return CovariateRows(source, rows, categories, contents, bad)


def _taking(rows: RowPartitions, rank: int, categories: dict[int, Categories]) -> Callable[[pa.RecordBatch], None]:
    import pyarrow as pa

    def take(batch: pa.RecordBatch) -> None:
        arrays = list(batch.columns)
        for place, known in categories.items():
            index = batch.schema.get_field_index(f"v{place}")
            arrays[index] = known.encode(batch.column(index))
        names = [*batch.schema.names, "rank"]
        rows.add(pa.record_batch([*arrays, pa.repeat(np.int32(rank), batch.num_rows)], names=names))

    return take
