"""SQL tables: the protocol, their columns with what each means, and the views over them.

Here: what the tables are on every platform. Elsewhere: making and filling them (`local/tables.py`, `aws/tables.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.forecast import ForecastParams, quantile_name
from chronos_assets.platforms.store import Store
from chronos_assets.timeseries.dataset.duckdb_sql import identifier, identifiers, text_literal
from chronos_assets.timeseries.forecast.columns import forecast_types, quantile_columns
from chronos_assets.timeseries.forecast.query import SeriesQuestion
from chronos_assets.timeseries.published_files import FORECAST, METRICS

FIX = "materialize forecast_tables, which builds them again"


class TablesError(ChronosAssetsError):
    """The SQL tables can't answer; the message says why and what to do."""


class SqlTables(Protocol):
    """The SQL tables as one refresh left them, to ask questions of; nothing is changed through it."""

    def columns(self, table: str) -> tuple[str, ...]:
        """Columns of a table or view; empty if there is no such table.

        Raises:
            TablesError: the tables can't be read.
        """

    def rows(self, sql: str, values: Sequence[str | datetime] = ()) -> list[tuple[Any, ...]]:
        """Answer to a query in SQL that DuckDB and Athena both speak; `?` in its WHERE clause stand for the values.

        Raises:
            TablesError: the tables can't be read, or have no such table or column.
        """

    def item_rows(self, table: str, columns: Sequence[str], key: Mapping[str, str]) -> list[tuple[Any, ...]]:
        """Some columns of those rows of a table that are of one item, in any order.

        Args:
            table: its name.
            columns: of the answer.
            key: columns and the values that they must have; `item_id` is one of them.

        Raises:
            TablesError: the tables can't be read, or have no such table or column.
        """


def item_query(table: str, columns: Sequence[str], key: Mapping[str, str]) -> tuple[str, list[str]]:
    """The statement of `SqlTables.item_rows`, and its values."""
    where = " AND ".join(f"{identifier(name)} = ?" for name in key)
    return f"SELECT {identifiers(list(columns))} FROM {identifier(table)} WHERE {where}", list(key.values())  # noqa: S608


class Tables(Protocol):
    """SQL tables over the store's files."""

    def refresh(self, store: Store, params: ForecastParams) -> Mapping[str, int]:
        """Bring every table up to date with the store; table -> rows."""

    def place(self, store: Store) -> str:
        """Where people find the tables: a path, or a database's name; empty before the first refresh."""

    def is_whole(self, store: Store) -> bool:
        """Whether the tables are there, as the last refresh left them."""

    def version(self, store: Store) -> str:
        """Changes when the tables do: what `sql` gave under the same version is still right.

        Raises:
            FileNotFoundError: there are none yet.
            TablesError: they can't be read.
        """

    def sql(self, store: Store) -> SqlTables:
        """The tables as they are now.

        Raises:
            FileNotFoundError: there are none yet.
            TablesError: they can't be read.
        """

    def query(self, store: Store, question: SeriesQuestion) -> dict[str, Any]:
        """The current forecast of one series, as `timeseries.forecast.query.query_forecast` gives it.

        Raises:
            FileNotFoundError: no forecast is published.
            QueryError: there is no such item, dimension or time (`timeseries.forecast.query`).
        """


# Views over the members of each partition's forecast.
MEMBER_VIEWS = ("leaderboard", "weights", "best_member")
VIEWS = (*MEMBER_VIEWS, "forecast_vs_history")

_ITEM_COMMENT = "Identifier of the item, as in the train files"
_DIMENSION_COMMENT = "Forecast dimension, as in the train files; item_id and the dimensions together name a series"

_MEMBER_COMMENTS = {
    "as_of": "Partition of the forecast",
    "member": "'ensemble', or a member: chronos/<rate>, tuned/<rate>, theta, ...",
    "member_weight": "Share of the forecast; NULL for the ensemble",
    "wql": "Weighted quantile loss on past windows; NULL where nothing was learned",
    "mase": "Mean absolute scaled error on past windows; NULL where undefined",
    "coverage_80": "Share of actual values between p10 and p90 on past windows; NULL where nothing was learned",
}

