"""forecast.csv: the forecast in the shape of the train files, for whoever plots or loads it next to them.

Here belongs the long CSV only; the wide Parquet that it is made from is written by the forecast job.

One row per series, type and timestamp, in this order: every column of the schema, in its order and with its own names
and timestamp format, then `type` (p10, p50, …, mean). Before the forecast's rows of each type comes the last
observation of the series with the same type, so that lines of one type join the history without a gap. Columns of the
schema that are neither item, dimension, timestamp nor target are empty: a forecast has nothing to say about them. Where
the schema has a column `type` already, ours is `forecast_type` (see `params.exports.type_column`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from chronos_assets.calendar.timestamp_format import format_timestamps
from chronos_assets.params.exports import type_column
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.duckdb_sql import (
    DEFAULT_MEMORY,
    column_names,
    first_row,
    identifier,
    identifiers,
    parquet_rows,
    scratch_connection,
    text_literal,
)
from chronos_assets.timeseries.export_files import write_export
from chronos_assets.timeseries.forecast.columns import forecast_types
from chronos_assets.timeseries.formulas import quoted_formula

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class ExportReport:
    """rows: lines of the CSV without its header. series: with a forecast; joined: those with a last observation.

    files: in the order of their rows; several where `Chronos.Export` bounds their size.
    """

    rows: int
    series: int
    joined: int
    columns: tuple[str, ...]
    files: tuple[Path, ...] = field(compare=False)


def write_forecast_csv(
    folder: Path,
    forecast: Path,
    last_observed: Path | None,
    params: ForecastParams,
    *,
    memory_limit: str = DEFAULT_MEMORY,
) -> ExportReport:
    """Write the CSV of a wide forecast.

    folder: gets `forecast.csv`, or as `Chronos.Export` has it, and takes temporary files; not published atomically, so
    stage it. forecast: Parquet, item_id, dimensions, timestamp and one column for each type. last_observed: Parquet with
    the last known point (item_id, dimensions, timestamp, target) of the series that have one, or None.

    Sorted by series, type and time, so the same forecast gives the same bytes. Larger forecasts spill to disk.
    """
    keys = ("item_id", *params.dimensions)
    header = _header(params)
    with scratch_connection(folder, memory_limit=memory_limit) as connection:
        _create_points(connection, keys, forecast, last_observed)
        types = forecast_types(column_names(connection, "forecasts"))
        _create_timestamp_texts(connection, params)
        rows, files = write_export(
            connection,
            _long_sql(params, keys, types, header),
            folder,
            "forecast",
            replace(params.export, format="CSV"),
        )
        (series,) = first_row(connection, "SELECT count(*) FROM series")
        (joined,) = first_row(connection, "SELECT count(*) FROM joins")
    return ExportReport(rows, series, joined, columns=tuple(header), files=files)


def _header(params: ForecastParams) -> list[str]:
    names = [attribute.name for attribute in params.attributes]
    return [*names, type_column(names)]


def _create_points(
    connection: DuckDBPyConnection, keys: tuple[str, ...], forecast: Path, last_observed: Path | None
) -> None:
    """The wide `forecasts`, their `series`, and `joins`: the last observation of the series among them."""
    columns = identifiers([*keys, "timestamp"])
    connection.execute(f"CREATE VIEW forecasts AS FROM {parquet_rows(forecast)}")
    connection.execute(f"CREATE TEMP TABLE series AS SELECT DISTINCT {identifiers(keys)} FROM forecasts")  # noqa: S608
    nothing = "(SELECT *, 0.0 AS target FROM forecasts LIMIT 0)"
    source = nothing if last_observed is None else parquet_rows(last_observed)
    connection.execute(
        f"CREATE TEMP TABLE joins AS SELECT {columns}, target FROM {source} "  # noqa: S608 - quoted names
        f"SEMI JOIN series USING ({identifiers(keys)})"
    )


def _create_timestamp_texts(connection: DuckDBPyConnection, params: ForecastParams) -> None:
    """The table `texts`: each distinct timestamp as the train files write it. There are few beside the rows."""
    distinct = connection.execute(
        'SELECT DISTINCT "timestamp" FROM (FROM (SELECT "timestamp" FROM forecasts) UNION ALL '
        'FROM (SELECT "timestamp" FROM joins)) ORDER BY 1'
    ).fetchnumpy()["timestamp"]
    moments = distinct.astype("datetime64[us]")
    texts = format_timestamps(
        moments, params.timestamp_format, params.time_zone, in_utc=params.clock != params.time_zone
    )
    connection.register("texts", pa.table({"timestamp": moments, "text": pa.array(texts, pa.string())}))


def _long_sql(params: ForecastParams, keys: tuple[str, ...], types: tuple[str, ...], header: list[str]) -> str:
    """A SELECT of the CSV's columns, one row for each series, type and timestamp, in order."""
    named = {name: identifier(name) for name in params.dimensions}
    if params.item_column is not None:
        named[params.item_column] = "item_id"
    if params.quote_formulas:
        named = {name: quoted_formula(text) for name, text in named.items()}
    sources = {params.timestamp_column: "text", params.target_column: "value", **named}
    names = f"[{', '.join(text_literal(name) for name in types)}]"
    positions = f"unnest(range(1, {len(types) + 1}))"
    shown = [
        *(f"{sources.get(attribute.name, 'NULL')} AS {identifier(attribute.name)}" for attribute in params.attributes),
        f"{names}[position] AS {identifier(header[-1])}",
    ]
    # Qualified, because the CSV's own columns may have these names: its timestamps are texts, in any order.
    order = ", ".join(f"points.{identifier(name)}" for name in (*keys, "position", "timestamp"))
    return (
        f"SELECT {', '.join(shown)} FROM ("  # noqa: S608 - quoted names
        f'SELECT {identifiers(keys)}, "timestamp", {positions} AS position, '
        f"unnest([{identifiers(types)}]) AS value FROM forecasts "
        f'UNION ALL SELECT {identifiers(keys)}, "timestamp", {positions}, target FROM joins'
        f') AS points JOIN texts USING ("timestamp") ORDER BY {order}'
    )
