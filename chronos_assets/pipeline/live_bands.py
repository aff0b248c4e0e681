"""What came of published forecasts, and what the next one makes of it: the widths of its bands.

Here: which partitions tell, what they say together, and the record that a partition keeps of it. Elsewhere: how much of its
width a published band needed (`timeseries.scoring.band_widths`), the scores beside which that is kept
(`pipeline.accuracy`), how bands are calibrated by backtests (`predictors.calibration`).

Backtests know the past as it is known today, published forecasts met the future as it came. Only partitions that were forecast
before their horizon was observed tell, only once it was observed by the as-of, and only those of the same model. Since a few
of them say little, widths are left alone unless their deviation is beyond chance, and then corrected by what is left of it.

A partition's record is kept when it is forecast again, so that it comes out as it was, whatever has been scored since.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chronos_assets.pipeline.moments import timestamp
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.windows import Window
from chronos_assets.platforms.store import published_partitions
from chronos_assets.timeseries.scoring.accuracy import AccuracyReport

LATEST = 8  # partitions that are asked, whose horizons don't overlap
CERTAINTY = 2.0  # standard errors that a deviation has to be beyond
TYPICAL_SPREAD = 0.3  # of the logarithms of what partitions need
_SPREAD_COUNTS = 2  # partitions that the typical spread stands for
_DIGITS = 6


@dataclass(frozen=True)
class LiveBand:
    """What a partition that was forecast in time says.

    Attributes:
        start, end: first and last period of its horizon.
        model: digest of the model that made it.
        needed: by what its widths should have been multiplied, what they were widened by themselves included.
    """

    start: np.datetime64
    end: np.datetime64
    model: str
    needed: float


def live_document(forecast: Mapping[str, Any], report: AccuracyReport) -> dict[str, Any] | None:
    """What a partition's scores keep for `live_records`; None where it was not forecast in time, or has no band.

    Args:
        forecast: manifest of the partition's forecast.
        report: its scores.
    """
    needed = report.widths.needed
    live = forecast.get("live", {})
    if needed is None or not live.get("in_time") or forecast["trained_on_later_data"]:
        return None
    return {
        "start": forecast["forecast_start"],
        "end": forecast["forecast_end"],
        "model": forecast["model"]["digest"],
        "needed": round(needed * live["width"], _DIGITS),
    }


def live_records(state: GroupState, windows: Sequence[Window]) -> dict[str, dict[str, Any]]:
    """The parameter `live` of the windows of a forecast, by key: what the partition has, or what is known by its as-of."""
    grid, model = state.params.grid, state.model_in_use.digest
    bands = [
        LiveBand(timestamp(found["start"]), timestamp(found["end"]), found["model"], float(found["needed"]))
        for _, _, manifest in published_partitions(state.group.store, "accuracy")
        if (found := manifest.get("live")) is not None
    ]
    made = {key: manifest for key, _, manifest in published_partitions(state.group.store, "history")}
    records = {}
    for window in windows:
        before = made.get(window.key)
        if before is not None and "live" in before and _same_recipe(before, state):
            records[window.key] = dict(before["live"])
            continue
        ends = grid.start(grid.ordinal(np.array([band.end for band in bands], dtype="datetime64[us]")) + 1)
        known = [
            band
            for band, over in zip(bands, ends, strict=True)
            if band.model == model and over <= np.datetime64(window.end, "us")
        ]
        asked = latest_apart(known)
        records[window.key] = {"width": live_width([band.needed for band in asked]), "partitions": len(asked)}
    return records


def _same_recipe(made: Mapping[str, Any], state: GroupState) -> bool:
    return bool((made["model"]["digest"], made["params_digest"]) == (state.model_in_use.digest, state.params.digest))


def latest_apart(bands: Sequence[LiveBand]) -> list[LiveBand]:
    """The latest of them whose horizons don't overlap, the latest first."""
    found: list[LiveBand] = []
    for band in sorted(bands, key=lambda band: (band.end, band.start), reverse=True):
        if len(found) < LATEST and (not found or band.end < found[-1].start):
            found.append(band)
    return found


def live_width(needed: Sequence[float]) -> float:
    """By what the next forecast's widths are multiplied, from what published ones needed.

    The mean of their logarithms, shrunk by how uncertain it is (James & Stein): to nothing at `CERTAINTY` standard errors.
    """
    if not needed:
        return 1.0
    logs = [math.log(value) for value in needed]
    count = len(logs)
    mean = math.fsum(logs) / count
    spread = (math.fsum((log - mean) ** 2 for log in logs) + _SPREAD_COUNTS * TYPICAL_SPREAD**2) / (
        count - 1 + _SPREAD_COUNTS
    )
    left = max(0.0, 1 - CERTAINTY**2 * spread / count / max(mean**2, 1e-12))
    return round(math.exp(left * mean), _DIGITS)
