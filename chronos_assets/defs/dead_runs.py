"""Runs whose process is gone: found, marked as failed, their slots freed.

Here: which process a run belongs to, and what becomes of a run without one. Elsewhere: when to look (the
start of `run` and `ui`, a sensor) and jobs in AWS (`orphan_job_sensor`).

A process is known by its number *and* its start: a number is given again. Each run carries both in `PROCESS_TAG`, written
when `run` makes it, or by `tagged_executor` when a process of the UI takes it up. Power cuts, SIGKILL and closed terminals
leave runs that look alive forever and keep their pool's slot; nothing else would end them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher

from chronos_assets.platforms.local.processes import start_time

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode

PROCESS_TAG = "chronos/process"
# A run that nobody has taken up after so long was made by a process that died before it could hand it on.
GRACE = timedelta(minutes=10)

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class _TaggedExecutor(dg.Executor):
    """Another executor, which says first whose process it runs in."""

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> RetryMode:
        """The other executor's."""
        return self._inner.retries

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Tag the run, then execute its steps."""
        plan_context.instance.add_run_tags(plan_context.run_id, {PROCESS_TAG: this_process()})
        yield from self._inner.execute(plan_context, execution_plan)


# The inner executor needs the defaults of its own settings.
@dg.executor(name="in_process", config_schema=dg.in_process_executor.config_schema.as_field())
def tagged_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """All steps in the run's own process: they only wait on others, and a process per step would import everything again."""
    make = dg.in_process_executor.executor_creation_fn
    assert make is not None  # noqa: S101 - Dagster's own has one
    return _TaggedExecutor(make(context))


def this_process() -> str:
    """Value of `PROCESS_TAG`: the machine, and the number and start of this process."""
    return f"{socket.gethostname()}:{os.getpid()}:{start_time(os.getpid())}"


def end_dead_runs(instance: dg.DagsterInstance, now: datetime | None = None) -> list[str]:
    """Mark runs failed whose process on this machine is gone, and free the slots of all runs that have ended.

    Returns:
        Ids of the runs that were marked, oldest first.
    """
    ended = []
    now = now or datetime.now(UTC)
    for record in reversed(instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED))):
        reason = _why_dead(instance, record, now)
        if reason:
            _mark_ended(instance, record.dagster_run, reason)
            ended.append(record.dagster_run.run_id)
    free_slots_of_ended_runs(instance)
    return ended


def free_slots_of_ended_runs(instance: dg.DagsterInstance) -> None:
    """Free pool slots that runs hold or wait for which have ended, or are not known any more."""
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _why_dead(instance: dg.DagsterInstance, record: dg.RunRecord, now: datetime) -> str:
    """Why a run that hasn't ended never will; empty if it may be alive."""
    run = record.dagster_run
    tag = run.tags.get(PROCESS_TAG, "")
    if not tag:
        # Its last change: a run may have been queued for hours before it was handed on.
        changed = record.update_timestamp
        age = now - (changed if changed.tzinfo else changed.replace(tzinfo=UTC))
        waits = run.status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
        # Another launcher waits for machines, and Dagster's monitoring knows for how long.
        lost = waits and age >= GRACE and isinstance(instance.run_launcher, DefaultRunLauncher)
        return "no process took it up: the one that made it was killed" if lost else ""
    host, number, start = [*tag.split(":", 2), "", ""][:3]
    if host != socket.gethostname() or not number.isdigit() or start_time(int(number)) == start:
        return ""
    return f"process {number} is gone: it was killed, or the machine restarted"


def _mark_ended(instance: dg.DagsterInstance, run: dg.DagsterRun, reason: str) -> None:
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, reason)
    else:
        instance.report_run_failed(run, reason)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def slot_holders(instance: dg.DagsterInstance, pools: Sequence[str]) -> list[str]:
    """For each of the pools that is full: which runs hold its slots, in words."""
    known = instance.event_log_storage.get_concurrency_keys()
    full = []
    for pool in pools:
        if pool not in known:
            continue
        info = instance.event_log_storage.get_concurrency_info(pool)
        if info.claimed_slots and len(info.claimed_slots) >= info.slot_count:
            runs = [_run_in_words(instance, run_id) for run_id in sorted({slot.run_id for slot in info.claimed_slots})]
            full.append(f"the {pool} slot, which {' and '.join(runs)} hold{'s' if len(runs) == 1 else ''}")
    return full


def _run_in_words(instance: dg.DagsterInstance, run_id: str) -> str:
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return f"run {run_id[:8]}"
    number = [*record.dagster_run.tags.get(PROCESS_TAG, "").split(":"), ""][1]
    began = f", since {datetime.fromtimestamp(record.start_time):%H:%M:%S}" if record.start_time else ""
    return f"run {run_id[:8]} ({record.dagster_run.job_name}{f', process {number}' if number else ''}{began})"
