"""Dagster's instances in memory, cheaper: hundreds of tests make one, and ask it a hundred times a run.

Here: how they connect, and what of a run isn't kept. Elsewhere: what they keep, which is Dagster's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import dagster as dg
from dagster._core.event_api import EventLogRecord
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.context.data_version_cache import DataVersionCache
from dagster._core.instance.runs.run_domain import RunDomain
from dagster._core.storage.event_log import in_memory as event_logs
from dagster._core.storage.runs import in_memory as runs
from dagster._core.storage.sql import get_alembic_config, stamp_alembic_rev
from dagster._serdes import deserialize_value
from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.pool import QueuePool


def share_connections() -> None:
    """Let an instance in memory use its connections again.

    Dagster makes one for each question, and sets what it sets for files: a sixth of a small run's time.
    """
    event_logs.create_engine = runs.create_engine = _engine
    event_logs.InMemoryEventLogStorage._connect = _locked  # type: ignore[method-assign]
    event_logs.InMemoryEventLogStorage._has_asset_key_col_on_connection = _has_column  # type: ignore[method-assign]
    runs.InMemoryRunStorage.connect = _begun  # type: ignore[method-assign]


def copy_tables() -> None:
    """Let the tables of instances in memory be made from those of the first one.

    To ask for each of forty tables and indices, and then for the newest migration, takes longer than to make them.
    """
    event_logs.SqlEventLogStorageMetadata = _Tables(event_logs.SqlEventLogStorageMetadata, event_logs)  # type: ignore[assignment]
    runs.RunStorageSqlMetadata = _Tables(runs.RunStorageSqlMetadata, runs)  # type: ignore[assignment]


class _Tables:
    """What a storage's module makes its tables by; they have the number of the newest migration, too."""

    def __init__(self, metadata: MetaData, module: ModuleType) -> None:
        self._metadata, self._path, self._script = metadata, str(module.__file__), ""
        vars(module)["stamp_alembic_rev"] = lambda config, connection: None

    def create_all(self, connection: Connection) -> None:
        """Make them in an empty database."""
        database: Any = connection.connection.driver_connection
        if self._script:
            database.executescript(self._script)
            return
        self._metadata.create_all(connection)
        stamp_alembic_rev(get_alembic_config(self._path, "sqlite/alembic/alembic.ini"), connection)
        self._script = "\n".join(database.iterdump())


def keep_no_progress() -> None:
    """Let an instance in memory forget the events by which a step only goes on; a result of a run has them all the same.

    What is made, observed and checked, what fails, what is logged and how the run ends is kept: all that is ever asked for.
    """
    store = event_logs.InMemoryEventLogStorage.store_event

    def stored(storage: event_logs.InMemoryEventLogStorage, event: EventLogEntry) -> None:
        happened = event.dagster_event
        kept = happened is None or happened.event_type not in _PROGRESS
        if kept or getattr(happened.event_specific_data, "error", None) is not None:  # type: ignore[union-attr]
            store(storage, event)

    event_logs.InMemoryEventLogStorage.store_event = stored  # type: ignore[method-assign]


def remember_no_inputs() -> None:
    """Let a step not note which versions of its inputs it read, which no test looks at.

    Dagster asks for each input's latest materialization and observation, and makes the keys of all its partitions: a
    twentieth of a small run's time.
    """

    def fetched(versions: DataVersionCache, keys: Sequence[dg.AssetKey]) -> None:
        versions.input_asset_version_info.update(dict.fromkeys(keys))

    DataVersionCache._fetch_input_asset_version_info = fetched  # type: ignore[method-assign]


