"""What a run exports, as params.json asks for it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets.cli.summary import forecast_rows
from chronos_assets.pipeline.forecasts import published_manifest, shown_state
from chronos_assets_tests.defs.line import Line
from chronos_assets_tests.defs.test_current_forecast import make_daily_line, rows, run


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def make_run(root: Path, instance: dg.DagsterInstance, backtest: int = 0, **params: object) -> Line:
    """A line of daily rows, after a run."""
    line = make_daily_line(root / "store", instance, **params)
    line.put("train/a.csv", rows(0, 60))
    run(line, backtest)
    return line


def files(line: Line, key: str) -> list[str]:
    return sorted(path.name for path in (line.root / key).iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize(
    ("export", "names"),
    [
        ({}, ["forecast.csv"]),
        ({"Compression": "GZIP"}, ["forecast.csv.gz"]),
        ({"Compression": "GZIP", "MaxMegabytes": 1}, ["forecast_part0.csv.gz"]),
        ({"ExportFormat": "PARQUET"}, []),
    ],
)
def test_the_forecast_is_exported_as_params_json_asks(
    tmp_path: Path, instance: dg.DagsterInstance, export: dict[str, object], names: list[str]
) -> None:
    line = make_run(tmp_path, instance, Chronos={"Export": export, "Training": {"Strategy": "NONE"}})
    assert files(line, "forecast") == sorted([*names, "forecast.parquet", "manifest.json"])
    manifest = published_manifest(line.group)
    assert manifest is not None
    told = [place for _, place in forecast_rows(line.group, manifest)]
    assert [Path(place).name for place in told] == [*names, "forecast.parquet"]
    assert shown_state(line.state, thorough=True) is not None
    if names and names[0].endswith(".gz"):
        path = line.root / "forecast" / names[0]
        assert gzip.decompress(path.read_bytes()).startswith(b"timestamp,target_value,item_id,type\n")
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        assert shown_state(line.state, thorough=True) is None
