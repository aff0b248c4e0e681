"""The service's backtest export: what was forecast for past windows beside what happened, and how good that was, by item.

Here belong columns, names and rows of its two folders. Which windows they show is decided in `pipeline.exports`.

`forecasted-values/`, one row for each series, window and period, by series, then time:

    item_id, dimensions, timestamp, target_value, backtestwindow_start_time, backtestwindow_end_time, mean, p10, p50, ...

`accuracy-metrics-values/`, for each series one row for each window, whose `backtest_window` is `Computed`, and one with the
means over them, `Summary`:

    item_id, dimensions, backtest_window, backtestwindow_start_time, backtestwindow_end_time,
    wQL[0.1], wQL[0.5], ..., Average wQL, RMSE, WAPE, MAPE, MASE

A window's end is its last period. `target_value` is empty where nothing was observed; such points don't count. A metric
without a value is `not defined` in CSV and NULL in Parquet. Definitions of the metrics: `metrics`.

https://docs.aws.amazon.com/forecast/latest/dg/metrics.html#backtest-exports
https://github.com/aws-samples/amazon-forecast-samples, notebooks/advanced/Item_Level_Accuracy (files of the service)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.duckdb_sql import (
    DEFAULT_MEMORY,
    column_names,
    identifier,
    identifiers,
    parquet_rows,
    scratch_connection,
    text_literal,
)
from chronos_assets.timeseries.dataset.shard_queries import insert_from_shards
from chronos_assets.timeseries.dataset.shards import ShardSource
from chronos_assets.timeseries.export_files import write_export
from chronos_assets.timeseries.forecast.columns import forecast_types, quantile_columns, quantile_level
from chronos_assets.timeseries.formulas import quoted_formula

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORECASTED, ACCURACY = "forecasted-values", "accuracy-metrics-values"
COMPUTED, SUMMARY = "Computed", "Summary"
NOT_DEFINED = "not defined"
START, END = "backtestwindow_start_time", "backtestwindow_end_time"
# Our metrics of a point forecast, and what the service calls them.
POINT_METRICS = {"rmse": "RMSE", "wape": "WAPE", "mape": "MAPE", "mase": "MASE"}
_AVERAGE = "Average wQL"


@dataclass(frozen=True)
class BacktestWindow:
    """A past window that was forecast and scored.

    Attributes:
        forecast: `forecast.parquet` of its partition.
        metrics: `metrics.parquet` of its scores.
        start: first period of the forecast.
        end: last period.
    """

    forecast: Path
    metrics: Path
    start: np.datetime64
    end: np.datetime64


def write_backtest_export(
    folder: Path,
    windows: Sequence[BacktestWindow],
    dataset: ShardSource,
    params: ForecastParams,
    stem: str,
    *,
    memory_limit: str = DEFAULT_MEMORY,
) -> dict[str, int]:
    """Write both folders.

    Args:
        folder: that gets them; it takes temporary files, too.
        windows: at least one.
        dataset: what happened.
        params: dimensions, and how exports are written.
        stem: of the files' names.
        memory_limit: what DuckDB may use.

    Returns:
        Rows of each folder.
    """
    rows = {}
    # The service's files are parts whatever their size.
    first = stem if params.export.max_megabytes else f"{stem}_part0"
    for name, query in ((FORECASTED, _forecasted_sql), (ACCURACY, _accuracy_sql)):
        target = folder / name
        target.mkdir()
        with scratch_connection(folder, memory_limit=memory_limit) as connection:
            sql = query(connection, windows, dataset, params)
            rows[name], _ = write_export(connection, sql, target, first, params.export)
    return rows


def _forecasted_sql(
    connection: DuckDBPyConnection, windows: Sequence[BacktestWindow], dataset: ShardSource, params: ForecastParams
) -> str:
    _create_union(connection, "forecasts", [(window, window.forecast) for window in windows])
    names = ("item_id", *params.dimensions, "timestamp")
    types = _types(column_names(connection, "forecasts"))
    first, last = min(window.start for window in windows), max(window.end for window in windows)
    columns = ", ".join(f"{identifier(name)} VARCHAR" for name in names[:-1])
    connection.execute(f'CREATE TEMP TABLE actuals ({columns}, "timestamp" TIMESTAMP, target DOUBLE)')
    between = f'WHERE NOT filled AND "timestamp" BETWEEN {_moment(first)} AND {_moment(last)}'
    insert_from_shards(connection, "actuals", dataset, f"{identifiers(names)}, target", between)
    shown = [
        *_keys(params),
        f'{_time(params, "timestamp")} AS "timestamp"',
        "target AS target_value",
        *(f"{_time(params, name)} AS {name}" for name in (START, END)),
        *(identifier(name) for name in types),
    ]
    order = ", ".join(f"forecasts.{identifier(name)}" for name in (*names[:-1], START, "timestamp"))
    return (
        f"SELECT {', '.join(shown)} FROM forecasts LEFT JOIN actuals USING ({identifiers(names)}) "  # noqa: S608
        f"ORDER BY {order}"
    )


def _accuracy_sql(
    connection: DuckDBPyConnection, windows: Sequence[BacktestWindow], _dataset: ShardSource, params: ForecastParams
) -> str:
    _create_union(connection, "measured", [(window, window.metrics) for window in windows])
    keys = identifiers(["item_id", *params.dimensions])
    found = connection.execute("SELECT DISTINCT metric FROM measured WHERE level = 'item'").fetchall()
    columns = metric_columns(name for (name,) in found)
    values = ", ".join(
        f"max(value) FILTER (metric = {text_literal(name)}) AS {identifier(column)}" for name, column in columns.items()
    )
    connection.execute(
        f"CREATE TEMP TABLE computed AS SELECT {keys}, '{COMPUTED}' AS backtest_window, {START}, {END}, {values} "  # noqa: S608
        f"FROM measured WHERE level = 'item' GROUP BY {keys}, {START}, {END}"
    )
    means = ", ".join(f"avg({identifier(column)}) AS {identifier(column)}" for column in columns.values())
    shown = [
        *_keys(params),
        "backtest_window",
        *(f"{_time(params, name)} AS {name}" for name in (START, END)),
        *(f"{_metric(params, column)} AS {identifier(column)}" for column in columns.values()),
    ]
    order = ", ".join(f"scores.{name}" for name in (*keys.split(", "), "backtest_window", START))
    return (
        f"SELECT {', '.join(shown)} FROM (FROM computed UNION ALL "  # noqa: S608 - quoted names
        f"SELECT {keys}, '{SUMMARY}', min({START}), max({END}), {means} FROM computed GROUP BY {keys}) AS scores "
        f"ORDER BY {order}"
    )


def metric_columns(metrics: Iterable[str]) -> dict[str, str]:
    """Our metrics that the service has, with its names, in its order; those of a point forecast always."""
    found = set(metrics)
    levels = quantile_columns(name.removeprefix("wql_") for name in found if name.startswith("wql_"))
    return {
        **{f"wql_{name}": f"wQL[{quantile_level(name):g}]" for name in levels},
        **({"wql": _AVERAGE} if levels else {}),
        **POINT_METRICS,
    }


def _create_union(connection: DuckDBPyConnection, name: str, files: Sequence[tuple[BacktestWindow, Path]]) -> None:
    """A view of the windows' files, with the bounds of each; one may lack a quantile that another has."""
    parts = [
        f"SELECT *, {_moment(window.start)} AS {START}, {_moment(window.end)} AS {END} "  # noqa: S608 - quoted
        f"FROM {parquet_rows(file)}"
        for window, file in files
    ]
    connection.execute(f"CREATE VIEW {name} AS {' UNION ALL BY NAME '.join(parts)}")


def _types(columns: Sequence[str]) -> list[str]:
    """Forecast types in the service's order: the mean, then quantiles ascending."""
    types = forecast_types(columns)
    return sorted(types, key=lambda name: (name != "mean", name))


def _keys(params: ForecastParams) -> list[str]:
    names = ("item_id", *params.dimensions)
    if params.quote_formulas and params.export.format == "CSV":
        return [f"{quoted_formula(identifier(name))} AS {identifier(name)}" for name in names]
    return [identifier(name) for name in names]


def _time(params: ForecastParams, column: str) -> str:
    """SQL of a time as the service writes it."""
    name = identifier(column)
    return f"strftime({name}, '%Y-%m-%dT%H:%M:%S')" if params.export.format == "CSV" else name


def _metric(params: ForecastParams, column: str) -> str:
    name = identifier(column)
    return f"coalesce({name}::VARCHAR, '{NOT_DEFINED}')" if params.export.format == "CSV" else name


def _moment(time: np.datetime64) -> str:
    return f"TIMESTAMP {text_literal(str(time.astype('datetime64[us]')))}"