def read_once() -> None:
    """Let an instance in memory read what it keeps once, and know what its tables have: they were made a moment ago.

    Dagster asks the tables each time, and looks into the log for materializations that it has found already.
    """
    storage = event_logs.InMemoryEventLogStorage
    search = storage._get_latest_materialization_records

    def latest(self: event_logs.InMemoryEventLogStorage, rows: Sequence[Any]) -> Mapping[dg.AssetKey, Any]:
        if all(row["last_materialization"] and not row["asset_details"] for row in rows):
            return {_key(row["asset_key"]): _materialization(row["last_materialization"]) for row in rows}
        return search(self, rows)

    def parsed(self: runs.InMemoryRunStorage, row: Mapping[str, Any]) -> dg.DagsterRun:
        return _run(row["run_body"]).with_status(dg.DagsterRunStatus(row["status"]))

    storage._get_latest_materialization_records = latest  # type: ignore[method-assign, assignment]
    storage.has_asset_key_col = lambda self, name: True  # type: ignore[method-assign]
    storage.supports_asset_checks = True  # type: ignore[assignment]
    runs.InMemoryRunStorage._row_to_run = parsed  # type: ignore[method-assign, assignment]
    runs.InMemoryRunStorage.has_run_stats_index_cols = lambda self: True  # type: ignore[method-assign]


@lru_cache(1000)
def _key(text: str) -> dg.AssetKey:
    key = dg.AssetKey.from_db_string(text)
    assert key is not None
    return key


@lru_cache(100)
def _materialization(text: str) -> EventLogRecord:
    return deserialize_value(text, EventLogRecord)


@lru_cache(100)
def _run(text: str) -> dg.DagsterRun:
    return deserialize_value(text, dg.DagsterRun)


def keep_no_jobs() -> None:
    """Let a run of an instance in memory be kept without the description of its job and plan, which no test looks at.

    Dagster describes all of a job and its plan, and writes both, for each run: a fifth of a small run's time. Instances on a
    disk keep them.
    """
    create = RunDomain.create_run_for_job

    def created(domain: RunDomain, *arguments: Any, **named: Any) -> dg.DagsterRun:
        token = _UNDESCRIBED.set(domain._instance.is_ephemeral)
        try:
            return create(domain, *arguments, **named)
        finally:
            _UNDESCRIBED.reset(token)

    RunDomain.create_run_for_job = created  # type: ignore[method-assign]
    for name in ("_log_asset_planned_events", "ensure_persisted_execution_plan_snapshot"):
        setattr(RunDomain, name, _left_out(getattr(RunDomain, name)))
    for name in ("get_job_snapshot", "get_job_snapshot_id", "get_parent_job_snapshot"):
        setattr(dg.JobDefinition, name, _described(getattr(dg.JobDefinition, name)))


_PROGRESS = {
    dg.DagsterEventType.ENGINE_EVENT,
    dg.DagsterEventType.HANDLED_OUTPUT,
    dg.DagsterEventType.LOADED_INPUT,
    dg.DagsterEventType.LOGS_CAPTURED,
    dg.DagsterEventType.RESOURCE_INIT_STARTED,
    dg.DagsterEventType.RESOURCE_INIT_SUCCESS,
    dg.DagsterEventType.STEP_INPUT,
    dg.DagsterEventType.STEP_OUTPUT,
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
}
_UNDESCRIBED: ContextVar[bool] = ContextVar("undescribed", default=False)


def _left_out(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a run's domain that does nothing for an instance in memory."""

    def done(domain: RunDomain, *arguments: Any, **named: Any) -> Any:
        return None if domain._instance.is_ephemeral else method(domain, *arguments, **named)

    return done


def _described(method: Callable[[dg.JobDefinition], Any]) -> Callable[[dg.JobDefinition], Any]:
    """A method of a job that asks an empty job, where what is answered is only kept with a run."""
    return lambda job: method(_empty_job() if _UNDESCRIBED.get() else job)


@cache
def _empty_job() -> dg.JobDefinition:
    return dg.JobDefinition(graph_def=dg.GraphDefinition("empty"), resource_defs={})


def _engine(url: str, **_: Any) -> Engine:
    engine = create_engine(url, poolclass=QueuePool, max_overflow=-1, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", lambda connection, record: connection.execute("PRAGMA foreign_keys=ON"))
    return engine


def _has_column(storage: Any, connection: Any, name: str) -> bool:
    """True: the tables were made a moment ago. Dagster asks them each time."""
    return True


@contextmanager
def _locked(storage: Any) -> Iterator[Any]:
    with storage._db_lock, _begun(storage) as connection:
        yield connection


@contextmanager
def _begun(storage: Any) -> Iterator[Any]:
    with storage._engine.connect() as connection, connection.begin():
        yield connection
