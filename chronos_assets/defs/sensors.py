"""Sensors: look at the store and at runs, ask the pure plans of `planning` what to do, tell Dagster."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from chronos_assets.defs import measurements
from chronos_assets.defs.dead_run_sensor import dead_run_sensor
from chronos_assets.defs.forecast_age_sensor import forecast_age_sensor
from chronos_assets.defs.jobs import DECISIONS, SELECTIONS
from chronos_assets.defs.outcomes import OUTCOMES, RANGE_TAGS, is_of_group, notice_of
from chronos_assets.defs.redeploy_sensor import redeploy_sensor
from chronos_assets.defs.sensor_parts import REASON_TAG, queue_news, run_state, running_sensor, skipped
from chronos_assets.defs.what_if_sensor import what_if_sensor
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline import training
from chronos_assets.pipeline.accuracy import accuracy_states
from chronos_assets.pipeline.covariate_imports import covariate_assets, inputs_digest, last_inputs, pending_covariates
from chronos_assets.pipeline.covariate_kinds import KINDS, CovariateKind, covariate_files
from chronos_assets.pipeline.current_forecast import shown_state
from chronos_assets.pipeline.dataset import dataset_state
from chronos_assets.pipeline.forecast_states import forecast_states, recipe
from chronos_assets.pipeline.forecast_windows import end_of_windows
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.run_settings import training_is_on
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.cursor import ticks
from chronos_assets.planning.forecasts import DataPlan, DataRequest, plan_new_data, requested_run_keys
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
from chronos_assets.planning.retraining import RetrainPlan, plan_retrain, run_keys
from chronos_assets.platforms.notices import NoticeError
from chronos_assets.store_layout import TRAIN_KEY

TAG_LENGTH = 250
NOTHING_TO_TRAIN = RetrainPlan(None, "no dataset to train on yet")
# Well below the 60 seconds that Dagster gives a tick: a long listing continues at the next one.
TICK_SECONDS = 30.0
# A queue may lose a message: so often `train/` is listed without any.
RECONCILE = timedelta(hours=1)
NOTICES_PER_TICK = 100
# Files that still change after so long are imported all the same.
LONGEST_WAIT = timedelta(minutes=10)
# After a run that failed: twice as long after each, so that whatever was in its way has time to pass.
PAUSE = timedelta(seconds=15)
# Runs of one second may be recorded in any order: look back a little, notices are sent once per run anyway.
OUTCOME_OVERLAP = timedelta(seconds=60)

TRAIN_FILES_SENSOR = """New or changed files under train/, related/ or item_metadata/ → an import of what they concern.

Waits until all folders have been quiet for CHRONOS_SETTLE_SECONDS, so that a batch of files makes one run. Compares what is
listed with what the dataset was made from, so no file is lost or imported twice, whatever its modification time. With
CHRONOS_TRAIN_QUEUE, train/ is listed when the queue reports a change, and each hour.
"""
NEW_DATA_SENSOR = """An import is done → the forecast of the window that holds the last observation, and its tables; scores of
the windows whose horizon is observed now; a training, when the policy of Chronos.Training asks for one.
"""
RUN_OUTCOME_SENSOR = (
    """Every run that ended → one notice: what was made and how accurate it is, or which asset failed and why."""
)


def sensors(group: Group, jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """The sensors of a group, running by default; `jobs` are the group's."""
    made = [
        _train_files_sensor(group, jobs),
        _new_data_sensor(group, jobs),
        _run_outcome_sensor(group),
        what_if_sensor(group, jobs),
    ]
    # Where runs are tasks of ECS, Dagster's monitoring asks ECS whether they live.
    if group.settings.deployment == "aws":
        from chronos_assets.defs.orphan_job_sensor import reaper_sensor

        return [*made, redeploy_sensor(group, jobs), forecast_age_sensor(group), reaper_sensor(group)]
    return [*made, dead_run_sensor(group)]


def train_policy(settle_seconds: float, interval_seconds: float) -> TrainPolicy:
    """How patient the sensor of train files is, in its ticks."""
    interval = timedelta(seconds=interval_seconds)
    return TrainPolicy(
        settle_ticks=max(1, ticks(timedelta(seconds=settle_seconds), interval)),
        settle_seconds=settle_seconds,
        max_wait_ticks=max(2, ticks(LONGEST_WAIT, interval)),
        pause_ticks=pause_ticks(interval_seconds),
    )


def pause_ticks(interval_seconds: float) -> int:
    """Ticks of a sensor's pause after a run that failed."""
    return max(1, ticks(PAUSE, timedelta(seconds=interval_seconds)))


def _train_files_sensor(group: Group, jobs: Sequence[Any]) -> dg.SensorDefinition:
    interval = group.settings.sensor_interval_seconds
    policy = train_policy(group.settings.settle_seconds, interval)

    @running_sensor(group, "train_files_sensor", TRAIN_FILES_SENSOR, jobs=jobs, launches=["refresh_forecasts"])
    def train_files_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
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
            return _train_result(state, look(), imported, params)
        plan = plan_with_queue(
            queue_news(group.train_queue, recorded_token(context.cursor)),
            context.cursor,
            imported=imported,
            params=params,
            look=look,
            reconcile_ticks=ticks(RECONCILE, timedelta(seconds=interval)),
        )
        return _train_result(state, plan, imported, params)

    return train_files_sensor