# Table -> its comment, and those of the columns that mean something else than `column_comment` says, or nothing there.
COMMENTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "train": (
        "The imported dataset: every series on the regular grid of the forecast frequency",
        {
            "timestamp": "Start of the period",
            "target": "Aggregated, or filled, value; NULL where there is none",
            "filled": "True where nothing was observed",
        },
    ),
    "forecast": (
        "The current forecast, wide: one column for each forecast type",
        {"timestamp": "Start of the period"},
    ),
    "forecast_history": (
        "Every forecast ever made, one for each partition",
        {
            "as_of": "Partition: the forecast saw data up to the end of this window only",
            "timestamp": "Start of the period",
        },
    ),
    "accuracy": (
        "Metrics of every partition whose horizon has been observed, beside those of the seasonal naive forecast",
        {
            "as_of": "Partition of the forecast that was measured",
            "level": "'all': the whole dataset; 'segment': series with one value of a dimension or metadata; "
            "'sum': a forecast of forecast_levels; 'item': a series",
            "segment_by": "Of a segment: the dimension, or the attribute of the item metadata; of a sum: its level",
            "segment_value": "Of a segment or a sum: its value",
            "metric": "wql, wql_pXX, wape, rmse, mase, mape (a fraction), mae, bias, weighted_bias, tracking_signal, "
            "error_contribution, coverage_XX",
            "value": "NULL where undefined, such as a ratio to zero",
            "seasonal_naive": "The same metric of the seasonal naive forecast",
            "baseline": "Which seasonal naive forecast: the season that was hardest to beat before the as-of",
            "points": "Observed values that it was computed from",
            "excluded": "Values of the horizon that were left out: not observed, or not usable by this metric",
        },
    ),
    "anomalies": (
        "Actuals far outside the widest central band that was forecast for them, by Chronos.Anomalies.Threshold",
        {
            "as_of": "Partition of the forecast that was measured",
            "timestamp": "Start of the period",
            "target": "The observed value",
            "band_low": "Lower end of the band",
            "band_middle": "The median, or what stands in for it",
            "band_high": "Upper end of the band",
            "deviation": "Distance of the value from the middle in half widths of the band; NULL where it had no width",
        },
    ),
    "members": (
        "Which members made each partition's forecast: their leaderboard, and their weights for each series",
        {
            "level": "'all' for a row of the leaderboard, 'item' for a member's weight for a series",
            "member_rank": "1 for the best of the partition's, or the series', members; 0 for the ensemble",
            **_MEMBER_COMMENTS,
        },
    ),
    "what_if_forecasts": (
        "Forecasts of scenarios beside the forecast that they were compared with",
        {
            "scenario": "Name of the scenario: of its file in what_if/",
            "as_of": "Partition of the baseline",
            "timestamp": "Start of the period",
            "difference": "The scenario's mean, or its middle quantile, minus the baseline's",
        },
    ),
    "forecast_explanations": (
        "What each attribute adds to the forecasts of the partitions that were explained",
        {
            "as_of": "Partition of the forecast",
            "timestamp": "Start of the period",
            "attribute": "A related time series, an attribute of the item, a holiday, or the calendar",
            "impact": "Impact divided by the largest of the series: from -1 to 1",
            "impact_units": "Impact in units of the target, against the usual",
            "weight": "Share of the forecast that comes from members that read covariates",
        },
    ),
    "forecast_levels": (
        "Forecasts of sums of series, which add up: of everything, and by the levels of Chronos.Reconcile",
        {
            "as_of": "Partition of the forecast",
            "level": "'total', or the dimension or attribute of the item metadata that sums are of",
            "value": "Its value; 'total' of the total",
            "timestamp": "Start of the period",
            "series": "How many series are in the sum",
            "mean": "Mean of the sum; the means of a level add up to those of the level above",
        },
    ),
    "leaderboard": (
        "How the ensemble and each of its members did on the past windows that weights were learned from",
        {"member_rank": "By wQL: 0 for the ensemble, 1 for its best member", **_MEMBER_COMMENTS},
    ),
    "weights": (
        "How much each member counts in the forecast of each series",
        {"member_rank": "By weight: 1 for the member that counts most", **_MEMBER_COMMENTS},
    ),
    "best_member": (
        "The member that counts most in the forecast of each series",
        {**_MEMBER_COMMENTS, "best_member": "Name of the member", "member_weight": "Its share of the forecast"},
    ),
    "forecast_vs_history": (
        "Long: observations (type 'history') and the current forecast (type 'p10', 'p50', …, 'mean')",
        {"timestamp": "Start of the period", "type": "'history' or the forecast type", "value": "The value"},
    ),
}


