"""Runs launched in this process, on the store's own Dagster instance: the UI shows them and what they made.

Here: how a command launches a run, waits for its turn, reports its end. Elsewhere: which runs there
should be (`main_job`, `backfill`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG

from chronos_assets.defs import measurements
from chronos_assets.defs.dead_runs import PROCESS_TAG, end_dead_runs, slot_holders, this_process
from chronos_assets.defs.jobs import SELECTIONS
from chronos_assets.defs.outcomes import RANGE_TAGS, notice_of
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.windows import Window
from chronos_assets.platforms.notices import NoticeError

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
REPEAT_SECONDS = 60.0


class MainJobError(ChronosAssetsError):
    """A run of the main job failed; the message says which asset and why."""


class Launcher:
    """Launches runs of the main job in this process, one after the other, and keeps their ids.

    Args:
        group: the dataset group.
        definitions: its definitions.
        instance: Dagster's, which the UI has, too.
        note: called with what is waited for.
        check_interrupt: called after each run and while waiting; raises KeyboardInterrupt once the user wants to stop.
    """

    def __init__(
        self,
        group: Group,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        note: Callable[[str], None] = logger.info,
        check_interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self.instance = instance
        self._note = note
        self._check_interrupt = check_interrupt
        self.runs: list[str] = []
        self.use(group, definitions)

    def use(self, group: Group, definitions: dg.Definitions) -> None:
        """Launch what follows with these definitions, whose windows may begin earlier than before."""
        self.group = group
        self._definitions = definitions

    def attempt(self, assets: Sequence[str], *, partition: str | None = None) -> str:
        """Run assets that the forecasts can do without; why they failed, empty if they didn't."""
        try:
            self.run(assets, [], partition=partition)
        except MainJobError as error:
            return str(error)
        return ""

    def attempt_scenario(self, scenario: str) -> None:
        """Forecast a scenario, which adds its partition; say why it failed, if it did."""
        self.instance.add_dynamic_partitions(self.group.named("what_if_scenarios"), [scenario])
        if reason := self.attempt(["what_if_forecasts"], partition=scenario):
            self._note(f"scenario {scenario} has no forecast: {reason}")

    def run(
        self,
        assets: Sequence[str],
        windows: Sequence[Window],
        *,
        tags: Mapping[str, str] | None = None,
        partition: str | None = None,
    ) -> None:
        """Run some assets of a job, for consecutive windows if they are partitioned by time, or for another partition.

        Raises:
            MainJobError: the run failed.
            KeyboardInterrupt: the user wants to stop.
        """
        # Who gave the command is told of a failure: no daemon is to make the run again behind their back.
        own = {PROCESS_TAG: this_process(), MAX_RETRIES_TAG: "0", **(tags or {})}
        if windows:
            own |= dict(zip(RANGE_TAGS, (windows[0].key, windows[-1].key), strict=True))
        self._wait_for_slots(assets)
        # Only what runs is resolved; Dagster keeps it.
        name = next(name for name, made, _ in SELECTIONS if set(assets) <= set(made))
        job = self._definitions.resolve_job_def(self.group.named(name))
        result = job.execute_in_process(
            instance=self.instance,
            run_config={"loggers": {"console": {}}},
            asset_selection=[self.group.key(name) for name in assets],
            partition_key=partition,
            tags=own,
            raise_on_error=False,
        )
        self.runs.append(result.run_id)
        record = self.instance.get_run_record_by_id(result.run_id)
        if record is None:
            raise MainJobError(f"run {result.run_id} left no record in the Dagster instance")
        notice = notice_of(self.instance, record, self.group, GroupState(self.group).name)
        try:
            measurements.send_notice(self.group, logger, notice)
        except NoticeError as error:
            logger.warning("%s", error)
        # Dagster takes an interrupt for a step's failure, and forgets one that comes between two steps.
        self._check_interrupt()
        if not result.success:
            raise MainJobError(f"{notice.asset or 'the run'}: {notice.reason}")

    def _wait_for_slots(self, assets: Sequence[str]) -> None:
        """Wait until no other run holds the slots that the assets need, and say what for.

        Dagster would wait, too, but silently, and deaf to Ctrl-C.
        """
        keys = [self._definitions.resolve_assets_def(self.group.key(name)) for name in assets]
        pools = sorted({definition.op.pool for definition in keys if definition.op.pool})
        reported, since = "", 0.0
        while holders := slot_holders(self.instance, pools):
            self._check_interrupt()
            words = "; ".join(holders)
            if words != reported or time.monotonic() - since > REPEAT_SECONDS:
                self._note(f"waiting for {words}")
                reported, since = words, time.monotonic()
            time.sleep(POLL_SECONDS)
            end_dead_runs(self.instance)


def consecutive(windows: Sequence[Window], group: Group) -> list[list[Window]]:
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
