"""Queries to Athena: started, waited for, and their rows as Python values.

Here: one query from its text to its rows. Elsewhere: which tables there are (`tables.py`).

Values go in as ExecutionParameters, never as text of a statement. A parameter is an SQL literal to Athena, which puts it
where the `?` stands: a text needs its quotes, and its own quotes doubled.

https://docs.aws.amazon.com/athena/latest/ug/querying-with-prepared-statements.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.refusals import refusals
from chronos_assets.platforms.aws.sagemaker.faults import looks
from chronos_assets.platforms.store import StoreError
from chronos_assets.timeseries.dataset.duckdb_sql import text_literal
from chronos_assets.timeseries.forecast.query import QueryError

MAX_PARAMETER = 1024  # characters of an execution parameter, its quotes included
CATALOG = "AwsDataCatalog"

# Athena's type -> Python value of its text.
_VALUES: Mapping[str, Callable[[str], Any]] = {
    "double": float,
    "bigint": int,
    "integer": int,
    "boolean": lambda text: text == "true",
    "timestamp": datetime.fromisoformat,
}

# What a failed query's reason says -> what to do about it; the first that is found.
_FIXES = (
    ("TABLE_NOT_FOUND", "materialize forecast_tables"),
    ("does not exist", "materialize forecast_tables"),
    ("HIVE_BAD_DATA", "remove what is no Parquet file from the folder that is named"),
    ("HIVE_CANNOT_OPEN_SPLIT", "materialize forecast_tables, which looks for the files that are there now"),
    ("Access Denied", "allow this identity to read the store and to write the workgroup's result folder"),
    ("", "see the query in Athena's console, under Recent queries"),
)


class AthenaError(StoreError):
    """A query failed; the message says which, why and how to fix it."""


@dataclass(frozen=True)
class QueryTiming:
    """How a query is waited for, in seconds.

    Attributes:
        first, most: between two looks at it; grows from the one to the other.
        limit: after which it is stopped.
    """

    first: float = 0.3
    most: float = 5.0
    limit: float = 900.0


class Athena:
    """Queries in one database and workgroup."""

    def __init__(self, clients: AwsClients, database: str, workgroup: str, timing: QueryTiming) -> None:
        self._clients = clients
        self._database = database
        self._workgroup = workgroup
        self._timing = timing

    def rows(self, sql: str, values: Sequence[str | datetime] = ()) -> list[tuple[Any, ...]]:
        """The rows of a SELECT; `?` in its WHERE clause stand for the values.

        Raises:
            QueryError: a value is longer than Athena takes.
            AthenaError: the query can't be started, or fails, or takes too long (it is stopped then).
        """
        query = self._start(sql, [literal(value) for value in values])
        with refusals(AthenaError, f"Athena query {query} in {self._database}"):
            try:
                self._wait(query)
            except BaseException:
                # Nobody would read its result any more.
                with suppress(ClientError, BotoCoreError):
                    self._client.stop_query_execution(QueryExecutionId=query)
                raise
            return list(self._read(query))

    @property
    def _client(self) -> Any:
        return self._clients("athena")

    def _start(self, sql: str, parameters: list[str]) -> str:
        request: dict[str, Any] = {
            "QueryString": sql,
            "QueryExecutionContext": {"Catalog": CATALOG, "Database": self._database},
            "WorkGroup": self._workgroup,
        }
        if parameters:
            request["ExecutionParameters"] = parameters
        try:
            return str(self._client.start_query_execution(**request)["QueryExecutionId"])
        except (ClientError, BotoCoreError) as error:
            raise AthenaError(
                f"Athena can't start a query in the workgroup {self._workgroup}: {error}; set "
                "CHRONOS_ATHENA_WORKGROUP to a workgroup with a result location that this identity may use"
            ) from error

    def _wait(self, query: str) -> None:
        for _ in looks(self._timing.first, self._timing.most, self._timing.limit):
            status = self._client.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]
            if status["State"] == "SUCCEEDED":
                return
            if status["State"] in ("FAILED", "CANCELLED"):
                reason = " ".join((status.get("StateChangeReason") or "it was cancelled").split())
                fix = next(fix for sign, fix in _FIXES if sign in reason)
                raise AthenaError(f"Athena query {query} in {self._database} failed: {reason}; {fix}")
        raise AthenaError(
            f"Athena query {query} in {self._database} was stopped after {self._timing.limit:.0f} s: "
            "see in Athena's console what it waits for"
        )

    def _read(self, query: str) -> Iterator[tuple[Any, ...]]:
        pages = self._client.get_paginator("get_query_results").paginate(QueryExecutionId=query)
        for number, page in enumerate(pages):
            result = page["ResultSet"]
            types = [column["Type"] for column in result["ResultSetMetadata"]["ColumnInfo"]]
            # The first row of a SELECT's result has the names of the columns.
            for row in result["Rows"][1 if number == 0 else 0 :]:
                yield tuple(_value(cell, kind) for cell, kind in zip(row["Data"], types, strict=True))


def literal(value: str | datetime) -> str:
    """A value as an execution parameter.

    Raises:
        QueryError: Athena takes none that long.
    """
    text = text_literal(value) if isinstance(value, str) else f"timestamp {text_literal(value.isoformat(sep=' '))}"
    if len(text) > MAX_PARAMETER:
        raise QueryError(f"{value[:40]!r}… is longer than Athena's queries take: {MAX_PARAMETER} characters")  # type: ignore[index]
    return text


def _value(cell: Mapping[str, str], kind: str) -> Any:
    """A cell's value; NULL has no text."""
    text = cell.get("VarCharValue")
    return None if text is None else _VALUES.get(kind, str)(text)
