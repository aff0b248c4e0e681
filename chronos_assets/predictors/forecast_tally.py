"""What a forecast job knows of a window while shards are read: how many series were forecast, which weren't, a few to be drawn.

Here: counting, and adding up what shards or processes counted. Elsewhere: the forecasts (`forecast_pieces`), what is said of
them (`workloads.forecast`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from chronos_assets.predictors.forecast_pieces import ForecastTask
from chronos_assets.predictors.forecast_request import ForecastRequest
from chronos_assets.timeseries.arrays import Floats
from chronos_assets.timeseries.dataset.series_keys import Key
from chronos_assets.timeseries.forecast.files import EXAMPLES

if TYPE_CHECKING:
    from chronos_assets.models.forecasting import BatchForecast

_EXAMPLE_POINTS = 160


@dataclass
class Tally:
    """What is known of one window."""

    series: int = 0
    crossed: int = 0
    flat: int = 0
    non_negative: int = 0
    raised: int = 0
    skipped: list[tuple[Key, str]] = field(default_factory=list)
    # Of the few series with the largest volume, by volume and key.
    examples: list[tuple[tuple[float, Key], dict[str, Any]]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """What was counted of other series, too."""
        for name in ("series", "crossed", "flat", "non_negative", "raised"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.skipped += other.skipped
        self.examples = sorted([*self.examples, *other.examples], key=lambda pair: pair[0])[:EXAMPLES]

    def count(
        self, tasks: Sequence[ForecastTask], places: Sequence[int], forecast: BatchForecast, request: ForecastRequest
    ) -> list[int]:
        """Count the tasks at some places, of which those are returned that could be forecast."""
        reasons = {skip.index: skip.reason for skip in forecast.skipped}
        self.skipped += [(tasks[place].key, reasons[place]) for place in places if place in reasons]
        kept = [place for place in places if place not in reasons]
        self.series += len(kept)
        self.crossed += int(forecast.crossed[kept].sum())
        self.flat += int(forecast.flat[kept].sum())
        self.non_negative += sum(tasks[place].non_negative for place in kept)
        self.raised += int((forecast.raised[kept] > 0).sum())
        for place in kept:
            self._keep_example(tasks[place], forecast.quantiles[place], request)
        return kept

    def _keep_example(self, task: ForecastTask, quantiles: Floats, request: ForecastRequest) -> None:
        """Keep it if it is among the few series with the largest volume, to be drawn."""
        volume = float(np.nansum(np.abs(task.context[-2 * request.horizon :])))
        rank = (-volume, task.key)
        if len(self.examples) < EXAMPLES or rank < self.examples[-1][0]:
            self.examples.append((rank, _example(task, quantiles, volume, request)))
            self.examples.sort(key=lambda pair: pair[0])
            del self.examples[EXAMPLES:]


def _example(task: ForecastTask, quantiles: Floats, volume: float, request: ForecastRequest) -> dict[str, Any]:
    """A series' last values and its forecast, thinned alike so that both keep one time scale, and from when to when."""
    levels, horizon = request.levels, request.horizon
    history = task.context[-max(40, 2 * horizon) :]
    step = -(-(len(history) + horizon) // _EXAMPLE_POINTS)
    example: dict[str, Any] = {
        "item": " / ".join(task.key),
        "key": list(task.key),
        "volume": volume if np.isfinite(volume) else 0.0,
        "history": _rounded(_thinned(history[::-1], step)[::-1]),
        "median": _rounded(_thinned(quantiles[:, levels.index(0.5)], step)),
        "low": None,
        "high": None,
    }
    if len(request.quantiles) > 1:
        low, high = request.quantiles[0], request.quantiles[-1]
        example |= {
            "low": _rounded(_thinned(quantiles[:, levels.index(low)], step)),
            "high": _rounded(_thinned(quantiles[:, levels.index(high)], step)),
            "band": [low, high],
        }
    return example


def _thinned(values: Floats, step: int) -> Floats:
    """Means of each `step` values, the last part as it is; NaN where all are."""
    if step == 1:
        return values
    parts = [values[start : start + step] for start in range(0, len(values), step)]
    return np.array([np.mean(part[np.isfinite(part)]) if np.isfinite(part).any() else np.nan for part in parts])


def _rounded(values: Floats) -> list[float | None]:
    """Six digits are enough to draw; JSON has no NaN."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]
