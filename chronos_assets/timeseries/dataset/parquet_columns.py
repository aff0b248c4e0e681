"""The columns of a Parquet file as SQL: what their types can hold, and their values as texts and numbers.

Elsewhere: reading the rows (`train_file_reader`).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from chronos_assets.calendar.timestamp_format import EPOCHS
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.timeseries.dataset.casting import CastValue
from chronos_assets.timeseries.dataset.csv_layout import TrainSchema
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.duckdb_sql import identifier
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets.wording import first_line

# Floats of Parquet, and the largest whole number up to which each holds every one.
EXACT = {"DOUBLE": 1 << 53, "FLOAT": 1 << 24}
# More of a text than an identifier may have, and enough of any to be shown.
_LONGEST_TEXT = 1024
INTEGERS = ("BIGINT", "INTEGER", "UBIGINT", "UINTEGER")
# Types of DuckDB that hold no number, among those that hold one value.
_NOT_NUMBERS = ("BOOLEAN", "DATE", "TIME", "TIMESTAMP", "INTERVAL", "UUID")


def text_of(column: str, kind: str, *, key: bool) -> str:
    """SQL for a Parquet column as text; whole floats and decimals of a `key` have no fraction.

    A text is cut where it is certainly too long: a few long texts, repeated by a dictionary, could fill any memory.
    """
    name = identifier(column)
    text = f"CAST({name} AS VARCHAR)"
    if key and kind in EXACT:
        whole = f"CAST(CAST({name} AS BIGINT) AS VARCHAR)"
        text = f"CASE WHEN {name} = trunc({name}) AND abs({name}) < 1e18 THEN {whole} ELSE {text} END"
    elif key and kind.startswith("DECIMAL"):
        text = f"regexp_replace({text}, '\\.0+$', '')"
    elif kind == "VARCHAR":
        text = f"left({name}, {_LONGEST_TEXT})"
    return f"coalesce({text}, '')"


def column_names_of(file: TrainFile, columns: list[str]) -> list[str]:
    """The columns' names as a Parquet file has them; DuckDB calls the second of two `qty_1`."""
    try:
        names = pq.read_schema(file.path).names
    except (OSError, pa.ArrowException):
        return columns
    return names if len(names) == len(columns) else columns


def typed_value(column: str, kind: str, *, is_number: bool) -> CastValue:
    """A Parquet column as a covariate; whole numbers of a category have no fraction."""
    if is_number and kind != "VARCHAR":
        return CastValue(f"CAST({identifier(column)} AS DOUBLE)", True, typed=True)
    return CastValue(text_of(column, kind, key=not is_number), is_number)


def damaged_parquet(file: TrainFile, error: Exception) -> FileProblem:
    """What to say of a file that an error came from, under the name that its user gave it."""
    reason = first_line(error).replace(str(file.path), file.key)
    return FileProblem(file.key, f"the Parquet file can't be read ({reason})", "write it again")


def check_types(key: str, types: dict[str, str], schema: TrainSchema, params: ForecastParams) -> None:
    """Refuse Parquet columns whose type can't hold what they are needed for. Raises FileProblem."""
    for name in schema.required:
        kind = types.get(name, "VARCHAR")
        if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION", "BLOB")):
            raise FileProblem(key, f"the column {name!r} is of type {kind}", "store text, numbers or timestamps")
    when = "DATE" if schema.timestamp is None else types[schema.timestamp]
    digits = params.timestamp_format in EPOCHS or params.timestamp_format.isalpha()  # 20240131 by yyyyMMdd
    if when not in {"VARCHAR", "DATE"} and not when.startswith("TIMESTAMP") and not (digits and when in INTEGERS):
        raise FileProblem(key, f"the timestamps in {schema.timestamp!r} are of type {when}", "store timestamps or text")
    target = "DOUBLE" if schema.target is None else types[schema.target]
    if target.startswith(_NOT_NUMBERS):
        raise FileProblem(key, f"the targets in {schema.target!r} are of type {target}", "store numbers")
    for name in schema.numbers:
        # A flag may be a boolean: it counts as 0 and 1.
        if types[name].startswith(_NOT_NUMBERS) and types[name] != "BOOLEAN":
            raise FileProblem(key, f"the numbers in {name!r} are of type {types[name]}", "store numbers")
