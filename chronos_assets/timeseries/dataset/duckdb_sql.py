"""How this package uses DuckDB: bounded connections, and names and paths that can't be mistaken for SQL.

Queries themselves belong to the modules that need them. Values always go in as parameters; identifiers and paths, which
can't, through `identifier` and `parquet_argument`.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from chronos_assets.timeseries.dataset.duckdb_instances import own_database

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DEFAULT_MEMORY = "1GB"
DEFAULT_THREADS = 2  # more threads hold more buffers, so the memory limit could not be kept


@contextmanager
def scratch_connection(
    scratch: Path,
    *,
    memory_limit: str = DEFAULT_MEMORY,
    threads: int = DEFAULT_THREADS,
    database: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[DuckDBPyConnection]:
    """A DuckDB connection that keeps within `memory_limit` by spilling to a folder below `scratch`, removed at the end.

    `database` is a file to open for writing; in memory without one. `settings` are further settings of DuckDB for a file.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".duckdb-", dir=scratch) as spill:
        limits: dict[str, str | int] = {"memory_limit": memory_limit, "threads": threads, "temp_directory": spill}
        with _opened(database, {**limits, **(settings or {})}) if database else own_database(limits) as connection:
            # On a terminal it would be drawn into the middle of our own messages.
            connection.execute("SET enable_progress_bar = false")
            # Or times with a zone would be texts on this machine's clock.
            connection.execute("SET TimeZone = 'UTC'")
            yield connection


@contextmanager
def reading_connection(database: Path) -> Iterator[DuckDBPyConnection]:
    """A DuckDB connection that reads a database file, as it is now: one that replaces it is seen by the next connection.

    Raises:
        duckdb.Error: there is none, it isn't a database, or somebody writes to it.
    """
    with TemporaryDirectory() as folder, scratch_connection(Path(folder)) as connection:
        connection.execute(f"ATTACH {text_literal(str(database))} AS published (READ_ONLY); USE published")
        yield connection
        connection.execute("USE memory; DETACH published")


def _opened(database: Path, settings: Mapping[str, str | int]) -> DuckDBPyConnection:
    """A file on an instance of its own, which reads and writes it until it is closed."""
    import duckdb

    # No query of this package may fetch an extension or write a file outside of what it names.
    return duckdb.connect(str(database), config={**settings, "autoinstall_known_extensions": False})


def identifier(name: str) -> str:
    """A name of a column or table as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def identifiers(names: tuple[str, ...] | list[str], *, table: str | None = None) -> str:
    """Names as a comma separated list, each qualified by a table alias if one is given."""
    prefix = f"{table}." if table else ""
    return ", ".join(prefix + identifier(name) for name in names)


def text_literal(text: str) -> str:
    """A text as an SQL literal, for the few places that take no parameter."""
    return "'" + text.replace("'", "''") + "'"


def parquet_argument(path: Path) -> str:
    """A path for `read_parquet`, which would otherwise take brackets, stars and question marks for a pattern."""
    return glob.escape(str(path))


def parquet_rows(*files: Path, options: str = "") -> str:
    """The rows of Parquet files, to stand behind FROM.

    They have the columns of the files alone: a folder's name such as `as_of=2024-01-01` adds none.

    Args:
        files: their paths.
        options: more of `read_parquet`, such as `union_by_name = true`.
    """
    paths = ", ".join(text_literal(parquet_argument(file)) for file in files)
    return f"read_parquet([{paths}], {', '.join(filter(None, ['hive_partitioning = false', options]))})"


def first_row(connection: DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> tuple[Any, ...]:
    """The first row of a query that always has one, such as a count.

    Reads the result to its end: since DuckDB 2.0 a connection with an unfinished result refuses other work.
    """
    return tuple(connection.execute(sql, list(parameters)).fetchall()[0])


def column_names(connection: DuckDBPyConnection, relation: str) -> list[str]:
    """The columns of a table or view, in order."""
    return [row[0] for row in connection.execute(f"DESCRIBE {identifier(relation)}").fetchall()]
