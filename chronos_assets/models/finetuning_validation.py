"""Validation of a model in training: wQL over windows that it is not trained on, by the forecasts it would make.

Here belongs the measuring alone; which windows are held out is `timeseries.dataset.holdout`'s. Forecasts come from
`forecasting.Forecaster` on the weights as they are, with everything that users will get: scaling, long horizons, sorted
quantiles. T5 samples 100 paths a window, thousands of times the work of the other families' one pass, so that few
windows have to do (`SAMPLED_WINDOWS`); its seeds are fixed, so that only the weights differ between two validations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chronos_assets.models.finetuning_data import FinetuningError
from chronos_assets.models.forecasting import NOT_FINITE, Forecaster
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.scoring.metrics import error_sums

SAMPLED_WINDOWS = 16
"""Windows that a family that samples is validated on, at most."""


@dataclass(frozen=True)
class ValidationWindow:
    """A forecast's question and answer.

    Attributes:
        context: (T,), NaN where nothing is known.
        actual: (horizon,), NaN where nothing was observed.
    """

    context: Floats
    actual: Floats


class Validation:
    """wQL of a forecaster over windows.

    Args:
        forecaster: around the model in training.
        windows: a flat context counts too; one that has no forecast (nothing observed of late) doesn't.

    Raises:
        FinetuningError: there is nothing to compare with.
    """

    def __init__(self, forecaster: Forecaster, windows: Sequence[ValidationWindow]) -> None:
        self._forecaster = forecaster
        self._windows = [window for window in windows if np.isfinite(window.context).any()]
        self._actual = np.array([window.actual for window in self._windows]).reshape(-1, forecaster.horizon)
        total = np.nansum(np.abs(np.where(np.isfinite(self._actual), self._actual, np.nan)))
        if not total > 0:
            raise FinetuningError(
                "the validation windows hold no observation other than 0, by which wQL is divided: give series with "
                "newer observations, or another number of validation_windows"
            )

    def __len__(self) -> int:
        return len(self._windows)

    def wql(self) -> float:
        """The wQL of the present weights: GluonTS' mean weighted quantile loss; NaN where forecasts are not finite."""
        forecast = self._forecaster.forecast([window.context for window in self._windows])
        if any(skip.reason == NOT_FINITE for skip in forecast.skipped):
            return math.nan
        skipped = [skip.index for skip in forecast.skipped]
        actual = self._actual.copy()
        actual[skipped] = np.nan
        season_errors = np.full(len(actual), np.nan)
        sums = error_sums(actual, forecast.quantiles, self._forecaster.levels, season_errors=season_errors)
        return float(sums.total().measures()["wql"].value)
