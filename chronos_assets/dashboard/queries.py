"""Every question that the dashboard asks of the SQL tables.

Here: SQL that DuckDB and Athena both speak, and its answers as data frames. Elsewhere: where the tables are
(`source`), how an answer is drawn (`charts`, the pages).

Nothing is written. Names and texts are values of a query, never text of it; only the tables' own columns become identifiers.
`?` stands in WHERE clauses alone, as Athena wants it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pandas as pd

from chronos_assets.platforms.tables import FIX, SqlTables, TablesError
from chronos_assets.timeseries.dataset.duckdb_sql import identifier, identifiers
from chronos_assets.timeseries.dataset.series_keys import series_name
from chronos_assets.timeseries.forecast.columns import forecast_types, quantile_columns

LISTED = 500  # items of a ranking that are fetched
SUGGESTED = 200  # names that a search answers with
EARLIER = 12  # earlier forecasts of an item

# Scores of the whole that are drawn over time.
OVERALL = ("wql", "wape", "mase", "weighted_bias", "tracking_signal")

# Ranking -> SQL of what it ranks by, the greatest first; columns of the query in `ranking`. They begin as no dimension does.
RANKINGS: Mapping[str, str] = {
    "Share of the error": "_error_share",
    "Bias (tracking signal)": "abs(_tracking_signal)",
    "Change since the forecast before": "abs(_relative_change)",
    "Actuals outside the band": "_anomalies",
    "Volume": "_volume",
}
RANKED = (
    "volume",
    "relative_change",
    "error_share",
    "tracking_signal",
    "weighted_bias",
    "wape",
    "naive_wape",
    "anomalies",
)


@dataclass(frozen=True)
class ItemSeries:
    """One series: an item, and the values of its dimensions in the order of the tables' columns."""

    item: str
    dimensions: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """For people."""
        return series_name([self.item, *(value for _, value in self.dimensions)])

    @property
    def key(self) -> dict[str, str]:
        """Columns that name it, and their values."""
        return {"item_id": self.item, **dict(self.dimensions)}


@dataclass(frozen=True)
class Filters:
    """Which series a ranking is of.

    Attributes:
        text: that the item's name has in it, in upper or lower case; empty for all.
        dimensions: values that a dimension must have, by its name.
        items: of which items; None for all.
    """

    text: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    items: tuple[str, ...] | None = None


EVERYTHING = Filters()


