"""The exports that Amazon Forecast's users read: backtests and monitor results, made of what is published.

Here: which partitions they show, when they are made again, where they go. Elsewhere: what is in the files
(`timeseries.scoring.backtest_export`, `service_documents`), the current forecast's export (`pipeline.current_forecast`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import numpy as np

from chronos_assets.partition_folders import places
from chronos_assets.pipeline.moments import timestamp
from chronos_assets.pipeline.shown_dataset import ShownDataset
from chronos_assets.pipeline.staging import staging
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.store import published_partitions
from chronos_assets.store_layout import BACKTEST_KEY, MONITOR_KEY, accuracy_key, history_key
from chronos_assets.system import document_digest, write_json
from chronos_assets.timeseries.published_files import FORECAST, MANIFEST, METRICS
from chronos_assets.timeseries.scoring.backtest_export import BacktestWindow, write_backtest_export
from chronos_assets.timeseries.scoring.service_documents import (
    ScoredWindow,
    ServiceEvaluation,
    accuracy_document,
    monitor_document,
)

ACCURACY_FILE, EVALUATIONS_FILE = "accuracy-metrics.json", "evaluations.json"
MOST_EVALUATIONS = 100  # the newest; a job that polls reads what is new
_MADE_FROM = "made_from"

_Window = TypeVar("_Window")
_write = partial(write_json, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class _Scored:
    """A partition with a forecast and scores of it.

    Attributes:
        key: of the partition.
        forecast: manifest of the forecast; scores: of the scores.
        version: of the forecast and of the scores, as they are shown.
        first: number of the forecast's first period on the grid.
    """

    key: str
    forecast: Mapping[str, Any]
    scores: Mapping[str, Any]
    version: tuple[str, str]
    first: int


def publish_exports(state: GroupState) -> tuple[str, ...]:
    """Bring the exports up to date; keys of those that were made again.

    An export of nothing is not made: there are none before a partition is scored.
    """
    scored = _scored_partitions(state)
    windows = backtest_partitions(state, scored)
    made = []
    if windows and _is_due(state, BACKTEST_KEY, windows):
        _publish_backtest(state, windows)
        made.append(BACKTEST_KEY)
    latest = sorted(scored, key=lambda one: (one.first, one.key), reverse=True)[:MOST_EVALUATIONS]
    if latest and _is_due(state, MONITOR_KEY, latest):
        _publish_monitor(state, latest)
        made.append(MONITOR_KEY)
    return tuple(made)


def backtest_partitions(state: GroupState, scored: list[_Scored]) -> list[_Scored]:
    """The partitions of the backtest export, oldest first: for each of its windows the latest that starts early enough.

    The n-th window starts n times the offset before the end of the data, or where partitions don't end there, as little
    before that as possible. There are fewer windows where no partition that is old enough has been scored.
    """
    newest_first = sorted(scored, key=lambda one: (one.first, one.key), reverse=True)
    return windows_of_backtest(state, ((one.first - 1, one) for one in newest_first))


def windows_of_backtest(state: GroupState, newest_first: Iterable[tuple[int, _Window]]) -> list[_Window]:
    """Those of the windows, each beside the number of its last observed period, of a backtest, oldest first."""
    params = state.params
    _, last = state.require_manifest().span(params.grid)
    offset = params.backtest.offset or params.horizon
    due = [last - number * offset for number in range(1, params.backtest.windows + 1)]
    found: list[_Window] = []
    for observed, window in newest_first:
        if len(found) < len(due) and observed <= due[len(found)]:
            found.append(window)
        if len(found) == len(due):
            break
    return found[::-1]


def _scored_partitions(state: GroupState) -> list[_Scored]:
    """Partitions whose scores are those of the forecast that stands, of today's frequency and dimensions."""
    group, params = state.group, state.params
    forecasts = {key: (version, manifest) for key, version, manifest in published_partitions(group.store, "history")}
    kind = (str(params.frequency), list(params.dimensions))
    found = []
    for key, version, scores in published_partitions(group.store, "accuracy"):
        made, forecast = forecasts.get(key, ("", {}))
        if scores.get("forecast_version") == made and (forecast["frequency"], forecast["dimensions"]) == kind:
            first = params.grid.number_of(timestamp(forecast["forecast_start"]))
            found.append(_Scored(key, forecast, scores, (made, version), first))
    return found


