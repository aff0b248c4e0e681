"""Whether the endpoint answers as the published forecast says.

Elsewhere: what is served (`serving`), the check that shows the answer (`defs.checks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chronos_assets.container.contract import LONGEST_ANSWER
from chronos_assets.params.forecast import quantile_name
from chronos_assets.params.options import FLOAT32
from chronos_assets.pipeline.dataset import shards_of
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.moments import as_datetime, timestamp
from chronos_assets.pipeline.predictors import (
    predictor_that_made,
)
from chronos_assets.pipeline.published import published_manifest, published_series
from chronos_assets.pipeline.serving import endpoint_name, served_identity, width_of
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.endpoints import EndpointState
from chronos_assets.predictors.covariates import CovariateFolders
from chronos_assets.store_layout import (
    RELATED_KEY,
)
from chronos_assets.timeseries.dataset.filling import context_as_of
from chronos_assets.timeseries.dataset.series_keys import series_name
from chronos_assets.timeseries.dataset.shards import iter_series

COMPARED = 3  # series of a forecast that an endpoint is asked for


@dataclass(frozen=True)
class EndpointComparison:
    """The endpoint's answer beside the published forecast.

    Attributes:
        series: how many were compared.
        difference: the largest, relative to the largest value of the series; None if there was nothing to compare.
        note: in words.
        tolerance: what the difference may be.
    """

    series: int
    difference: float | None
    note: str
    tolerance: float = 0.0

    @property
    def agree(self) -> bool:
        """Whether the endpoint says what was published, as far as there was something to compare."""
        return self.difference is None or self.difference <= self.tolerance


def _read_beside(
    state: GroupState, manifest: Mapping[str, Any], contexts: Mapping[tuple[str, ...], Any]
) -> tuple[dict[tuple[str, ...], dict[str, Any]], dict[str, str]]:
    """What requests have to give beside some targets to be answered as the published forecast: of each series, and for all.

    Args:
        state: of the group.
        manifest: of the published forecast.
        contexts: what it read of the series, (n,) by key.
    """
    _, predictor = predictor_that_made(state.group, None)
    if predictor is None or not predictor.reads_covariates:
        return {}, {}
    store, related = state.group.store, state.covariates.related
    grid = state.require_manifest().resolve(state.params).grid
    folder = store.snapshot(RELATED_KEY) if related is not None else None
    source = CovariateFolders(grid, folder, related)
    found = source.of_series(contexts)
    names, _ = predictor.requested
    ordinal = grid.number_of(timestamp(manifest["context_end"]))
    beside = {}
    for key, context in contexts.items():
        count = len(context)
        known = source.as_of(key, found.get(key), ordinal, count, int(manifest["horizon"]))
        ahead = {name: known.known[name] for name in names if name in known.known}
        past = {name: values[:count] for name, values in ahead.items()}
        past |= {name: known.past[name] for name in names if name in known.past}
        beside[key] = {
            "start": as_datetime(grid.instant(ordinal - count + 1)).isoformat(),
            "past_covariates": {name: _json_values(values) for name, values in past.items()},
            "future_covariates": {name: _json_values(values[count:]) for name, values in ahead.items()},
        }
    return beside, {"freq": str(grid.frequency)}


def _json_values(values: Any) -> list[float | str | None]:
    """Numbers as JSON has them, null where nothing is known; texts as they are."""
    if values.dtype.kind != "f":
        return [str(value) for value in values]
    return [float(value) if np.isfinite(value) else None for value in values]


def endpoint_tolerance(passes: Mapping[str, Any]) -> float:
    """How far an endpoint may be from the forecast that `passes` made, in parts of the largest value of a series.

    Endpoints are in float32. Five times what a trial of other numbers may differ (`models.precision.TOLERANCE`, in deviations):
    it is of some rows, and the values of a forecast may be less than its series' deviation.
    """
    return 1e-5 if passes.get("precision", FLOAT32) == FLOAT32 else 0.05


def _incomparable(state: GroupState, served: EndpointState, manifest: Mapping[str, Any]) -> str:
    """Why an endpoint's answers need not be those of the published forecast; empty where they have to be."""
    model = manifest["model"]
    if model["family"] == "t5":
        return "a model that samples gives other samples each time: nothing to compare"
    if manifest["horizon"] > LONGEST_ANSWER:
        return f"the endpoint answers up to {LONGEST_ANSWER} periods, {manifest['horizon']} were forecast"
    predictor, width = str((manifest.get("predictor") or {}).get("digest", "")), width_of(manifest)
    if served.identity == served_identity(model["digest"], model["reference"], state.setup, predictor, width):
        return ""
    made = f"the published forecast was made by {model['reference']}"
    if served.version == model["reference"]:
        return f"{made} with other parameters or band widths than the endpoint has: materialize endpoint"
    return f"{made}, the endpoint serves {served.version}: nothing to compare until the next one"


