"""moto's Athena, extended so that queries are answered (`athena_engine.py`).

Here: a query's life as clients see it: started, running, succeeded or failed, its rows page by page. Elsewhere:
SQL.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from moto.athena.responses import AthenaResponse
from moto.glue.models import glue_backends

from chronos_assets_tests.aws.athena_engine import Engine, QueryFailedError, Result
from chronos_assets_tests.aws.cloud import ACCOUNT, REGION

PAGE = 1000


@dataclass
class Execution:
    """One query: what came of it, and how often its state was asked for."""

    result: Result | None
    reason: str = ""
    looks: int = 0
    cells: list[list[str | None]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Its state at this look: nobody finds a query done at once."""
        if self.looks < 2:
            return "RUNNING"
        return "FAILED" if self.result is None else "SUCCEEDED"


def operations(s3: Any, folder: Path) -> dict[str, Callable[[Any], Any]]:
    """Methods for moto's `AthenaResponse` that answer queries over the tables in moto's Glue and the files in S3.

    Args:
        s3: boto3 client of the files.
        folder: for copies of them.
    """
    engine = Engine(_glue_table, s3, folder)
    executions: dict[str, Execution] = {}
    start, describe = AthenaResponse.start_query_execution, AthenaResponse.get_query_execution

    def start_query_execution(response: Any) -> Any:
        group = response.athena_backend.work_groups.get(response._get_param("WorkGroup") or "primary")
        given = {**(group.configuration if group else {}), **(response._get_param("ResultConfiguration") or {})}
        if "OutputLocation" not in given.get("ResultConfiguration", given):
            return response.error("No output location provided, in the request or in the workgroup", 400)
        answer = start(response)
        if isinstance(answer, str):
            database = (response._get_param("QueryExecutionContext") or {}).get("Database", "default")
            parameters = response._get_param("ExecutionParameters") or []
            executions[json.loads(answer)["QueryExecutionId"]] = _executed(
                engine, database, response._get_param("QueryString"), parameters
            )
        return answer

    def get_query_execution(response: Any) -> str:
        answer = json.loads(describe(response))
        execution = executions[response._get_param("QueryExecutionId")]
        execution.looks += 1
        status = answer["QueryExecution"]["Status"]
        if status["State"] != "CANCELLED":
            status["State"] = execution.state
            if execution.state == "FAILED":
                status["StateChangeReason"] = execution.reason
        return json.dumps(answer)

    def get_query_results(response: Any) -> Any:
        execution = executions[response._get_param("QueryExecutionId")]
        if execution.result is None or execution.state != "SUCCEEDED":
            return response.error(f"Query has not yet finished. Current state: {execution.state}", 400)
        first = int(response._get_param("NextToken") or 0)
        last = first + int(response._get_param("MaxResults") or PAGE)
        document: dict[str, Any] = {
            "ResultSet": {
                "Rows": [
                    {"Data": [{} if cell is None else {"VarCharValue": cell} for cell in row]}
                    for row in execution.cells[first:last]
                ],
                "ResultSetMetadata": {
                    "ColumnInfo": [
                        {"Name": name, "Label": name, "Type": kind} for name, kind in execution.result.columns
                    ]
                },
            }
        }
        if last < len(execution.cells):
            document["NextToken"] = str(last)
        return json.dumps(document)

    return {
        "StartQueryExecution": start_query_execution,
        "GetQueryExecution": get_query_execution,
        "GetQueryResults": get_query_results,
    }


def _executed(engine: Engine, database: str, sql: str, parameters: Sequence[str]) -> Execution:
    try:
        result = engine.execute(database, sql, parameters)
    except QueryFailedError as error:
        return Execution(None, str(error))
    header: list[str | None] = [name for name, _ in result.columns]
    return Execution(result, cells=[header, *([_text(value) for value in row] for row in result.rows)])


def _text(value: Any) -> str | None:
    """A value as Athena writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    if isinstance(value, float):
        words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        return words.get(text := repr(value), text.replace("e+", "E").replace("e", "E"))
    return str(value)


def _glue_table(database: str, name: str) -> Mapping[str, Any] | None:
    """The table's definition in moto's Glue, with the partitions that are registered."""
    known = glue_backends[ACCOUNT][REGION].databases
    table = known[database].tables.get(name) if database in known else None
    return {**table.as_dict(), "Partitions": [part.as_dict() for part in table.partitions.values()]} if table else None
