"""Series in logarithms: growth by so many percent becomes a straight line, a season that is a factor an addend.

Here belongs the way there and back, for panels of many series at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chronos_assets.predictors.members.base import Panel
from chronos_assets.timeseries.arrays import Booleans, Floats

_MOST_GROWTH = 2.0  # times the range of a series, in logarithms, that it may rise above its largest value


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
        positive = np.asarray(panel.values.min(axis=1) > 0)
        logarithms = np.log(np.where(positive[:, None], panel.values, 1.0))
        largest = logarithms.max(axis=1)
        values = np.where(positive[:, None], logarithms - largest[:, None], panel.values)
        return cls(Panel(panel.rows, values, panel.first, panel.observed), positive, largest)

    def restore(self, quantiles: Floats) -> Floats:
        """Quantiles (n, horizon, Q) of the series themselves, in which growth is bounded."""
        most = 1 - _MOST_GROWTH * np.where(self.positive, self.panel.values.min(axis=1), 0.0)
        grown = np.exp(np.minimum(quantiles, most[:, None, None]) + self.largest[:, None, None])
        return np.where(self.positive[:, None, None], grown, quantiles)
