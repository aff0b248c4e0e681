"""What each asset does, as functions of a `Group`: read the store, call the pure parts, run jobs, publish.

Belongs here: the order of things and where results go. Does not belong here: Dagster's decorators (`defs.assets`), what
the UI shows (`defs.metadata`), how series are read, forecast or scored.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from chronos_assets.defs.group import Group
from chronos_assets.defs.listing import is_train_file, listing_digest
from chronos_assets.defs.windows import Window, window_for_key, window_of
from chronos_assets.params import ForecastParams, ParamsError, load_params, to_document
from chronos_assets.platforms.base import JobRequest, ObjectInfo, job_name

if TYPE_CHECKING:
    import numpy as np

    from chronos_assets.timeseries.accuracy import AccuracyReport
    from chronos_assets.timeseries.importing import ImportReport
    from chronos_assets.timeseries.shards import Manifest

PARAMS_KEY = "params.json"
TRAIN_KEY = "train"
DATASET_KEY = "dataset/target_time_series"
FORECAST_KEY = "forecast"
REJECTED_KEY = "rejected"
STAGING_KEY = ".staging"
# A model without its own word on it is given this many series at once.
BATCH_SIZE = 32


def history_key(key: str) -> str:
    """Store key of the folder that holds partition `key`'s forecast."""
    return f"history/as_of={key}"


def accuracy_key(key: str) -> str:
    """Store key of the folder that holds partition `key`'s scores."""
    return f"accuracy/as_of={key}"


# --- dataset ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imported:
    """What an import made: its report, and from what."""

    report: ImportReport
    params: ForecastParams
    train_digest: str

    @property
    def manifest(self) -> Manifest:
        """Manifest of the published dataset."""
        return self.report.manifest


def train_files(group: Group) -> list[ObjectInfo]:
    """The data files under `train/`, in order of their keys."""
    return sorted((info for info in group.store.list(TRAIN_KEY) if is_train_file(info)), key=lambda info: info.key)


def read_params(group: Group) -> ForecastParams:
    """`params.json` of the store; without one it is inferred from the train files, and written for the user to keep.

    Raises:
        dg.Failure: it has errors (all are named), or nothing can be inferred.
    """
    if not group.store.exists(PARAMS_KEY):
        params = _inferred_params(group)
        group.store.put(PARAMS_KEY, (json.dumps(to_document(params), indent=2) + "\n").encode())
    try:
        return load_params(group.store.get(PARAMS_KEY), source=PARAMS_KEY)
    except ParamsError as error:
        raise dg.Failure(str(error)) from error


def group_name(group: Group) -> str:
    """Name of the dataset group for notices, which must not fail because `params.json` is broken."""
    try:
        return load_params(group.store.get(PARAMS_KEY)).dataset_group
    except (FileNotFoundError, ParamsError):
        return "/".join(group.settings.key_prefix) or group.settings.store


def _inferred_params(group: Group) -> ForecastParams:
    from chronos_assets.timeseries.inference import InferenceError, infer
    from chronos_assets.timeseries.reading import FileProblem
    from chronos_assets.timeseries.sampling import sample_rows

    files = train_files(group)
    if not files:
        raise _no_train_files(group)
    newest = max(files, key=lambda info: (info.last_modified, info.key))
    try:
        header, rows = sample_rows(group.store.local_path(newest.key), newest.key)
        return infer(header, rows)
    except (InferenceError, FileProblem) as error:
        raise dg.Failure(f"there is no {PARAMS_KEY}, and none can be inferred from {newest.key}: {error}") from error


def _no_train_files(group: Group) -> dg.Failure:
    return dg.Failure(
        f"no train files in {group.store.uri(TRAIN_KEY)}: put *.csv, *.csv.gz or *.parquet files there and run again"
    )


