"""What each asset does, as functions of a `Group`: read the store, call the pure parts, run jobs, publish.

Belongs here: the order of things and where results go. Does not belong here: Dagster's decorators (`defs.assets`), what
the UI shows (`defs.metadata`), how series are read, forecast or scored.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from chronos_assets.defs.group import Group
from chronos_assets.defs.listing import is_train_file, listing_digest
from chronos_assets.defs.plan import AccuracyState, DatasetState, ForecastState
from chronos_assets.defs.plan import Imported as ImportState
from chronos_assets.defs.versions import ModelInUse, model_in_use
from chronos_assets.defs.windows import Window, window_for_key, window_of
from chronos_assets.params import ForecastParams, ParamsError, load_params, to_document
from chronos_assets.platforms.base import JobRequest, JobResult, ObjectInfo, StoreError, job_name

if TYPE_CHECKING:
    import numpy as np

    from chronos_assets.timeseries.accuracy import AccuracyReport
    from chronos_assets.timeseries.importing import ImportReport, TrainFile
    from chronos_assets.timeseries.shards import Manifest, Series

PARAMS_KEY = "params.json"
DRAFT_KEY = "params.draft.json"
TRAIN_KEY = "train"
DATASET_KEY = "dataset/target_time_series"
FORECAST_KEY = "forecast"
REJECTED_KEY = "rejected"
AS_OF = "as_of="
PROGRESS_SECONDS = 3.0
# So that instances which share a dataset get equal shares, whatever series a shard happens to hold.
SHARDS_PER_INSTANCE = 4
FETCHES = 8  # train files fetched at once from a store that isn't on this machine


def history_key(key: str) -> str:
    """Store key of the folder that holds partition `key`'s forecast."""
    return f"history/{AS_OF}{key}"


def accuracy_key(key: str) -> str:
    """Store key of the folder that holds partition `key`'s scores."""
    return f"accuracy/{AS_OF}{key}"


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
        dg.Failure: it has errors (all are named), or it can't be inferred; `params.draft.json` then has what can.
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
        header, rows = sample_rows(group.store.fetch(newest.key), newest.key)
        return infer(header, rows)
    except (InferenceError, FileProblem) as error:
        reason = f"there is no {PARAMS_KEY}, and none can be inferred from {newest.key}: {error}"
        draft = error.draft if isinstance(error, InferenceError) else None
        if draft is not None:
            group.store.put(DRAFT_KEY, (json.dumps(draft, indent=2) + "\n").encode())
            reason += f"; correct the draft {group.store.uri(DRAFT_KEY)} and save it as {PARAMS_KEY}"
        raise dg.Failure(reason) from error


def _no_train_files(group: Group) -> dg.Failure:
    return dg.Failure(
        f"no train files in {group.store.uri(TRAIN_KEY)}: put *.csv, *.csv.gz or *.parquet files there and run again"
    )


def import_dataset(group: Group, log: Any) -> Imported:
    """Import every train file and publish the dataset; on failure the one that was there stays.

    Raises:
        dg.Failure: no files, bad parameters or bad rows; the description tells which.
    """
    from chronos_assets.timeseries.importing import ImportFailure, import_target_time_series

    files = train_files(group)
    if not files:
        raise _no_train_files(group)
    params = read_params(group)
    for note in params.notes:
        log.info(f"{PARAMS_KEY}: {note}")
    log.info(f"importing {len(files)} files, {sum(info.size for info in files):,} bytes")
    with staging(group) as folder:
        staged = folder / "dataset"
        try:
            report = import_target_time_series(
                _fetch(group, files),
                params,
                output=staged,
                rejected=folder / REJECTED_KEY,
                memory_limit=group.settings.memory_limit,
                min_shards=_least_shards(group),
                progress=_throttled(log),
            )
        except ImportFailure as error:
            raise dg.Failure(str(error)) from error
        _keep_rejected(group, files, report.rejected_files)
        group.store.publish(DATASET_KEY, staged, data="part-*.parquet")
    manifest = report.manifest
    log.info(
        f"imported {report.rows_read:,} rows: {manifest.series:,} series from {manifest.first} to {manifest.last}, "
        f"{manifest.observed:,} periods observed, {manifest.filled:,} filled, {manifest.duplicates:,} duplicates "
        f"resolved, {sum(manifest.rejected.values()):,} bad rows set aside"
    )
    return Imported(report, params, listing_digest(files))


