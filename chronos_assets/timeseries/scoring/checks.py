"""Checks of a forecast's accuracy."""

from __future__ import annotations

import numpy as np

from chronos_assets.timeseries.checks import MAX_ROWS, CheckOutcome, Row
from chronos_assets.timeseries.dataset.series_keys import series_name
from chronos_assets.timeseries.scoring.accuracy import AccuracyReport

# --- accuracy ---------------------------------------------------------------------------------------------------------

_ACCURACY_FIX = """Repeating last season would have been better. One partition may be chance: look at the plot of `wql`
beside `wql_seasonal_naive` over the partitions. If it stays so:

1. The rows below are the series that lose most: look for a change of level, an outlier or a gap before the as-of.
2. Try a larger model (`CHRONOS_BASE_MODEL=amazon/chronos-bolt-small`), or the job `retrain`.
3. Without a remedy, publish seasonal naive: this check says that it is the better forecast."""


def check_accuracy(report: AccuracyReport) -> CheckOutcome:
    """Was the forecast at least as good as the seasonal naive one, by wQL (by MASE where only the mean was forecast)?

    A warning when not. Its failing rows are the series that lose most to seasonal naive by themselves. What can't be
    compared (no observed points, nothing to divide by) passes, and says so.
    """
    overall, name = report.overall(), report.baseline.name
    metric = "wql" if "wql" in overall else "mase"
    result = overall.get(metric)
    if result is None or result.value is None or result.seasonal_naive is None:
        reason = "the horizon has no observed values" if not report.points else f"{metric} is undefined there"
        return CheckOutcome(
            passed=True,
            severity="warn",
            description=f"Not compared with {name}: {reason}.",
            numbers={"points": report.points, "excluded": report.excluded},
        )
    numbers = {
        metric: result.value,
        f"{metric}_seasonal_naive": result.seasonal_naive,
        "points": report.points,
        "excluded": report.excluded,
    }
    if result.seasonal_naive:
        numbers["relative"] = result.value / result.seasonal_naive
    compared = f"{metric} {result.value:.4g} beside {result.seasonal_naive:.4g} of {name}, over {result.points} points"
    if result.value <= result.seasonal_naive:
        description = f"The forecast is at least as good as {name}: {compared}."
        return CheckOutcome(passed=True, severity="warn", description=description, numbers=numbers)
    worse, rows = _worst_series(report, metric)
    return CheckOutcome(
        passed=False,
        severity="warn",
        description=f"The forecast is worse than {name}: {compared}; {worse} of {len(report.series)} series "
        "lose by themselves.",
        failing_rows=rows,
        failing=worse,
        numbers={**numbers, "series_worse": worse},
        fix=_ACCURACY_FIX,
    )


def _worst_series(report: AccuracyReport, metric: str) -> tuple[int, tuple[Row, ...]]:
    """How many series are worse than seasonal naive, and those that add most to the difference of the whole."""
    sums = (report.forecast, report.seasonal_naive)
    loss, naive_loss = (each.quantile_loss.sum(axis=1) if metric == "wql" else each.scaled_error for each in sums)
    excess = loss - naive_loss
    order = np.argsort(-excess, kind="stable")
    worse = int((excess > 0).sum())
    order = order[: min(worse, MAX_ROWS)]
    value, naive = (each.take(order).measures()[metric].value for each in sums)
    rows = (
        {
            "series": series_name(report.series[place]),
            metric: _defined(value[rank]),
            f"{metric}_seasonal_naive": _defined(naive[rank]),
            "points": int(report.forecast.points[place]),
        }
        for rank, place in enumerate(order)
    )
    return worse, tuple(rows)


# --- shared -----------------------------------------------------------------------------------------------------------


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
