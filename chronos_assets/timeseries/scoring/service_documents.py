"""Scores as the documents of Amazon Forecast's operations `GetAccuracyMetrics` and `ListMonitorEvaluations`.

Here belong the shapes, those of botocore's service model `forecast`. What was scored is the caller's to say; the metrics
are those of `metrics`.

https://docs.aws.amazon.com/forecast/latest/dg/API_GetAccuracyMetrics.html
https://docs.aws.amazon.com/forecast/latest/dg/API_ListMonitorEvaluations.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chronos_assets.timeseries.forecast.columns import quantile_columns, quantile_level
from chronos_assets.timeseries.scoring.backtest_export import POINT_METRICS

ARN = "arn:aws:forecast:us-east-1:000000000000"
ALGORITHM = "arn:aws:forecast:::algorithm/Chronos"
_AVERAGE = "AverageWeightedQuantileLoss"

Metrics = Mapping[str, float | None]


@dataclass(frozen=True)
class ScoredWindow:
    """The scores of a window over all series.

    Attributes:
        start: first period of the forecast; naive, in the data's clock; None: unknown.
        end: last period.
        items: series that were measured.
        metrics: by our names; None where undefined.
    """

    start: datetime | None
    end: datetime | None
    items: int
    metrics: Metrics


@dataclass(frozen=True)
class ServiceEvaluation:
    """A partition's scores, as a monitor would report them.

    Attributes:
        window: what was measured.
        partition: key; group: dataset group.
        model: that forecast; data_version: of the dataset that it was measured on.
        evaluated: when, aware; None: unknown.
        retrained: when the model began to be used, where an older evaluation is of another one; None otherwise.
    """

    window: ScoredWindow
    group: str
    partition: str
    model: str
    data_version: str
    evaluated: datetime | None
    retrained: datetime | None = None


def accuracy_document(windows: Sequence[ScoredWindow], summary: ScoredWindow | None, metric: str) -> dict[str, Any]:
    """The answer of `GetAccuracyMetrics`.

    Args:
        windows: each becomes a test window, `COMPUTED`.
        summary: becomes the test window `SUMMARY`; None: the means over the windows.
        metric: the service's name of what the predictor lowers.
    """
    whole = summary or _mean(windows)
    tests = [_test_window(whole, "SUMMARY"), *(_test_window(window, "COMPUTED") for window in windows)]
    return {
        "PredictorEvaluationResults": [{"AlgorithmArn": ALGORITHM, "TestWindows": tests}],
        "IsAutoPredictor": True,
        "OptimizationMetric": metric,
    }


def monitor_document(evaluations: Sequence[ServiceEvaluation]) -> dict[str, Any]:
    """The answer of `ListMonitorEvaluations`; the evaluations as they come, which is the newest first there."""
    return {"PredictorMonitorEvaluations": [_evaluation(one) for one in evaluations]}


def _evaluation(one: ServiceEvaluation) -> dict[str, Any]:
    predictor = f"{ARN}:predictor/{one.model}"
    named = {_AVERAGE: "wql", **{title: name for name, title in sorted(POINT_METRICS.items())}}
    results = [
        {"MetricName": title, "MetricValue": value}
        for title, name in named.items()
        if (value := one.window.metrics.get(name)) is not None
    ]
    return _without_none(
        {
            "ResourceArn": predictor,
            "MonitorArn": f"{ARN}:monitor/{one.group}",
            "EvaluationTime": _stamp(one.evaluated),
            "EvaluationState": "SUCCESS",
            "WindowStartDatetime": _stamp(one.window.start),
            "WindowEndDatetime": _stamp(one.window.end),
            "PredictorEvent": None
            if one.retrained is None
            else {"Detail": "Retrain", "Datetime": _stamp(one.retrained)},
            "MonitorDataSource": {
                "DatasetImportJobArn": f"{ARN}:dataset-import-job/{one.group}/{one.data_version[:16]}",
                "ForecastArn": f"{ARN}:forecast/{one.group}/{one.partition}",
                "PredictorArn": predictor,
            },
            "MetricResults": results,
            "NumItemsEvaluated": one.window.items,
        }
    )


def _test_window(window: ScoredWindow, kind: str) -> dict[str, Any]:
    metrics = window.metrics
    levels = quantile_columns(name.removeprefix("wql_") for name in metrics if name.startswith("wql_"))
    losses = [
        {"Quantile": quantile_level(name), "LossValue": metrics[f"wql_{name}"]}
        for name in levels
        if metrics[f"wql_{name}"] is not None
    ]
    errors = {title: metrics.get(name) for name, title in POINT_METRICS.items()}
    # Those of the median, except for RMSE, which is the mean's; of the mean where there is no median.
    kind_of_forecast = "0.5" if "p50" in levels else "mean"
    return _without_none(
        {
            "TestWindowStart": _stamp(window.start),
            "TestWindowEnd": _stamp(window.end),
            "ItemCount": window.items,
            "EvaluationType": kind,
            "Metrics": _without_none(
                {
                    "RMSE": metrics.get("rmse"),
                    "WeightedQuantileLosses": losses,
                    "ErrorMetrics": [{"ForecastType": kind_of_forecast, **_without_none(errors)}],
                    _AVERAGE: metrics.get("wql"),
                }
            ),
        }
    )


def _mean(windows: Sequence[ScoredWindow]) -> ScoredWindow:
    """The means over some windows, of what is defined in each of them."""
    metrics: dict[str, float | None] = {}
    for name in dict.fromkeys(name for window in windows for name in window.metrics):
        values = [value for window in windows if (value := window.metrics.get(name)) is not None]
        metrics[name] = sum(values) / len(values) if values else None
    starts = [window.start for window in windows if window.start is not None]
    ends = [window.end for window in windows if window.end is not None]
    items = max((window.items for window in windows), default=0)
    return ScoredWindow(min(starts, default=None), max(ends, default=None), items, metrics)


def _stamp(moment: datetime | None) -> str | None:
    """A time as botocore reads it; the data's own clock is taken for UTC, as the service took it."""
    if moment is None:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).isoformat(timespec="seconds")


def _without_none(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}
