"""A window's forecast on disk: its four files, and how the parts that several instances left become one of them.

Here: the layout of the files, written in one way whatever made the forecast, and the merge of parts. Elsewhere:
forecasting (`workloads.forecast`), how shards are dealt out to instances and their parts come back (`platforms`).

A folder of one window has

- `forecast.parquet`: item_id, dimensions, timestamp, forecast columns; by series, then time; `horizon` rows for each;
- `last_observed.parquet`: item_id, dimensions, timestamp, target; one row for each observed series, in the same order;
  where the weights of a predictor follow from what series look like, the numbers that say so, `traits`;
- `skipped.parquet`: item_id, dimensions, reason; by series;
- `cold_starts.parquet`, where there are any: item_id, dimensions, reason, donors, nearest, similarity; by series: those whose
  forecast is made of other series' (`predictors.cold_start`), which have no last observation;
- `manifest.json`: what the forecast was made from and with, and counts.

A **part** is such a folder, made from some of the dataset's shards; its manifest says under `part` from which. A series is
whole in one shard, and a forecast of a series doesn't depend on the others of its run, so that the parts of all shards,
merged, have the bytes that one instance would have left. That holds for models whose arithmetic mixes the series of a
batch too: a batch never crosses a shard.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.options import PRECISIONS
from chronos_assets.system import write_json
from chronos_assets.timeseries.dataset.series_keys import Key, key_list, series_name
from chronos_assets.timeseries.dataset.shards import Manifest, Shard
from chronos_assets.timeseries.published_files import COLD_STARTS, FORECAST, LAST_OBSERVED, MANIFEST, SKIPPED
from chronos_assets.wording import first_of

if TYPE_CHECKING:
    import pyarrow as pa

Record = Any  # one row of `ForecastLayout.record`
Periods = NDArray[np.datetime64]

TRAITS = "traits"  # column

MAX_NAMED = 20  # skipped series named in a message
EXAMPLES = 3  # series drawn for each window
_MAX_LISTED = 1000  # skipped series listed in a manifest
_ROWS_PER_GROUP = 122_880
_ROWS_AT_ONCE = 16_384  # read of each part

_SUMS = ("series", "rows", "not_started", "skipped_count", "crossed", "flat", "non_negative", "raised")
_OF_A_PART = {
    *_SUMS,
    "skipped_reasons",
    "skipped",
    "part",
    "passes",
}  # what may differ between the manifests of one run's parts


class PartsError(ChronosAssetsError, ValueError):
    """Parts that don't make up one forecast; the message says which, why, and how to fix it."""


@dataclass(frozen=True)
class ForecastLayout:
    """What the rows of a forecast look like.

    Attributes:
        dimensions: key columns beside `item_id`.
        columns: forecast columns.
        horizon: rows of a series.
        traits: numbers of each series that its weights follow from.
    """

    dimensions: tuple[str, ...]
    columns: tuple[str, ...]
    horizon: int
    traits: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Key columns."""
        return ("item_id", *self.dimensions)

    @cached_property
    def record(self) -> np.dtype[Any]:
        """One series: last observation (timestamp in microseconds), forecast, (horizon, columns) flat, and traits if any."""
        values = ("values", "<f8", (self.horizon * len(self.columns),))
        traits = [("traits", "<f8", (self.traits,))] if self.traits else []
        return np.dtype([("timestamp", "<i8"), ("target", "<f8"), values, *traits])


# --- writing ----------------------------------------------------------------------------------------------------------


def part_of(dataset: Manifest, shards: Sequence[Shard]) -> dict[str, Any]:
    """What the manifest of a part has under `part`: the shards that it was made from, and those that there are."""
    return {"shards": [shard.name for shard in shards], "dataset": [shard.name for shard in dataset.shards]}


def skipped_table(skipped: Sequence[tuple[Key, str]], dimensions: Sequence[str]) -> pa.Table:
    """Series that could not be forecast with the reason, in order of their keys."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in ("item_id", *dimensions, "reason")])
    rows = [(*key, reason) for key, reason in sorted(skipped)]
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=schema)


def skipped_summary(skipped: pa.Table) -> dict[str, Any]:
    """What a manifest says of the series that could not be forecast."""
    import pyarrow.compute as pc

    counted = pc.value_counts(skipped.column("reason")).to_pylist()
    listed = [tuple(row.values()) for row in skipped.slice(0, _MAX_LISTED).to_pylist()]
    return {
        "skipped_count": skipped.num_rows,
        "skipped_reasons": dict(sorted((pair["values"], pair["counts"]) for pair in counted)),
        "skipped": [{"item": list(key), "reason": reason} for *key, reason in listed],
    }


