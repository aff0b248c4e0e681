"""Checks of a forecast: freshness, quantiles, coverage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.checks import MAX_ROWS, CheckOutcome, Row
from chronos_assets.timeseries.dataset.duckdb_sql import (
    column_names,
    first_row,
    identifier,
    identifiers,
    parquet_rows,
    scratch_connection,
)
from chronos_assets.timeseries.dataset.series_keys import series_name
from chronos_assets.timeseries.dataset.shard_queries import insert_from_shards
from chronos_assets.timeseries.dataset.shards import Manifest, ShardSource
from chronos_assets.timeseries.forecast.columns import forecast_types, quantile_columns
from chronos_assets.timeseries.published_files import COLD_STARTS, FORECAST, SKIPPED

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


# --- freshness --------------------------------------------------------------------------------------------------------


def check_freshness(
    forecast: Mapping[str, Any] | None, dataset: Manifest, params: ForecastParams, *, now: datetime | None = None
) -> CheckOutcome:
    """Was the published forecast made from the newest data, and are those data young enough?

    forecast: manifest of the published forecast (`context_end`, `as_of`, `complete_periods`), None if there is none.
    now: an aware time, compared with the end of the last period if `Chronos.MaxDataAge` is set.

    Raises:
        ValueError: for a naive `now`.
    """
    grid = params.grid
    last = grid.number_of(dataset.last_timestamp)
    numbers: dict[str, int | float] = {}
    if forecast is None:
        return CheckOutcome(
            passed=False,
            severity="error",
            description=f"No forecast is published, and the dataset reaches {dataset.last}.",
            failing_rows=(_freshness_row("published forecast", "none", dataset.last),),
            failing=1,
            fix="Run the job `refresh_forecasts`, or materialize the partition of `forecasts` that holds the last "
            "observation.",
        )
    context_end = np.datetime64(str(forecast["context_end"]), "us")
    # The last period may be left out on purpose: it is not over at the end of its window.
    open_periods = 1 if forecast.get("complete_periods") or forecast.get("lag_seconds") else 0
    behind = last - grid.number_of(context_end)
    numbers["periods_behind"] = behind
    if behind > open_periods:
        return CheckOutcome(
            passed=False,
            severity="error",
            description=f"The published forecast ({forecast.get('as_of')}) saw data up to {context_end}, "
            f"{behind} periods before the dataset's last ({dataset.last}).",
            failing_rows=(_freshness_row("data in the forecast", str(context_end), dataset.last),),
            failing=1,
            numbers=numbers,
            fix="Materialize the partition of `forecasts` that holds the last observation (the job "
            "`refresh_forecasts` does), or switch on `new_data_sensor`. If it failed, its run says why; until then "
            "readers of `forecast/` see the older forecast.",
        )
    if params.max_data_age is None or now is None:
        description = (
            f"The published forecast ({forecast.get('as_of')}) was made from the newest data ({dataset.last})."
        )
        return CheckOutcome(passed=True, severity="error", description=description, numbers=numbers)
    return _check_age(grid.instant(last + 1), params, now, numbers)


def _check_age(
    end: np.datetime64, params: ForecastParams, now: datetime, numbers: Mapping[str, int | float]
) -> CheckOutcome:
    """Whether the last period ended no longer ago than `Chronos.MaxDataAge`."""
    if now.tzinfo is None:
        raise ValueError(f"now must have a time zone, not {now}")
    limit = params.max_data_age or 0.0
    clock = now.astimezone(ZoneInfo(params.time_zone) if params.time_zone else UTC).replace(tzinfo=None)
    age = float((np.datetime64(clock, "us") - end) / np.timedelta64(1, "s"))
    numbers = {**numbers, "data_age_seconds": age, "max_data_age_seconds": limit}
    if age <= limit:
        description = (
            f"The forecast is of the newest data, which ended {_duration(age)} ago (limit {_duration(limit)})."
        )
        return CheckOutcome(passed=True, severity="warn", description=description, numbers=numbers)
    return CheckOutcome(
        passed=False,
        severity="warn",
        description=f"The newest data ended {_duration(age)} ago; Chronos.MaxDataAge allows {_duration(limit)}.",
        failing_rows=(_freshness_row("newest data", str(end), f"{_duration(limit)} before {clock}"),),
        failing=1,
        numbers=numbers,
        fix="No newer rows have been imported. Put newer files into `train/`; if they are there, look whether "
        "`train_files_sensor` is on and the last import failed. If the source is slower than "
        "`Chronos.MaxDataAge` says, raise that.",
    )


def _freshness_row(what: str, found: str, wanted: str) -> Row:
    return {"what": what, "found": found, "wanted": wanted}


def _duration(seconds: float) -> str:
    """A length of time for people: "3.5 hours"."""
    for length, word in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if abs(seconds) >= length:
            return f"{seconds / length:.3g} {word}"
    return f"{seconds:.3g} seconds"


# --- forecasts --------------------------------------------------------------------------------------------------------

_ORDER_FIX = """The model, or what was done to its answer, is at fault: quantiles must not cross, no value may be missing.