def column_comment(table: str, name: str) -> str:
    """What a column of a table means."""
    if (text := COMMENTS[table][1].get(name)) is not None:
        return text
    if name == "item_id":
        return _ITEM_COMMENT
    if name == "mean":
        return "Mean of the forecast distribution"
    if name.startswith("baseline_"):
        return f"{name.removeprefix('baseline_')} of the baseline"
    if quantile_columns([name]):
        return f"Quantile: the value stays below it with a probability of {int(name[1:])} %"
    return _DIMENSION_COMMENT


def train_columns(dimensions: Sequence[str]) -> dict[str, str]:
    """Columns of the dataset, and their types."""
    return {**_key_columns(dimensions), "timestamp": "TIMESTAMP", "target": "DOUBLE", "filled": "BOOLEAN"}


def forecast_columns(dimensions: Sequence[str], types: Sequence[str]) -> dict[str, str]:
    """Columns of a wide forecast, and their types; `types` in the order of the file."""
    return {**_key_columns(dimensions), "timestamp": "TIMESTAMP", **dict.fromkeys(types, "DOUBLE")}


def forecast_type_names(params: ForecastParams) -> list[str]:
    """The forecast types that `params` ask for, in the order of the forecast's files."""
    return [*(["mean"] if params.mean else []), *(quantile_name(level) for level in params.quantiles)]


def accuracy_columns(dimensions: Sequence[str]) -> dict[str, str]:
    """Columns of the scores of one partition, and their types."""
    values = {
        "metric": "VARCHAR",
        "value": "DOUBLE",
        "seasonal_naive": "DOUBLE",
        "baseline": "VARCHAR",
        "points": "BIGINT",
        "excluded": "BIGINT",
    }
    segments = {"segment_by": "VARCHAR", "segment_value": "VARCHAR"}
    return {"level": "VARCHAR", **_key_columns(dimensions), **segments, **values}


def anomalies_columns(dimensions: Sequence[str]) -> dict[str, str]:
    """Columns of the anomalies of one partition, and their types."""
    values = ("target", "band_low", "band_middle", "band_high", "deviation")
    return {**_key_columns(dimensions), "timestamp": "TIMESTAMP", **dict.fromkeys(values, "DOUBLE")}


def what_if_columns(dimensions: Sequence[str], types: Sequence[str]) -> dict[str, str]:
    """Columns of a scenario's forecast beside the baseline, and their types (`timeseries.forecast.what_if`)."""
    values = [*types, *(f"baseline_{name}" for name in types), "difference"]
    return {
        "scenario": "VARCHAR",
        "as_of": "VARCHAR",
        **_key_columns(dimensions),
        "timestamp": "TIMESTAMP",
        **dict.fromkeys(values, "DOUBLE"),
    }


def explanation_columns(dimensions: Sequence[str]) -> dict[str, str]:
    """Columns of the explanations of one partition, and their types (`workloads.explain`)."""
    values = dict.fromkeys(("impact", "impact_units", "weight"), "DOUBLE")
    return {**_key_columns(dimensions), "timestamp": "TIMESTAMP", "attribute": "VARCHAR", **values}


def levels_columns(types: Sequence[str]) -> dict[str, str]:
    """Columns of the sums of one partition, and their types (`predictors.reconciliation`)."""
    values = {"timestamp": "TIMESTAMP", "series": "BIGINT", "mean": "DOUBLE"}
    return {"level": "VARCHAR", "value": "VARCHAR", **values, **dict.fromkeys(types, "DOUBLE")}


def members_columns(dimensions: Sequence[str]) -> dict[str, str]:
    """Columns of the members of one partition's forecast, and their types (`predictors.members_file`)."""
    scores = dict.fromkeys(("member_weight", "wql", "mase", "coverage_80"), "DOUBLE")
    return {"level": "VARCHAR", **_key_columns(dimensions), "member": "VARCHAR", "member_rank": "BIGINT", **scores}


