"""Series as of windows, as a forecast job reads them ahead, and what it has forecast of them, on disk until it is merged.

Here: the values between reading shards and writing windows. Elsewhere: the order of the job
(`workloads.forecast`), the files that it leaves (`timeseries.forecast.files`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from chronos_assets.predictors.members.base import Covariates
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.forecast.files import ForecastLayout, Record

T = TypeVar("T")


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items in their order, each next one made by another thread while the caller works with the one before.

    Two are held at once: the caller's, and the next. What `items` raises is raised here, when its turn comes; a caller
    that stops early waits for the one that is being made.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        coming = reader.submit(_next_item, items)
        while item := coming.result():
            coming = reader.submit(_next_item, items)
            yield from item


def _next_item(items: Iterator[T]) -> list[T]:
    """The next item; none at the end."""
    return list(islice(items, 1))


@dataclass(frozen=True)
class ForecastTask:
    """One series as of one window."""

    window: int
    key: Key
    context: Floats
    last_timestamp: int  # microseconds; of the last observation
    last_value: float
    non_negative: bool
    covariates: Covariates
    integral: bool = False  # whether its quantiles are whole numbers
    baseline: Covariates | None = None  # what `covariates` are without the scenario of a what-if forecast


class ForecastPiece:
    """Forecasts of one window from one shard, in order of the series, on disk until they are merged.

    Files of fixed-length records are appended to and closed again, so that any number of windows needs no open files.
    """

    def __init__(self, scratch: Path, window: int, shard: int, layout: ForecastLayout) -> None:
        folder = scratch / f"window-{window:05d}"
        self.keys = folder / f"{shard:05d}.keys"
        self.values = folder / f"{shard:05d}.values"
        self.dtype = layout.record

    def append(self, tasks: Sequence[ForecastTask], values: Floats, traits: Floats | None = None) -> None:
        """Add forecasts (n, horizon, columns), and the traits (n, traits) of their series where the layout has some."""
        if not tasks:
            return
        records = np.empty(len(tasks), dtype=self.dtype)
        records["timestamp"] = [task.last_timestamp for task in tasks]
        records["target"] = [task.last_value for task in tasks]
        records["values"] = values.reshape(len(tasks), -1)
        if traits is not None:
            records["traits"] = traits
        self.keys.parent.mkdir(parents=True, exist_ok=True)
        with self.keys.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(task.key, ensure_ascii=False) + "\n" for task in tasks)
        with self.values.open("ab") as file:
            records.tofile(file)

    def read(self) -> Iterator[tuple[Key, Record]]:
        """Everything that was added, in order."""
        if not self.keys.exists():
            return
        at_once = max(1, 1_000_000 // self.dtype.itemsize)
        with self.keys.open(encoding="utf-8") as keys, self.values.open("rb") as values:
            while len(records := np.fromfile(values, dtype=self.dtype, count=at_once)):
                for record in records:
                    yield tuple(json.loads(keys.readline())), record

    def remove(self) -> None:
        """Let go of the files."""
        self.keys.unlink(missing_ok=True)
        self.values.unlink(missing_ok=True)
