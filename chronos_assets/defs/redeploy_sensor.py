"""The sensor that lets the endpoint follow decisions that were made in SageMaker itself.

Here: asking queue, registry, endpoint and Dagster, and telling Dagster what to run. Elsewhere: the rule
(`planning.redeployment`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from chronos_assets.defs.jobs import DECISIONS
from chronos_assets.defs.sensor_parts import REASON_TAG, queue_news, run_state, running_sensor, skipped
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline import serving
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.cursor import ticks
from chronos_assets.planning.redeployment import ServedVersion, plan_redeployment, recorded_token, requested_run_key
from chronos_assets.platforms.news_queue import QueueNews

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

Looks when CHRONOS_MODEL_QUEUE reports a decision, and each hour (each 5 minutes where there is no queue). An endpoint that
was never deployed, or was stopped, stays as it is.
"""


def redeploy_sensor(group: Group, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """The sensor of a group whose registry others may write to."""
    interval, queue = group.settings.sensor_interval_seconds, group.model_queue

    @running_sensor(group, "redeploy_sensor", REDEPLOY_SENSOR, jobs=jobs, launches=["retrain"])
    def redeploy(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        reconcile = RECONCILE if queue is not None else RECONCILE_WITHOUT_QUEUE
        try:
            plan = plan_redeployment(
                QueueNews() if queue is None else queue_news(queue, recorded_token(context.cursor)),
                context.cursor,
                look=lambda: _served(group, context.instance),
                last_run=run_state(context, requested_run_key(context.cursor)),
                reconcile_ticks=ticks(reconcile, timedelta(seconds=interval)),
            )
        except ChronosAssetsError as error:
            # Broken parameters, a registry that can't be read: the messages come again.
            return skipped(context, error)
        requests = (
            [
                dg.RunRequest(
                    run_key=plan.run_key,
                    job_name=group.named("retrain"),
                    asset_selection=[group.key("endpoint")],
                    tags={REASON_TAG: plan.message},
                )
            ]
            if plan.run_key
            else []
        )
        return dg.SensorResult(
            run_requests=requests, skip_reason=None if requests else plan.message, cursor=plan.cursor
        )

    return redeploy


def _served(group: Group, instance: dg.DagsterInstance) -> ServedVersion:
    state = GroupState(group)
    if not serving.is_deployed(state):
        return ServedVersion(deployed=False, current=False, wanted="", model="")
    return ServedVersion(
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
