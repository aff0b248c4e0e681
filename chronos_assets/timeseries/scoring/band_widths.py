"""By how much the widths of a published band would have had to be multiplied to hold what it says.

Here belongs the arithmetic, counted in bins so that it adds up over shards; what a forecast does with it is in
`pipeline.live_bands`.
The band is the published one whose levels are nearest to p10 and p90; widths are those of its halves, from the median on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.scoring.metrics import central_bands, median_position

_WANTED = 0.8
_STEPS = 16  # bins in which a multiple doubles: the answer is within 5%
_DOUBLINGS = 3
_EDGES = 2.0 ** (np.arange(-_DOUBLINGS * _STEPS, _DOUBLINGS * _STEPS + 1) / _STEPS)


@dataclass(frozen=True)
class BandWidths:
    """Points by what they need of the widths.

    Attributes:
        share: that the band is to hold; None where no band with a median was published.
        counts: points by bin of the multiple that just reaches them, (bins,).
    """

    share: float | None
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, actual: Floats, quantiles: Floats, levels: tuple[float, ...]) -> BandWidths:
        """Those of some series.

        Args:
            actual: (N, horizon), NaN where nothing was observed.
            quantiles: (N, horizon, levels), in order.
            levels: ascending.
        """
        counts = np.zeros(len(_EDGES) + 1, dtype=np.int64)
        middle, bands = median_position(levels), central_bands(levels)
        if middle is None or not bands:
            return cls(None, counts)
        _, low, high = min(bands, key=lambda band: abs(levels[band[2]] - levels[band[1]] - _WANTED))
        needed = needed_widths(actual, quantiles[..., low], quantiles[..., middle], quantiles[..., high])
        np.add.at(counts, np.searchsorted(_EDGES, needed[np.isfinite(actual)]), 1)
        return cls(float(round(levels[high] - levels[low], 9)), counts)

    @staticmethod
    def total(parts: Iterable[BandWidths]) -> BandWidths:
        """Those of all parts, of one forecast, together."""
        found = list(parts)
        return BandWidths(found[0].share, np.sum([part.counts for part in found], axis=0))

    @property
    def needed(self) -> float | None:
        """The multiple of the widths with which the band holds its share; None where nothing tells."""
        points = int(self.counts.sum())
        if self.share is None or not points:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), self.share * points))
        return float(_EDGES[min(place, len(_EDGES) - 1)])


def needed_widths(actual: Floats, low: Floats, median: Floats, high: Floats) -> Floats:
    """By what a band's half-widths have to be multiplied to reach each actual; infinite where there is no width."""
    width = np.where(actual < median, median - low, high - median)
    distance = np.abs(actual - median)
    return np.where(distance == 0, 0.0, np.where(width > 0, distance / np.where(width > 0, width, 1.0), np.inf))
