"""The sensor that requests forecasts, scores and trainings of a dataset that was imported.

Here: telling the plans what they need, and requesting what they say. Elsewhere: the plans (`planning.forecasts`,
`planning.retraining`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from chronos_assets.defs.outcomes import RANGE_TAGS
from chronos_assets.defs.sensor_parts import REASON_TAG, run_state, running_sensor, skipped
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline import training
from chronos_assets.pipeline.accuracy import accuracy_states
from chronos_assets.pipeline.covariate_imports import pending_covariates
from chronos_assets.pipeline.current_forecast import shown_state
from chronos_assets.pipeline.dataset import dataset_state
from chronos_assets.pipeline.forecast_states import forecast_states, recipe
from chronos_assets.pipeline.forecast_windows import all_windows
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.run_settings import training_is_on
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.forecasts import DataPlan, DataRequest, plan_new_data, requested_run_keys
from chronos_assets.planning.retraining import RetrainPlan, plan_retrain, run_keys

TAG_LENGTH = 250
NOTHING_TO_TRAIN = RetrainPlan(None, "no dataset to train on yet")
NEW_DATA_SENSOR = """An import is done → the forecast of the window that holds the last observation, and its tables; scores of
the windows whose horizon is observed now; a training, when the policy of Chronos.Training asks for one.
"""


def new_data_sensor(group: Group, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """See the module."""
    launches = ["refresh_forecasts", "score_forecasts", "retrain"]

    @running_sensor(group, "new_data_sensor", NEW_DATA_SENSOR, jobs=jobs, launches=launches)
    def new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult:
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
            windows = all_windows(state)
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
            windows=windows,
            shown=shown,
        )
        return _result(group, plan, retrain)

    return new_data


def _plan_retrain(state: GroupState, context: dg.SensorEvaluationContext) -> RetrainPlan:
    if not training_is_on(state.group):
        return RetrainPlan(None, "no training: the last `chronos-assets run` was given --no-training")
    identity = training.request_identity(state)
    attempts = [run_state(context, key) for key in run_keys(identity)]
    return plan_retrain(
        training.is_due(state, datetime.now(UTC).replace(tzinfo=None)), attempts=attempts, search=identity
    )


def _result(group: Group, plan: DataPlan, retrain: RetrainPlan) -> dg.SensorResult:
    requests = [_request(group, request) for request in plan.requests]
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


def _request(group: Group, request: DataRequest) -> dg.RunRequest:
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