def import_dataset(group: Group, log: Any) -> Imported:
    """Import every train file and publish the dataset; on failure the one that was there stays.

    Raises:
        dg.Failure: no files, bad parameters or bad rows; the description tells which.
    """
    from chronos_assets.platforms.local.publishing import publish_directory
    from chronos_assets.timeseries.importing import ImportFailure, TrainFile, import_target_time_series

    files = train_files(group)
    if not files:
        raise _no_train_files(group)
    params = read_params(group)
    for note in params.notes:
        log.info(f"{PARAMS_KEY}: {note}")
    log.info(f"importing {len(files)} files, {sum(info.size for info in files):,} bytes")
    with _staging(group) as folder:
        staged = folder / "dataset"
        try:
            report = import_target_time_series(
                [TrainFile(group.store.local_path(info.key), info.key, info.last_modified) for info in files],
                params,
                output=staged,
                rejected=group.store.local_path(REJECTED_KEY),
                memory_limit=group.settings.memory_limit,
                progress=lambda what, share: log.info(f"{what}: {share:.0%}"),
            )
        except ImportFailure as error:
            raise dg.Failure(str(error)) from error
        publish_directory(group.store.local_path(DATASET_KEY), staged)
    return Imported(report, params, listing_digest(files))


def read_manifest(group: Group) -> Manifest | None:
    """Manifest of the dataset, or None if there has been no import."""
    from chronos_assets.timeseries.shards import DatasetError
    from chronos_assets.timeseries.shards import read_manifest as read

    folder = group.store.local_path(DATASET_KEY)
    if not folder.exists():
        return None
    try:
        return read(folder)
    except DatasetError as error:
        raise dg.Failure(str(error)) from error


def _require_manifest(group: Group) -> Manifest:
    manifest = read_manifest(group)
    if manifest is None:
        raise dg.Failure("there is no dataset yet: materialize target_time_series first")
    return manifest


def dataset_is_current(group: Group, instance: dg.DagsterInstance) -> bool:
    """Whether the last import saw just the train files and parameters that are there now, and its result stands."""
    seen = latest_metadata(instance, group.key("target_time_series"))
    manifest = read_manifest(group)
    return (
        manifest is not None
        and group.store.exists(PARAMS_KEY)
        and seen.get("data_version") == manifest.data_version
        and seen.get("train_digest") == listing_digest(train_files(group))
        and seen.get("params_digest") == read_params(group).digest
    )


# --- forecasts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WindowForecast:
    """One partition's forecast: the manifest the workload wrote, its message, and whether it became the current one."""

    key: str
    manifest: Mapping[str, Any]
    message: Mapping[str, Any]
    published: bool


@dataclass(frozen=True)
class Forecasts:
    """What one run of `forecasts` made."""

    windows: tuple[WindowForecast, ...]
    data_version: str
    params: ForecastParams
    seconds: float


def forecast_parameters(group: Group, params: ForecastParams, windows: Sequence[Window]) -> dict[str, Any]:
    """The JSON document that the forecast workload reads."""
    return {
        "model": group.settings.base_model,
        "frequency": str(params.frequency),
        "alignment": asdict(params.alignment),
        "horizon": params.horizon,
        "quantiles": list(params.quantiles),
        "mean": params.mean,
        "dimensions": list(params.dimensions),
        "filling": asdict(params.filling),
        "windows": [{"key": window.key, "end": window.end.isoformat()} for window in windows],
        "context_length": params.context_length,
        "batch_size": params.batch_size or BATCH_SIZE,
        "seed": params.seed,
        "min_observations": params.min_observations,
        # A period aggregated from finer rows may hold some from after the as-of: it counts once it is over.
        "complete_periods": params.data_frequency != params.frequency,
        "params_digest": params.digest,
    }


def make_forecasts(group: Group, context: dg.AssetExecutionContext, keys: Sequence[str]) -> Forecasts:
    """Forecast partitions `keys` in one job, publish each to `history/`, the newest to `forecast/` if none is newer."""
    from chronos_assets.platforms.local.publishing import publish_directory

    params = read_params(group)
    manifest = _require_manifest(group)
    windows = [window_for_key(key, group.settings.partitions) for key in keys]
    request = JobRequest(
        workload="forecast",
        name=job_name("forecast", *group.settings.key_prefix, keys[0], keys[-1]),
        parameters=forecast_parameters(group, params, windows),
        inputs={"dataset": DATASET_KEY},
        outputs=("forecast",),
    )
    with group.jobs.run(context, request) as result:
        messages = {str(message["window"]): message for message in result.messages if "window" in message}
        manifests = {}
        for window in windows:
            staged = result.outputs["forecast"] / f"as_of={window.key}"
            manifests[window.key] = json.loads((staged / "manifest.json").read_bytes())
            publish_directory(group.store.local_path(history_key(window.key)), staged)
    newest = max(windows, key=lambda window: window.end)
    published = publish_current(group, params, newest)
    made = tuple(
        WindowForecast(window.key, manifests[window.key], messages[window.key], published and window == newest)
        for window in windows
    )
    return Forecasts(made, manifest.data_version, params, result.seconds)


