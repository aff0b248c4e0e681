"""Coherent forecasts of sums of items: `Chronos.Reconcile`.

Here: its values, reader, document, and what is wrong with it beside the rest of the file. Elsewhere: the arithmetic
(`predictors.reconciliation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from chronos_assets.params.attributes import AttributeType
from chronos_assets.params.document import MISSING, Findings, Section, nearest
from chronos_assets.params.headers import schema_name

ReconcileMethod = Literal["bottom_up", "min_trace"]
TOTAL = "total"  # the level that is always there


@dataclass(frozen=True)
class ReconcileParams:
    """Which sums of series are forecast, and how.

    Attributes:
        levels: forecast dimensions and text attributes of the item metadata, from broad to narrow, each nested in the one
            before; the total of everything is above them.
        method: how they are made coherent.
    """

    levels: tuple[str, ...] = ()
    method: ReconcileMethod = "bottom_up"


def read_reconcile(chronos: Section, key: str) -> ReconcileParams | None:
    """The section `Reconcile` of `Chronos`; None without one. What is wrong with it goes to the section's findings."""
    section = chronos.section(key)
    if section is None:
        return None
    value = section.take("Levels")
    levels: tuple[str, ...] = ()
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        levels = tuple(map(schema_name, value))
    elif value is not MISSING:
        section.wrong("Levels", "this must be a list of columns", 'write for example ["category", "brand"]')
    method = section.choice("Method", get_args(ReconcileMethod))
    section.finish({})
    return ReconcileParams(levels, cast(ReconcileMethod, method or "bottom_up"))


def reconcile_document(reconcile: ReconcileParams) -> dict[str, Any]:
    """The JSON value of the section that reads back as `reconcile`."""
    return {"Levels": list(reconcile.levels), "Method": reconcile.method}


def check_reconcile(
    reconcile: ReconcileParams | None,
    dimensions: tuple[str, ...],
    metadata: Mapping[str, AttributeType],
    has_mean: bool,
    findings: Findings,
) -> None:
    """Hold the levels against the columns that there are.

    Args:
        reconcile: what was read.
        dimensions: of the forecast.
        metadata: attributes of the items, with their types.
        has_mean: whether the forecast types hold a mean, or two quantiles that it can be taken of.
        findings: get what is wrong.
    """
    if reconcile is None:
        return
    key = "Chronos.Reconcile.Levels"
    choices = [*dimensions, *(name for name, kind in metadata.items() if kind == "string")]
    listed = (
        f"write some of {', '.join(choices)}" if choices else "add item metadata (ITEM_METADATA), or leave Levels out"
    )
    for place, name in enumerate(reconcile.levels):
        if name in reconcile.levels[:place]:
            findings.problem(key, name, "this level is given twice", "name every level once")
        elif name == TOTAL:
            findings.problem(key, name, "the total is above all levels anyway", "leave it out")
        elif name in metadata and metadata[name] != "string":
            findings.problem(
                key, name, "a level is a category, and this is a number", 'make it a "string" in its schema'
            )
        elif name not in choices:
            reason = "there is no such forecast dimension or attribute of the item metadata"
            findings.problem(key, name, reason, nearest(name, choices) or listed)
    if not has_mean:
        findings.problem(
            "Forecast.ForecastTypes",
            MISSING,
            "Chronos.Reconcile adds up means, and one quantile has none",
            'add "mean", or a second quantile',
        )
