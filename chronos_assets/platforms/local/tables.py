"""SQL tables over the store's files: one DuckDB database, the local Athena.

Here: the database, its tables, their comments, and replacing it safely. Elsewhere: questions asked
of it (`timeseries.forecast.query`), or making the files that it is built from.

The database is built beside the published one and swapped in with one rename, so that `tables/forecast.duckdb` can be
opened at any moment, by any number of readers, whatever is running or has been killed. No process of ours ever has the
published file open for writing. A reader that has it open keeps reading what it opened; the next one sees the new
tables. Whatever a client writes into it is lost with the next refresh.

Item ids and dimensions are data: they pass through as values, never as text of a statement.

POSIX only (Linux, macOS), as `publishing`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from duckdb import DuckDBPyConnection

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.partition_folders import by_folder, partition_of
from chronos_assets.platforms.file_locks import locked_file
from chronos_assets.platforms.local.duck_tables import DuckTables
from chronos_assets.platforms.local.item_zones import write_zones
from chronos_assets.platforms.local.publishing import current
from chronos_assets.platforms.store import Store, StoreError
from chronos_assets.platforms.tables import (
    COMMENTS,
    MEMBER_VIEWS,
    PARTITION_TABLES,
    TABLES,
    VIEWS,
    column_comment,
    forecast_columns,
    forecast_type_names,
    in_order,
    member_view_sql,
    train_columns,
    view_sql,
    what_if_columns,
)
from chronos_assets.store_layout import DATABASE_KEY, DATASET_KEY, scenario_of
from chronos_assets.system import document_digest, file_digest, sync
from chronos_assets.timeseries.dataset.duckdb_sql import (
    DEFAULT_MEMORY,
    column_names,
    first_row,
    identifier,
    identifiers,
    parquet_rows,
    reading_connection,
    scratch_connection,
    text_literal,
)
from chronos_assets.timeseries.dataset.shards import list_files
from chronos_assets.timeseries.forecast.query import SeriesQuestion, query_forecast
from chronos_assets.timeseries.published_files import DATASET_MANIFEST, FORECAST

# Raised whenever the tables are built in another way, so that old databases are rebuilt.
_LAYOUT = 7
# Clients from DuckDB 1.2 on can read the file; DuckDB 2.0 would write its own format otherwise.
_STORAGE_VERSION = "v1.2.0"
_ATTEMPTS = 3


PartitionFiles = tuple[tuple[str, Path], ...]
"""(partition or scenario, file) of every one of a table."""


class LocalTables:
    """`Tables` in a DuckDB file of a store on this machine."""

    def __init__(self, *, memory_limit: str = DEFAULT_MEMORY) -> None:
        self._memory_limit = memory_limit

    def database(self, store: Store) -> Path:
        """Path of the database, which exists after the first refresh."""
        return store.local_path(DATABASE_KEY)

    def place(self, store: Store) -> str:
        """See `Tables.place`: the database's path."""
        path = self.database(store)
        return str(path) if path.is_file() else ""

    def is_whole(self, store: Store) -> bool:
        """See `Tables.is_whole`: the file is compared with its digest."""
        return _is_whole(self.database(store))

    def version(self, store: Store) -> str:
        """See `Tables.version`: each refresh writes a new file."""
        status = self.database(store).stat()
        return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"

    def sql(self, store: Store) -> DuckTables:
        """See `Tables.sql`: the database, opened for reading."""
        return DuckTables(self.database(store), memory_limit=self._memory_limit)

    def query(self, store: Store, question: SeriesQuestion) -> dict[str, Any]:
        """See `Tables.query`: from the published forecast itself, which may be newer than the database."""
        path = store.snapshot("forecast") / FORECAST
        if not path.is_file():
            raise FileNotFoundError(f"there is no forecast at {path}")
        return query_forecast(path, question)

    def refresh(self, store: Store, params: ForecastParams) -> dict[str, int]:
        """Bring the database up to date with the store's files; rows of each table, and of the view.

        A database that is up to date is not touched. What does not exist yet gives empty tables with the same columns.

        Raises:
            StoreError: when the store is not on this machine, or its files keep changing while they are read.
        """
        database = self.database(store)
        folder = database.parent
        folder.mkdir(parents=True, exist_ok=True)
        with locked_file(folder / ".lock"):  # one refresh at a time
            leftovers = folder / ".building"
            shutil.rmtree(leftovers, ignore_errors=True)
            for _ in range(_ATTEMPTS):
                inputs = _Inputs.find(store, params)
                if (rows := _rows_if_current(database, inputs.digest)) is not None:
                    return rows
                try:
                    rows = _build(leftovers / database.name, inputs, params, self._memory_limit)
                except Exception:
                    # A newer version may have taken the place of a file under our hands; else it is a real error.
                    shutil.rmtree(leftovers, ignore_errors=True)
                    if _Inputs.find(store, params) == inputs:
                        raise
                    continue
                digest = file_digest(leftovers / database.name)
                _swap_in(leftovers / database.name, database)
                _note_of(database).write_text(digest + "\n")
                shutil.rmtree(leftovers)
                return rows
        raise StoreError(f"{store.url}: the files changed {_ATTEMPTS} times while {database} was built; run it again")


