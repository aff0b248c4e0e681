"""What makes the forecasts of the zero-shot benchmark's contenders, of every program in one form.

Here belong the calls of libraries; which contenders there are is in `benchmark.models`, what is asked of them
and how it is scored in `workloads.zero_shot`. Libraries of optional extras (statsforecast, fracast) are imported where
they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from chronos_assets.benchmark.models import (
    CHECKPOINT_PROGRAM,
    ETS_PROGRAM,
    FRACAST_PROGRAM,
    NAIVE_PROGRAM,
    THETA_PROGRAM,
)
from chronos_assets.benchmark.scores import Contender
from chronos_assets.benchmark.tasks import LEVELS, Floats
from chronos_assets.container.contract import WorkloadError
from chronos_assets.timeseries.scoring.baselines import seasonal_naive, spread_to_quantiles

_PEER_BATCH = 4  # of 2,048 steps each: more don't fit the processor's cache, and take twice the time
_PEER_LEAST = 8  # observations that Fracast-0 needs


class Forecasts(Protocol):
    """A model ready for one horizon and season."""

    def __call__(self, histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        """Quantiles (n, horizon, levels) of what follows each history; NaN for series that it can't forecast.

        Args:
            histories: values of each series, (T,), NaN where missing.
            places: number of each series in its set, for seeds.
        """


def open_contender(contender: Contender, horizon: int, season: int, workers: int | None = None) -> Forecasts:
    """Load a contender for a horizon.

    Args:
        contender: what to load.
        horizon: steps to forecast.
        season: periods in a season, for the statistical models.
        workers: batches of a network run at once; the process's cores if not given.

    Raises:
        WorkloadError: no such program, or its library is not installed.
    """
    try:
        match contender.program:
            case p if p == NAIVE_PROGRAM:
                return naive_forecasts(horizon, season)
            case p if p == CHECKPOINT_PROGRAM:
                return _chronos(contender.reference, horizon, workers)
            case p if p in (ETS_PROGRAM, THETA_PROGRAM):
                return _statistical(contender.program, horizon, season)
            case p if p == FRACAST_PROGRAM:
                return _fracast(horizon, workers)
    except ImportError as error:
        raise WorkloadError(
            f"{contender.name} can't be measured: {error}; install the extra (baselines, peers) that holds it"
        ) from error
    raise WorkloadError(f"{contender.name}: there is no program {contender.program!r}")


def naive_forecasts(horizon: int, season: int) -> Forecasts:
    """Seasonal naive: a point that stands for every quantile."""

    def forecast(histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        points = [seasonal_naive(history, season, horizon) for history in histories]
        return spread_to_quantiles(np.array(points).reshape(len(histories), horizon), len(LEVELS))

    return forecast


def _chronos(reference: str, horizon: int, workers: int | None) -> Forecasts:
    from chronos_assets.models.forecasting import Forecaster
    from chronos_assets.models.loading import load_model

    forecaster = Forecaster(load_model(reference), horizon, LEVELS, workers=workers)

    def forecast(histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        return forecaster.forecast(histories, seeds=places).quantiles

    return forecast


def _statistical(program: str, horizon: int, season: int) -> Forecasts:
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
            made = make(season_length=season).forecast(y=values, h=horizon, level=bands)
        except Exception:  # noqa: BLE001 - whatever a fit ends in, the series counts as one that it can't forecast
            return np.full((horizon, len(LEVELS)), np.nan)
        return np.sort(np.stack([np.asarray(made[column], dtype=np.float64) for column in columns], axis=-1), axis=-1)

    def forecast(histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        return np.array([one(history) for history in histories]).reshape(len(histories), horizon, len(LEVELS))

    return forecast


def _edge(level: float) -> str:
    """Statsforecast's name of a quantile: the lower or upper edge of a central interval."""
    return f"{'lo' if level < 0.5 else 'hi'}-{round(100 * abs(1 - 2 * level))}"


def _fracast(horizon: int, workers: int | None) -> Forecasts:
    """Fracast-0 with the weights of its wheel: whole batches side by side, each on one thread."""
    import torch
    from fracast import FracastModel

    from chronos_assets.models.forecasting import available_cores

    model: Any = FracastModel.from_pretrained(weights="fp32")
    columns = [model.quantiles.index(level) for level in LEVELS]

    def batch(tails: Sequence[Floats]) -> Floats:
        contexts = np.full((len(tails), max(len(tail) for tail in tails)), np.nan)
        for row, tail in enumerate(tails):
            contexts[row, contexts.shape[1] - len(tail) :] = tail
        return np.sort(model.forecast_batch(contexts, horizon=horizon)[..., columns], axis=-1)

    def forecast(histories: Sequence[Floats], places: Sequence[int]) -> Floats:
        found = np.full((len(histories), horizon, len(LEVELS)), np.nan)
        tails = [history[-model.context_length :] for history in histories]
        able = [row for row, tail in enumerate(tails) if np.isfinite(tail).sum() >= _PEER_LEAST]
        batches = [able[start : start + _PEER_BATCH] for start in range(0, len(able), _PEER_BATCH)]
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(workers or available_cores()) as pool:
                made = pool.map(batch, [[tails[row] for row in rows] for rows in batches])
                for rows, values in zip(batches, made, strict=True):
                    found[rows] = values
        finally:
            torch.set_num_threads(before)
        return found

    return forecast
