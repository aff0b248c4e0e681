"""The instance of a store: it holds what a laptop needs, wherever it is started. Each number here was a trap without it."""

import contextlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._daemon.sensor import is_under_min_interval
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from chronos_assets.definitions import build_definitions
from chronos_assets.defs.checkup import examine_instance
from chronos_assets.defs.instance import (
    CONFIG,
    WORKSPACE,
    InstanceError,
    begin_daemon_here,
    open_instance,
    storage_trouble,
    wake_sensors,
)
from chronos_assets.defs.instance_engines import ENGINES, close_connections, keep_engines, keeping_engines
from chronos_assets.defs.old_runs import LOG_DAYS, remove_old_logs
from chronos_assets.platforms.checkup import Finding
from chronos_assets.settings import Settings
from chronos_assets_tests.conftest import REPOSITORY


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(tmp_path) as instance:
        yield instance


def test_it_needs_no_server_and_keeps_everything_in_its_folder(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert instance.root_directory == str(tmp_path)
    assert {type(part).__name__ for part in (instance.event_log_storage, instance.run_storage)} == {
        "SqliteEventLogStorage",
        "SqliteRunStorage",
    }
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    assert instance.python_log_level == "INFO"  # of what runs of the UI write to the terminal


def test_a_cancelled_run_gives_its_slot_back_and_no_run_is_resumed(instance: dg.DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] > 0
    assert instance.run_monitoring_max_resume_run_attempts == 0
    assert instance.run_monitoring_start_timeout_seconds > 0
    assert instance.run_monitoring_cancel_timeout_seconds > 0


def test_a_crashed_run_is_tried_once_more_and_a_failed_step_is_not(instance: dg.DagsterInstance) -> None:
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 1
    assert instance.run_retries_retry_on_asset_or_op_failure is False


def test_runs_queue_and_one_model_is_in_memory_at_a_time(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    concurrency = instance.get_concurrency_config()
    assert concurrency.run_queue_config is not None
    assert concurrency.run_queue_config.max_concurrent_runs > 1
    assert concurrency.pool_config.default_pool_limit == 1
    assert build_definitions(Settings()).resolve_assets_def("forecasts").op.pool == "model"


def test_ticks_are_forgotten_after_a_while(instance: dg.DagsterInstance) -> None:
    for kind in (InstigatorType.SENSOR, InstigatorType.SCHEDULE):
        days = instance.get_tick_retention_settings(kind)
        assert all(number > 0 for status, number in days.items() if status.value != "STARTED")


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["one"]))
def counted(context: dg.AssetExecutionContext) -> None:
    context.log.info("counted")


@pytest.mark.parametrize("owned", [True, False])
def test_logs_of_old_runs_go_from_a_stores_own_folder_and_what_was_materialized_stays(
    tmp_path: Path, owned: bool
) -> None:
    def run() -> str:
        return dg.materialize([counted], instance=instance, partition_key="one", run_config=config).run_id

    config = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
    shards = tmp_path / "history" / "runs"
    with open_instance(tmp_path, owned=owned) as instance:
        old, new = run(), run()
    close_connections()
    past = time.time() - LOG_DAYS * 86_400 - 60
    for path in (*shards.iterdir(), *(tmp_path / "storage" / old).rglob("*")):
        if path.name.startswith((old, "index")):
            os.utime(path, (past, past))
    with open_instance(tmp_path, owned=owned) as instance:
        assert (shards / f"{old}.db").exists() is not owned
        assert (tmp_path / "storage" / old).exists() is not owned
        assert (tmp_path / "storage" / new).exists()
        assert "counted" in [record.user_message for record in instance.all_logs(new)]
        assert {record.run_id for record in instance.get_runs()} == {old, new}
        asset = dg.AssetKey("counted")
        assert instance.get_materialized_partitions(asset) == {"one"}
        assert {event.run_id for event in instance.fetch_materializations(asset, limit=9).records} == {old, new}
        assert bool(instance.all_logs(old)) is not owned  # it can be looked at, and says nothing any more


