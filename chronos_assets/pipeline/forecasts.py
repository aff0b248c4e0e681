"""Making and publishing the forecasts of time windows.

Here: the job's parameters, its result, what is shown as current, which windows are due. Elsewhere: the
model (`pipeline.model_in_use`), the files of a forecast (`timeseries.forecast`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.calendar.time_zones import local_now
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.partition_folders import job_folder
from chronos_assets.pipeline.cold_starts import with_cold_starts
from chronos_assets.pipeline.dataset import known_after, last_instant, reading_parameters, shards_of
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.exports import windows_of_backtest
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.levels import check_levels, publish_levels
from chronos_assets.pipeline.live_bands import live_records
from chronos_assets.pipeline.materializations import latest_metadata
from chronos_assets.pipeline.model_in_use import ModelInUse, predictor_of
from chronos_assets.pipeline.moments import as_datetime, timestamp
from chronos_assets.pipeline.predictors import keep_learned, learned_before, publish_members
from chronos_assets.pipeline.published import forecast_manifest, published_manifest, published_partitions
from chronos_assets.pipeline.staging import staging
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.forecasts import ForecastState, is_shown
from chronos_assets.planning.windows import Window, WindowRange, window_for_key, window_of
from chronos_assets.platforms.jobs import JobRequest, JobResult, job_name
from chronos_assets.platforms.store import manifest_of
from chronos_assets.predictors.predictor import PREDICTOR_FILE
from chronos_assets.store_layout import DATASET_KEY, FORECAST_KEY, PREPARED_KEY, explanations_key, history_key
from chronos_assets.system import file_digest, write_json
from chronos_assets.timeseries.dataset.filling import context_as_of
from chronos_assets.timeseries.dataset.series_keys import series_name
from chronos_assets.timeseries.dataset.shards import iter_series
from chronos_assets.timeseries.forecast.files import MAX_NAMED, PartsError, merge_forecast_parts, merge_messages
from chronos_assets.timeseries.manifests import MANIFEST

# Of a run: partitions that its job forecasts as well, or nothing where an earlier one was to do so.
AHEAD_TAG = "chronos/ahead"
# Of an explanation's manifest: which version of the partition's forecast it is of.
EXPLAINED_VERSION = "forecast_version"

# --- forecasts --------------------------------------------------------------------------------------------------------


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
            group.store.publish(history_key(window.key), staged, data="forecast.parquet")
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
    wanted = (state.require_manifest().data_version, recipe(state))
    manifests, messages = {}, {}
    for key in keys:
        reported, made = state.group.read_json(_prepared_key(key)), states.get(key)
        if reported is None or made is None:
            return None
        if reported["version"] != made.version or (made.data_version, made.recipe) != wanted:
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


def publish_current(state: GroupState, params: ForecastParams, window: Window) -> bool:
    """Publish `window`'s forecast from `history/` to `forecast/`, unless one with later data is there; whether it was.

    One with later data gives way to that of the last observation once those data are gone.
    """
    from chronos_assets.timeseries.forecast.csv_export import write_forecast_csv

    group = state.group
    source = group.store.snapshot(history_key(window.key))
    with staging(group) as folder:
        staged = folder / "forecast"
        staged.mkdir()
        shutil.copyfile(source / "forecast.parquet", staged / "forecast.parquet")
        names = ["forecast.parquet"]
        if params.export.format == "CSV":
            export = write_forecast_csv(
                staged,
                source / "forecast.parquet",
                source / "last_observed.parquet" if params.join_row else None,
                params,
                memory_limit=group.settings.memory_limit,
            )
            names += [file.name for file in export.files]
        made = json.loads((source / MANIFEST).read_bytes())
        files = {name: _file_facts(staged / name) for name in names}
        write_json(staged / MANIFEST, made | {"files": files}, sort_keys=True)
        shown = published_manifest(group)
        gives_way = shown is not None and _gives_way(state, shown, made, window)
        withdrawn = [_moment(shown, name) for name in ("context_end", "window_end")] if shown and gives_way else []
        return group.store.publish_forecast(FORECAST_KEY, staged, _moment(made, "context_end"), withdrawn=withdrawn)


def _gives_way(state: GroupState, shown: Mapping[str, Any], made: Mapping[str, Any], window: Window) -> bool:
    """Whether the current forecast has to make room for one just made, whatever instant the store keeps of it.

    It has less data behind it or just as much (older stores kept the end of its window), or it saw observations that are
    gone, and the one just made is that of the last observation there is.
    """
    if _moment(shown, "context_end") <= _moment(made, "context_end"):
        return True
    gone = timestamp(str(shown["context_end"])) > state.require_manifest().last_timestamp
    return bool(gone) and window == main_windows(state, 0)[0]


def stale_forecasts(state: GroupState, instance: dg.DagsterInstance, windows: Sequence[Window]) -> list[Window]:
    """Those of `windows` not forecast from today's dataset, parameters and model, or that Dagster doesn't know of."""
    group = state.group
    states = forecast_states(state)
    wanted = (state.require_manifest().data_version, recipe(state))
    return [
        window
        for window in windows
        if (made := states.get(window.key)) is None
        or (made.data_version, made.recipe) != wanted
        or not latest_metadata(instance, group.key("forecasts"), window.key)
    ]


def forecast_is_shown(state: GroupState, key: str) -> bool:
    """Whether `forecast/` is whole and the right one to show, `key` being the partition of the last observation."""
    made = forecast_states(state)[key]
    return is_shown(made, shown_state(state, thorough=True), as_datetime(state.require_manifest().last_timestamp))


def shown_state(state: GroupState, *, thorough: bool = False) -> ForecastState | None:
    """The current forecast; None if there is none, or one of its files is missing or damaged.

    Args:
        state: of the group.
        thorough: read the files, to see damage that leaves their size as it was.
    """
    manifest = published_manifest(state.group)
    if manifest is None or not _is_whole(state.group, manifest.get("files", {}), thorough):
        return None
    return _state_of(manifest, "shown", state.model_in_use)


def _is_whole(group: Group, files: Mapping[str, Mapping[str, Any]], thorough: bool) -> bool:
    """Whether the files of the current forecast are those that were published; older forecasts don't say which."""
    for name in files or ("forecast.csv", "forecast.parquet"):
        there = group.store.head(f"{FORECAST_KEY}/{name}")
        if there is None or (name in files and there.size != files[name]["bytes"]):
            return False
    if not thorough or not files:
        return True
    folder = group.store.snapshot(FORECAST_KEY)
    return all(_file_facts(folder / name) == facts for name, facts in files.items())


