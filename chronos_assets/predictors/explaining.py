"""What each attribute adds to a forecast, in units of the target and as a share of the largest impact.

Here: the arithmetic for some series. Elsewhere: reading and writing files (`workloads.explain`).

An impact is against the usual. Of a regression on covariates that is the mean of the attribute's effect over the latest periods
of the series, and impacts add up to the forecast's distance from what it would be as usual. Of a network that reads covariates
it is found by ablation: the network's median, less its median with the attribute as usual ahead, at its mean of the context or
its most frequent category; a past-only attribute is left out. As a score an impact is divided by the largest of the series, so
that it lies between -1 and 1, as Amazon Forecast's impact scores do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.predictors.members.base import MEDIAN, Contexts, Covariates, Member
from chronos_assets.predictors.members.catalogue import reads_covariates, reads_natively, residual_of
from chronos_assets.predictors.members.covariate_chronos import readable
from chronos_assets.predictors.members.regression import REACH, Regression, spread
from chronos_assets.predictors.predictor import Key, Predictor
from chronos_assets.timeseries.arrays import Floats

_TINY = 1e-9


@dataclass(frozen=True)
class Explainer:
    """What explains the forecasts of a predictor.

    Attributes:
        predictor: that made them.
        natives: those of its members that are networks which read covariates.
        attributes: that are explained, in order.
    """

    predictor: Predictor
    natives: tuple[Member, ...]
    attributes: tuple[str, ...]

    @classmethod
    def of(cls, predictor: Predictor, members: Sequence[Member], covariates: Sequence[Covariates]) -> Explainer:
        """The explainer of a predictor.

        Args:
            predictor: that made the forecasts.
            members: made ready, those of networks that read covariates at least.
            covariates: of some series, which name the attributes that networks read.
        """
        natives = tuple(member for member in members if reads_natively(member.name))
        names = {name for found in covariates for name in readable(found)} if natives else set()
        regression = predictor.regression
        return cls(predictor, natives, tuple(sorted(names | set(regression.attributes if regression else ()))))

    def explain(
        self, contexts: Contexts, keys: Sequence[Key], forecasts: Floats, traits: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Impacts (N, horizon, attributes) in units of the target, and the weight (N,) of what reads covariates.

        Args:
            contexts: with the covariates that the forecasts read.
            keys: of the series.
            forecasts: of the series, their means or medians, (N, horizon).
            traits: that the weights of the forecasts followed from, (N, traits); contexts may be shorter than theirs were.
        """
        weights = self.predictor.weights_of_series(keys, traits)
        members = self.predictor.members
        shares = {name: weights[:, place] for place, name in enumerate(members) if reads_covariates(name)}
        total = np.sum([*shares.values()], axis=0)
        units = np.zeros((*forecasts.shape, len(self.attributes)))
        by_regression = np.sum([share for name, share in shares.items() if residual_of(name)] or [0 * total], axis=0)
        if self.predictor.regression is not None:
            places = [self.attributes.index(name) for name in self.predictor.regression.attributes]
            for row, (context, covariates) in enumerate(zip(contexts.values, contexts.covariates, strict=True)):
                found = regression_impacts(self.predictor.regression, context, covariates, forecasts[row])
                units[row][:, places] += by_regression[row] * found
        for member in self.natives:
            units += shares[member.name][:, None, None] * ablation_impacts(member, contexts, self.attributes)
        return units / np.where(total > 0, total, 1.0)[:, None, None], total


def scores(units: Floats) -> Floats:
    """Impacts of one series (horizon, attributes) from -1 to 1."""
    largest = float(np.abs(units).max(initial=0.0))
    return units / largest if largest > 0 else np.zeros_like(units)


def regression_impacts(regression: Regression, context: Floats, covariates: Covariates, forecast: Floats) -> Floats:
    """Impacts (horizon, attributes) of a regression's attributes in units of the target, of one series.

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
        return np.asarray(parts * slope * forecast[:, None])
    unit = spread(context)
    return np.asarray(parts * (unit if np.isfinite(unit) else 0.0))


def ablation_impacts(member: Member, contexts: Contexts, attributes: Sequence[str]) -> Floats:
    """Impacts (N, horizon, attributes) of what a network reads, in units of the target; 0 of other attributes.

    Args:
        member: the network.
        contexts: with covariates.
        attributes: of which impacts are wanted.
    """
    units = np.zeros((len(contexts), contexts.horizon, len(attributes)))
    whole = member.forecast(contexts)[:, :, MEDIAN]
    for place, name in enumerate(attributes):
        rows = np.array(
            [row for row, found in enumerate(contexts.covariates) if name in readable(found)], dtype=np.intp
        )
        if len(rows):
            part = contexts.take(rows)
            usual = [_as_usual(found, name) for found in part.covariates]
            units[rows, :, place] = whole[rows] - member.forecast(replace(part, covariates=usual))[:, :, MEDIAN]
    return units


def _as_usual(covariates: Covariates, name: str) -> Covariates:
    """The same with one attribute as it usually is in the periods to forecast; without it where it is past-only."""
    if name in covariates.past:
        return replace(covariates, past={other: covariates.past[other] for other in covariates.past if other != name})
    values = np.array(covariates.known[name])
    values[covariates.periods :] = _usual(values[: covariates.periods])
    return replace(covariates, known={**covariates.known, name: values})


def _usual(values: NDArray[Any]) -> float | str:
    """The mean of numbers, the most frequent of texts."""
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        return float(finite.mean()) if len(finite) else float("nan")
    texts, counts = np.unique(values, return_counts=True)
    return str(texts[counts.argmax()]) if len(texts) else ""


def covariate_weight(predictor: Predictor) -> float:
    """Share of forecasts that comes from members that read covariates, by the pooled weights."""
    shares = zip(predictor.weights.tolist(), predictor.members, strict=True)
    return float(sum(weight for weight, name in shares if reads_covariates(name)))
