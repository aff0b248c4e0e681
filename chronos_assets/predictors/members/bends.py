"""Regressors that bend: rectified sums of others, so that a linear regression on both follows what isn't straight.

The sums are drawn at random and only what follows from them is fitted, in closed form, as in the extreme learning machines of
Huang, Zhu & Siew (Neurocomputing 2006) and the random features of Rahimi & Recht (Advances in Neural Information Processing
Systems 2008): no search, nothing that depends on a start. A growth that returns the faster the farther it is, a level that is
left more easily than it is come back to: no straight line has these.

Here belongs the arithmetic of the regressors; what is fitted on them is in `pooled_autoregression`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chronos_assets.timeseries.arrays import Floats

BENDS = 64
_SEED = 0
_FARTHEST = 4.0  # standard deviations from the mean: beyond, nothing bends any more, and nothing grows


@dataclass(frozen=True)
class Bends:
    """See the module.

    Attributes:
        low: what each of K regressors is raised to before, (K,); high: what it is lowered to.
        slopes: of each sum, (bends, K); no bends at all where there was too little to fit them to.
    """

    low: Floats
    high: Floats
    slopes: Floats

    def __post_init__(self) -> None:
        number = len(self.low)
        if self.low.shape != (number,) or self.high.shape != (number,) or self.slopes.shape[1:] != (number,):
            raise ValueError("bends need a lowest and a highest value, and slopes, for each regressor")
        if not all(np.isfinite(values).all() for values in (self.low, self.high, self.slopes)):
            raise ValueError("bends need finite numbers")

    def __len__(self) -> int:
        return len(self.slopes)

    @classmethod
    def none(cls, regressors: int) -> Bends:
        """Of so many regressors."""
        return cls(np.zeros(regressors), np.zeros(regressors), np.zeros((0, regressors)))

    @classmethod
    def drawn(cls, regressors: Floats) -> Bends:
        """Some that lie where the regressors (K, N) do, the first of which is a constant 1."""
        number = len(regressors)
        mean, spread = regressors.mean(axis=1), regressors.std(axis=1)
        moves = spread > 0
        rng = np.random.default_rng(_SEED)
        drawn = rng.normal(size=(BENDS, number)) / np.sqrt(number)
        slopes = np.where(moves, drawn / np.where(moves, spread, 1.0), 0.0)
        slopes[:, 0] = drawn[:, 0] + rng.uniform(-1, 1, BENDS) - (slopes * mean).sum(axis=1)
        return cls(mean - _FARTHEST * spread, mean + _FARTHEST * spread, slopes)

    def of(self, regressors: Sequence[Floats]) -> Iterator[Floats]:
        """The further regressors, each of the shape of the given ones; row by row, as members compute."""
        bounded = [
            np.clip(regressor, low, high) for regressor, low, high in zip(regressors, self.low, self.high, strict=True)
        ]
        for slopes in self.slopes:
            total = np.zeros_like(bounded[0])
            for slope, regressor in zip(slopes, bounded, strict=True):
                total += slope * regressor
            yield np.maximum(total, 0.0)

    def to_document(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        return {"low": digits(self.low), "high": digits(self.high), "slopes": digits(self.slopes)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Bends:
        """The reverse of `to_document`. Raises ValueError, KeyError or TypeError where it is none."""
        low, high = (np.array(document[name], dtype=np.float64) for name in ("low", "high"))
        slopes = np.array(document["slopes"], dtype=np.float64)
        return cls(low, high, slopes.reshape(-1, len(low)) if slopes.size == 0 else slopes)


def digits(values: Floats) -> Any:
    """Numbers with as many digits as a predictor's file has."""
    return np.vectorize(lambda value: float(f"{value:.8g}"), otypes=[float])(values).tolist()
