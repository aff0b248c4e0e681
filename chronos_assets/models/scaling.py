"""The scale of a context: what a network is shown of it, and the way back.

Used by forecasting and by fine-tuning, so that a network is trained on what it will be shown. Each context is
standardised in float64 outside of the model: 1e12 + sin(t) keeps its sine in float32, and 10001 beside 10000 stays what
it is (in bfloat16 both would be 9984).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Floats

_FARTHEST = 1e6


@dataclass(frozen=True)
class Scaled:
    """A context as the model will see it, and the way back: value = unit * (shift + scale * z).

    Attributes:
        values: z of the context, (T,), NaN where nothing was observed.
        unit: largest absolute value, so that neither 1e290 nor 1e-290 overflows.
        shift, scale: of the values divided by `unit`.
    """

    values: NDArray[np.float32]
    unit: float
    shift: float
    scale: float

    def apply(self, values: Floats) -> NDArray[np.float32]:
        """Other values on this context's scale, such as those that follow it, at most a million scales away."""
        with np.errstate(over="ignore"):
            z = (values / self.unit - self.shift) / self.scale
        return z.clip(-_FARTHEST, _FARTHEST).astype(np.float32)

    def place(self, value: float) -> float:
        """A value on this context's scale, in float64."""
        return (value / self.unit - self.shift) / self.scale

    def restore(self, z: Floats) -> Floats:
        """Values of the model in the series' own units."""
        return self.unit * (self.shift + self.scale * z)


def standardise(values: Floats) -> Scaled | None:
    """Zero mean and unit deviation; None if there is no scale, all observations being equal. Some must be observed."""
    low, high = np.nanmin(values), np.nanmax(values)
    if low == high:
        return None
    unit = max(abs(low), abs(high))
    shrunk = values / unit
    shift = float(np.nanmean(shrunk))
    scale = float(np.sqrt(np.nanmean((shrunk - shift) ** 2)))
    return Scaled(((shrunk - shift) / scale).astype(np.float32), float(unit), shift, scale)


def scale_only(values: Floats) -> Scaled | None:
    """Unit mean absolute value, as T5's tokenizer has it; the zero is kept, since the tokenizer's bins surround it.

    A series whose mean is above 100 deviations would fall in one or two of its bins, and is shifted to zero first.
    """
    item = standardise(values)
    if item is None:
        return None
    shrunk = values / item.unit
    shift = item.shift if abs(item.shift) > 100 * item.scale else 0.0
    scale = float(np.nanmean(np.abs(shrunk - shift)))
    return Scaled(((shrunk - shift) / scale).astype(np.float32), item.unit, shift, scale)
