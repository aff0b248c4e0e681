"""The main job from a terminal: the same assets, the same Dagster instance as the UI, in this process.

Here: finding out what is left to do, in which order. How a run is launched is in `launcher`; what an asset does is in
`pipeline`; what the user reads is printed by `chronos_assets.cli`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from chronos_assets.defs.launcher import Launcher, consecutive
from chronos_assets.params.exports import BacktestParams
from chronos_assets.pipeline import serving, training
from chronos_assets.pipeline.accuracy import unscored_forecasts
from chronos_assets.pipeline.clean_up import clean_up_is_due
from chronos_assets.pipeline.covariate_imports import stale_inputs
from chronos_assets.pipeline.current_forecast import forecast_is_shown
from chronos_assets.pipeline.forecast_states import stale_forecasts
from chronos_assets.pipeline.forecast_windows import evaluation_windows, main_windows
from chronos_assets.pipeline.forecasts import AHEAD_TAG
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.synthetic import synthetic_is_current
from chronos_assets.pipeline.tables import tables_are_current
from chronos_assets.pipeline.tuning import tuned_is_current
from chronos_assets.pipeline.what_if import stale_scenarios
from chronos_assets.planning.windows import Window, window_for_key

# Windows between two that are asked for: to forecast so many takes less than a run of Dagster of its own.
WIDEST_HOLE = 2

Reopen = Callable[[Group], tuple[Group, dg.Definitions] | None]


@dataclass(frozen=True)
class MainJobResult:
    """What a run of the main job did.

    Attributes:
        runs: ids of the Dagster runs launched, in order; empty when nothing was new.
        window: the forecast window that holds the last observation.
        backtest: windows before it whose horizon is observed, oldest first.
        backtest_asked: how many of them were asked for.
        training: why a model was trained, or why not.
        training_failure: why the training failed; empty if it didn't. The forecasts are made all the same.
    """

    runs: tuple[str, ...]
    window: Window
    backtest: tuple[Window, ...]
    backtest_asked: int
    training: str
    training_failure: str = ""


def run_main_job(
    launcher: Launcher, *, backtest_windows: int, train: bool = True, reopen: Reopen | None = None
) -> MainJobResult:
    """Import what is new, train a model if one is due, forecast the newest window, serve, score a backtest, refresh tables.

    The endpoint comes after the forecast, so that its check has the numbers of the same model to compare with.

    Args:
        launcher: launches the runs.
        backtest_windows: how many earlier windows to score.
        train: whether a training that is due is run.
        reopen: called after the import: the group whose windows begin where its data do, and its definitions; None if they
            did before.

    Raises:
        ChronosAssetsError: a run failed (`MainJobError`), or can't be started.
        KeyboardInterrupt: the user wants to stop.
    """
    import_inputs(launcher)
    if reopen is not None and (opened := reopen(launcher.group)) is not None:
        launcher.use(*opened)
    return _forecast(launcher, backtest_windows, train)


def _forecast(launcher: Launcher, backtest_windows: int, train: bool) -> MainJobResult:
    """What follows the import."""
    group, instance = launcher.group, launcher.instance
    due, reason, failure = False, "not asked for (--no-training)", ""
    state = GroupState(group)
    if train:
        due, reason = training.is_due(state, datetime.now(UTC).replace(tzinfo=None))
    if due:
        failure = launcher.attempt(_training_assets(state, instance))
        state = GroupState(group)  # what runs changed is read again, here and below
    window, backtest = main_windows(state, backtest_windows)
    # Those of the backtest export, too, where somebody has said which: it shows what has been scored.
    asked = evaluation_windows(state) if backtest and state.params.backtest != BacktestParams() else ()
    scored = tuple(sorted({*asked, *backtest}))
    ranges = consecutive(stale_forecasts(state, instance, _spanning(group, (*scored, window))), group)
    for number, windows in enumerate(ranges):
        # One process and one load of the model for all of them, whatever lies between.
        later = " ".join(other.key for part in ranges[1:] for other in part) if number == 0 else ""
        launcher.run(["forecasts"], windows, tags={AHEAD_TAG: later} if len(ranges) > 1 else {})
    if ranges:
        state = GroupState(group)
    if not forecast_is_shown(state, window.key):
        launcher.run(["forecasts"], [window])
    if train and not failure and (due or _endpoint_is_stale(state)):
        failure = launcher.attempt(["endpoint"])
    for windows in consecutive(unscored_forecasts(state, instance, scored), group):
        launcher.run(["forecast_accuracy"], windows)
    for scenario in stale_scenarios(state):
        launcher.attempt_scenario(scenario)
    if launcher.runs or not tables_are_current(state, instance) or clean_up_is_due(state):
        launcher.run(["forecast_tables"], [])
    return MainJobResult(tuple(launcher.runs), window, backtest, backtest_windows, reason, failure)


def import_inputs(launcher: Launcher) -> None:
    """Import the train files and the covariates that are new."""
    # Twice, since the first import may infer the params.json that declares covariates.
    for _ in range(2):
        if stale := stale_inputs(GroupState(launcher.group), launcher.instance):
            launcher.run(stale, [])


def _training_assets(state: GroupState, instance: dg.DagsterInstance) -> list[str]:
    """Assets of a training that is due; what a killed run has finished isn't made again."""
    stale = not synthetic_is_current(state, instance)
    return [
        *(["synthetic_dataset"] if stale else []),
        *(["tuned_checkpoints"] if stale or not tuned_is_current(state, instance) else []),
        "model_package",
    ]


def _endpoint_is_stale(state: GroupState) -> bool:
    """Whether to start a server, or to give it the version in use."""
    # A switched-off training line starts no server, but one that is up follows the version in use.
    wanted = state.setup.training.strategy != "NONE" or serving.is_deployed(state)
    return wanted and not state.params.perform_delete and not serving.endpoint_is_current(state)


def _spanning(group: Group, windows: Sequence[Window]) -> list[Window]:
    """`windows` and, if they are few, those between two of them: a range without holes needs one run."""
    wanted = {window.key for window in windows}
    found: list[str] = []
    hole: list[str] = []
    for key in group.partitions.get_partition_keys_in_range(dg.PartitionKeyRange(windows[0].key, windows[-1].key)):
        if key not in wanted:
            hole.append(key)
            continue
        found += [*(hole if len(hole) <= WIDEST_HOLE else ()), key]
        hole = []
    return [window_for_key(key, group.settings.partitions) for key in found]