@dataclass(frozen=True)
class TableShape:
    """What the columns of the forecast are called.

    Attributes:
        keys: `item_id` and the dimensions.
        quantiles: ascending.
        middle: the forecast as one number: the median, else the mean, else the quantile in the middle.
        has_mean: whether there is a mean.
    """

    keys: tuple[str, ...]
    quantiles: tuple[str, ...]
    middle: str
    has_mean: bool = False

    @property
    def of_sums(self) -> TableShape:
        """What to add up: means, where there are some, since medians don't add up to the median of a sum."""
        return replace(self, middle="mean") if self.has_mean else self

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The keys beside the item."""
        return self.keys[1:]

    @property
    def bands(self) -> tuple[tuple[str, str], ...]:
        """Central bands, the widest first: their lower and upper quantile."""
        pairs = [(low, f"p{100 - int(low[1:]):02d}") for low in self.quantiles if int(low[1:]) < 50]
        return tuple((low, high) for low, high in pairs if high in self.quantiles)


def columns(sql: SqlTables) -> TableShape:
    """The columns of the current forecast.

    Raises:
        TablesError: the table is missing.
    """
    names = sql.columns("forecast")
    types = forecast_types(names)
    if not types:
        raise TablesError(f"the SQL table forecast is missing, or has no forecast: {FIX}")
    quantiles = quantile_columns(names)
    middle = "p50" if "p50" in types else "mean" if "mean" in types else quantiles[len(quantiles) // 2]
    keys = tuple(name for name in names if name not in ("timestamp", *types))
    return TableShape(keys, quantiles, middle, "mean" in types)


def scores(sql: SqlTables) -> pd.DataFrame:
    """Scores of the whole by as-of: `as_of`, `metric`, `value`, `seasonal_naive`; bands have theirs as `coverage_XX`."""
    metrics = ", ".join(f"'{name}'" for name in OVERALL)
    return _frame(
        sql,
        ("as_of", "metric", "value", "seasonal_naive"),
        f'SELECT as_of, metric, "value", seasonal_naive FROM accuracy WHERE "level" = \'all\' '  # noqa: S608 - constants
        f"AND (metric IN ({metrics}) OR metric LIKE 'coverage%') ORDER BY as_of, metric",
    )


def segments(sql: SqlTables, as_of: str) -> pd.DataFrame:
    """Scores of each value of a dimension, as of one partition, the greatest share of the error first."""
    return _frame(
        sql,
        ("segment_by", "segment_value", "error_share", "weighted_bias", "wape"),
        "SELECT segment_by, segment_value, "  # noqa: S608 - constants
        + ", ".join(
            f"max(CASE WHEN metric = '{metric}' THEN \"value\" END)"
            for metric in ("error_contribution", "weighted_bias", "wape")
        )
        + " FROM accuracy WHERE \"level\" = 'segment' AND as_of = ? GROUP BY 1, 2 ORDER BY 3 DESC NULLS LAST, 1, 2",
        [as_of],
    )


def sums(sql: SqlTables, as_of: str) -> list[tuple[str, str]]:
    """Level and value of the sums that one partition has forecasts of, the broad levels first; at most `LISTED`."""
    if not sql.columns("forecast_levels"):
        return []
    rows = sql.rows('SELECT DISTINCT "level", "value" FROM forecast_levels WHERE as_of = ?', [as_of])
    sizes = Counter(level for level, _ in rows)
    return sorted(rows, key=lambda row: (sizes[row[0]], *row))[:LISTED]


def sum_forecast(sql: SqlTables, shape: TableShape, as_of: str, level: str, value: str) -> pd.DataFrame:
    """The forecast of one sum: `timestamp`, `middle` and each quantile."""
    there = sql.columns("forecast_levels")
    names = _forecast_names(shape, [name for name in shape.quantiles if name in there])
    if not set(names) <= set(there):
        return pd.DataFrame(columns=list(names.values()))
    return _frame(
        sql,
        names.values(),
        f'SELECT {identifiers(list(names))} FROM forecast_levels WHERE as_of = ? AND "level" = ? AND "value" = ? '  # noqa: S608
        'ORDER BY "timestamp"',
        [as_of, level, value],
    )


def history_total(sql: SqlTables, periods: int, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """Observations of series together, of the last periods: `timestamp`, `value`."""
    where, values = _filtered(filters)
    found = _frame(
        sql,
        ("timestamp", "value"),
        f'SELECT "timestamp", sum(target) FROM train WHERE {where} GROUP BY 1 ORDER BY 1 DESC LIMIT {periods:d}',  # noqa: S608
        values,
    )
    return found.iloc[::-1].reset_index(drop=True)


def forecast_total(sql: SqlTables, shape: TableShape) -> pd.DataFrame:
    """The current forecasts of all series together: `timestamp`, `middle` and each quantile's sum."""
    return _frame(
        sql,
        ("timestamp", "middle", *shape.quantiles),
        f'SELECT "timestamp", {_sums((shape.middle, *shape.quantiles))} FROM forecast GROUP BY 1 ORDER BY 1',  # noqa: S608
    )


def earlier_total(sql: SqlTables, shape: TableShape, as_of: str) -> pd.DataFrame:
    """The same of an earlier forecast."""
    names = [name for name in (shape.middle, *shape.quantiles) if name in sql.columns("forecast_history")]
    if names[:1] != [shape.middle]:
        return pd.DataFrame(columns=["timestamp", "middle"])
    return _frame(
        sql,
        ("timestamp", "middle", *names[1:]),
        f'SELECT "timestamp", {_sums(names)} FROM forecast_history WHERE as_of = ? GROUP BY 1 ORDER BY 1',  # noqa: S608
        [as_of],
    )


def scored(sql: SqlTables) -> list[str]:
    """As-ofs that have scores, newest first."""
    return [
        as_of for (as_of,) in sql.rows("SELECT DISTINCT as_of FROM accuracy WHERE \"level\" = 'all' ORDER BY 1 DESC")
    ]


