"""What columns beside the target say of its rows: plans and forecasts are no observations, cancelled orders no demand.

Here: columns that are no part of a series' key. Versions of one row belong to `overlaps`, several units of a series, too.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from chronos_assets.params.columns import Column, InferenceError, is_number, listed, rank

# Words for what is expected, and for what has come to be.
_EXPECTED = frozenset(
    {
        *("forecast", "forecasts", "forecasted", "fcst", "fc", "predicted", "prediction", "projected", "projection"),
        *(
            "budget",
            "budgeted",
            "plan",
            "planned",
            "outlook",
            "prognose",
            "planwert",
            "prévision",
            "previsión",
            "pronóstico",
        ),
    }
)
_OBSERVED = frozenset(
    {
        *(
            "actual",
            "actuals",
            "act",
            "observed",
            "observation",
            "history",
            "historical",
            "historic",
            "real",
            "realised",
        ),
        *("realized", "measured", "final", "ist", "istwert", "réel", "réalisé", "reales"),
    }
)
_TAKEN_BACK = re.compile(
    r"cancel(l?ed|l?ation)|refund(ed)?|return(ed|s)?|void(ed)?|charge[- ]?back|revers(al|ed)|credit([ -]?(note|memo))?|storno"
    r"|storniert|retoure|gutschrift|annul(é|ée|ation)|avoir|remboursé|devoluci(ó|o)n|rejected|declined",
    re.IGNORECASE,
)
_MOST_KINDS = 20
# What forecasts, is planned or is budgeted is the row, not what another word names: rain_forecast, promo_plan.
_FLAG_OF_PLANS = re.compile(
    r"(^|(^|_)is_?)(forecast|predicted|projected|budget|plan)(ed|ned)?($|_flag$)", re.IGNORECASE
)
_YES = frozenset({"true", "t", "yes", "y", "1", "1.0"})
# Names of targets that are those of coordinates, sizes, packages and prices, too.
_DOUBTFUL = ("y", "value", "volume", "load", "units", "amount", "count", "usage")
_LEAST = 10  # rows


def check_planned(columns: Sequence[Column], keys: Sequence[Column]) -> None:
    """Refuse rows that a column calls plans or forecasts beside rows of the same series that it calls otherwise.

    Raises:
        InferenceError: there are such rows; they would be taken for observations.
    """
    for note in planned_notes(columns, keys):
        raise InferenceError(note)


def planned_notes(columns: Sequence[Column], keys: Sequence[Column]) -> Iterator[str]:
    """Whether a column calls rows plans beside rows of the same series that it calls otherwise, a line for each."""
    for column in columns:
        expected = _expected(column)
        series: dict[tuple[str, ...], set[bool]] = defaultdict(set)
        for text, *key in zip(column.texts, *(key.texts for key in keys), strict=True):
            if text:
                series[tuple(key)].add(text in expected)
        if any(len(kinds) > 1 for kinds in series.values()):
            count = sum(text in expected for text in column.texts)
            shown = ", ".join(map(repr, sorted(expected)[:2]))
            yield (
                f"{column.name} says that {count:,} of {len(column.texts):,} rows are no observations ({shown}): leave "
                "them out, or leave the column out if they are"
            )


def _expected(column: Column) -> frozenset[str]:
    """The texts of a column that mark a row as a plan or a forecast; none where no other text marks observations."""
    if len(column.distinct) > _MOST_KINDS:
        return frozenset()
    if column.is_flag and _FLAG_OF_PLANS.search(column.header):
        return frozenset(text for text in column.distinct if text.casefold() in _YES)
    found = frozenset(text for text in column.distinct if text.casefold() in _EXPECTED)
    return found if any(text.casefold() in _OBSERVED for text in column.distinct) else frozenset()


def check_constant(target: Column, columns: Sequence[Column], keys: Sequence[Column]) -> None:
    """Refuse a target by its name that never changes within a series where other numbers do: a size, a place, a list price.

    Raises:
        InferenceError: that is so, and the name may be that of something else.
    """
    if rank(target.name, _DOUBTFUL) == math.inf or _changes(target, keys):
        return
    varying = [
        column
        for column in columns
        if column.is_numeric
        and not (column.is_flag or column.is_index or column.is_identifying)
        and _changes(column, keys)
    ]
    if varying and len(target.texts) >= _LEAST:
        candidates = [*varying, target]
        raise InferenceError(
            f"{target.name} has one value in each series, whereas {listed(varying)} changes: several columns could hold the "
            "value to forecast\n"
            "Write a params.json that lists the columns in Datasets[0].Schema.Attributes and says which it is: "
            f'Chronos.Columns = {{"target_value": "{varying[0].name}"}}',
            role="target",
            candidates=[column.name for column in candidates],
        )


def _changes(column: Column, keys: Sequence[Column]) -> bool:
    """Whether a column of numbers has several values in some series."""
    series: dict[tuple[str, ...], str] = {}
    for text, *key in zip(column.texts, *(key.texts for key in keys), strict=True):
        if is_number(text) and float(series.setdefault(tuple(key), text)) != float(text):
            return True
    return False


def taken_back_notes(target: Column, columns: Sequence[Column]) -> Iterator[str]:
    """Whether rows that a column calls returned or cancelled count like all others, a line for each column."""
    for column in columns:
        texts = {text for text in column.distinct if _TAKEN_BACK.fullmatch(text)}
        if not texts or len(column.distinct) > _MOST_KINDS or len(texts) == len(column.distinct):
            continue
        rows = [
            value for text, value in zip(column.texts, target.texts, strict=True) if text in texts and is_number(value)
        ]
        count = sum(float(value) > 0 for value in rows)
        if count:
            shown = ", ".join(map(repr, sorted(texts)[:2]))
            yield (
                f"Guessed: {count:,} of {len(target.texts):,} rows looked at, whose {column.name} is {shown}, count like all "
                "others; leave them out, or write them as negative numbers, if they take others back."
            )
