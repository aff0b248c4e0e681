"""The main job from a terminal: the same assets, the same Dagster instance as the UI, in this process.

Belongs here: finding out what is left to do, launching runs in order. What an asset does is in
`pipeline`; what the user reads is printed by `chronos_assets.cli`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from chronos_assets.defs import measurements
from chronos_assets.defs.dead_runs import PROCESS_TAG, end_dead_runs, slot_holders, this_process
from chronos_assets.defs.jobs import SELECTIONS
from chronos_assets.defs.outcomes import RANGE_TAGS, notice_of
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline import serving, training
from chronos_assets.pipeline.accuracy import unscored_forecasts
from chronos_assets.pipeline.dataset import dataset_is_current
from chronos_assets.pipeline.forecasts import forecast_is_shown, main_windows, stale_forecasts
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.tables import tables_are_current
from chronos_assets.planning.windows import Window, window_for_key
from chronos_assets.platforms.notices import NoticeError

logger = logging.getLogger(__name__)

# Up to so many windows, filling the gap between the backtest and the newest one costs less than a second model load.
LONGEST_RANGE = 31
POLL_SECONDS = 1.0
REPEAT_SECONDS = 60.0


class MainJobError(ChronosAssetsError):
    """A run of the main job failed; the message says which asset and why."""


@dataclass(frozen=True)
class MainJobResult:
    """What a run of the main job did.

    Attributes:
        runs: ids of the Dagster runs launched, in order; empty when nothing was new.
        window: the forecast window that holds the last observation.
        backtest: windows before it whose horizon is observed, oldest first.
        training: why a model was trained, or why not.
        training_failure: why the training failed; empty if it didn't. The forecasts are made all the same.
    """

    runs: tuple[str, ...]
    window: Window
    backtest: tuple[Window, ...]
    training: str
    training_failure: str = ""


def run_main_job(
    group: Group,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    *,
    backtest_windows: int = 7,
    train: bool = True,
    note: Callable[[str], None] = logger.info,
    check_interrupt: Callable[[], None] = lambda: None,
) -> MainJobResult:
    """Import what is new, train a model if one is due, forecast the newest window, serve, score a backtest, refresh tables.

    The endpoint comes after the forecast, so that its check has the numbers of the same model to compare with.

    Args:
        group: the dataset group.
        definitions: its definitions.
        instance: Dagster's, which the UI has, too.
        backtest_windows: how many earlier windows to score.
        train: whether a training that is due is run.
        note: told what is waited for.
        check_interrupt: called after each run and while waiting; raises KeyboardInterrupt once the user wants to stop.

    Raises:
        MainJobError: a run failed, or can't be started.
        KeyboardInterrupt: `check_interrupt` raised it.
    """
    launcher = _Launcher(group, definitions, instance, note, check_interrupt)
    try:
        return _run_main_job(group, launcher, instance, backtest_windows, train)
    except dg.Failure as failure:
        raise MainJobError(str(failure.description)) from failure


def _run_main_job(
    group: Group, launcher: _Launcher, instance: dg.DagsterInstance, backtest_windows: int, train: bool
) -> MainJobResult:
    if not dataset_is_current(GroupState(group), instance):
        launcher.run(["target_time_series"], [])
    due, reason, failure = False, "not asked for (--no-training)", ""
    if train:
        state = GroupState(group)
        due, reason = training.is_due(state, datetime.now(UTC).replace(tzinfo=None))
        failure = launcher.attempt(_training_assets(state, instance)) if due else ""
    # What the runs changed is read again: each step begins with what is there then.
    state = GroupState(group)
    window, backtest = main_windows(state, backtest_windows)
    for windows in _ranges(stale_forecasts(state, instance, _spanning(group, (*backtest, window))), group):
        launcher.run(["forecasts"], windows)
    if not forecast_is_shown(GroupState(group), window.key):
        launcher.run(["forecasts"], [window])
    if train and not failure and (due or _endpoint_is_stale(GroupState(group))):
        failure = launcher.attempt(["endpoint"])
    for windows in _ranges(unscored_forecasts(GroupState(group), instance, backtest), group):
        launcher.run(["forecast_accuracy"], windows)
    if launcher.runs or not tables_are_current(group, instance):
        launcher.run(["forecast_tables"], [])
    return MainJobResult(tuple(launcher.runs), window, backtest, reason, failure)


def _training_assets(state: GroupState, instance: dg.DagsterInstance) -> list[str]:
    """Assets of a training that is due; what a killed run has finished isn't made again."""
    stale = not training.synthetic_is_current(state, instance)
    return [
        *(["synthetic_dataset"] if stale else []),
        *(["tuned_checkpoints"] if stale or not training.tuned_is_current(state, instance) else []),
        "model_package",
    ]


