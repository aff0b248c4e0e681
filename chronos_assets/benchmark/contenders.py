"""What makes the forecasts of the zero-shot benchmark's contenders, of every program in one form.

Here belong the calls of libraries; which contenders there are is in `benchmark.models`, what is asked of them
and how it is scored in `workloads.zero_shot`. The library of the optional extra
(statsforecast) is imported where it is used.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from chronos_assets.benchmark.models import CHECKPOINT_PROGRAM, ETS_PROGRAM, NAIVE_PROGRAM, THETA_PROGRAM
from chronos_assets.benchmark.scores import Contender
from chronos_assets.benchmark.tasks import LEVELS, candidate_seasons, season
from chronos_assets.container.contract import WorkloadError
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.scoring.baselines import seasonal_naive, spread_to_quantiles

if TYPE_CHECKING:
    from chronos_assets.predictors.ensemble import Ensemble


class ReadyContender(Protocol):
    """A model ready for one horizon and season."""

    def __call__(self, histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        """Quantiles (n, horizon, levels) of what follows each history; NaN for series that it can't forecast.

        Args:
            histories: values of each series, (T,), NaN where missing.
            places: number of each series in its set, for seeds.
        """


@dataclass(frozen=True)
class ReadyPredictor:
    """A predictor learned for one set.

    Attributes:
        forecasts: of the ensemble.
        seconds: that learning took.
        members: those of each of its members by itself, by name.
    """

    forecasts: ReadyContender
    seconds: float
    members: Mapping[str, ReadyContender]


def open_contender(contender: Contender, horizon: int, periods: int, workers: int | None = None) -> ReadyContender:
    """Load a contender for a horizon.

    Args:
        contender: what to load.
        horizon: steps to forecast.
        periods: in a season, for the statistical models.
        workers: batches of a network run at once; the process's cores if not given.

    Raises:
        WorkloadError: no such program, or its library is not installed.
    """
    try:
        match contender.program:
            case p if p == NAIVE_PROGRAM:
                return naive_forecasts(horizon, periods)
            case p if p == CHECKPOINT_PROGRAM:
                return _chronos(contender.reference, horizon, workers)
            case p if p in (ETS_PROGRAM, THETA_PROGRAM):
                return _statistical(contender.program, horizon, periods)
    except ImportError as error:
        raise WorkloadError(f"{contender.name} can't be measured: {error}; install the extra baselines") from error
    raise WorkloadError(f"{contender.name}: there is no program {contender.program!r}")


def naive_forecasts(horizon: int, periods: int) -> ReadyContender:
    """Seasonal naive: a point that stands for every quantile."""

    def forecast(histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        points = [seasonal_naive(history, periods, horizon) for history in histories]
        return spread_to_quantiles(np.array(points).reshape(len(histories), horizon), len(LEVELS))

    return forecast


def _chronos(reference: str, horizon: int, workers: int | None) -> ReadyContender:
    from chronos_assets.models.forecasting import Forecaster
    from chronos_assets.models.loading import load_model

    forecaster = Forecaster(load_model(reference), horizon, LEVELS, workers=workers)

    def forecast(histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        return forecaster.forecast(histories, seeds=places).quantiles

    return forecast


def _statistical(program: str, horizon: int, periods: int) -> ReadyContender:
    """AutoETS or AutoTheta of statsforecast with its intervals' edges as quantiles; gaps are interpolated."""
    from statsforecast.models import AutoETS, AutoTheta

    make = AutoETS if program == ETS_PROGRAM else AutoTheta
    bands = sorted({round(100 * abs(1 - 2 * level)) for level in LEVELS} - {0})
    columns = ["mean" if level == 0.5 else _edge(level) for level in LEVELS]

    def one(history: Floats) -> Floats:
        known = np.flatnonzero(np.isfinite(history))
        if not len(known):
            return np.full((horizon, len(LEVELS)), np.nan)
        values = np.interp(np.arange(known[0], len(history)), known, history[known])
        try:
            made = make(season_length=periods).forecast(y=values, h=horizon, level=bands)
        except Exception:  # noqa: BLE001 - whatever a fit ends in, the series counts as one that it can't forecast
            return np.full((horizon, len(LEVELS)), np.nan)
        return np.sort(np.stack([np.asarray(made[column], dtype=np.float64) for column in columns], axis=-1), axis=-1)

    def forecast(histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        return np.array([one(history) for history in histories]).reshape(len(histories), horizon, len(LEVELS))

    return forecast


def _edge(level: float) -> str:
    """Statsforecast's name of a quantile: the lower or upper edge of a central interval."""
    return f"{'lo' if level < 0.5 else 'hi'}-{round(100 * abs(1 - 2 * level))}"


def open_predictor(
    contender: Contender, horizon: int, frequency: str, past: Iterable[tuple[int, Floats]], workers: int | None = None
) -> ReadyPredictor:
    """The default predictor, learned from a set's own past as a run learns it from a dataset's.

    Args:
        contender: whose reference is the base model.
        horizon: steps to forecast.
        frequency: pandas' name of the set's frequency.
        past: place and values of a sample of the series, each up to its first window.
        workers: batches of a network run at once.
    """
    from chronos_assets.models.forecasting import Forecaster
    from chronos_assets.models.loading import load_model
    from chronos_assets.predictors.backtest_windows import BacktestPast, past_windows
    from chronos_assets.predictors.ensemble import Ensemble
    from chronos_assets.predictors.zero_shot import learn_predictor, zero_shot_recipe

    forecasters = {"chronos": Forecaster(load_model(contender.reference), horizon, LEVELS, workers=workers)}
    began = time.perf_counter()
    series = [BacktestPast((str(place),), values, values) for place, values in past]
    windows = past_windows(series, horizon, season=season(frequency))
    predictor = learn_predictor(windows, forecasters, zero_shot_recipe(horizon, candidate_seasons(frequency)))
    ensemble = Ensemble(predictor, forecasters, horizon, LEVELS)
    return ReadyPredictor(
        _of_ensemble(ensemble),
        time.perf_counter() - began,
        {
            member: _of_ensemble(Ensemble(predictor.alone(member), forecasters, horizon, LEVELS))
            for member in ensemble.predictor.members
        },
    )


def _of_ensemble(ensemble: Ensemble) -> ReadyContender:
    from chronos_assets.models.quantiles import is_non_negative

    def forecast(histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        bounded = [
            is_non_negative(None, np.min(values, initial=np.inf, where=np.isfinite(values))) for values in histories
        ]
        keys = [(str(place),) for place in places]
        return ensemble.forecast(histories, seeds=places, non_negative=bounded, keys=keys).quantiles

    return forecast
