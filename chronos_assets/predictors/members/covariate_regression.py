"""A member that knows what drives demand: effects of covariates are taken out, another member forecasts what is left.

Here belongs the way from effects to quantiles; the effects are those of a `regression` that was fitted when the predictor was
learned. Where effects are factors the series is divided by them, and the forecast of the rest multiplied, bands included.

Any other member can forecast the rest: `regression/theta`, `regression/chronos`, `regression/tuned`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from chronos_assets.predictors.members.base import LEVELS, Contexts, Member
from chronos_assets.predictors.members.regression import REACH, Regression, spread
from chronos_assets.timeseries.arrays import Floats


@dataclass(frozen=True)
class CovariateRegression:
    """See the module.

    Attributes:
        name: see `Member.name`.
        regression: what gives the effects.
        base: forecasts what is left.
    """

    name: str
    regression: Regression
    base: Member

    def forecast(self, contexts: Contexts) -> Floats:
        """See `Member.forecast`; NaN for series without covariates."""
        result = np.full((len(contexts), contexts.horizon, len(LEVELS)), np.nan)
        rows = np.array([place for place, found in enumerate(contexts.covariates) if found], dtype=np.intp)
        if not len(rows):
            return result
        chosen = contexts.take(rows)
        rests, aheads = [], []
        for values, covariates in zip(chosen.values, chosen.covariates, strict=True):
            rest, ahead = self._split(
                values, self.regression.effects(covariates, min(len(values), REACH), contexts.horizon)
            )
            rests.append(rest)
            aheads.append(ahead)
        made = self.base.forecast(replace(chosen, values=rests, covariates=()))
        ahead = np.stack(aheads)[:, :, None]
        result[rows] = made * ahead if self.regression.link == "log" else made + ahead
        return result

    def _split(self, values: Floats, effects: Floats) -> tuple[Floats, Floats]:
        """What is left of the latest periods (n,), and the effects (horizon,) in the series' own units."""
        count = min(len(values), REACH)
        latest = np.asarray(values[len(values) - count :], dtype=np.float64)
        if self.regression.link == "log":
            factors = np.exp(effects)
            return latest / factors[:count], factors[count:]
        unit = spread(values)
        added = effects * (unit if np.isfinite(unit) else 0.0)
        return latest - added[:count], added[count:]
