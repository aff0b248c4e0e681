"""An autoregression with the same coefficients for all series of a data set: fitting it, its forecasts, its JSON.

Series of one data set often go on alike: growth is damped as fast, levels return as slowly, and what a dozen values of one
series can't tell, those of all together can. Montero-Manso & Hyndman (International Journal of Forecasting 2021) show that such
a global linear model can do whatever local ones do, and needs fewer observations of each series for it.

A series is in logarithms where it is positive, seasonally adjusted (`seasons`), and measured from its last value in units of
its mean step. By how much it changes in so many periods follows from its latest values, its mean growth so far, and the means
of some stretches before: a ridge regression for each step of the horizon, on the latest origins of all series. Where these are
many, it is on `bends` of those regressors as well, more strongly shrunk. Changes far out of the usual are moved in, so that one
break doesn't rule the coefficients. Bands are the pooled errors, as wide as a series' own errors of late say.

Here belongs the arithmetic; when it is fitted to what is decided in `predictors.zero_shot`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronos_assets.models.quantiles import normal_scores
from chronos_assets.params.predictor import POOLED
from chronos_assets.predictors.members.base import LEVELS, Contexts, Panel, PanelMember, row_sum
from chronos_assets.predictors.members.bends import BENDS, Bends, digits
from chronos_assets.predictors.members.logarithms import Logarithms
from chronos_assets.predictors.members.seasons import adjust
from chronos_assets.timeseries.arrays import Booleans, Floats

LEAST_SERIES = 8
_LATEST_VALUES, _STRETCHES = 4, 3  # that a forecast follows from
_REGRESSORS = _LATEST_VALUES + 1 + _STRETCHES
_SHORTEST_STRETCH, _LONGEST_STRETCH = 4, 24  # periods; a season in between
_ORIGINS = 8192  # that coefficients are fitted to: the latest, of each series as many
_LEAST_EACH = 96  # of them, or as many as the horizon needs: what keeps the work small where the horizon is long
_OWN_ORIGINS = 64  # that a series' own errors are measured on
_OWN_STEPS = (0, 2)  # of the horizon, likewise
_OWN_PRIOR = 8.0  # errors of the typical size that own ones are averaged with
_WARM = 4  # observations before the first origin
_RIDGE = 1.0  # origins that say that nothing follows from anything
_BEND_RIDGE = 10.0  # likewise, of bends
_FARTHEST = 6.0  # times the median absolute change that is believed
_LEAST_ORIGINS = 20  # and two for each coefficient
_LEAST_FOR_BENDS = 720  # origins, of the last step: ten for each coefficient
_LEAST_FOR_QUANTILES = 150  # errors; the bands of fewer are normal
_TINY = 1e-9


@dataclass(frozen=True)
class PooledAutoregression(PanelMember):
    """See the module.

    Attributes:
        stretch: periods of each of the earlier stretches.
        coefficients: of each step of the horizon, (H, coefficients), those of bends last; the steps after it have those of the
            last one.
        errors: their quantiles in units of a series' mean step, (H, LEVELS).
        sizes: means of their absolute values, (H,).
        bends: of the regressors.
        name: see `Member.name`.
    """

    stretch: int
    coefficients: Floats
    errors: Floats
    sizes: Floats
    bends: Bends
    name: str = POOLED

    def __post_init__(self) -> None:
        steps = len(self.coefficients)
        number = _REGRESSORS + len(self.bends)
        if self.coefficients.shape != (steps, number) or self.errors.shape != (steps, len(LEVELS)):
            raise ValueError("a pooled autoregression needs coefficients and quantiles of its errors for each step")
        if not steps or self.sizes.shape != (steps,) or not (self.sizes > 0).all() or self.stretch < 1:
            raise ValueError("a pooled autoregression needs a size of its errors above 0 for each step, and a stretch")
        if not all(np.isfinite(values).all() for values in (self.coefficients, self.errors, self.sizes)):
            raise ValueError("a pooled autoregression needs finite numbers")

    def to_document(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        return {
            "stretch": self.stretch,
            "coefficients": digits(self.coefficients),
            "errors": digits(self.errors),
            "sizes": digits(self.sizes),
            "bends": self.bends.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> PooledAutoregression:
        """The reverse of `to_document`. Raises ValueError, KeyError or TypeError where it is none."""
        coefficients, errors, sizes = (
            np.array(document[name], dtype=np.float64) for name in ("coefficients", "errors", "sizes")
        )
        bends = Bends.from_document(document["bends"]) if "bends" in document else Bends.none(_REGRESSORS)
        return cls(int(document["stretch"]), coefficients, errors, sizes, bends)

    def _panels(self, contexts: Contexts) -> Iterator[tuple[Panel, Floats]]:
        steps = np.minimum(np.arange(contexts.horizon), len(self.coefficients) - 1)
        growth = np.sqrt((np.arange(contexts.horizon) + 1) / (steps + 1))
        for panel in contexts.panels:
            logarithms = Logarithms.of(panel)
            adjusted = adjust(logarithms.panel, contexts.seasons, contexts.horizon)
            scaled = _Scaled.of(panel, adjusted.values)
            origin = np.array([panel.width])
            centre = np.zeros((len(panel.rows), contexts.horizon))
            for place, regressor in enumerate(self._regressors(scaled, origin)):
                centre += regressor * self.coefficients[steps, place]
            width = self._own_width(scaled)[:, None] * growth
            quantiles = centre[:, :, None] + width[:, :, None] * self.errors[steps]
            yield panel, logarithms.restore(adjusted.restore(scaled.restore(quantiles)))

    def _regressors(self, scaled: _Scaled, origins: NDArray[np.int64]) -> Iterator[Floats]:
        """What a change follows from, bends last, each (n, origins)."""
        straight = list(scaled.regressors(origins, self.stretch))
        yield from straight
        yield from self.bends.of(straight)

    def _own_width(self, scaled: _Scaled) -> Floats:
        """How many times as large as the pooled ones the latest errors of each series were, (n,)."""
        origins = scaled.origins(_OWN_ORIGINS)
        found = list(self._regressors(scaled, origins))
        total = np.full(len(scaled.series), _OWN_PRIOR)
        count = total.copy()
        for step in sorted({min(step, len(self.sizes) - 1) for step in _OWN_STEPS}):
            change, known = scaled.changes(origins, step)
            for place, regressor in enumerate(found):
                change = change - regressor * self.coefficients[step, place]
            total += row_sum(np.where(known, np.abs(change), 0.0)) / self.sizes[step]
            count += known.sum(axis=1)
        return np.asarray(total / count)


@dataclass(frozen=True)
class _Scaled:
    """A panel as the regression reads it.

    Attributes:
        series: less the last value, in units of the mean step, (n, width).
        first: column of the first observation, (n,).
        last: value that was taken off; unit: see `series`; both (n,), the unit NaN where a series is too short or doesn't move.
    """

    series: Floats
    first: NDArray[np.int64]
    last: Floats
    unit: Floats

    @classmethod
    def of(cls, panel: Panel, series: Floats) -> _Scaled:
        mean_step = row_sum(np.abs(np.diff(series, axis=1))) / np.maximum(panel.lengths - 1, 1)
        able = (panel.lengths >= _WARM) & (mean_step > _TINY * np.maximum(np.abs(series).max(axis=1), _TINY))
        unit = np.where(able, mean_step, np.nan)
        last = series[:, -1].copy()
        scaled = (series - last[:, None]) / np.where(able, mean_step, 1.0)[:, None]
        return cls(scaled, panel.first, last, unit)

    @property
    def able(self) -> Booleans:
        """Which series can be forecast, (n,)."""
        return np.isfinite(self.unit)

    def origins(self, most: int) -> NDArray[np.int64]:
        """The latest origins that a step is known after, as numbers of columns before them."""
        width = self.series.shape[1]
        return np.arange(max(_WARM, width - most), width)

    def regressors(self, origins: NDArray[np.int64], stretch: int) -> Iterator[Floats]:
        """What a change follows from, each (n, origins): 1, differences from the last value before an origin, the mean step."""
        before = _LATEST_VALUES + _STRETCHES * stretch
        padded = np.concatenate([np.repeat(self.series[:, :1], before, axis=1), self.series], axis=1)
        sums = np.concatenate([np.zeros((len(padded), 1)), np.cumsum(padded, axis=1)], axis=1)
        ends = origins + before
        last = padded[:, ends - 1]
        yield np.ones_like(last)
        for back in range(2, _LATEST_VALUES + 1):
            yield padded[:, ends - back] - last
        since = np.maximum(origins - 1 - self.first[:, None], 1)
        yield (last - self.series[np.arange(len(last)), self.first][:, None]) / since
        for number in range(_STRETCHES):
            end = ends - _LATEST_VALUES - number * stretch
            yield (sums[:, end] - sums[:, end - stretch]) / stretch - last

    def changes(self, origins: NDArray[np.int64], step: int) -> tuple[Floats, Booleans]:
        """By how much series have changed so many periods after each origin, (n, origins), and where that is known."""
        width = self.series.shape[1]
        change = self.series[:, np.minimum(origins + step, width - 1)] - self.series[:, origins - 1]
        known = (origins >= self.first[:, None] + _WARM) & (origins + step < width) & self.able[:, None]
        return change, known

    def restore(self, quantiles: Floats) -> Floats:
        """Quantiles (n, horizon, Q) of what was read from those in units; NaN of series that can't be forecast."""
        return np.asarray(self.last[:, None, None] + self.unit[:, None, None] * quantiles)


