"""The scale of a context: what a network is shown of it, and the way back.

Used by forecasting and by fine-tuning, so that a network is trained on what it will be shown. Each context is
standardised in float64 outside of the model: 1e12 + sin(t) keeps its sine in float32, and 10001 beside 10000 stays what
it is (in bfloat16 both would be 9984).
"""

from __future__ import annotations

from collections.abc import Sequence
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


def restored(items: Sequence[Scaled], z: Floats) -> Floats:
    """Values (n, ...) of the model after n contexts in the series' own units."""
    own = np.array([(item.unit, item.shift, item.scale) for item in items])
    unit, shift, scale = own.T.reshape(3, -1, *[1] * (z.ndim - 1))
    return np.asarray(unit * (shift + scale * z))


def standardise(values: Floats) -> Scaled | None:
    """Zero mean and unit deviation; None if there is no scale, all observations being equal. Some must be observed."""
    # What numpy's functions for NaN do, without their checks: these are most of the time, for one series after another.
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)
    if low == high:
        return None
    unit = max(abs(low), abs(high))
    missing = np.isnan(values)
    count = len(values) - np.count_nonzero(missing)
    shrunk = values / unit
    shift = float(np.where(missing, 0.0, shrunk).sum() / count)
    centred = shrunk - shift
    scale = float(np.sqrt(np.where(missing, 0.0, centred**2).sum() / count))
    return Scaled((centred / scale).astype(np.float32), float(unit), shift, scale)


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