def member_view_columns(view: str, members: Mapping[str, str]) -> dict[str, str]:
    """Columns of one of `MEMBER_VIEWS`, and their types; those of the table `members` are given."""
    types = {"as_of": "VARCHAR", **members}
    keys = [name for name in members if name not in members_columns(()) or name == "item_id"]
    match view:
        case "leaderboard":
            names = ["as_of", "member_rank", "member", "member_weight", "wql", "mase", "coverage_80"]
        case "weights":
            names = ["as_of", *keys, "member_rank", "member", "member_weight"]
        case _:
            return {
                **{name: types[name] for name in ("as_of", *keys)},
                "best_member": "VARCHAR",
                "member_weight": "DOUBLE",
            }
    return {name: types[name] for name in names}


def member_view_sql(view: str, members: Mapping[str, str]) -> str:
    """The query of one of `MEMBER_VIEWS`; columns of the table `members` are given."""
    shown = ", ".join(
        'member AS "best_member"' if name == "best_member" else identifier(name)
        for name in member_view_columns(view, members)
    )
    level = "'all'" if view == "leaderboard" else "'item'"
    best = ' AND "member_rank" = 1' if view == "best_member" else ""
    return f'SELECT {shown} FROM members WHERE "level" = {level}{best}'  # noqa: S608 - quoted


def _key_columns(dimensions: Sequence[str]) -> dict[str, str]:
    return {"item_id": "VARCHAR", **dict.fromkeys(dimensions, "VARCHAR")}


@dataclass(frozen=True)
class PartitionTable:
    """A table of all partitions' rows, with their partition in the column as_of.

    Attributes:
        folder: of the store, with a folder for each partition.
        file: in each of those.
        columns: dimensions and forecast types -> the file's columns, and their types.
    """

    folder: str
    file: str
    columns: Callable[[Sequence[str], Sequence[str]], dict[str, str]]


PARTITION_TABLES: Mapping[str, PartitionTable] = {
    "forecast_history": PartitionTable("history", FORECAST, forecast_columns),
    "accuracy": PartitionTable("accuracy", METRICS, lambda names, _: accuracy_columns(names)),
    "anomalies": PartitionTable("anomalies", "anomalies.parquet", lambda names, _: anomalies_columns(names)),
    "members": PartitionTable("members", "members.parquet", lambda names, _: members_columns(names)),
    "forecast_explanations": PartitionTable(
        "explanations", "explanations.parquet", lambda names, _: explanation_columns(names)
    ),
    "forecast_levels": PartitionTable("levels", "levels.parquet", lambda _, types: levels_columns(types)),
}

TABLES = ("train", "forecast", *PARTITION_TABLES, "what_if_forecasts", *VIEWS)


def in_order(names: Iterable[str]) -> list[str]:
    """Columns of several forecast files in the order of one: quantiles ascending, at the end."""
    listed = list(names)
    quantiles = quantile_columns(listed)
    return [*(name for name in listed if name not in quantiles), *quantiles]


def view_keys(train: Iterable[str], forecast: Iterable[str]) -> list[str]:
    """Columns of the view that name a series: those of both tables, of which the columns are given.

    The tables differ for a while after the dimensions were changed: a series without one has NULL there.
    """
    return list(dict.fromkeys([*_keys(train), *_keys(forecast)]))


def view_sql(train: Sequence[str], forecast: Sequence[str]) -> str:
    """The query of `forecast_vs_history`: observations and the current forecast, long; the tables' columns are given."""
    keys = view_keys(train, forecast)

    def shown(columns: Sequence[str]) -> str:
        return ", ".join(
            identifier(key) if key in columns else f"CAST(NULL AS VARCHAR) AS {identifier(key)}" for key in keys
        )

    parts = [
        f'SELECT {shown(train)}, "timestamp", CAST(\'history\' AS VARCHAR) AS "type", target AS "value" '  # noqa: S608
        "FROM train WHERE target IS NOT NULL"
    ]
    parts += [
        f'SELECT {shown(forecast)}, "timestamp", CAST({text_literal(name)} AS VARCHAR), {identifier(name)} FROM forecast'  # noqa: S608
        for name in forecast_types(forecast)
    ]
    return " UNION ALL ".join(parts)


def _keys(columns: Iterable[str]) -> list[str]:
    """item_id and the dimensions among the columns of `train` or `forecast`."""
    names = list(columns)
    return [name for name in names if name not in ("timestamp", "target", "filled", *forecast_types(names))]
