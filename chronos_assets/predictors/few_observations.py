"""The level of a cold start that has a few observations: its own, as far as they are to be believed; and how well that does.

Here: reading the latest observations of items and their donors, the arithmetic of levels, the test on donors. Elsewhere: who is
a cold start, who its donors are, and the mixture of their forecasts (`cold_start`).

**Level.** Donors differ in level, and a few observations say where an item stands among them. Both are looked at in the same
periods, so that a season or a trend they share is in neither. The item's level is that of its observations with credibility
n / (n + noise / spread), and that of its donors with the rest: noise is the variance of one observation around a donor's own
level and what donors share, spread that of levels (Bühlmann, ASTIN Bulletin 1967): of the donors', or of the item's from
theirs, where it stands further off than they and chance explain. Donors' forecasts are moved to that level, and towards each
other by what the observations have made sure of. Where nothing is below zero levels are compared by their roots, and forecasts
are moved by factors; else by sums.

**Tried on donors.** As if each of some donors had had only as many observations, a horizon ago: its level times what the
others' latest seasons say of the periods since, beside the mean of those observations, by WAPE. What the members make of the
donors is better than that; what is tried here is the level.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.dataset.shards import iter_series, shard_name, shard_number

LATEST = 128  # periods that are looked at
TRIED = 100  # donors
_FARTHEST = 100.0  # times a donor's level
_SEASONS = 4  # that a season's shape is taken from
_TINY = 1e-9
_USUAL_SPREAD = 0.5  # of donors' levels, relative, where one donor says nothing of it


class LatestObservations(Protocol):
    """Reads the latest observations of series."""

    def __call__(self, keys: Collection[Key]) -> Mapping[Key, Floats]:
        """Values (LATEST,) up to the as-of, NaN where nothing was observed; of the keys that the dataset has."""


@dataclass(frozen=True)
class StoredValues:
    """Observations of a dataset, see `LatestObservations`.

    Attributes:
        folder: gives that of its shards, which takes a download where the store is remote.
        n_shards: how many there are.
        dimensions: key columns beside `item_id`.
        grid: of the dataset.
        ordinal: number of the last period that may be read.
    """

    folder: Callable[[], Path]
    n_shards: int
    dimensions: tuple[str, ...]
    grid: Grid
    ordinal: int

    def __call__(self, keys: Collection[Key]) -> Mapping[Key, Floats]:
        """See `LatestObservations`."""
        wanted: dict[str, set[Key]] = {}
        for key in keys:
            wanted.setdefault(shard_name(shard_number(key, self.n_shards)), set()).add(key)
        found: dict[Key, Floats] = {}
        folder = self.folder()
        until = self.grid.instant(self.ordinal + 1)
        for shard, chosen in sorted(wanted.items()):
            for series in iter_series(folder / shard, self.dimensions, until=until):
                if series.key in chosen:
                    places = self.grid.ordinal(series.timestamps) - (self.ordinal - LATEST + 1)
                    inside = (places >= 0) & ~series.filled
                    found[series.key] = np.full(LATEST, np.nan)
                    found[series.key][places[inside]] = series.target[inside]
        return found


@dataclass(frozen=True)
class CredibleLevel:
    """Where an item stands among its donors.

    Attributes:
        observations: that it has.
        credibility: of them, from 0 to 1.
        factors: of each donor's forecast, (donors,); ones where levels are added.
        shifts: of each donor's forecast after it, (donors,); zeros where they are factors.
    """

    observations: int
    credibility: float
    factors: Floats
    shifts: Floats

    def apply(self, donors: Floats) -> Floats:
        """Forecasts (donors, ...) at the item's level."""
        shape = (-1, *(1,) * (donors.ndim - 1))
        return donors * self.factors.reshape(shape) + self.shifts.reshape(shape)


def level_of(own: Floats, donors: Floats, weights: Floats) -> CredibleLevel | None:
    """The level of an item, None where nothing was observed in the latest periods of it, or of donors.

    Args:
        own: the item's values (P,), NaN where nothing was observed.
        donors: theirs at the same periods, (donors, P).
        weights: theirs, which add up to 1.
    """
    seen = np.isfinite(own)
    known = np.isfinite(donors).any(axis=1)
    if not seen.any() or not known.any():
        return None
    count, level = int(seen.sum()), float(own[seen].mean())
    ratios = min(float(own[seen].min()), float(np.nanmin(donors))) >= 0
    share = np.where(known, weights, 0.0) / weights[known].sum()
    everywhere = np.where(known, _means(donors), 0.0)
    beside = _at(everywhere, _means(donors[:, seen]), share, ratios=ratios)
    variances = _variances(donors, everywhere, share, ratios=ratios)
    if ratios:  # levels of sales are skewed: their roots, whose noise hardly depends on the level, are not
        noise = float((share * variances / (4 * np.maximum(beside, _TINY)))[beside > 0].sum())
        standing, own_standing = np.sqrt(beside), float(np.sqrt(level))
    else:
        noise, standing, own_standing = float((share * variances).sum()), beside, level
    usual = float((share * standing).sum())
    spread = max(_spread(standing, share), (own_standing - usual) ** 2 - noise / count)
    credibility = count * spread / (count * spread + noise) if spread > 0 else 0.0
    wanted = credibility * own_standing + (1 - credibility) * usual + np.sqrt(1 - credibility) * (standing - usual)
    if not ratios:
        return CredibleLevel(count, credibility, np.ones(len(donors)), np.where(known, wanted - beside, 0.0))
    factors = np.where(beside > 0, np.maximum(wanted, 0.0) ** 2 / np.maximum(beside, _TINY), 1.0)
    return CredibleLevel(count, credibility, factors.clip(1 / _FARTHEST, _FARTHEST), np.zeros(len(donors)))


