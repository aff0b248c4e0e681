"""What fine-tuning is shown: windows drawn from sources of series, mixed with stated probabilities.

Here belongs the way from series in memory to batches of scaled windows. Which series those are, and where they end so
that nothing held out is seen, is decided in `workloads.train`; the loss of a batch in `finetuning_families`.

The batch of a step is a pure function of (seed, step): a run that resumes from a checkpoint sees what an unbroken one
would have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.models.checkpoints import Family
from chronos_assets.models.scaling import Scaled, scale_only, standardise
from chronos_assets.timeseries.arrays import Floats

MIN_PAST = 60
"""Least context of a training window, as the Chronos paper's training script has it."""

_DRAWS = 200  # of a window that can be used, before the source is given up
_PADDED_TO = 64


class FinetuningError(ChronosAssetsError, RuntimeError):
    """Fine-tuning can't start or continue; the message says why and how to fix it, in one line."""


@dataclass(frozen=True)
class TrainingSeries:
    """A series up to the last period that training may see.

    Attributes:
        values: (n,), gaps filled as a forecast would see them, NaN where they are left.
        observed: (n,), where values were observed: filled ones are context, but nothing to learn to forecast.
    """

    values: Floats
    observed: NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """Windows on the scale of their own contexts.

    Attributes:
        context: (R, T) float32, NaN where nothing is known; shorter contexts are padded on the left.
        target: (R, P) float32, the periods that follow, NaN where nothing was observed.
    """

    context: NDArray[np.float32]
    target: NDArray[np.float32]


@dataclass(frozen=True)
class WindowShape:
    """What every window has in common.

    Attributes:
        context_length: periods of context at most.
        prediction_length: periods to learn to forecast.
        min_past: periods of context at least; if None, `MIN_PAST` but no more than half of a short series.
        drop_prob: of each window up to this share of the observations is hidden, as in the Chronos paper.
    """

    context_length: int
    prediction_length: int
    min_past: int | None = None
    drop_prob: float = 0.0


