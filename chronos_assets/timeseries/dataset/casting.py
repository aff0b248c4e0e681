r"""What the texts of a row mean, in DuckDB SQL: its series, its instant, its number, or the reason it has none.

One home for the rules, whatever the row came from: a CSV file read by DuckDB, records that `csv_records.scan_records` found,
a Parquet file. Where the columns are is in `csv_records`.

A row's values:

- **Series**: item id and dimensions are text, kept as they are (leading zeros, spaces, any script, "NA"); not empty, at
  most 256 characters (the longest that Amazon Forecast's QueryForecast takes). In Parquet they may be numbers: a float
  that is whole is written without a fraction, so that 123.0 is the item 123 of a CSV file, and refused where a float
  can't tell it from its neighbours (from 2^53 on, 2^24 for FLOAT).
- **Timestamp**: by `TimestampFormat`. Where that format starts with year and month as ISO 8601 does, any ISO 8601 date or
  date and time is taken too (`T` or a space, seconds and fraction optional, of which microseconds count, `Z` or an
  offset). A timestamp with an
  offset becomes the clock time of `Chronos.TimeZone` (UTC without one), a timestamp without is taken as it stands, each
  row by itself, so one file may mix them. Hours and minutes whose format has offsets are kept in UTC where the zone puts
  its clocks back (`ForecastParams.clock`), since two instants would share a clock time; a timestamp without an offset is
  then one of the zone. From 1677-09-22 to 2262-04-10, the span that every consumer can represent.
- **Categories** of related time series and item metadata are text without the blanks around it; empty, NaN, NA, N/A, null,
  None and \N are a missing category. Their numbers are read as targets are.
- **Target**: a decimal number with a point, `1e3` and `+5` too. The words for a missing category mark a missing value, and so
  do the marks of spreadsheets and statistics (`columns.MISSING_MARKERS`): the row is good but observes nothing. Infinity
  and numbers beyond a double are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from chronos_assets.calendar.timestamp_format import has_offset, sql_microseconds, sql_parse
from chronos_assets.params.columns import MISSING_MARKERS, MISSING_WORDS
from chronos_assets.timeseries.dataset.csv_layout import TrainSchema
from chronos_assets.timeseries.dataset.duckdb_sql import identifier, text_literal
from chronos_assets.wording import counted

MAX_IDENTIFIER = 256
FIRST_INSTANT, LAST_INSTANT = "1677-09-22 00:00:00", "2262-04-10 23:59:59.999999"


_FLAGS = frozenset({"true", "false", "yes", "no", "t", "f", "y", "n", "ja", "nein"})


class Reason(IntEnum):
    """Why a row is bad. The names appear in reports; the first that applies is given."""

    WRONG_COLUMNS = 1
    MISPLACED_QUOTE = 2
    NOT_UTF8 = 3
    TOO_LONG = 4
    EMPTY_IDENTIFIER = 5
    LONG_IDENTIFIER = 6
    EMPTY_TIMESTAMP = 7
    BAD_TIMESTAMP = 8
    TIMESTAMP_OUT_OF_RANGE = 9
    NOT_A_NUMBER = 10
    NOT_FINITE = 11
    IMPRECISE_IDENTIFIER = 12

    @property
    def label(self) -> str:
        """The name used in reports: "bad_timestamp"."""
        return self.name.lower()


@dataclass(frozen=True)
class BadRow:
    """A row that can't be imported.

    file: its key. line: 1-based line of a CSV file, or row of a Parquet file. column: name in the schema, None where the
    whole row is meant. value: the offending text, as it stands in the file. reason: a `Reason` label. explanation and
    fix: one clause each, for people.
    """

    file: str
    line: int
    column: str | None
    value: str
    reason: str
    explanation: str
    fix: str

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}, line {self.line}{column}: {_shown(self.value)} {self.explanation}; {self.fix}"


def _shown(text: str, width: int = 80) -> str:
    return repr(text if len(text) <= width else text[: width - 1] + "…")


# ---------------------------------------------------------------------------------------------------- expressions


@dataclass(frozen=True)
class CastValue:
    """SQL of a covariate: VARCHAR, or DOUBLE where `typed`; a category where it is no number."""

    sql: str
    is_number: bool
    typed: bool = False


@dataclass(frozen=True)
class Cast:
    """SQL expressions over one source, and the settings they depend on.

    keys: VARCHAR, one for item and each dimension. timestamp: VARCHAR, or TIMESTAMP where `typed_timestamp`. target:
    VARCHAR, or DOUBLE where `typed_target`; None without one. values: covariates. others: VARCHAR, schema columns that play
    no part. problem: a `Reason` known beforehand (0 for none). imprecise: BOOLEAN, whether an identifier is a float too large
    to tell it apart.
    """

    keys: tuple[str, ...]
    timestamp: str
    target: str | None
    others: tuple[str, ...] = ()
    values: tuple[CastValue, ...] = ()
    problem: str = "0"
    imprecise: tuple[str, ...] = ()
    typed_timestamp: bool = False
    typed_target: bool = False


def sql_timestamp(expression: str, pattern: str, time_zone: str | None, clock: str | None = None) -> str:
    """SQL for the naive TIMESTAMP of a VARCHAR expression by the rule above; NULL where it is none.

    clock: the zone of the answer, that of `time_zone` when None.
    """
    clock = clock or time_zone
    declared = sql_parse(expression, pattern, clock)
    if clock != time_zone and not has_offset(pattern):
        declared = on_clock(declared, time_zone, clock)
    if not pattern.startswith("yyyy-MM"):
        return declared  # a format such as yyyy-dd-MM would be contradicted
    dates = "%Y-%m-%d"
    times = [f"{dates}{between}{time}" for between in " T" for time in ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f")]
    # Of nanoseconds, as .NET, Java and pandas write them, the microseconds are kept.
    micros = sql_microseconds(expression)
    naive = f"try_strptime({micros}, [{', '.join(text_literal(form) for form in [dates, *times])}])"
    if clock != time_zone:
        naive = on_clock(naive, time_zone, clock)
    # An offset of UTC+14 at most, the largest in use; DuckDB's %z knows digits only and no Z.
    offset = r"^\s*\S{10}[ T]\S+ ?([zZ]|[+-](0\d|1[0-4])(:?[0-5]\d)?)\s*$"
    digits = f"regexp_replace(regexp_replace({micros}, ' ?[zZ]\\s*$', '+00:00'), '(\\d) ([+-])', '\\1\\2')"
    zoned = f"try_strptime({digits}, [{', '.join(text_literal(form + '%z') for form in times)}])"
    aware = (
        f"CASE WHEN regexp_matches({expression}, {text_literal(offset)}) "
        f"THEN timezone({text_literal(clock or 'UTC')}, {zoned}) END"
    )
    # No part may occur twice: DuckDB would compute it for every row, not only for those that the first form misses.
    return f"coalesce({declared}, {naive}, {aware})"


def sql_number(expression: str, *, decimal_comma: bool) -> str:
    """SQL for the number that a VARCHAR expression means; NULL where it is none."""
    if decimal_comma:  # a point would separate thousands, or come from a file of another kind
        expression = f"CASE WHEN contains({expression}, '.') THEN NULL ELSE replace({expression}, ',', '.') END"
    return f"TRY_CAST({expression} AS DOUBLE)"


def on_clock(expression: str, time_zone: str | None, clock: str | None) -> str:
    """SQL for clock times of one zone on the clock of another."""
    return f"timezone({text_literal(clock or 'UTC')}, timezone({text_literal(time_zone or 'UTC')}, {expression}))"


def sql_rows(
    source: str,
    cast: Cast,
    *,
    pattern: str,
    time_zone: str | None,
    clock: str | None = None,
    decimal_comma: bool = False,
    details: Mapping[str, str] | None = None,
) -> str:
    """A query over `source` (a FROM clause) with the meaning of each row, in the order of the source.

    Columns: k0, k1, … VARCHAR; instant TIMESTAMP; value DOUBLE (NaN where missing); hash USMALLINT, see
    `shards.key_hash`; others UBIGINT, a digest of the columns that play no part (0 without any); reason UTINYINT (a
    `Reason`, 0 for a good row); v0, v1, … the covariates: DOUBLE (NaN where missing) or VARCHAR (NULL). `details` adds
    columns by name that are NULL for good rows.
    """
    names = [f"k{place}" for place in range(len(cast.keys))]
    reported = {identifier(name): sql for name, sql in (details or {}).items()}
    columns = [
        *(f"{sql} AS {name}" for sql, name in zip(cast.keys, names, strict=True)),
        f"{cast.timestamp} AS timestamp_raw",
        f"{cast.target or 'NULL'} AS target_raw",
        *(f"{value.sql} AS v{place}_raw" for place, value in enumerate(cast.values)),
        f"{cast.problem} AS problem",
        f"{_digest(cast.others) if cast.others else '0::UBIGINT'} AS others",
        *(f"{sql} AS imprecise{place}" for place, sql in enumerate(cast.imprecise)),
        *(f"{sql} AS {name}" for name, sql in reported.items()),
    ]
    instant = "timestamp_raw" if cast.typed_timestamp else sql_timestamp("timestamp_raw", pattern, time_zone, clock)
    number = "target_raw" if cast.typed_target else sql_number("target_raw", decimal_comma=decimal_comma)
    if cast.target is None:
        number = "NULL::DOUBLE"
    values = [_value(f"v{place}_raw", value, decimal_comma=decimal_comma) for place, value in enumerate(cast.values)]
    made = [
        f"coalesce(v{place}_number, 'nan'::DOUBLE) AS v{place}" if value.is_number else f"v{place}_number AS v{place}"
        for place, value in enumerate(cast.values)
    ]
    shown = [f"CASE WHEN reason <> 0 THEN {name} END AS {name}" for name in reported]
    answer = [*names, "instant", "coalesce(number, 'nan'::DOUBLE) AS value", "hash", "others", "reason", *made, *shown]
    # Nothing of the data is in this text: names and expressions of this module, quoted columns and paths.
    read = f"SELECT {', '.join(columns)} FROM {source}"  # noqa: S608
    meaning = f"{instant} AS instant, {number} AS number, ({_digest(names)} >> 48)::USMALLINT AS hash"
    meaning += "".join(f", {sql} AS v{place}_number" for place, sql in enumerate(values))
    judged = f"SELECT *, ({_sql_reason(cast, names)})::UTINYINT AS reason FROM (SELECT *, {meaning} FROM ({read}))"  # noqa: S608
    return f"SELECT {', '.join(answer)} FROM ({judged})"  # noqa: S608


def _value(raw: str, value: CastValue, *, decimal_comma: bool) -> str:
    """SQL for the number or the category that a raw value means, NULL where there is none."""
    if value.is_number:
        return raw if value.typed else sql_number(raw, decimal_comma=decimal_comma)
    return f"CASE WHEN {_is_missing(raw, MISSING_WORDS)} THEN NULL ELSE trim({raw}, ' \t') END"


def _is_missing(raw: str, words: Iterable[str]) -> str:
    """SQL for whether a text says that nothing is known, by one of these words in lower case.

    Not by IN, which DuckDB turns into a join; of several threads, a join gives rows in any order.
    """
    cases = " ".join(f"WHEN {text_literal(word)} THEN true" for word in sorted(words))
    return f"CASE lower(trim({raw}, ' \t')) {cases} ELSE {raw} IS NULL END"


def _number_branches(raw: str, number: str, *, typed: bool) -> list[tuple[str, int]]:
    """(condition, reason) of what can be wrong with a number."""
    infinite = (f"isinf({number})", Reason.NOT_FINITE.value)
    if typed:
        return [infinite]
    # The words are asked for only where there is no number.
    no_number = f"CASE WHEN {number} IS NULL THEN NOT {_is_missing(raw, MISSING_MARKERS)} ELSE false END"
    # DuckDB takes 1_000 for a number; to a person it may be a slip for two.
    underscore = f"contains({raw}, '_')"
    return [(no_number, Reason.NOT_A_NUMBER.value), (underscore, Reason.NOT_A_NUMBER.value), infinite]


def _digest(texts: Sequence[str]) -> str:
    """SQL for the last eight bytes of the MD5 of texts joined by U+001F, little-endian."""
    joined = texts[0] if len(texts) == 1 else f"concat_ws(chr(31), {', '.join(texts)})"
    return f"md5_number_lower({joined})"


def _sql_reason(cast: Cast, names: Sequence[str]) -> str:
    empty = " OR ".join(f"trim({name}) = ''" for name in names)
    long = " OR ".join(f"length({name}) > {MAX_IDENTIFIER}" for name in names)
    no_time = "timestamp_raw IS NULL" if cast.typed_timestamp else "trim(timestamp_raw, ' \t') = ''"
    numbers = [] if cast.target is None else _number_branches("target_raw", "number", typed=cast.typed_target)
    for place, value in enumerate(cast.values):
        if value.is_number:
            numbers += _number_branches(f"v{place}_raw", f"v{place}_number", typed=value.typed)
    imprecise = [(f"imprecise{place}", Reason.IMPRECISE_IDENTIFIER.value) for place in range(len(cast.imprecise))]
    branches = [
        ("problem <> 0", "problem"),
        *imprecise,
        (empty, Reason.EMPTY_IDENTIFIER.value),
        (long, Reason.LONG_IDENTIFIER.value),
        # Whether the text is empty is asked only where there is no instant: it costs more than reading the timestamp.
        (f"instant IS NULL AND {no_time}", Reason.EMPTY_TIMESTAMP.value),
        ("instant IS NULL", Reason.BAD_TIMESTAMP.value),
        (
            f"instant NOT BETWEEN TIMESTAMP {text_literal(FIRST_INSTANT)} AND TIMESTAMP {text_literal(LAST_INSTANT)}",
            Reason.TIMESTAMP_OUT_OF_RANGE.value,
        ),
        *numbers,
    ]
    return "CASE " + " ".join(f"WHEN {condition} THEN {answer}" for condition, answer in branches) + " ELSE 0 END"


# ---------------------------------------------------------------------------------------------------- explanation


@dataclass(frozen=True)
class RowShape:
    """A bad row as a whole: its text as it stands, how many columns it has, and how many it should have."""

    raw: str
    columns: int
    expected: int


def explain(
    reason: Reason,
    file: str,
    line: int,
    values: Mapping[str, str],
    *,
    shape: RowShape,
    schema: TrainSchema,
    pattern: str,
) -> BadRow:
    """The report of one bad row. values: its texts by schema name, all empty where the row has no columns."""
    when = (schema.timestamp, values.get(schema.timestamp or "", ""))
    numbers = [*filter(None, [schema.target]), *schema.numbers]
    column = _bad_number(numbers, values, reason, decimal_comma=schema.decimal_comma)
    number = (column, values.get(column, ""))
    place: tuple[str | None, str] = (None, shape.raw)
    match reason:
        case Reason.WRONG_COLUMNS:
            wrong = f"has {counted(shape.columns, 'column')} instead of {shape.expected}"
            fix = "complete the row, or quote a value that holds the delimiter"
        case Reason.MISPLACED_QUOTE:
            wrong = "has a quote that does not close, or text after a closing quote"
            fix = "double the quotes inside a value"
        case Reason.NOT_UTF8:
            wrong, fix = "is not UTF-8", "save the file as UTF-8"
        case Reason.TOO_LONG:
            wrong, fix = "is longer than 1 MiB", "look for a missing line end"
        case Reason.EMPTY_IDENTIFIER:
            place = next((name, values[name]) for name in schema.keys if not values[name].strip(" "))
            wrong, fix = "is empty", "name the series that the row belongs to"
        case Reason.LONG_IDENTIFIER:
            place = next((name, values[name]) for name in schema.keys if len(values[name]) > MAX_IDENTIFIER)
            wrong, fix = f"is longer than {MAX_IDENTIFIER} characters", "shorten it"
        case Reason.IMPRECISE_IDENTIFIER:
            key = next((name for name in schema.keys if re.search(r"\d{8}", values[name])), schema.keys[0])
            place = (key, values[key])
            wrong = "is a number too large for a float to tell it from its neighbours"
            fix = "store the column as text or as whole numbers (int64)"
        case Reason.EMPTY_TIMESTAMP:
            place, wrong, fix = when, "is empty", "give the time of the row"
        case Reason.BAD_TIMESTAMP:
            place, wrong = when, f"is not a timestamp in the format {pattern}"
            fix = "fix it, or set TimestampFormat in params.json"
            if re.search(r"\b24:00", when[1]):
                fix = "write 00:00 of the next day"
        case Reason.TIMESTAMP_OUT_OF_RANGE:
            place, wrong = when, f"is not between {FIRST_INSTANT[:10]} and {LAST_INSTANT[:10]}"
            fix = (
                "fix the year"
                if re.search(r"\d{4}", when[1])
                else "write it with four digits, or yy in TimestampFormat"
            )
        case Reason.NOT_A_NUMBER:
            place, wrong = number, "is not a number"
            mark = "comma, as Chronos.DecimalComma says" if schema.decimal_comma else "point"
            fix = f"write digits with a decimal {mark}, or leave it empty if it is missing"
            if number[1].strip().casefold() in _FLAGS:
                fix = "write 1 or 0, or declare the column as a string"
        case Reason.NOT_FINITE:
            place, wrong, fix = number, "is not a finite number", "leave it empty if it is missing"
    return BadRow(file, line, *place, reason.label, wrong, fix)


def _bad_number(columns: Sequence[str], values: Mapping[str, str], reason: Reason, *, decimal_comma: bool) -> str:
    """The first column whose text is not what a number should be; the first column where that isn't clear."""
    for column in columns:
        text = values.get(column, "").strip(" \t")
        if text.lower() in MISSING_MARKERS:
            continue
        try:
            number = text.replace(".", "_").replace(",", ".") if decimal_comma else text
            finite = math.isfinite(float(number)) and "_" not in number
        except ValueError:
            finite = False
            if reason is Reason.NOT_FINITE:
                continue
        if not finite:
            return column
    return columns[0] if columns else ""
