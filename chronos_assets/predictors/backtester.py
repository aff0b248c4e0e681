"""Forecasts of past windows by members, each made once, whoever asks for them.

Elsewhere: which windows there are (`backtests` for the zero-shot predictor, the workloads for a trained one), what is learned
from their forecasts (`learning`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chronos_assets.params.predictor import DEFAULT_METRIC
from chronos_assets.predictors import selection
from chronos_assets.predictors.losses import Actuals
from chronos_assets.predictors.members.base import LEVELS, Contexts, Covariates, Member
from chronos_assets.predictors.members.catalogue import untuned
from chronos_assets.predictors.members.regression import History
from chronos_assets.predictors.predictor import Key
from chronos_assets.timeseries.arrays import Floats

WORTHWHILE = 0.01  # relative loss that covariates, or a training, have to lower, and more than chance would


@dataclass(frozen=True)
class PastWindow:
    """A stretch of a series whose values are known, and what was known before it.

    Attributes:
        key: item id and dimensions.
        history: (T,) everything before it, NaN where nothing was observed.
        actual: (horizon,), NaN where nothing was observed.
        scale: seasonal error of the history; what MASE divides by; NaN where there is none.
        end: number of its last period, on whatever scale: windows of one key differ in it, or in their length.
        covariates: at the periods of the history and of the window, as they were known before it; None without any.
    """

    key: Key
    history: Floats
    actual: Floats
    scale: float
    end: int
    covariates: Covariates | None = None

    @property
    def identity(self) -> tuple[Key, int, int]:
        """What tells it from other windows of the same data."""
        return self.key, self.end, len(self.actual)

    def begins_by(self, period: int) -> bool:
        """Whether its first period is the one of this number, or an earlier one."""
        return self.end - len(self.actual) < period


def clearly_lower(after: Floats, before: Floats) -> bool:
    """Whether losses (N,) of the same windows are lower by more than chance would have it, and enough to matter."""
    gain = before - after
    return bool(gain.sum() > max(WORTHWHILE * before.sum(), _by_chance(gain)))


def _by_chance(gains: Floats) -> float:
    """Standard deviation of the sum of gains (N,) that have nothing to do with one another."""
    return float(gains.std()) * float(np.sqrt(len(gains)))


class Backtester:
    """Forecasts of past windows by every member, each made once: predictors of successive as-ofs share most of their windows.

    Args:
        members: that forecast.
        seasons: candidate seasons in periods.
    """

    def __init__(self, members: Sequence[Member], seasons: tuple[int, ...]) -> None:
        self.members = tuple(members)
        self.seasons = seasons
        self.forecast_windows = 0
        self.seconds = np.zeros(len(self.members))
        self._made: dict[tuple[Key, int, int], Floats] = {}

    def forecast(self, windows: Sequence[PastWindow]) -> Floats:
        """Quantiles (M, N, horizon, LEVELS) of windows of one length."""
        missing = [window for window in windows if window.identity not in self._made]
        if missing:
            made = self._forecast(missing)
            self.forecast_windows += len(missing)
            for place, window in enumerate(missing):
                self._made[window.identity] = made[:, place]
        return np.stack([self._made[window.identity] for window in windows], axis=1)

    @property
    def speeds(self) -> Floats:
        """Windows per second of each member, (M,)."""
        return self.forecast_windows / np.maximum(self.seconds, 1e-9)

    def forget_all_but(self, windows: Sequence[PastWindow]) -> None:
        """Let go of the forecasts of other windows, so that memory is that of one predictor's."""
        kept = {window.identity for window in windows}
        self._made = {identity: made for identity, made in self._made.items() if identity in kept}

    def _forecast(self, windows: Sequence[PastWindow]) -> Floats:
        horizon = len(windows[0].actual)
        covariates = [window.covariates or Covariates() for window in windows]
        contexts = Contexts([window.history for window in windows], horizon, self.seasons, covariates)
        made = np.empty((len(self.members), len(windows), horizon, len(LEVELS)))
        for place, member in enumerate(self.members):
            began = time.perf_counter()
            made[place] = member.forecast(contexts)
            self.seconds[place] += time.perf_counter() - began
        return made


