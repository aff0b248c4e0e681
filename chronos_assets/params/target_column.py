"""Which column of a sample holds the value to forecast, and what to say where that is open.

Elsewhere: the other columns (`timestamp_columns`, `keys`), what the values are like (`target_values`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from chronos_assets.params.columns import (
    TARGET_NAMES,
    Column,
    InferenceError,
    best_known,
    is_beside,
    is_number,
    is_rival,
    listed,
)
from chronos_assets.params.keys import FEW_REPEATS, Rows
from chronos_assets.params.time_parts import repeats_time

_NOT_A_NUMBER = (
    "not a number (write it with a decimal point, without thousands separators, and leave it empty if it is missing)"
)
# A number with a currency, a unit, a percent sign, brackets or blanks that separate thousands.
_DRESSED = re.compile(r"[^\w\s]{0,3}\s?[^\w\s]?\d[\d.,'\s]*(\s?([^\w\s]|[A-Za-z]{1,4}))?")


def target_column(columns: Sequence[Column], rows: Rows, has_header: bool) -> Column:
    """The column by its name, else the only one of numbers that are no identifiers, flags or row numbers.

    Raises:
        InferenceError: none is left, or more than one.
    """
    known = best_known([c for c in columns if not is_beside(c.header)], TARGET_NAMES) if has_header else []
    if len(known) == 1 and not known[0].is_numeric:
        sample = next((value for value in known[0].present if not is_number(value)), None)
        wrong = "none of its rows has one: write numbers" if sample is None else f"{sample!r} is {_NOT_A_NUMBER}"
        raise InferenceError(f"{known[0].name} should hold the value to forecast, but {wrong}")
    rivals = [c for c in columns if c not in known and c.is_numeric and is_rival(c.header)]
    if len(known) == 1 and not rivals:
        return known[0]
    numbers = [column for column in columns if column.is_numeric]
    parted = [] if has_header else _before_digits(columns)
    quantities = [
        c for c in numbers if not (c.is_index or (c.is_flag and c not in parted) or (has_header and c.is_identifying))
    ]
    quantities = [c for c in quantities if not (has_header and repeats_time(c, rows.times.moments))] or quantities
    commas = [column for column in columns if column.has_commas]
    odd = _with_commas(commas) or _odd_values(columns)
    # Identifiers are values only where nothing else could be meant for them.
    numbers = quantities or [column for column in numbers if not column.is_index and not odd]
    if not numbers:
        odd = odd or _dressed_values(columns)
        raise InferenceError(f"no value to forecast: none of {listed(columns) or 'the columns'} holds numbers{odd}")
    if len(numbers) == 1 and not commas:
        return numbers[0]
    candidates = [*known, *rivals] if known else [*numbers, *commas]
    wide = len(quantities) > 2 and rows.repeats([]) <= FEW_REPEATS
    hint = (
        "\nIf each of them is a series of its own, `chronos-assets melt FILE OUTPUT` writes them as rows "
        "of item_id, timestamp and target_value"
        if wide
        else ""
    )
    raise InferenceError(
        f"several columns could hold the value to forecast: {listed(candidates)}\n"
        f"Write a params.json that lists the columns in Datasets[0].Schema.Attributes and says which it is: "
        f'Chronos.Columns = {{"target_value": "{candidates[0].name}"}}{hint}{_with_commas(commas)}',
        role="target",
        candidates=[column.name for column in candidates],
        options={"melt": f"{len(quantities)} series, one for each column of numbers"} if wide else {},
    )


def _odd_values(columns: Sequence[Column]) -> str:
    """The hint at a column that mostly holds numbers, and names nothing by them; empty where there is none."""
    for column in columns:
        if column.has_key_name:
            continue
        odd = [value for value in column.present if not is_number(value)]
        if odd and not column.is_numeric and 2 * len(odd) < len(column.present):
            return (
                f"; {listed([column])}: {odd[0]!r}, in {len(odd):,} of {len(column.present):,} rows, is {_NOT_A_NUMBER}"
            )
    return ""


def _dressed_values(columns: Sequence[Column]) -> str:
    """The hint at a column of numbers that are all written with a currency, a unit or blanks; empty where there is none."""
    for column in columns:
        if not column.has_key_name and column.present and all(map(_DRESSED.fullmatch, column.present)):
            return f"; {listed([column])}: {column.present[0]!r} is {_NOT_A_NUMBER}"
    return ""


def _before_digits(columns: Sequence[Column]) -> list[Column]:
    """Columns with whole numbers right behind them, as if a comma had parted 0,15: the 0 is no flag then."""
    whole = {column.index for column in columns if column.is_whole}
    return [column for column in columns if column.index + 1 in whole]


def _with_commas(columns: Sequence[Column]) -> str:
    """The hint at columns whose numbers have commas; empty where there are none."""
    if not columns:
        return ""
    example = next(value for value in columns[0].present if "," in value)
    return f"; {listed(columns)}: {example!r} is {_NOT_A_NUMBER}"
