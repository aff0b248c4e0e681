"""What a regression on covariates reads: one row of numbers for each period of a series.

Here belongs the way from names and values of attributes to the columns of a matrix. Fitting is in `regression`; what is known
as of when is decided in `predictors.covariates`.

Of a number there are two columns: as it is, and as its difference from the series' own mean; items differ in what they cost and
not in how they answer to a discount. Where effects are factors and all values above zero, the difference is one of logarithms,
so that prices count by their ratios. Of a category there is one column for each of its frequent values. Past-only attributes
are read as they were `lag` periods before, which is as late as a forecast of that horizon knows them. Of numbers
there is one more column for each group of items, by metadata, whose slope may differ. A column of the calendar
counts once its cycle was seen twice: months say nothing before the second year.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.holidays import PREFIX
from chronos_assets.predictors.members.base import Covariates
from chronos_assets.timeseries.arrays import Floats

BEFORE, AFTER = ":before", ":after"  # of a holiday: days to it, and since
CALENDAR = "calendar:"  # names of columns that the calendar gives; together they are one attribute
_MOST_CATEGORIES = 30
_MOST_CALENDAR_CATEGORIES = 31
_CYCLES = 2
_MOST_GROUPS = 8  # of items that have slopes of their own

Source = Literal["past", "known", "static"]
Form = Literal["plain", "relative", "logarithm", "category"]


@dataclass(frozen=True)
class DesignColumn:
    """One column of the matrix.

    Attributes:
        name: of the attribute.
        source: where its values are.
        form: `plain` as it is, `relative` to the mean of the series, `logarithm` likewise of logarithms, `category` 1 where
            the value is `level`.
        level: of a category: its text; of a calendar column: its number.
        within: an attribute of items: the column is 0 for items that don't have its `level` there, so that drinks may answer
            to a price otherwise than food.
    """

    name: str
    source: Source
    form: Form
    level: str = ""
    within: str = ""

    @property
    def attribute(self) -> str:
        """What the column counts for in an explanation."""
        if self.name.startswith(CALENDAR):
            return CALENDAR.rstrip(":")
        return self.name.removesuffix(BEFORE).removesuffix(AFTER) if self.name.startswith(PREFIX) else self.name

    @property
    def is_linear(self) -> bool:
        """Whether a straight line through it says something: constants of a series and calendar numbers don't."""
        return self.source != "static" and self.form != "plain"


@dataclass
class _SeenValues:
    """What covariates of series were seen to be like, by source and name.

    Attributes:
        numbers: the least and the largest.
        varies: numbers that differ within a series.
        cycles: by name of calendar numbers, how often they begin again within a series, at most.
        texts: how often each comes.
    """

    numbers: dict[tuple[Source, str], list[float]] = field(default_factory=dict)
    varies: set[tuple[Source, str]] = field(default_factory=set)
    cycles: Counter[str] = field(default_factory=Counter)
    texts: dict[tuple[Source, str], Counter[str]] = field(default_factory=dict)

    def add(self, source: Source, name: str, values: NDArray[Any]) -> None:
        """Take in one covariate of one series."""
        if values.dtype.kind != "f":
            known, counts = np.unique(values[values != ""], return_counts=True)
            found = dict(zip(known.tolist(), counts.tolist(), strict=True))
            self.texts.setdefault((source, name), Counter()).update(found)
            return
        finite = values[np.isfinite(values)]
        if not len(finite):
            return
        low, high = float(finite.min()), float(finite.max())
        seen = self.numbers.setdefault((source, name), [low, high])
        seen[:] = min(seen[0], low), max(seen[1], high)
        if low < high:
            self.varies.add((source, name))
        if name.startswith(CALENDAR):
            self.cycles[name] = max(self.cycles[name], int((np.diff(finite) < 0).sum()))


