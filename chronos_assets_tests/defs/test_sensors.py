"""The sensors against a real store and instance: what they request, observe, tell and remember.

What they decide is under property tests in `test_plan.py`; here is that they look at the right things.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from chronos_assets.defs.outcomes import RANGE_TAGS
from chronos_assets.platforms.notices import Notice, NoticeError
from chronos_assets.platforms.registry import Registry
from chronos_assets.platforms.store import Store
from chronos_assets.store_layout import DATASET_KEY
from chronos_assets.timeseries.published_files import DATASET_MANIFEST
from chronos_assets_tests.defs.line import PARAMS, Line, hourly_rows, make_line
from chronos_assets_tests.models.tiny import folder_of


class Daemon:
    """Ticks sensors and runs what they request, as the Dagster daemon would: one run per run key."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.repository = line.definitions.get_repository_def()
        self.cursors: dict[str, str | None] = {}
        self.results: list[dg.ExecuteInProcessResult] = []

    def tick(self, name: str) -> dg.SensorResult:
        context = dg.build_sensor_context(
            instance=self.line.instance,
            cursor=self.cursors.get(name),
            repository_def=self.repository,
            sensor_name=name,
        )
        result = self.repository.get_sensor_def(name)(context)
        assert isinstance(result, dg.SensorResult)
        self.cursors[name] = result.cursor
        for event in result.asset_events:
            self.line.instance.report_runless_asset_event(event)
        return result

    def launch(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        name = "train_files_sensor" if str(request.run_key).startswith("import") else "new_data_sensor"
        assert request.run_key
        assert not self.line.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": request.run_key}))
        result = self.line.definitions.resolve_job_def(str(request.job_name)).execute_in_process(
            instance=self.line.instance,
            partition_key=request.partition_key,
            asset_selection=list(request.asset_selection or ()),
            tags={**request.tags, "dagster/run_key": request.run_key, "dagster/sensor_name": name},
            raise_on_error=False,
            run_config={"loggers": {"console": {}}},
        )
        self.results.append(result)
        return result

    def quiet(self, ticks: int = 40) -> None:
        """Tick and launch as the daemon does, until nothing is asked for any more."""
        idle = 0
        for _ in range(ticks):
            requests = [
                request
                for name in ("train_files_sensor", "new_data_sensor")
                for request in self.tick(name).run_requests or ()
            ]
            idle = 0 if requests else idle + 1
            if idle == 4:
                return
            for request in requests:
                assert self.launch(request).success
        raise AssertionError(f"still asking for runs after {ticks} ticks")

    def until_request(self, name: str, ticks: int = 5) -> list[dg.RunRequest]:
        for _ in range(ticks):
            if requests := self.tick(name).run_requests:
                return list(requests)
        return []


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield make_line(
            tmp_path / "store",
            instance,
            model=str(folder_of("bolt")),
            days=4,
            settle_seconds=15,
            sensor_interval_seconds=15,
        )


def test_a_dropped_file_becomes_an_import_then_a_forecast_then_scores_and_notices(line: Line) -> None:
    daemon = Daemon(line)
    first = daemon.tick("train_files_sensor")
    assert not first.run_requests
    assert "1 file" in str(first.skip_reason)
    (request,) = daemon.until_request("train_files_sensor")
    assert request.asset_selection == [line.group.key("target_time_series")]
    assert daemon.launch(request).success
    assert not daemon.until_request("train_files_sensor")

    (request,) = daemon.until_request("new_data_sensor")
    assert request.partition_key == "2024-01-04"
    assert request.asset_selection == [line.group.key("forecasts"), line.group.key("forecast_tables")]
    assert daemon.launch(request).success
    assert "up to date" in str(daemon.tick("new_data_sensor").skip_reason)

    line.put("train/later.csv", "\n".join(hourly_rows(2, first=datetime(2024, 1, 5))) + "\n")
    (request,) = daemon.until_request("train_files_sensor")
    assert "later.csv" in request.tags["chronos/reason"]
    assert daemon.launch(request).success
    requests = daemon.until_request("new_data_sensor")
    assert {_windows(request) for request in requests} == {("2024-01-06", "2024-01-06"), ("2024-01-04", "2024-01-04")}
    assert {request.job_name for request in requests} == {"refresh_forecasts", "score_forecasts"}
    for request in requests:
        assert daemon.launch(request).success

    daemon.tick("run_outcome_sensor")
    daemon.tick("run_outcome_sensor")
    notices = line.notices()
    assert [notice["run_id"] for notice in notices] == [result.run_id for result in daemon.results]
    assert {notice["outcome"] for notice in notices} == {"success"}
    assert [notice["made"] for notice in notices[:2]] == ["target_time_series", "forecast_tables, forecasts"]
    scored = next(notice for notice in notices if notice["job"] == "score_forecasts")
    assert scored["dataset_group"] == "Shop"
    assert scored["as_of"] == "2024-01-04"
    assert {"wql", "wql_seasonal_naive"} <= set(scored["accuracy"])
    assert any("accuracy" in file for file in scored["files"])
    assert scored["run_url"].endswith(scored["run_id"])


class FullMailbox:
    """Refuses the notice of one run."""

    def __init__(self, refused: str) -> None:
        self.refused = refused
        self.sent: list[str] = []

    def send(self, notice: Notice) -> bool:
        if notice.run_id == self.refused:
            raise NoticeError("the mailbox is full")
        if notice.run_id in self.sent:
            return False
        self.sent.append(notice.run_id)
        return True


def test_a_notice_that_can_not_be_sent_is_tried_again_and_holds_no_other_up(line: Line) -> None:
    results = [line.run(["target_time_series"]) for _ in range(3)]
    mailbox = FullMailbox(results[0].run_id)
    line.group.overrides["notices"] = mailbox
    daemon = Daemon(line)
    reason = str(daemon.tick("run_outcome_sensor").skip_reason)
    assert "2 notices sent" in reason
    assert "1 to be sent again: the mailbox is full" in reason
    assert mailbox.sent == [result.run_id for result in results[1:]]
    mailbox.refused = ""
    assert daemon.tick("run_outcome_sensor").skip_reason.skip_message == "1 notices sent"  # type: ignore[union-attr]
    assert sorted(mailbox.sent) == sorted(result.run_id for result in results)


def test_a_forecasts_notice_tells_the_newest_scores_known_and_of_when(line: Line) -> None:
    assert line.run(["target_time_series"]).success
    assert line.run(["forecasts"], "2024-01-03").success
    daemon = Daemon(line)
    daemon.tick("run_outcome_sensor")
    assert [notice["accuracy"] for notice in line.notices()] == [{}, {}]
    assert line.run(["forecast_accuracy"], "2024-01-03", job="score_forecasts").success
    assert line.run(["forecasts"], "2024-01-04").success
    daemon.tick("run_outcome_sensor")
    scores, forecast = line.notices()[-2:]
    assert set(scores["accuracy"]) == {"wql", "wql_seasonal_naive", "mase", "mase_seasonal_naive"} & set(
        scores["accuracy"]
    )
    assert "wql" in scores["accuracy"]
    assert forecast["as_of"] == "2024-01-04"
    assert forecast["accuracy"] == {f"{name} as of 2024-01-03": value for name, value in scores["accuracy"].items()}


def test_train_files_gets_an_observation_with_a_data_version(line: Line) -> None:
    daemon = Daemon(line)
    daemon.until_request("train_files_sensor")
    records = line.instance.fetch_observations(line.group.key("train_files"), limit=5).records
    assert len(records) == 1
    observation = records[0].asset_observation
    assert observation is not None
    assert observation.tags["dagster/data_version"]
    assert observation.metadata["files"].value == 1


def test_a_failed_import_is_reported_once_and_not_repeated_until_a_file_changes(line: Line) -> None:
    line.put("train/bad.csv", "2024-01-05 00:00:00,five,client_a\n")
    daemon = Daemon(line)
    (request,) = daemon.until_request("train_files_sensor")
    assert not daemon.launch(request).success
    assert not daemon.until_request("train_files_sensor", ticks=20)
    assert "five" in str(daemon.tick("train_files_sensor").skip_reason)
    for _ in range(3):
        daemon.tick("run_outcome_sensor")
    (notice,) = line.notices()
    assert notice["outcome"] == "failure"
    assert notice["asset"] == "target_time_series"
    assert "five" in notice["reason"]
    assert "\n" not in notice["reason"]

    line.put("train/bad.csv", "2024-01-05 00:00:00,5,client_a\n")
    (request,) = daemon.until_request("train_files_sensor")
    assert daemon.launch(request).success


def test_broken_params_are_reported_by_the_run_and_do_not_break_the_sensors(line: Line) -> None:
    line.put("params.json", "{")
    daemon = Daemon(line)
    (request,) = daemon.until_request("train_files_sensor")
    assert not daemon.launch(request).success
    daemon.tick("run_outcome_sensor")
    assert "params.json" in line.notices()[0]["reason"]
    assert "no dataset yet" in str(daemon.tick("new_data_sensor").skip_reason)


def test_params_broken_after_an_import_are_a_reason_to_skip_not_an_error_each_tick(line: Line) -> None:
    daemon = Daemon(line)
    (request,) = daemon.until_request("train_files_sensor")
    daemon.launch(request)
    line.put("params.json", "{")
    assert "params.json" in str(daemon.tick("new_data_sensor").skip_reason)


def test_an_empty_store_is_a_reason_to_wait(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        line = make_line(tmp_path / "store", instance)
        (line.root / "train" / "demand.csv").unlink()
        (line.root / "params.json").unlink()
        daemon = Daemon(line)
        assert "no files in train/" in str(daemon.tick("train_files_sensor").skip_reason)
        assert "no dataset yet" in str(daemon.tick("new_data_sensor").skip_reason)
        assert "no run ended" in str(daemon.tick("run_outcome_sensor").skip_reason)


def test_runs_of_other_groups_are_not_reported(line: Line) -> None:
    @dg.op
    def other() -> None: ...

    @dg.job
    def other_job() -> None:
        other()

    assert other_job.execute_in_process(instance=line.instance).success
    Daemon(line).tick("run_outcome_sensor")
    assert line.notices() == []


def _windows(request: dg.RunRequest) -> tuple[Any, Any]:
    if request.partition_key:
        return request.partition_key, request.partition_key
    return request.tags[RANGE_TAGS[0]], request.tags[RANGE_TAGS[1]]


class CountingStore:
    """A store that counts what is read of it, by method and key."""

    def __init__(self, store: Store) -> None:
        self.store, self.reads = store, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.store, name)
        if name not in ("get", "read", "exists"):
            return attribute

        def counted(*parts: str) -> Any:
            self.reads["/".join(parts)] += 1
            return attribute(*parts)

        return counted


class CountingRegistry:
    """A registry that counts how often its versions are listed."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.listings = registry, 0

    def versions(self, group: str) -> Any:
        self.listings += 1
        return self.registry.versions(group)


@pytest.mark.parametrize("sensor", ["train_files_sensor", "new_data_sensor"])
def test_a_tick_reads_params_manifest_and_registry_once(line: Line, sensor: str) -> None:
    daemon = Daemon(line)
    for request in daemon.until_request("train_files_sensor"):
        assert daemon.launch(request).success
    line.put("params.json", json.dumps(PARAMS | {"Chronos": {"Training": {"Strategy": "TRAIN"}}}))
    store, registry = CountingStore(line.group.store), CountingRegistry(line.group.registry)
    vars(line.group).update(store=store, registry=registry)
    daemon.tick(sensor)
    assert store.reads["params.json"] == 1
    assert store.reads[f"{DATASET_KEY}/{DATASET_MANIFEST}"] == 1
    assert registry.listings == (1 if sensor == "new_data_sensor" else 0)
