"""What is measured of forecasts, scores and runs: their results as `Measurement`s, for dashboards and alarms.

Here: which numbers, under which names. Elsewhere: where they are kept (`platforms`), or when.

A measurement is stamped with the time at which the number became known, not with the forecast's as-of: CloudWatch takes
nothing older than two weeks, and a long horizon is scored later than that. So only the newest partition is measured: a
backfill would draw the past as the present. Every partition's numbers are in the table `accuracy`, and in Dagster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from chronos_assets.pipeline.accuracy import WindowAccuracy
from chronos_assets.pipeline.forecasts import ForecastRun
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.metrics import Measurement, MetricsError
from chronos_assets.platforms.notices import Notice
from chronos_assets.timeseries.forecast.columns import quantile_level

# Metric of an accuracy report -> name of the measurement; a quantile's own, `wql_p10`, is `WQL_p10`.
SCORES = {"wql": "WQL", "rmse": "RMSE", "mase": "MASE", "wape": "WAPE"}
ITEMS = "Items"
AGE = "ForecastAge"  # days
SECONDS = "Seconds"
FAILURES = "Failures"
SUCCESSES = "Successes"


def of_scores(scored: Sequence[WindowAccuracy], known: Iterable[str], at: datetime) -> list[Measurement]:
    """The wQL overall and per quantile, RMSE, MASE and WAPE of a run's newest partition.

    Args:
        scored: what the run scored.
        known: keys of all partitions that have scores; nothing is measured if one of them is newer.
        at: when the scores became known, aware.
    """
    newest = max(scored, key=lambda window: window.key, default=None)
    if newest is None or newest.key < max(known, default=""):
        return []
    scores = {_score_name(metric): comparison.value for metric, comparison in newest.report.overall().items()}
    return [
        Measurement(name, value, at, model=newest.model) for name, value in scores.items() if name and value is not None
    ]


def _score_name(metric: str) -> str:
    """Name of the measurement of a metric; empty for one that is not measured."""
    prefix, _, quantile = metric.partition("_")
    if prefix == "wql" and quantile_level(quantile) is not None:
        return f"{SCORES['wql']}_{quantile}"
    return SCORES.get(metric, "")


def of_forecasts(made: ForecastRun, at: datetime) -> list[Measurement]:
    """Items and seconds of a run whose newest forecast became the current one; nothing of another.

    The age of the current forecast is 0 now; `forecast_age_sensor` reports how it grows.
    """
    window = next((window for window in made.windows if window.published), None)
    if window is None:
        return []
    model = str(window.manifest["model"]["reference"])
    return [
        Measurement(ITEMS, float(window.manifest["series"]), at, "Count", model),
        Measurement(SECONDS, made.seconds, at, "Seconds", model),
        Measurement(AGE, 0.0, at),
    ]


def of_age(shown: datetime, at: datetime) -> list[Measurement]:
    """How long the current forecast has been it.

    Args:
        shown: when it became the current one, aware.
        at: now, aware.
    """
    return [Measurement(AGE, max(0.0, (at - shown).total_seconds() / 86_400), at)]


def keep(group: Group, log: Any, dataset_group: str, measurements: Sequence[Measurement]) -> None:
    """Keep measurements; if that fails it is reported, and what they were measured of stands all the same."""
    try:
        group.metrics.put(dataset_group, measurements)
    except MetricsError as error:
        log.warning(f"{len(measurements)} measurements were not kept: {error}")


def send_notice(group: Group, log: Any, notice: Notice) -> bool:
    """Send a notice and count the outcome; False if it had been reported before."""
    if not group.notices.send(notice):
        return False
    keep(group, log, notice.group, of_outcome(notice))
    return True


def of_outcome(notice: Notice) -> list[Measurement]:
    """A run's end: 1 failure or 1 success, and 0 of the other, so that an alarm is over with the next success.

    A cancelled run is neither.
    """
    if notice.outcome == "canceled":
        return []
    failed = notice.outcome == "failure"
    return [
        Measurement(FAILURES, float(failed), notice.time, "Count"),
        Measurement(SUCCESSES, float(not failed), notice.time, "Count"),
    ]