def _train_result(state: GroupState, plan: TrainPlan, imported: ImportRecord | None, params: str) -> dg.SensorResult:
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
            *([_observation(group, plan.observed)] if plan.observed else []),
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


def _observation(group: Group, observed: Observed) -> dg.AssetObservation:
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


def _new_data_sensor(group: Group, jobs: Sequence[Any]) -> dg.SensorDefinition:
    launches = ["refresh_forecasts", "score_forecasts", "retrain"]

    @running_sensor(group, "new_data_sensor", NEW_DATA_SENSOR, jobs=jobs, launches=launches)
    def new_data_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        keys = requested_run_keys(context.cursor)
        runs = {key: run for key in keys if (run := run_state(context, key)) is not None}
        state = GroupState(group)
        try:
            dataset = dataset_state(state, context.instance)
            if dataset and (waiting := pending_covariates(state, context.instance)):
                return dg.SensorResult(skip_reason=waiting, cursor=context.cursor)
            wanted = recipe(state) if dataset else ""
            forecasts = forecast_states(state) if dataset else {}
            shown = shown_state(state) if dataset else None
            retrain = _plan_retrain(state, context) if dataset else NOTHING_TO_TRAIN
            end = end_of_windows(state)
        except ChronosAssetsError as error:
            # Broken parameters or a missing model: runs would fail alike, and no tick can fix it.
            return skipped(context, error)
        plan = plan_new_data(
            dataset,
            forecasts,
            accuracy_states(group),
            context.cursor,
            runs=runs,
            recipe=wanted,
            cadence=group.settings.partitions,
            first_window=group.settings.partition_start_time().replace(tzinfo=None),
            end_of_windows=end,
            shown=shown,
        )
        return _data_result(group, plan, retrain)

    return new_data_sensor


def _plan_retrain(state: GroupState, context: dg.SensorEvaluationContext) -> RetrainPlan:
    if not training_is_on(state.group):
        return RetrainPlan(None, "no training: the last `chronos-assets run` was given --no-training")
    identity = training.request_identity(state)
    attempts = [run_state(context, key) for key in run_keys(identity)]
    return plan_retrain(
        training.is_due(state, datetime.now(UTC).replace(tzinfo=None)), attempts=attempts, search=identity
    )


def _data_result(group: Group, plan: DataPlan, retrain: RetrainPlan) -> dg.SensorResult:
    requests = [_data_request(group, request) for request in plan.requests]
    if retrain.run_key is not None:
        requests.append(
            dg.RunRequest(
                run_key=retrain.run_key,
                job_name=group.named("retrain"),
                tags={REASON_TAG: retrain.message[:TAG_LENGTH]},
            )
        )
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else f"{plan.message}; {retrain.message}",
        cursor=plan.cursor,
    )


def _data_request(group: Group, request: DataRequest) -> dg.RunRequest:
    job = "refresh_forecasts" if request.kind == "forecasts" else "score_forecasts"
    tags = {REASON_TAG: request.reason}
    if request.first != request.last:
        tags |= dict(zip(RANGE_TAGS, (request.first, request.last), strict=True))
    return dg.RunRequest(
        run_key=request.run_key,
        job_name=group.named(job),
        asset_selection=[group.key(request.kind), group.key("forecast_tables")],
        partition_key=request.first if request.first == request.last else None,
        tags=tags,
    )


def _run_outcome_sensor(group: Group) -> dg.SensorDefinition:
    names = frozenset(group.named(name) for name, _, _ in (*SELECTIONS, *DECISIONS))

    @running_sensor(group, "run_outcome_sensor", RUN_OUTCOME_SENSOR)
    def run_outcome_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.fromtimestamp(0, UTC)
        # Notices are sent before the cursor moves: after a crash they are tried again, and sent once.
        records = context.instance.get_run_records(
            dg.RunsFilter(statuses=list(OUTCOMES), updated_after=since),
            order_by="update_timestamp",
            ascending=True,
            limit=NOTICES_PER_TICK,
        )
        sent, refused, state = 0, [], GroupState(group)
        for record in records:
            if not is_of_group(record.dagster_run, group, names):
                continue
            notice = notice_of(context.instance, record, group, state.name)
            try:
                sent += measurements.tell(group, context.log, notice)
            except NoticeError as error:
                # The others are reported all the same; this one is tried again, since the cursor stays before it.
                refused.append((_utc(record.update_timestamp), str(error)))
        full = len(records) == NOTICES_PER_TICK
        newest = max((_utc(record.update_timestamp) for record in records), default=since)
        # A full page may hold one second's runs only: then looking back would never get past it.
        cursor = newest if full else max(since, newest - OUTCOME_OVERLAP)
        if refused:
            cursor = max(since, min(cursor, refused[0][0] - OUTCOME_OVERLAP))
        message = f"{sent} notices sent" if sent else "no run ended since the last look"
        message += f"; {len(refused)} to be sent again: {refused[0][1]}" if refused else ""
        return dg.SensorResult(skip_reason=message, cursor=cursor.isoformat())

    return run_outcome_sensor


def _deadline(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