def _means(values: Floats) -> Floats:
    """Means of the rows, NaN where nothing is known."""
    there = np.isfinite(values)
    count = there.sum(axis=1)
    return np.where(count > 0, np.where(there, values, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _at(levels: Floats, here: Floats, share: Floats, *, ratios: bool) -> Floats:
    """Donors' levels (donors,) in some periods: moved alike, by their mean there; each one's own has all of its noise.

    Args:
        levels: in all periods.
        here: means in those periods, NaN where one has none.
        share: of the donors.
        ratios: whether levels move by a factor.
    """
    there = np.isfinite(here) & (share > 0)
    if not there.any():
        return levels
    weight = share[there] / share[there].sum()
    now, always = float((weight * here[there]).sum()), float((weight * levels[there]).sum())
    if not ratios:
        return levels + now - always
    return levels * (now / always) if always > 0 else levels


def _spread(levels: Floats, share: Floats) -> float:
    """Variance of the donors' levels."""
    usual, effective = float((share * levels).sum()), 1 / float((share**2).sum())
    if effective < 2:
        return (_USUAL_SPREAD * usual) ** 2
    return float((share * (levels - usual) ** 2).sum()) / (1 - 1 / effective)


def _variances(donors: Floats, levels: Floats, share: Floats, *, ratios: bool) -> Floats:
    """Variances (donors,) of an observation around a donor's level, and around what donors share where there are several."""
    there = np.isfinite(donors)
    values = np.where(there, donors, 0.0)
    scale = np.where(levels > 0, levels, 1.0) if ratios else np.ones(len(levels))
    standing = np.where(there, values / scale[:, None] - (levels / scale)[:, None], 0.0)
    effective = 1 / float((share**2).sum())
    if effective >= 2:
        weight = share[:, None] * there
        shared = (weight * standing).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-12)
        standing = np.where(there, standing - shared, 0.0)
    variance = (standing**2).sum(axis=1) / np.maximum(there.sum(axis=1) - 1, 1) * scale**2
    return np.asarray(variance / (1 - 1 / effective if effective >= 2 else 1.0))


class Neighbours(Protocol):
    """Who is like whom."""

    def __call__(self, key: Key) -> tuple[Sequence[Key], Floats]:
        """Donors of a series, without itself, and their weights."""


def try_on_donors(
    values: Mapping[Key, Floats], alike: Neighbours, observations: int, horizon: int, season: int
) -> dict[str, Any] | None:
    """How levels do on donors, see the module; None where none has a past that is long enough.

    Args:
        values: of the donors, (LATEST,).
        alike: gives the donors of a donor.
        observations: that each is left.
        horizon: periods that are forecast.
        season: periods after which a value comes again.
    """
    horizon = min(horizon, LATEST // 4)
    origin = LATEST - horizon
    errors, naive, volume, items = 0.0, 0.0, 0.0, 0
    for key in sorted(values):
        own, actual = values[key][:origin].copy(), values[key][origin:]
        seen = np.flatnonzero(np.isfinite(own))
        if len(seen) <= observations or not np.isfinite(actual).any():
            continue
        own[: seen[-observations]] = np.nan
        names, weights = alike(key)
        there = [place for place, name in enumerate(names) if name in values]
        if not there:
            continue
        donors = np.stack([values[names[place]] for place in there])
        share = weights[there] / weights[there].sum()
        level = level_of(own, donors[:, :origin], share)
        if level is None:
            continue
        forecast = (share[:, None] * level.apply(_seasonal(donors[:, :origin], horizon, season))).sum(axis=0)
        known = np.isfinite(actual)
        errors += float(np.abs(actual - forecast)[known].sum())
        naive += float(np.abs(actual - own[np.isfinite(own)].mean())[known].sum())
        volume += float(np.abs(actual[known]).sum())
        items += 1
    if not items or not volume > 0:
        return None
    return {"items": items, "observations": observations, "wape": errors / volume, "naive_wape": naive / volume}


def _seasonal(values: Floats, horizon: int, season: int) -> Floats:
    """A plain seasonal forecast (rows, horizon): the mean of the latest season, spread as the seasons before around theirs.

    Seasons that don't fit twice, or are shorter than four periods, are none: the mean of the latest four periods at least.
    """
    length = season if 4 <= season <= values.shape[1] // 2 else 4
    count = min(_SEASONS, values.shape[1] // length)
    seasons = values[:, values.shape[1] - count * length :].reshape(len(values), count, length)
    there = np.isfinite(seasons)
    means = np.where(there, seasons, 0.0).sum(axis=2) / np.maximum(there.sum(axis=2), 1)
    latest = np.where(there[:, -1].any(axis=1), means[:, -1], means.mean(axis=1))
    if length != season:
        return np.repeat(latest[:, None], horizon, axis=1)
    apart = np.where(there, seasons - means[:, :, None], 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.asarray(latest[:, None] + np.tile(apart, -(-horizon // length))[:, :horizon])