def fit_pooled(histories: Sequence[Floats], horizon: int, seasons: tuple[int, ...]) -> PooledAutoregression | None:
    """The autoregression that all these series share; None where they are too few, or too short.

    Args:
        histories: of the series, (T,), up to what may be known; NaN where nothing was observed.
        horizon: steps that it gets coefficients for.
        seasons: candidate seasons in periods.
    """
    stretch = int(np.clip(min(seasons, default=1), _SHORTEST_STRETCH, _LONGEST_STRETCH))
    each = max(_ORIGINS // max(len(histories), 1), min(_LEAST_EACH, horizon + _LEAST_ORIGINS))
    regressors: list[Floats] = []
    changes: list[Floats] = []
    series = 0
    for panel in Contexts(histories, horizon, seasons).panels:
        scaled = _Scaled.of(panel, adjust(Logarithms.of(panel).panel, seasons, horizon).values)
        origins = scaled.origins(each)
        found = np.stack(list(scaled.regressors(origins, stretch)))
        of_steps = [scaled.changes(origins, step) for step in range(horizon)]
        known = of_steps[0][1]
        series += int(known.any(axis=1).sum())
        regressors.append(found[:, known])
        changes.append(np.stack([np.where(there, change, np.nan)[known] for change, there in of_steps]))
    if series < LEAST_SERIES:
        return None
    return _fit(stretch, np.concatenate(regressors, axis=1), np.concatenate(changes, axis=1))


def _fit(stretch: int, regressors: Floats, changes: Floats) -> PooledAutoregression | None:
    """Fitted to regressors (K, origins) and changes (H, origins), NaN where unknown; None from too little."""
    reach = np.isfinite(changes).sum(axis=0)  # steps known after each origin: of a farther one all that are before it
    if int((reach == len(changes)).sum()) < _LEAST_ORIGINS + 2 * len(regressors):
        return None
    order = np.argsort(-reach, kind="stable")
    given, changes = np.ascontiguousarray(regressors[:, order]), changes[:, order]
    ridge, bends = np.full(len(given), _RIDGE), Bends.none(len(given))
    if int((reach == len(changes)).sum()) >= _LEAST_FOR_BENDS:
        bends = Bends.drawn(given)
        given = np.concatenate([given, np.stack(list(bends.of(list(given))))])
        ridge = np.concatenate([ridge, np.full(BENDS, _BEND_RIDGE)])
    inner, start = np.diag(ridge), 0
    steps: list[tuple[Floats, Floats, float]] = []
    for step in reversed(range(len(changes))):
        end = int((reach > step).sum())
        # Sums of products, not by BLAS: the same bytes with any number of threads.
        inner = inner + np.einsum("kn,jn->kj", given[:, start:end], given[:, start:end])
        start = end
        found = _fit_step(given[:, :end], changes[step, :end], inner)
        if not found[2] > _TINY:
            return None
        steps.insert(0, found)
    coefficients, errors, sizes = (np.array(parts) for parts in zip(*steps, strict=True))
    return PooledAutoregression.from_document(
        PooledAutoregression(stretch, coefficients, errors, sizes, bends).to_document()
    )


def _fit_step(given: Floats, change: Floats, inner: Floats) -> tuple[Floats, Floats, float]:
    """Coefficients (K,), quantiles of the errors (LEVELS,), and their mean size, of one step.

    Args:
        given: regressors, (K, origins).
        change: (origins,).
        inner: sums of products of the regressors, with the ridge, (K, K).
    """
    number, count = given.shape
    limit = _FARTHEST * float(np.median(np.abs(change)))
    coefficients = np.linalg.solve(inner, np.einsum("kn,n->k", given, np.clip(change, -limit, limit)))
    made = np.einsum("k,kn->n", coefficients, given)
    errors = (change - made) * np.sqrt(count / (count - number))
    size = float(np.abs(errors).mean())
    if count < _LEAST_FOR_QUANTILES:
        return coefficients, np.asarray(errors.std() * normal_scores(LEVELS)), size
    return coefficients, np.quantile(errors, LEVELS), size