def publish_current(group: Group, params: ForecastParams, window: Window) -> bool:
    """Publish `window`'s forecast from `history/` to `forecast/`, unless a later one is there; whether it was."""
    from chronos_assets.platforms.local.publishing import current, publish_forecast
    from chronos_assets.timeseries.export import write_forecast_csv

    source = current(group.store.local_path(history_key(window.key)))
    with _staging(group) as folder:
        staged = folder / "forecast"
        staged.mkdir()
        for name in ("forecast.parquet", "manifest.json"):
            shutil.copyfile(source / name, staged / name)
        write_forecast_csv(
            staged / "forecast.csv",
            source / "forecast.parquet",
            source / "last_observed.parquet",
            params,
            memory_limit=group.settings.memory_limit,
        )
        return publish_forecast(group.store.local_path(FORECAST_KEY), staged, window.end)


def forecast_is_current(group: Group, instance: dg.DagsterInstance, key: str) -> bool:
    """Whether partition `key` was forecast from today's dataset, parameters and model, and its files stand."""
    from chronos_assets.models.checkpoints import describe_model

    seen = latest_metadata(instance, group.key("forecasts"), key)
    manifest = read_manifest(group)
    return (
        manifest is not None
        and group.store.exists(f"{history_key(key)}/forecast.parquet")
        and seen.get("data_version") == manifest.data_version
        and seen.get("params_digest") == read_params(group).digest
        and seen.get("model_digest") == describe_model(group.settings.base_model).digest
    )


# --- accuracy ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WindowAccuracy:
    """One partition's scores, and what they were computed from."""

    key: str
    report: AccuracyReport
    model: str
    data_version: str
    forecast_digest: str


def score_forecasts(group: Group, log: Any, keys: Sequence[str]) -> list[WindowAccuracy]:
    """Score partitions `keys` and publish their metrics; all are checked before anything is written.

    Raises:
        dg.Failure: a partition has no forecast, or its horizon is not observed yet.
    """
    from chronos_assets.platforms.local.publishing import current, publish_directory
    from chronos_assets.timeseries.accuracy import AccuracyError, evaluate_partition, write_metrics

    params = read_params(group)
    manifest = _require_manifest(group)
    forecasts = {key: _history_manifest(group, key) for key in keys}
    _check_scorable(group, params, manifest, forecasts)
    scored = []
    for number, (key, forecast) in enumerate(forecasts.items(), 1):
        source = current(group.store.local_path(history_key(key)))
        with _staging(group) as folder:
            staged = folder / "accuracy"
            staged.mkdir()
            try:
                report = evaluate_partition(
                    source / "forecast.parquet",
                    current(group.store.local_path(DATASET_KEY)),
                    params,
                    _timestamp(str(forecast["context_end"])),
                    memory_limit=group.settings.memory_limit,
                    scratch=folder,
                )
            except AccuracyError as error:
                raise dg.Failure(f"partition {key}: {error}") from error
            write_metrics(report, staged / "metrics.parquet")
            publish_directory(group.store.local_path(accuracy_key(key)), staged)
        log.info(f"scored {key} ({number} of {len(keys)}): {report.points} points")
        scored.append(
            WindowAccuracy(
                key, report, str(forecast["model"]["reference"]), manifest.data_version, _forecast_digest(forecast)
            )
        )
    return scored


def _history_manifest(group: Group, key: str) -> dict[str, Any]:
    try:
        return json.loads(group.store.get(f"{history_key(key)}/manifest.json"))
    except FileNotFoundError:
        raise dg.Failure(f"partition {key} has no forecast to score: materialize forecasts[{key}] first") from None


