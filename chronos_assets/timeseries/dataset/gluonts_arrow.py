"""Series as GluonTS keeps them: Arrow files with one row per series.

Here: the format, read and written. Elsewhere: what the series are (`kernelsynth`), and the shards of
the user's dataset (`shards`).

A file is in Arrow's IPC file format ("Feather 2", uncompressed), with the columns item_id (string), start (timestamp)
and target (list of floats). What is written here is, to the byte, what `gluonts.dataset.arrow.ArrowWriter` writes,
without GluonTS's start-up time, and GluonTS's `FileDataset` and `File.infer` read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.published_files import MANIFEST

ROWS_PER_BATCH = 1024
"""Rows that are held at once; GluonTS's number."""

SCHEMA = pa.schema([("item_id", pa.string()), ("start", pa.timestamp("s")), ("target", pa.list_(pa.float64()))])

Entry = tuple[str, np.datetime64, NDArray[np.float64]]
"""A series: its name, the time of its first value (seconds, no time zone), its values (length,)."""


class ArrowFileError(ChronosAssetsError, ValueError):
    """A file that can't be read as GluonTS series; the message names it and says what is wrong."""


def read_data_version(folder: Path) -> str | None:
    """Data version of the files in a folder, by the manifest beside them; None for files of another origin, without one.

    Raises:
        ArrowFileError: the manifest can't be read, or has no version.
    """
    manifest = folder / MANIFEST
    try:
        return str(json.loads(manifest.read_bytes())["data_version"]) if manifest.exists() else None
    except (ValueError, KeyError, TypeError) as error:
        raise ArrowFileError(f"{manifest} can't be read ({error}): materialize synthetic_dataset again") from error


def write_arrow(path: Path, entries: Iterable[Entry]) -> int:
    """Write the series in their order, replacing `path`.

    The same series give the same bytes.

    Returns:
        How many there were.
    """
    waiting = iter(entries)
    written = 0
    with path.open("wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        while rows := list(islice(waiting, ROWS_PER_BATCH)):
            names, starts, targets = zip(*rows, strict=True)
            columns = [pa.array(names, pa.string()), pa.array(np.array(starts, dtype="datetime64[s]")), _lists(targets)]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            written += len(rows)
    return written


def read_arrow(path: Path) -> Iterator[Entry]:
    """Read the series of a file one after another, in constant memory.

    Columns other than the three are skipped; float32 targets become float64, and missing values NaN.

    Raises:
        ArrowFileError: there is no such file, or it isn't one of series.
    """
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            _check_columns(path, reader.schema)
            for number in range(reader.num_record_batches):
                yield from _entries(reader.get_batch(number))
    except FileNotFoundError as error:
        raise ArrowFileError(f"there is no file {path}") from error
    except pa.ArrowException as error:
        raise ArrowFileError(f"{path} is not a readable Arrow file: {error}") from error


def _lists(targets: Iterable[NDArray[np.float64]]) -> pa.Array:
    arrays = [np.asarray(target, dtype=np.float64) for target in targets]
    offsets = np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(arrays)))


def _check_columns(path: Path, schema: pa.Schema) -> None:
    missing = [name for name in SCHEMA.names if name not in schema.names]
    if missing:
        raise ArrowFileError(f"{path} has no column {', '.join(missing)}; it has {', '.join(schema.names)}")
    start, target = schema.field("start").type, schema.field("target").type
    lists = pa.types.is_list(target) or pa.types.is_large_list(target)
    if not pa.types.is_timestamp(start) or not lists or not pa.types.is_floating(target.value_type):
        raise ArrowFileError(f"{path}: start and target are {start} and {target}, not a timestamp and a list of floats")


def _entries(batch: pa.RecordBatch) -> Iterator[Entry]:
    columns = {name: batch.column(name) for name in SCHEMA.names}
    nulls = [name for name, column in columns.items() if column.null_count]
    if nulls:
        raise pa.ArrowInvalid(f"empty cells in column {', '.join(nulls)}")
    starts = columns["start"].cast(pa.timestamp("s")).to_numpy(zero_copy_only=False)
    values = columns["target"].flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
    ends = np.cumsum(columns["target"].value_lengths().to_numpy(zero_copy_only=False))
    for name, start, end, length in zip(
        columns["item_id"].to_pylist(), starts, ends, np.diff(ends, prepend=0), strict=True
    ):
        yield str(name), start, values[end - length : end].copy()
