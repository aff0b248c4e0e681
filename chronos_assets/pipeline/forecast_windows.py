"""Which windows there are: the newest, past ones that are scored, and where they end.

Elsewhere: windows by the calendar (`planning.windows`), what a forecast of one is (`forecasts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from chronos_assets.calendar.frequencies import Grid
from chronos_assets.calendar.time_zones import local_now
from chronos_assets.pipeline.dataset import known_after, last_instant
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.exports import windows_of_backtest
from chronos_assets.pipeline.moments import as_datetime
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.windows import Window, WindowRange, window_of


def all_windows(state: GroupState) -> WindowRange:
    """The windows up to the one that holds the present, by the clock of the data (`Chronos.TimeZone`).

    Partitions beyond it exist where that clock is ahead of UTC, see `pipeline.partitions`.
    """
    settings = state.group.settings
    start, now = settings.partition_start_time().replace(tzinfo=None), local_now(state.clock)
    if now < start:
        raise StepError(
            f"there are no partitions yet: CHRONOS_PARTITION_START is {settings.partition_start}; set it to a day before "
            "your data"
        )
    return WindowRange(settings.partitions, start, window_of(now, settings.partitions).end)


def main_windows(state: GroupState, backtest: int) -> tuple[Window, tuple[Window, ...]]:
    """The window that holds the last observation, and up to `backtest` windows before it with an observed horizon.

    The backtest windows are the latest whose forecasts start at different periods, oldest first; fewer (or none) when
    the data is too short for the horizon.

    Raises:
        ChronosAssetsError: there is no dataset, or the partitions end before the data or begin after it.
    """
    newest = _newest_window(state)
    return newest, tuple(window for _, window in islice(_past_windows(state, newest), backtest))[::-1]


def evaluation_windows(state: GroupState) -> tuple[Window, ...]:
    """The windows that `EvaluationParameters` ask for, oldest first; see `pipeline.exports.backtest_partitions`."""
    return tuple(windows_of_backtest(state, _past_windows(state, _newest_window(state))))


def _newest_window(state: GroupState) -> Window:
    """The window that holds the last observation; see `main_windows`."""
    manifest = state.require_manifest()
    first, last = as_datetime(manifest.first_timestamp), as_datetime(last_instant(state.params, manifest))
    return all_windows(state).newest(first, last)


def _past_windows(state: GroupState, newest: Window) -> Iterator[tuple[int, Window]]:
    """Windows up to `newest` whose horizon is observed, the latest first, with the last period that each saw."""
    group = state.group
    params, manifest = state.params, state.require_manifest()
    grid, cadence, lag = params.grid, group.settings.partitions, known_after(params, manifest)
    earliest = group.settings.partition_start_time().replace(tzinfo=None)
    first, last = manifest.span(grid)
    # Data may continue for centuries after the last partition, by a wrong year: no need to walk through them.
    last = min(last, grid.number_of(np.datetime64(newest.end, "us")) + params.horizon)
    for k in range(last - params.horizon, first - 1, -1):
        starts = grid.start(np.array([k, k + 1]))
        known = starts[1] - np.timedelta64(1, "us") if lag is None else starts[0] + lag
        window = window_of(as_datetime(known), cadence)
        if window.start < earliest:
            break
        if _last_allowed(grid, window, lag) == k and window.end <= newest.end:
            yield k, window


def _last_allowed(grid: Grid, window: Window, lag: np.timedelta64 | None) -> int:
    """Number of the last period that a forecast as of the window's end may read."""
    end = np.array([np.datetime64(window.end, "us")])
    return int(grid.last_known(end, lag)[0])
