"""Names that a spreadsheet runs as a formula when it opens a CSV: which they are, in Python, SQL and Arrow.

What is done about them belongs to whoever writes CSV files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

# What a spreadsheet runs begins with one of these, unless the whole text is a number below zero: `-2+cmd|…` is a formula.
# See https://owasp.org/www-community/attacks/CSV_Injection. DuckDB and Python both speak it.
_BEGINS_FORMULA, _NEGATIVE = r"^[=+@\t\r\n-]", r"-[0-9.,]*([eE][+-]?[0-9]+)?"


def is_formula(text: str) -> str:
    """SQL: whether a spreadsheet would run a text."""
    return f"(regexp_matches({text}, '{_BEGINS_FORMULA}') AND NOT regexp_full_match({text}, '{_NEGATIVE}'))"


def count_formulas(names: pa.Table) -> int:
    """How many rows have a text that a spreadsheet runs as a formula when it opens the CSV."""
    import pyarrow.compute as pc

    found = np.zeros(names.num_rows, dtype=bool)
    for column in names.columns:
        begins = pc.match_substring_regex(column, _BEGINS_FORMULA).to_numpy()
        found |= begins & ~pc.match_substring_regex(column, f"^({_NEGATIVE})$").to_numpy()
    return int(np.count_nonzero(found))


def harmless(text: str) -> str:
    """A text with a quote before it where a spreadsheet would run it."""
    runs = re.match(_BEGINS_FORMULA, text) and not re.fullmatch(_NEGATIVE, text)
    return f"'{text}" if runs else text


def quoted_formula(text: str) -> str:
    """SQL: `harmless`."""
    return f"CASE WHEN {is_formula(text)} THEN chr(39) || {text} ELSE {text} END"
