"""The DuckDB database: what is in it, that it is always readable, and that data never become SQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from chronos_assets.params.forecast import ForecastParams, to_document
from chronos_assets.params.sections import RESERVED, RESERVED_PATTERN
from chronos_assets.platforms.local import tables
from chronos_assets.platforms.local.publishing import publish_directory
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.local.tables import LocalTables
from chronos_assets.platforms.tables import (
    TABLES,
    accuracy_columns,
    anomalies_columns,
    explanation_columns,
    forecast_columns,
    members_columns,
    train_columns,
    what_if_columns,
)
from chronos_assets.store_layout import DATABASE_KEY
from chronos_assets.timeseries.scoring.accuracy import evaluate_partition
from chronos_assets.timeseries.scoring.anomalies import write_anomalies
from chronos_assets.timeseries.scoring.metrics_file import write_metrics
from chronos_assets_tests import forks
from chronos_assets_tests.timeseries.builders import (
    DatasetFolder,
    Key,
    MadeSeries,
    make_params,
    write_dataset,
    write_forecast,
    write_members_of,
)

FIRST = "2024-01-03T00:00"
EVIL = "'; DROP TABLE train; --"


def band(value: float = 20.0) -> dict[str, list[float]]:
    return {"p10": [value - 1] * 3, "p50": [value] * 3, "p90": [value + 1] * 3}


def publish_dataset(root: Path, params: ForecastParams, keys: list[Key], hours: int = 51) -> None:
    staged = root / ".staged"
    series = [MadeSeries(key, "2024-01-01", np.arange(float(hours)) + place) for place, key in enumerate(keys)]
    series[0] = MadeSeries(
        keys[0], "2024-01-01", [float("nan"), 7.0, *range(hours - 2)], [True, True] + [False] * (hours - 2)
    )
    publish_directory(root / "dataset/target_time_series", write_dataset(staged, params, series))


def publish_history(root: Path, params: ForecastParams, as_of: str, forecasts: dict[Key, Any]) -> None:
    staged = root / ".staged"
    write_forecast(staged / "forecast.parquet", params, FIRST, forecasts)
    publish_directory(root / f"history/as_of={as_of}", staged)


def publish_current(root: Path, params: ForecastParams, forecasts: dict[Key, Any]) -> None:
    staged = root / ".staged"
    write_forecast(staged / "forecast.parquet", params, FIRST, forecasts)
    publish_directory(root / "forecast", staged)


def publish_accuracy(root: Path, params: ForecastParams, as_of: str) -> None:
    report = evaluate_partition(
        root / f"history/as_of={as_of}/forecast.parquet",
        DatasetFolder(root / "dataset/target_time_series"),
        params,
        np.datetime64("2024-01-02T23:00", "us"),
    )
    staged = root / ".staged"
    staged.mkdir()
    write_metrics(report, staged / "metrics.parquet")
    publish_directory(root / f"accuracy/as_of={as_of}", staged)
    staged.mkdir()
    write_anomalies(report.anomalies, report.series, report.timestamps, params.dimensions, staged / "anomalies.parquet")
    publish_directory(root / f"anomalies/as_of={as_of}", staged)


def publish_members(root: Path, params: ForecastParams, as_of: str, keys: list[Key]) -> None:
    staged = root / ".staged"
    staged.mkdir()
    write_members_of(staged / "members.parquet", params, keys)
    publish_directory(root / f"members/as_of={as_of}", staged)


def full_store(root: Path, params: ForecastParams, keys: list[Key]) -> None:
    publish_dataset(root, params, keys)
    forecasts = {key: band() for key in keys}
    publish_current(root, params, forecasts)
    publish_history(root, params, "2024-01-02", forecasts)
    publish_accuracy(root, params, "2024-01-02")
    publish_members(root, params, "2024-01-02", keys)


def refresh(root: Path, params: ForecastParams) -> dict[str, int]:
    return LocalTables().refresh(open_store(root), params)


def ask(root: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(root / DATABASE_KEY), read_only=True) as connection:
        return connection.execute(sql, list(parameters)).fetchall()


def columns(root: Path, table: str) -> list[str]:
    return [row[0] for row in ask(root, f"DESCRIBE {table}")]


def run_with_pipes(code: str, root: Path) -> subprocess.Popen[str]:
    """A Python process that gets the database's path; its output is read line by line."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", code, str(root / DATABASE_KEY)], text=True, **pipes)