def test_a_removal_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    """Its database goes last, and SQLite's own log, which may be newer, counts as well."""
    folder = tmp_path / "history" / "runs"
    folder.mkdir(parents=True)
    half, lively = (str(uuid4()) for _ in range(2))
    for name in (f"{half}.db", f"{lively}.db", f"{lively}.db-wal", "index.db", ".db"):
        (folder / name).touch()
        if not name.endswith("-wal"):
            os.utime(folder / name, (0, 0))
    assert remove_old_logs(tmp_path) == 1
    assert not (folder / f"{half}.db").exists()
    assert {path.name for path in folder.iterdir()} == {f"{lively}.db", f"{lively}.db-wal", "index.db", ".db"}
    assert remove_old_logs(tmp_path / "nothing") == 0


def test_the_workspace_loads_the_definitions() -> None:
    (target,) = yaml.safe_load(WORKSPACE.read_text())["load_from"]
    assert target["python_module"]["module_name"] == "chronos_assets.definitions"


def test_a_foreign_configuration_in_the_working_directory_has_no_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "elsewhere"
    here.mkdir()
    (here / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    monkeypatch.chdir(here)
    with open_instance(tmp_path / "home") as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
    assert (tmp_path / "home" / "dagster.yaml").read_bytes() == CONFIG.read_bytes()


def test_a_changed_configuration_in_a_store_is_the_packages_again(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    with open_instance(tmp_path) as instance:
        assert not instance.telemetry_enabled


def test_a_folder_of_the_users_keeps_its_configuration_and_a_bare_one_gets_ours(tmp_path: Path) -> None:
    own = "telemetry:\n  enabled: false\nnux:\n  enabled: true\n"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "dagster.yaml").write_text(own)
    for name, nux in (("own", True), ("bare", False)):
        with open_instance(tmp_path / name, owned=False) as instance:
            assert instance.nux_enabled is nux
    assert (tmp_path / "own" / "dagster.yaml").read_text() == own


def test_the_files_at_the_top_are_those_of_the_package() -> None:
    """For Dagster's own commands in a checkout; the package holds the files, so that they are there wherever it runs."""
    for name in ("dagster.yaml", "workspace.yaml"):
        assert (REPOSITORY / name).read_bytes() == (REPOSITORY / "chronos_assets" / "defs" / name).read_bytes()


def test_a_daemon_that_was_never_up_begins_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster._daemon.auto_run_reexecution import event_log_consumer as consumer

    with open_instance(tmp_path) as instance:
        begin_daemon_here(instance)
        monkeypatch.setattr(instance.event_log_storage, "get_maximum_record_id", lambda: 99)
        begin_daemon_here(instance)  # what is there is kept
        logger = logging.getLogger("daemon")
        cursors = consumer._fetch_persisted_cursors(instance, consumer.DAGSTER_EVENT_TYPES, logger)
    assert set(cursors.values()) == {0}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_sensors_that_ticked_before_the_clock_was_set_back_tick_again(tmp_path: Path) -> None:
    now = time.time()
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("chronos_assets"), "__repository__")
    with open_instance(tmp_path) as instance:
        for name, at in (("ahead", now + 3600), ("behind", now - 5)):
            data = SensorInstigatorData(at, None, 2, f"cursor of {name}", at)
            instigator = RemoteInstigatorOrigin(origin, name)
            instance.add_instigator_state(
                InstigatorState(instigator, InstigatorType.SENSOR, InstigatorStatus.RUNNING, data)
            )
        wake_sensors(instance, now)
        states = {state.name: state for state in instance.all_instigator_state()}
    sensor = cast(Any, SimpleNamespace(min_interval_seconds=2))
    waiting = {name for name, state in states.items() if is_under_min_interval(state, sensor)}
    assert waiting == set()
    assert {name: cast(Any, state.instigator_data).cursor for name, state in states.items()} == {
        "ahead": "cursor of ahead",
        "behind": "cursor of behind",
    }