1. Don't use the forecast of these series: consumers that take a band from it get a negative width.
2. Materialize the partition again. The same rows again: go back to the model before (`CHRONOS_BASE_MODEL`), and report
   a bug with these rows."""

_COVERAGE_FIX = """By problem:

- **missing**, **wrong_steps**, **unknown**: materialize the partition again; if it was forecast from an older dataset
  than the one shown now, that is all it needs.
- **skipped**: the reason says what the series lacks. Give it observations before the as-of, or lower
  `Chronos.MinObservations`; a series that ended for good can be taken out of the train files."""


def check_quantiles(forecast: Path) -> CheckOutcome:
    """Does no quantile exceed the next higher one, and is every value a number? Equal quantiles are fine."""
    with _opened() as connection:
        _view(connection, "forecasts", forecast)
        columns = column_names(connection, "forecasts")
        types = forecast_types(columns)
        quantiles = quantile_columns(columns)
        keys = [name for name in columns if name not in ("timestamp", *types)]
        (rows,) = first_row(connection, "SELECT count(*) FROM forecasts")
        crossing = [f"{identifier(low)} > {identifier(high)}" for low, high in pairwise(quantiles)]
        missing = [f"NOT isfinite(coalesce({identifier(name)}, 'nan'::DOUBLE))" for name in types]
        connection.execute(
            f"CREATE TEMP TABLE failing AS SELECT CASE WHEN {' OR '.join(missing)} THEN 'not a number' "  # noqa: S608
            f"WHEN {' OR '.join(crossing) or 'FALSE'} THEN 'crossing' END AS _problem, "
            f"{identifiers([*keys, 'timestamp', *types])} FROM forecasts WHERE _problem IS NOT NULL"
        )
        failing, shown = _failing(connection, keys)
    numbers = {
        "rows": int(rows),
        "crossing": failing.get("crossing", 0),
        "not_a_number": failing.get("not a number", 0),
    }
    total = sum(failing.values())
    if total:
        return CheckOutcome(
            passed=False,
            severity="error",
            description=f"{total} of {rows} rows are wrong: {_counts(failing)}.",
            failing_rows=shown,
            failing=total,
            numbers=numbers,
            fix=_ORDER_FIX,
        )
    return CheckOutcome(
        passed=True,
        severity="error",
        description=f"In all {rows} rows the quantiles ({', '.join(quantiles) or 'none'}) ascend.",
        numbers=numbers,
    )


def check_coverage(
    folder: Path, dataset: ShardSource, params: ForecastParams, *, context_end: np.datetime64, horizon: int
) -> CheckOutcome:
    """Has every series of the dataset that had begun by `context_end` a forecast of all `horizon` steps?

    folder: the forecast's, with the series that could not be forecast, and those that are forecast without a past, if
    any; these need not be in the dataset.
    Series that were skipped are named and make it a warning; those that are missing without a reason, have another
    number of steps, or are not in the dataset are errors.
    """
    with _opened() as connection:
        names = ["item_id", *params.dimensions]
        keys = identifiers(names)
        counts = _lay_side_by_side(connection, names, dataset, context_end, folder)
        connection.execute(
            f"CREATE TEMP TABLE failing AS SELECT 'missing' AS _problem, {keys}, 'no forecast, no reason' AS _detail "  # noqa: S608
            f"FROM started ANTI JOIN covered USING ({keys}) ANTI JOIN skips USING ({keys}) "
            f"UNION ALL SELECT 'wrong_steps', {keys}, concat(_steps, ' steps in ', _rows, ' rows') FROM covered "
            "WHERE _steps <> $1 OR _rows <> $1 "
            f"UNION ALL SELECT 'unknown', {keys}, 'not in the dataset' FROM covered ANTI JOIN series USING ({keys}) "
            f"ANTI JOIN cold USING ({keys}) "
            f"UNION ALL SELECT 'skipped', {keys}, _reason FROM skips",
            [horizon],
        )
        failing, shown = _failing(connection, names)
    numbers = {
        "series": counts["series"],
        "not_started": counts["series"] - counts["started"],
        "forecast": counts["covered"],
        **({"cold_starts": counts["cold"]} if counts["cold"] else {}),
    }
    numbers |= {kind: failing.get(kind, 0) for kind in ("skipped", "missing", "wrong_steps", "unknown")}
    if not failing:
        return CheckOutcome(
            passed=True,
            severity="error",
            description=f"All {counts['started']} series have a forecast of {horizon} steps"
            + (f", and {counts['cold']} have one without a past." if counts["cold"] else "."),
            numbers=numbers,
        )
    return CheckOutcome(
        passed=False,
        severity="warn" if set(failing) == {"skipped"} else "error",
        description=f"{counts['covered']} of {counts['started']} series have a forecast; {_counts(failing)}.",
        failing_rows=shown,
        failing=sum(failing.values()),
        numbers=numbers,
        fix=_COVERAGE_FIX,
    )


def _lay_side_by_side(
    connection: DuckDBPyConnection, names: list[str], dataset: ShardSource, context_end: np.datetime64, folder: Path
) -> dict[str, int]:
    """Tables of the `series`, those that had `started`, the `covered` ones, `skips` and `cold` starts, and their rows."""
    keys = identifiers(names)
    _view(connection, "forecasts", folder / FORECAST)
    # Columns of our own begin with an underscore, which no dimension can.
    columns = ", ".join(f"{identifier(name)} VARCHAR" for name in names)
    connection.execute(f"CREATE TEMP TABLE series ({columns}, _first TIMESTAMP)")
    insert_from_shards(connection, "series", dataset, f'{keys}, min("timestamp")', f"GROUP BY {keys}")
    connection.execute(
        f"CREATE TEMP TABLE started AS SELECT {keys} FROM series WHERE _first <= ?",  # noqa: S608 - quoted names
        [context_end.item()],
    )
    connection.execute(
        f'CREATE TEMP TABLE covered AS SELECT {keys}, count(DISTINCT "timestamp") AS _steps, count(*) AS _rows '  # noqa: S608
        f"FROM forecasts GROUP BY {keys}"
    )
    _view(connection, "skipped", folder / SKIPPED)
    connection.execute(f"CREATE TEMP TABLE skips AS SELECT {keys}, reason AS _reason FROM skipped")  # noqa: S608
    connection.execute(f"CREATE TEMP TABLE cold AS SELECT {keys} FROM series LIMIT 0")  # noqa: S608 - quoted names
    if (folder / COLD_STARTS).is_file():
        _view(connection, "cold_starts", folder / COLD_STARTS)
        connection.execute(f"INSERT INTO cold SELECT {keys} FROM cold_starts")  # noqa: S608 - quoted names
    return {
        name: int(first_row(connection, f"SELECT count(*) FROM {name}")[0])  # noqa: S608 - constants
        for name in ("series", "started", "covered", "cold")
    }


def _counts(failing: Mapping[str, int]) -> str:
    return ", ".join(f"{kind}: {count}" for kind, count in sorted(failing.items()))


@contextmanager
def _opened() -> Iterator[DuckDBPyConnection]:
    with TemporaryDirectory(prefix="quality-") as folder, scratch_connection(Path(folder)) as connection:
        yield connection


def _view(connection: DuckDBPyConnection, name: str, path: Path) -> None:
    connection.execute(f"CREATE VIEW {name} AS FROM {parquet_rows(path)}")


def _failing(connection: DuckDBPyConnection, keys: Sequence[str]) -> tuple[dict[str, int], tuple[Row, ...]]:
    """The table `failing` (_problem, keys, …): its rows by problem, and the first of them; skipped series come last."""
    counts = dict(connection.execute("SELECT _problem, count(*) FROM failing GROUP BY _problem").fetchall())
    order = identifiers([*keys, *(name for name in column_names(connection, "failing") if name == "timestamp")])
    result = connection.execute(f"FROM failing ORDER BY _problem = 'skipped', _problem, {order} LIMIT {MAX_ROWS}")
    names = [str(column[0]).removeprefix("_") for column in result.description]
    rows = tuple(
        {
            "problem": row[0],
            "series": series_name(row[1 : len(keys) + 1]),
            **dict(zip(names[len(keys) + 1 :], map(_shown, row[len(keys) + 1 :]), strict=True)),
        }
        for row in result.fetchall()
    )
    return counts, rows


def _shown(value: Any) -> Any:
    """A value as metadata tables can hold it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not np.isfinite(value) else value