def test_an_hour_that_a_killed_run_left_under_both_names_counts_once(tmp_path: Path) -> None:
    params = make_params()
    for name, value in (("2024-01-02-05:00", 1.0), ("2024-01-02-05%3A00", 2.0), ("2024-01-02-06:00", 3.0)):
        publish_history(tmp_path, params, name, {("a",): band(value)})
    refresh(tmp_path, params)
    found = ask(tmp_path, "SELECT as_of, count(*), max(p50) FROM forecast_history GROUP BY as_of ORDER BY as_of")
    assert found == [("2024-01-02-05:00", 3, 2.0), ("2024-01-02-06:00", 3, 3.0)]


def test_every_table_and_the_view_hold_the_stores_files(tmp_path: Path) -> None:
    params = make_params()
    full_store(tmp_path, params, [("a",), ("b",)])
    rows = refresh(tmp_path, params)
    assert rows == {
        "train": 102,
        "forecast": 6,
        "forecast_history": 6,
        "accuracy": 42,
        "anomalies": 6,
        "members": 3 + 4,
        "what_if_forecasts": 0,
        "forecast_explanations": 0,
        "forecast_levels": 0,
        "leaderboard": 3,
        "weights": 4,
        "best_member": 2,
        "forecast_vs_history": 101 + 18,
    }
    assert columns(tmp_path, "train") == ["item_id", "timestamp", "target", "filled"]
    assert columns(tmp_path, "forecast") == ["item_id", "timestamp", "p10", "p50", "p90"]
    assert columns(tmp_path, "forecast_history") == ["as_of", "item_id", "timestamp", "p10", "p50", "p90"]
    assert columns(tmp_path, "accuracy") == [
        "as_of", "level", "item_id", "segment_by", "segment_value", "metric", "value", "seasonal_naive", "baseline",
        "points", "excluded",
    ]  # fmt: skip
    assert columns(tmp_path, "anomalies") == [
        "as_of", "item_id", "timestamp", "target", "band_low", "band_middle", "band_high", "deviation",
    ]  # fmt: skip
    assert columns(tmp_path, "forecast_vs_history") == ["item_id", "timestamp", "type", "value"]
    # What is missing is NULL, so that SQL's own averages are right.
    assert ask(tmp_path, "SELECT count(*), count(target), min(target) FROM train WHERE item_id = 'a'") == [
        (51, 50, 0.0)
    ]
    assert ask(tmp_path, "SELECT DISTINCT as_of FROM forecast_history") == [("2024-01-02",)]
    assert ask(
        tmp_path, "SELECT type, count(*), max(value) FROM forecast_vs_history WHERE item_id = 'b' GROUP BY 1 ORDER BY 1"
    ) == [("history", 51, 51.0), ("p10", 3, 19.0), ("p50", 3, 20.0), ("p90", 3, 21.0)]
    assert ask(tmp_path, "SELECT points FROM accuracy WHERE level = 'all' AND metric = 'wql'") == [(6,)]


def test_the_members_of_forecasts_are_a_leaderboard_and_weights_of_each_series(tmp_path: Path) -> None:
    params = make_params(dimensions=("Store",))
    publish_members(tmp_path, make_params(), "2024-01-01", [("a",)])
    publish_members(tmp_path, params, "2024-01-02", [("a", "x"), (EVIL, "y")])
    refresh(tmp_path, params)
    assert ask(tmp_path, "SELECT * FROM leaderboard WHERE as_of = '2024-01-02' ORDER BY member_rank") == [
        ("2024-01-02", 0, "ensemble", None, 0.1, 0.5, 0.8),
        ("2024-01-02", 1, "theta", 0.75, 0.2, 0.6, 0.75),
        ("2024-01-02", 2, "npts", 0.25, 0.3, None, 0.7),
    ]
    assert columns(tmp_path, "weights") == ["as_of", "item_id", "Store", "member_rank", "member", "member_weight"]
    assert ask(tmp_path, "SELECT * FROM weights WHERE item_id = 'a' ORDER BY as_of, member_rank") == [
        ("2024-01-01", "a", None, 1, "npts", 0.75),
        ("2024-01-01", "a", None, 2, "theta", 0.25),
        ("2024-01-02", "a", "x", 1, "npts", 0.75),
        ("2024-01-02", "a", "x", 2, "theta", 0.25),
    ]
    assert ask(tmp_path, "SELECT * FROM best_member WHERE as_of = '2024-01-02' ORDER BY 3") == [
        ("2024-01-02", "a", "x", "npts", 0.75),
        ("2024-01-02", EVIL, "y", "theta", 0.75),
    ]