def plan_columns(series: Iterable[Covariates], *, ratios: bool) -> tuple[DesignColumn, ...]:
    """The columns that some series' covariates give, in order of their names; constant ones are left out.

    Args:
        series: covariates of each.
        ratios: whether numbers above zero count by their ratios, as where effects are factors.
    """
    seen = _SeenValues()
    for covariates in series:
        for source, name, values in _named(covariates):
            seen.add(source, name, values)
    columns: list[DesignColumn] = []
    for source, name in sorted({*seen.numbers, *seen.texts}):
        if (source, name) in seen.texts:
            counter = seen.texts[source, name]
            frequent = sorted(counter, key=lambda text: (-counter[text], text))[:_MOST_CATEGORIES]
            columns += [DesignColumn(name, source, "category", text) for text in sorted(frequent) if len(counter) > 1]
            continue
        low, high = seen.numbers[source, name]
        if low == high or (name.startswith(CALENDAR) and seen.cycles[name] < _CYCLES):
            continue
        columns.append(DesignColumn(name, source, "plain"))
        if _counts_steps(name) and high - low < _MOST_CALENDAR_CATEGORIES:
            columns += [DesignColumn(name, source, "category", str(value)) for value in range(int(low), int(high) + 1)]
        elif (source, name) in seen.varies and source != "static":
            form: Form = "logarithm" if ratios and low > 0 else "relative"
            columns.append(DesignColumn(name, source, form))
            if not name.startswith((CALENDAR, PREFIX)):
                columns += [
                    DesignColumn(name, source, form, level, within)
                    for (of, within), counter in sorted(seen.texts.items())
                    if of == "static" and 2 <= len(counter) <= _MOST_GROUPS
                    for level in sorted(counter)
                ]
    return tuple(columns)


def _counts_steps(name: str) -> bool:
    """Whether each number is a category of its own: hours, days to a holiday."""
    return name.startswith(CALENDAR) or (name.startswith(PREFIX) and name.endswith((BEFORE, AFTER)))


def _named(covariates: Covariates) -> Iterable[tuple[Source, str, NDArray[Any]]]:
    for name, values in covariates.past.items():
        yield "past", name, values
    for name, values in covariates.known.items():
        yield "known", name, values
    for name, value in covariates.static.items():
        yield "static", name, np.array([value])


def matrix(columns: Sequence[DesignColumn], covariates: Covariates, rows: int, horizon: int, lag: int) -> Floats:
    """The columns (rows + horizon, K) at a context's latest `rows` periods and the `horizon` that follow; NaN where unknown.

    Args:
        columns: to fill.
        covariates: of the series.
        rows: latest periods of its context.
        horizon: periods after the context; what isn't known of them is NaN.
        lag: of past-only attributes.
    """
    result = np.empty((rows + horizon, len(columns)))
    cache: dict[tuple[Source, str], NDArray[Any] | None] = {}
    for place, column in enumerate(columns):
        key = (column.source, column.name)
        if key not in cache:
            cache[key] = _values(covariates, column, rows, horizon, lag)
        values = cache[key]
        if column.within and covariates.static.get(column.within) != column.level:
            result[:, place] = 0.0
        else:
            result[:, place] = np.nan if values is None else _formed(values, column, rows)
    return result


def _values(covariates: Covariates, column: DesignColumn, rows: int, horizon: int, lag: int) -> NDArray[Any] | None:
    """An attribute's values at the rows, None where the series has none."""
    sources: Mapping[str, Any] = getattr(covariates, column.source)
    if column.name not in sources:
        return None
    if column.source == "static":
        return np.full(rows + horizon, sources[column.name])
    values = np.asarray(sources[column.name])
    wanted = np.arange(-rows, horizon) + covariates.periods - (lag if column.source == "past" else 0)
    inside = (wanted >= 0) & (wanted < len(values))
    picked = values[np.clip(wanted, 0, max(len(values) - 1, 0))]
    return np.where(inside, picked, np.nan) if values.dtype.kind == "f" else np.where(inside, picked, "")


def _formed(values: NDArray[Any], column: DesignColumn, rows: int) -> Floats:
    if column.form == "category":
        if values.dtype.kind == "f":
            return np.where(np.isfinite(values), (values == float(column.level)).astype(np.float64), np.nan)
        return np.where(values != "", (values == column.level).astype(np.float64), np.nan)
    if values.dtype.kind != "f":
        return np.full(len(values), np.nan)  # text where numbers were learned
    if column.form == "plain":
        return np.asarray(values, dtype=np.float64)
    if column.form == "logarithm":
        values = np.log(np.where(values > 0, values, np.nan))
    past = values[:rows][np.isfinite(values[:rows])]
    return np.asarray(values - (float(past.mean()) if len(past) else 0.0), dtype=np.float64)
