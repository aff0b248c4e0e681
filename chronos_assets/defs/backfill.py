"""A backfill from a terminal: forecasts of past windows, their scores, the tables, on the store's own Dagster instance.

What the UI's backfill does, without the UI: the partitions are green there afterwards. Here: which windows are asked
for and which of them are left to make. What a partition means is in `defs.assets.forecasts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from chronos_assets.defs.launcher import Launcher, MainJobError, consecutive
from chronos_assets.defs.main_job import import_inputs
from chronos_assets.pipeline.accuracy import scorable, unscored_forecasts
from chronos_assets.pipeline.forecast_states import stale_forecasts
from chronos_assets.pipeline.forecast_windows import main_windows
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.tables import tables_are_current
from chronos_assets.planning.windows import Window, window_for_key, window_of


@dataclass(frozen=True)
class Backfilled:
    """What a backfill did.

    Attributes:
        windows: that were asked for, oldest first.
        made: those of them that were forecast; the others were as good as new.
        scored: those of them that were scored; of some the horizon isn't observed yet.
        runs: ids of the Dagster runs.
    """

    windows: tuple[Window, ...]
    made: tuple[Window, ...]
    scored: tuple[Window, ...]
    runs: tuple[str, ...]


def run_backfill(launcher: Launcher, first: str, last: str | None) -> Backfilled:
    """Forecast the windows from `first` to `last` that aren't forecast from today's data and model, and score them.

    Args:
        launcher: launches the runs.
        first: partition key of the first window, or a moment in it (ISO 8601).
        last: of the last window; None: the one that holds the last observation.

    Raises:
        ChronosAssetsError: the windows can't be forecast, or a run failed (both `MainJobError`), or can't be started.
        KeyboardInterrupt: the user wants to stop.
    """
    group, instance = launcher.group, launcher.instance
    import_inputs(launcher)
    state = GroupState(group)
    windows = _windows(state, first, last)
    stale = stale_forecasts(state, instance, windows)
    for part in consecutive(stale, group):
        launcher.run(["forecasts"], part)
    if stale:
        state = GroupState(group)
    unscored = unscored_forecasts(state, instance, scorable(state, windows))
    for part in consecutive(unscored, group):
        launcher.run(["forecast_accuracy"], part)
    # Also what a backfill before this one, which was killed, made and didn't show.
    if launcher.runs or not tables_are_current(state, instance):
        launcher.run(["forecast_tables"], [])
    return Backfilled(windows, tuple(stale), tuple(unscored), tuple(launcher.runs))


def _windows(state: GroupState, first: str, last: str | None) -> tuple[Window, ...]:
    """The windows that are asked for.

    Raises:
        MainJobError: they are none, or not all can be forecast.
    """
    group, manifest = state.group, state.require_manifest()
    newest, _ = main_windows(state, 0)
    begin = _window(group, "--from", first)
    end = newest if last is None else _window(group, "--to", last)
    oldest = max(
        window_of(datetime.fromisoformat(str(manifest.first)), group.settings.partitions),
        window_of(group.settings.partition_start_time(), group.settings.partitions),
    )
    if begin > newest:
        raise MainJobError(
            f"--from {begin.key} is after the window of the last observation: begin with --from {newest.key} at the latest"
        )
    if begin > end:
        raise MainJobError(f"--from {begin.key} is after --to {end.key}: swap them")
    if begin < oldest:
        raise MainJobError(
            f"--from {begin.key} is before the first window with an observation: begin with --from {oldest.key}"
        )
    if end > newest:
        raise MainJobError(f"--to {end.key} is after the window of the last observation: end with --to {newest.key}")
    keys = group.partitions.get_partition_keys_in_range(dg.PartitionKeyRange(begin.key, end.key))
    return tuple(window_for_key(key, group.settings.partitions) for key in keys)


def _window(group: Group, option: str, text: str) -> Window:
    try:
        return window_for_key(text, group.settings.partitions)
    except ValueError as no_key:
        try:
            return window_of(datetime.fromisoformat(text), group.settings.partitions)
        except ValueError:
            raise MainJobError(f"{option}: {no_key}; a moment in the window (ISO 8601) will do, too") from no_key