def write_window(
    folder: Path,
    layout: ForecastLayout,
    periods: Periods,
    sources: Sequence[Iterator[tuple[Key, Record]]],
    skipped: pa.Table,
    manifest: Mapping[str, Any],
) -> None:
    """Write the four files of one window, in memory that doesn't grow with the number of series that were forecast.

    Args:
        folder: made, and must not be there.
        layout: of the forecast.
        periods: (horizon,) timestamps of the forecast, the same for all series.
        sources: of series with their records, each in order of the keys; merged by key.
        skipped: see `skipped_table`.
        manifest: the document.

    Raises:
        PartsError: a series comes twice.
    """
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    _write_series(folder, layout, periods, heapq.merge(*sources, key=lambda pair: pair[0]))
    pq.write_table(skipped, folder / SKIPPED)
    write_json(folder / MANIFEST, manifest, sort_keys=True)


def _write_series(folder: Path, layout: ForecastLayout, periods: Periods, merged: Iterable[tuple[Key, Record]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    horizon, width = layout.horizon, len(layout.columns)
    identity = [(name, pa.string()) for name in layout.names]
    schema = pa.schema(
        [*identity, ("timestamp", pa.timestamp("us")), *((name, pa.float64()) for name in layout.columns)]
    )
    traits = [(TRAITS, pa.list_(pa.float64(), layout.traits))] if layout.traits else []
    last_schema = pa.schema([*identity, ("timestamp", pa.timestamp("us")), ("target", pa.float64()), *traits])
    per_group = max(1, _ROWS_PER_GROUP // horizon)
    with (
        pq.ParquetWriter(folder / FORECAST, schema, compression="zstd") as forecasts,
        pq.ParquetWriter(folder / LAST_OBSERVED, last_schema, compression="zstd") as lasts,
    ):
        for keys, records in _grouped(merged, per_group):
            values = records["values"].reshape(len(keys) * horizon, width)
            places = pa.array(np.repeat(np.arange(len(keys), dtype=np.int32), horizon))
            columns = [
                pa.DictionaryArray.from_arrays(places, pa.array(part, pa.string())).cast(pa.string())
                for part in zip(*keys, strict=True)
            ]
            columns += [pa.array(np.tile(periods, len(keys)).astype("datetime64[us]"))]
            columns += [pa.array(np.ascontiguousarray(values[:, column])) for column in range(width)]
            forecasts.write_table(pa.table(columns, schema=schema), row_group_size=per_group * horizon)
            last = [pa.array(part, pa.string()) for part in zip(*keys, strict=True)]
            moments = records["timestamp"].view("datetime64[us]")
            last += [pa.array(moments), pa.array(records["target"])]
            if layout.traits:
                flat = pa.array(np.ascontiguousarray(records["traits"]).reshape(-1))
                last.append(pa.FixedSizeListArray.from_arrays(flat, layout.traits))
            observed = pa.table(last, schema=last_schema)
            lasts.write_table(observed.filter(pa.array(~np.isnat(moments))) if np.isnat(moments).any() else observed)


def _grouped(merged: Iterable[tuple[Key, Record]], size: int) -> Iterator[tuple[list[Key], Any]]:
    keys: list[Key] = []
    records: list[Record] = []
    previous: Key = ()
    for key, record in merged:
        if key == previous:
            raise PartsError(f"series {series_name(key)} was forecast twice: materialize target_time_series again")
        previous = key
        keys.append(key)
        records.append(record)
        if len(keys) == size:
            yield keys, np.array(records)
            keys, records = [], []
    if keys:
        yield keys, np.array(records)


def traits_in(series: pa.Table) -> NDArray[np.float64]:
    """The traits (n, traits) of some rows of `last_observed.parquet`."""
    columns = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in series.column(TRAITS).chunks]
    return np.concatenate(columns).reshape(series.num_rows, -1)


def series_traits(
    folder: Path, dimensions: Sequence[str], item_id: str | None = None
) -> dict[Key, NDArray[np.float64]]:
    """The traits of a window's series, by key, or of one item's; none where weights don't follow from them."""
    import pyarrow.parquet as pq

    path, names = folder / LAST_OBSERVED, ["item_id", *dimensions]
    if TRAITS not in pq.read_schema(path).names:
        return {}
    wanted = [("item_id", "=", item_id)] if item_id is not None else None
    table = pq.read_table(path, columns=[*names, TRAITS], filters=wanted, partitioning=None)
    return dict(zip(key_list(table.select(names)), traits_in(table), strict=True)) if table.num_rows else {}


def cold_start_keys(folder: Path, dimensions: Sequence[str]) -> set[Key]:
    """The series of a window's folder whose forecast is made of other series'; none where it has no such file."""
    import pyarrow.parquet as pq

    if not (folder / COLD_STARTS).is_file():
        return set()
    with pq.ParquetFile(folder / COLD_STARTS) as file:
        return set(key_list(file.read(columns=["item_id", *dimensions])))


# --- merging ----------------------------------------------------------------------------------------------------------


def merge_forecast_parts(parts: Sequence[Path], output: Path) -> dict[str, Any]:
    """Make one window's forecast of the parts that the instances of one run left: the same bytes as one would have.

    Parts are read side by side and never whole, except for the series that could not be forecast.

    Args:
        parts: folder of the window of each instance, in any order; a forecast of one instance alone is a part of one.
        output: folder that gets the four files; must not be there.

    Returns:
        The manifest that was written.

    Raises:
        PartsError: the parts are not of one run, not of all shards, overlap, or one is damaged.
    """
    import pyarrow as pa

    found = [WindowFolder.read(folder) for folder in parts]
    _check_one_run(found)
    _check_shards(found)
    layout = found[0].layout
    skipped = pa.concat_tables([part.skipped() for part in found])
    skipped = skipped.sort_by([(name, "ascending") for name in layout.names]).combine_chunks()
    passes = merge_passes([part.manifest["passes"] for part in found if "passes" in part.manifest])
    manifest = {
        **{name: value for name, value in found[0].manifest.items() if name not in _OF_A_PART},
        **{name: sum(part.manifest[name] for part in found) for name in _SUMS},
        **({"passes": passes} if passes else {}),
        **skipped_summary(skipped),
    }
    write_window(output, layout, _periods(found), [part.series() for part in found], skipped, manifest)
    return manifest


def passes_text(passes: Mapping[str, Any] | None) -> str:
    """The passes of a forecast, as its manifest has them, in words."""
    if not passes:
        return "no network"
    precision = f" in {passes['precision']}" if "precision" in passes else ""
    compiled = ", compiled" if passes.get("compiled") else ""
    return f"{passes['rows']} rows a pass on {passes['device']}{precision}{compiled}"


def merge_passes(passes: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How networks ran, of several networks or instances: the fewest rows that memory held, and the least exact numbers."""
    used = [item["precision"] for item in passes if "precision" in item]
    least = {"precision": max(used, key=PRECISIONS.index)} if used else {}
    return {**min(passes, key=lambda item: int(item["rows"])), **least} if passes else None


def merge_messages(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The message of one window from those of its parts: as one instance would have sent it, except for its `seconds`."""
    skipped = sorted((row for message in messages for row in message["skipped"]), key=_by_key)
    sparks = sorted((spark for message in messages for spark in message["sparks"]), key=_by_volume)
    counts = [name for name in _SUMS if name in messages[0]]
    return {
        **messages[0],
        **{name: sum(message[name] for message in messages) for name in counts},
        "skipped": skipped[:MAX_NAMED],
        "sparks": sparks[:EXAMPLES],
        "seconds": max(message["seconds"] for message in messages),
    }


def _by_volume(spark: Mapping[str, Any]) -> tuple[float, Key]:
    return -float(spark.get("volume", 0.0)), _by_key(spark)


def _by_key(document: Mapping[str, Any]) -> Key:
    return tuple(document["key"])


@dataclass(frozen=True)
class WindowFolder:
    """A folder of a window, whole or a part, with its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> WindowFolder:
        """The folder, with its manifest.

        Raises:
            PartsError: there is no forecast.
        """
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            raise PartsError(f"there is no forecast in {folder}: did that instance end early? Run it again") from None
        return cls(folder, manifest)

    @property
    def layout(self) -> ForecastLayout:
        """Of its rows."""
        manifest = self.manifest
        traits = manifest.get("predictor", {}).get("traits", ())
        return ForecastLayout(
            tuple(manifest["dimensions"]), tuple(manifest["columns"]), int(manifest["horizon"]), len(traits)
        )

    def keys(self) -> Iterator[Key]:
        """Of the series that have a last observation, in order."""
        names = list(self.layout.names)
        for block in self._blocks(LAST_OBSERVED, names, _ROWS_AT_ONCE):
            yield from key_list(block)

    def skipped(self) -> pa.Table:
        """Series that could not be forecast, see `skipped_table`."""
        import pyarrow.parquet as pq

        # Not `read_table`, which would take `as_of=...` in the path for a column.
        with pq.ParquetFile(self.folder / SKIPPED) as file:
            return file.read()

    def periods(self) -> Periods | None:
        """Timestamps of the forecast of a series; None without any series."""
        return next((block.column("timestamp").to_numpy() for block in self._blocks(FORECAST, ["timestamp"], 1)), None)

    def series(self) -> Iterator[tuple[Key, Record]]:
        """Each series and its record, in order."""
        layout = self.layout
        at_once = max(1, _ROWS_AT_ONCE // layout.horizon)
        forecasts = self._blocks(FORECAST, list(layout.columns), at_once)
        traits = [TRAITS] if layout.traits else []
        lasts = self._blocks(LAST_OBSERVED, [*layout.names, "timestamp", "target", *traits], at_once)
        for forecast, last in zip(forecasts, lasts, strict=True):
            records = np.empty(last.num_rows, dtype=layout.record)
            records["timestamp"] = last.column("timestamp").to_numpy().astype(np.int64)
            records["target"] = last.column("target").to_numpy()
            values = np.stack([forecast.column(name).to_numpy() for name in layout.columns], axis=1)
            records["values"] = values.reshape(last.num_rows, -1)
            if traits:
                records["traits"] = traits_in(last)
            yield from zip(key_list(last.select(layout.names)), records, strict=True)

    def forecasts(self) -> Iterator[tuple[list[Key], NDArray[np.float64]]]:
        """Some series at once, in order, cold starts among them: their keys, and values (n, horizon, columns)."""
        layout = self.layout
        at_once = max(1, _ROWS_AT_ONCE // layout.horizon)
        for block in self._blocks(FORECAST, [*layout.names, *layout.columns], at_once):
            firsts = block.take(np.arange(0, block.num_rows, layout.horizon))
            values = np.stack([block.column(name).to_numpy() for name in layout.columns], axis=1)
            yield key_list(firsts.select(layout.names)), values.reshape(-1, layout.horizon, len(layout.columns))

    def _blocks(self, name: str, columns: list[str], series: int) -> Iterator[pa.Table]:
        """The rows of a file, of `series` series at once; checked to be those of the manifest."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        each = self.layout.horizon if name == FORECAST else 1
        expected = self.manifest["series"] * each
        with pq.ParquetFile(self.folder / name) as file:
            if file.metadata.num_rows != expected:
                raise PartsError(
                    f"{self.folder / name} has {file.metadata.num_rows} rows where its manifest says {expected}: "
                    "it is damaged, run the forecast again"
                )
            held: list[pa.RecordBatch] = []
            rows = 0
            for group in range(file.num_row_groups):
                # One group after the other: a reader of all of them keeps what it has read of each.
                for batch in file.iter_batches(series * each, row_groups=[group], columns=columns):
                    held, rows = [*held, batch], rows + batch.num_rows
                    if rows >= series * each:
                        table = pa.Table.from_batches(held)
                        yield table.slice(0, series * each)
                        held, rows = table.slice(series * each).to_batches(), rows - series * each
            if rows:
                yield pa.Table.from_batches(held)


def _periods(parts: Sequence[WindowFolder]) -> Periods:
    found = [periods for part in parts if (periods := part.periods()) is not None]
    return found[0] if found else np.empty(0, dtype="datetime64[us]")


def _check_one_run(parts: Sequence[WindowFolder]) -> None:
    """Parts of one run have the same manifests, except for what they count."""
    first = parts[0]
    for other in parts[1:]:
        for name in sorted({*first.manifest, *other.manifest} - _OF_A_PART):
            one, two = first.manifest.get(name), other.manifest.get(name)
            if one != two:
                raise PartsError(
                    f"{first.folder} and {other.folder} are not of one run: {name} is {_short(one)} in the first and "
                    f"{_short(two)} in the second; run the forecast again"
                )


def _check_shards(parts: Sequence[WindowFolder]) -> None:
    """Together the parts are of every shard of the dataset, and of none twice."""
    reported = [part.manifest["part"]["dataset"] for part in parts if "part" in part.manifest]
    every = reported[0] if reported else ["every shard"]
    if any(names != every for names in reported):
        raise PartsError(f"{parts[0].folder} and others are of differently cut datasets: run the forecast again")
    owners: dict[str, Path] = {}
    for part in parts:
        # Where one instance got all shards, its part is a whole forecast.
        for shard in part.manifest["part"]["shards"] if "part" in part.manifest else every:
            if shard in owners:
                raise PartsError(f"{owners[shard]} and {part.folder} are both of {shard}: run the forecast again")
            owners[shard] = part.folder
    missing = [shard for shard in every if shard not in owners]
    if missing:
        raise PartsError(
            f"no part is of {first_of(missing, 3)}: an instance didn't get its "
            "shards, or there are fewer parts than instances; run the forecast again"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"
