"""Asset checks of `related_time_series` and `item_metadata`: the questions of `timeseries.dataset.related_checks`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from chronos_assets.defs.checks import declared_check
from chronos_assets.pipeline.covariate_kinds import METADATA_KIND, RELATED_KIND, CovariateKind
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
    """A check of covariates: of which kind, its name and description, and the answer for the manifest that there is."""

    kind: CovariateKind
    name: str
    description: str
    answer: Callable[[GroupState, Any], CheckOutcome]


_QUESTIONS = (
    _Question(
        RELATED_KIND,
        "one_row_per_series_and_period",
        "Every series is there once, in the shard of the dataset's series, for this version of the dataset.",
        lambda state, made: check_related_rows(state.group.store.snapshot(RELATED_KEY), made, state.require_manifest()),
    ),
    _Question(
        RELATED_KIND,
        "every_series_to_the_horizon",
        "Every series has related values, those known in advance to the end of the horizon (a warning if not).",
        lambda state, made: check_related_cover(made, state.require_manifest()),
    ),
    _Question(
        RELATED_KIND,
        "every_attribute_varies",
        "No attribute is constant, or without any value (a warning if one is).",
        lambda _, made: check_informative(made),
    ),
    _Question(
        METADATA_KIND,
        "one_row_per_item",
        "Every item is there once, in order.",
        lambda state, made: check_metadata_rows(state.group.store.snapshot(METADATA_KEY), made),
    ),
    _Question(
        METADATA_KIND,
        "every_item_has_metadata",
        "Every item of the dataset has a row (a warning if not).",
        lambda _, made: check_metadata_cover(made),
    ),
    _Question(
        METADATA_KIND,
        "every_attribute_differs",
        "No attribute is the same for all items, or without any value (a warning if one is).",
        lambda _, made: check_informative(made),
    ),
)


def covariate_checks(group: Group) -> list[dg.AssetChecksDefinition]:
    """Every check of covariates; where nothing is declared they pass, and say so."""
    return [_check(group, question) for question in _QUESTIONS]


def _check(group: Group, question: _Question) -> dg.AssetChecksDefinition:
    kind = question.kind

    def answer(state: GroupState, _: str) -> CheckOutcome:
        made = state.related_manifest if kind is RELATED_KIND else state.metadata_manifest
        return nothing_to_check(kind.what) if made is None else question.answer(state, made)

    return declared_check(group, kind.asset, question.name, question.description, answer)
