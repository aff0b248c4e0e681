"""The leaderboard of a predictor: how its members and their ensemble did in the backtest."""

from __future__ import annotations

from typing import Any

import numpy as np

from chronos_assets.params.predictor import DEFAULT_METRIC, OptimizationMetric
from chronos_assets.predictors.backtest import Backtest
from chronos_assets.predictors.calibration import coverage
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.predictor import Standing
from chronos_assets.timeseries.arrays import Floats


def leaderboard(backtest: Backtest, weights: Floats, ensemble: Floats) -> tuple[tuple[Standing, ...], dict[str, Any]]:
    """The rows, the ensemble first and members by their wQL; and the ensemble's gain over the best of them."""
    actuals = backtest.actuals
    rows = []
    for place, name in enumerate(backtest.names):
        made = backtest.forecasts[place]
        able = np.flatnonzero(np.isfinite(made).all(axis=(1, 2)))
        rate = float(backtest.speeds[place])
        standing = _standing(name, made[able], actuals.take(able), float(weights[place]), rate)
        if len(able) == len(actuals) or weights[place] > 0:
            rows.append((standing, place, len(able) == len(actuals)))
    rows.sort(key=lambda row: (row[0].wql is None, row[0].wql or 0.0))
    first = _standing("ensemble", ensemble, actuals, None, None)
    whole = [row for row in rows if row[2] and row[0].wql is not None]
    gain = _gain(whole[0][0].member, ensemble, backtest.forecasts[whole[0][1]], backtest) if whole else {}
    return (first, *(row[0] for row in rows)), gain


def _standing(name: str, made: Floats, actuals: Actuals, weight: float | None, rate: float | None) -> Standing:
    def value(metric: OptimizationMetric) -> float | None:
        found = actuals.value(metric, made) if len(actuals) else float("nan")
        return found if np.isfinite(found) else None

    covered = coverage(made, actuals) if len(actuals) else float("nan")
    return Standing(name, value(DEFAULT_METRIC), value("MASE"), covered if np.isfinite(covered) else None, weight, rate)


def _gain(member: str, ensemble: Floats, best: Floats, backtest: Backtest) -> dict[str, Any]:
    """The difference of the two wQL with its interval, by resampling items."""
    from chronos_assets.timeseries.scoring.gate import paired_bootstrap

    items = backtest.items[backtest.kept]
    scale = backtest.actuals.denominators(DEFAULT_METRIC)
    losses = [backtest.actuals.losses(DEFAULT_METRIC, made) for made in (ensemble, best)]
    numbers, places = np.unique(items, return_inverse=True)
    width = int(np.bincount(places).max())
    table = [np.full((len(numbers), width), np.nan) for _ in range(3)]
    seen = np.zeros(len(numbers), dtype=int)
    for row, place in enumerate(places):
        for target, source in zip(table, (*losses, scale), strict=True):
            target[place, seen[place]] = source[row]
        seen[place] += 1
    found = paired_bootstrap(table[0], table[1], table[2])
    return {"member": member, "value": found.value, "low": found.low, "high": found.high}
