"""Small datasets on disk in the layout that `timeseries.dataset.shards` reads, without going through an import."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets.timeseries.dataset.shards import MANIFEST, Manifest, Shard, shard_name, shard_number

Key = tuple[str, ...]


def waves(count: int = 5, length: int = 96) -> dict[Key, tuple[str, np.ndarray]]:
    """Hourly series from 2024-01-01, four days long."""
    rng = np.random.default_rng(3)
    hours = np.arange(length)
    return {
        (f"item-{number:02d}",): (
            "2024-01-01T00:00:00",
            10 + number + np.sin(hours * np.pi / 12) + rng.normal(size=length) / 5,
        )
        for number in range(count)
    }


def write_dataset(
    folder: Path,
    series: Mapping[Key, tuple[str, Sequence[float]]],
    *,
    frequency: str = "H",
    dimensions: Sequence[str] = (),
    shards: int = 1,
    filled: Mapping[Key, Sequence[int]] | None = None,
) -> Path:
    """Write `series`, key -> (first timestamp, values up to the end of the dataset).

    `filled` names positions that nobody observed; a tail up to the end of the longest series is added as such.
    """
    folder.mkdir(parents=True, exist_ok=True)
    grid = Grid(Frequency.parse(frequency))
    begins = {key: int(grid.ordinal(np.array([start], "datetime64[us]"))[0]) for key, (start, _) in series.items()}
    end = max(begins[key] + len(values) for key, (_, values) in series.items())
    names = ["item_id", *dimensions]
    parts: dict[int, list[pa.Table]] = {}
    for key in sorted(series):
        values = np.asarray(series[key][1], dtype=np.float64)
        length = end - begins[key]
        target = np.concatenate([values, np.full(length - len(values), np.nan)])
        unseen = np.arange(length) >= len(values)
        unseen[list((filled or {}).get(key, ()))] = True
        columns = {name: pa.array([part] * length, pa.string()) for name, part in zip(names, key, strict=True)}
        columns["timestamp"] = pa.array(grid.start(np.arange(begins[key], end)), pa.timestamp("us"))
        columns |= {"target": pa.array(target), "filled": pa.array(unseen)}
        parts.setdefault(shard_number(key, shards), []).append(pa.table(columns))
    listed = []
    for number in sorted(parts):
        table = pa.concat_tables(parts[number])
        pq.write_table(table, folder / shard_name(number))
        listed.append(Shard(shard_name(number), table.num_rows, len(parts[number]), 0, ""))
    first, last = grid.start(np.array([min(begins.values()), end - 1]))
    manifest = Manifest(
        data_version="version",
        first=str(first.astype("datetime64[s]")),
        last=str(last.astype("datetime64[s]")),
        frequency=frequency,
        dimensions=tuple(dimensions),
        series=len(series),
        rows=sum(shard.rows for shard in listed),
        observed=0,
        filled=0,
        missing=0,
        aggregated=0,
        duplicates=0,
        rejected={},
        files={},
        n_shards=shards,
        shards=tuple(listed),
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder
