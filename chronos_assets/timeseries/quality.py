"""What the asset checks find: is the dataset sound, the forecast fresh, ordered, complete, and better than naive?

Here belong the questions and what to do about each answer. Every function takes files or values and gives a
`CheckOutcome`; none knows a clock, Dagster or where the store is. The shells are in `defs.checks`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np

from chronos_assets.params import ForecastParams
from chronos_assets.timeseries.accuracy import AccuracyReport
from chronos_assets.timeseries.columns import forecast_types, quantile_columns
from chronos_assets.timeseries.frequencies import Grid
from chronos_assets.timeseries.shards import (
    DatasetError,
    Manifest,
    Series,
    Shard,
    iter_series,
    read_manifest,
    shard_name,
    shard_number,
)
from chronos_assets.timeseries.sql import (
    DEFAULT_MEMORY,
    column_names,
    first_row,
    identifier,
    identifiers,
    parquet_argument,
    scratch_connection,
    text_literal,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_ROWS = 20

Severity = Literal["error", "warn"]
Row = dict[str, Any]


@dataclass(frozen=True)
class CheckOutcome:
    """The answer of a check.

    passed; severity, if it did not. description: one sentence, with the numbers that matter. failing_rows: the first
    `MAX_ROWS` of them, all with the same keys; failing: how many there are. numbers: for plots and tables. mend:
    markdown, what to do about it; empty when there is nothing to do.
    """

    passed: bool
    severity: Severity
    description: str
    failing_rows: tuple[Row, ...] = ()
    failing: int = 0
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    mend: str = ""


# --- dataset ----------------------------------------------------------------------------------------------------------

_DATASET_MEND = """The dataset's files are not what the import wrote, or `params.json` was changed since.

1. Materialize `target_time_series`: it is made anew from `train/`, and published only when it is whole.
2. If the same rows fail again, look at the disk (`dmesg`, free space), and report a bug with these rows.

Forecasts that were made from this dataset are suspect: materialize their partitions again afterwards."""


def check_dataset(dataset: Path, params: ForecastParams) -> CheckOutcome:
    """Is the dataset whole, sorted, on the regular grid, and what its manifest says?

    Reads every shard once, in pieces. Each series must be in the shard that its key belongs to and once only, so none
    is in two shards; its periods must follow each other without a gap up to the dataset's last one; observed values
    must be numbers.
    """
    try:
        manifest = read_manifest(dataset)
    except DatasetError as error:
        return CheckOutcome(
            passed=False,
            severity="error",
            description=f"The dataset can't be read: {error}",
            failing_rows=(_dataset_row(dataset.name, None, "unreadable", str(error)),),
            failing=1,
            mend=_DATASET_MEND,
        )
    problems = _Problems()
    totals: Counter[str] = Counter()
    for row in _manifest_problems(manifest, params):
        problems.add(row)
    for shard in manifest.shards:
        for row in _shard_problems(dataset / shard.name, shard, manifest, params, totals):
            problems.add(row)
    for name, expected in (("series", manifest.series), ("rows", manifest.rows), ("observed", manifest.observed)):
        if not problems.count and totals[name] != expected:
            problems.add(
                _dataset_row("_manifest.json", None, f"wrong {name}", f"{expected}, but there are {totals[name]}")
            )
    numbers = {"shards": len(manifest.shards), **{name: totals[name] for name in ("series", "rows", "observed")}}
    if problems.count:
        return problems.outcome(
            f"{problems.count} problems in {len(manifest.shards)} shards: {problems.summary()}.",
            numbers=numbers,
            mend=_DATASET_MEND,
        )
    return CheckOutcome(
        passed=True,
        severity="error",
        description=f"{totals['series']} series with {totals['rows']} rows in {len(manifest.shards)} shards are sorted, "
        f"regular ({params.frequency}) and as the manifest says.",
        numbers=numbers,
    )


@dataclass
class _Problems:
    """Failing rows, of which only the first are kept."""

    rows: list[Row] = field(default_factory=list)
    count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        self.count += 1
        self.kinds[str(row["problem"])] += 1
        if len(self.rows) < MAX_ROWS:
            self.rows.append(row)

    def summary(self) -> str:
        return ", ".join(f"{kind} ({count})" for kind, count in self.kinds.most_common())

    def outcome(self, description: str, *, numbers: Mapping[str, int | float], mend: str) -> CheckOutcome:
        return CheckOutcome(
            passed=False,
            severity="error",
            description=description,
            failing_rows=tuple(self.rows),
            failing=self.count,
            numbers=numbers,
            mend=mend,
        )


def _dataset_row(file: str, key: Sequence[str] | None, problem: str, detail: str) -> Row:
    return {"file": file, "series": "" if key is None else " / ".join(key), "problem": problem, "detail": detail}


def _manifest_problems(manifest: Manifest, params: ForecastParams) -> Iterator[Row]:
    """Where the manifest disagrees with the parameters."""
    for name, found, wanted in (
        ("frequency", manifest.frequency, str(params.frequency)),
        ("dimensions", list(manifest.dimensions), list(params.dimensions)),
    ):
        if found != wanted:
            yield _dataset_row("_manifest.json", None, f"other {name}", f"{found}, but params.json says {wanted}")


def _shard_problems(
    path: Path, shard: Shard, manifest: Manifest, params: ForecastParams, totals: Counter[str]
) -> Iterator[Row]:
    """What is wrong with a shard, read to its end; adds its series, rows and observations to `totals`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        yield _dataset_row(shard.name, None, "unreadable", str(error).splitlines()[0])
        return
    if digest != shard.sha256:
        yield _dataset_row(shard.name, None, "changed", f"its SHA-256 is {digest}, not {shard.sha256}")
    wanted = {
        **dict.fromkeys(("item_id", *params.dimensions), "string"),
        "timestamp": "timestamp[us]",
        "target": "double",
        "filled": "bool",
    }
    found = {name: str(schema.field(name).type) for name in schema.names}
    if found != wanted:
        yield _dataset_row(shard.name, None, "wrong columns", f"{found}, not {wanted}")
        return
    before: tuple[str, ...] | None = None
    counts: Counter[str] = Counter()
    try:
        for series in iter_series(path, params.dimensions):
            for problem, detail in _series_problems(series, before, shard, manifest, params.grid):
                yield _dataset_row(shard.name, series.key, problem, detail)
            before = series.key
            counts.update(series=1, rows=len(series.target), observed=int((~series.filled).sum()))
    except (OSError, pa.ArrowException) as error:
        yield _dataset_row(shard.name, None, "unreadable", str(error).splitlines()[0])
        return
    totals.update(counts)
    for name, expected in (("series", shard.series), ("rows", shard.rows)):
        if counts[name] != expected:
            yield _dataset_row(shard.name, None, f"wrong {name}", f"{counts[name]}, but the manifest says {expected}")


def _series_problems(
    series: Series, before: tuple[str, ...] | None, shard: Shard, manifest: Manifest, grid: Grid
) -> Iterator[tuple[str, str]]:
    """(problem, detail) of one series; `before` is the key of the series before it in the shard."""
    if before is not None and series.key <= before:
        yield "not sorted", f"it comes after {' / '.join(before)}, or twice"
    home = shard_name(shard_number(series.key, manifest.n_shards))
    if home != shard.name:
        yield "wrong shard", f"it belongs into {home}"
    ordinals = grid.ordinal(series.timestamps)
    starts = grid.start(ordinals)
    if (off := np.flatnonzero(starts != series.timestamps)).size:
        yield "off the grid", f"{series.timestamps[off[0]]} is not the start of a period ({off.size} rows)"
    elif (gaps := np.flatnonzero(np.diff(ordinals) != 1)).size:
        yield "irregular", f"{series.timestamps[gaps[0] + 1]} follows {series.timestamps[gaps[0]]} ({gaps.size} places)"
    if series.timestamps[-1] != manifest.last_timestamp:
        yield "wrong end", f"it ends at {series.timestamps[-1]}, the dataset at {manifest.last}"
    known = np.isfinite(series.target)
    bad = np.flatnonzero(np.isinf(series.target) | (~known & ~series.filled))
    if bad.size:
        yield "no number", f"{series.target[bad[0]]} was observed at {series.timestamps[bad[0]]} ({bad.size} rows)"


# --- freshness --------------------------------------------------------------------------------------------------------


def check_freshness(
    forecast: Mapping[str, Any] | None, dataset: Manifest, params: ForecastParams, *, now: datetime | None = None
) -> CheckOutcome:
    """Was the published forecast made from the newest data, and are those data young enough?

    forecast: manifest of the published forecast (`context_end`, `as_of`, `complete_periods`), None if there is none.
    now: an aware time, compared with the end of the last period if `Chronos.MaxDataAge` is set.

    Raises ValueError for a naive `now`.
    """
    grid = params.grid
    last = int(grid.ordinal(np.asarray(dataset.last_timestamp)))
    numbers: dict[str, int | float] = {}
    if forecast is None:
        return CheckOutcome(
            passed=False,
            severity="error",
            description=f"No forecast is published, and the dataset reaches {dataset.last}.",
            failing_rows=(_freshness_row("published forecast", "none", dataset.last),),
            failing=1,
            mend="Run the job `refresh_forecasts`, or materialize the partition of `forecasts` that holds the last "
            "observation.",
        )
    context_end = np.datetime64(str(forecast["context_end"]), "us")
    # The last period may be left out on purpose: it is not over at the end of its window.
    open_periods = 1 if forecast.get("complete_periods") else 0
    behind = last - int(grid.ordinal(np.asarray(context_end)))
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
            mend="Materialize the partition of `forecasts` that holds the last observation (the job "
            "`refresh_forecasts` does), or switch on `new_data_sensor`. If it failed, its run says why; until then "
            "readers of `forecast/` see the older forecast.",
        )
    if params.max_data_age is None or now is None:
        description = (
            f"The published forecast ({forecast.get('as_of')}) was made from the newest data ({dataset.last})."
        )
        return CheckOutcome(passed=True, severity="error", description=description, numbers=numbers)
    return _check_age(grid.start(np.array([last + 1]))[0], params, now, numbers)


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
        mend="No newer rows have been imported. Put newer files into `train/`; if they are there, look whether "
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

_ORDER_MEND = """The model, or what was done to its answer, is at fault: quantiles must not cross, no value may be missing.

1. Don't use the forecast of these series: consumers that take a band from it get a negative width.
2. Materialize the partition again. The same rows again: go back to the model before (`CHRONOS_BASE_MODEL`), and report
   a bug with these rows."""

_COVERAGE_MEND = """By problem:

- **missing**, **steps**, **unknown**: materialize the partition again; if it was forecast from an older dataset
  than the one shown now, that is all it needs.
- **skipped**: the reason says what the series lacks. Give it observations before the as-of, or lower
  `Chronos.MinObservations`; a series that ended for good can be taken out of the train files."""


def check_quantiles(forecast: Path, *, memory_limit: str = DEFAULT_MEMORY) -> CheckOutcome:
    """Does no quantile exceed the next higher one, and is every value a number? Equal quantiles are fine."""
    with _opened(memory_limit) as connection:
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
            mend=_ORDER_MEND,
        )
    return CheckOutcome(
        passed=True,
        severity="error",
        description=f"In all {rows} rows the quantiles ({', '.join(quantiles) or 'none'}) ascend.",
        numbers=numbers,
    )


