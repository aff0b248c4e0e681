"""Series as of windows, as a forecast job passes them on, and what it has forecast of them, on disk until it is merged.

Here: the values between reading shards and writing windows. Elsewhere: the order of the job
(`workloads.forecast`), the files that it leaves (`timeseries.forecast.files`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chronos_assets.predictors.members.base import Covariates, Floats
from chronos_assets.timeseries.forecast.files import ForecastLayout, Key, Record


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

    def append(self, tasks: Sequence[ForecastTask], values: Floats) -> None:
        """Add forecasts (n, horizon, columns)."""
        if not tasks:
            return
        records = np.empty(len(tasks), dtype=self.dtype)
        records["timestamp"] = [task.last_timestamp for task in tasks]
        records["target"] = [task.last_value for task in tasks]
        records["values"] = values.reshape(len(tasks), -1)
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
