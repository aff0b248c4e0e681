"""Quick backtests: the windows of the past that a zero-shot predictor is learned from, of a sample of the series.

Here belong which series and which windows. They lie end to end before the as-of, so that nothing that a forecast of that
as-of couldn't know is used. Series too short for whole windows are tried with half and with a quarter of the horizon; where
there is no past to learn from, the prior weights stand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import numpy as np

from chronos_assets.predictors.learning import PastWindow
from chronos_assets.predictors.members.base import Floats
from chronos_assets.predictors.predictor import Key

SAMPLE = 256  # series
WINDOWS = 384  # in all, where there are fewer series: more of each
MOST_WINDOWS = 12  # of one series
LEAST_WINDOWS = 2
ZERO_SHOT_COST = 2.2  # plain passes of the network: with the backtests, a third of the bare model's speed is left
REACH = 512 * 24  # latest periods of a history that any member reads
_SHORTEST = 6  # observations before a window


def rank(seed: int, key: Key) -> bytes:
    """Where a series stands in the order that samples are taken from: by a digest, whatever the order of files."""
    return hashlib.sha256(json.dumps([seed, "backtest", *key]).encode()).digest()


def windows_each(series: int, least: int = LEAST_WINDOWS) -> int:
    """How many windows of each series are looked at."""
    return max(least, min(MOST_WINDOWS, WINDOWS // max(series, 1)))


def past_windows(
    series: Iterable[tuple[Key, Floats]], horizon: int, *, season: int, windows: int | None = None
) -> list[PastWindow]:
    """Windows of the given series, in their order, the latest first.

    Args:
        series: key and values up to the as-of, (T,), NaN where nothing was observed.
        horizon: periods that will be forecast; windows may be shorter, all alike.
        season: of the seasonal error that MASE divides by.
        windows: of each series at least; see `windows_each`.
    """
    known = [(key, np.asarray(values, dtype=np.float64)) for key, values in series]
    each = windows_each(len(known), windows or LEAST_WINDOWS)
    for length in dict.fromkeys((horizon, max(1, horizon // 2), max(1, horizon // 4))):
        cut = [window for key, values in known for window in _of_series(key, values, length, season, each)]
        if 2 * len({window.key for window in cut}) >= len(known):
            return cut
    return []


def _of_series(key: Key, values: Floats, horizon: int, season: int, windows: int) -> Iterable[PastWindow]:
    for number in range(1, windows + 1):
        end = len(values) - (number - 1) * horizon
        start = end - horizon
        if start < max(_SHORTEST, horizon // 2):
            return
        history, actual = values[:start], values[start:end]
        if np.isfinite(history).sum() < _SHORTEST or not np.isfinite(actual).any():
            continue
        yield PastWindow(key, history[-REACH:], actual, seasonal_error(history, season))


def seasonal_error(history: Floats, season: int) -> float:
    """Mean absolute difference from a season before, NaN without a pair; with 1 where the history has no season."""
    lag = season if season < len(history) else 1
    steps = np.abs(history[lag:] - history[:-lag])
    steps = steps[np.isfinite(steps)]
    return float(steps.mean()) if len(steps) else float("nan")


def sample(keys: Sequence[Key], seed: int, most: int = SAMPLE) -> set[Key]:
    """At most so many of the keys, the same for the same seed."""
    return set(sorted(keys, key=lambda key: rank(seed, key))[:most])