def before(sql: SqlTables, as_of: str) -> str:
    """As-of of the forecast before one; empty if there is none."""
    ((found,),) = sql.rows("SELECT max(as_of) FROM forecast_history WHERE as_of < ?", [as_of])
    return found or ""


def values_of(sql: SqlTables, dimension: str) -> list[str]:
    """Values of a dimension of the current forecast."""
    name = identifier(dimension)
    rows = sql.rows(f"SELECT DISTINCT {name} FROM forecast WHERE {name} IS NOT NULL ORDER BY 1 LIMIT {LISTED}")  # noqa: S608
    return [value for (value,) in rows]


def ranking(
    sql: SqlTables, shape: TableShape, by: str, filters: Filters, *, scored_as_of: str, as_of: str, limit: int = LISTED
) -> pd.DataFrame:
    """Series in the order of one of `RANKINGS`.

    Args:
        sql: the tables.
        shape: the forecast's columns.
        by: name of the ranking.
        filters: of which series.
        scored_as_of: partition whose scores and anomalies count; empty if none is scored.
        as_of: partition of the current forecast, which the one before it is compared with.
        limit: how many.

    Returns:
        A row for each series: the keys and `RANKED`, with an underscore before a name that is a dimension's, too. `volume` is
        the sum of the current forecast; `relative_change` what it changed by on the periods that both forecasts have, beside
        the one before; the others are of the scored partition.
    """
    keys, middle = identifiers(shape.keys), identifier(shape.middle)
    where, values = _filtered(filters)
    of_those = "" if filters == Filters() else " AND item_id IN (SELECT item_id FROM volumes)"
    matched = " AND ".join(f"now.{identifier(key)} = old.{identifier(key)}" for key in (*shape.keys, "timestamp"))
    previous = before(sql, as_of) if as_of else ""
    changed = (
        f"SELECT {identifiers(shape.keys, table='now')}, sum(now.{middle}) AS _new_sum, sum(old.{middle}) AS _old_sum "  # noqa: S608 - quoted
        f"FROM forecast AS now JOIN (SELECT * FROM forecast_history WHERE as_of = ?{of_those}) AS old ON {matched} "
        f"GROUP BY {identifiers(shape.keys, table='now')}"
    )
    scores_of = ", ".join(
        f"max(CASE WHEN metric = '{metric}' THEN {column} END) AS _{name}"
        for name, metric, column in (
            ("error_share", "error_contribution", '"value"'),
            ("tracking_signal", "tracking_signal", '"value"'),
            ("weighted_bias", "weighted_bias", '"value"'),
            ("wape", "wape", '"value"'),
            ("naive_wape", "wape", "seasonal_naive"),
        )
    )
    statement = (
        f"WITH volumes AS (SELECT {keys}, sum({middle}) AS _volume FROM forecast WHERE {where} GROUP BY {keys}), "  # noqa: S608
        f"changes AS ({changed}), "
        f"scores AS (SELECT {keys}, {scores_of} FROM accuracy WHERE \"level\" = 'item' AND as_of = ? "
        "AND metric IN ('error_contribution', 'tracking_signal', 'weighted_bias', 'wape')"
        f"{of_those} GROUP BY {keys}), "
        f"odd AS (SELECT {keys}, count(*) AS _anomalies FROM anomalies WHERE as_of = ?{of_those} GROUP BY {keys}), "
        f"listed AS (SELECT {identifiers(shape.keys, table='volumes')}, _volume, "
        "(_new_sum - _old_sum) / nullif(abs(_old_sum), 0) AS _relative_change, _error_share, _tracking_signal, _weighted_bias, "
        "_wape, _naive_wape, coalesce(odd._anomalies, 0) AS _anomalies FROM volumes "
        f"LEFT JOIN changes ON {_same_keys(shape.keys, 'changes')} "
        f"LEFT JOIN scores ON {_same_keys(shape.keys, 'scores')} "
        f"LEFT JOIN odd ON {_same_keys(shape.keys, 'odd')}) "
        f"SELECT {keys}, {', '.join(f'_{name}' for name in RANKED)} FROM listed "
        f"ORDER BY {RANKINGS[by]} DESC NULLS LAST, {keys} LIMIT {limit:d}"
    )
    asked = [*values, previous, scored_as_of, scored_as_of]
    names = [f"_{name}" if name in shape.keys else name for name in RANKED]
    return _frame(sql, (*shape.keys, *names), statement, asked)


