"""Series in logarithms: growth by so many percent becomes a straight line, a season that is a factor an addend.

Here belongs the way there and back, for panels of many series at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_assets.predictors.members.base import Panel, row_sum, taken
from chronos_assets.timeseries.arrays import Booleans, Floats, Integers

# In logarithms, how far a series may rise above its largest value: so much, and so many times its trend, but its range at most.
_MOST_RISE, _MOST_GROWTH = 1.0, 2.0
_DOUBT = 12  # steps: of so many the range is believed by half, of fewer by less


@dataclass(frozen=True)
class Logarithms:
    """A panel whose positive series are in logarithms.

    Attributes:
        panel: of them, less the largest of each: none is above 0, so that its season is an addend whatever the unit of the
            series; the other series are as they were.
        positive: which series those are, (n,).
        largest: logarithms that were taken off, (n,).
    """

    panel: Panel
    positive: Booleans
    largest: Floats

    @classmethod
    def of(cls, panel: Panel) -> Logarithms:
        """The panel's."""
        return panel.once(cls._of)

    @classmethod
    def _of(cls, panel: Panel) -> Logarithms:
        positive = np.asarray(panel.values.min(axis=1) > 0)
        logarithms = np.log(np.where(positive[:, None], panel.values, 1.0))
        largest = logarithms.max(axis=1)
        values = np.where(positive[:, None], logarithms - largest[:, None], panel.values)
        return cls(Panel(panel.rows, values, panel.first, panel.observed), positive, largest)

    def take(self, kept: NDArray[np.intp]) -> Logarithms:
        """The same of some of the rows."""
        return Logarithms(self.panel.take(kept), taken(self.positive, kept), taken(self.largest, kept))

    def restore(self, quantiles: Floats) -> Floats:
        """Quantiles (n, horizon, Q) of the series themselves, in which growth is bounded."""
        ahead = np.arange(quantiles.shape[1]) + 1
        growth = _MOST_GROWTH * np.maximum(self._trend, 0.0)[:, None] * ahead
        periods = self.panel.lengths - 1
        believed = periods / (periods + _DOUBT)  # a few values that double say little of how long they will
        spread = np.where(self.positive, -self.panel.values.min(axis=1), 0.0) * believed
        most = _MOST_RISE + np.minimum(growth, spread[:, None])
        grown = np.exp(np.minimum(quantiles, most[:, :, None]) + self.largest[:, None, None])
        return np.where(self.positive[:, None, None], grown, quantiles)

    @property
    def _trend(self) -> Floats:
        """By how much each series grows per period at least, (n,): up to its middle third, from there on, and within its last.

        Of those not in logarithms 0. Small values among large ones are no growth, as wide as they make the range, and neither
        are a leap at the end and a beginning that is long over.
        """
        lengths = self.panel.lengths
        third = np.maximum(lengths // 3, 1)
        half = np.maximum(third // 2, 1)

        def mean(start: Integers, end: Integers) -> Floats:
            """Of the values between so many periods after the first."""
            chosen = (place >= start[:, None]) & (place < end[:, None])
            return np.asarray(row_sum(np.where(chosen, self.panel.values, 0.0)) / np.maximum(end - start, 1))

        place = np.arange(self.panel.width) - self.panel.first[:, None]
        last = lengths - third
        early, middle, late = mean(0 * third, third), mean(third, last), mean(last, lengths)
        rise = 2 * np.minimum(middle - early, late - middle) / np.maximum(last, 1)
        of_late = (mean(lengths - half, lengths) - mean(last, last + half)) / np.maximum(third - half, 1)
        rise = np.where(third > 1, np.minimum(rise, of_late), rise)
        return np.where(self.positive & (lengths > 2), rise, 0.0)