class WindowSource:
    """Series that windows are drawn from, each series equally often, and each place in it.

    Args:
        name: of the source, for messages.
        series: those too short for a window are left out, and counted.
        shape: of the windows.
        min_future: observed periods that a window needs after its context, where the series is long enough; up to
            `prediction_length` are used if there.

    Raises:
        FinetuningError: no series holds a window.
    """

    def __init__(self, name: str, series: Sequence[TrainingSeries], shape: WindowShape, min_future: int) -> None:
        self.name = name
        self._shape = shape
        self._series: list[TrainingSeries] = []
        self._cuts: list[tuple[int, int]] = []  # first and last number of periods of context
        if not series:
            raise FinetuningError(f"source {name!r} has no series: give it some, or leave it out of the mixture")
        for item in series:
            first = self._first_cut(len(item.values))
            last = max(first, len(item.values) - min(min_future, shape.prediction_length))
            if first < len(item.values):
                self._series.append(item)
                self._cuts.append((first, last))
        self.left_out = len(series) - len(self._series)
        if not self._series:
            longest = max(len(item.values) for item in series)
            raise FinetuningError(
                f"no window left in source {name!r}: its {len(series)} series have at most {longest} periods to train "
                f"on, and a window needs {shape.min_past or 1} of context and 1 more; give longer series, or a "
                "smaller min_past"
            )

    def __len__(self) -> int:
        return len(self._series)

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Context (t,) and target (prediction_length,) of one window, in the series' own units."""
        place = int(rng.integers(len(self._series)))
        item, (first, last) = self._series[place], self._cuts[place]
        cut = int(rng.integers(first, last + 1))
        start, stop = max(0, cut - self._shape.context_length), cut + self._shape.prediction_length
        context = item.values[start:cut].copy()
        target = np.full(self._shape.prediction_length, np.nan)
        future = np.where(item.observed[cut:stop], item.values[cut:stop], np.nan)
        target[: len(future)] = future
        if self._shape.drop_prob:
            hidden = rng.random(len(context) + len(target)) < rng.uniform(0.0, self._shape.drop_prob)
            context[hidden[: len(context)]] = np.nan
            target[hidden[len(context) :]] = np.nan
        return context, target

    def _first_cut(self, length: int) -> int:
        if self._shape.min_past is not None:
            return self._shape.min_past
        return max(1, min(MIN_PAST, length // 2))


class Mixture:
    """Draws the batches.

    Args:
        sources: with the probability of each window to come from it; they sum to 1.
        family: decides how windows are scaled, as `forecasting` does.
        batch_size: windows in a batch.
        context_length: that of the sources' windows.
        seed: of all draws.
    """

    def __init__(
        self,
        sources: Mapping[WindowSource, float],
        *,
        family: Family,
        batch_size: int,
        context_length: int,
        seed: int,
    ) -> None:
        self._sources = list(sources)
        self._probabilities = np.array([sources[source] for source in self._sources])
        if abs(self._probabilities.sum() - 1) > 1e-6:
            raise ValueError(f"the probabilities of the sources sum to {self._probabilities.sum():g}, not to 1")
        self._probabilities /= self._probabilities.sum()
        self._scale = scale_only if family == "t5" else standardise
        self._batch_size = batch_size
        self._context_length = context_length
        self._seed = seed

    def batch(self, step: int) -> Batch:
        """The batch of `step`, the same whenever it is asked for.

        Raises:
            FinetuningError: a source holds next to no window with something to see and something to forecast.
        """
        rng = np.random.default_rng((self._seed, step))
        chosen = rng.choice(len(self._sources), size=self._batch_size, p=self._probabilities)
        windows = [self._window(self._sources[place], rng) for place in chosen]
        longest = max(len(context.values) for context, _ in windows)
        width = min(self._context_length, -(-longest // _PADDED_TO) * _PADDED_TO)
        rows = np.full((len(windows), width), np.nan, dtype=np.float32)
        for row, (context, _) in zip(rows, windows, strict=True):
            row[width - len(context.values) :] = context.values
        return Batch(rows, np.stack([target for _, target in windows]))

    def _window(self, source: WindowSource, rng: np.random.Generator) -> tuple[Scaled, NDArray[np.float32]]:
        """A window with a scale (a flat context is forecast without the network) and something to forecast."""
        for _ in range(_DRAWS):
            context, target = source.draw(rng)
            context[~np.isfinite(context)] = np.nan
            if np.isnan(context).all() or not np.isfinite(target).any():
                continue
            scaled = self._scale(context)
            if scaled is not None:
                return scaled, np.where(np.isfinite(target), scaled.apply(target), np.float32(np.nan))
        raise FinetuningError(
            f"no window left in source {source.name!r}: {_DRAWS} in a row had no observations that differ to learn "
            "from, or none to forecast; leave out constant or empty series"
        )


def mixture_probabilities(asked: Mapping[str, float] | None, present: Sequence[str]) -> dict[str, float]:
    """The probability of each source to be drawn from.

    Args:
        asked: source -> probability; if None, 0.9 for `target` and 0.1 for `synthetic`, or 1 for what there is.
        present: sources that the job was given.

    Raises:
        FinetuningError: a source that isn't there has a probability, they don't sum to 1, or there is no source.
    """
    if not present:
        raise FinetuningError("there is nothing to train on: give the channel `synthetic`, `target`, or both")
    if asked is None:
        return {"target": 0.9, "synthetic": 0.1} if len(present) > 1 else {present[0]: 1.0}
    problems = [
        f"{name} has {share:g} but the job has no such channel (it has {', '.join(present)})"
        for name, share in asked.items()
        if share and name not in present
    ]
    problems += [f"{name} has {share:g}, which is below 0" for name, share in asked.items() if share < 0]
    if not problems and abs(sum(asked.values()) - 1) > 1e-6:
        problems.append(f"the probabilities sum to {sum(asked.values()):g}, not to 1")
    if problems:
        raise FinetuningError(f"mixture: {'; '.join(problems)}")
    return {name: share for name, share in asked.items() if share}
