"""Small datasets, forecasts and parameters for tests, in the project's own file formats."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import DEFAULT_ALIGNMENT, Alignment, Frequency, Grid
from chronos_assets.params.forecast import Attribute, ForecastParams
from chronos_assets.system import text_digest
from chronos_assets.timeseries.dataset.item_metadata import MetadataManifest, write_item_metadata
from chronos_assets.timeseries.dataset.related import (
    CovariateAttribute,
    Kind,
    RelatedManifest,
    RelatedSeries,
    related_version,
    shard_schema,
    write_related_file,
)
from chronos_assets.timeseries.dataset.shards import Manifest, Shard, shard_name, shard_number
from chronos_assets.timeseries.published_files import DATASET_MANIFEST

Key = tuple[str, ...]


def make_params(**changes: Any) -> ForecastParams:
    """Hourly series of (timestamp, target_value, item_id), three steps ahead, p10 p50 p90; `dimensions` add columns."""
    dimensions = tuple(changes.get("dimensions", ()))
    frequency = Frequency.parse(changes.pop("frequency", "H"))
    attributes = (
        Attribute("timestamp", "timestamp"),
        Attribute("target_value", "float"),
        Attribute("item_id", "string"),
        *(Attribute(name, "string") for name in dimensions),
    )
    defaults: dict[str, Any] = {
        "dataset_group": "group",
        "domain": "CUSTOM",
        "attributes": attributes,
        "item_column": "item_id",
        "timestamp_column": "timestamp",
        "target_column": "target_value",
        "data_frequency": frequency,
        "frequency": frequency,
        "horizon": 3,
        "timestamp_format": "yyyy-MM-dd HH:mm:ss",
    }
    return ForecastParams(**(defaults | changes))


@dataclass(frozen=True)
class MadeSeries:
    """Values from `start` (a period's first instant) on; `filled` marks those that were not observed."""

    key: Key
    start: str
    values: Sequence[float]
    filled: Sequence[bool] | None = None


def write_dataset(
    folder: Path, params: ForecastParams, series: Sequence[MadeSeries], *, shards: int = 2, data_version: str = ""
) -> Path:
    """Shards and manifest, as an import would leave them; the version follows from them if none is given."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["item_id", *params.dimensions]
    schema = pa.schema(
        [
            *((name, pa.string()) for name in names),
            ("timestamp", pa.timestamp("us")),
            ("target", pa.float64()),
            ("filled", pa.bool_()),
        ]
    )
    parts: dict[int, list[MadeSeries]] = {}
    for one in sorted(series, key=lambda one: one.key):
        parts.setdefault(shard_number(one.key, shards), []).append(one)
    described = []
    observed = 0
    for number, dealt in sorted(parts.items()):
        columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        for one in dealt:
            for position, name in enumerate(names):
                columns[name] += [one.key[position]] * len(one.values)
            columns["timestamp"] += times_of(one, params).tolist()
            columns["target"] += [float(value) for value in one.values]
            columns["filled"] += list(one.filled or np.isnan(np.asarray(one.values, float)).tolist())
        observed += columns["filled"].count(False)
        path = folder / shard_name(number)
        pq.write_table(pa.table(columns, schema=schema), path, row_group_size=64)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        described.append(Shard(path.name, len(columns["filled"]), len(dealt), path.stat().st_size, digest))
    times = [times_of(one, params)[[0, -1]] for one in series]
    rows = sum(shard.rows for shard in described)
    manifest = Manifest(
        data_version=data_version or text_digest("".join(shard.sha256 for shard in described)),
        first=min(first for first, _ in times).item().isoformat(),
        last=max(last for _, last in times).item().isoformat(),
        frequency=str(params.frequency),
        dimensions=params.dimensions,
        series=len(series),
        rows=rows,
        observed=observed,
        filled=rows - observed,
        missing=0,
        aggregated=0,
        duplicates=0,
        rejected={},
        files={},
        n_shards=shards,
        shards=tuple(described),
    )
    (folder / DATASET_MANIFEST).write_text(manifest.to_json())
    return folder


def times_of(series: MadeSeries, params: ForecastParams) -> NDArray[np.datetime64]:
    """The timestamps of a series' values."""
    return params.grid.range(np.datetime64(series.start, "us"), len(series.values))


def write_forecast(
    path: Path, params: ForecastParams, first: str, forecasts: Mapping[Key, Mapping[str, Sequence[float]]]
) -> Path:
    """A wide forecast: for each series, its types ("p10", …, "mean") with one value for each step from `first`."""
    names = ["item_id", *params.dimensions]
    types = sorted({name for values in forecasts.values() for name in values}, key=lambda name: (name != "mean", name))
    columns: dict[str, list[Any]] = {name: [] for name in [*names, "timestamp", *types]}
    for key in sorted(forecasts):
        steps = len(next(iter(forecasts[key].values())))
        for position, name in enumerate(names):
            columns[name] += [key[position]] * steps
        columns["timestamp"] += params.grid.range(np.datetime64(first, "us"), steps).tolist()
        for name in types:
            columns[name] += [float(value) for value in forecasts[key][name]]
    schema = pa.schema(
        [
            *((name, pa.string()) for name in names),
            ("timestamp", pa.timestamp("us")),
            *((name, pa.float64()) for name in types),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), path)
    return path


def write_last_observed(path: Path, params: ForecastParams, points: Mapping[Key, tuple[str, float]]) -> Path:
    """The last known point of each series."""
    names = ["item_id", *params.dimensions]
    columns: dict[str, list[Any]] = {name: [key[place] for key in points] for place, name in enumerate(names)}
    columns["timestamp"] = [np.datetime64(time, "us").item() for time, _ in points.values()]
    columns["target"] = [value for _, value in points.values()]
    schema = pa.schema(
        [*((name, pa.string()) for name in names), ("timestamp", pa.timestamp("us")), ("target", pa.float64())]
    )
    pq.write_table(pa.table(columns, schema=schema), path)
    return path


@dataclass(frozen=True)
class MadeRelated:
    """Covariates of one series from `start` (a period's first instant) on: by attribute, numbers or texts (None: unknown)."""

    key: Key
    start: str
    values: Mapping[str, Sequence[float] | Sequence[str | None]]


def make_related(
    folder: Path, dataset: Path, series: Sequence[MadeRelated], *, known: Sequence[str] = ()
) -> RelatedManifest:
    """Related time series for a dataset's folder, as an import would leave them; `known` are known in advance."""
    manifest = Manifest.read(dataset)
    grid = Grid(Frequency.parse(manifest.frequency), Alignment(**(manifest.alignment or {})))
    attributes: dict[str, CovariateAttribute] = {}
    rows = []
    for one in series:
        first = int(grid.ordinal(np.array([np.datetime64(one.start, "us")]))[0])
        rows.append(RelatedSeries(one.key, first, {name: np.asarray(each) for name, each in one.values.items()}))
        for name, each in one.values.items():
            kind: Kind = "category" if any(isinstance(value, str) for value in each) else "number"
            last = str(grid.start(first + len(each) - 1).astype("datetime64[s]"))
            before = attributes.get(name)
            latest = last if before is None or before.last is None else max(before.last, last)
            attributes[name] = CovariateAttribute(name, kind, name in known, latest)
    return _write_related(folder, rows, list(attributes.values()), manifest)


def _write_related(
    folder: Path,
    series: Iterable[RelatedSeries],
    attributes: Sequence[CovariateAttribute],
    dataset: Manifest,
) -> RelatedManifest:
    """Write a whole folder from series that fit in memory, for the dataset of a manifest."""
    import pyarrow as pa

    folder.mkdir(parents=True, exist_ok=True)
    alignment = asdict(DEFAULT_ALIGNMENT) if dataset.alignment is None else dict(dataset.alignment)
    grid = Grid(Frequency.parse(dataset.frequency), Alignment(**alignment))
    schema = shard_schema(dataset.dimensions, attributes)
    dealt: dict[int, list[RelatedSeries]] = {}
    for one in series:
        dealt.setdefault(shard_number(one.key, dataset.n_shards), []).append(one)
    shards = []
    for number in sorted(dealt):
        tables = []
        for one in sorted(dealt[number], key=lambda each: each.key):
            length = len(one)
            columns: list[Any] = [[part] * length for part in one.key]
            columns.append(grid.start(one.first + np.arange(length)))
            columns += [
                [None if value is None else str(value) for value in one.values[attribute.name]]
                if attribute.kind == "category"
                else np.asarray(one.values[attribute.name], dtype=np.float64)
                for attribute in attributes
            ]
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)]
            tables.append((pa.table(arrays, schema=schema), 1))
        shards.append(write_related_file(folder / shard_name(number), schema, tables))
    manifest = RelatedManifest(
        data_version=related_version(dataset, attributes, shards),
        dataset_version=dataset.data_version,
        frequency=dataset.frequency,
        alignment=alignment,
        dimensions=dataset.dimensions,
        attributes=tuple(attributes),
        n_shards=dataset.n_shards,
        shards=tuple(shards),
        rows=sum(shard.rows for shard in shards),
        series=sum(shard.series for shard in shards),
    )
    (folder / DATASET_MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def make_metadata(folder: Path, items: Mapping[str, Mapping[str, float | str | None]]) -> MetadataManifest:
    """Item metadata, as an import would leave them: attributes by item."""
    names = list(dict.fromkeys(name for each in items.values() for name in each))
    columns = {name: [items[item].get(name) for item in items] for name in names}
    return write_item_metadata(folder, pa.table({"item_id": list(items), **columns}))


def write_members_of(path: Path, params: ForecastParams, keys: Sequence[Key]) -> Path:
    """The members of a forecast of these series: two, of which the first series prefers the second."""
    from chronos_assets.predictors.calibration import Calibration
    from chronos_assets.predictors.members_file import write_members
    from chronos_assets.predictors.predictor import Predictor, Standing

    predictor = Predictor(
        ("theta", "npts"),
        np.array([0.75, 0.25]),
        Calibration.none(),
        (24,),
        params.horizon,
        items={keys[0]: np.array([0.25, 0.75])},
        leaderboard=(
            Standing("ensemble", 0.1, 0.5, 0.8, None),
            Standing("theta", 0.2, 0.6, 0.75, 0.75, 100.0),
            Standing("npts", 0.3, None, 0.7, 0.25),
        ),
    )
    series = write_last_observed(path.with_name("series.parquet"), params, dict.fromkeys(keys, ("2024-01-01", 1.0)))
    write_members(path, predictor, series, params.dimensions)
    series.unlink()
    return path


@dataclass(frozen=True)
class DatasetFolder:
    """The `ShardSource` of a dataset folder on this machine."""

    path: Path

    @cached_property
    def manifest(self) -> Manifest:
        """Of the dataset; `DatasetError` where there is none."""
        return Manifest.read(self.path)

    def each(self, shards: Iterable[Shard]) -> Iterator[tuple[Shard, Path]]:
        """The shards where they lie."""
        return ((shard, self.path / shard.name) for shard in shards)
