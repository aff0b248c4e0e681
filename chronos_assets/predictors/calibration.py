"""Bands that hold what they say: corrections of an ensemble's quantiles from windows that its weights have not seen.

Here belong split-conformal factors (Romano, Patterson & Candès, NeurIPS 2019), in the form that scales: for each central band
the factor by which its half-widths around the median have to be multiplied so that it holds its share of the actuals.
Bands of series that are never below zero are cut off there before factors are found and applied: the lower half then can't
miss, and an upper end whose factor made up for that would be too low by far (p90 of rare sales held 83%).

Factors are by bucket of the horizon, since bands are more often too narrow far ahead, and are shrunk to 1 where few series
tell. Periods of one window are alike, and so are windows of one series, one after another: it is series that count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS, MEDIAN
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.scoring.band_widths import needed_widths

BUCKETS = 3
PRIOR_SERIES = 10.0  # that a factor of 1 counts as
_NARROWEST, _WIDEST = 0.5, 3.0


@dataclass(frozen=True)
class Calibration:
    """Factors of the bands.

    Attributes:
        ends: last period of each bucket of the horizon, ascending.
        factors: by bucket and band, (buckets, bands): the outermost band of `LEVELS` first.
    """

    ends: tuple[int, ...]
    factors: Floats

    @classmethod
    def none(cls) -> Calibration:
        """One that changes nothing."""
        return cls((1,), np.ones((1, MEDIAN)))

    def apply(self, quantiles: Floats) -> Floats:
        """Calibrated quantiles (N, horizon, LEVELS), in order; `quantiles` have to be in order, too.

        Periods beyond the last bucket are corrected as those in it.
        """
        bucket = np.minimum(np.searchsorted(self.ends, np.arange(1, quantiles.shape[1] + 1)), len(self.ends) - 1)
        factor = np.concatenate([self.factors, np.ones((len(self.factors), 1)), self.factors[:, ::-1]], axis=1)[
            bucket
        ]  # (horizon, LEVELS)
        median = quantiles[:, :, MEDIAN][:, :, None]
        scaled = median + factor[None] * (quantiles - median)
        below = np.minimum.accumulate(scaled[:, :, MEDIAN::-1], axis=2)[:, :, ::-1]
        above = np.maximum.accumulate(scaled[:, :, MEDIAN:], axis=2)
        return np.concatenate([below, above[:, :, 1:]], axis=2)

    def widened(self, times: float) -> Calibration:
        """The same with every band so many times as wide."""
        return Calibration(self.ends, self.factors * times)

    def to_document(self) -> dict[str, Any]:
        """The factors as JSON values."""
        bands = [f"p{100 * low:g}-p{100 * high:g}" for low, high in _bands()]
        return {"ends": list(self.ends), "bands": bands, "factors": np.round(self.factors, 6).tolist()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Calibration:
        """The reverse of `to_document`. Raises ValueError, KeyError or TypeError where it is none."""
        factors = np.array(document["factors"], dtype=np.float64)
        ends = tuple(int(end) for end in document["ends"])
        if factors.shape != (len(ends), MEDIAN) or not ends or not (np.isfinite(factors) & (factors > 0)).all():
            raise ValueError(f"calibration has factors of shape {factors.shape}, not ({len(ends)}, {MEDIAN}), above 0")
        return cls(ends, factors)


def calibrate(quantiles: Floats, actuals: Actuals, series: NDArray[np.intp] | None = None) -> Calibration:
    """Factors from forecasts and what came of them.

    Args:
        quantiles: (N, horizon, LEVELS), in order.
        actuals: of the N windows.
        series: number of each window's series, (N,); each is of another one if not given.
    """
    numbers = np.arange(len(quantiles)) if series is None else series
    horizon = quantiles.shape[1]
    ends = _ends(horizon)
    factors = np.ones((len(ends), MEDIAN))
    start = 0
    for number, end in enumerate(ends):
        actual = actuals.values[:, start:end]
        made = quantiles[:, start:end]
        known = np.isfinite(actual) & np.isfinite(made).all(axis=2)
        told = len(np.unique(numbers[known.any(axis=1)]))
        trust = told / (told + PRIOR_SERIES)
        median = made[:, :, MEDIAN]
        for band, (low, high) in enumerate(_bands()):
            if told:
                needed = needed_widths(actual, made[:, :, band], median, made[:, :, len(LEVELS) - 1 - band])[known]
                found = np.quantile(needed, high - low, method="inverted_cdf")
                factors[number, band] = np.exp(trust * np.log(np.clip(found, _NARROWEST, _WIDEST)))
        start = end
    return Calibration(ends, factors)


def _bands() -> list[tuple[float, float]]:
    return [(LEVELS[place], LEVELS[len(LEVELS) - 1 - place]) for place in range(MEDIAN)]


def _ends(horizon: int) -> tuple[int, ...]:
    count = min(BUCKETS, horizon)
    return tuple(round(horizon * (number + 1) / count) for number in range(count))


def coverage(quantiles: Floats, actuals: Actuals, levels: Sequence[float] = (0.1, 0.9)) -> float:
    """Share of the actuals inside the band between two of `LEVELS`; NaN without any."""
    low, high = (quantiles[:, :, LEVELS.index(level)] for level in levels)
    known = np.isfinite(actuals.values) & np.isfinite(low)
    inside = (low <= actuals.values) & (actuals.values <= high) & known
    return float(inside.sum() / known.sum()) if known.any() else float("nan")
