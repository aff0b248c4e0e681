"""Dagster's instances in memory, cheaper: hundreds of tests make one, and ask it a hundred times a run.

Here: how they connect, and what of a run isn't kept. Elsewhere: what they keep, which is Dagster's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any, cast

import dagster as dg
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.context.data_version_cache import DataVersionCache
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.instance.runs.run_domain import RunDomain
from dagster._core.storage.event_log import in_memory as event_logs
from dagster._core.storage.runs import in_memory as runs
from dagster._core.storage.sql import get_alembic_config, stamp_alembic_rev
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


def list_no_partitions() -> None:
    """Let a step not list the partitions of its inputs.

    Dagster makes the keys of all of them, and finds from a hundred on that they are too many to ask for their versions.
    """
    begin = DataVersionCache.__init__

    def begun(versions: DataVersionCache, context: StepExecutionContext) -> None:
        begin(versions, cast(StepExecutionContext, _Unpartitioned(context)))

    DataVersionCache.__init__ = begun  # type: ignore[method-assign]


class _Unpartitioned:
    """The context of a step whose inputs have no partitions."""

    def __init__(self, context: StepExecutionContext) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def has_asset_partitions_for_input(self, name: str) -> bool:
        """No."""
        return False


def keep_no_jobs() -> None:
    """Let a run of an instance in memory be kept without the description of its job, which no test looks at.

    Dagster describes all of a job, and writes it, for each run: a seventh of a small run's time. Instances on a disk keep it.
    """
    create = RunDomain.create_run_for_job

    def created(domain: RunDomain, *arguments: Any, **named: Any) -> dg.DagsterRun:
        token = _UNDESCRIBED.set(domain._instance.is_ephemeral)
        try:
            return create(domain, *arguments, **named)
        finally:
            _UNDESCRIBED.reset(token)

    RunDomain.create_run_for_job = created  # type: ignore[method-assign]
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