@pytest.mark.parametrize("name", ["history/runs.db", "storage/index.db", "schedules/schedules.db"])
def test_a_damaged_database_is_refused_with_the_folder_and_what_may_be_done(tmp_path: Path, name: str) -> None:
    assert examine_instance(tmp_path) == []
    with open_instance(tmp_path):
        pass
    assert [finding.status for finding in examine_instance(tmp_path)] == ["ok"]
    database = next(path for path in tmp_path.rglob("*.db") if path.name == Path(name).name)
    database.write_bytes(b"not a database " * 100)
    with pytest.raises(InstanceError, match="move the folder away") as error:
        open_instance(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert examine_instance(tmp_path) == [Finding("Dagster", "failed", str(error.value))]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (sqlite3.OperationalError("database or disk is full"), "no space is left on the disk of the store: free some"),
        (sqlite3.OperationalError("database is locked"), "wait until that has ended, and run again"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "let this user write there"),
        (ConnectionError("port 5432 failed: Connection refused\n\tIs it running?"), "start its database, or correct"),
        (None, ""),
    ],
)
def test_a_storage_that_is_whole_is_not_given_up(error: Exception | None, said: str) -> None:
    retried = RuntimeError("too many retries")  # as dagster-postgres says it
    retried.__cause__ = OperationalError("SELECT 1", {}, error) if error is not None else None
    trouble = storage_trouble(retried, Path("/home"))
    assert said in trouble
    assert bool(trouble) == bool(said)
    assert "move the folder away" not in trouble
    assert "\n" not in trouble


def test_engines_are_kept_and_a_store_that_replaces_another_in_its_folder_is_its_own(tmp_path: Path) -> None:
    """Runs, events and ticks of a store that was removed are gone, although the same process goes on."""
    for value in ("old", "new"):
        with open_instance(tmp_path / "home") as instance:
            assert not instance.has_dynamic_partition("kept", "old")
            instance.add_dynamic_partitions("kept", [value])
            shards = [instance.event_log_storage.index_connection() for _ in range(2)]  # type: ignore[attr-defined]
            with shards[0] as connection:
                engine = connection.engine
            with shards[1] as connection:
                assert connection.engine is engine
        shutil.rmtree(tmp_path / "home")


def test_engines_of_many_databases_are_forgotten_and_made_again() -> None:
    made: list[str] = []

    def create(url: str, **options: Any) -> Engine:
        made.append(url)
        return create_engine(url, **options)

    engine_of = keeping_engines(create)
    for number in (0, *range(ENGINES), 0, 0, ENGINES, 1):
        assert str(engine_of(f"sqlite:///{number}.db", connect_args={"timeout": 30}).url) == f"sqlite:///{number}.db"
    # All once; the one after them pushes out the oldest, which is 1 since 0 was asked for again.
    assert len(made) == ENGINES + 2
    assert made[-2:] == [f"sqlite:///{ENGINES}.db", "sqlite:///1.db"]


@pytest.fixture
def database(tmp_path: Path) -> tuple[Path, Engine]:
    """A database in the mode of Dagster's, and a kept engine of it."""
    path = tmp_path / "run.db"
    engine = keeping_engines(create_engine)(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("PRAGMA journal_mode = WAL"))
        connection.execute(text("CREATE TABLE events (name TEXT)"))
    return path, engine


def test_who_watches_a_runs_database_sees_it_change_with_each_event(database: tuple[Path, Engine]) -> None:
    """The UI follows a run so; without a checkpoint only SQLite's log changes."""
    path, engine = database
    os.utime(path, (0, 0))
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == 0
    assert path.stat().st_mtime == 0
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO events VALUES ('started')"))
    assert path.stat().st_mtime != 0
    assert Path(f"{path}-wal").stat().st_size, "it is in the log, and nobody has waited for the database"


def test_what_is_committed_is_there_for_others_and_after_the_connection_is_closed(
    database: tuple[Path, Engine],
) -> None:
    path, engine = database
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO events VALUES ('started')"))
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM events").fetchall() == [("started",)]
    close_connections()
    assert not Path(f"{path}-wal").exists()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT name FROM events")).scalar() == "started"


def test_a_database_that_replaces_another_is_the_one_that_is_read(database: tuple[Path, Engine]) -> None:
    path, engine = database
    for left in path.parent.glob("run.db*"):
        left.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE events AS SELECT 'another' AS name")
    with engine.begin() as connection:
        assert connection.execute(text("SELECT name FROM events")).fetchall() == [("another",)]


def test_no_child_inherits_a_connection(database: tuple[Path, Engine]) -> None:
    _, engine = database
    keep_engines()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO events VALUES ('parent')"))
    if (child := os.fork()) == 0:
        os._exit(any("run.db" in name for name in open_files()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO events VALUES ('parent')"))
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == 2


def open_files() -> list[str]:
    """Files that this process has open; none where the system doesn't say."""
    links = Path("/proc/self/fd").glob("*")
    return [os.readlink(link) for link in links if os.path.lexists(link)]
