"""Bands that hold what they say: corrections of an ensemble's quantiles from windows that its weights have not seen.

Here belong split-conformal factors (Romano, Patterson & Candès, NeurIPS 2019), in the form that scales: for each central band
the factor by which its half-widths around the median have to be multiplied so that it holds its share of the actuals.
Bands of series that are never below zero are cut off there before factors are found and applied: the lower half then can't
miss, and an upper end whose factor made up for that would be too low by far (p90 of rare sales held 83%).

Factors are by bucket of the horizon, since bands are more often too narrow far ahead, and are shrunk to 1 where few windows
tell. Periods of one window are alike, so it is windows that count, not points.

Windows count as much as they are like the forecast (Barber, Candès, Ramdas & Tibshirani, Annals of Statistics 2023). One before
which only half of the history is known needs wider bands than a forecast that knows all of it: bands of short series came out
too wide by that. And what is long ago tells less of how much a series varies now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS, MEDIAN
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.scoring.band_widths import needed_widths

BUCKETS = 3
PRIOR_WINDOWS = 30.0  # windows that a factor of 1 counts as
HISTORY_POWER = 4.0  # of the share of a series' history that a window knows, in how much it counts
AGE_FACTOR = 0.7  # by which each earlier window of a series counts less
_LEAST_SHARE = 0.05
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


def calibrate(quantiles: Floats, actuals: Actuals, likeness: Floats | None = None) -> Calibration:
    """Factors from forecasts and what came of them.

    Args:
        quantiles: (N, horizon, LEVELS), in order.
        actuals: of the N windows.
        likeness: how much each window counts, (N,), above 0; all alike if not given.
    """
    counts = np.ones(len(quantiles)) if likeness is None else likeness
    horizon = quantiles.shape[1]
    ends = _ends(horizon)
    factors = np.ones((len(ends), MEDIAN))
    start = 0
    for number, end in enumerate(ends):
        actual = actuals.values[:, start:end]
        made = quantiles[:, start:end]
        known = np.isfinite(actual) & np.isfinite(made).all(axis=2)
        windows = _effective(counts[known.any(axis=1)])
        trust = windows / (windows + PRIOR_WINDOWS)
        shares = np.broadcast_to(counts[:, None], known.shape)[known]
        median = made[:, :, MEDIAN]
        for band, (low, high) in enumerate(_bands()):
            if windows:
                needed = needed_widths(actual, made[:, :, band], median, made[:, :, len(LEVELS) - 1 - band])[known]
                found = _weighted_quantile(needed, shares, high - low)
                factors[number, band] = np.exp(trust * np.log(np.clip(found, _NARROWEST, _WIDEST)))
        start = end
    return Calibration(ends, factors)


def likeness(histories: Sequence[int], ages: Sequence[int], complete: Sequence[int]) -> Floats:
    """How much windows are like the forecast that they are to calibrate, (N,), 1 at most.

    Args:
        histories: periods known before each window.
        ages: how many later windows of the same series there are.
        complete: periods that are known of its series now.
    """
    shares = np.asarray(histories, dtype=np.float64) / np.maximum(complete, 1)
    return np.asarray(
        np.maximum(shares, _LEAST_SHARE) ** HISTORY_POWER * AGE_FACTOR ** np.asarray(ages, dtype=np.float64)
    )


def _effective(counts: Floats) -> float:
    """How many windows that count alike tell as much (Kish's effective sample size)."""
    return float(counts.sum() ** 2 / (counts**2).sum()) if len(counts) else 0.0


def _weighted_quantile(values: Floats, counts: Floats, share: float) -> float:
    """The least value that, with those below it, has a share of what all count."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    place = int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12)))
    return float(values[order[min(place, len(values) - 1)]])


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