def _is_due(state: GroupState, key: str, partitions: list[_Scored]) -> bool:
    """Whether an export is missing, or of other partitions, data or parameters."""
    try:
        shown = json.loads(state.group.store.read(key, MANIFEST))
    except (FileNotFoundError, ValueError):
        return True
    return not isinstance(shown, dict) or shown.get(_MADE_FROM) != _lineage(state, partitions)


def _lineage(state: GroupState, partitions: list[_Scored]) -> str:
    parts = [
        state.require_manifest().data_version,
        state.params.digest,
        [[one.key, *one.version] for one in partitions],
    ]
    return document_digest(parts)


def _publish_backtest(state: GroupState, partitions: list[_Scored]) -> None:
    group, params = state.group, state.params
    windows = [_window(state, one) for one in partitions]
    # The service put the time of the export there; ours is the same whenever it is made.
    stem = f"{params.dataset_group}_{state.require_manifest().last.replace(':', '-')}Z"
    with staging(group) as folder:
        staged = folder / "backtest"
        staged.mkdir()
        rows = write_backtest_export(
            staged,
            windows,
            ShownDataset.of(group),
            params,
            stem,
            memory_limit=group.settings.memory_limit,
        )
        scores = [_scores(state, one) for one in partitions]
        _write(staged / ACCURACY_FILE, accuracy_document(scores, None, params.predictor.metric))
        named = {"partitions": [one.key for one in partitions], "rows": rows}
        _write(staged / MANIFEST, {_MADE_FROM: _lineage(state, partitions), **named})
        group.store.publish(BACKTEST_KEY, staged)


def _publish_monitor(state: GroupState, partitions: list[_Scored]) -> None:
    group = state.group
    evaluations = [
        _evaluation(state, one, older) for one, older in zip(partitions, [*partitions[1:], None], strict=True)
    ]
    with staging(group) as folder:
        staged = folder / "monitor"
        staged.mkdir()
        _write(staged / EVALUATIONS_FILE, monitor_document(evaluations))
        _write(staged / MANIFEST, {_MADE_FROM: _lineage(state, partitions)})
        group.store.publish(MONITOR_KEY, staged)


def _evaluation(state: GroupState, one: _Scored, older: _Scored | None) -> ServiceEvaluation:
    group, model = state.group, str(one.scores["model"])
    heads = (group.store.head(f"{place}/metrics.parquet") for place in places(accuracy_key(one.key)))
    head = next((found for found in heads if found is not None), None)
    retrained = older is not None and str(older.scores["model"]) != model
    return ServiceEvaluation(
        window=_scores(state, one),
        group=state.params.dataset_group,
        partition=one.key,
        model=model,
        data_version=str(one.scores["data_version"]),
        evaluated=head.last_modified if head is not None else None,
        retrained=datetime.fromisoformat(one.forecast["window_end"]) if retrained else None,
    )


def _window(state: GroupState, one: _Scored) -> BacktestWindow:
    store = state.group.store
    return BacktestWindow(
        store.snapshot(history_key(one.key)) / FORECAST,
        store.snapshot(accuracy_key(one.key)) / METRICS,
        np.datetime64(one.forecast["forecast_start"], "us"),
        np.datetime64(one.forecast["forecast_end"], "us"),
    )


def _scores(state: GroupState, one: _Scored) -> ScoredWindow:
    """A partition's scores over all series."""
    start, end = (datetime.fromisoformat(one.forecast[name]) for name in ("forecast_start", "forecast_end"))
    metrics = one.scores.get("metrics") or _read_metrics(state, one)
    return ScoredWindow(start, end, int(one.scores.get("series", one.forecast["series"])), metrics)


def _read_metrics(state: GroupState, one: _Scored) -> dict[str, float | None]:
    """Metrics over all series of a partition that was scored before its manifest had them."""
    import pyarrow.parquet as pq

    path = state.group.store.snapshot(accuracy_key(one.key)) / METRICS
    filters = [("level", "==", "all")]
    table = pq.read_table(path, columns=["metric", "value"], filters=filters, partitioning=None).to_pydict()
    return dict(zip(table["metric"], table["value"], strict=True))
