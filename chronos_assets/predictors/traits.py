"""Weights by what a series looks like: how its length, roughness, drift, season and zeros change which member is good at it.

Here belong the traits of a history, and the regression of the members' relative losses on them. Only some series are
backtested, where there are many; but traits are known of every series, so that all of them profit from what was learned of
those (Montero-Manso et al., International Journal of Forecasting 2020, have it learned of other data sets).

A ridge regression over the windows says by how much each member's loss is expected to be above or below the typical one's.
It counts as much as its traits tell: with few windows next to nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.predictors import selection
from chronos_assets.predictors.members.base import row_sum
from chronos_assets.timeseries.arrays import Floats

NAMES = ("length", "roughness", "step_correlation", "drift", "season_correlation", "zeros")
RIDGE = 150.0  # windows that say that traits don't matter
LEAST_ITEMS = 20
_LONGEST = 2048  # latest observations that are looked at
_SHORTEST = 4
_ROWS = 512  # series that are looked at together
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
        """The weights (N, M), or (M,) of all, that series have with their traits (N, traits)."""
        changed = weights * np.exp(-self.tilts(traits))
        return selection.pruned(changed / row_sum(changed)[:, None])

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
    together: dict[int, list[tuple[int, Floats]]] = defaultdict(list)
    for place, history in enumerate(histories):
        seen = np.asarray(history)
        seen = seen[np.isfinite(seen)][-_LONGEST:]
        together[len(seen)].append((place, seen))
    result = np.full((len(histories), len(NAMES)), np.nan)
    for length, found in together.items():
        for start in range(0, len(found) if length >= _SHORTEST else 0, _ROWS):
            places, rows = zip(*found[start : start + _ROWS], strict=True)
            result[list(places)] = _traits(np.stack(rows), season)
    return result


def _traits(seen: Floats, season: int) -> Floats:
    """Those of some series, (n, traits), of as many observations, (n, T); NaN where all are zero."""
    largest = np.abs(seen).max(axis=1)
    values = seen / np.where(largest > 0, largest, np.nan)[:, None]
    steps = np.diff(values, axis=1)
    spread = _mean(np.abs(values - _mean(values)[:, None]))
    roughness = np.log((_mean(np.abs(steps)) + _TINY) / (spread + _TINY))
    drift = np.abs(_mean(steps)) / (steps.std(axis=1) + _TINY) * np.sqrt(steps.shape[1])
    found = [
        np.log(np.where(largest > 0, float(values.shape[1]), np.nan)),
        np.clip(roughness, _SMOOTHEST, _ROUGHEST),
        _correlation(steps, 1),
        np.minimum(drift, _MOST_DRIFT),
        _correlation(steps, season) if season > 1 else np.zeros(len(seen)),
        (values == 0).mean(axis=1),
    ]
    return np.where((largest > 0)[:, None], np.stack(found, axis=1), np.nan)


def _mean(values: Floats) -> Floats:
    return np.asarray(row_sum(values) / values.shape[1])


def _correlation(values: Floats, lag: int) -> Floats:
    """Autocorrelation of each row (n, T) at a lag, (n,); 0 where there are too few values."""
    if values.shape[1] <= lag + 2:
        return np.zeros(len(values))
    apart = values - _mean(values)[:, None]
    total = row_sum(apart * apart)
    return np.where(total > 0, row_sum(apart[:, lag:] * apart[:, :-lag]) / np.where(total > 0, total, 1.0), 0.0)


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
