"""Forecasts of an ensemble: its members' quantiles combined, calibrated, and read at the levels asked for.

Here belongs what happens between contexts and a predictor's quantiles. `Ensemble` is used like
`models.forecasting.Forecaster`, so that a workload needn't know whether it forecasts with a network or with several members.

As there, a series' forecast depends on nothing but the series (and its own weights). Series without an observation are
skipped; one whose observations are all equal is that value.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chronos_assets.models.quantiles import interpolate, mean_of_quantiles
from chronos_assets.params.predictor import POOLED
from chronos_assets.predictors.members.base import COVARIATE_REACH, LEVELS, MEDIAN, Contexts, Covariates, Member
from chronos_assets.predictors.members.catalogue import (
    checkpoint_of,
    rate_of,
    reads_covariates,
    reads_natively,
    residual_of,
    statistical_member,
)
from chronos_assets.predictors.members.chronos import Chronos
from chronos_assets.predictors.members.covariate_chronos import CovariateChronos
from chronos_assets.predictors.members.covariate_regression import CovariateRegression
from chronos_assets.predictors.members.pooled_autoregression import PooledAutoregression
from chronos_assets.predictors.members.regression import REACH, Regression, spread
from chronos_assets.predictors.members.seasonal_naive import SeasonalNaive
from chronos_assets.predictors.predictor import Key, Predictor
from chronos_assets.timeseries.arrays import LARGEST, Booleans, Floats
from chronos_assets.timeseries.forecast.files import merge_passes

if TYPE_CHECKING:
    from chronos_assets.models.forecasting import BatchForecast, Forecaster, Skip

_STATISTICAL_REACH = 2048


def open_member(
    name: str,
    forecasters: Mapping[str, Forecaster],
    regression: Regression | None = None,
    pooled: PooledAutoregression | None = None,
) -> Member:
    """The member of a name, with its checkpoint's forecaster.

    Args:
        name: see `members.catalogue`.
        forecasters: by checkpoint.
        regression: on covariates, for members that use it.
        pooled: the member of that name.

    Raises:
        ValueError: there is no such member, or its fit is missing. KeyError: its checkpoint is not among the forecasters.
    """
    base = residual_of(name)
    if base is not None:
        if regression is None:
            raise ValueError(f"member {name!r} needs a regression on covariates")
        return CovariateRegression(name, regression, open_member(base, forecasters))
    if name == POOLED:
        if pooled is None:
            raise ValueError(f"member {name!r} needs its coefficients")
        return pooled
    checkpoint = checkpoint_of(name)
    if checkpoint is None:
        return statistical_member(name)
    if reads_natively(name):
        return CovariateChronos(name, forecasters[checkpoint])
    coarse, fine, adjusted = rate_of(name)
    return Chronos(name, forecasters[checkpoint], coarse, fine, adjusted)


class Ensemble:
    """A predictor made ready for one horizon and one set of levels.

    Args:
        predictor: what to forecast with; its horizon need not be this one.
        forecasters: of the checkpoints that its members need, by name, for any horizon.
        horizon: periods to forecast.
        levels: ascending quantile levels, within the range of the members' networks.
        context_length: number of latest periods to read; all that the members reach if not given.
        min_observations: series with fewer observations in their context are skipped.

    Raises:
        QuantileRangeError: a level is outside of a network's range.
        ValueError: the horizon is below 1.
    """

    def __init__(
        self,
        predictor: Predictor,
        forecasters: Mapping[str, Forecaster],
        horizon: int,
        levels: Sequence[float],
        *,
        context_length: int | None = None,
        min_observations: int = 1,
    ) -> None:
        self.predictor = predictor.used()
        self.forecasters = {name: forecasters[name] for name in sorted(self.predictor.checkpoints)}
        self.members = tuple(
            open_member(name, self.forecasters, self.predictor.regression, self.predictor.pooled)
            for name in self.predictor.members
        )
        self.calibration = self.predictor.calibration.widened(self.predictor.live_width)
        self.min_observations = max(1, min_observations)
        self.batch_size = max((item.batch_size for item in self.forecasters.values()), default=1)
        self.rows_independent = all(item.rows_independent for item in self.forecasters.values())
        reaches = [member.reach for member in self.members if isinstance(member, Chronos | CovariateChronos)]
        reach = max([_STATISTICAL_REACH, *reaches])
        self.context_length = min(context_length or reach, reach)
        self._aim(horizon, levels)

    def at(self, horizon: int, levels: Sequence[float]) -> Ensemble:
        """The same predictor made ready for another horizon and other levels."""
        other = copy(self)
        other._aim(horizon, levels)
        return other

    def _aim(self, horizon: int, levels: Sequence[float]) -> None:
        from chronos_assets.models.checkpoints import check_quantiles

        if horizon < 1:
            raise ValueError(f"horizon is {horizon}: it must be 1 or more")
        for forecaster in self.forecasters.values():
            check_quantiles(forecaster.model.description, levels)
        self.horizon = horizon
        self.levels = tuple(levels)

    @property
    def reads_covariates(self) -> bool:
        """Whether forecasts depend on covariates."""
        return self.predictor.reads_covariates

    @property
    def covariate_reach(self) -> int:
        """Latest periods whose covariates are read."""
        natively = any(reads_natively(name) for name in self.predictor.members)
        regression = REACH + self.horizon if self.predictor.regression is not None else 0
        return max(regression, COVARIATE_REACH if natively else 0)

    @property
    def unrolled(self) -> bool:
        """Whether the horizon is longer than what one of the networks forecasts at once."""
        return any(self.horizon > item.model.description.block_length for item in self.forecasters.values())

    @property
    def passes(self) -> dict[str, Any] | None:
        """How the networks run that the predictor needs: see `merge_passes`; None if it needs none."""
        return merge_passes([forecaster.passes for forecaster in self.forecasters.values()])

    @property
    def method(self) -> str:
        """How the quantiles are made, in a sentence."""
        shares = sorted(zip(self.predictor.weights.tolist(), self.predictor.members, strict=True), reverse=True)
        named = ", ".join(f"{name} {100 * weight:.0f}%" for weight, name in shares if weight > 0)
        own = f"; {len(self.predictor.items):,} items have weights of their own" if self.predictor.items else ""
        beyond = [forecaster.at(self.horizon, self.levels) for forecaster in self.forecasters.values()]
        unrolled = "".join(f"; networks beyond their block by {item.method}" for item in beyond[:1] if item.unrolled)
        return f"calibrated average of {named}{own}{unrolled}"

    def forecast(
        self,
        contexts: Sequence[Floats],
        *,
        seeds: Sequence[int] | None = None,
        groups: Sequence[Hashable] | None = None,
        non_negative: Sequence[bool] | None = None,
        keys: Sequence[Key] | None = None,
        covariates: Sequence[Covariates] | None = None,
        baseline: Sequence[Covariates] | None = None,
    ) -> BatchForecast:
        """Forecast the periods that follow each context; see `Forecaster.forecast`.

        Args:
            contexts: values of each series up to its last period, (T,); NaN or infinite where nothing was observed.
            seeds: a seed for each series, for families that sample.
            groups: label of each series, where rows of a network's pass are not independent.
            non_negative: of each series, whether its forecast must not be below zero; none, if not given.
            keys: item id and dimensions of each series, for weights of its own; all have the pooled ones if not given.
            covariates: of each series, at the periods of its context and those to forecast; none if not given.
            baseline: of a what-if forecast, what the covariates are without its scenario.
        """
        given = [np.asarray(context, dtype=np.float64) for context in contexts]
        values = [context[-self.context_length :] for context in given]
        count = len(values)
        skipped, constants, usable = self._sorted_out(values, given)
        flat = np.zeros(count, dtype=bool)
        quantiles = np.full((count, self.horizon, len(LEVELS)), np.nan)
        for place, value in constants.items():
            flat[place], quantiles[place] = True, value
        bounded = np.zeros(count, dtype=bool) if non_negative is None else np.asarray(non_negative, dtype=bool)
        below = np.zeros((count, self.horizon), dtype=bool)
        names = self.predictor.trait_names
        traits = np.full((count, len(names)), np.nan) if names else None
        if usable:
            rows = np.array(usable, dtype=np.intp)
            everything = Contexts(
                values,
                self.horizon,
                self.predictor.seasons,
                seeds=seeds if seeds is not None else range(count),
                groups=groups or (),
                covariates=covariates or (),
            )
            chosen = everything.take(rows)
            found = self.predictor.traits_of(chosen.values)
            if traits is not None and found is not None:
                traits[rows] = found
            combined = self._combined(
                chosen,
                [keys[place] if keys else None for place in usable],
                found,
                [baseline[place] for place in usable] if baseline is not None else None,
            )
            below[rows] = combined.min(axis=2) < 0
            # Before they are calibrated: factors are of bands that end at zero, see `learning`.
            combined = np.where(bounded[rows][:, None, None], np.maximum(combined, 0.0), combined)
            quantiles[rows] = self.calibration.apply(combined)
        return self._finished(quantiles, below, bounded, skipped, flat, traits)

    def _finished(
        self,
        quantiles: Floats,
        below: Booleans,
        bounded: Booleans,
        skipped: Sequence[Skip],
        flat: Booleans,
        traits: Floats | None,
    ) -> BatchForecast:
        """The forecast of quantiles (N, horizon, LEVELS): bounded, with its mean, at the levels that are asked for.

        Args:
            quantiles: NaN where there is none.
            below: where the members' average was below zero, (N, horizon).
            bounded: of each series, whether its forecast must not be below zero, (N,).
            skipped: the series that can't be forecast.
            flat: of each series, whether it is constant, (N,).
            traits: of each series; None where the predictor asks for none.
        """
        from chronos_assets.models.forecasting import BatchForecast, Skip

        count = len(quantiles)
        failed = set(range(count)) - {skip.index for skip in skipped}
        failed &= set(np.flatnonzero(~np.isfinite(quantiles).all(axis=(1, 2))).tolist())
        skipped = [*skipped, *(Skip(place, "no member gave a forecast that is finite") for place in failed)]
        raised = np.where(bounded, (below | (quantiles.min(axis=2) < 0)).sum(axis=1), 0)
        quantiles = np.where(bounded[:, None, None], np.maximum(quantiles, 0.0), quantiles)
        mean = mean_of_quantiles(quantiles, LEVELS)
        return BatchForecast(
            np.maximum.accumulate(interpolate(quantiles, LEVELS, self.levels), axis=2),
            np.where(bounded[:, None], np.maximum(mean, 0.0), mean),
            tuple(sorted(skipped, key=lambda skip: skip.index)),
            np.zeros(count, dtype=np.int64),
            flat,
            raised,
            traits,
        )

    def _sorted_out(
        self, values: Sequence[Floats], given: Sequence[Floats]
    ) -> tuple[list[Skip], dict[int, float], list[int]]:
        """Which series can't be forecast, which are constant (place -> value), and the places of the others.

        Args:
            values: of each series, what the members read.
            given: of each series, the whole context.
        """
        from chronos_assets.models.forecasting import Skip

        skipped: list[Skip] = []
        constants: dict[int, float] = {}
        usable: list[int] = []
        for place, context in enumerate(values):
            seen = context[np.isfinite(context)]
            if reason := self._unusable(seen, given[place]):
                skipped.append(Skip(place, reason))
            elif seen.min() == seen.max():
                constants[place] = float(seen[0])
            else:
                usable.append(place)
        return skipped, constants, usable

    def _unusable(self, seen: Floats, context: Floats) -> str:
        """Why a series can't be forecast from what was observed of its context; empty if it can."""
        if not len(seen):
            if np.isfinite(context).any():
                return f"no observation in the last {self.context_length} periods, which is all the predictor reads"
            return "no observation"
        if len(seen) < self.min_observations:
            return f"{len(seen)} observations, fewer than the {self.min_observations} asked for"
        return f"values beyond {LARGEST:g}" if np.abs(seen).max() > LARGEST else ""

    def _combined(
        self,
        contexts: Contexts,
        keys: Sequence[Key | None],
        traits: Floats | None,
        baseline: Sequence[Covariates] | None,
    ) -> Floats:
        """Quantiles (N, horizon, LEVELS), in order, of series that have something to tell; not calibrated yet."""
        weights = self.predictor.weights_of_series(keys, traits)
        total = np.zeros(len(contexts))
        result = np.zeros((len(contexts), contexts.horizon, len(LEVELS)))
        shift = self._shift(contexts, baseline) if baseline is not None else None
        for share, member in zip(weights.T, self.members, strict=True):
            rows = np.flatnonzero(share > 0)
            if len(rows):
                made = member.forecast(contexts.take(rows))
                if baseline is not None and not reads_covariates(member.name):
                    made = (
                        made + shift[rows][:, :, None]
                        if shift is not None
                        else self._moved(made, contexts.take(rows), [baseline[place] for place in rows.tolist()])
                    )
                able = np.isfinite(made).all(axis=(1, 2))
                done = rows[able]
                total[done] += share[done]
                result[done] += share[done, None, None] * made[able]
        alone = np.flatnonzero(total == 0)  # no member with a weight could: TSB alone, of a series that isn't counts
        if len(alone):
            result[alone], total[alone] = SeasonalNaive().forecast(contexts.take(alone)), 1.0
        return np.sort(result / total[:, None, None], axis=2)

    def _shift(self, contexts: Contexts, baseline: Sequence[Covariates]) -> Floats | None:
        """How far a scenario moves the median of the network that reads covariates, (N, horizon); None with a regression."""
        member = next((member for member in self.members if reads_natively(member.name)), None)
        if member is None or self.predictor.regression is not None:
            return None
        before = replace(contexts, covariates=baseline)
        return np.asarray(member.forecast(contexts)[:, :, MEDIAN] - member.forecast(before)[:, :, MEDIAN])

    def _moved(self, made: Floats, contexts: Contexts, baseline: Sequence[Covariates]) -> Floats:
        """A forecast that knows no covariates, as it would be under the scenario by what the regression has learned."""
        regression = self.predictor.regression
        if regression is None:
            return made
        moved = np.empty_like(made)
        for place, (values, changed, before) in enumerate(
            zip(contexts.values, contexts.covariates, baseline, strict=True)
        ):
            rows, horizon = min(len(values), REACH), contexts.horizon
            change = (regression.effects(changed, rows, horizon) - regression.effects(before, rows, horizon))[-horizon:]
            if regression.link == "log":
                moved[place] = made[place] * np.exp(change)[:, None]
            else:
                unit = spread(values)
                moved[place] = made[place] + (change * (unit if np.isfinite(unit) else 0.0))[:, None]
        return moved
