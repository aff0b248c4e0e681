"""Error metrics of quantile forecasts: wQL, WAPE, RMSE, MASE, MAPE, bias and coverage.

Here belongs the arithmetic only. Which points count, and which forecast meets which actual, is decided in `accuracy`.

Every metric follows from a few sums (`ErrorSums`), which add up: over points, series, shards and partitions. So an
evaluation streams, and the value of a whole is that of all its points together, not a mean of means.

The definitions are those of the Chronos paper (Ansari et al. 2024, https://arxiv.org/abs/2403.07815, appendix D), as
`gluonts.ev` computes them; tests compare the two, and reproduce published rows:

===============  ===================================================================================================
wql_pXX          2 · Σ pinball loss of the quantile / Σ |actual|
wql              mean of wql_pXX over the quantiles (GluonTS `MeanWeightedSumQuantileLoss`)
wape             Σ |actual - median| / Σ |actual| (GluonTS `ND`)
rmse             √ mean (actual - mean forecast)²; by the median where no mean was forecast
mase             mean over points of |actual - median| / season error of the point's series (GluonTS `MASE`); points of
                 a series whose season error is zero or undefined don't count
mape             mean of |actual - median| / |actual| over the points whose actual isn't zero, as a fraction
mae              mean of |actual - median|: the MAD (mean absolute deviation) of planners
bias             mean of median - actual, in the unit of the target: above zero, the forecast was too high
weighted_bias    Σ (median - actual) / Σ |actual|: the bias beside the volume, as WAPE is the error beside it
tracking_signal  Σ (median - actual) / mae: between -points and +points; ±points where every miss is on one side
coverage         share of actuals inside a central band, ends included; `coverage_80` is the band from p10 to p90
===============  ===================================================================================================

Bias and tracking signal are those of demand planning: R. G. Brown, Smoothing, Forecasting and Prediction (1963), for the
ratio of the summed errors to the MAD; S. Chopra and P. Meindl, Supply Chain Management, chapter "Demand Forecasting", for
its sign (forecast - demand) and the usual alarm beyond ±6; S. Kolassa and W. Schütz, Advantages of the MAD/Mean Ratio over
the MAPE, Foresight 6 (2007), for dividing sums by the volume. `tracking_signal` here runs over the points of the horizon.

Where the median (p50) isn't among the quantiles, the mean stands in for it; with neither, the metrics of a single
value are left out. A missing actual (NaN or infinite) is no point. A metric with no points, or with a zero denominator, is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.params.forecast import quantile_name
from chronos_assets.timeseries.arrays import Floats

Counts = NDArray[np.int64]

_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Measure:
    """A metric's value and how many points it was computed from; arrays of one shape, that of the sums."""

    value: Floats
    points: Counts


