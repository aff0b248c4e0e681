"""The published benchmark sets, read the way the published evaluation cut them. A helper of tests, not one itself."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PUBLISHED_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

# GluonTS's default seasons by the frequency names in the files.
_SEASONS = {"B": 5, "h": 24, "W": 1, "Y": 1, "M": 12, "Q": 4, "D": 1, "15min": 96}


@dataclass(frozen=True)
class BenchmarkSet:
    """Histories, and the actuals (series, steps) that follow them, of one published data set."""

    season: int
    histories: list[NDArray[np.float64]]
    actuals: NDArray[np.float64]


def read_benchmark_set(shared_data: Path, name: str) -> BenchmarkSet:
    """Cut the last window as `published/configs` says: `offset` from the end, `prediction_length` steps."""
    offset, horizon = _window(shared_data, name)
    frequency, series = _read_series(shared_data / "benchmark", name)
    histories = [values[:offset] for values in series]
    actuals = np.stack([values[len(values) + offset :][:horizon] for values in series])
    return BenchmarkSet(_SEASONS[frequency], histories, actuals)


def published_row(shared_data: Path, name: str, model: str) -> tuple[float, float]:
    """(MASE, WQL) as published for a data set; `model` is the start of the result file's name."""
    for table in ("zero-shot", "in-domain"):
        with (shared_data / "benchmark/published/results" / f"{model}-{table}.csv").open(newline="") as lines:
            for row in csv.DictReader(lines):
                if row["dataset"] == name:
                    return float(row["MASE"]), float(row["WQL"])
    raise LookupError(f"{model} has no published row for {name}")


def _window(shared_data: Path, name: str) -> tuple[int, int]:
    """(offset, prediction_length) of a set. The configs are flat lists, read here without a YAML library."""
    for table in ("zero-shot", "in-domain"):
        text = (shared_data / "benchmark/published/configs" / f"{table}.yaml").read_text()
        for entry in text.split("- name: ")[1:]:
            first, *rest = entry.splitlines()
            if first.strip() == name:
                keys = dict(line.strip().split(": ", 1) for line in rest if ": " in line and "#" not in line)
                assert keys["num_rolls"] == "1"
                return int(keys["offset"]), int(keys["prediction_length"])
    raise LookupError(f"{name} is not among the published benchmark sets")


def _read_series(folder: Path, name: str) -> tuple[str, list[NDArray[np.float64]]]:
    if name in ("ETTh", "ETTm"):
        return ("h" if name == "ETTh" else "15min"), _read_ett(folder / "ETT-small.zip", name)
    with gzip.open(folder / f"{name}.jsonl.gz", "rt") as lines:
        records = [json.loads(line) for line in lines]
    return records[0]["freq"], [np.array(record["target"], dtype=np.float64) for record in records]


def _read_ett(archive: Path, name: str) -> list[NDArray[np.float64]]:
    """Every column of both transformers is a series."""
    series = []
    with zipfile.ZipFile(archive) as files:
        for number in (1, 2):
            text = files.read(f"ETT-small/{name}{number}.csv").decode()
            columns = list(zip(*csv.reader(io.StringIO(text)), strict=True))
            series += [np.array(column[1:], dtype=np.float64) for column in columns[1:]]
    return series
