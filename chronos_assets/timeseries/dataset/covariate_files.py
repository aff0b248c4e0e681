"""Users' files of covariates, read into rows that are dealt out by hash: what related time series and metadata share.

Here: reading. Series are made of the rows in `related_importing`, tables of items in `metadata_importing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from chronos_assets.params.attributes import Attribute
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.system import made_folder
from chronos_assets.timeseries.arrays import Integers
from chronos_assets.timeseries.dataset.bad_rows import BadRows
from chronos_assets.timeseries.dataset.csv_layout import TrainSchema
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.file_reading import Batches, read_files, with_rank
from chronos_assets.timeseries.dataset.folder_columns import folder_notes
from chronos_assets.timeseries.dataset.import_memory import FileFacts, noted_unit
from chronos_assets.timeseries.dataset.partitioning import RowPartitions
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.train_files import CovariateReading, FileContents, RenamedColumns, TrainFile

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
    def ordered(self) -> list[TrainFile]:
        """The files from the oldest to the newest."""
        return sorted(self.files, key=lambda file: (file.last_modified, file.key))

    @property
    def instant_unit(self) -> int:
        """Microseconds to which timestamps are noted; the dataset's import has found where periods start."""
        return noted_unit(self.params.frequency)

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
            decimal_comma=params.decimal_comma,
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
    """Texts of one attribute as numbers, in the order in which they are first seen; `texts` were seen before."""

    def __init__(self, name: str, texts: Sequence[str] = ()) -> None:
        self.name = name
        self.texts = list(texts)
        self._codes = {text: code for code, text in enumerate(texts)}

    def encode(self, column: pa.Array) -> pa.Array:
        """(n,) codes as float64, NaN for null.

        Raises:
            FileProblem: there are too many.
        """
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
        facts: of all files, from the oldest to the newest, whether their rows are here or not.
        renamed: see `TrainFileReader`.
        bad: rows set aside.
    """

    source: CovariateSource
    rows: RowPartitions
    categories: Mapping[int, Categories]
    facts: Sequence[FileFacts]
    renamed: RenamedColumns
    bad: BadRows

    @property
    def contents(self) -> list[FileContents]:
        """Of each file."""
        return [file.contents for file in self.facts]

    @property
    def rejected(self) -> Counter[str]:
        """Bad rows of all files, by reason."""
        return sum((Counter(file.rejected) for file in self.facts), Counter[str]())

    @property
    def notes(self) -> list[str]:
        """What to tell the user of files of its own."""
        if self.source.is_target:
            return []
        own = [f"{file.key}: {note}" for file in self.contents for note in file.notes]
        return [*own, *folder_notes(self.contents, [each.name for each in self.source.params.attributes])]

    def publish(self, rejected: Path, keys: Iterable[str]) -> dict[str, Path]:
        """Set aside the bad rows of the source's own files that were read; the target's import keeps those of train files."""
        return {} if self.source.is_target else self.bad.publish(rejected, list(keys))


class SourceReader:
    """Reads files of a source into rows."""

    def __init__(
        self,
        source: CovariateSource,
        scratch: Path,
        resources: Resources,
        *,
        texts: Mapping[int, Sequence[str]] | None = None,
        renamed: RenamedColumns | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            source: whose files are read.
            scratch: folder for temporary files.
            resources: to work with.
            texts: those of categories that other files have, by place among the covariates, in order.
            renamed: see `TrainFileReader`.
        """
        self.source = source
        self._folder = scratch / source.what.replace(" ", "-")
        self._resources = resources
        self._renamed = dict(renamed or {})
        self._rows = RowPartitions(made_folder(self._folder / "rows"))
        quarantine = source.params.bad_rows == "quarantine"
        self._bad = BadRows(made_folder(self._folder / "rejected"), quarantine=quarantine)
        self._categories = {
            place: Categories(attribute.name, (texts or {}).get(place, ()))
            for place, attribute in enumerate(source.covariates)
            if attribute.type == "string"
        }

    def read(self, files: Mapping[int, TrainFile], chosen: Batches | None = None) -> dict[int, FileFacts]:
        """Read files by rank among all; `chosen` are those of a batch's rows that are taken.

        Raises:
            ImportFailure: with everything that is wrong in the files.
        """

        def take(rank: int, batch: pa.RecordBatch, _distinct: Integers) -> None:
            taken = with_rank(self._encoded(batch), rank)
            self._rows.add(taken if chosen is None else chosen(taken))

        source = self.source
        found, self._renamed = read_files(
            files,
            source.params,
            take,
            self._bad,
            self._folder / "files",
            self._resources,
            unit=source.instant_unit if source.has_times else None,
            renamed=self._renamed,
            reading=CovariateReading(source.schema, source.clock),
            what=source.what,
        )
        return found

    def result(self, facts: Sequence[FileFacts]) -> CovariateRows:
        """What was read, with what is known of all files."""
        return CovariateRows(self.source, self._rows, self._categories, facts, self._renamed, self._bad)

    def _encoded(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows with the numbers of their texts."""
        arrays = list(batch.columns)
        for place, known in self._categories.items():
            index = batch.schema.get_field_index(f"v{place}")
            arrays[index] = known.encode(batch.column(index))
        return pa.record_batch(arrays, names=batch.schema.names)


def read_source(source: CovariateSource, scratch: Path, resources: Resources) -> CovariateRows:
    """Read all files of a source, from the oldest to the newest.

    Raises:
        ImportFailure: with everything that is wrong in the files.
    """
    reader = SourceReader(source, scratch, resources)
    return reader.result(list(reader.read(dict(enumerate(source.ordered))).values()))