class JoinedBacktester:
    """Two backtesters as one: members that forecasts of several as-ofs share, and those that were fitted for one of them.

    Args:
        shared: see `Backtester`; or several, joined.
        own: see `Backtester`.
    """

    def __init__(self, shared: Backtester | JoinedBacktester, own: Backtester) -> None:
        self.members: tuple[Member, ...] = (*shared.members, *own.members)
        self._parts = (shared, own)

    def forecast(self, windows: Sequence[PastWindow]) -> Floats:
        """See `Backtester.forecast`."""
        return np.concatenate([part.forecast(windows) for part in self._parts])

    @property
    def speeds(self) -> Floats:
        """See `Backtester.speeds`."""
        return np.concatenate([part.speeds for part in self._parts])

    def forget_all_but(self, windows: Sequence[PastWindow]) -> None:
        """See `Backtester.forget_all_but`."""
        for part in self._parts:
            part.forget_all_but(windows)


class StandIns:
    """A backtester whose tuned members leave windows that they were trained on to the base model at the same rate.

    What a checkpoint makes of what it has seen says nothing of what it will make of the next windows; windows that neither
    has seen do, but they are few. So the base model stands in with its errors as much smaller as the checkpoint's were on
    those, as far as they can be trusted: what was seen then neither speaks for the checkpoint, nor dilutes what training
    has clearly brought.

    Args:
        backtester: of the members; a tuned one without the base model's beside it must not be asked for windows it has seen.
        trained_until: number of the last period that the checkpoint was trained on, as the windows' `end` counts.
    """

    def __init__(self, backtester: Backtester | JoinedBacktester, trained_until: int) -> None:
        self.members = backtester.members
        self._backtester = backtester
        self._trained_until = trained_until
        names = [member.name for member in self.members]
        self._pairs = [
            (place, names.index(base))
            for place, name in enumerate(names)
            if (base := untuned(name)) != name and base in names
        ]

    def forecast(self, windows: Sequence[PastWindow]) -> Floats:
        """See `Backtester.forecast`."""
        made = self._backtester.forecast(windows)
        known = np.array([window.begins_by(self._trained_until) for window in windows])
        actuals = actuals_of(windows)
        seen = actuals.values[known][:, :, None]
        unseen = np.flatnonzero(~known)
        for tuned, base in self._pairs:
            share = _error_share(made[tuned, unseen], made[base, unseen], actuals.take(unseen))
            less = seen + share * (made[base, known] - seen)
            made[tuned, known] = np.where(np.isfinite(seen), less, made[base, known])
        return made

    @property
    def speeds(self) -> Floats:
        """See `Backtester.speeds`."""
        return self._backtester.speeds

    def forget_all_but(self, windows: Sequence[PastWindow]) -> None:
        """See `Backtester.forget_all_but`."""
        self._backtester.forget_all_but(windows)


def _error_share(after: Floats, before: Floats, actuals: Actuals) -> float:
    """How large errors are at most after a training, beside those before, by windows (N, horizon, LEVELS); 1 without any.

    As large as chance may have hidden: validation windows have chosen the checkpoint, and flatter it.
    """
    if not len(actuals):
        return 1.0
    losses = selection.blended_losses(np.stack([after, before]), actuals, DEFAULT_METRIC)
    if not clearly_lower(*losses):
        return 1.0
    return float((losses[0].sum() + _by_chance(losses[1] - losses[0])) / losses[1].sum())


AnyBacktester = Backtester | JoinedBacktester | StandIns


def histories_before(windows: Sequence[PastWindow]) -> list[History]:
    """What was known of each series before its earliest window: what a regression may be fitted to that is tried on them."""
    earliest: dict[Key, PastWindow] = {}
    for window in windows:
        if window.covariates and (window.key not in earliest or window.end < earliest[window.key].end):
            earliest[window.key] = window
    return [History(window.history, window.covariates) for window in earliest.values() if window.covariates]


def actuals_of(windows: Sequence[PastWindow]) -> Actuals:
    """What happened in windows of one length."""
    return Actuals(np.stack([window.actual for window in windows]), np.array([window.scale for window in windows]))
