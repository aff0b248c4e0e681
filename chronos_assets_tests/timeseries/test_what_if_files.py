"""A scenario's files: as `Chronos.Export` asks for them."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from chronos_assets.params.exports import ExportParams
from chronos_assets.timeseries.forecast.what_if import write_what_if
from chronos_assets_tests.timeseries.builders import make_params, write_forecast


@pytest.mark.parametrize(
    ("export", "names"),
    [
        (ExportParams(), ["forecast.csv"]),
        (ExportParams(compression="GZIP"), ["forecast.csv.gz"]),
        (ExportParams(max_megabytes=1), ["forecast_part0.csv"]),
        (ExportParams("PARQUET"), []),
    ],
)
def test_a_scenario_is_exported_as_params_json_asks(tmp_path: Path, export: ExportParams, names: list[str]) -> None:
    params, key = make_params(horizon=2), ("=cmd",)
    for name, value in (("made", 3.0), ("base", 2.0)):
        bands = {level: [value] * 2 for level in ("p10", "p50", "p90")}
        write_forecast(tmp_path / f"{name}.parquet", params, "2024-01-05T00:00", {key: bands})
    folder = tmp_path / "staged"
    folder.mkdir()
    comparison = write_what_if(
        folder, "s", "2024-01-04", tmp_path / "made.parquet", tmp_path / "base.parquet", [], export=export
    )
    assert comparison.total == {"what_if": 6.0, "baseline": 4.0, "difference": 2.0}
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "what_if.parquet"])
    assert pq.read_table(folder / "what_if.parquet", partitioning=None)["item_id"].to_pylist() == ["=cmd"] * 2
    if names == ["forecast.csv"]:
        with (folder / "forecast.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [(row["item_id"], row["p50"], row["baseline_p50"]) for row in rows] == [("'=cmd", "3.0", "2.0")] * 2
