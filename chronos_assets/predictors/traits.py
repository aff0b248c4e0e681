"""Weights by what a series looks like: how its length, roughness, drift, season and zeros change which member is good at it.

Here belong the traits of a history, and the regression of the members' relative losses on them. Only some series are
backtested, where there are many; but traits are known of every series, so that all of them profit from what was learned of
those (Montero-Manso et al., International Journal of Forecasting 2020, have it learned of other data sets).

A ridge regression over the windows says by how much each member's loss is expected to be above or below the typical one's.
It counts as much as its traits tell: with few windows next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.predictors import selection
from chronos_assets.timeseries.arrays import Floats

NAMES = ("length", "roughness", "step_correlation", "drift", "season_correlation", "zeros")
RIDGE = 150.0  # windows that say that traits don't matter
LEAST_ITEMS = 20
_LONGEST = 2048  # latest observations that are looked at
_SHORTEST = 4
_FARTHEST = 3.0  # standard deviations from the typical series that are believed
_DIGITS = 6
_ROUGHEST, _SMOOTHEST, _MOST_DRIFT = 4.0, -5.0, 10.0
_TINY = 1e-12


@dataclass(frozen=True)
class TraitEffects:
    """By how much weights change with traits.

    Attributes:
        centre, spread: of the traits of the windows that it was learned from, (traits,).
        effects: by how much the logarithm of a member's weight falls with each standard deviation of a trait, (traits, M).
    """

    centre: Floats
    spread: Floats
    effects: Floats

    def tilts(self, traits: Floats) -> Floats:
        """By how much the logarithms of the weights fall, (N, M), of series with some traits (N, traits), NaN where unknown."""
        scores = np.clip((traits - self.centre) / self.spread, -_FARTHEST, _FARTHEST)
        # Sum by sum: a product of matrices would depend on the rows beside.
        parts = [score[:, None] * effect for score, effect in zip(np.nan_to_num(scores).T, self.effects, strict=True)]
        return np.asarray(sum(parts, np.zeros((len(traits), self.effects.shape[1]))))

    def expected(self, traits: Floats) -> Floats:
        """What traits (N, traits) say of windows' `selection.relative_logs`, (M, N)."""
        return np.asarray(self.tilts(traits).T / selection.ITEM_SHARPNESS)

    def tilted(self, weights: Floats, traits: Floats) -> Floats:
        """The weights (M,) that a series has with its traits (traits,)."""
        changed = weights * np.exp(-self.tilts(traits[None])[0])
        return selection.pruned(changed / changed.sum())

    def members(self, places: NDArray[np.intp]) -> TraitEffects:
        """The same of some of the members."""
        return replace(self, effects=self.effects[:, places])

    def to_document(self, members: Sequence[str]) -> dict[str, Any]:
        """The effects as JSON values."""
        columns = zip(members, np.round(self.effects, _DIGITS).T.tolist(), strict=True)
        return {
            "names": list(NAMES),
            "centre": np.round(self.centre, _DIGITS).tolist(),
            "spread": np.round(self.spread, _DIGITS).tolist(),
            "effects": dict(columns),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], members: Sequence[str]) -> TraitEffects:
        """The reverse of `to_document`. Raises ValueError, KeyError or TypeError where it is none."""
        if tuple(document["names"]) != NAMES:
            raise ValueError(f"traits are {', '.join(document['names'])}, and this version knows {', '.join(NAMES)}")
        centre, spread = (np.array(document[name], dtype=np.float64) for name in ("centre", "spread"))
        effects = np.array([document["effects"][member] for member in members], dtype=np.float64).T
        if not centre.shape == spread.shape == effects.shape[:1] == (len(NAMES),) or not (spread > 0).all():
            raise ValueError(f"traits need {len(NAMES)} numbers each, and spreads above 0")
        return cls(centre, spread, effects)


def traits_of(histories: Sequence[Floats], season: int) -> Floats:
    """Traits (N, traits) of some histories, each (T,) with NaN where nothing was observed; NaN where too little was.

    Args:
        histories: up to what is to be forecast.
        season: in periods; 1 without any.
    """
    return np.array([_traits(np.asarray(history), season) for history in histories]).reshape(len(histories), len(NAMES))


def _traits(history: Floats, season: int) -> list[float]:
    seen = history[np.isfinite(history)][-_LONGEST:]
    largest = float(np.abs(seen).max(initial=0.0))
    if len(seen) < _SHORTEST or largest == 0:
        return [float("nan")] * len(NAMES)
    values = seen / largest
    steps = np.diff(values)
    spread = float(np.abs(values - values.mean()).mean())
    roughness = float(np.log((float(np.abs(steps).mean()) + _TINY) / (spread + _TINY)))
    drift = abs(float(steps.mean())) / (float(steps.std()) + _TINY) * np.sqrt(len(steps))
    return [
        float(np.log(len(values))),
        min(max(roughness, _SMOOTHEST), _ROUGHEST),
        _correlation(steps, 1),
        min(drift, _MOST_DRIFT),
        _correlation(steps, season) if season > 1 else 0.0,
        float((values == 0).mean()),
    ]


def _correlation(values: Floats, lag: int) -> float:
    """Autocorrelation at a lag; 0 where there are too few values."""
    if len(values) <= lag + 2:
        return 0.0
    apart = values - values.mean()
    total = float((apart * apart).sum())
    return float((apart[lag:] * apart[:-lag]).sum()) / total if total > 0 else 0.0


def learn_effects(losses: Floats, traits: Floats) -> TraitEffects:
    """Effects of the windows' traits on the members' losses.

    Args:
        losses: of the members on the windows, (M, N).
        traits: of the windows' histories, (N, traits).
    """
    relative = selection.relative_logs(losses).T
    known = np.isfinite(traits).all(axis=1)
    if not known.any():
        return TraitEffects(np.zeros(len(NAMES)), np.ones(len(NAMES)), np.zeros((len(NAMES), len(losses))))
    centre, spread = traits[known].mean(axis=0), traits[known].std(axis=0)
    tell = spread > 1e-6
    scale = np.where(tell, spread, 1.0)
    scores = np.clip((traits[known] - centre) / scale, -_FARTHEST, _FARTHEST) * tell
    inner = scores.T @ scores + RIDGE * np.eye(len(NAMES))
    slopes = np.linalg.solve(inner, scores.T @ relative[known])
    return TraitEffects(centre, scale, selection.ITEM_SHARPNESS * slopes)
