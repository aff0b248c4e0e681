"""Databases in memory on a DuckDB instance that this process keeps: a new one costs 15 ms, another use of one costs 1.

An instance registers its 3,000 functions as it begins, whatever its settings. A forecast run opens forty connections, so
that it would spend a third of its own time on that.

Here: who may use the instance, and what a use leaves behind, which is nothing. Elsewhere: queries, and the connections that
modules ask for (`duckdb_sql`).

- **One use at a time.** An instance has one memory limit, one folder to spill to and one error that ends it. Whoever comes
  while it is in use gets another one; only one is kept.
- **Nothing is left.** A use has a connection and a database of its own. An instance whose use failed, or that has spilled, is
  closed.
- **No process inherits it.** Its threads would be missing after a fork, so that it is closed before.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_OWN = "own_database"

_kept: list[DuckDBPyConnection] = []  # one, or none
_keeping = Lock()


@contextmanager
def own_database(settings: Mapping[str, str | int]) -> Iterator[DuckDBPyConnection]:
    """A connection to an empty database in memory, which goes with all that is in it.

    Args:
        settings: of DuckDB, the same ones in all uses: a use begins with what it names, and with the last one's rest.
            Among them is `temp_directory`, which may be removed after the block.
    """
    instance = _take()
    try:
        for name, value in settings.items():
            instance.execute(f"SET {name} = ?", [value])
        with instance.cursor() as connection:
            connection.execute(f"ATTACH ':memory:' AS {_OWN}; USE {_OWN}")
            yield connection
    except BaseException:
        instance.close()
        raise
    _give_back(instance)


def _take() -> DuckDBPyConnection:
    import duckdb

    with _keeping:
        if _kept:
            return _kept.pop()
    _close_in_time()
    # No query of this package may fetch an extension.
    return duckdb.connect(config={"autoinstall_known_extensions": False})


def _give_back(instance: DuckDBPyConnection) -> None:
    import duckdb

    try:
        instance.execute(f"DETACH {_OWN}")
        instance.execute("SET temp_directory = ''")
    except duckdb.Error:  # it has spilled, and keeps to its folder; or a result that was never read holds the database
        instance.close()
        return
    with _keeping:
        if not _kept:
            _kept.append(instance)
            return
    instance.close()


@cache
def _close_in_time() -> None:
    """Have the instance closed before forks, and at the end of this process; once for each process and its children."""
    atexit.register(_close_kept)
    os.register_at_fork(before=_hold_empty, after_in_parent=_keeping.release, after_in_child=_keeping.release)


def _hold_empty() -> None:
    """Close the instance, and let no other thread keep one until the process has forked."""
    _keeping.acquire()
    while _kept:
        _kept.pop().close()


def _close_kept() -> None:
    with _keeping:
        while _kept:
            _kept.pop().close()