@dataclass(frozen=True)
class _Inputs:
    """The files to build from, of one version each, and a digest that changes when they do."""

    shards: tuple[Path, ...]
    forecast: Path | None
    partitions: Mapping[str, PartitionFiles]  # by table
    scenarios: PartitionFiles
    digest: str

    @classmethod
    def find(cls, store: Store, params: ForecastParams) -> _Inputs:
        dataset = current(store.local_path(DATASET_KEY))
        shards = tuple(list_files(dataset)) if (dataset / DATASET_MANIFEST).exists() else ()
        shown = current(store.local_path("forecast")) / FORECAST
        forecast = shown if shown.exists() else None
        partitions = {
            name: _partition_files(store.local_path(table.folder), table.file)
            for name, table in PARTITION_TABLES.items()
        }
        scenarios = _partition_files(store.local_path("what_if_forecasts"), "what_if.parquet", scenario_of)
        parts = (*partitions.values(), scenarios)
        files = [*shards, *([forecast] if forecast else []), *(path for part in parts for _, path in part)]
        described = [_LAYOUT, _STORAGE_VERSION, params.dimensions, params.quantiles, params.mean]
        described += [[value for value, _ in part] for part in parts]
        described += [_fingerprint(path) for path in files]
        digest = document_digest(described)
        return cls(shards, forecast, partitions, scenarios, digest)


def _partition_files(folder: Path, name: str, value_of: Callable[[str], str | None] = partition_of) -> PartitionFiles:
    """(value, file) of every partition folder that holds the file, in order; `value_of` knows the value by its name."""
    found = []
    for tries in by_folder(os.listdir(folder)) if folder.is_dir() else ():
        value, versions = value_of(tries[0]), (current(folder / one) for one in tries)
        if value is not None and (version := next(filter(Path.is_dir, versions), None)) and (version / name).exists():
            found.append((value, version / name))
    return tuple(sorted(found))


def _fingerprint(path: Path) -> tuple[str, int, int]:
    """Tells versions of a file apart. Published folders are never written to again, so size and time suffice."""
    status = path.stat()
    return path.parent.name + "/" + path.name, status.st_size, status.st_mtime_ns


def _rows_if_current(database: Path, digest: str) -> dict[str, int] | None:
    """The rows of a database that was built from inputs of this digest, else None."""
    if not _is_whole(database) or _log_of(database).exists():
        return None
    try:
        with reading_connection(database) as connection:
            if connection.execute("SELECT digest FROM _meta").fetchall() != [(digest,)]:
                return None
            return _count_rows(connection)
    except duckdb.Error:
        # Not ours, damaged, or locked by a client that writes: replaced by a new one either way.
        return None


def _count_rows(connection: DuckDBPyConnection) -> dict[str, int]:
    return {
        table: int(first_row(connection, f"SELECT count(*) FROM {identifier(table)}")[0])  # noqa: S608 - constants
        for table in TABLES
    }


def _build(path: Path, inputs: _Inputs, params: ForecastParams, memory_limit: str) -> dict[str, int]:
    """Write a database at `path`; the rows of each table."""
    path.parent.mkdir(parents=True)
    with scratch_connection(
        path.parent,
        memory_limit=memory_limit,
        database=path,
        settings={"storage_compatibility_version": _STORAGE_VERSION},
    ) as connection:
        _create_train(connection, inputs.shards, params)
        _create_forecast(connection, inputs.forecast, params)
        types = forecast_type_names(params)
        for name, table in PARTITION_TABLES.items():
            _create_partitioned(connection, name, inputs.partitions[name], table.columns(params.dimensions, types))
        _create_what_if(connection, inputs.scenarios, params)
        write_zones(connection)
        _create_views(connection)
        _comment(connection)
        connection.execute("CREATE TABLE _meta AS SELECT ? AS digest", [inputs.digest])
        rows = _count_rows(connection)
        connection.execute("CHECKPOINT")
    return rows


def _create_train(connection: DuckDBPyConnection, shards: tuple[Path, ...], params: ForecastParams) -> None:
    if not shards:
        _create_empty(connection, "train", train_columns(params.dimensions))
        return
    # SQL has NULL for what is missing; NaN would spoil every sum and average. Of one file whose statistics say nothing of
    # NaN, DuckDB 2.0 takes isnan() to be false throughout.
    known = "CASE WHEN isfinite(target) THEN target END AS target"
    connection.execute(f"CREATE TABLE train AS SELECT * REPLACE ({known}) FROM {parquet_rows(*shards)}")  # noqa: S608


