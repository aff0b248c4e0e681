"""Dagster's instances in memory, cheaper: hundreds of tests make one, and ask it a hundred times a run.

Here: how they connect. Elsewhere: what they keep, which is Dagster's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log import in_memory as event_logs
from dagster._core.storage.runs import in_memory as runs
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool


def share_connections() -> None:
    """Let an instance in memory use its connections again.

    Dagster makes one for each question, and sets what it sets for files: a sixth of a small run's time.
    """
    event_logs.create_engine = runs.create_engine = _engine
    event_logs.InMemoryEventLogStorage._connect = _locked  # type: ignore[method-assign]
    runs.InMemoryRunStorage.connect = _begun  # type: ignore[method-assign]


def _engine(url: str, **_: Any) -> Engine:
    engine = create_engine(url, poolclass=QueuePool, max_overflow=-1, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", lambda connection, record: connection.execute("PRAGMA foreign_keys=ON"))
    return engine


@contextmanager
def _locked(storage: Any) -> Iterator[Any]:
    with storage._db_lock, _begun(storage) as connection:
        yield connection


@contextmanager
def _begun(storage: Any) -> Iterator[Any]:
    with storage._engine.connect() as connection, connection.begin():
        yield connection