def test_what_is_missing_is_null_in_a_dataset_of_one_file_too(tmp_path: Path) -> None:
    publish_dataset(tmp_path, make_params(), [("a",)])
    refresh(tmp_path, make_params())
    assert ask(tmp_path, "SELECT count(*), count(target), avg(target) FROM train") == [(51, 50, 1183 / 50)]


def test_a_store_with_nothing_in_it_has_empty_tables_with_the_columns_to_come(tmp_path: Path) -> None:
    params = make_params(dimensions=("store",), quantiles=(0.05, 0.5), mean=True)
    assert refresh(tmp_path, params) == dict.fromkeys(TABLES, 0)
    empty = {table: columns(tmp_path, table) for table in TABLES}
    keys: list[Key] = [("a", "x")]
    forecasts = {keys[0]: {"mean": [1.0] * 3, "p05": [1.0] * 3, "p50": [1.0] * 3}}
    publish_dataset(tmp_path, params, keys)
    publish_current(tmp_path, params, forecasts)
    publish_history(tmp_path, params, "2024-01-02", forecasts)
    publish_accuracy(tmp_path, params, "2024-01-02")
    publish_members(tmp_path, params, "2024-01-02", keys)
    # Without a central band nothing is outside of one.
    empty_still = {table for table, rows in refresh(tmp_path, params).items() if not rows}
    assert empty_still == {"anomalies", "what_if_forecasts", "forecast_explanations", "forecast_levels"}
    assert {table: columns(tmp_path, table) for table in TABLES} == empty
    types = ask(tmp_path, "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'accuracy'")
    assert dict(types)["points"] == "BIGINT"


def test_no_dimension_may_be_called_as_a_column_of_the_tables() -> None:
    types = ("p10", "p50", "mean")
    described = [
        train_columns(()), forecast_columns((), types), accuracy_columns(()), anomalies_columns(()), members_columns(()),
        what_if_columns((), types), explanation_columns(()),
    ]  # fmt: skip
    names = {name for columns in described for name in columns}
    assert not {name for name in names - RESERVED if not RESERVED_PATTERN.fullmatch(name)}


def test_items_and_dimensions_are_data_and_never_sql(tmp_path: Path) -> None:
    params = make_params(dimensions=("select", "Order"))
    keys: list[Key] = [(EVIL, '"', "'"), ("a", EVIL, "*"), ("a", "", "\n")]
    full_store(tmp_path, params, keys)
    publish_history(tmp_path, params, "it's [odd]*", {key: band() for key in keys})
    rows = refresh(tmp_path, params)
    assert (rows["train"], rows["forecast_history"]) == (153, 18)
    assert sorted(ask(tmp_path, 'SELECT DISTINCT item_id, "select", "Order" FROM forecast_vs_history')) == sorted(keys)
    assert ask(tmp_path, "SELECT count(*) FROM accuracy WHERE item_id = ?", EVIL) == [(14,)]
    assert ask(tmp_path, "SELECT DISTINCT as_of FROM forecast_history ORDER BY 1") == [
        ("2024-01-02",),
        ("it's [odd]*",),
    ]


def test_a_store_in_an_oddly_named_folder_works(tmp_path: Path) -> None:
    root = tmp_path / "st*re [1]'s"
    root.mkdir()
    full_store(root, make_params(), [("a",)])
    assert refresh(root, make_params())["forecast_history"] == 3


def test_partitions_forecast_with_other_quantiles_share_one_table(tmp_path: Path) -> None:
    params = make_params()
    publish_history(tmp_path, params, "2024-01-01", {("a",): {"p50": [1.0] * 3, "p95": [2.0] * 3}})
    publish_history(tmp_path, params, "2024-01-02", {("a",): band() | {"mean": [1.0] * 3}})
    refresh(tmp_path, params)
    assert columns(tmp_path, "forecast_history") == [
        "as_of", "item_id", "timestamp", "mean", "p10", "p50", "p90", "p95",
    ]  # fmt: skip
    assert ask(tmp_path, "SELECT as_of, max(p10), max(p95) FROM forecast_history GROUP BY 1 ORDER BY 1") == [
        ("2024-01-01", None, 2.0),
        ("2024-01-02", 19.0, None),
    ]


def test_a_dimension_added_later_is_null_in_what_was_made_before(tmp_path: Path) -> None:
    publish_current(tmp_path, make_params(), {("a",): band()})
    params = make_params(dimensions=("store",))
    publish_dataset(tmp_path, params, [("a", "x")])
    refresh(tmp_path, params)
    assert columns(tmp_path, "forecast_vs_history") == ["item_id", "store", "timestamp", "type", "value"]
    assert ask(tmp_path, "SELECT DISTINCT store FROM forecast_vs_history WHERE type = 'p50'") == [(None,)]