def _create_forecast(connection: DuckDBPyConnection, path: Path | None, params: ForecastParams) -> None:
    if path is None:
        _create_empty(connection, "forecast", forecast_columns(params.dimensions, forecast_type_names(params)))
        return
    connection.execute(f"CREATE TABLE forecast AS FROM {parquet_rows(path)}")


def _create_what_if(connection: DuckDBPyConnection, files: PartitionFiles, params: ForecastParams) -> None:
    """All scenarios' rows, which name their scenario; made with other parameters, they may have other columns."""
    if not files:
        _create_empty(connection, "what_if_forecasts", what_if_columns(params.dimensions, forecast_type_names(params)))
        return
    rows = parquet_rows(*(path for _, path in files), options="union_by_name = true")
    connection.execute(f"CREATE TABLE what_if_forecasts AS FROM {rows}")


def _create_partitioned(
    connection: DuckDBPyConnection, table: str, files: PartitionFiles, columns: Mapping[str, str]
) -> None:
    """A table of all partitions' rows, with their partition in the column as_of.

    Partitions made with other parameters may have other columns: the table has all of them.
    """
    if not files:
        _create_empty(connection, table, {"as_of": "VARCHAR", **columns})
        return
    paths = [path for _, path in files]
    # No dimension can be called _file: names begin with a letter.
    connection.register(
        "partitions", pa.table({"as_of": [as_of for as_of, _ in files], "_file": list(map(str, paths))})
    )
    rows = parquet_rows(*paths, options="union_by_name = true, filename = '_file'")
    connection.execute(f"CREATE TEMP VIEW files AS FROM {rows}")
    names = [name for name in column_names(connection, "files") if name != "_file"]
    connection.execute(
        f"CREATE TABLE {identifier(table)} AS SELECT as_of, {identifiers(in_order(names))} "  # noqa: S608 - quoted
        "FROM files JOIN partitions USING (_file)"
    )
    connection.execute("DROP VIEW files")
    connection.unregister("partitions")


def _create_views(connection: DuckDBPyConnection) -> None:
    """Those of the members, and the long union of observations and the current forecast."""
    members = {name: kind for name, kind in _described(connection, "members").items() if name != "as_of"}
    for view in MEMBER_VIEWS:
        connection.execute(f"CREATE VIEW {view} AS {member_view_sql(view, members)}")
    query = view_sql(column_names(connection, "train"), column_names(connection, "forecast"))
    connection.execute(f"CREATE VIEW forecast_vs_history AS {query}")


def _described(connection: DuckDBPyConnection, table: str) -> dict[str, str]:
    """Column -> type of a table."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {identifier(table)}").fetchall()}


def _comment(connection: DuckDBPyConnection) -> None:
    """Describe every table and column in the database itself, where clients show it."""
    said = [
        f"COMMENT ON {'VIEW' if table in VIEWS else 'TABLE'} {identifier(table)} IS {text_literal(comment)}"
        for table, (comment, _) in COMMENTS.items()
    ]
    columns = connection.execute("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal").fetchall()
    said += [
        f"COMMENT ON COLUMN {identifier(table)}.{identifier(name)} IS {text_literal(column_comment(table, name))}"
        for table, name in columns
        if table in COMMENTS
    ]
    # In one go: each comment would be a transaction of its own, with a write to the log.
    connection.execute(f"BEGIN; {'; '.join(said)}; COMMIT")


def _create_empty(connection: DuckDBPyConnection, table: str, columns: Mapping[str, str]) -> None:
    described = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
    connection.execute(f"CREATE TABLE {identifier(table)} ({described})")


def _swap_in(built: Path, database: Path) -> None:
    """Publish a database file atomically, synced to disk."""
    sync(built)
    # A client that opened the old file for writing may have left a log beside it, which must not be replayed on ours.
    _log_of(database).unlink(missing_ok=True)
    os.replace(built, database)
    sync(database.parent)


def _is_whole(database: Path) -> bool:
    """Whether a database has the bytes that the last refresh gave it; not so once it is cut, or written to."""
    try:
        return _note_of(database).read_text().strip() == file_digest(database)
    except FileNotFoundError:
        return False


def _note_of(database: Path) -> Path:
    """The file with a database's digest. Killed before it is written, a refresh is done again."""
    return database.with_name(f".{database.name}.sha256")


def _log_of(database: Path) -> Path:
    """DuckDB's write-ahead log of a file that someone has, or had, open for writing."""
    return database.with_name(database.name + ".wal")
