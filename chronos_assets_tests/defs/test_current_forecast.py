"""What is shown as the current forecast: that of the latest data there are, whatever was made, deleted or broken before."""

import json
import os
import random
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import duckdb
import pytest

from chronos_assets.definitions import group_definitions
from chronos_assets.defs.main_job import MainJobResult, _spanning, run_main_job
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.published import published_manifest
from chronos_assets.pipeline.training import package_group
from chronos_assets.planning.windows import window_for_key
from chronos_assets.settings import Settings
from chronos_assets_tests.defs.line import PARAMS, Line
from chronos_assets_tests.defs.quick_jobs import NoTables, QuickJobs
from chronos_assets_tests.defs.test_sensors import Daemon
from chronos_assets_tests.models.tiny import folder_of

FIRST = datetime(2024, 1, 1)
DAILY = json.loads(
    json.dumps(PARAMS).replace('"ForecastFrequency": "H"', '"ForecastFrequency": "D"')
    .replace('"DataFrequency": "H"', '"DataFrequency": "D"').replace('"ForecastHorizon": 24', '"ForecastHorizon": 7')
)  # fmt: skip


def rows(first: int, count: int, value: float = 10.0, items: tuple[str, ...] = ("a", "b")) -> str:
    """Days from the `first` after 2024-01-01 on."""
    return "".join(
        f"{FIRST + timedelta(days=day):%Y-%m-%d 00:00:00},{value + day % 7 + number},{item}\n"
        for number, item in enumerate(items)
        for day in range(first, first + count)
    )


def make_daily_line(root: Path, instance: dg.DagsterInstance, name: str = "bolt", **params: object) -> Line:
    """A line without SQL tables; a test that wants them takes this override away."""
    settings = Settings(
        store=str(root),
        base_model=str(folder_of(name)),
        partition_start="2023-12-01",
        settle_seconds=15,
        sensor_interval_seconds=15,
    )
    group = Group(settings)
    group.overrides.update(jobs=QuickJobs(group.store), tables=NoTables())
    line = Line(group, instance, group_definitions(group))
    line.put("params.json", json.dumps(DAILY | params))
    return line


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_daily_line(tmp_path / "store", instance)
        line.put("train/a.csv", rows(0, 60))
        yield line


def run(line: Line, backtest: int = 0) -> MainJobResult:
    return run_main_job(line.launcher, backtest_windows=backtest, train=False)


def shown(line: Line) -> str:
    """Day of the last observation behind the current forecast."""
    manifest = published_manifest(line.group)
    assert manifest is not None
    text = (line.root / "forecast" / "forecast.csv").read_text()
    day = str(manifest["context_end"])[:10]
    assert min(row.split(",")[0] for row in text.splitlines()[1:])[:10] == day  # the join row
    return day


def test_a_partition_of_the_past_or_beyond_the_data_does_not_keep_later_data_from_being_shown(line: Line) -> None:
    run(line)
    assert shown(line) == "2024-02-29"
    assert line.run(["forecasts"], ("2024-02-10", "2024-02-12")).success
    assert published_manifest(line.group)["as_of"] == "2024-02-29"
    assert line.run(["forecasts"], "2024-06-01").success
    assert published_manifest(line.group)["as_of"] == "2024-06-01"  # made last, of the same data
    jobs = len(line.group.jobs.calls)
    run(line)  # the tables have one partition more
    assert len(line.group.jobs.calls) == jobs
    assert run(line).runs == ()
    line.put("train/next.csv", rows(60, 5, value=33))
    result = run(line)
    assert (result.window.key, shown(line)) == ("2024-03-05", "2024-03-05")


