"""Columns of the wide forecast files: which of them are forecasts, and of what.

The files' layout: item_id, dimensions, timestamp, `mean` if it was asked for, then p01 … p99 ascending.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_QUANTILE = re.compile(r"p(\d\d)")


def quantile_level(column: str) -> float | None:
    """The level of a quantile column, the inverse of `params.forecast.quantile_name`: "p10" -> 0.1; None for other columns."""
    found = _QUANTILE.fullmatch(column)
    return int(found[1]) / 100 if found else None


def quantile_columns(columns: Iterable[str]) -> tuple[str, ...]:
    """The quantile columns, ascending."""
    return tuple(sorted(column for column in columns if quantile_level(column) is not None))


def forecast_types(columns: Iterable[str]) -> tuple[str, ...]:
    """The forecast types that a file holds, in the order of the exports: quantiles ascending, then mean."""
    names = list(columns)
    return (*quantile_columns(names), *(("mean",) if "mean" in names else ()))