def compare_endpoint(state: GroupState) -> EndpointComparison:
    """Ask the endpoint for the first series of the published forecast, with the context that the forecast had.

    Raises:
        ChronosAssetsError: no endpoint answers.
    """
    group = state.group
    served, manifest = group.endpoints.describe(endpoint_name(state)), published_manifest(group)
    if served is None or not served.healthy:
        raise StepError(f"no endpoint {endpoint_name(state)} answers: materialize endpoint")
    if manifest is None:
        return EndpointComparison(0, None, "no forecast is published yet: nothing to compare with")
    if note := _incomparable(state, served, manifest):
        return EndpointComparison(0, None, note)
    published = published_series(group, COMPARED)
    contexts = contexts_of(state, manifest, list(published))
    levels = {str(level): quantile_name(level) for level in manifest["quantiles"]}
    beside, frequency = _read_beside(state, manifest, contexts)
    request = {
        "inputs": [
            {"item_id": series_name(key), "target": _json_values(contexts[key]), **beside.get(key, {})}
            for key in published
        ],
        "parameters": {
            "prediction_length": manifest["horizon"],
            "quantile_levels": [float(level) for level in levels] or [0.5],
            **frequency,
        },
    }
    answers = group.endpoints.invoke(served.name, request)["predictions"]
    names = levels | ({"mean": "mean"} if manifest["mean"] else {})
    largest = 0.0
    for answer, (key, columns) in zip(answers, published.items(), strict=True):
        # A value below zero from before the context bounds the batch forecast only: there's nothing to compare then.
        if np.nanmin(contexts[key]) >= 0 and min(float(columns[column].min()) for column in names.values()) < 0:
            continue
        for name, column in names.items():
            scale = max(float(np.abs(columns[column]).max()), 1e-12)
            largest = max(largest, float(np.abs(np.array(answer[name]) - columns[column]).max()) / scale)
    note = f"{len(published)} series agree to {largest:.1e} of their scale"
    return EndpointComparison(len(published), largest, note, endpoint_tolerance(manifest.get("passes") or {}))


def contexts_of(
    state: GroupState, manifest: Mapping[str, Any], keys: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], Any]:
    """What a forecast's model read of some of its series: key -> values (n,), NaN where nothing was known.

    Args:
        state: what is known of the group.
        manifest: of the forecast.
        keys: of series that it forecast.
    """
    params = state.params
    until = timestamp(str(manifest["context_end"]))
    found: dict[tuple[str, ...], Any] = {}
    for shard, held in shards_of(state.group, keys):
        left = set(held)
        for series in iter_series(shard, params.dimensions):
            if series.key in left:
                cut = int(np.searchsorted(series.timestamps, until, side="right"))
                found[series.key] = context_as_of(series, cut, int(manifest["context_length"]), params.filling)
                left.discard(series.key)
            if not left:
                break
    if gone := set(keys) - found.keys():
        raise StepError(
            f"{len(gone)} series of the published forecast are no longer in the dataset: materialize forecasts again"
        )
    return found