@dataclass(frozen=True)
class ErrorSums:
    """What adds up. Every array has the leading shape S: (series,) from `error_sums`, () after `total`.

    levels: quantile levels, ascending. has_mean: whether a mean was forecast.
    points (*S): actuals that count. absolute_actual, absolute_error, squared_error (*S): sums over them; error (*S): of
    forecast - actual, signed.
    quantile_loss (*S, levels): 2 · pinball loss. scaled_error, scaled_points (*S): for MASE.
    percentage_error, percentage_points (*S): for MAPE. covered (*S, bands): points inside each of `central_bands`.
    """

    levels: tuple[float, ...]
    has_mean: bool
    points: Counts
    absolute_actual: Floats
    absolute_error: Floats
    error: Floats
    squared_error: Floats
    quantile_loss: Floats
    scaled_error: Floats
    scaled_points: Counts
    percentage_error: Floats
    percentage_points: Counts
    covered: Counts

    def __add__(self, other: ErrorSums) -> ErrorSums:
        """The sums of both, entry by entry.

        Raises:
            ValueError: when they are of different quantiles.
        """
        self._check_kind(other)
        return self._map({name: array + getattr(other, name) for name, array in self._arrays().items()})

    def total(self) -> ErrorSums:
        """The sums over all series, of shape ()."""
        leading = tuple(range(self.points.ndim))
        return self._map({name: np.asarray(array.sum(axis=leading)) for name, array in self._arrays().items()})

    @staticmethod
    def concatenate(parts: Iterable[ErrorSums]) -> ErrorSums:
        """The sums of the series of all parts, one after the other.

        Raises:
            ValueError: when there are no parts.
        """
        chunks = list(parts)
        if not chunks:
            raise ValueError("there are no error sums to put together")
        for chunk in chunks[1:]:
            chunks[0]._check_kind(chunk)
        names = chunks[0]._arrays()
        return chunks[0]._map({name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in names})

    def take(self, order: NDArray[np.intp]) -> ErrorSums:
        """The sums of the series at these positions."""
        return self._map({name: array[order] for name, array in self._arrays().items()})

    def grouped(self, groups: NDArray[np.intp], count: int) -> ErrorSums:
        """The sums over the series of each group, of shape (count,); groups (series,): from 0 to count - 1."""

        def added(array: Any) -> Any:
            sums = np.zeros((count, *array.shape[1:]), dtype=array.dtype)
            np.add.at(sums, groups, array)
            return sums

        return self._map({name: added(array) for name, array in self._arrays().items()})

    def measures(self) -> dict[str, Measure]:
        """Every metric by name, in a fixed order, each of the shape S."""
        found: dict[str, Measure] = {}
        losses = _ratio(self.quantile_loss, self.absolute_actual[..., None])
        for position, level in enumerate(self.levels):
            found[f"wql_{quantile_name(level)}"] = Measure(losses[..., position], self.points)
        if self.levels:
            found["wql"] = Measure(np.asarray(losses.mean(axis=-1)), self.points)
        pointed = self.has_mean or median_position(self.levels) is not None
        if pointed:
            found["wape"] = Measure(_ratio(self.absolute_error, self.absolute_actual), self.points)
            found["rmse"] = Measure(np.sqrt(_ratio(self.squared_error, self.points)), self.points)
            found["mase"] = Measure(_ratio(self.scaled_error, self.scaled_points), self.scaled_points)
            found["mape"] = Measure(_ratio(self.percentage_error, self.percentage_points), self.percentage_points)
            mae = _ratio(self.absolute_error, self.points)
            found["mae"] = Measure(mae, self.points)
            found["bias"] = Measure(_ratio(self.error, self.points), self.points)
            found["weighted_bias"] = Measure(_ratio(self.error, self.absolute_actual), self.points)
            found["tracking_signal"] = Measure(_ratio(self.error, mae), self.points)
        for position, (name, _, _) in enumerate(central_bands(self.levels)):
            found[name] = Measure(_ratio(self.covered[..., position], self.points), self.points)
        return found

    def contribution(self, whole: ErrorSums) -> Measure:
        """Share of the absolute error of `whole` that is these sums', of the shape S; the parts of a whole add up to 1."""
        return Measure(_ratio(self.absolute_error, whole.absolute_error), self.points)

    def _arrays(self) -> dict[str, Any]:
        names = (field.name for field in fields(self) if field.name not in ("levels", "has_mean"))
        return {name: getattr(self, name) for name in names}

    def _map(self, arrays: Mapping[str, Any]) -> ErrorSums:
        return ErrorSums(levels=self.levels, has_mean=self.has_mean, **arrays)

    def _check_kind(self, other: ErrorSums) -> None:
        if (self.levels, self.has_mean) != (other.levels, other.has_mean):
            raise ValueError(
                f"errors of different forecasts don't add up: quantiles {self.levels} "
                f"and {other.levels}, mean {self.has_mean} and {other.has_mean}"
            )


