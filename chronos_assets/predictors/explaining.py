"""What each attribute adds to a forecast, in units of the target and as a share of the largest impact.

Here: the arithmetic for one series. Elsewhere: reading and writing files (`workloads.explain`).

An impact is against the usual: the mean of the attribute's effect over the latest periods of the series. In units it is the
part of the forecast's distance from what it would be as usual; parts add up to it. As a score it is divided by the largest
impact of the series, so that it lies between -1 and 1, as Amazon Forecast's impact scores do.
"""

from __future__ import annotations

import numpy as np

from chronos_assets.predictors.members.base import Covariates, Floats
from chronos_assets.predictors.members.regression import REACH, Regression, spread

_TINY = 1e-9


def explain(regression: Regression, context: Floats, covariates: Covariates, forecast: Floats) -> tuple[Floats, Floats]:
    """Impacts (horizon, attributes) of the regression's attributes: in units of the target, and from -1 to 1.

    Args:
        regression: what the forecast's members used.
        context: values of the series up to the as-of, (T,).
        covariates: as the forecast read them.
        forecast: of the series, its mean or median, (horizon,).
    """
    parts = regression.contributions(covariates, min(len(context), REACH), len(forecast))
    if regression.link == "log":
        total = parts.sum(axis=1, keepdims=True)
        # The share of f that effects of exp(total) make up, (f - f / exp(total)) / total, which is f where there are none.
        slope = np.where(np.abs(total) > _TINY, -np.expm1(-total) / np.where(np.abs(total) > _TINY, total, 1.0), 1.0)
        units = parts * slope * forecast[:, None]
    else:
        unit = spread(context)
        units = parts * (unit if np.isfinite(unit) else 0.0)
    largest = float(np.abs(units).max(initial=0.0))
    return units, units / largest if largest > 0 else np.zeros_like(units)


def covariate_weight(weights: Floats, members: tuple[str, ...]) -> float:
    """Share of a forecast that comes from members that read covariates.

    Args:
        weights: of the members, (M,).
        members: their names.
    """
    return float(sum(weight for weight, name in zip(weights, members, strict=True) if name.startswith("regression/")))
