"""Windows of a store: by the frequency of its data, chosen once, starting with the data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets.cli.common import settings_for
from chronos_assets.definitions import group_definitions
from chronos_assets.defs.main_job import run_main_job
from chronos_assets.params.predictor import PredictorParams
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.window_settings import choose_windows, follow_data
from chronos_assets_tests.defs.line import PARAMS, Line
from chronos_assets_tests.defs.quick_jobs import NoTables, QuickJobs
from chronos_assets_tests.models.tiny import folder_of

DAILY = {
    **PARAMS,
    "Predictor": {"PredictorName": "P", "ForecastHorizon": 3, "FeaturizationConfig": {"ForecastFrequency": "D"}},
    "Datasets": [{**PARAMS["Datasets"][0], "DataFrequency": "D"}],
}


def months(count: int = 72, first: int = 2015) -> list[datetime]:
    return [datetime(first + number // 12, number % 12 + 1, 1) for number in range(count)]


def every(step: timedelta, count: int = 90) -> list[datetime]:
    return [datetime(2019, 3, 4) + number * step for number in range(count)]


class Store:
    """A store that commands are run on, one after another."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, moments: list[datetime], name: str = "a") -> None:
        path = self.root / "train" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"a,{moment},{number % 12}\n" for number, moment in enumerate(moments))
        path.write_text(f"item_id,timestamp,target_value\n{rows}")

    def env(self, **more: str) -> dict[str, str]:
        return {"CHRONOS_STORE": str(self.root), "CHRONOS_BASE_MODEL": str(folder_of("bolt")), **more}

    def command(self, *, for_good: bool = False, **variables: str) -> tuple[str, str]:
        """Length and start of the windows that a command works with."""
        env = self.env(**variables)
        settings = choose_windows(Group(settings_for(None, env)), env, for_good=for_good)
        return settings.partitions, settings.partition_start

    def run(self, instance: dg.DagsterInstance, backtest: int = 0) -> list[list[str]]:
        """The partitions of each job of `run`."""
        env = self.env()
        group = Group(choose_windows(Group(settings_for(None, env)), env, for_good=False))
        jobs = QuickJobs(group.store)
        group.overrides.update(jobs=jobs, tables=NoTables())
        line = Line(group, instance, group_definitions(group))

        def reopen(group: Group) -> tuple[Group, dg.Definitions]:
            group = replace(group, settings=follow_data(group, env))
            return group, group_definitions(group)

        run_main_job(line.launcher, backtest_windows=backtest, train=False, reopen=reopen)
        return jobs.calls


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    # One member has no weights to learn, which takes a third of a small forecast's time.
    given = PredictorParams.to_document
    monkeypatch.setattr(PredictorParams, "to_document", lambda params: given(params) | {"members": ["seasonal_naive"]})
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.parametrize(
    ("moments", "length"),
    [
        (months(), "monthly"),
        (months()[::3], "monthly"),
        (months(20 * 12)[::12], "monthly"),
        (every(timedelta(weeks=1)), "weekly"),
        (every(timedelta(weeks=2)), "weekly"),
        (every(timedelta(days=1)), "daily"),
        (every(timedelta(hours=1)), "daily"),
    ],
)
def test_windows_are_as_long_as_the_periods(store: Store, moments: list[datetime], length: str) -> None:
    store.put(moments)
    assert store.command()[0] == length


def test_the_first_command_chooses_for_good(store: Store) -> None:
    store.put(months())
    assert store.command()[0] == "monthly"
    store.put(every(timedelta(days=1)))
    (store.root / "params.json").unlink()
    assert store.command()[0] == "monthly"


def test_a_ui_on_an_empty_store_takes_days_and_later_commands_do_likewise(store: Store) -> None:
    assert store.command()[0] == "daily"  # a run that fails for want of data decides nothing
    assert not (store.root / ".windows.json").exists()
    assert store.command(for_good=True)[0] == "daily"
    store.put(months())
    assert store.command()[0] == "daily"


def test_windows_that_forecasts_were_made_for_before_stay(store: Store) -> None:
    store.put(months())
    (store.root / "history" / "as_of=2020-01-05").mkdir(parents=True)
    (store.root / "history" / "as_of=2020-01-05" / "forecast.parquet").touch()
    assert store.command()[0] == "daily"


def test_variables_win_and_are_not_remembered(store: Store) -> None:
    store.put(months())
    assert store.command(CHRONOS_PARTITIONS="weekly") == ("weekly", "2000-01-01")
    assert store.command(CHRONOS_PARTITION_START="2018-01-01") == ("monthly", "2018-01-01")
    assert store.command(CHRONOS_PARTITIONS="daily", CHRONOS_PARTITION_START="2019-01-01") == ("daily", "2019-01-01")


def test_a_document_that_cannot_be_read_counts_as_none(store: Store) -> None:
    store.put(months())
    for text in ("{", "[]", '{"length": "yearly", "start": "2000-01-01"}', '{"length": "daily", "start": "x"}'):
        (store.root / ".windows.json").write_text(text)
        assert store.command() == ("daily", "2000-01-01")


def test_windows_start_with_the_data_and_a_backtest_of_months_is_one_job(
    store: Store, instance: dg.DagsterInstance
) -> None:
    store.put(months())
    calls = store.run(instance, backtest=5)
    assert len(calls) == 1
    assert len(calls[0]) >= 6
    assert calls[0][-1] == "2020-12-01"
    assert store.command() == ("monthly", "2015-01-01")
    store.put(months(24, first=2012), "older")
    store.run(instance)
    assert store.command() == ("monthly", "2012-01-01")
    (store.root / "train" / "older.csv").unlink()
    store.run(instance)
    assert store.command() == ("monthly", "2012-01-01")  # forecasts of that time stay listed


@pytest.mark.parametrize(
    ("moments", "start", "last"),
    [
        (months(72, first=1961), "1961-01-01", "1966-12-01"),
        ([datetime(1969, 12, 1) + timedelta(days=number) for number in range(60)], "1969-12-01", "1970-01-29"),
        (months(12 * 9, first=1871)[::12], "1871-01-01", "1879-01-01"),
        ([datetime(1990, 1, 7) + timedelta(weeks=number) for number in range(60)], "1990-01-07", "1991-02-24"),
    ],
)
def test_the_first_run_on_an_archive_has_windows_from_its_beginning(
    store: Store, instance: dg.DagsterInstance, moments: list[datetime], start: str, last: str
) -> None:
    store.put(moments)
    calls = store.run(instance, backtest=1)
    assert calls[0][-1] == last
    assert store.command()[1] == start


def test_an_archive_of_more_days_than_there_are_windows_has_those_of_its_end(
    store: Store, instance: dg.DagsterInstance
) -> None:
    store.put([datetime(1700, 1, 1), datetime(1990, 1, 1), *(datetime(1990, 1, 2) + timedelta(d) for d in range(40))])
    (store.root / "params.json").write_text(json.dumps(DAILY))
    assert store.run(instance)[0][-1] == "1990-02-10"
    assert "1800" < store.command()[1] < "1990"