def test_tables_and_columns_are_described_in_the_database_itself(tmp_path: Path) -> None:
    params = make_params(dimensions=("store",), mean=True)
    refresh(tmp_path, params)
    by_column = {
        (table, column): comment
        for table, column, comment in ask(tmp_path, "SELECT table_name, column_name, comment FROM duckdb_columns()")
    }
    for table in TABLES:
        assert [name for name in columns(tmp_path, table) if not by_column[table, name]] == []
    assert by_column["forecast", "p90"] == "Quantile: the value stays below it with a probability of 90 %"
    by_table = dict(
        ask(
            tmp_path,
            "SELECT table_name, comment FROM duckdb_tables() UNION ALL SELECT view_name, comment FROM duckdb_views()",
        )
    )
    assert [table for table in TABLES if not by_table[table]] == []


def test_nothing_is_written_while_nothing_has_changed(tmp_path: Path) -> None:
    params = make_params()
    full_store(tmp_path, params, [("a",)])
    rows = refresh(tmp_path, params)
    before = (tmp_path / DATABASE_KEY).stat()
    publish_current(tmp_path, params, {("a",): band()})  # the same forecast again
    assert refresh(tmp_path, params) == rows
    after = (tmp_path / DATABASE_KEY).stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)


def test_every_change_is_seen(tmp_path: Path) -> None:
    params = make_params()
    full_store(tmp_path, params, [("a",), ("b",)])
    refresh(tmp_path, params)
    for change in ("forecast", "history", "accuracy", "members", "dataset", "params", "gone"):
        before = (tmp_path / DATABASE_KEY).stat()
        match change:
            case "forecast":
                publish_current(tmp_path, params, {("a",): band(21.0), ("b",): band()})
            case "history":
                publish_history(tmp_path, params, "2024-01-03", {("a",): band()})
            case "accuracy":
                publish_history(tmp_path, params, "2024-01-02", {("a",): band(22.0)})
                publish_accuracy(tmp_path, params, "2024-01-02")
            case "members":
                publish_members(tmp_path, params, "2024-01-02", [("b",), ("a",)])
            case "dataset":
                publish_dataset(tmp_path, params, [("a",), ("b",), ("c",)])
            case "params":
                params = make_params(quantiles=(0.5,))
            case "gone":
                (tmp_path / "history/as_of=2024-01-02").unlink()
        refresh(tmp_path, params)
        assert (tmp_path / DATABASE_KEY).stat().st_ino != before.st_ino, change


def test_a_reader_goes_on_reading_what_it_opened_while_the_next_one_sees_the_new(tmp_path: Path) -> None:
    params = make_params()
    full_store(tmp_path, params, [("a",)])
    refresh(tmp_path, params)
    # Within one process DuckDB shares an open database by its path, so the reader is another process.
    code = (
        "import duckdb, sys\n"
        "connection = duckdb.connect(sys.argv[1], read_only=True)\n"
        "connection.execute('SELECT 1').fetchall()\n"
        "print('open', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(connection.execute('SELECT max(p50) FROM forecast').fetchall()[0][0], flush=True)\n"
    )
    reader = run_with_pipes(code, tmp_path)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    publish_current(tmp_path, params, {("a",): band(99.0)})
    refresh(tmp_path, params)
    assert ask(tmp_path, "SELECT max(p50) FROM forecast") == [(99.0,)]
    assert reader.communicate("\n")[0] == "20.0\n"


@pytest.mark.parametrize("killed", [False, True])
def test_a_client_that_writes_neither_stops_a_refresh_nor_leaves_anything(tmp_path: Path, killed: bool) -> None:
    params = make_params()
    full_store(tmp_path, params, [("a",)])
    refresh(tmp_path, params)
    code = (
        "import duckdb, sys\n"
        "connection = duckdb.connect(sys.argv[1])\n"
        "connection.execute('DELETE FROM train')\n"
        "print('open', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    writer = run_with_pipes(code, tmp_path)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "open\n"
    if killed:  # its log stays behind, and would be replayed by whoever opens the database next
        writer.kill()
        writer.wait()
        assert (tmp_path / f"{DATABASE_KEY}.wal").exists()
    assert refresh(tmp_path, params)["train"] == 51
    assert ask(tmp_path, "SELECT count(*) FROM train") == [(51,)]
    if not killed:
        writer.communicate("\n")
    assert ask(tmp_path, "SELECT count(*) FROM train") == [(51,)]
    assert sorted(path.name for path in (tmp_path / "tables").glob("[!.]*")) == ["forecast.duckdb"]


def test_a_damaged_database_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / DATABASE_KEY).write_bytes(b"not a database")
    assert refresh(tmp_path, make_params()) == dict.fromkeys(TABLES, 0)


