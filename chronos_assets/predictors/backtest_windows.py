"""Quick backtests: the windows of the past that a zero-shot predictor is learned from, of a sample of the series.

Here belong which series and which windows. They lie end to end before the as-of, so that nothing that a forecast of that
as-of couldn't know is used. Series too short for whole windows are tried with half and with a quarter of the horizon; where
there is no past to learn from, the prior weights stand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from chronos_assets.predictors.backtester import PastWindow
from chronos_assets.predictors.members.base import Covariates
from chronos_assets.predictors.predictor import Key
from chronos_assets.timeseries.arrays import Floats

SAMPLE = 256  # series
WINDOWS = 256  # in all, where there are fewer series: more of each
MOST_WINDOWS = 8  # of one series
LEAST_WINDOWS = 2
LONGEST_WINDOW = 64  # periods: what networks forecast at once
ZERO_SHOT_COST = 2.5  # plain passes of the network: with the backtests, a third of the bare model's speed is left
REACH = 512 * 24  # latest periods of a history that members are shown
_SHORTEST = 6  # observations before a window


def rank(seed: int, key: Key) -> bytes:
    """Where a series stands in the order that samples are taken from: by a digest, whatever the order of files."""
    return hashlib.sha256(json.dumps([seed, "backtest", *key]).encode()).digest()


def windows_each(series: int, least: int = LEAST_WINDOWS) -> int:
    """How many windows of each series are looked at."""
    return max(least, min(MOST_WINDOWS, WINDOWS // max(series, 1)))


@dataclass(frozen=True)
class BacktestPast:
    """What is known of a series up to an as-of.

    Attributes:
        key: item id and dimensions.
        values: (T,), gaps filled as a forecast would read them; NaN where they aren't.
        observed: (T,), NaN where nothing was observed.
        context_length: latest periods that a forecast may read; all that members reach if not given.
        end: number of the last period on the dataset's grid; windows end with the series if not given.
        covariates: at its periods, and as far after them as they are known; None without any.
    """

    key: Key
    values: Floats
    observed: Floats
    context_length: int | None = None
    end: int | None = None
    covariates: Covariates | None = None


def past_windows(
    series: Iterable[BacktestPast],
    horizon: int,
    *,
    season: int,
    windows: int | None = None,
    anchor: int = -1,
) -> list[PastWindow]:
    """Windows of the given series, in their order, the latest first.

    They end at whole multiples of their length, counted on the series' own scale (`BacktestPast.end`): as-ofs a few periods
    apart look at the same windows.

    Args:
        series: what is known of each.
        horizon: periods that will be forecast; windows may be shorter, all alike.
        season: of the seasonal error that MASE divides by.
        windows: of each series at least; see `windows_each`.
        anchor: number of a period that windows end with, on the series' own scale; the one before the first, if not given.
    """
    known = list(series)
    each = windows_each(len(known), windows or LEAST_WINDOWS)
    length = min(horizon, LONGEST_WINDOW)
    for shorter in dict.fromkeys((length, max(1, length // 2), max(1, length // 4))):
        cut = [window for past in known for window in _of_series(past, shorter, season, each, anchor)]
        if 2 * len({window.key for window in cut}) >= len(known):
            return cut
    return []


def _of_series(past: BacktestPast, horizon: int, season: int, windows: int, anchor: int) -> Iterator[PastWindow]:
    unused = (past.end - anchor) % horizon if past.end is not None else 0
    for number in range(windows):
        end = len(past.values) - unused - number * horizon
        start = end - horizon
        if start < max(_SHORTEST, horizon // 2):
            return
        history, actual = past.values[:start], past.observed[start:end]
        if np.isfinite(history).sum() < _SHORTEST or not np.isfinite(actual).any():
            continue
        reach = min(past.context_length or REACH, REACH)
        last = (past.end if past.end is not None else len(past.values) - 1) - (len(past.values) - end)
        scale = seasonal_error(past.observed[:start], season)
        covariates = past.covariates.earlier(len(past.values) - start, horizon) if past.covariates else None
        yield PastWindow(past.key, history[-reach:], actual, scale, last, covariates)


def seasonal_error(history: Floats, season: int) -> float:
    """Mean absolute difference from a season before, NaN without a pair; with 1 where the history has no season."""
    lag = season if season < len(history) else 1
    steps = np.abs(history[lag:] - history[:-lag])
    steps = steps[np.isfinite(steps)]
    return float(steps.mean()) if len(steps) else float("nan")
