"""Making the forecasts of time windows.

Here: the job's parameters, and what becomes of its result. Elsewhere: which windows there are (`forecast_windows`), which of
their forecasts are out of date (`forecast_states`), which is shown (`current_forecast`), the model (`model_in_use`), the files
of a forecast (`timeseries.forecast`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.partition_folders import job_folder
from chronos_assets.pipeline.cold_starts import with_cold_starts
from chronos_assets.pipeline.current_forecast import publish_current
from chronos_assets.pipeline.dataset import known_after, reading_parameters
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.forecast_states import forecast_states, made_from_now
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.levels import check_levels, publish_levels
from chronos_assets.pipeline.live_bands import live_records
from chronos_assets.pipeline.model_in_use import ModelInUse
from chronos_assets.pipeline.predictors import keep_learned, learned_before, publish_members
from chronos_assets.pipeline.published import forecast_manifest
from chronos_assets.pipeline.staging import staging
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.windows import Window, window_for_key
from chronos_assets.platforms.jobs import JobRequest, JobResult, job_name
from chronos_assets.platforms.store import manifest_of
from chronos_assets.predictors.predictor import PREDICTOR_FILE
from chronos_assets.store_layout import DATASET_KEY, PREPARED_KEY, explanations_key, history_key
from chronos_assets.timeseries.dataset.series_keys import series_name
from chronos_assets.timeseries.forecast.files import MAX_NAMED, PartsError, merge_forecast_parts, merge_messages
from chronos_assets.timeseries.published_files import FORECAST, MANIFEST

# Of a run: partitions that its job forecasts as well, or nothing where an earlier one was to do so.
AHEAD_TAG = "chronos/ahead"
# Of an explanation's manifest: which version of the partition's forecast it is of.
EXPLAINED_VERSION = "forecast_version"


@dataclass(frozen=True)
class WindowForecast:
    """One partition's forecast: the manifest the workload wrote, its message, and whether it became the current one."""

    key: str
    manifest: Mapping[str, Any]
    message: Mapping[str, Any]
    published: bool


@dataclass(frozen=True)
class ForecastRun:
    """What one run of `forecasts` made."""

    windows: tuple[WindowForecast, ...]
    data_version: str
    params: ForecastParams
    seconds: float
    model: ModelInUse
    facts: Mapping[str, Any]


