"""Runs whose process is gone: whatever state they are in, they are ended, and their slots are free again."""

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets.defs.dead_run_sensor import dead_run_sensor
from chronos_assets.defs.dead_runs import GRACE, PROCESS_TAG, end_dead_runs, slot_holders, tagged_executor, this_process
from chronos_assets.defs.instance import open_instance
from chronos_assets.defs.launcher import Launcher
from chronos_assets.defs.main_job import run_main_job
from chronos_assets.pipeline.group import Group
from chronos_assets.settings import Settings
from chronos_assets_tests.defs.line import Line, make_line
from chronos_assets_tests.models.tiny import folder_of

GONE = f"{socket.gethostname()}:{2**22 + 1}:long ago"
Status = dg.DagsterRunStatus


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with open_instance(tmp_path / "home") as instance:
        yield make_line(tmp_path / "store", instance, model=str(folder_of("bolt")), days=4)


def _run(line: Line, status: Status, tag: str = "") -> str:
    tags = {PROCESS_TAG: tag} if tag else {}
    job = line.definitions.resolve_job_def("refresh_forecasts")
    return line.instance.create_run_for_job(job, status=status, tags=tags).run_id


def _status(line: Line, run_id: str) -> Status:
    run = line.instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def _claim(line: Line, run_id: str, pool: str = "model") -> None:
    storage = line.instance.event_log_storage
    storage.initialize_concurrency_limit_to_default(pool)
    storage.claim_concurrency_slot(pool, run_id, "forecasts")


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        (Status.NOT_STARTED, Status.FAILURE),
        (Status.STARTING, Status.FAILURE),
        (Status.STARTED, Status.FAILURE),
        (Status.CANCELING, Status.CANCELED),
    ],
)
def test_a_run_of_a_dead_process_is_ended_whatever_its_state(line: Line, status: Status, ended: Status) -> None:
    dead, alive = _run(line, status, GONE), _run(line, status, this_process())
    assert end_dead_runs(line.instance) == [dead]
    assert _status(line, dead) == ended
    assert _status(line, alive) == status


@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTING])
def test_a_run_that_no_process_took_up_is_ended_after_a_while(line: Line, status: Status) -> None:
    run = _run(line, status)
    assert end_dead_runs(line.instance) == []
    later = datetime.now(UTC) + GRACE + timedelta(seconds=1)
    assert end_dead_runs(line.instance, later) == [run]


def test_a_run_that_was_queued_for_hours_is_not_dead_when_it_is_handed_on(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(line, Status.NOT_STARTED)
    made = datetime.now(UTC) - timedelta(hours=9)
    records = [record._replace(create_timestamp=made) for record in line.instance.get_run_records()]
    monkeypatch.setattr(line.instance, "get_run_records", lambda *_: records)
    assert [record.dagster_run.run_id for record in records] == [run]
    assert end_dead_runs(line.instance) == []


def test_slots_of_ended_and_unknown_runs_are_freed(line: Line) -> None:
    ended = _run(line, Status.FAILURE)
    _claim(line, ended)
    assert slot_holders(line.instance, ["model"])
    end_dead_runs(line.instance)
    assert slot_holders(line.instance, ["model"]) == []


def test_the_holder_of_a_slot_is_named(line: Line) -> None:
    run = _run(line, Status.STARTED, this_process())
    assert slot_holders(line.instance, ["model"]) == []
    _claim(line, run)
    (words,) = slot_holders(line.instance, ["model", "another"])
    assert words.startswith(f"the model slot, which run {run[:8]} (refresh_forecasts, process ")


def test_a_dead_runs_slot_is_taken_by_the_next_run_which_says_what_it_waits_for(line: Line) -> None:
    """Alive at first: `run` says so and waits; then its process is gone."""
    run = _run(line, Status.STARTED, this_process())
    _claim(line, run)
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        line.instance.add_run_tags(run, {PROCESS_TAG: GONE})

    result = run_main_job(Launcher(line.group, line.definitions, line.instance, note=note), backtest_windows=0)
    assert result.runs
    assert _status(line, run) == Status.FAILURE
    (told,) = notes
    assert told.startswith(f"waiting for the model slot, which run {run[:8]}")


def test_waiting_ends_when_the_user_wants_it_to(line: Line) -> None:
    run = _run(line, Status.STARTED, this_process())
    _claim(line, run)
    wanted: list[str] = []

    def check() -> None:
        if wanted:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_main_job(Launcher(line.group, line.definitions, line.instance, wanted.append, check), backtest_windows=0)
    assert _status(line, run) == Status.STARTED


def test_every_run_carries_its_process_whoever_launched_it(line: Line) -> None:
    reconstructable = line.definitions.resolve_job_def("refresh_forecasts")
    assert reconstructable.executor_def.name == "in_process"
    result = dg.materialize(
        [line.definitions.resolve_assets_def("target_time_series")], instance=line.instance, raise_on_error=False
    )
    assert result.success


def test_the_sensor_ends_dead_runs_and_says_so(line: Line) -> None:
    dead = _run(line, Status.STARTED, GONE)
    sensor = dead_run_sensor(line.group)
    for words in (dead, "every run has its process"):
        told = sensor(dg.build_sensor_context(instance=line.instance))
        assert isinstance(told, dg.SkipReason)
        assert words in str(told.skip_message)


def test_the_sensor_removes_old_logs_from_the_stores_own_folder_alone(tmp_path: Path) -> None:
    sensor = dead_run_sensor(Group(Settings(store=str(tmp_path / "store"))))
    for home, removed in ((tmp_path / "store" / ".dagster", True), (tmp_path / "elsewhere", False)):
        with open_instance(home, owned=False) as instance:
            old = home / "history" / "runs" / "0c3f1a52-5a6e-4b43-9d1e-2f1c5b7d8e90.db"
            old.touch()
            os.utime(old, (0, 0))
            sensor(dg.build_sensor_context(instance=instance))
            assert old.exists() is not removed


def test_an_interrupt_in_a_training_ends_the_main_job(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no training that failed: nothing is forecast or published after it."""
    from chronos_assets.pipeline import training

    monkeypatch.setattr(training, "is_due", lambda *_: (True, "for the test"))
    launched: list[list[str]] = []

    def check() -> None:
        keys = [record.dagster_run.asset_selection for record in line.instance.get_run_records()]
        launched[:] = [sorted(key.to_user_string() for key in selection or ()) for selection in keys]
        if any("model_package" in selection for selection in launched):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_main_job(Launcher(line.group, line.definitions, line.instance, check_interrupt=check), backtest_windows=0)
    assert any("model_package" in selection for selection in launched)
    assert not any("forecasts" in selection for selection in launched)
    assert not (line.root / "forecast").exists()


@dg.op
def _nothing() -> None:
    pass


@dg.job(executor_def=tagged_executor)
def _job_of_the_ui() -> None:
    _nothing()


def test_a_run_that_dagster_launches_executes_and_is_tagged(tmp_path):
    """A run worker makes the executor from the run's configuration, which is empty: its defaults must be there."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        done = dg.execute_job(dg.reconstructable(_job_of_the_ui), instance)
        assert done.success
        run = instance.get_run_by_id(done.run_id)
        assert run.tags[PROCESS_TAG] == this_process()