def test_the_sensors_show_the_old_forecast_again_once_a_wrong_file_is_deleted(line: Line) -> None:
    daemon = Daemon(line)
    daemon.quiet()
    assert shown(line) == "2024-02-29"
    before = (line.root / "forecast" / "forecast.csv").read_text()
    line.put("train/wrong.csv", rows(60, 5, value=9999))
    daemon.quiet()
    assert shown(line) == "2024-03-05"
    (line.root / "train" / "wrong.csv").unlink()
    daemon.quiet()
    assert shown(line) == "2024-02-29"
    assert (line.root / "forecast" / "forecast.csv").read_text() == before
    assert "up to date" in str(daemon.tick("new_data_sensor").skip_reason)


def test_a_run_shows_the_old_forecast_again_forecasts_it_once_and_shows_a_correction(line: Line) -> None:
    run(line)
    line.put("train/wrong.csv", rows(60, 5, value=9999))
    run(line)
    (line.root / "train" / "wrong.csv").unlink()
    run(line)
    assert shown(line) == "2024-02-29"
    assert run(line).runs == ()

    before = (line.root / "forecast" / "forecast.csv").read_text()
    line.put("train/a.csv", rows(0, 60, value=500))
    run(line)
    assert shown(line) == "2024-02-29"
    assert (line.root / "forecast" / "forecast.csv").read_text() != before


def test_another_model_is_shown_although_the_data_are_the_same(line: Line, tmp_path: Path) -> None:
    run(line)
    other = make_daily_line(tmp_path / "store", line.instance, "chronos2")
    run(other)
    assert published_manifest(line.group)["model"]["family"] == "chronos2"
    run(line)  # as a roll-back does: the model that was there before
    assert published_manifest(line.group)["model"]["family"] == "bolt"
    # Nor does a partition beyond the data keep it from being shown.
    assert other.run(["forecasts"], "2024-06-01").success
    assert published_manifest(line.group)["model"]["family"] == "chronos2"
    run(line)
    assert published_manifest(line.group)["model"]["family"] == "bolt"


