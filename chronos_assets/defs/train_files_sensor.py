"""The sensor that requests imports of new and changed files.

Here: listing, telling the plan what it needs, and requesting what it says. Elsewhere: the plan (`planning.imports`,
`planning.queue`).
"""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from chronos_assets.defs.sensor_parts import REASON_TAG, queue_news, run_state, running_sensor
from chronos_assets.pipeline.covariate_imports import covariate_assets, inputs_digest, last_inputs
from chronos_assets.pipeline.covariate_kinds import KINDS, CovariateKind, covariate_files
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.cursor import ticks
from chronos_assets.planning.imports import (
    ImportRecord,
    Observed,
    TrainPlan,
    TrainPolicy,
    dataset_differs,
    plan_train_files,
    requested_run_key,
    resume_after,
)
from chronos_assets.planning.listing import files_digest
from chronos_assets.planning.queue import plan_with_queue, recorded_token
from chronos_assets.store_layout import TRAIN_KEY

# Well below the 60 seconds that Dagster gives a tick: a long listing continues at the next one.
TICK_SECONDS = 30.0
# A queue may lose a message: so often `train/` is listed without any.
RECONCILE = timedelta(hours=1)
# Files that still change after so long are imported all the same.
LONGEST_WAIT = timedelta(minutes=10)
# After a run that failed: twice as long after each, so that whatever was in its way has time to pass.
PAUSE = timedelta(seconds=15)
TRAIN_FILES_SENSOR = """New or changed files under train/, related/ or item_metadata/ → an import of what they concern.

Waits until all folders have been quiet for CHRONOS_SETTLE_SECONDS, so that a batch of files makes one run. Compares what is
listed with what the dataset was made from, so no file is lost or imported twice, whatever its modification time. With
CHRONOS_TRAIN_QUEUE, train/ is listed when the queue reports a change, and each hour.
"""


def train_files_sensor(group: Group, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """See the module."""
    interval = group.settings.sensor_interval_seconds
    policy = _policy(group.settings.settle_seconds, interval)

    @running_sensor(group, "train_files_sensor", TRAIN_FILES_SENSOR, jobs=jobs, launches=["refresh_forecasts"])
    def train_files(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        # Runs first, then what they made, then the listing: see the module docstring of `planning`.
        last_run = run_state(context, requested_run_key(context.cursor))
        state = GroupState(group)
        imported = last_inputs(state, context.instance)
        params = inputs_digest(state)

        def look() -> TrainPlan:
            return plan_train_files(
                group.store.list(TRAIN_KEY, after=resume_after(context.cursor)),
                context.cursor,
                imported=imported,
                last_run=last_run,
                params=params,
                policy=policy,
                out_of_time=_deadline(TICK_SECONDS),
                resumable=group.store.ordered,
                now=time.time(),
            )

        if group.train_queue is None:
            return _result(state, look(), imported, params)
        plan = plan_with_queue(
            queue_news(group.train_queue, recorded_token(context.cursor)),
            context.cursor,
            imported=imported,
            params=params,
            look=look,
            reconcile_ticks=ticks(RECONCILE, timedelta(seconds=interval)),
        )
        return _result(state, plan, imported, params)

    return train_files


def _policy(settle_seconds: float, interval_seconds: float) -> TrainPolicy:
    """How patient the sensor of train files is, in its ticks."""
    interval = timedelta(seconds=interval_seconds)
    return TrainPolicy(
        settle_ticks=max(1, ticks(timedelta(seconds=settle_seconds), interval)),
        settle_seconds=settle_seconds,
        max_wait_ticks=max(2, ticks(LONGEST_WAIT, interval)),
        pause_ticks=max(1, ticks(PAUSE, interval)),
    )


def _result(state: GroupState, plan: TrainPlan, imported: ImportRecord | None, params: str) -> dg.SensorResult:
    group, covariates = state.group, covariate_assets(state)
    seen = bool(plan.requests or plan.observed)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=request.run_key,
                job_name=group.named("refresh_forecasts"),
                asset_selection=[
                    *([group.key("target_time_series")] * dataset_differs(imported, request.content, params)),
                    *(group.key(name) for name in covariates),
                ],
                tags={REASON_TAG: request.reason},
            )
            for request in plan.requests
        ],
        skip_reason=None if plan.requests else plan.message,
        cursor=plan.cursor,
        asset_events=[
            *([_listing_observation(group, plan.observed)] if plan.observed else []),
            *(_files_observation(group, kind) for kind in KINDS if seen and kind.asset in covariates),
        ],
    )


def _files_observation(group: Group, kind: CovariateKind) -> dg.AssetObservation:
    files = covariate_files(group, kind)
    return dg.AssetObservation(
        group.key(kind.files_asset),
        metadata={
            "files": len(files),
            "bytes": sum(info.size for info in files),
            "dagster/uri": group.place(kind.folder),
        },
        tags={"dagster/data_version": files_digest(files)},
    )


def _listing_observation(group: Group, observed: Observed) -> dg.AssetObservation:
    return dg.AssetObservation(
        group.key("train_files"),
        description=observed.message,
        metadata={
            "files": observed.files,
            "bytes": observed.size,
            "newest": observed.newest or "none",
            "dagster/uri": group.place(TRAIN_KEY),
        },
        tags={"dagster/data_version": observed.content},
    )


def _deadline(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end
