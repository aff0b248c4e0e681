"""A small store as the pipeline leaves it: hourly series of two shops, two forecasts, the older one scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronos_assets.params.forecast import ForecastParams, to_document
from chronos_assets.platforms.local.publishing import publish_directory
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.local.tables import LocalTables
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.forecast.what_if import write_what_if
from chronos_assets.timeseries.scoring.accuracy import evaluate_partition
from chronos_assets.timeseries.scoring.anomalies import write_anomalies
from chronos_assets.timeseries.scoring.metrics_file import write_metrics
from chronos_assets_tests.timeseries.builders import (
    DatasetFolder,
    Key,
    MadeRelated,
    MadeSeries,
    make_metadata,
    make_params,
    make_related,
    write_dataset,
    write_forecast,
    write_members_of,
)

# Markdown, HTML and a formula in names: they are data.
EVIL = '=<b>x</b>[a](http://evil.example) :red["q"]'
KEYS: tuple[Key, ...] = (("bread", "north"), ("bread", "south"), ("milk", "north"), (EVIL, "north"))
DAYS, STEPS = 5, 48
OLD, NEW = "2024-01-03", "2024-01-04"


def write_store(root: Path, keys: tuple[Key, ...] = KEYS) -> ForecastParams:
    """Publish everything but the SQL tables; the parameters."""
    clock = {"timestamp_format": "yyyy-MM-dd HH:mm:ssX", "time_zone": "Europe/Berlin"}
    params = make_params(dimensions=("shop",), horizon=STEPS, **clock)
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.json").write_text(json.dumps(to_document(params)))
    hours = np.arange(24 * DAYS)
    series = [
        MadeSeries(key, "2024-01-01", 20 + 10 * place + 5 * np.sin(hours / 24 * 2 * np.pi))
        for place, key in enumerate(keys)
    ]
    series[0].values[80] = 500.0  # type: ignore[index] - an array
    staged = root / ".staged"
    write_dataset(staged, params, series)
    version = Manifest.read(staged).data_version
    publish_directory(root / "dataset/target_time_series", staged)
    for as_of, first in ((OLD, "2024-01-04T00:00"), (NEW, "2024-01-05T00:00")):
        # The milk is forecast too high, and by more each day.
        forecasts = {
            key: _band(20.0 + 10 * place + (8 if key[0] == "milk" else 0) * (2 if as_of == NEW else 1))
            for place, key in enumerate(keys)
        }
        for folder in (f"history/as_of={as_of}", *(["forecast"] if as_of == NEW else [])):
            write_forecast(staged / "forecast.parquet", params, first, forecasts)
            (staged / "manifest.json").write_text(json.dumps(_manifest(as_of, len(keys)) | {"data_version": version}))
            publish_directory(root / folder, staged)
        staged.mkdir()
        write_members_of(staged / "members.parquet", params, list(keys))
        publish_directory(root / f"members/as_of={as_of}", staged)
    _write_covariates(root, keys)
    write_forecast(staged / "scenario.parquet", params, "2024-01-05T00:00", {keys[2]: _band(77.0)})
    write_what_if(staged, "cheaper", NEW, staged / "scenario.parquet", root / "forecast/forecast.parquet", ["shop"])
    (staged / "scenario.parquet").unlink()
    (staged / "manifest.json").write_text(json.dumps({"made_from": [str(open_store(root).shown("forecast"))]}))
    publish_directory(root / "what_if_forecasts/scenario=cheaper", staged)
    staged.mkdir()
    hours_ahead = np.array(["2024-01-05T00", "2024-01-05T01"] * 2, "datetime64[us]")
    explained = {
        "item_id": ["milk"] * 4, "shop": ["north"] * 4, "timestamp": hours_ahead,
        "attribute": ["price", "price", "event", "event"], "impact": [-1.0, -0.5, 0.2, 0.1],
        "impact_units": [-10.0, -5.0, 2.0, 1.0], "weight": [0.4] * 4,
    }  # fmt: skip
    pq.write_table(pa.table(explained), staged / "explanations.parquet")
    publish_directory(root / f"explanations/as_of={NEW}", staged)
    _write_sums(staged)
    publish_directory(root / f"levels/as_of={NEW}", staged)
    report = evaluate_partition(
        root / f"history/as_of={OLD}/forecast.parquet",
        DatasetFolder(root / "dataset/target_time_series"),
        params,
        np.datetime64("2024-01-03T23:00", "us"),
    )
    staged.mkdir()
    write_metrics(report, staged / "metrics.parquet")
    publish_directory(root / f"accuracy/as_of={OLD}", staged)
    staged.mkdir()
    write_anomalies(report.anomalies, report.series, report.timestamps, params.dimensions, staged / "anomalies.parquet")
    publish_directory(root / f"anomalies/as_of={OLD}", staged)
    notice = {
        "outcome": "failure", "time": "2024-01-05T01:00:00+00:00", "job": "score_forecasts", "as_of": OLD, "asset": "forecasts",
        "reason": "the disk is full: make room", "run_id": "1",
    }  # fmt: skip
    (root / "notices.jsonl").write_text(json.dumps(notice) + "\n")
    return params


def full_store(root: Path) -> ForecastParams:
    """The same, with the SQL tables."""
    params = write_store(root)
    LocalTables().refresh(open_store(root), params)
    return params


def _write_covariates(root: Path, keys: tuple[Key, ...]) -> None:
    """A price that is known in advance, an event that isn't, and the brand of each item but the last."""
    hours = 24 * DAYS + STEPS
    series = [
        MadeRelated(
            key,
            "2024-01-01",
            {"price": [float(hour % 24) + 1 for hour in range(hours)], "event": ["fair", None] * (hours // 2)},
        )
        for key in keys[:3]
    ]
    dataset, staged = root / "dataset/target_time_series", root / ".staged"
    make_related(staged, dataset, series, known=("price",))
    publish_directory(root / "dataset/related_time_series", staged)
    make_metadata(staged, {"bread": {"brand": "Acme", "weight": 0.5}, "milk": {"brand": "Dairy <b>", "weight": None}})
    publish_directory(root / "dataset/item_metadata", staged)


def _write_sums(staged: Path) -> None:
    """The total, and the sums of two brands."""
    nodes = [("total", "total", 120.0), ("brand", "Acme", 50.0), ("brand", "Dairy <b>", 70.0)]
    hours = np.datetime64("2024-01-05T00", "us") + np.arange(STEPS) * np.timedelta64(1, "h")
    columns = {
        "level": [node[0] for node in nodes for _ in range(STEPS)],
        "value": [node[1] for node in nodes for _ in range(STEPS)],
        "timestamp": np.tile(hours, len(nodes)),
        "series": [2] * STEPS * len(nodes),
        "mean": [node[2] for node in nodes for _ in range(STEPS)],
        **{
            name: [node[2] + off for node in nodes for _ in range(STEPS)]
            for name, off in (("p10", -5), ("p50", 0), ("p90", 5))
        },
    }
    staged.mkdir()
    pq.write_table(pa.table(columns), staged / "levels.parquet")


def _band(value: float) -> dict[str, list[float]]:
    return {"p10": [value - 5] * STEPS, "p50": [value] * STEPS, "p90": [value + 5] * STEPS}


def _manifest(as_of: str, series: int) -> dict[str, object]:
    return {
        "as_of": as_of, "context_end": f"{as_of}T23:00:00", "forecast_start": "2024-01-05T00:00:00",
        "forecast_end": "2024-01-06T23:00:00", "series": series, "horizon": STEPS, "model": {"reference": "tiny/model"},
        "dimensions": ["shop"], "columns": ["p10", "p50", "p90"],
    }  # fmt: skip