def search(sql: SqlTables, shape: TableShape, text: str) -> list[ItemSeries]:
    """Series of the item of this name; if there is none, those whose item has the text in its name, in order, the first ones.

    The name as a whole is found by where its rows lie; a part of it takes a look at every row.
    """
    keys = identifiers(shape.keys)
    rows = sorted(set(sql.item_rows("forecast", shape.keys, {"item_id": text}))) if text else []
    if not rows:
        where, values = _filtered(Filters(text))
        statement = f"SELECT DISTINCT {keys} FROM forecast WHERE {where} ORDER BY {keys} LIMIT {SUGGESTED}"  # noqa: S608 - quoted
        rows = sql.rows(statement, values)
    return [ItemSeries(row[0], tuple(zip(shape.dimensions, row[1:], strict=True))) for row in rows]


def history(sql: SqlTables, series: ItemSeries) -> pd.DataFrame:
    """Observations of a series: `timestamp`, `value` (missing where there is none), `filled`."""
    return _item(sql, "train", series, {"timestamp": "timestamp", "target": "value", "filled": "filled"}, "timestamp")


def forecast(sql: SqlTables, shape: TableShape, series: ItemSeries) -> pd.DataFrame:
    """The current forecast of a series: `timestamp`, `middle` and the quantiles."""
    return _item(sql, "forecast", series, _forecast_names(shape, shape.quantiles), "timestamp")


def earlier(sql: SqlTables, shape: TableShape, series: ItemSeries) -> pd.DataFrame:
    """The last `EARLIER` forecasts of a series: `as_of`, `timestamp`, `middle` and the quantiles that all of them have."""
    there = sql.columns("forecast_history")
    if there and shape.middle not in there:
        return pd.DataFrame(columns=["as_of", "timestamp", "middle"])
    names = _forecast_names(shape, [name for name in shape.quantiles if name in there])
    found = _item(sql, "forecast_history", series, {"as_of": "as_of", **names}, "as_of", "timestamp")
    recent = sorted(found["as_of"].unique())[-EARLIER:]
    return found[found["as_of"].isin(recent)].reset_index(drop=True)


def anomalies(sql: SqlTables, series: ItemSeries) -> pd.DataFrame:
    """Anomalies of a series, each once, as the last forecast that saw it judges it."""
    names = {"as_of": "as_of", "timestamp": "timestamp", "target": "value", "deviation": "deviation"}
    names |= {f"band_{name}": name for name in ("low", "middle", "high")}
    found = _item(sql, "anomalies", series, names, "timestamp", "as_of")
    return found.drop_duplicates("timestamp", keep="last").reset_index(drop=True)


def item_scores(sql: SqlTables, series: ItemSeries) -> pd.DataFrame:
    """Scores of a series by as-of: `as_of`, `metric`, `value`, `seasonal_naive`."""
    names = ("as_of", "metric", "value", "seasonal_naive")
    return _item(sql, "accuracy", series, dict(zip(names, names, strict=True)), "as_of", "metric")


def weights(sql: SqlTables, series: ItemSeries) -> pd.DataFrame:
    """Members of the newest forecast of a series: `as_of`, `member`, `weight`; empty where a model alone made it."""
    names = {"as_of": "as_of", "member_rank": "rank", "member": "member", "member_weight": "weight"}
    if not sql.columns("weights"):
        return pd.DataFrame(columns=list(names.values()))
    found = _item(sql, "weights", series, names, "as_of", "rank")
    return found[found["as_of"] == found["as_of"].max()].reset_index(drop=True)


