"""Small benchmark folders. A helper of tests, not one itself."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def write_set(folder: Path, name: str, series: Sequence[Sequence[float | None]], frequency: str = "M") -> Path:
    """`<name>.jsonl.gz` as those of the shared data."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for number, target in enumerate(series):
            record = {"item_id": str(number), "start": "2000-01-01", "freq": frequency, "target": list(target)}
            file.write(json.dumps(record) + "\n")
    return path


def write_published(folder: Path, scores: Mapping[str, Mapping[str, tuple[float, float]]]) -> None:
    """Published zero-shot results: model -> set -> (WQL, MASE)."""
    results = folder / "published" / "results"
    results.mkdir(parents=True, exist_ok=True)
    for model, sets in scores.items():
        rows = [f"{name},{model},{mase},{wql}" for name, (wql, mase) in sets.items()]
        (results / f"{model}-zero-shot.csv").write_text("\n".join(["dataset,model,MASE,WQL", *rows]) + "\n")


def noisy_season(count: int, length: int, season: int = 12, seed: int = 0) -> list[list[float]]:
    """Series of a season around a level, in noise."""
    rng = np.random.default_rng(seed)
    steps = np.arange(length)
    levels = rng.uniform(20, 100, (count, 1))
    values = levels * (1 + 0.3 * np.sin(2 * np.pi * steps / season)) + rng.normal(0, 3, (count, length))
    return [[round(value, 3) for value in row] for row in values.tolist()]
