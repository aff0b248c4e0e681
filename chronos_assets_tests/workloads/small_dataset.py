"""Datasets for tests of workloads: series by key, from a first timestamp to one common end."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from chronos_assets.calendar.frequencies import Frequency, Grid
from chronos_assets_tests.timeseries import builders
from chronos_assets_tests.timeseries.builders import Key


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
    grid = Grid(Frequency.parse(frequency))
    begins = {key: int(grid.ordinal(np.array([start], "datetime64[us]"))[0]) for key, (start, _) in series.items()}
    end = max(begins[key] + len(values) for key, (_, values) in series.items())
    made = []
    for key, (start, values) in series.items():
        length = end - begins[key]
        unseen = np.arange(length) >= len(values)
        unseen[list((filled or {}).get(key, ()))] = True
        target = [*values, *[math.nan] * (length - len(values))]
        made.append(builders.MadeSeries(key, start, target, unseen.tolist()))
    params = builders.make_params(frequency=frequency, dimensions=tuple(dimensions))
    return builders.write_dataset(folder, params, made, shards=shards, data_version="version")
