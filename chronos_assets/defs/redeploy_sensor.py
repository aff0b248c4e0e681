"""The sensor that lets the endpoint follow decisions that were made in SageMaker itself.

Here: asking queue, registry, endpoint and Dagster, and telling Dagster what to run. Elsewhere: the rule
(`planning.redeployment`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from chronos_assets.defs.jobs import DECISIONS
from chronos_assets.pipeline import serving
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.cursor import RunState, ticks
from chronos_assets.planning.redeployment import Served, plan_redeployment, recorded_token, requested_run_key
from chronos_assets.platforms.news_queue import QueueError, QueueNews

# Without a message: a queue may lose one, and where there is none somebody has to look.
RECONCILE, RECONCILE_WITHOUT_QUEUE = timedelta(hours=1), timedelta(minutes=5)
UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

REDEPLOY_SENSOR = """A version approved or rejected in SageMaker → the endpoint serves the one in use.

Looks when `CHRONOS_MODEL_QUEUE` reports a decision, and each hour (each 5 minutes where there is no queue). An endpoint that
was never deployed, or was stopped, stays as it is.
"""


def redeploy_sensor(
    group: Group,
    targets: Sequence[Any],
    run_state: Callable[[dg.SensorEvaluationContext, str], RunState | None],
    reason_tag: str,
) -> dg.SensorDefinition:
    """The sensor of a group whose registry others may write to."""
    interval = group.settings.sensor_interval_seconds

    @dg.sensor(
        name=group.named("redeploy_sensor"),
        jobs=targets,
        minimum_interval_seconds=interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=REDEPLOY_SENSOR,
    )
    def redeploy(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        run_key = requested_run_key(context.cursor)
        reconcile = RECONCILE if group.model_queue is not None else RECONCILE_WITHOUT_QUEUE
        try:
            plan = plan_redeployment(
                _news(group, context.cursor),
                context.cursor,
                look=lambda: _served(group, context.instance),
                last_run=run_state(context, run_key) if run_key else None,
                reconcile_ticks=ticks(reconcile, timedelta(seconds=interval)),
            )
        except dg.Failure as failure:
            # Broken parameters, a registry that can't be read: the messages come again.
            return dg.SensorResult(skip_reason=failure.description, cursor=context.cursor)
        requests = (
            [
                dg.RunRequest(
                    run_key=plan.run_key,
                    job_name=group.named("retrain"),
                    asset_selection=[group.key("endpoint")],
                    tags={reason_tag: plan.message},
                )
            ]
            if plan.run_key
            else []
        )
        return dg.SensorResult(
            run_requests=requests, skip_reason=None if requests else plan.message, cursor=plan.cursor
        )

    return redeploy


def _news(group: Group, cursor: str | None) -> QueueNews:
    """What the queue reports, once what the cursor has recorded of it is deleted; a broken queue leaves the looking."""
    if group.model_queue is None:
        return QueueNews()
    try:
        group.model_queue.settle(recorded_token(cursor))
        return group.model_queue.receive()
    except QueueError as error:
        return QueueNews(trouble=str(error))


def _served(group: Group, instance: dg.DagsterInstance) -> Served:
    state = GroupState(group)
    if not serving.is_deployed(state):
        return Served(deployed=False, current=False, wanted="", model="")
    return Served(
        deployed=True,
        current=serving.endpoint_is_current(state),
        wanted=serving.wanted_identity(state),
        model=state.model_in_use.label,
        busy=_busy(group, instance),
    )


def _busy(group: Group, instance: dg.DagsterInstance) -> str:
    """A run under way that deploys at its end: a training, or a decision made here."""
    for name in ("retrain", *(name for name, _, _ in DECISIONS)):
        runs = instance.get_runs(dg.RunsFilter(job_name=group.named(name), statuses=UNDER_WAY), limit=1)
        if runs:
            return f"run {runs[0].run_id[:8]} of {name}"
    return ""
