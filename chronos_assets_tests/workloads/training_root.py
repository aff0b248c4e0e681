"""The folders of a training job, laid out as SageMaker lays them out, with small data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chronos_assets.timeseries.dataset.gluonts_arrow import write_arrow
from chronos_assets_tests.workloads.small_dataset import write_dataset

HORIZON = 6
PERIODS = 140

SMALL: Mapping[str, Any] = {
    "max_steps": 6,
    "batch_size": 4,
    "context_length": 32,
    "prediction_length": 8,
    "learning_rate": 0.001,
    "eval_every": 3,
    "checkpoint_every": 3,
    "log_every": 2,
    "horizon": HORIZON,
    "frequency": "H",
    "threads": 1,
}
"""Parameters of a job that ends in a second."""


def seasons(count: int = 4, periods: int = PERIODS) -> dict[tuple[str, ...], tuple[str, list[float]]]:
    """Hourly series with a season of 8 hours, by key."""
    time = np.arange(periods)
    rng = np.random.default_rng(5)
    return {
        (f"item {number}",): (
            "2024-01-01T00:00:00",
            (100 + 10 * np.sin(2 * np.pi * time / 8 + number) + rng.normal(size=periods)).tolist(),
        )
        for number in range(count)
    }


def write_synthetic(folder: Path, *, count: int = 5, length: int = 80, version: str = "made up") -> Path:
    """A synthetic dataset: three splits and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, split in enumerate(("train", "validation", "test")):
        rng = np.random.default_rng(number)
        entries = [(f"{split} {i}", np.datetime64("2000-01-01", "s"), rng.normal(size=length)) for i in range(count)]
        write_arrow(folder / f"{split}.arrow", entries)
    (folder / "manifest.json").write_text(json.dumps({"data_version": version}))
    return folder


def lay_out(
    root: Path,
    parameters: Mapping[str, Any],
    *,
    target: bool = True,
    synthetic: bool = False,
    model: Path | None = None,
) -> Path:
    """The root of a training job: hyperparameters as strings, and the channels asked for."""
    config, data = root / "input" / "config", root / "input" / "data"
    config.mkdir(parents=True)
    data.mkdir(parents=True)
    strings = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    (config / "hyperparameters.json").write_text(json.dumps(strings))
    if target:
        write_dataset(data / "target", seasons(), shards=2)
    if synthetic:
        write_synthetic(data / "synthetic")
    if model is not None:
        (data / "model").symlink_to(model, target_is_directory=True)
    channels = {
        path.name: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"} for path in data.iterdir()
    }
    (config / "inputdataconfig.json").write_text(json.dumps(channels))
    resources = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
    (config / "resourceconfig.json").write_text(json.dumps(resources))
    return root
