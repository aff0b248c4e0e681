"""Chronos-2 reading covariates itself: each attribute is a row of numbers beside the series, known ahead as far as it is.

Here belongs the way from covariates to those rows. How a network reads rows together is in `models.forecasting`.

Attributes that change over time are read, and holidays; past-only ones without a future. The calendar isn't: the network finds
seasons in the series. Nor is item metadata, which is constant in a series and has nothing to tell there. A series without an
attribute that varies is read alone, as by `chronos/1`.

A category is read as the mean of the target where it holds, drawn to the mean of the series as by one more observation of it;
that is the encoding of the library (`chronos.chronos2.preprocess`), by which the network was trained. A text that the context
lacks counts as that mean. Where the text isn't known, nothing is; unless it is unknown in the context, too, as the name of an
event on days without one: then it is a category like others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.holidays import PREFIX
from chronos_assets.predictors.members.base import COVARIATE_REACH, AttributeForm, Contexts, Covariates
from chronos_assets.predictors.members.chronos import network_quantiles
from chronos_assets.predictors.members.design import AFTER, BEFORE, CALENDAR
from chronos_assets.timeseries.arrays import Floats

if TYPE_CHECKING:
    from chronos_assets.models.forecasting import Forecaster

_SMOOTHING = 1.0  # observations that a category's mean is drawn to that of the series by


@dataclass(frozen=True)
class CovariateChronos:
    """See the module.

    Attributes:
        name: see `Member.name`.
        forecaster: of a Chronos-2 checkpoint, for any horizon.
    """

    name: str
    forecaster: Forecaster

    @property
    def reach(self) -> int:
        """Latest periods that are read."""
        return self.forecaster.context_length

    def forecast(self, contexts: Contexts) -> Floats:
        """See `Member.forecast`."""
        tails = [np.asarray(values, dtype=np.float64)[-self.reach :] for values in contexts.values]
        beside = None
        if contexts.covariates:
            beside = [
                covariate_rows(found, tail, contexts.horizon)
                for found, tail in zip(contexts.covariates, tails, strict=True)
            ]
        return network_quantiles(self.forecaster, tails, contexts.horizon, contexts, beside)


def readable(covariates: Covariates) -> tuple[str, ...]:
    """Names of the attributes that are read, in order: past-only ones first."""
    return tuple(name for name, _ in _read(covariates))


def forms(covariates: Iterable[Covariates]) -> dict[str, AttributeForm]:
    """What some series' attributes are that are read, by name; but holidays, which are known of every series."""
    found: dict[str, AttributeForm] = {}
    for one in covariates:
        for name, values in _read(one):
            if not name.startswith(PREFIX):
                found.setdefault(
                    name, AttributeForm("number" if values.dtype.kind == "f" else "category", name in one.known)
                )
    return dict(sorted(found.items()))


def covariate_rows(covariates: Covariates, target: Floats, horizon: int) -> Floats:
    """Numbers (K, T + horizon) of the attributes that are read, NaN where they aren't known.

    Args:
        covariates: of the series.
        target: its values up to the last period, (T,).
        horizon: periods to forecast.
    """
    count = min(len(target), covariates.periods, COVARIATE_REACH)
    rows = []
    for _, values in _read(covariates):
        there = values[covariates.periods - count : covariates.periods + horizon]
        numbers = there if there.dtype.kind == "f" else _encoded(there, target[len(target) - count :])
        row = np.full(len(target) + horizon, np.nan)
        row[len(target) - count : len(target) - count + len(numbers)] = numbers
        rows.append(row)
    return np.stack(rows) if rows else np.empty((0, len(target) + horizon))


def _read(covariates: Covariates) -> Iterator[tuple[str, NDArray[Any]]]:
    for source in (covariates.past, covariates.known):
        for name in sorted(source):
            if not name.startswith(CALENDAR) and not (name.startswith(PREFIX) and name.endswith((BEFORE, AFTER))):
                yield name, np.asarray(source[name])


def _encoded(texts: NDArray[Any], target: Floats) -> Floats:
    """A category as numbers: texts at the periods of the target, and as many after them as there are."""
    seen = np.isfinite(target)
    values = np.where(seen, target, 0.0)
    usual = float(values.sum() / max(int(seen.sum()), 1))
    levels, codes = np.unique(texts[: len(target)], return_inverse=True)
    sums = np.bincount(codes, values, len(levels))
    counts = np.bincount(codes, seen.astype(np.float64), len(levels))
    means = dict(zip(levels.tolist(), ((_SMOOTHING * usual + sums) / (_SMOOTHING + counts)).tolist(), strict=True))
    return np.array([means.get(text, usual if text else np.nan) for text in texts.tolist()], dtype=np.float64)
