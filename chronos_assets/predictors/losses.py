"""What weights are learned by: the error metrics that a user can ask for, window by window.

Here belongs the arithmetic of one number per window. Published accuracies are those of `timeseries.scoring.metrics`; the
names are those of Amazon Forecast's `OptimizationMetric`.

Every metric is a quotient of two sums over windows (RMSE the root of one), so that pooling adds up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_assets.params.predictor import OptimizationMetric
from chronos_assets.predictors.members.base import LEVELS, MEDIAN
from chronos_assets.timeseries.arrays import Floats

# Levels that the average weighs: the deciles, as the published benchmark does. The outermost are left to calibration.
_SCORED = np.array([round(0.1 * k, 1) for k in range(1, 10)])
_COLUMNS = np.array([LEVELS.index(level) for level in _SCORED.tolist()])


@dataclass(frozen=True)
class Actuals:
    """What was observed in N windows.

    Attributes:
        values: (N, horizon), NaN where nothing was observed.
        scale: seasonal error of each window's history, what MASE divides by, (N,); NaN where it has none.
    """

    values: Floats
    scale: Floats

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[np.intp]) -> Actuals:
        """Those of some windows."""
        return Actuals(self.values[rows], self.scale[rows])

    def denominators(self, metric: OptimizationMetric) -> Floats:
        """What each window adds to the metric's denominator, (N,)."""
        known = np.isfinite(self.values)
        if metric in ("AverageWeightedQuantileLoss", "WAPE"):
            return np.asarray(np.where(known, np.abs(self.values), 0.0).sum(axis=1))
        return np.asarray(_counted(metric, self).sum(axis=1).astype(np.float64))

    def losses(self, metric: OptimizationMetric, quantiles: Floats) -> Floats:
        """What each window's forecast (..., N, horizon, LEVELS) adds to the metric's numerator, (..., N)."""
        known = np.isfinite(self.values)
        actual = np.where(known, self.values, 0.0)
        if metric == "AverageWeightedQuantileLoss":
            error = actual[..., None] - quantiles[..., _COLUMNS]
            pinball = np.maximum(_SCORED * error, (_SCORED - 1) * error)
            return np.asarray(np.where(known, 2 * pinball.mean(axis=-1), 0.0).sum(axis=-1))
        error = np.abs(actual - quantiles[..., MEDIAN])
        counted = _counted(metric, self)
        match metric:
            case "RMSE":
                error = error**2
            case "MASE":
                error = error / np.where(self.scale > 0, self.scale, 1.0)[:, None]
            case "MAPE":
                error = error / np.where(actual != 0, np.abs(actual), 1.0)
        return np.asarray(np.where(counted, error, 0.0).sum(axis=-1))

    def value(self, metric: OptimizationMetric, quantiles: Floats) -> float:
        """The metric over all windows; NaN where its denominator is zero."""
        below = float(self.denominators(metric).sum())
        if not below > 0:
            return float("nan")
        pooled = float(self.losses(metric, quantiles).sum()) / below
        return float(np.sqrt(pooled)) if metric == "RMSE" else pooled


def _counted(metric: OptimizationMetric, actuals: Actuals) -> NDArray[np.bool_]:
    """Points that count for a metric, (N, horizon)."""
    known = np.isfinite(actuals.values)
    if metric == "MASE":
        return known & (actuals.scale > 0)[:, None]
    return known & (actuals.values != 0) if metric == "MAPE" else known