def test_what_perform_delete_removes_is_not_the_forecast(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_daily_line(tmp_path / "store", instance, PerformDelete=True)
        line.put("train/a.csv", rows(0, 60))
        run(line)
        assert shown(line) == "2024-02-29"
        assert run(line).runs == ()
        # What a clean-up left that was killed goes with the next run, though nothing is new.
        package = package_group(line.state)
        left = f"models/{package}-0123456789ab"
        line.put("left/config.json", "{}")
        line.group.store.publish(left, line.root / "left")
        document = {"created": "2024-03-01T00:00:00+00:00", "data_version": "", "metrics": {}}
        line.group.registry.register(
            package, model=left, identity="left", document=document, status="Rejected", reason="for the test"
        )
        assert len(run(line).runs) == 1
        assert line.group.store.shown(left) is None
        assert run(line).runs == ()
        line.put("train/b.csv", rows(60, 1))
        run(line)
        assert shown(line) == "2024-03-01"


def test_whatever_is_damaged_is_noticed_and_published_again(line: Line) -> None:
    run(line)
    for how, names in (
        ("removed", ("forecast.csv", "forecast.parquet", "manifest.json")),
        ("cut", ("forecast.parquet", "manifest.json")),
        ("changed", ("forecast.csv", "manifest.json")),
    ):
        for name in names:
            path = line.root / "forecast" / name
            whole = path.read_bytes()
            if how == "removed":
                path.unlink()
            else:
                path.write_bytes(whole[:-9] if how == "cut" else whole[:-9] + b"x" * 9)
            run(line)
            assert path.read_bytes() == whole, (name, how)
            assert run(line).runs == (), (name, how)
    line = make_daily_line(line.root, line.instance)
    del line.group.overrides["tables"]
    run(line)
    path = line.root / "tables" / "forecast.duckdb"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    run(line)
    assert len(path.read_bytes()) >= len(whole) // 2
    assert run(line).runs == ()
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM forecast").fetchall() == [(14,)]


def test_tables_are_made_again_after_a_kill_although_the_clock_was_ahead(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    del line.group.overrides["tables"]
    right = time.time
    monkeypatch.setattr("time.time", lambda: right() + 10 * 365 * 86_400)
    run(line)
    event = line.instance.get_latest_materialization_event(line.group.key("forecast_tables"))
    assert event is not None
    assert event.timestamp > right() + 86_400
    monkeypatch.setattr("time.time", right)
    line.put("train/next.csv", rows(60, 1))
    # A run that is killed before it comes to the tables.
    assert line.run(["target_time_series"]).success
    assert line.run(["forecasts"], "2024-03-01").success
    result = run(line)
    assert len(result.runs) == 1
    assert run(line).runs == ()


def test_windows_far_apart_are_forecast_by_one_job_and_each_has_its_materialization(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_daily_line(tmp_path / "store", instance)
        text = json.dumps(DAILY)
        for name, monthly in (("ForecastFrequency", '"M"'), ("DataFrequency", '"M"'), ("ForecastHorizon", "2")):
            text = re.sub(f'"{name}": [^,}}]+', f'"{name}": {monthly}', text)
        line.put("params.json", text)
        months = [f"{2023 + month // 12}-{month % 12 + 1:02d}-01 00:00:00,{month % 12},a" for month in range(30)]
        line.put("train/a.csv", "\n".join(months) + "\n")
        result = run(line, backtest=4)
        assert len(result.backtest) == 4
        assert len(line.group.jobs.calls) == 1
        assert len(line.group.jobs.calls[0]) == 5
        for window in (*result.backtest, result.window):
            metadata = line.metadata("forecasts", window.key)
            assert metadata["context_end"] < window.end.isoformat()
            assert "](data:image/svg+xml;base64," in metadata["picture_1"]
        assert not list((line.root / ".prepared").glob("*"))
        assert published_manifest(line.group)["as_of"] == result.window.key
        assert run(line, backtest=4).runs == ()


def test_windows_between_two_that_are_asked_for_are_forecast_only_where_they_are_few() -> None:
    partitions = dg.DailyPartitionsDefinition("2024-01-01")
    group: Any = SimpleNamespace(partitions=partitions, settings=SimpleNamespace(partitions="daily"))
    asked = [window_for_key(f"2024-01-{day:02d}", "daily") for day in (1, 2, 5, 9)]
    days = (1, 2, 3, 4, 5, 9)
    assert [window.key for window in _spanning(group, asked)] == [f"2024-01-{day:02d}" for day in days]


@pytest.mark.parametrize("seed", range(2))
def test_after_any_history_of_files_what_is_shown_is_what_a_fresh_import_shows(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_daily_line(tmp_path / "store", instance)
        line.put("train/base.csv", rows(0, 40))
        number = 0
        for _ in range(3):
            for _ in range(chance.randint(1, 3)):
                number += 1
                files = sorted((line.root / "train").glob("extra-*.csv"))
                change = chance.choice(["new", "new", "delete", "rename", "beyond"])
                if change == "new" or not files:
                    first = chance.randrange(40, 80)
                    text = rows(first, chance.randint(1, 9), chance.randrange(100), (f"item {number}",))
                    line.put(f"train/extra-{number}.csv", text)
                elif change == "delete":
                    chance.choice(files).unlink()
                elif change == "rename":
                    chance.choice(files).rename(line.root / "train" / f"extra-{number}.csv")
                elif (line.root / "dataset").exists():
                    line.run(["forecasts"], f"2024-06-{number:02d}")
            run(line)
            with dg.DagsterInstance.ephemeral() as other:
                fresh = make_daily_line(tmp_path / f"fresh-{number}", other)
                for path in (line.root / "train").iterdir():
                    copy = fresh.root / "train" / path.name
                    copy.parent.mkdir(exist_ok=True)
                    copy.write_bytes(path.read_bytes())
                    os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
                run(fresh)
                for name in ("forecast.csv", "forecast.parquet"):
                    expected = (fresh.root / "forecast" / name).read_bytes()
                    assert (line.root / "forecast" / name).read_bytes() == expected
        assert run(line).runs == ()
