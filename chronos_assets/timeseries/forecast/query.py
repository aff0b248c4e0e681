"""The forecast of one item, in the shape of Amazon Forecast's QueryForecast answer, and as a table to read.

Here belong questions about single series, to the Parquet file, to the DuckDB tables, or to another engine that speaks
SQL (`ForecastTable`). Everything a caller gives is a parameter of the query, never text of it.

https://docs.aws.amazon.com/forecast/latest/dg/API_forecastquery_QueryForecast.html
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.timeseries.dataset.duckdb_sql import (
    column_names,
    identifier,
    identifiers,
    parquet_rows,
    reading_connection,
    scratch_connection,
)
from chronos_assets.timeseries.forecast.columns import forecast_types
from chronos_assets.wording import first_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SUGGESTIONS = 5
# Below it, Jaro-Winkler similarities of short ids mean nothing.
_SIMILAR = 0.6


class QueryError(ChronosAssetsError, LookupError):
    """A question without an answer; the message says why, and what there is instead."""


class ForecastTable(Protocol):
    """An SQL engine that has the forecast as the table `forecast`."""

    @property
    def columns(self) -> Sequence[str]:
        """Columns of the table, in the engine's order."""

    def rows(self, sql: str, values: Sequence[str | datetime]) -> list[tuple[Any, ...]]:
        """Answer to a query in plain SQL; `?` in its WHERE clause stand for the values."""

    def similar_items(self, item_id: str) -> list[str]:
        """Up to `SUGGESTIONS` items whose names are like this one, the likest first."""


@dataclass(frozen=True)
class SeriesQuestion:
    """What is asked about a series.

    Attributes:
        item_id: of the series.
        dimensions: values of the forecast dimensions; those that only one series of the item has may be left out.
        start: in the data's own clock, included; the whole horizon without it.
        end: likewise.

    Raises:
        QueryError: no forecast can answer it.
    """

    item_id: str
    dimensions: Mapping[str, str] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        if any(moment is not None and moment.tzinfo is not None for moment in (self.start, self.end)):
            raise QueryError("give start and end without a time zone: forecasts are in the data's own clock")
        if self.start is not None and self.end is not None and self.start > self.end:
            raise QueryError(f"the start {self.start} is after the end {self.end}: swap them")
        for text in (self.item_id, *self.dimensions.values()):
            if not _is_unicode(text):
                raise QueryError(f"{text!r} is not valid Unicode: no item and no dimension has such a value")

    def check_dimensions(self, names: Sequence[str]) -> None:
        """See that a forecast with these dimensions has those that are given.

        Raises:
            QueryError: one is none of them.
        """
        for name in self.dimensions:
            if name not in names:
                raise QueryError(f"{name!r} is not a dimension of the forecast; it has {', '.join(names) or 'none'}")


def query_forecast(source: Path, question: SeriesQuestion) -> dict[str, Any]:
    """`ask` of a file.

    source: forecast.parquet, or a DuckDB database with a table `forecast`.
    """
    with _opened(source) as connection:
        return ask(_DuckTable(connection), question)


def ask(table: ForecastTable, question: SeriesQuestion) -> dict[str, Any]:
    """The forecast of one series, every type of it.

    Returns ``{"Forecast": {"Predictions": {"p10": [{"Timestamp": "2014-11-30T00:00:00", "Value": 1.5}, …], …}}}``, with
    the types in the order of the exports.

    Raises:
        QueryError: for an unknown item (naming close ones), an unknown dimension or value, an item of several series, and a
            time span without a forecast.
    """
    item_id, given = question.item_id, dict(question.dimensions)
    types = forecast_types(table.columns)
    names = [name for name in table.columns if name not in ("item_id", "timestamp", *types)]
    question.check_dimensions(names)
    key = given if set(given) == set(names) else _find_series(table, names, item_id, given)
    condition, values = _conditions({"item_id": item_id, **key})
    for operator, moment in ((">=", question.start), ("<=", question.end)):
        if moment is not None:
            condition += f' AND "timestamp" {operator} ?'
            values.append(moment)
    rows = table.rows(
        f'SELECT "timestamp", {identifiers(types)} FROM forecast WHERE {condition} ORDER BY "timestamp"',  # noqa: S608
        values,
    )
    if not rows:
        raise _no_rows(table, names, item_id, key)
    times = [row[0].isoformat() for row in rows]
    return {
        "Forecast": {
            "Predictions": {
                name: [{"Timestamp": time, "Value": row[place]} for time, row in zip(times, rows, strict=True)]
                for place, name in enumerate(types, start=1)
            }
        }
    }