def explanations(sql: SqlTables, series: ItemSeries) -> pd.DataFrame:
    """What each attribute adds to the newest explained forecast of a series.

    Returns:
        `as_of`, `attribute`, `impact` (the sum over the horizon, in units of the target, against the usual), greatest first.
    """
    names = {"as_of": "as_of", "attribute": "attribute", "impact_units": "impact"}
    if not set(names) <= set(sql.columns("forecast_explanations")):
        return pd.DataFrame(columns=list(names.values()))
    found = _item(sql, "forecast_explanations", series, names, "as_of")
    newest = found[found["as_of"] == found["as_of"].max()]
    total = newest.groupby(["as_of", "attribute"], as_index=False)["impact"].sum()
    return total.sort_values("impact", key=abs, ascending=False, kind="stable").reset_index(drop=True)


def what_if(sql: SqlTables, shape: TableShape, series: ItemSeries) -> pd.DataFrame:
    """Forecasts of a series under every scenario: `scenario`, `as_of`, `timestamp`, `what_if`, `baseline`."""
    names = {name: name for name in ("scenario", "as_of", "timestamp")}
    names |= {shape.middle: "what_if", f"baseline_{shape.middle}": "baseline"}
    if not set(names) <= set(sql.columns("what_if_forecasts")):
        return pd.DataFrame(columns=list(names.values()))
    return _item(sql, "what_if_forecasts", series, names, "scenario", "timestamp")


def leaderboard(sql: SqlTables) -> pd.DataFrame:
    """The ensemble of the newest forecast and its members, the best first."""
    names = ("as_of", "member", "member_weight", "wql", "mase", "coverage_80")
    if not sql.columns("leaderboard"):
        return pd.DataFrame(columns=list(names))
    found = _frame(
        sql,
        names,
        f"SELECT {identifiers(names)} FROM leaderboard ORDER BY as_of DESC, member_rank",  # noqa: S608 - constants
    )
    return found[found["as_of"] == found["as_of"].max()].reset_index(drop=True)


def _frame(sql: SqlTables, names: Iterable[str], statement: str, values: Sequence[str | datetime] = ()) -> pd.DataFrame:
    frame = pd.DataFrame(sql.rows(statement, values), columns=list(names))
    return frame.assign(timestamp=pd.to_datetime(frame["timestamp"])) if "timestamp" in frame else frame


def _filtered(filters: Filters) -> tuple[str, list[Any]]:
    """SQL that a row's series is one of those wanted, and its values."""
    conditions = ["item_id IS NOT NULL", *(f"{identifier(name)} = ?" for name, _ in filters.dimensions)]
    values: list[Any] = [value for _, value in filters.dimensions]
    if filters.text:
        conditions.append("strpos(lower(item_id), ?) > 0")
        values.append(filters.text.lower())
    if filters.items is not None:
        conditions.append(f"item_id IN ({', '.join('?' * len(filters.items)) or 'NULL'})")
        values += filters.items
    return " AND ".join(conditions), values


def _same_keys(keys: Sequence[str], other: str) -> str:
    return " AND ".join(f"volumes.{identifier(key)} = {other}.{identifier(key)}" for key in keys)


def _sums(names: Sequence[str]) -> str:
    return ", ".join(f"sum({identifier(name)})" for name in names)


def _forecast_names(shape: TableShape, quantiles: Iterable[str]) -> dict[str, str]:
    """Columns of a forecast -> what they are called in a frame; the middle may be a quantile, too."""
    return {
        "timestamp": "timestamp",
        shape.middle: "middle",
        **{name: name for name in quantiles if name != shape.middle},
    }


def _item(sql: SqlTables, table: str, series: ItemSeries, names: Mapping[str, str], *order: str) -> pd.DataFrame:
    """A table's rows of one series, sorted; names: column -> what it is called in the frame.

    The table may lack dimensions of the series: it was made before they were declared.

    Raises:
        TablesError: the table is missing, or an older version's.
    """
    there = sql.columns(table)
    if missing := [name for name in ("item_id", *names) if name not in there]:
        raise TablesError(f"the SQL table {table} has no {', '.join(missing)}: {FIX}")
    key = {name: value for name, value in series.key.items() if name in there}
    frame = pd.DataFrame(sql.item_rows(table, list(names), key), columns=list(names.values()))
    if "timestamp" in frame:
        frame = frame.assign(timestamp=pd.to_datetime(frame["timestamp"]))
    return frame.sort_values(list(order)).reset_index(drop=True)
