"""How this process reads and writes Dagster's SQLite databases: by few connections, with few waits for the disk.

Dagster makes an engine and a connection for each question. So each statement is compiled again, a fifth of what a small run
computes. And as the last connection to a database closes, SQLite moves its log into the database, with four waits for the
disk at each of a run's hundred events: most of the time between a dropped file and its forecast.

Here: engines that are kept, and the connection that each keeps. Elsewhere: what an instance is (`instance`).

- **A crash loses nothing.** What is committed is in the log, which the next process reads, however this one ended. Only a
  machine that loses its power may forget the last events (`synchronous = NORMAL`), and never the database: what
  Dagster doesn't know of is made again.
- **A connection is of the file that is there.** One that was removed or replaced is opened again.
- **No process inherits one.** SQLite's connections don't survive a fork, so that they are closed before.
- **Who watches a file sees it change.** The UI follows a run by the time of its database, which the log leaves alone.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
from collections.abc import Callable
from functools import cache, partial
from threading import Lock
from typing import Any
from weakref import WeakSet

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

_STORAGES = (
    "event_log.sqlite.sqlite_event_log",
    "runs.sqlite.sqlite_run_storage",
    "schedules.sqlite.sqlite_schedule_storage",
)
ENGINES = 16  # kept of each storage: each run has a database
_FILE, _CHANGES = "chronos_assets_file", "chronos_assets_changes"  # what is noted of a connection


class _KeptConnection(QueuePool):
    """The pool of a kept engine: one connection waits for its next use."""

    def dispose(self) -> None:
        """Keep it: Dagster disposes of an engine after each use."""

    def recreate(self) -> QueuePool:
        """See `dispose`."""
        return self

    def empty(self) -> None:
        """Close it; the next use opens another one."""
        super().dispose()


_pools: WeakSet[_KeptConnection] = WeakSet()
_listing = Lock()  # held while pools are listed or one is added: threads do both


@cache
def keep_engines() -> None:
    """Let this process keep engines and connections of Dagster's SQLite databases.

    A release that makes them in another way takes as long as it does.
    """
    for name in _STORAGES:
        module: Any = importlib.import_module(f"dagster._core.storage.{name}")
        if hasattr(module, "create_engine"):
            module.create_engine = keeping_engines(module.create_engine)
    atexit.register(close_connections)
    os.register_at_fork(before=close_connections)


def close_connections() -> None:
    """Close the connections that wait: what is in the logs goes into the databases."""
    with _listing:
        pools = list(_pools)
    for pool in pools:
        pool.empty()


def keeping_engines(create_engine: Callable[..., Engine]) -> Callable[..., Engine]:
    """`create_engine`, which gives the engine of a database again."""
    engines: dict[str, Engine] = {}
    keeping = Lock()

    def engine_of(url: str, **options: Any) -> Engine:
        key = f"{url} {sorted(options.items())}"
        with keeping:
            engine = engines.pop(key, None) or _new_engine(create_engine, url, options)
            engines[key] = engine  # the newest comes last
            if len(engines) > ENGINES:
                _pool_of(engines.pop(next(iter(engines)))).empty()
        return engine

    return engine_of


def _new_engine(create_engine: Callable[..., Engine], url: str, options: dict[str, Any]) -> Engine:
    own = {"poolclass": _KeptConnection, "pool_size": 1, "max_overflow": -1}
    engine = create_engine(url, **{**options, **own})
    path = str(engine.url.database)
    for name, listener in (("connect", _connected), ("checkout", _taken), ("checkin", _given_back)):
        event.listen(engine, name, partial(listener, path))
    with _listing:
        _pools.add(_pool_of(engine))
    return engine


def _pool_of(engine: Engine) -> _KeptConnection:
    assert isinstance(engine.pool, _KeptConnection)  # noqa: S101 - made so
    return engine.pool


def _connected(path: str, connection: Any, record: Any) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
    record.info[_FILE] = _file(path)


def _taken(path: str, connection: Any, record: Any, _: Any) -> None:
    if record.info[_FILE] != _file(path):
        raise DisconnectionError(f"{path} is another file by now")  # SQLAlchemy connects again
    record.info[_CHANGES] = connection.total_changes


def _given_back(path: str, connection: Any, record: Any) -> None:
    if connection is not None and connection.total_changes != record.info.get(_CHANGES):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)


def _file(path: str) -> tuple[int, int] | None:
    """Tells a file from another one of the same name; None if there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