def error_sums(
    actual: Floats,
    quantiles: Floats,
    levels: tuple[float, ...],
    *,
    season_errors: Floats,
    mean: Floats | None = None,
) -> ErrorSums:
    """The error sums of a batch of series.

    actual (series, steps): NaN where there is none. quantiles (series, steps, levels): the forecast at each of
    `levels`, which ascend. season_errors (series,): see `season_error`. mean (series, steps): the mean forecast.

    Raises:
        ValueError: when shapes disagree, levels don't ascend, or a forecast is NaN at a point that has an actual.
    """
    _check_shapes(actual, quantiles, levels, season_errors, mean)
    counts = np.isfinite(actual)
    known = np.where(counts, actual, 0.0)
    predicted = np.where(counts[..., None], quantiles, 0.0)
    _refuse_nan(predicted, "quantile")

    error = known[..., None] - predicted
    loss = 2 * np.abs(error * ((predicted >= known[..., None]) - np.asarray(levels)))

    expected = None if mean is None else np.where(counts, mean, 0.0)
    if expected is not None:
        _refuse_nan(expected, "mean")
    middle = median_position(levels)
    median = expected if middle is None else predicted[..., middle]
    miss = np.zeros_like(known) if median is None else median - known
    absolute = np.abs(miss)
    centre = median if expected is None else expected
    squared = np.zeros_like(known) if centre is None else np.square(known - centre)

    scaled, has_scale = _divided(absolute, np.broadcast_to(season_errors[:, None], absolute.shape), counts)
    percentage, has_percentage = _divided(absolute, np.abs(known), counts)
    inside = [
        ((predicted[..., low] <= known) & (known <= predicted[..., high]) & counts).sum(axis=1)
        for _, low, high in central_bands(levels)
    ]
    return ErrorSums(
        levels=levels,
        has_mean=mean is not None,
        points=counts.sum(axis=1),
        absolute_actual=np.abs(known).sum(axis=1),
        absolute_error=absolute.sum(axis=1),
        error=miss.sum(axis=1),
        squared_error=squared.sum(axis=1),
        quantile_loss=loss.sum(axis=1),
        scaled_error=scaled.sum(axis=1),
        scaled_points=has_scale.sum(axis=1),
        percentage_error=percentage.sum(axis=1),
        percentage_points=has_percentage.sum(axis=1),
        covered=np.stack(inside, axis=-1) if inside else np.zeros((len(actual), 0), np.int64),
    )


def season_error(history: Floats, season: int) -> float:
    """Mean |y[t] - y[t - season]| of a history (n,), over the pairs of which neither is missing; NaN without any.

    As in GluonTS, a history shorter than the season is measured with a season of 1.
    """
    lag = 1 if season > len(history) else season
    with np.errstate(invalid="ignore"):  # inf - inf: an infinite value counts as missing
        steps = np.abs(history[lag:] - history[:-lag])
    known = steps[np.isfinite(steps)]
    return float(known.mean()) if len(known) else float("nan")


def median_position(levels: tuple[float, ...]) -> int | None:
    """Index of p50 among the levels."""
    percents = [round(100 * level) for level in levels]
    return percents.index(50) if 50 in percents else None


def central_bands(levels: tuple[float, ...]) -> list[tuple[str, int, int]]:
    """The central bands that symmetric pairs of quantiles span, widest first: (name, index of low, index of high).

    (.1, .5, .9) spans one, ("coverage_80", 0, 2).
    """
    positions = {round(100 * level): position for position, level in enumerate(levels)}
    return [
        (f"coverage_{100 - 2 * low}", position, positions[100 - low])
        for low, position in sorted(positions.items())
        if low < 50 and 100 - low in positions
    ]


def _ratio(numerator: Any, denominator: Any) -> Floats:
    """Quotient, NaN where the denominator is zero."""
    below = np.broadcast_to(np.asarray(denominator, np.float64), np.shape(numerator))
    empty = np.full(np.shape(numerator), np.nan)
    return np.asarray(np.divide(numerator, below, out=empty, where=below != 0))


def _divided(absolute: Floats, scale: Floats, counts: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """|error| / scale, zero where undefined, and where it is defined: by the rule of numpy's masked division."""
    with np.errstate(invalid="ignore"):
        divisible = counts & (absolute * _TINY < scale)
    with np.errstate(over="ignore"):
        quotient = np.divide(absolute, scale, out=np.zeros_like(absolute), where=divisible)
    usable = divisible & np.isfinite(quotient)
    return np.where(usable, quotient, 0.0), usable


def _check_shapes(
    actual: Floats, quantiles: Floats, levels: tuple[float, ...], season_errors: Floats, mean: Floats | None
) -> None:
    series, steps = actual.shape
    _check_shape("quantiles", quantiles, (series, steps, len(levels)))
    _check_shape("season_errors", season_errors, (series,))
    if any(left >= right for left, right in pairwise(levels)):
        raise ValueError(f"quantile levels must ascend, not {levels}")
    if mean is not None:
        _check_shape("mean", mean, (series, steps))


def _check_shape(name: str, array: Floats, wanted: tuple[int, ...]) -> None:
    if array.shape != wanted:
        raise ValueError(f"{name} has the shape {array.shape}, where the actuals need {wanted}")


def _refuse_nan(forecast: Floats, what: str) -> None:
    if np.isnan(forecast).any():
        row = int(np.argwhere(np.isnan(forecast))[0][0])
        raise ValueError(f"a {what} forecast is NaN where there is an actual (series {row} of the batch)")
