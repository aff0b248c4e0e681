"""Periods from files to forecast.csv: the data's clock, what an as-of may know, dates, and hours when clocks change."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from chronos_assets.definitions import group_definitions
from chronos_assets.defs.main_job import run_main_job
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.published import forecast_manifest, published_manifest
from chronos_assets.settings import Cadence, Settings
from chronos_assets_tests.defs.line import PARAMS, Line
from chronos_assets_tests.defs.quick_jobs import NoTables, QuickJobs
from chronos_assets_tests.models.tiny import folder_of


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def make_line(root: Path, instance: dg.DagsterInstance, rows: Sequence[tuple[Any, float]], **windows: Any) -> Line:
    """A line of one series without params.json."""
    settings = Settings(store=str(root), base_model=str(folder_of("bolt")), **windows)
    group = Group(settings)
    group.overrides.update(jobs=QuickJobs(group.store), tables=NoTables())
    line = Line(group, instance, group_definitions(group))
    body = "".join(f"a,{when},{value}\n" for when, value in rows)
    line.put("train/a.csv", f"item_id,timestamp,target_value\n{body}")
    return line


def declare(line: Line, frequency: str, horizon: int, *, data: str = "", pattern: str = "", **chronos: Any) -> None:
    document = json.loads(json.dumps(PARAMS))
    document["Predictor"] |= {"ForecastHorizon": horizon}
    document["Predictor"]["FeaturizationConfig"] = {"ForecastFrequency": frequency}
    document["Datasets"][0].pop("DataFrequency")
    if data:
        document["Datasets"][0]["DataFrequency"] = data
    if boundary := chronos.pop("boundary", None):
        document["Predictor"]["TimeAlignmentBoundary"] = boundary
    document["TimestampFormat"] = pattern or document["TimestampFormat"]
    # One member has no weights to learn, which takes a third of a small forecast's time.
    document["Chronos"] |= {"Predictor": {"Members": ["seasonal_naive"]}} | chronos
    line.put("params.json", json.dumps(document))


def run(line: Line) -> None:
    run_main_job(line.launcher, backtest_windows=0, train=False)


def published(line: Line, kind: str = "p50") -> dict[str, float]:
    """Value by timestamp of forecast.csv, the row of the last observation first."""
    with (line.root / "forecast" / "forecast.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["type"] == kind]
    return {row["timestamp"]: float(row["target_value"]) for row in rows}


def backfilled(line: Line, key: str) -> str:
    """The last period that the forecast of a partition has seen."""
    job = line.definitions.resolve_job_def("refresh_forecasts")
    tags = dict.fromkeys(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), key)
    done = job.execute_in_process(instance=line.instance, asset_selection=[line.group.key("forecasts")], tags=tags)
    assert done.success
    return str(forecast_manifest(line.group, key)["context_end"])[:10]


class TestTheClock:
    @pytest.mark.parametrize(
        ("zone", "partitions"),
        [
            ("Asia/Tokyo", "hourly"),
            ("America/Los_Angeles", "hourly"),
            ("Pacific/Kiritimati", "hourly"),
            ("Pacific/Kiritimati", "daily"),
            ("America/Los_Angeles", "weekly"),
        ],
    )
    def test_the_newest_hour_of_any_place_is_used(
        self, tmp_path: Path, instance: dg.DagsterInstance, zone: str, partitions: Cadence
    ) -> None:
        now = datetime.now(ZoneInfo(zone)).replace(tzinfo=None, minute=0, second=0, microsecond=0)
        hours = [now - timedelta(hours=number) for number in range(200, 0, -1)]
        # One place has all hours since 2000, a quarter of a million windows; the others need no more than the data's.
        few = partitions == "hourly" and zone != "Pacific/Kiritimati"
        windows = {"partition_start": f"{hours[0]:%Y-%m-%d}"} if few else {}
        rows = [(hour, 50 + hour.hour) for hour in hours]
        line = make_line(tmp_path, instance, rows, partitions=partitions, **windows)
        declare(line, "H", 6, TimeZone=zone)
        run(line)
        assert list(published(line)) == [str(hours[-1] + timedelta(hours=step)) for step in range(7)]

    @pytest.mark.parametrize(("day", "zone"), [("2024-03-31", "Europe/London"), ("2024-10-27", "Europe/Berlin")])
    def test_hours_around_a_change_of_clocks_are_each_forecast_once(
        self, tmp_path: Path, instance: dg.DagsterInstance, day: str, zone: str
    ) -> None:
        end = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) - timedelta(hours=1)
        hours = [(end - timedelta(hours=number)).astimezone(ZoneInfo(zone)) for number in range(200, -1, -1)]
        line = make_line(tmp_path, instance, [(hour.isoformat(), 100.0) for hour in hours])
        declare(line, "H", 48, pattern="yyyy-MM-dd'T'HH:mm:ssXXX", TimeZone=zone)
        run(line)
        instants = [datetime.fromisoformat(text).astimezone(UTC) for text in published(line)]
        assert instants == [end + timedelta(hours=step) for step in range(49)]
        with (line.root / "forecast" / "forecast.csv").open() as file:
            texts = [row["timestamp"] for row in csv.DictReader(file) if row["type"] == "p50"]
        offsets = [datetime.fromisoformat(text).utcoffset() for text in texts]
        assert offsets == [instant.astimezone(ZoneInfo(zone)).utcoffset() for instant in instants]
        assert line.state.clock_shown == "UTC"


class TestWhatAnAsOfKnows:
    def test_a_quarter_is_known_on_its_last_day(self, tmp_path: Path, instance: dg.DagsterInstance) -> None:
        ends = [f"{year}-{end}" for year in range(2013, 2024) for end in ("03-31", "06-30", "09-30", "12-31")]
        line = make_line(tmp_path, instance, [(end, 10.0) for end in ends[:-1]] + [(ends[-1], 9999.0)])
        run(line)
        assert list(published(line))[:3] == ["2023-12-31", "2024-03-31", "2024-06-30"]
        assert backfilled(line, "2023-10-31") == "2023-09-30"
        assert backfilled(line, "2023-12-30") == "2023-09-30"
        assert backfilled(line, "2023-12-31") == "2023-12-31"

    def test_a_week_that_ends_on_sunday_is_known_on_sunday(self, tmp_path: Path, instance: dg.DagsterInstance) -> None:
        sundays = [datetime(2023, 1, 8) + timedelta(weeks=number) for number in range(40)]
        line = make_line(tmp_path, instance, [(day, 10.0) for day in sundays])
        declare(line, "W", 4, boundary={"DayOfWeek": "MONDAY"})
        run(line)
        wednesday = sundays[-1] - timedelta(days=4)
        assert backfilled(line, f"{wednesday:%Y-%m-%d}") == f"{sundays[-2] - timedelta(days=6):%Y-%m-%d}"
        assert backfilled(line, f"{sundays[-1]:%Y-%m-%d}") == f"{sundays[-1] - timedelta(days=6):%Y-%m-%d}"

    @pytest.mark.parametrize("data", ["D", ""])
    def test_a_week_of_days_is_known_once_it_is_over(
        self, tmp_path: Path, instance: dg.DagsterInstance, data: str
    ) -> None:
        days = [datetime(2023, 5, 1) + timedelta(days=number) for number in range(282)]  # to a Tuesday
        line = make_line(tmp_path, instance, [(day, 10.0) for day in days])
        declare(line, "W", 4, data=data)
        run(line)
        assert published(line)["2024-02-05 00:00:00"] > 60
        assert next(iter(published(line))) == "2024-01-29 00:00:00"
        assert backfilled(line, "2024-02-03") == "2024-01-22"
        assert backfilled(line, "2024-02-04") == "2024-01-29"

    def test_a_month_on_the_second_is_known_on_the_second(self, tmp_path: Path, instance: dg.DagsterInstance) -> None:
        days = [datetime(2018 + number // 12, number % 12 + 1, 1) for number in range(60)]
        days[30] += timedelta(days=1)
        line = make_line(tmp_path, instance, [(day.date(), 10.0) for day in days])
        run(line)
        assert list(published(line))[:2] == ["2022-12-01", "2023-01-01"]
        assert backfilled(line, "2022-12-01") == "2022-12-01"
        assert backfilled(line, "2022-11-30") == "2022-11-01"


class TestDates:
    @pytest.mark.parametrize(
        ("frequency", "first", "step", "guessed"),
        [
            ("2W", "2023-01-09", timedelta(weeks=2), True),
            ("2W", "2023-01-09", timedelta(weeks=2), False),
            ("8H", "2024-01-01T06:00", timedelta(hours=8), True),
            ("8H", "2024-01-01T06:00", timedelta(hours=8), False),
            ("4W", "2022-01-03", timedelta(weeks=4), True),
            ("3D", "2022-01-03", timedelta(days=3), False),
        ],
    )
    def test_forecasts_go_on_with_the_dates_of_the_rows(
        self, tmp_path: Path, instance: dg.DagsterInstance, frequency: str, first: str, step: timedelta, guessed: bool
    ) -> None:
        moments = [datetime.fromisoformat(first) + number * step for number in range(40)]
        line = make_line(tmp_path, instance, [(moment, float(n % 5)) for n, moment in enumerate(moments)])
        if not guessed:
            declare(line, frequency, 3)
        run(line)
        assert line.state.params.frequency == line.state.written_params.frequency
        assert [datetime.fromisoformat(text) for text in published(line)][:4] == [
            moments[-1] + n * step for n in range(4)
        ]
        manifest = published_manifest(line.group)
        assert manifest is not None
        assert datetime.fromisoformat(str(manifest["context_end"])) == moments[-1]
        # The phase is written where the parameters were guessed, and stays where it was found where they were not.
        anchor = line.state.written_params.alignment.anchor
        assert (anchor == moments[0].isoformat() or anchor == first) if guessed else anchor is None