def check_coverage(
    forecast: Path,
    skipped: Path | None,
    dataset: Path,
    params: ForecastParams,
    *,
    context_end: np.datetime64,
    horizon: int,
    memory_limit: str = DEFAULT_MEMORY,
) -> CheckOutcome:
    """Has every series of the dataset that had begun by `context_end` a forecast of all `horizon` steps?

    forecast: forecast.parquet; skipped: the Parquet file of series that could not be forecast, with reasons, if any.
    Series that were skipped are named and make it a warning; those that are missing without a reason, have another
    number of steps, or are not in the dataset are errors.
    """
    with _opened(memory_limit) as connection:
        names = ["item_id", *params.dimensions]
        keys = identifiers(names)
        _view(connection, "forecasts", forecast)
        shards = [text_literal(parquet_argument(dataset / shard.name)) for shard in read_manifest(dataset).shards]
        # Columns of our own begin with an underscore, which no dimension can.
        connection.execute(
            f'CREATE TEMP TABLE series AS SELECT {keys}, min("timestamp") AS _first '  # noqa: S608 - quoted names
            f"FROM read_parquet([{', '.join(shards)}], hive_partitioning = false) GROUP BY {keys}"
        )
        connection.execute(
            f"CREATE TEMP TABLE started AS SELECT {keys} FROM series WHERE _first <= ?",  # noqa: S608 - quoted names
            [context_end.item()],
        )
        connection.execute(
            f'CREATE TEMP TABLE covered AS SELECT {keys}, count(DISTINCT "timestamp") AS _steps, count(*) AS _rows '  # noqa: S608
            f"FROM forecasts GROUP BY {keys}"
        )
        connection.execute(f"CREATE TEMP TABLE skips AS SELECT {keys}, '' AS _reason FROM series LIMIT 0")  # noqa: S608
        if skipped is not None:
            _view(connection, "skipped", skipped)
            connection.execute(f"INSERT INTO skips SELECT {keys}, reason FROM skipped")  # noqa: S608 - quoted names
        counts = {
            name: int(first_row(connection, f"SELECT count(*) FROM {name}")[0])  # noqa: S608 - constants
            for name in ("series", "started", "covered")
        }
        connection.execute(
            f"CREATE TEMP TABLE failing AS SELECT 'missing' AS _problem, {keys}, 'no forecast, no reason' AS _detail "  # noqa: S608
            f"FROM started ANTI JOIN covered USING ({keys}) ANTI JOIN skips USING ({keys}) "
            f"UNION ALL SELECT 'steps', {keys}, concat(_steps, ' steps in ', _rows, ' rows') FROM covered "
            "WHERE _steps <> $1 OR _rows <> $1 "
            f"UNION ALL SELECT 'unknown', {keys}, 'not in the dataset' FROM covered ANTI JOIN series USING ({keys}) "
            f"UNION ALL SELECT 'skipped', {keys}, _reason FROM skips",
            [horizon],
        )
        failing, shown = _failing(connection, names)
    numbers = {
        "series": counts["series"],
        "not_started": counts["series"] - counts["started"],
        "forecast": counts["covered"],
    }
    numbers |= {kind: failing.get(kind, 0) for kind in ("skipped", "missing", "steps", "unknown")}
    if not failing:
        return CheckOutcome(
            passed=True,
            severity="error",
            description=f"All {counts['started']} series have a forecast of {horizon} steps.",
            numbers=numbers,
        )
    return CheckOutcome(
        passed=False,
        severity="warn" if set(failing) == {"skipped"} else "error",
        description=f"{counts['covered']} of {counts['started']} series have a forecast; {_counts(failing)}.",
        failing_rows=shown,
        failing=sum(failing.values()),
        numbers=numbers,
        mend=_COVERAGE_MEND,
    )


# --- accuracy ---------------------------------------------------------------------------------------------------------

_ACCURACY_MEND = """Repeating last season would have been better. One partition may be chance: look at the plot of `wql`
beside `wql_seasonal_naive` over the partitions. If it stays so:

1. The rows below are the series that lose most: look for a change of level, an outlier or a gap before the as-of.
2. Try a larger model (`CHRONOS_BASE_MODEL=amazon/chronos-bolt-small`), or the job `retrain`.
3. Without a remedy, publish seasonal naive: this check says that it is the better forecast."""


