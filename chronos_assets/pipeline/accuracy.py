"""Scoring published forecasts once their horizon is observed.

Here: which windows are due, and their reports. Elsewhere: the metrics (`timeseries.scoring`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.covariates import item_categories
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.forecast_states import forecast_states
from chronos_assets.pipeline.forecast_windows import main_windows
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.levels import levels_to_score
from chronos_assets.pipeline.live_bands import live_document
from chronos_assets.pipeline.materializations import latest_metadata
from chronos_assets.pipeline.moments import timestamp
from chronos_assets.pipeline.published import forecast_manifest
from chronos_assets.pipeline.shown_dataset import ShownDataset
from chronos_assets.pipeline.staging import staging
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.forecasts import AccuracyState
from chronos_assets.planning.windows import Window
from chronos_assets.platforms.store import published_partitions
from chronos_assets.store_layout import accuracy_key, anomalies_key, history_key
from chronos_assets.system import write_json
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.published_files import FORECAST, MANIFEST, METRICS
from chronos_assets.timeseries.scoring.accuracy import AccuracyError, AccuracyReport, evaluate_partition, is_observed
from chronos_assets.timeseries.scoring.anomalies import write_anomalies
from chronos_assets.timeseries.scoring.metrics_file import write_metrics
from chronos_assets.wording import first_of


def accuracy_states(group: Group) -> dict[str, AccuracyState]:
    """The scores that each partition has, by partition key."""
    return {
        key: AccuracyState(forecast=manifest["forecast_version"], data_version=manifest["data_version"])
        for key, _, manifest in published_partitions(group.store, "accuracy")
    }


def live_wqls(group: Group, model: str) -> Iterator[tuple[float, float | None]]:
    """The wQL of each scored partition that `model` forecast without having seen later data, oldest first.

    Beside it that of the seasonal naive forecast; None where an older version scored the partition.
    """
    for _, _, manifest in published_partitions(group.store, "accuracy"):
        if manifest.get("model") == model and not manifest["trained_on_later_data"] and manifest["wql"] is not None:
            naive = manifest.get("naive_wql")
            yield float(manifest["wql"]), None if naive is None else float(naive)


# --- accuracy ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WindowAccuracy:
    """One partition's scores, and what they were computed from; `rows` of metrics."""

    key: str
    report: AccuracyReport
    model: str
    data_version: str
    forecast_version: str
    rows: int


def score_forecasts(state: GroupState, log: Any, keys: Sequence[str]) -> list[WindowAccuracy]:
    """Score partitions `keys` and publish their metrics and anomalies; all are checked before anything is written.

    Raises:
        ChronosAssetsError: a partition has no forecast, or its horizon is not observed yet.
    """
    group = state.group
    params = state.params
    state.require_manifest()
    # One version for all partitions, and for what is noted beside their scores.
    dataset = ShownDataset.of(group)
    manifest = dataset.manifest
    forecasts = {key: forecast_manifest(group, key) for key in keys}
    _check_scorable(state, manifest, forecasts)
    categories = item_categories(group) if state.metadata_manifest is not None else {}
    scored = []
    for number, (key, forecast) in enumerate(forecasts.items(), 1):
        source = group.store.snapshot(history_key(key))
        with staging(group) as folder:
            staged = folder / "accuracy"
            staged.mkdir()
            try:
                report = evaluate_partition(
                    source / FORECAST,
                    dataset,
                    params,
                    timestamp(str(forecast["context_end"])),
                    sums=levels_to_score(state, key, source, log),
                    memory_limit=group.settings.memory_limit,
                    scratch=folder,
                )
            except AccuracyError as error:
                raise StepError(f"partition {key}: {error}") from error
            _publish_anomalies(group, key, report, folder / "anomalies")
            rows = write_metrics(report, staged / METRICS, categories)
            made_from = {"forecast_version": source.name, "data_version": manifest.data_version}
            document = made_from | _scores_document(forecast, report)
            write_json(staged / MANIFEST, document)
            group.store.publish(accuracy_key(key), staged, data=METRICS)
        log.info(f"scored {key} ({number} of {len(keys)}): {report.points} points")
        scored.append(
            WindowAccuracy(key, report, str(forecast["model"]["reference"]), manifest.data_version, source.name, rows)
        )
    return scored


def _scores_document(forecast: Mapping[str, Any], report: AccuracyReport) -> dict[str, Any]:
    """What the manifest of a partition's scores says of them; `forecast` is that of its forecast."""
    overall = report.overall()
    wql = overall.get("wql")
    return {
        "model": forecast["model"]["reference"],
        "trained_on_later_data": forecast["trained_on_later_data"],
        "series": report.measured_series,
        "wql": None if wql is None else wql.value,
        "metrics": {name: one.value for name, one in overall.items()},
        "naive_wql": None if wql is None else wql.seasonal_naive,
        "baseline": report.baseline.to_document(),
        "live": live_document(forecast, report),
    }


def _publish_anomalies(group: Group, key: str, report: AccuracyReport, staged: Path) -> None:
    """Publish a partition's anomalies: before its scores, which say that both are there."""
    staged.mkdir()
    path = staged / "anomalies.parquet"
    count = write_anomalies(report.anomalies, report.series, report.timestamps, report.dimensions, path)
    write_json(staged / MANIFEST, {"anomalies": count, "dimensions": list(report.dimensions)})
    group.store.publish(anomalies_key(key), staged, data=path.name)


def _check_scorable(state: GroupState, manifest: Manifest, forecasts: Mapping[str, Mapping[str, Any]]) -> None:
    late = [key for key, forecast in forecasts.items() if not _is_observed(state.params, manifest, forecast)]
    if late:
        _, observed = main_windows(state, 1)
        until = f"the last that can be scored is {observed[-1].key}" if observed else "none can be scored yet"
        raise StepError(
            f"the horizon of {first_of(late, 5)} ends after the last observation "
            f"({manifest.last}): {until}; nothing was written"
        )


def _is_observed(params: ForecastParams, manifest: Manifest, forecast: Mapping[str, Any]) -> bool:
    end = timestamp(str(forecast["context_end"]))
    return is_observed(end, int(forecast["horizon"]), params.grid, manifest.last_timestamp)


def scorable(state: GroupState, windows: Sequence[Window]) -> list[Window]:
    """Those of `windows` whose forecast has a horizon that is observed."""
    params, manifest = state.params, state.require_manifest()
    return [window for window in windows if _is_observed(params, manifest, forecast_manifest(state.group, window.key))]


def unscored_forecasts(state: GroupState, instance: dg.DagsterInstance, windows: Sequence[Window]) -> list[Window]:
    """Those of `windows` not scored with today's dataset and the forecast that stands, or that Dagster doesn't know of."""
    group = state.group
    forecasts, scores = forecast_states(state), accuracy_states(group)
    data_version = state.require_manifest().data_version
    return [
        window
        for window in windows
        if (forecast := forecasts.get(window.key)) is None
        or scores.get(window.key) != AccuracyState(forecast.version, data_version)
        or not latest_metadata(instance, group.key("forecast_accuracy"), window.key)
    ]
