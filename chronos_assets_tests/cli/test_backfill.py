"""`backfill` and questions about past forecasts: the partitions are Dagster's, the current forecast stays."""

import csv
import errno
import io
import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from chronos_assets.cli import main
from chronos_assets.defs.instance import open_instance
from chronos_assets.platforms.local.tables import LocalTables
from chronos_assets_tests.defs.line import PARAMS, hourly_rows
from chronos_assets_tests.models.tiny import folder_of

pytestmark = pytest.mark.process  # commands run Dagster's graph

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a published forecast of six days of data."""
    folder = tmp_path_factory.mktemp("backfill")
    data = folder / "data"
    (data / "train").mkdir(parents=True)
    (data / "params.json").write_text(json.dumps(PARAMS))
    (data / "train" / "demand.csv").write_text("\n".join(hourly_rows(6)) + "\n")
    with pytest.MonkeyPatch.context() as environment:
        _environment(environment, folder)
        assert main(["run", "--data", str(data), "--backtest-windows", "0"]) == 0
    return folder / "store"


def _environment(environment: pytest.MonkeyPatch, folder: Path) -> None:
    environment.chdir(folder)
    environment.delenv("DAGSTER_HOME", raising=False)
    environment.setenv("CHRONOS_BASE_MODEL", str(folder_of("bolt")))
    environment.setenv("CHRONOS_STORE", str(folder / "store"))


@pytest.fixture
def command(store: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    _environment(monkeypatch, store.parent)

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main(list(arguments))
        return status, *capfd.readouterr()

    return run


def test_past_windows_are_made_scored_shown_by_dagster_and_can_be_asked_for(
    store: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = (store / "forecast" / "manifest.json").read_bytes()
    assert "chronos-assets backfill --from 2024-01-04" in command("query", "client_a", "--as-of", "2024-01-04")[2]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(LocalTables, "refresh", full)
        status, _, errors = command("backfill", "--from", "2024-01-04", "--to", "2024-01-05T12:00")
    assert status == 1
    assert "forecast_tables: " in errors
    # What has been forecast and scored isn't made again, and is shown now.
    status, output, errors = command("backfill", "--from", "2024-01-04", "--to", "2024-01-05T12:00")
    assert status == 0, errors
    assert output.startswith("2 windows, 2024-01-04 … 2024-01-05: 0 forecast, 0 scored")
    with duckdb.connect(store / "tables" / "forecast.duckdb", read_only=True) as tables:
        shown = tables.execute("SELECT DISTINCT as_of FROM accuracy ORDER BY 1").fetchall()
    assert shown == [("2024-01-04",), ("2024-01-05",)]
    assert (store / "forecast" / "manifest.json").read_bytes() == current
    with open_instance(store / ".dagster") as instance:
        for asset in ("forecasts", "forecast_accuracy"):
            made = instance.get_materialized_partitions(dg.AssetKey(asset))
            assert {"2024-01-04", "2024-01-05"} <= made

    status, output, errors = command("query", "client_a", "--as-of", "2024-01-04", "--format", "csv")
    assert status == 0, errors
    rows = list(csv.DictReader(io.StringIO(output)))
    assert list(rows[0]) == ["timestamp", "p10", "p50", "p90", "mean"]
    assert (len(rows), rows[0]["timestamp"]) == (24, "2024-01-05T00:00:00")
    answer = json.loads(command("query", "client_a", "--as-of", "2024-01-04", "--format", "json")[1])
    shown = [point["Value"] for point in answer["Forecast"]["Predictions"]["p50"]]
    assert [float(row["p50"]) for row in rows] == shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "2023-12-31"), "begin with --from 2024-01-01"),
        (("--from", "2024-01-02", "--to", "2024-02-01"), "end with --to 2024-01-06"),
        (("--from", "2024-01-05", "--to", "2024-01-02"), "swap them"),
        (("--from", "2031-01-01"), "after the window of the last observation"),
        (("--from", "yesterday"), "--from: 'yesterday' is not the key of a daily partition"),
    ],
)
def test_windows_that_can_not_be_forecast_are_refused_with_those_that_can(
    command: Command, arguments: tuple[str, ...], words: str
) -> None:
    status, _, errors = command("backfill", *arguments)
    assert status == 1
    assert words in errors


def test_a_window_that_is_none_is_refused(command: Command) -> None:
    status, _, errors = command("query", "client_a", "--as-of", "2024-01")
    assert status == 1
    assert "'2024-01' is not the key of a daily partition" in errors
