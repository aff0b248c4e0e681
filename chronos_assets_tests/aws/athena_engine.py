"""An Athena that answers: DuckDB over the tables of a Glue database, whose Parquet files lie in S3.

Here: what a statement finds in Glue and S3, and what it makes of it. Elsewhere: HTTP and the life of a
query (`athena_backend.py`).

As far as the statements of this project need it, it is as strict as Athena: a `?` is an SQL literal put in by Athena and
may stand in the WHERE clause only; names of columns are in lower case; a file that is no Parquet, or has another type than
Glue says, fails the query; files whose names begin with `_` or `.` aren't read; a view whose columns are not those that it
was made with is stale; partitions are worked out from the projection, or are those that are registered, each at its location as
it is written.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb

from chronos_assets.timeseries.dataset.duckdb_sql import identifier, scratch_connection, text_literal

Table = Mapping[str, Any]

# Glue's type -> DuckDB's; DuckDB's -> Athena's.
TYPES = {"string": "VARCHAR", "timestamp": "TIMESTAMP", "double": "DOUBLE", "boolean": "BOOLEAN", "bigint": "BIGINT"}
ATHENA_TYPES = {kind: kind.lower() for kind in (*TYPES.values(), "INTEGER")} | {"HUGEINT": "bigint"}

MACROS = (
    "CREATE MACRO is_finite(x) AS isfinite(x)",
    "CREATE MACRO levenshtein_distance(a, b) AS levenshtein(a, b)",
)
LITERAL = re.compile(r"(?:timestamp\s+|date\s+)?'(?:[^']|'')*'|-?\d+(?:\.\d+)?", re.DOTALL | re.IGNORECASE)
FORMATS = {"yyyy-MM-dd": "%Y-%m-%d"}
NOW = re.compile(r"\s*NOW\s*(?:([+-])\s*(\d+)\s*(DAY|HOUR)S?\s*)?")


class QueryFailedError(Exception):
    """The reason that a failed query is given."""


@dataclass(frozen=True)
class Result:
    """Rows of a query, and (name, type) of its columns as Athena calls them."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Engine:
    """Answers queries.

    Attributes:
        table: the definition of a table of a database in Glue, None if there is none.
        s3: boto3 client of the files' bucket.
        folder: for copies of the files.
    """

    table: Callable[[str, str], Table | None]
    s3: Any
    folder: Path

    def execute(self, database: str, sql: str, parameters: Sequence[str] = ()) -> Result:
        """The answer to a SELECT; `QueryFailedError` says why there is none."""
        statement = substituted(sql, parameters)
        if not re.match(r"\s*(SELECT|WITH)\b", statement, re.IGNORECASE):
            raise QueryFailedError(f"NOT_SUPPORTED: this server answers SELECT statements only, not {statement[:40]!r}")
        with scratch_connection(self.folder, threads=1) as connection:
            for macro in MACROS:
                connection.execute(macro)
            self._define(connection, database, statement, set())
            try:
                cursor = connection.execute(statement)
                columns = tuple((name, ATHENA_TYPES[str(kind)]) for name, kind, *_ in cursor.description or [])
                return Result(columns, tuple(cursor.fetchall()))
            except duckdb.CatalogException as error:
                raise QueryFailedError(f"TABLE_NOT_FOUND: awsdatacatalog.{database}: {error}") from error
            except duckdb.Error as error:
                raise QueryFailedError(f"SYNTAX_ERROR: {error}") from error

    def _define(self, connection: duckdb.DuckDBPyConnection, database: str, sql: str, known: set[str]) -> None:
        """Make the tables that a statement may name."""
        for name in dict.fromkeys(re.findall(r"\w+", sql)):
            table = self.table(database, name.lower()) if name.lower() not in known else None
            if table is None:
                continue
            known.add(name.lower())
            if table["TableType"] == "VIRTUAL_VIEW":
                view = _view(table)
                self._define(connection, view["schema"], view["originalSql"], known)
                connection.execute(f"CREATE VIEW {identifier(name.lower())} AS {view['originalSql']}")
                _check_view(connection, name.lower(), view, table)
            else:
                connection.execute(f"CREATE VIEW {identifier(name.lower())} AS {self._files_sql(connection, table)}")

    def _files_sql(self, connection: duckdb.DuckDBPyConnection, table: Table) -> str:
        """A query over all files of a table."""
        descriptor = table["StorageDescriptor"]
        columns = {column["Name"]: TYPES[column["Type"]] for column in descriptor["Columns"]}
        keys = [key["Name"] for key in table.get("PartitionKeys", [])]
        if any(name != name.lower() for name in (*columns, *keys)):
            raise QueryFailedError(f"COLUMN_NOT_FOUND: Glue has names in lower case only, not {list(columns)}")
        nothing = [f"CAST(NULL AS {kind}) AS {identifier(name)}" for name, kind in columns.items()]
        nothing += [f"CAST(NULL AS VARCHAR) AS {identifier(name)}" for name in keys]
        parts = [f"SELECT {', '.join(nothing)} WHERE false"]
        for key, partition in self._objects(table):
            path = self._fetched(descriptor["Location"], key)
            there = _parquet_columns(connection, path)
            shown = []
            for name, kind in columns.items():
                found, actual = there.get(name, ("", kind))
                if actual != kind:
                    raise QueryFailedError(
                        f"HIVE_BAD_DATA: Field {name}'s type {actual} in parquet file {key} is incompatible with type "
                        f"{kind} defined in table schema"
                    )
                source = identifier(found) if found else f"CAST(NULL AS {kind})"
                shown.append(f"{source} AS {identifier(name)}")
            shown += [f"{text_literal(value)} AS {identifier(name)}" for name, value in partition.items()]
            parts.append(f"SELECT {', '.join(shown)} FROM read_parquet({text_literal(str(path))})")
        return " UNION ALL ".join(parts)

    def _objects(self, table: Table) -> Iterator[tuple[str, dict[str, str]]]:
        """Key of each file that is read, and its partition."""
        bucket, prefix = _parts(table["StorageDescriptor"]["Location"])
        keys = [key for key in self._list(bucket, prefix) if not _is_hidden(key.removeprefix(prefix))]
        if not table.get("PartitionKeys"):
            yield from ((key, {}) for key in keys)
            return
        parameters = table["Parameters"]
        if parameters.get("projection.enabled") != "true":
            yield from self._registered(table)
            return
        _, template = _parts(parameters["storage.location.template"])
        pattern = re.compile(re.escape(template).replace(re.escape("${as_of}"), "(?P<as_of>[^/]+)"))
        for key in keys:
            found = pattern.match(key)
            if found and _is_projected(found["as_of"], parameters):
                yield key, found.groupdict()

    def _registered(self, table: Table) -> Iterator[tuple[str, dict[str, str]]]:
        declared = {column["Name"]: column["Type"] for column in table["StorageDescriptor"]["Columns"]}
        (name,) = (key["Name"] for key in table["PartitionKeys"])
        for partition in table["Partitions"]:
            storage = partition["StorageDescriptor"]
            if {column["Name"]: column["Type"] for column in storage["Columns"]} != declared:
                raise QueryFailedError(f"HIVE_PARTITION_SCHEMA_MISMATCH: {partition['Values']} has other columns")
            bucket, prefix = _parts(storage["Location"])
            for key in self._list(bucket, prefix):
                if not _is_hidden(key.removeprefix(prefix)):
                    yield key, {name: partition["Values"][0]}

    def _list(self, bucket: str, prefix: str) -> Iterator[str]:
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from (entry["Key"] for entry in page.get("Contents", []) if entry["Size"])

    def _fetched(self, location: str, key: str) -> Path:
        """A copy of a file on this machine, which is a Parquet file."""
        bucket, _ = _parts(location)
        answer = self.s3.get_object(Bucket=bucket, Key=key)
        path = self.folder / f"{answer['ETag'].strip(chr(34))}.parquet"
        if not path.exists():
            content = answer["Body"].read()
            if content[:4] != b"PAR1" or content[-4:] != b"PAR1":
                raise QueryFailedError(
                    f"HIVE_BAD_DATA: Not valid Parquet file: s3://{bucket}/{key} expected magic number"
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        answer["Body"].close()
        return path


def substituted(sql: str, parameters: Sequence[str]) -> str:
    """The statement with its parameters put in."""
    parts = re.split(r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\?)", sql)
    left = list(parameters)
    for place, part in enumerate(parts):
        if part != "?":
            continue
        if not re.search(r"\bWHERE\b", "".join(parts[:place]), re.IGNORECASE):
            raise QueryFailedError("SYNTAX_ERROR: a parameter may stand in the WHERE clause only")
        if not left:
            raise QueryFailedError(f"Incorrect number of parameters: found {len(parameters)}")
        if not LITERAL.fullmatch(left[0]):
            raise QueryFailedError(f"SYNTAX_ERROR: execution parameter {left[0]!r} is no literal")
        parts[place] = left.pop(0)
    if left:
        raise QueryFailedError(f"Incorrect number of parameters: found {len(parameters)}")
    return "".join(parts)


def _view(table: Table) -> dict[str, Any]:
    found = re.fullmatch(r"/\* Presto View: ([A-Za-z0-9+/=]+) \*/", table["ViewOriginalText"])
    if found is None or table["Parameters"].get("presto_view") != "true":
        raise QueryFailedError(f"INVALID_VIEW: {table['Name']} is no view of Athena")
    return json.loads(base64.b64decode(found[1]))


def _check_view(connection: duckdb.DuckDBPyConnection, name: str, view: Mapping[str, Any], table: Table) -> None:
    actual = [(row[0].lower(), row[1]) for row in connection.execute(f"DESCRIBE {identifier(name)}").fetchall()]
    declared = [(column["name"], column["type"].upper()) for column in view["columns"]]
    in_glue = [(column["Name"], TYPES[column["Type"]]) for column in table["StorageDescriptor"]["Columns"]]
    if actual != declared or declared != in_glue:
        raise QueryFailedError(f"VIEW_IS_STALE: {name} has {actual}, was made with {declared}, in Glue {in_glue}")


def _parquet_columns(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, tuple[str, str]]:
    """Name in lower case -> name and type."""
    rows = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    return {row[0].lower(): (row[0], row[1]) for row in rows}


def _parts(location: str) -> tuple[str, str]:
    """Bucket and prefix of a location, which must be a folder's."""
    parts = urlsplit(location)
    if parts.scheme != "s3" or not location.endswith("/"):
        raise QueryFailedError(f"HIVE_INVALID_METADATA: {location!r} is no folder of S3")
    return parts.netloc, location.removeprefix(f"s3://{parts.netloc}/")


def _is_hidden(path: str) -> bool:
    return any(part.startswith(("_", ".")) for part in path.split("/"))


def _is_projected(key: str, parameters: Mapping[str, str]) -> bool:
    """Whether Athena works out a partition of this key."""
    if parameters.get("projection.enabled") != "true" or parameters["projection.as_of.type"] != "date":
        return False
    form = FORMATS[parameters["projection.as_of.format"]]
    first, last = (_moment(text, form) for text in parameters["projection.as_of.range"].split(","))
    unit = {"HOURS": timedelta(hours=1), "DAYS": timedelta(days=1)}[parameters["projection.as_of.interval.unit"]]
    try:
        moment = datetime.strptime(key, form)
    except ValueError:
        return False
    step = unit * int(parameters["projection.as_of.interval"])
    return moment.strftime(form) == key and first <= moment <= last and not (moment - first) % step


def _moment(text: str, form: str) -> datetime:
    found = NOW.fullmatch(text)
    if found is None:
        return datetime.strptime(text, form)
    now = datetime.strptime(datetime.now(UTC).strftime(form), form)
    sign, count, unit = found.groups()
    return now + (timedelta(**{f"{unit.lower()}s": int(f"{sign}{count}")}) if unit else timedelta())