def test_files_replaced_while_they_are_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_params()
    full_store(tmp_path, params, [("a",)])
    build, calls = tables._build, []

    def disturbed(*arguments: Any) -> dict[str, int]:
        calls.append(arguments)
        if len(calls) == 1:
            # Two newer forecasts: the version that was listed is gone.
            for value in (30.0, 31.0):
                publish_current(tmp_path, params, {("a",): band(value)})
        return build(*arguments)

    monkeypatch.setattr(tables, "_build", disturbed)
    refresh(tmp_path, params)
    assert len(calls) == 2
    assert ask(tmp_path, "SELECT max(p50) FROM forecast") == [(31.0,)]


def test_a_file_that_can_not_be_read_is_an_error_and_the_old_tables_stay(tmp_path: Path) -> None:
    params = make_params()
    full_store(tmp_path, params, [("a",)])
    refresh(tmp_path, params)
    staged = tmp_path / ".staged"
    staged.mkdir()
    (staged / "forecast.parquet").write_bytes(b"not parquet")
    publish_directory(tmp_path / "forecast", staged)
    with pytest.raises(duckdb.Error, match=r"forecast\.parquet"):
        refresh(tmp_path, params)
    assert ask(tmp_path, "SELECT count(*) FROM forecast") == [(3,)]
    assert sorted(path.name for path in (tmp_path / "tables").glob("[!.]*")) == ["forecast.duckdb"]


# A refresh that kills itself before or after one of its steps.
SUICIDE = """
import json, os, signal, sys
from pathlib import Path
from chronos_assets.params.reader import parse_params
from chronos_assets.platforms.local import tables
from chronos_assets.platforms.local.store import open_store

root, document, step, when = sys.argv[1:]
original = getattr(tables, step)

def killed(*arguments, **options):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    original(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(tables, step, killed)
tables.LocalTables().refresh(open_store(Path(root)), parse_params(json.loads(document)))
"""

STEPS = ["_create_train", "_count_rows", "_build", "_swap_in", "sync"]


def test_a_refresh_killed_at_any_step_leaves_the_old_or_the_new_tables(tmp_path: Path) -> None:
    params = make_params()
    full_store(tmp_path, params, [("a",)])
    refresh(tmp_path, params)
    for number, (step, when) in enumerate(product(STEPS, ("before", "after"))):
        value = 30.0 + number
        old = ask(tmp_path, "SELECT max(p50) FROM forecast")
        publish_current(tmp_path, params, {("a",): band(value)})
        arguments = (str(tmp_path), json.dumps(to_document(params)), step, when)
        process = forks.run(forks.CODE, SUICIDE, *arguments, folder=tmp_path, environment=os.environ)
        assert process.returncode == -signal.SIGKILL, process.stderr
        assert ask(tmp_path, "SELECT max(p50) FROM forecast") in (old, [(value,)]), (step, when)
        refresh(tmp_path, params)
        assert ask(tmp_path, "SELECT max(p50) FROM forecast") == [(value,)], (step, when)
        left = sorted(path.name for path in (tmp_path / "tables").glob("[!.]*"))
        assert left == ["forecast.duckdb"], (step, when)


# Opens the database again and again; every opening must see a forecast that belongs to its train table.
READER = """
import duckdb, sys
opened = 0
print("reading", flush=True)
while True:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        versions = connection.execute(
            "SELECT (SELECT max(p50) FROM forecast), (SELECT count(DISTINCT item_id) FROM train)"
        ).fetchall()[0]
        assert versions[0] == versions[1], versions
    opened += 1
    if versions[1] == 5:
        break
print(opened)
"""


def test_readers_see_one_version_or_the_next_while_refreshes_are_running(tmp_path: Path) -> None:
    params = make_params()

    def publish(version: int) -> None:
        keys: list[Key] = [(f"item{number}",) for number in range(version)]
        publish_dataset(tmp_path, params, keys)
        publish_current(tmp_path, params, {key: band(float(version)) for key in keys})
        refresh(tmp_path, params)

    publish(1)
    readers = [run_with_pipes(READER, tmp_path) for _ in range(2)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
    for version in range(2, 6):
        publish(version)
        time.sleep(0.05)
    for reader in readers:
        output, errors = reader.communicate(timeout=60)
        assert reader.returncode == 0, errors
        assert int(output) > 1