def _least_shards(group: Group) -> int:
    instances = group.settings.aws.forecast_instances
    return SHARDS_PER_INSTANCE * instances if instances > 1 else 1


def _fetch(group: Group, files: Sequence[ObjectInfo]) -> list[TrainFile]:
    """The train files on this machine."""
    from chronos_assets.timeseries.importing import TrainFile

    with ThreadPoolExecutor(FETCHES) as pool:
        paths = list(pool.map(group.store.fetch, [info.key for info in files]))
    return [TrainFile(path, info.key, info.last_modified) for path, info in zip(paths, files, strict=True)]


def _keep_rejected(group: Group, files: Sequence[ObjectInfo], rejected: Mapping[str, Path]) -> None:
    """Make `rejected/` speak of these files by their present bad rows only."""
    from chronos_assets.timeseries.bad_rows import rejected_name

    for info in files:
        key = f"{REJECTED_KEY}/{rejected_name(info.key)}"
        if info.key in rejected:
            group.store.put_file(key, rejected[info.key])
        else:
            group.store.delete(key)


def _throttled(log: Any) -> Callable[[str, float], None]:
    """Progress as log lines, few enough to read."""
    last = time.monotonic()

    def progress(what: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            log.info(f"{what}: {share:.0%}")

    return progress


def read_manifest(group: Group) -> Manifest | None:
    """Manifest of the dataset, or None if there has been no import."""
    from chronos_assets.timeseries.shards import MANIFEST, DatasetError, Manifest

    try:
        return Manifest.from_json(group.store.read(DATASET_KEY, MANIFEST))
    except FileNotFoundError as error:
        if group.store.shown(DATASET_KEY) is None:
            return None
        raise dg.Failure(
            f"there is no dataset in {group.store.uri(DATASET_KEY)}: import the train files first"
        ) from error
    except DatasetError as error:
        raise dg.Failure(str(error)) from error


def require_manifest(group: Group) -> Manifest:
    """Manifest of the dataset; `dg.Failure` if there has been no import."""
    manifest = read_manifest(group)
    if manifest is None:
        raise dg.Failure("there is no dataset yet: materialize target_time_series first")
    return manifest


def first_series(group: Group, params: ForecastParams) -> Series:
    """The first series of the dataset that has an observation: an example for people and for a new endpoint."""
    import numpy as np

    from chronos_assets.timeseries.shards import iter_series, list_shards

    require_manifest(group)
    for shard in list_shards(group.store.snapshot(DATASET_KEY)):
        for series in iter_series(shard, params.dimensions):
            if np.isfinite(series.target).any():
                return series
    raise dg.Failure("no series of the dataset has an observation")


def dataset_is_current(group: Group, instance: dg.DagsterInstance) -> bool:
    """Whether the last import saw just the train files and parameters that are there now, and its result stands."""
    imported = last_import(group, instance)
    return imported is not None and (imported.content, imported.params) == (
        listing_digest(train_files(group)),
        params_digest(group),
    )


def params_digest(group: Group) -> str:
    """Digest of what `params.json` means; of its bytes while it has errors, empty while there is none."""
    if not group.store.exists(PARAMS_KEY):
        return ""
    text = group.store.get(PARAMS_KEY)
    try:
        return load_params(text).digest
    except ParamsError:
        return f"invalid-{hashlib.sha256(text).hexdigest()}"


def last_import(group: Group, instance: dg.DagsterInstance) -> ImportState | None:
    """What the dataset that is there now was made from, by its materialization; None if that is not known."""
    event = instance.get_latest_materialization_event(group.key("target_time_series"))
    manifest = read_manifest(group)
    if event is None or event.asset_materialization is None or manifest is None:
        return None
    seen = _values(event.asset_materialization)
    if seen.get("data_version") != manifest.data_version:
        return None
    return ImportState(content=str(seen["train_digest"]), id=event.run_id, params=str(seen["params_digest"]))


def dataset_state(group: Group, instance: dg.DagsterInstance) -> DatasetState | None:
    """The dataset as `plan_new_data` wants to know it; None if there is none."""
    imported = last_import(group, instance)
    manifest = read_manifest(group)
    if imported is None or manifest is None:
        return None
    first, last = _datetime(manifest.first_timestamp), _datetime(_last_instant(read_params(group), manifest))
    return DatasetState(id=imported.id, data_version=manifest.data_version, first=first, last=last)


def _last_instant(params: ForecastParams, manifest: Manifest) -> np.datetime64:
    """When the last value is known: at its period's start as stamped; at its end where finer rows make it up."""
    import numpy as np

    if not _complete_periods(params):
        return manifest.last_timestamp
    following = params.grid.ordinal(np.array([manifest.last_timestamp])) + 1
    return params.grid.start(following)[0] - np.timedelta64(1, "us")


def _complete_periods(params: ForecastParams) -> bool:
    # A period aggregated from finer rows may hold some from after the as-of: it counts once it is over.
    return params.data_frequency != params.frequency


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
    model: ModelInUse
    facts: Mapping[str, Any]


def reading_parameters(params: ForecastParams) -> dict[str, Any]:
    """What every workload is told that reads the dataset: its grid, the columns of its keys, how gaps are filled."""
    return {
        "frequency": str(params.frequency),
        "alignment": asdict(params.alignment),
        "dimensions": list(params.dimensions),
        "filling": asdict(params.filling),
    }


def forecast_parameters(model: ModelInUse, params: ForecastParams, windows: Sequence[Window]) -> dict[str, Any]:
    """The JSON document that the forecast workload reads."""
    return {
        "model": model.label,
        "trained_until": model.trained_until,
        **reading_parameters(params),
        "horizon": params.horizon,
        "quantiles": list(params.quantiles),
        "mean": params.mean,
        "windows": [{"key": window.key, "end": window.end.isoformat()} for window in windows],
        "context_length": params.context_length,
        "batch_size": params.batch_size,
        "seed": params.seed,
        "min_observations": params.min_observations,
        "complete_periods": _complete_periods(params),
        "params_digest": params.digest,
    }


def make_forecasts(group: Group, context: dg.AssetExecutionContext, keys: Sequence[str]) -> Forecasts:
    """Forecast partitions `keys` in one job, publish each to `history/`, the newest to `forecast/` if none is newer."""
    params = read_params(group)
    require_manifest(group)
    model = model_in_use(group, params.package_group)
    context.log.info(f"model: {model.label}" + (f" ({model.note})" if model.note else ""))
    windows = [window_for_key(key, group.settings.partitions) for key in keys]
    request = JobRequest(
        workload="forecast",
        name=job_name("forecast", *group.settings.key_prefix, keys[0], keys[-1]),
        parameters=forecast_parameters(model, params, windows),
        inputs={"dataset": DATASET_KEY, **({"model": model.key} if model.key else {})},
        outputs=("forecast",),
        sharded="dataset",
    )
    with group.jobs.run(context, request) as result, staging(group) as folder:
        messages = _window_messages(result)
        manifests = {}
        for window in windows:
            staged, manifests[window.key] = _window_forecast(result, window, folder)
            group.store.publish(history_key(window.key), staged, data="forecast.parquet")
    newest = max(windows, key=lambda window: window.end)
    # A forecast of nothing takes the place of none.
    published = bool(manifests[newest.key]["series"]) and publish_current(group, params, newest)
    made = tuple(
        WindowForecast(window.key, manifests[window.key], messages[window.key], published and window == newest)
        for window in windows
    )
    # What the job read, which an import may have replaced since.
    return Forecasts(made, str(manifests[newest.key]["data_version"]), params, result.seconds, model, result.facts)


def _window_messages(result: JobResult) -> dict[str, Mapping[str, Any]]:
    """The message of each window, by its key."""
    from chronos_assets.timeseries.forecast_parts import merge_messages

    found: dict[str, list[Mapping[str, Any]]] = {}
    for message in result.messages:
        if "window" in message:
            found.setdefault(str(message["window"]), []).append(message)
    return {key: merge_messages(messages) for key, messages in found.items()}


def _window_forecast(result: JobResult, window: Window, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a window's forecast, made in `folder` of the parts where there are several, and its manifest.

    Raises:
        dg.Failure: the parts don't make up one forecast.
    """
    from chronos_assets.timeseries.forecast_parts import PartsError, merge_forecast_parts

    parts = [part / f"{AS_OF}{window.key}" for part in result.parts("forecast")]
    if len(parts) == 1:
        manifest = json.loads((parts[0] / "manifest.json").read_bytes())
        if "part" not in manifest:
            return parts[0], manifest
    merged = folder / f"{AS_OF}{window.key}"
    try:
        return merged, merge_forecast_parts(parts, merged)
    except PartsError as error:
        raise dg.Failure(f"partition {window.key}: {error}") from error


def publish_current(group: Group, params: ForecastParams, window: Window) -> bool:
    """Publish `window`'s forecast from `history/` to `forecast/`, unless a later one is there; whether it was.

    A later one gives way to that of the last observation once the data that it was made from is gone.
    """
    from chronos_assets.timeseries.export import write_forecast_csv

    source = group.store.snapshot(history_key(window.key))
    with staging(group) as folder:
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
        shown = published_manifest(group)
        gone = shown is not None and _is_withdrawn(group, shown) and window == main_windows(group, 0)[0]
        withdrawn = _end(shown) if shown is not None and gone else None
        return group.store.publish_forecast(FORECAST_KEY, staged, window.end, withdrawn=withdrawn)


def _is_withdrawn(group: Group, forecast: Mapping[str, Any]) -> bool:
    """Whether a forecast was made from observations later than any that there are now."""
    return bool(timestamp(str(forecast["context_end"])) > require_manifest(group).last_timestamp)


def stale_forecasts(group: Group, instance: dg.DagsterInstance, windows: Sequence[Window]) -> list[Window]:
    """Those of `windows` not forecast from today's dataset, parameters and model, or that Dagster doesn't know of."""
    states = forecast_states(group)
    wanted = (require_manifest(group).data_version, recipe(group))
    return [
        window
        for window in windows
        if (state := states.get(window.key)) is None
        or (state.data_version, state.recipe) != wanted
        or not latest_metadata(instance, group.key("forecasts"), window.key)
    ]


def forecast_is_shown(group: Group, key: str) -> bool:
    """Whether `forecast/` is whole and as of partition `key` or later; also where `key` has nothing to show."""
    shown = published_manifest(group)
    made = forecast_manifest(group, key)
    if not made["series"]:
        return True
    whole = all(group.store.exists(f"{FORECAST_KEY}/{name}") for name in ("forecast.csv", "forecast.parquet"))
    return shown is not None and whole and (_end(shown) == _end(made) or _is_later(group, shown, made))


def _is_later(group: Group, shown: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    return _end(shown) > _end(made) and not _is_withdrawn(group, shown)


def _end(manifest: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(manifest["window_end"])


def recipe(group: Group) -> str:
    """Digest of what a forecast would be made with now, beside the data; `dg.Failure` if that can't be read."""
    params = read_params(group)
    return f"{model_in_use(group, params.package_group).digest}:{params.digest}"


def forecast_states(group: Group) -> dict[str, ForecastState]:
    """The forecast that each partition has, by partition key; `dg.Failure` if parameters or model can't be read."""
    model = model_in_use(group, read_params(group).package_group)
    return {
        key: ForecastState(
            version=version,
            data_version=manifest["data_version"],
            recipe=f"{_as_good_as(model, manifest['model']['digest'])}:{manifest['params_digest']}",
            last_step=datetime.fromisoformat(manifest["forecast_end"]),
        )
        for key, version, manifest in _partitions(group, "history")
    }


def _as_good_as(model: ModelInUse, digest: str) -> str:
    """`digest` of the model that made a forecast, or of the one in use now where that one can't do better."""
    return model.digest if digest in model.stands_for else digest


def accuracy_states(group: Group) -> dict[str, AccuracyState]:
    """The scores that each partition has, by partition key."""
    return {
        key: AccuracyState(forecast=manifest["forecast_version"], data_version=manifest["data_version"])
        for key, _, manifest in _partitions(group, "accuracy")
    }


def live_wqls(group: Group, model: str) -> Iterator[float]:
    """wQL of each scored partition that `model` forecast without having seen later data, oldest first."""
    for _, _, manifest in _partitions(group, "accuracy"):
        if manifest.get("model") == model and not manifest["trained_on_later_data"] and manifest["wql"] is not None:
            yield float(manifest["wql"])


def _partitions(group: Group, folder: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Partition key, name of the version that is shown, and manifest of each published partition."""
    for name, version, manifest in group.store.manifests(folder):
        if name.startswith(AS_OF):
            yield name.removeprefix(AS_OF), version, manifest


# --- accuracy ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WindowAccuracy:
    """One partition's scores, and what they were computed from."""

    key: str
    report: AccuracyReport
    model: str
    data_version: str
    forecast_version: str


def score_forecasts(group: Group, log: Any, keys: Sequence[str]) -> list[WindowAccuracy]:
    """Score partitions `keys` and publish their metrics; all are checked before anything is written.

    Raises:
        dg.Failure: a partition has no forecast, or its horizon is not observed yet.
    """
    from chronos_assets.timeseries.accuracy import AccuracyError, evaluate_partition, write_metrics

    params = read_params(group)
    manifest = require_manifest(group)
    forecasts = {key: forecast_manifest(group, key) for key in keys}
    _check_scorable(group, params, manifest, forecasts)
    scored = []
    for number, (key, forecast) in enumerate(forecasts.items(), 1):
        source = group.store.snapshot(history_key(key))
        with staging(group) as folder:
            staged = folder / "accuracy"
            staged.mkdir()
            try:
                report = evaluate_partition(
                    source / "forecast.parquet",
                    group.store.snapshot(DATASET_KEY),
                    params,
                    timestamp(str(forecast["context_end"])),
                    memory_limit=group.settings.memory_limit,
                    scratch=folder,
                )
            except AccuracyError as error:
                raise dg.Failure(f"partition {key}: {error}") from error
            write_metrics(report, staged / "metrics.parquet")
            (staged / "manifest.json").write_text(
                json.dumps(
                    {
                        "forecast_version": source.name,
                        "data_version": manifest.data_version,
                        "model": forecast["model"]["reference"],
                        "trained_on_later_data": forecast["trained_on_later_data"],
                        "wql": wql.value if (wql := report.overall().get("wql")) is not None else None,
                    },
                    indent=1,
                )
                + "\n"
            )
            group.store.publish(accuracy_key(key), staged, data="metrics.parquet")
        log.info(f"scored {key} ({number} of {len(keys)}): {report.points} points")
        scored.append(
            WindowAccuracy(key, report, str(forecast["model"]["reference"]), manifest.data_version, source.name)
        )
    return scored


def published_manifest(group: Group) -> dict[str, Any] | None:
    """Manifest of the current forecast, None if none is published."""
    try:
        return json.loads(group.store.read(FORECAST_KEY, "manifest.json"))
    except FileNotFoundError:
        return None


def published_series(group: Group, most: int) -> dict[tuple[str, ...], dict[str, Any]]:
    """The first series of the current forecast: key -> column -> values (horizon,)."""
    import numpy as np
    import pyarrow.parquet as pq

    folder = group.store.snapshot(FORECAST_KEY)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    horizon, names = int(manifest["horizon"]), ["item_id", *manifest["dimensions"]]
    with pq.ParquetFile(folder / "forecast.parquet") as file:
        rows = next(file.iter_batches(batch_size=most * horizon), None)
    if rows is None:
        return {}
    found = {}
    for start in range(0, rows.num_rows, horizon):
        part = rows.slice(start, horizon)
        key = tuple(str(part.column(name)[0].as_py()) for name in names)
        found[key] = {name: np.asarray(part.column(name)) for name in manifest["columns"]}
    return found


def contexts_of(
    group: Group, manifest: Mapping[str, Any], keys: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], Any]:
    """What a forecast's model read of some of its series: key -> values (n,), NaN where nothing was known.

    Args:
        manifest: of the forecast.
        keys: of series that it forecast.
    """
    import numpy as np

    from chronos_assets.timeseries.filling import context_as_of
    from chronos_assets.timeseries.shards import iter_series, shard_name, shard_number
    from chronos_assets.timeseries.shards import read_manifest as read

    params = read_params(group)
    dataset = group.store.snapshot(DATASET_KEY)
    made = read(dataset)
    until = timestamp(str(manifest["context_end"]))
    left, found = set(keys), {}
    names = {shard_name(shard_number(key, made.n_shards)) for key in keys}
    for shard in (dataset / shard.name for shard in made.shards if shard.name in names):
        for series in iter_series(shard, params.dimensions):
            if series.key in left:
                cut = int(np.searchsorted(series.timestamps, until, side="right"))
                found[series.key] = context_as_of(series, cut, int(manifest["context_length"]), params.filling)
                left.discard(series.key)
            if not left:
                break
    if left:
        raise dg.Failure(f"{len(left)} series of the published forecast are no longer in the dataset")
    return found


def forecast_manifest(group: Group, key: str) -> dict[str, Any]:
    """Manifest of partition `key`'s forecast; `dg.Failure` if it has none."""
    try:
        return json.loads(group.store.read(history_key(key), "manifest.json"))
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

    end = timestamp(str(forecast["context_end"]))
    return is_observed(end, int(forecast["horizon"]), params.grid, manifest.last_timestamp)


def unscored_forecasts(group: Group, instance: dg.DagsterInstance, windows: Sequence[Window]) -> list[Window]:
    """Those of `windows` not scored with today's dataset and the forecast that stands, or that Dagster doesn't know of."""
    forecasts, scores = forecast_states(group), accuracy_states(group)
    data_version = require_manifest(group).data_version
    return [
        window
        for window in windows
        if (forecast := forecasts.get(window.key)) is None
        or scores.get(window.key) != AccuracyState(forecast.version, data_version)
        or not latest_metadata(instance, group.key("forecast_accuracy"), window.key)
    ]


# --- windows ----------------------------------------------------------------------------------------------------------


def end_of_windows(group: Group) -> datetime:
    """End of the last partition that exists, naive."""
    window = group.partitions.get_last_partition_window()
    if window is None:
        raise dg.Failure(f"there are no partitions yet: CHRONOS_PARTITION_START is {group.settings.partition_start}")
    return window.end.replace(tzinfo=None)


def main_windows(group: Group, backtest: int) -> tuple[Window, tuple[Window, ...]]:
    """The window that holds the last observation, and up to `backtest` windows before it with an observed horizon.

    The backtest windows are the latest whose forecasts start at different periods, oldest first; fewer (or none) when
    the data is too short for the horizon.

    Raises:
        dg.Failure: there is no dataset, or the partitions end before the data or begin after it.
    """
    import numpy as np

    params, manifest = read_params(group), require_manifest(group)
    grid, cadence = params.grid, group.settings.partitions
    latest = end_of_windows(group) - timedelta(microseconds=1)
    newest = window_of(min(_datetime(_last_instant(params, manifest)), latest), cadence)
    earliest = group.settings.partition_start_time().replace(tzinfo=None)
    if newest.start < earliest:
        raise dg.Failure(
            f"the last observation, {manifest.last}, is before the first partition: set CHRONOS_PARTITION_START "
            f"(now {group.settings.partition_start}) to a day before {manifest.first}"
        )
    if newest.end <= _datetime(manifest.first_timestamp):
        raise dg.Failure(
            f"all observations, from {manifest.first} on, are after the last partition, {newest.key}: "
            "are their dates right?"
        )
    first, last = manifest.span(grid)
    # Data may go on for centuries after the last partition, by a wrong year: no need to walk through them.
    last = min(last, int(grid.ordinal(np.array([np.datetime64(newest.end, "us")]))[0]) + params.horizon)
    found: list[Window] = []
    for k in range(last - params.horizon, first - 1, -1):
        if len(found) == backtest:
            break
        starts = grid.start(np.array([k, k + 1]))
        known = starts[1] - np.timedelta64(1, "us") if _complete_periods(params) else starts[0]
        window = window_of(_datetime(known), cadence)
        if window.start < earliest:
            break
        if _last_allowed(params, window) == k and window.end <= newest.end:
            found.append(window)
    return newest, tuple(reversed(found))


def _last_allowed(params: ForecastParams, window: Window) -> int:
    """Number of the last period that a forecast as of the window's end may read."""
    import numpy as np

    end = np.array([np.datetime64(window.end, "us")])
    return int(params.grid.last_known(end, complete=_complete_periods(params))[0])


# --- tables -----------------------------------------------------------------------------------------------------------


def refresh_tables(group: Group) -> Mapping[str, int]:
    """Bring the SQL tables up to date; rows of each."""
    params = read_params(group)
    with _memory_limit_named(group):
        return group.tables.refresh(group.store, params)


def tables_are_current(group: Group, instance: dg.DagsterInstance) -> bool:
    """Whether the SQL tables are there, and were refreshed after whatever they show was made."""
    keys = [group.key(n) for n in ("forecast_tables", "target_time_series", "forecasts", "forecast_accuracy")]
    events = [instance.get_latest_materialization_event(key) for key in keys]
    refreshed, *made = [event.timestamp if event is not None else 0.0 for event in events]
    return refreshed > 0 and refreshed >= max(made) and bool(group.tables.place(group.store))


# --- shared -----------------------------------------------------------------------------------------------------------


def place(group: Group, key: str) -> str:
    """Where an object or folder is, for people: a path on this machine, or a URL."""
    try:
        return str(group.store.local_path(key))
    except StoreError:
        return group.store.uri(key)


def latest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> dict[str, Any]:
    """Metadata values of an asset's (or partition's) latest materialization; empty if there is none."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return {}
    return _values(records[0].asset_materialization)


def _values(materialization: dg.AssetMaterialization) -> dict[str, Any]:
    return {name: value.value for name, value in materialization.metadata.items()}


@contextmanager
def staging(group: Group) -> Iterator[Path]:
    """A folder on this machine for files that are not published yet; removed at the end.

    What a killed run left is removed by the next one, after a day in which it might still be alive.
    """
    root = group.store.scratch
    oldest = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    for entry in os.scandir(root):
        if entry.stat(follow_symlinks=False).st_mtime < oldest:
            shutil.rmtree(entry.path, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=root) as folder, _memory_limit_named(group):
        yield Path(folder)


@contextmanager
def _memory_limit_named(group: Group) -> Iterator[None]:
    """DuckDB says how much memory it lacks, but not which setting of ours holds it back."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        limit = group.settings.memory_limit
        reason = str(error).splitlines()[0]
        raise dg.Failure(f"CHRONOS_MEMORY_LIMIT={limit} is too little, set it higher: {reason}") from error


def timestamp(text: str) -> np.datetime64:
    """An ISO time as the dataset's timestamps are."""
    import numpy as np

    return np.datetime64(text, "us")


def _datetime(moment: np.datetime64) -> datetime:
    return cast(datetime, moment.astype("datetime64[us]").item())