def _endpoint_is_stale(state: GroupState) -> bool:
    """Whether a server is to be started, or to be given the version in use."""
    # A switched-off training line starts no server, but one that is up follows the version in use.
    wanted = state.setup.training.strategy != "NONE" or serving.is_deployed(state)
    return wanted and not state.params.perform_delete and not serving.endpoint_is_current(state)


def _spanning(group: Group, windows: Sequence[Window]) -> list[Window]:
    """`windows` and, if they are few, those between them: a range without holes needs one run."""
    keys = group.partitions.get_partition_keys_in_range(dg.PartitionKeyRange(windows[0].key, windows[-1].key))
    if len(keys) > LONGEST_RANGE:
        return list(windows)
    return [window_for_key(key, group.settings.partitions) for key in keys]


def _ranges(windows: Sequence[Window], group: Group) -> list[list[Window]]:
    """Windows as runs of consecutive partitions: a single-run range has no holes."""
    if not windows:
        return []
    keys = group.partitions.get_partition_keys_in_range(dg.PartitionKeyRange(windows[0].key, windows[-1].key))
    position = {key: index for index, key in enumerate(keys)}
    ranges: list[list[Window]] = [[windows[0]]]
    for window in windows[1:]:
        if position[window.key] == position[ranges[-1][-1].key] + 1:
            ranges[-1].append(window)
        else:
            ranges.append([window])
    return ranges


class _Launcher:
    """Launches runs of the main job in this process, one after the other, and keeps their ids."""

    def __init__(
        self,
        group: Group,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        note: Callable[[str], None],
        check_interrupt: Callable[[], None],
    ) -> None:
        self._group = group
        self._instance = instance
        self._definitions = definitions
        self._note = note
        self._check_interrupt = check_interrupt
        self._jobs = {name: definitions.resolve_job_def(group.named(name)) for name, _, _ in SELECTIONS}
        self.runs: list[str] = []

    def attempt(self, assets: Sequence[str]) -> str:
        """Run assets that the forecasts can do without; why they failed, empty if they didn't."""
        try:
            self.run(assets, [])
        except MainJobError as error:
            return str(error)
        return ""

    def run(self, assets: Sequence[str], windows: Sequence[Window]) -> None:
        tags = {PROCESS_TAG: this_process()}
        if windows:
            tags |= dict(zip(RANGE_TAGS, (windows[0].key, windows[-1].key), strict=True))
        self._wait_for_slots(assets)
        job = self._jobs[next(name for name, made, _ in SELECTIONS if set(assets) <= set(made))]
        result = job.execute_in_process(
            instance=self._instance,
            run_config={"loggers": {"console": {}}},
            asset_selection=[self._group.key(name) for name in assets],
            tags=tags,
            raise_on_error=False,
        )
        self.runs.append(result.run_id)
        record = self._instance.get_run_record_by_id(result.run_id)
        if record is None:
            raise MainJobError(f"run {result.run_id} left no record in the Dagster instance")
        notice = notice_of(self._instance, record, self._group, GroupState(self._group).name)
        try:
            measurements.tell(self._group, logger, notice)
        except NoticeError as error:
            logger.warning("%s", error)
        # Dagster takes an interrupt for a step's failure, and forgets one that comes between two steps.
        self._check_interrupt()
        if not result.success:
            raise MainJobError(f"{notice.asset or 'the run'}: {notice.reason}")

    def _wait_for_slots(self, assets: Sequence[str]) -> None:
        """Wait until no other run holds the slots that the assets need, and say what for.

        Dagster would wait, too, but without a word, and without an ear for Ctrl-C.
        """
        keys = [self._definitions.resolve_assets_def(self._group.key(name)) for name in assets]
        pools = sorted({definition.op.pool for definition in keys if definition.op.pool})
        told, since = "", 0.0
        while holders := slot_holders(self._instance, pools):
            self._check_interrupt()
            words = "; ".join(holders)
            if words != told or time.monotonic() - since > REPEAT_SECONDS:
                self._note(f"waiting for {words}")
                told, since = words, time.monotonic()
            time.sleep(POLL_SECONDS)
            end_dead_runs(self._instance)