def _file_facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def _moment(manifest: Mapping[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(manifest[name])


def recipe(state: GroupState) -> str:
    """Digest of what a forecast would be made with now, beside the data; `ChronosAssetsError` if that can't be read."""
    params = state.params
    beside = (state.covariates.digest if state.manifest is not None else None) or ""
    return f"{state.model_in_use.digest}:{params.digest}:{state.model_in_use.predictor}:{beside}"


def forecast_states(state: GroupState) -> dict[str, ForecastState]:
    """The forecast that each partition has, by partition key; `ChronosAssetsError` if parameters or model can't be read."""
    group = state.group
    model = state.model_in_use
    return {
        key: _state_of(manifest, version, model) for key, version, manifest in published_partitions(group, "history")
    }


def _state_of(manifest: Mapping[str, Any], version: str, model: ModelInUse) -> ForecastState:
    return ForecastState(
        version=version,
        data_version=manifest["data_version"],
        recipe=(
            f"{_as_good_as(model, manifest)}:{manifest['params_digest']}:{_predictor_as_good_as(model, manifest)}:"
            f"{manifest.get('covariates_digest') or ''}"
        ),
        last_step=_moment(manifest, "forecast_end"),
        context_end=_moment(manifest, "context_end"),
        series=int(manifest["series"]),
    )


def _as_good_as(model: ModelInUse, manifest: Mapping[str, Any]) -> str:
    """Digest of the model that made a forecast, or of the one in use now where that one can't do better."""
    digest = str(manifest["model"]["digest"])
    return model.digest if digest in model.stands_for else digest


def _predictor_as_good_as(model: ModelInUse, manifest: Mapping[str, Any]) -> str:
    """The same of its predictor."""
    return model.predictor if manifest["model"]["digest"] in model.stands_for else predictor_of(manifest)


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


# --- windows ----------------------------------------------------------------------------------------------------------


def end_of_windows(state: GroupState) -> datetime:
    """End of the window that holds the present, by the clock of the data (`Chronos.TimeZone`); naive.

    Partitions beyond it exist where that clock is ahead of UTC, see `pipeline.partitions`.
    """
    settings = state.group.settings
    now = local_now(state.clock)
    if now < settings.partition_start_time().replace(tzinfo=None):
        raise StepError(
            f"there are no partitions yet: CHRONOS_PARTITION_START is {settings.partition_start}; set it to a day before "
            "your data"
        )
    return window_of(now, settings.partitions).end


def main_windows(state: GroupState, backtest: int) -> tuple[Window, tuple[Window, ...]]:
    """The window that holds the last observation, and up to `backtest` windows before it with an observed horizon.

    The backtest windows are the latest whose forecasts start at different periods, oldest first; fewer (or none) when
    the data is too short for the horizon.

    Raises:
        ChronosAssetsError: there is no dataset, or the partitions end before the data or begin after it.
    """
    newest = _newest_window(state)
    return newest, tuple(window for _, window in islice(_past_windows(state, newest), backtest))[::-1]


def evaluation_windows(state: GroupState) -> tuple[Window, ...]:
    """The windows that `EvaluationParameters` ask for, oldest first; see `pipeline.exports.backtest_partitions`."""
    return tuple(windows_of_backtest(state, _past_windows(state, _newest_window(state))))


def _newest_window(state: GroupState) -> Window:
    """The window that holds the last observation; see `main_windows`."""
    settings, manifest = state.group.settings, state.require_manifest()
    first, last = as_datetime(manifest.first_timestamp), as_datetime(last_instant(state.params, manifest))
    windows = WindowRange(
        settings.partitions, settings.partition_start_time().replace(tzinfo=None), end_of_windows(state)
    )
    return windows.newest(first, last)


def _past_windows(state: GroupState, newest: Window) -> Iterator[tuple[int, Window]]:
    """Windows up to `newest` whose horizon is observed, the latest first, with the last period that each saw."""
    group = state.group
    params, manifest = state.params, state.require_manifest()
    grid, cadence, lag = params.grid, group.settings.partitions, known_after(params, manifest)
    earliest = group.settings.partition_start_time().replace(tzinfo=None)
    first, last = manifest.span(grid)
    # Data may continue for centuries after the last partition, by a wrong year: no need to walk through them.
    last = min(last, grid.number_of(np.datetime64(newest.end, "us")) + params.horizon)
    for k in range(last - params.horizon, first - 1, -1):
        starts = grid.start(np.array([k, k + 1]))
        known = starts[1] - np.timedelta64(1, "us") if lag is None else starts[0] + lag
        window = window_of(as_datetime(known), cadence)
        if window.start < earliest:
            break
        if _last_allowed(grid, window, lag) == k and window.end <= newest.end:
            yield k, window


def _last_allowed(grid: Grid, window: Window, lag: np.timedelta64 | None) -> int:
    """Number of the last period that a forecast as of the window's end may read."""
    end = np.array([np.datetime64(window.end, "us")])
    return int(grid.last_known(end, lag)[0])