def check_accuracy(report: AccuracyReport) -> CheckOutcome:
    """Was the forecast at least as good as the seasonal naive one, by wQL (by MASE where only the mean was forecast)?

    A warning when not. Its failing rows are the series that lose most to seasonal naive by themselves. What can't be
    compared (no observed points, nothing to divide by) passes, and says so.
    """
    overall = report.overall()
    metric = "wql" if "wql" in overall else "mase"
    result = overall.get(metric)
    if result is None or result.value is None or result.seasonal_naive is None:
        reason = "the horizon has no observed values" if not report.points else f"{metric} is undefined there"
        return CheckOutcome(
            passed=True,
            severity="warn",
            description=f"Not compared with seasonal naive: {reason}.",
            numbers={"points": report.points, "excluded": report.excluded},
        )
    numbers = {
        metric: result.value,
        f"{metric}_seasonal_naive": result.seasonal_naive,
        "points": report.points,
        "excluded": report.excluded,
    }
    if result.seasonal_naive:
        numbers["relative"] = result.value / result.seasonal_naive
    compared = (
        f"{metric} {result.value:.4g} beside {result.seasonal_naive:.4g} of seasonal naive, over {result.points} points"
    )
    if result.value <= result.seasonal_naive:
        description = f"The forecast is at least as good as seasonal naive: {compared}."
        return CheckOutcome(passed=True, severity="warn", description=description, numbers=numbers)
    worse, rows = _worst_series(report, metric)
    return CheckOutcome(
        passed=False,
        severity="warn",
        description=f"The forecast is worse than seasonal naive: {compared}; {worse} of {len(report.series)} series "
        "lose by themselves.",
        failing_rows=rows,
        failing=worse,
        numbers={**numbers, "series_worse": worse},
        mend=_ACCURACY_MEND,
    )


def _worst_series(report: AccuracyReport, metric: str) -> tuple[int, tuple[Row, ...]]:
    """How many series are worse than seasonal naive, and those that add most to the difference of the whole."""
    sums = (report.forecast, report.seasonal_naive)
    loss, naive_loss = (each.quantile_loss.sum(axis=1) if metric == "wql" else each.scaled_error for each in sums)
    excess = loss - naive_loss
    order = np.argsort(-excess, kind="stable")
    worse = int((excess > 0).sum())
    order = order[: min(worse, MAX_ROWS)]
    value, naive = (each.take(order).measures()[metric].value for each in sums)
    rows = (
        {
            "series": " / ".join(report.series[place]),
            metric: _defined(value[rank]),
            f"{metric}_seasonal_naive": _defined(naive[rank]),
            "points": int(report.forecast.points[place]),
        }
        for rank, place in enumerate(order)
    )
    return worse, tuple(rows)


# --- shared -----------------------------------------------------------------------------------------------------------


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _counts(failing: Mapping[str, int]) -> str:
    return ", ".join(f"{kind}: {count}" for kind, count in sorted(failing.items()))


@contextmanager
def _opened(memory_limit: str) -> Iterator[DuckDBPyConnection]:
    with (
        TemporaryDirectory(prefix="quality-") as folder,
        scratch_connection(Path(folder), memory_limit=memory_limit) as it,
    ):
        yield it


def _view(connection: DuckDBPyConnection, name: str, path: Path) -> None:
    connection.execute(
        f"CREATE VIEW {name} AS FROM read_parquet({text_literal(parquet_argument(path))}, hive_partitioning = false)"
    )


def _failing(connection: DuckDBPyConnection, keys: Sequence[str]) -> tuple[dict[str, int], tuple[Row, ...]]:
    """The table `failing` (_problem, keys, …): its rows by problem, and the first of them; skipped series come last."""
    counts = dict(connection.execute("SELECT _problem, count(*) FROM failing GROUP BY _problem").fetchall())
    order = identifiers([*keys, *(name for name in column_names(connection, "failing") if name == "timestamp")])
    result = connection.execute(f"FROM failing ORDER BY _problem = 'skipped', _problem, {order} LIMIT {MAX_ROWS}")
    names = [str(column[0]).removeprefix("_") for column in result.description]
    rows = tuple(
        {
            "problem": row[0],
            "series": " / ".join(row[1 : len(keys) + 1]),
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