def forecast_parameters(
    state: GroupState, windows: Sequence[Window], live: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The JSON document that the forecast workload reads; `live`: see `pipeline.live_bands.live_records`."""
    params, model, covariates = state.params, state.model_in_use, state.covariates
    return {
        "model": model.label,
        "trained_until": model.trained_until,
        **reading_parameters(params),
        "horizon": params.horizon,
        "quantiles": list(params.quantiles),
        "mean": params.mean,
        "windows": [{"key": window.key, "end": window.end.isoformat()} for window in windows],
        "live": live,
        "context_length": params.context_length,
        "batch_size": params.batch_size,
        "precision": params.precision,
        "seed": params.seed,
        "min_observations": params.min_observations,
        "non_negative": params.non_negative,
        "integers": params.integers,
        "complete_periods": known_after(params, state.require_manifest()) is None,
        "params_digest": params.digest,
        "zero_shot": params.predictor.to_document() if model.key is None else None,
        **covariates.parameters,
        "covariates_digest": covariates.digest,
    }


def forecast_inputs(state: GroupState) -> dict[str, str]:
    """Input channels of a job that forecasts as `forecast_parameters` says: name -> store key."""
    model = state.model_in_use.key
    return {"dataset": DATASET_KEY, **state.covariates.channels, **({"model": model} if model else {})}


def forecast_job(
    state: GroupState,
    context: dg.AssetExecutionContext,
    windows: Sequence[Window],
    name: str,
    *,
    scenario: Mapping[str, Any] | None = None,
    sharded: str = "",
) -> JobRequest:
    """The job that forecasts windows, once the predictors are learned that its instances have to share.

    Args:
        state: of the group.
        context: the asset's execution context, for a job that learns.
        windows: to forecast.
        name: of the job.
        scenario: what differs from what is planned; None for the forecast itself.
        sharded: see `JobRequest`.
    """
    parameters = forecast_parameters(state, windows, live_records(state, windows))
    learned = learned_before(state, context, parameters)
    return JobRequest(
        workload="forecast",
        name=name,
        parameters=parameters if scenario is None else parameters | {"scenario": scenario},
        inputs=forecast_inputs(state) | ({"predictors": learned} if learned else {}),
        outputs=("forecast",),
        sharded=sharded,
    )


def make_forecasts(state: GroupState, context: dg.AssetExecutionContext, keys: Sequence[str]) -> ForecastRun:
    """Forecast partitions `keys` in one job, publish each to `history/`, the newest to `forecast/` if none is newer.

    A run of Dagster is about consecutive partitions, while a model is loaded once for any: with the tag `AHEAD_TAG` the
    job forecasts those of later runs as well, which find their forecasts made if they carry it, too, empty.
    """
    group = state.group
    ahead = context.run.tags.get(AHEAD_TAG)
    if ahead == "" and (prepared := _prepared(state, keys)) is not None:
        return prepared
    check_levels(state)
    model = state.model_in_use
    context.log.info(f"model: {model.label}" + (f" ({model.note})" if model.note else ""))
    windows = [window_for_key(key, group.settings.partitions) for key in keys]
    later = [window_for_key(key, group.settings.partitions) for key in (ahead or "").split() if key not in keys]
    name = job_name("forecast", *group.settings.key_prefix, keys[0], keys[-1])
    request = forecast_job(state, context, [*windows, *later], name, sharded="dataset")
    with group.jobs.run(context, request) as result, staging(group) as folder:
        messages = _window_messages(result)
        manifests, made_by = {}, []
        for window in (*windows, *later):
            made, manifest_made = _window_forecast(result, window, folder)
            staged, manifests[window.key] = with_cold_starts(state, made, manifest_made, folder)
            messages[window.key] |= _counted(manifests[window.key])
            if model.key is None and (staged / PREDICTOR_FILE).is_file():
                made_by.append((staged / PREDICTOR_FILE).read_bytes())
            publish_members(group, window.key, staged, folder)
            publish_levels(state, window.key, staged, folder)
            group.store.publish(history_key(window.key), staged, data=FORECAST)
            withdraw_outdated_explanation(group, window.key)
        for window in later:
            reported = {"version": group.store.shown(history_key(window.key)), "message": messages[window.key]}
            group.store.put(_prepared_key(window.key), json.dumps(reported).encode())
        keep_learned(group, made_by, folder)
    return _forecasts(state, windows, manifests, messages, seconds=result.seconds, facts=result.facts)


def withdraw_outdated_explanation(group: Group, key: str) -> None:
    """Withdraw the explanation of a partition that is of an earlier forecast than the one that is published now."""
    made = manifest_of(group.store, explanations_key(key))
    if made is not None and made.get(EXPLAINED_VERSION) != group.store.shown(history_key(key)):
        group.store.withdraw(explanations_key(key))


def _forecasts(
    state: GroupState,
    windows: Sequence[Window],
    manifests: Mapping[str, Mapping[str, Any]],
    messages: Mapping[str, Mapping[str, Any]],
    *,
    seconds: float,
    facts: Mapping[str, Any],
) -> ForecastRun:
    """What is reported of partitions that are in `history/`, the newest of them published if none is newer."""
    group, params = state.group, state.params
    newest = max(windows, key=lambda window: window.end)
    # A forecast of nothing takes the place of none. The data may have been imported again while the job ran.
    published = bool(manifests[newest.key]["series"]) and publish_current(GroupState(group), params, newest)
    made = tuple(
        WindowForecast(window.key, manifests[window.key], messages[window.key], published and window == newest)
        for window in windows
    )
    # What the job read, which an import may have replaced since.
    return ForecastRun(made, str(manifests[newest.key]["data_version"]), params, seconds, state.model_in_use, facts)


def _prepared(state: GroupState, keys: Sequence[str]) -> ForecastRun | None:
    """Forecasts that an earlier run's job has made of today's dataset, parameters and model; None if one is missing."""
    store, states = state.group.store, forecast_states(state)
    wanted = made_from_now(state)
    manifests, messages = {}, {}
    for key in keys:
        reported, made = state.group.read_json(_prepared_key(key)), states.get(key)
        if reported is None or made is None:
            return None
        if reported["version"] != made.version or made.made_from != wanted:
            return None
        manifests[key], messages[key] = forecast_manifest(state.group, key), reported["message"]
    windows = [window_for_key(key, state.group.settings.partitions) for key in keys]
    found = _forecasts(state, windows, manifests, messages, seconds=0.0, facts={})
    for key in keys:
        store.delete(_prepared_key(key))
    return found


def _prepared_key(key: str) -> str:
    return f"{PREPARED_KEY}/{key}.json"


def _window_messages(result: JobResult) -> dict[str, dict[str, Any]]:
    """The message of each window, by its key."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for message in result.messages:
        if "window" in message:
            found.setdefault(str(message["window"]), []).append(message)
    return {key: merge_messages(messages) for key, messages in found.items()}


def _window_forecast(result: JobResult, window: Window, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a window's forecast, made in `folder` of the parts where there are several, and its manifest.

    Raises:
        ChronosAssetsError: the parts don't make up one forecast.
    """
    parts = [part / job_folder(window.key) for part in result.parts("forecast")]
    if len(parts) == 1:
        manifest = json.loads((parts[0] / MANIFEST).read_bytes())
        if "part" not in manifest:
            return parts[0], manifest
    merged = folder / job_folder(window.key)
    try:
        manifest = merge_forecast_parts(parts, merged)
        if (parts[0] / PREDICTOR_FILE).exists():
            shutil.copyfile(parts[0] / PREDICTOR_FILE, merged / PREDICTOR_FILE)
        return merged, manifest
    except PartsError as error:
        raise StepError(f"partition {window.key}: {error}") from error


def _counted(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a window's message says of its series, once cold starts are among them."""
    if "cold_start" not in manifest:
        return {}
    named = [
        {"item": series_name(row["item"]), "key": row["item"], "reason": row["reason"]}
        for row in manifest["skipped"][:MAX_NAMED]
    ]
    return {"series": manifest["series"], "skipped_count": manifest["skipped_count"], "skipped": named}
