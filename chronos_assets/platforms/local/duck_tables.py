"""Questions to the published database: DuckDB, opened for reading only.

Here: one opened version of the database. Elsewhere: building and replacing it (`tables`).

The database is attached to an engine of its own: DuckDB keeps one instance for each path of a process, so that whoever
connects to the path itself would keep reading the file that was replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from chronos_assets.platforms.local.item_zones import ZONES, zones_of
from chronos_assets.platforms.tables import FIX, TablesError, item_query
from chronos_assets.timeseries.dataset.duckdb_sql import DEFAULT_MEMORY, text_literal
from chronos_assets.wording import first_line


class DuckTables:
    """`SqlTables` of a database file.

    Args:
        path: of the file.
        memory_limit: what DuckDB may use.

    Raises:
        FileNotFoundError: there is none.
        TablesError: it isn't a database, or can't be read.
    """

    def __init__(self, path: Path, *, memory_limit: str = DEFAULT_MEMORY) -> None:
        self._path = path
        path.stat()  # DuckDB's own error doesn't tell a missing file from a damaged one
        try:
            self._engine = duckdb.connect(
                config={"memory_limit": memory_limit, "autoinstall_known_extensions": "false"}
            )
            self._engine.execute(f"ATTACH {text_literal(str(path))} AS tables (READ_ONLY)")
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def columns(self, table: str) -> tuple[str, ...]:
        """See `SqlTables.columns`."""
        return tuple(self._columns.get(table, ()))

    def rows(self, sql: str, values: Sequence[str | datetime] = ()) -> list[tuple[Any, ...]]:
        """See `SqlTables.rows`; threads may ask at once."""
        try:
            with self._engine.cursor() as cursor:  # a connection of its own
                cursor.execute("USE tables")
                return cursor.execute(sql, list(values)).fetchall()
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def item_rows(self, table: str, columns: Sequence[str], key: Mapping[str, str]) -> list[tuple[Any, ...]]:
        """See `SqlTables.item_rows`: reads the stretches of rows that can hold the item."""
        statement, values = item_query(table, columns, key)
        if table not in self._zoned:
            return self.rows(statement, values)
        try:
            with self._engine.cursor() as cursor:
                cursor.execute("USE tables")
                zones = zones_of(cursor, table, key["item_id"])
        except duckdb.Error as error:
            raise self._unreadable(error) from error
        if not zones:
            return []
        parts = [f"({statement} AND rowid BETWEEN {first:d} AND {last:d})" for first, last in zones]
        return self.rows(" UNION ALL ".join(parts), values * len(parts))

    @cached_property
    def _columns(self) -> Mapping[str, list[str]]:
        """Columns of every table and view: they stay as they are, since a refresh makes another file."""
        found: dict[str, list[str]] = {}
        described = "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'tables'"
        for table, name in self.rows(f"{described} ORDER BY table_name, column_index"):
            found.setdefault(table, []).append(name)
        return found

    @cached_property
    def _zoned(self) -> frozenset[str]:
        """Tables that the database has zones of; none in one of an older version."""
        if not self.columns(ZONES):
            return frozenset()
        return frozenset(table for (table,) in self.rows(f"SELECT DISTINCT table_name FROM {ZONES}"))  # noqa: S608

    def _unreadable(self, error: Exception) -> TablesError:
        return TablesError(f"the SQL tables in {self._path} can't be read ({first_line(error)}): {FIX}")