def in_utc(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of `ask` whose timestamps say that they are UTC, by a Z."""
    return {
        "Forecast": {
            "Predictions": {
                name: [point | {"Timestamp": f"{point['Timestamp']}Z"} for point in points]
                for name, points in answer["Forecast"]["Predictions"].items()
            }
        }
    }


def _is_unicode(text: str) -> bool:
    """A byte of the command line that isn't UTF-8 becomes half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def render_table(answer: Mapping[str, Any]) -> str:
    """An answer of `query_forecast` as lines of text: one row for each timestamp, one column for each type."""
    predictions = answer["Forecast"]["Predictions"]
    times = [point["Timestamp"] for point in next(iter(predictions.values()))]
    columns = [["timestamp", *(time.replace("T", " ") for time in times)]]
    columns += [[name, *(f"{point['Value']:.6g}" for point in points)] for name, points in predictions.items()]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in zip(*columns, strict=True))
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def render_csv(answer: Mapping[str, Any]) -> str:
    """An answer of `query_forecast` as CSV: a header, one row for each timestamp, every digit of the values."""
    predictions = answer["Forecast"]["Predictions"]
    times = [point["Timestamp"] for point in next(iter(predictions.values()))]
    columns = [[point["Value"] for point in points] for points in predictions.values()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["timestamp", *predictions])
    writer.writerows(zip(times, *columns, strict=True))
    return text.getvalue().rstrip("\n")


@contextmanager
def _opened(source: Path) -> Iterator[DuckDBPyConnection]:
    """A connection that has the forecast as `forecast`."""
    if not source.exists():
        raise QueryError(f"there is no forecast at {source} yet; run the job refresh_forecasts")
    if source.suffix == ".parquet":
        with TemporaryDirectory() as folder, scratch_connection(Path(folder)) as connection:
            connection.execute(f"CREATE VIEW forecast AS FROM {parquet_rows(source)}")
            yield connection
    else:
        with reading_connection(source) as connection:
            yield connection


class _DuckTable:
    """`ForecastTable` of a DuckDB connection."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection
        self.columns = column_names(connection, "forecast")

    def rows(self, sql: str, values: Sequence[str | datetime]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(values)).fetchall()

    def similar_items(self, item_id: str) -> list[str]:
        close = self._connection.execute(
            "SELECT item_id FROM (SELECT DISTINCT item_id FROM forecast) "
            "WHERE jaro_winkler_similarity(lower(item_id), lower($1)) > $2 OR contains(lower(item_id), lower($1)) "
            "ORDER BY jaro_winkler_similarity(lower(item_id), lower($1)) DESC, item_id LIMIT $3",
            [item_id, _SIMILAR, SUGGESTIONS],
        ).fetchall()
        return [row[0] for row in close]


def _find_series(table: ForecastTable, names: list[str], item_id: str, given: dict[str, str]) -> dict[str, str]:
    """The value of every dimension of the one series that is meant."""
    found = _series(table, names, {"item_id": item_id, **given})
    if len(found) == 1:
        return found[0]
    if found:
        raise QueryError(f"item {item_id!r} has several series: {_series_listed(found)}; give the dimensions of one")
    raise _no_series(table, names, item_id, given)


def _no_series(table: ForecastTable, names: list[str], item_id: str, given: Mapping[str, str]) -> QueryError:
    """Why no series has this item and these dimensions."""
    present = _series(table, names, {"item_id": item_id}) if given else []
    if not present:
        return _unknown_item(table, item_id)
    return QueryError(f"item {item_id!r} has no series with {dimensions_text(given)}; it has {_series_listed(present)}")


def _series(table: ForecastTable, names: list[str], key: Mapping[str, str]) -> list[dict[str, str]]:
    """The dimensions of the series that have these values: as many as are shown, and one more."""
    condition, values = _conditions(key)
    rows = table.rows(
        f"SELECT DISTINCT {identifiers(names)} FROM forecast WHERE {condition} "  # noqa: S608 - quoted names
        f"ORDER BY {identifiers(names)} LIMIT {SUGGESTIONS + 1}",
        values,
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def dimensions_text(dimensions: Mapping[str, str]) -> str:
    """What a series is besides its item: "store='north', size='m'"."""
    return ", ".join(f"{name}={value!r}" for name, value in dimensions.items())


def _series_listed(found: list[dict[str, str]]) -> str:
    return first_of([dimensions_text(one) for one in found], SUGGESTIONS, "; ")


def _listed(items: list[Any]) -> str:
    return first_of([repr(item) for item in items], SUGGESTIONS)


def _unknown_item(table: ForecastTable, item_id: str) -> QueryError:
    if close := table.similar_items(item_id):
        return QueryError(f"there is no forecast of item {item_id!r}; did you mean {_listed(close)}?")
    some = table.rows(f"SELECT DISTINCT item_id FROM forecast ORDER BY item_id LIMIT {SUGGESTIONS + 1}", [])  # noqa: S608
    there_are = f"there are {_listed([row[0] for row in some])}" if some else "the forecast is empty"
    return QueryError(f"there is no forecast of item {item_id!r}; {there_are}")


def _no_rows(table: ForecastTable, names: list[str], item_id: str, key: Mapping[str, str]) -> QueryError:
    """Why a series has no rows: another time, or there is none."""
    condition, values = _conditions({"item_id": item_id, **key})
    ((first, last),) = table.rows(
        f'SELECT min("timestamp"), max("timestamp") FROM forecast WHERE {condition}',  # noqa: S608 - quoted names
        values,
    )
    if first is None:
        return _no_series(table, names, item_id, key)
    return QueryError(f"item {item_id!r} has no forecast in that time; it has one from {first} to {last}")


def _conditions(key: Mapping[str, str]) -> tuple[str, list[str | datetime]]:
    """SQL that the columns have these values, and its parameters."""
    return " AND ".join(f"{identifier(name)} = ?" for name in key), list(key.values())