def _check_scorable(
    group: Group, params: ForecastParams, manifest: Manifest, forecasts: Mapping[str, Mapping[str, Any]]
) -> None:
    late = [key for key, forecast in forecasts.items() if not _is_observed(params, manifest, forecast)]
    if late:
        _, observed = main_windows(group, 1)
        until = f"the last that can be scored is {observed[-1].key}" if observed else "none can be scored yet"
        raise dg.Failure(
            f"the horizon of {', '.join(late[:5])}{' …' if len(late) > 5 else ''} ends after the last observation "
            f"({manifest.last}): {until}; nothing was written"
        )


def _is_observed(params: ForecastParams, manifest: Manifest, forecast: Mapping[str, Any]) -> bool:
    from chronos_assets.timeseries.accuracy import is_observed

    end = _timestamp(str(forecast["context_end"]))
    return is_observed(end, int(forecast["horizon"]), params.grid, manifest.last_timestamp)


def _forecast_digest(forecast: Mapping[str, Any]) -> str:
    return f"{forecast['data_version']}:{forecast['params_digest']}:{forecast['model']['digest']}"


def accuracy_is_current(group: Group, instance: dg.DagsterInstance, key: str) -> bool:
    """Whether partition `key` was scored with today's dataset and the forecast that stands, and its files stand."""
    seen = latest_metadata(instance, group.key("forecast_accuracy"), key)
    manifest = read_manifest(group)
    return (
        manifest is not None
        and group.store.exists(f"{accuracy_key(key)}/metrics.parquet")
        and seen.get("data_version") == manifest.data_version
        and seen.get("forecast_digest") == _forecast_digest(_history_manifest(group, key))
    )


# --- windows ----------------------------------------------------------------------------------------------------------


def main_windows(group: Group, backtest: int) -> tuple[Window, tuple[Window, ...]]:
    """The window that holds the last observation, and up to `backtest` windows before it with an observed horizon.

    The backtest windows are the latest whose forecasts start at different periods, oldest first; fewer (or none) when
    the data is too short for the horizon.
    """
    import numpy as np

    params = read_params(group)
    manifest = _require_manifest(group)
    grid = params.grid
    first, last = (int(k) for k in grid.ordinal(np.array([manifest.first_timestamp, manifest.last_timestamp])))
    newest = _window_at(group, manifest.last_timestamp)
    found: list[Window] = []
    # The as-of that ends with period k is the window of k only if that window holds no later period.
    for k in range(last - params.horizon, first - 1, -1):
        window = _window_at(group, grid.start(np.array([k]))[0])
        following = _window_at(group, grid.start(np.array([k + 1]))[0])
        if window.key != following.key and (not found or found[-1].key != window.key):
            found.append(window)
        if len(found) == backtest:
            break
    return newest, tuple(reversed(found))


def _window_at(group: Group, moment: np.datetime64) -> Window:
    return window_of(moment.astype("datetime64[us]").item(), group.settings.partitions)


# --- tables -----------------------------------------------------------------------------------------------------------


def refresh_tables(group: Group) -> Mapping[str, int]:
    """Bring the SQL tables up to date; rows of each."""
    return group.tables.refresh(group.store, read_params(group))


# --- shared -----------------------------------------------------------------------------------------------------------


def latest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> dict[str, Any]:
    """Metadata values of an asset's (or partition's) latest materialization; empty if there is none."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return {}
    return {name: value.value for name, value in records[0].asset_materialization.metadata.items()}


@contextmanager
def _staging(group: Group) -> Iterator[Path]:
    """A folder in the store's file system for files that are not published yet; removed at the end.

    What a killed run left is removed by the next one, after a day in which it might still be alive.
    """
    root = group.store.local_path(STAGING_KEY)
    root.mkdir(parents=True, exist_ok=True)
    oldest = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    for entry in os.scandir(root):
        if entry.stat(follow_symlinks=False).st_mtime < oldest:
            shutil.rmtree(entry.path, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield Path(folder)


def _timestamp(text: str) -> np.datetime64:
    import numpy as np

    return np.datetime64(text, "us")
