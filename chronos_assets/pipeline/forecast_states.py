"""What the forecasts that were made came from, and which of them are out of date.

Elsewhere: making them (`forecasts`), which one is shown (`current_forecast`), what the sensors decide (`planning.forecasts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from chronos_assets.pipeline.materializations import latest_metadata
from chronos_assets.pipeline.model_in_use import ModelInUse, predictor_of
from chronos_assets.pipeline.moments import moment_of
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.forecasts import ForecastState
from chronos_assets.planning.windows import Window
from chronos_assets.platforms.store import published_partitions


def recipe(state: GroupState) -> str:
    """Digest of what a forecast would be made with now, beside the data; `ChronosAssetsError` if that can't be read."""
    params = state.params
    beside = (state.covariates.digest if state.manifest is not None else None) or ""
    return f"{state.model_in_use.digest}:{params.digest}:{state.model_in_use.predictor}:{beside}"


def made_from_now(state: GroupState) -> tuple[str, str]:
    """`ForecastState.made_from` of a forecast that is made now."""
    return state.require_manifest().data_version, recipe(state)


def forecast_states(state: GroupState) -> dict[str, ForecastState]:
    """The forecast that each partition has, by partition key; `ChronosAssetsError` if parameters or model can't be read."""
    group = state.group
    model = state.model_in_use
    return {
        key: state_of(manifest, version, model)
        for key, version, manifest in published_partitions(group.store, "history")
    }


def state_of(manifest: Mapping[str, Any], version: str, model: ModelInUse) -> ForecastState:
    """What a forecast's manifest says of it, where `model` is in use now."""
    return ForecastState(
        version=version,
        data_version=manifest["data_version"],
        recipe=(
            f"{_as_good_as(model, manifest)}:{manifest['params_digest']}:{_predictor_as_good_as(model, manifest)}:"
            f"{manifest.get('covariates_digest') or ''}"
        ),
        last_step=moment_of(manifest, "forecast_end"),
        context_end=moment_of(manifest, "context_end"),
        series=int(manifest["series"]),
    )


def _as_good_as(model: ModelInUse, manifest: Mapping[str, Any]) -> str:
    """Digest of the model that made a forecast, or of the one in use now where that one can't do better."""
    digest = str(manifest["model"]["digest"])
    return model.digest if digest in model.stands_for else digest


def _predictor_as_good_as(model: ModelInUse, manifest: Mapping[str, Any]) -> str:
    """The same of its predictor."""
    return model.predictor if manifest["model"]["digest"] in model.stands_for else predictor_of(manifest)


def stale_forecasts(state: GroupState, instance: dg.DagsterInstance, windows: Sequence[Window]) -> list[Window]:
    """Those of `windows` not forecast from today's dataset, parameters and model, or that Dagster doesn't know of."""
    group = state.group
    states = forecast_states(state)
    wanted = made_from_now(state)
    return [
        window
        for window in windows
        if (made := states.get(window.key)) is None
        or made.made_from != wanted
        or not latest_metadata(instance, group.key("forecasts"), window.key)
    ]
