"""A scenario's forecast beside the baseline's: a Parquet file for SQL, CSV for people, and the largest differences.

Here: joining two wide forecasts. Elsewhere: making them (`workloads.forecast`), where they are kept
(`pipeline.what_if`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chronos_assets.params.exports import ExportParams
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

PARQUET, CSV_STEM = "what_if.parquet", "forecast"
BASELINE = "baseline_"
_NAMED = 20  # items


@dataclass(frozen=True)
class WhatIfComparison:
    """What a scenario changes.

    Attributes:
        measured: the type whose sums are compared: the mean, or the quantile nearest the middle.
        total: sums of it over everything: `what_if`, `baseline`, `difference`.
        items: the same of the series with the largest difference, each with its `key`.
        series: how many are in both forecasts; moved: how many of them differ.
        rows: of the files.
    """

    measured: str
    total: dict[str, float]
    items: list[dict[str, Any]]
    series: int
    moved: int
    rows: int

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(vars(self))


def write_what_if(
    folder: Path,
    scenario: str,
    as_of: str,
    forecast: Path,
    baseline: Path,
    dimensions: Sequence[str],
    *,
    export: ExportParams = ExportParams(),  # noqa: B008 - frozen
    memory_limit: str = DEFAULT_MEMORY,
) -> WhatIfComparison:
    """Write the files into a folder: `what_if.parquet`, and `forecast.csv` as `Chronos.Export` has it.

    Args:
        folder: to write to, and for temporary files.
        scenario: its name.
        as_of: partition of the baseline.
        forecast: Parquet of the scenario's forecast, wide.
        baseline: Parquet of the forecast that it is compared with; series that one of both lacks are left out.
        dimensions: of the forecasts.
        export: how the CSV is written; none is where exports are Parquet.
        memory_limit: what DuckDB may use.
    """
    keys = ["item_id", *dimensions]
    with scratch_connection(folder, memory_limit=memory_limit) as connection:
        for name, path in (("scenario_forecast", forecast), ("baseline_forecast", baseline)):
            connection.execute(f"CREATE VIEW {name} AS FROM {parquet_rows(path)}")
        types = forecast_types(column_names(connection, "scenario_forecast"))
        measured = measured_type(types)
        shown = [
            f"{text_literal(scenario)} AS scenario, {text_literal(as_of)} AS as_of",
            identifiers([*keys, "timestamp"]),
            *(f"made.{identifier(name)}" for name in types),
            *(f"base.{identifier(name)} AS {identifier(BASELINE + name)}" for name in types),
            f"made.{identifier(measured)} - base.{identifier(measured)} AS difference",
        ]
        query = (
            f"SELECT {', '.join(shown)} FROM scenario_forecast AS made JOIN baseline_forecast AS base "  # noqa: S608
            f"USING ({identifiers([*keys, 'timestamp'])}) ORDER BY {identifiers([*keys, 'timestamp'])}"
        )
        target = text_literal(str(folder / PARQUET))
        connection.execute(f"COPY ({query}) TO {target} (FORMAT parquet, COMPRESSION zstd)")
        connection.execute(f"CREATE VIEW joined AS FROM {parquet_rows(folder / PARQUET)}")
        rest = identifiers([*types, *(BASELINE + name for name in types), "difference"])
        comparison = _compared(connection, keys, measured)
        if export.format == "CSV":
            names = ", ".join(f"{quoted_formula(identifier(key))} AS {identifier(key)}" for key in keys)
            rows = f'SELECT {names}, strftime("timestamp", \'%Y-%m-%d %H:%M:%S\') AS "timestamp", {rest} FROM joined'  # noqa: S608
            write_export(connection, rows, folder, CSV_STEM, export)
        return comparison


def measured_type(types: Sequence[str]) -> str:
    """The forecast type whose sums are compared: the mean, or the quantile nearest the middle."""
    return "mean" if "mean" in types else min(types, key=lambda name: abs(float(name[1:]) - 50))


def _compared(connection: DuckDBPyConnection, keys: list[str], measured: str) -> WhatIfComparison:
    # In order: DuckDB adds up as rows come, and sums would differ in their last bits from run to run.
    sums = (
        f'sum({identifier(measured)} ORDER BY "timestamp") AS what_if, '
        f'sum({identifier(BASELINE + measured)} ORDER BY "timestamp") AS baseline, '
        'sum(difference ORDER BY "timestamp") AS difference, bool_or(difference <> 0) AS moved, count(*) AS rows'
    )
    connection.execute(
        f"CREATE TEMP TABLE by_item AS SELECT {identifiers(keys)}, {sums} FROM joined GROUP BY {identifiers(keys)}"  # noqa: S608
    )
    totals = ", ".join(
        f"coalesce(sum({name} ORDER BY {identifiers(keys)}), 0)" for name in ("what_if", "baseline", "difference")
    )
    whole = first_row(
        connection,
        f"SELECT {totals}, count(*), "  # noqa: S608 - quoted names
        "count(*) FILTER (WHERE moved), coalesce(sum(rows), 0) FROM by_item",
    )
    rows = connection.execute(
        f"SELECT {identifiers(keys)}, what_if, baseline, difference FROM by_item "  # noqa: S608 - quoted names
        f"ORDER BY abs(difference) DESC, {identifiers(keys)} LIMIT {_NAMED}"
    ).fetchall()
    names = ("what_if", "baseline", "difference")
    return WhatIfComparison(
        measured,
        dict(zip(names, (float(value) for value in whole[:3]), strict=True)),
        [
            {"key": list(row[: len(keys)]), **dict(zip(names, map(float, row[len(keys) :]), strict=True))}
            for row in rows
        ],
        int(whole[3]),
        int(whole[4]),
        int(whole[5]),
    )
