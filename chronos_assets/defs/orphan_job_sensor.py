"""The sensor that stops jobs on AWS whose run is gone.

Here: asking Dagster for the runs, telling what was seen and stopped. Elsewhere: which job is an orphan
(`platforms.aws.reaper`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import dagster as dg

from chronos_assets.defs.sensor_parts import running_sensor
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.aws.clients import clients_of
from chronos_assets.platforms.aws.platform import code_location
from chronos_assets.platforms.aws.reaper import Reaper, RunEnd, orphans
from chronos_assets.wording import counted

INTERVAL_SECONDS = 300

REAPER_SENSOR = """Jobs on SageMaker whose run has ended, or is not known any more, → stopped.

A run that is killed can't stop its job; its retry takes the job over within minutes. What is still running after that costs
money and helps nobody.
"""


def reaper_sensor(group: Group) -> dg.SensorDefinition:
    """The sensor of a group whose jobs run on AWS."""

    @cache
    def reaper() -> Reaper:
        # Kept from tick to tick: a client is made of a model of megabytes.
        return Reaper(clients_of(group.settings), code_location(group.settings), group.store.url)

    @running_sensor(group, "reaper_sensor", REAPER_SENSOR, seconds=INTERVAL_SECONDS)
    def reap(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        jobs = reaper().running()
        runs = {job.run_id: _end_of_run(context.instance, job.run_id) for job in jobs}
        gone = orphans(jobs, {run_id: end for run_id, end in runs.items() if end is not None}, datetime.now(UTC))
        for job in gone:
            context.log.warning(f"stopping {job.kind} job {job.name}: its run {job.run_id} is gone")
            reaper().stop(job)
        reported = f"{counted(len(jobs), 'job')} running"
        return dg.SkipReason(
            f"{reported}, stopped {', '.join(job.name for job in gone)}"
            if gone
            else f"{reported}, none without its run"
        )

    return reap


def _end_of_run(instance: dg.DagsterInstance, run_id: str) -> RunEnd | None:
    """The end of a run; None for one that isn't known."""
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return None
    if not record.dagster_run.is_finished:
        return RunEnd(None)
    # A run that never started has no end of its own.
    ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp
    return RunEnd(ended if ended.tzinfo else ended.replace(tzinfo=UTC))
