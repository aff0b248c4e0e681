"""Asset checks of `related_time_series` and `item_metadata`: the questions of `timeseries.dataset.related_checks`."""

from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from chronos_assets.defs.checks import check_result
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.store_layout import METADATA_KEY, RELATED_KEY
from chronos_assets.timeseries.checks import CheckOutcome
from chronos_assets.timeseries.dataset.related_checks import (
    check_informative,
    check_metadata_cover,
    check_metadata_rows,
    check_related_cover,
    check_related_rows,
    nothing_to_check,
)


@dataclass(frozen=True)
class _Question:
    """A check of covariates: of which asset, its name and description, and the answer."""

    asset: str
    name: str
    description: str
    answer: Callable[[GroupState], CheckOutcome]


def _rows(state: GroupState) -> CheckOutcome:
    manifest = state.related_manifest
    if manifest is None:
        return nothing_to_check("related time series")
    return check_related_rows(state.group.store.snapshot(RELATED_KEY), manifest, state.require_manifest())


def _cover(state: GroupState) -> CheckOutcome:
    manifest = state.related_manifest
    if manifest is None:
        return nothing_to_check("related time series")
    return check_related_cover(manifest, state.require_manifest())


def _variety(state: GroupState) -> CheckOutcome:
    manifest = state.related_manifest
    return nothing_to_check("related time series") if manifest is None else check_informative(manifest)


def _item_rows(state: GroupState) -> CheckOutcome:
    manifest = state.metadata_manifest
    if manifest is None:
        return nothing_to_check("item metadata")
    return check_metadata_rows(state.group.store.snapshot(METADATA_KEY), manifest)


def _item_cover(state: GroupState) -> CheckOutcome:
    manifest = state.metadata_manifest
    return nothing_to_check("item metadata") if manifest is None else check_metadata_cover(manifest)


def _item_variety(state: GroupState) -> CheckOutcome:
    manifest = state.metadata_manifest
    return nothing_to_check("item metadata") if manifest is None else check_informative(manifest)


_QUESTIONS = (
    _Question(
        "related_time_series",
        "one_row_per_series_and_period",
        "Every series is there once, in the shard of the dataset's series, for this version of the dataset.",
        _rows,
    ),
    _Question(
        "related_time_series",
        "every_series_to_the_horizon",
        "Every series has related values, those known in advance to the end of the horizon (a warning if not).",
        _cover,
    ),
    _Question(
        "related_time_series",
        "every_attribute_varies",
        "No attribute is constant, or without any value (a warning if one is).",
        _variety,
    ),
    _Question("item_metadata", "one_row_per_item", "Every item is there once, in order.", _item_rows),
    _Question(
        "item_metadata",
        "every_item_has_metadata",
        "Every item of the dataset has a row (a warning if not).",
        _item_cover,
    ),
    _Question(
        "item_metadata",
        "every_attribute_differs",
        "No attribute is the same for all items, or without any value (a warning if one is).",
        _item_variety,
    ),
)


def covariate_checks(group: Group) -> list[dg.AssetChecksDefinition]:
    """Every check of covariates; where nothing is declared they pass, and say so."""
    return [_check(group, question) for question in _QUESTIONS]


def _check(group: Group, question: _Question) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=group.key(question.asset), name=question.name, description=question.description)
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return check_result([("", question.answer(GroupState(group)))])

    return check
