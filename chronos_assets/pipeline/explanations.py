"""Explaining the forecasts of partitions: the job, and its result in the store.

Elsewhere: the arithmetic (`predictors.explaining`), the files (`workloads.explain`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.forecasts import EXPLAINED_VERSION, forecast_inputs, forecast_parameters
from chronos_assets.pipeline.published import forecast_manifest
from chronos_assets.pipeline.staging import staging
from chronos_assets.pipeline.state import GroupState
from chronos_assets.planning.windows import window_for_key
from chronos_assets.platforms.jobs import JobRequest, job_name
from chronos_assets.predictors.members.catalogue import reads_natively
from chronos_assets.store_layout import explanations_key, history_key
from chronos_assets.system import write_json
from chronos_assets.timeseries.published_files import MANIFEST

EXPLANATIONS = "explanations.parquet"


@dataclass(frozen=True)
class Explained:
    """What came of one partition: its manifest, seconds of the job, and what people want to know of it."""

    key: str
    manifest: Mapping[str, Any]
    seconds: float
    facts: Mapping[str, Any]


def explain_forecast(state: GroupState, context: dg.AssetExecutionContext, key: str) -> Explained:
    """Explain the forecast of a partition, and publish it.

    Raises:
        ChronosAssetsError: there is none, it was made from other data than there are now, or covariates have no weight in it.
    """
    group, params = state.group, state.params
    try:
        version = group.store.shown(history_key(key))
        made = forecast_manifest(group, key)
    except FileNotFoundError:
        raise StepError(f"partition {key} has no forecast: materialize it in forecasts first") from None
    now = (state.require_manifest().data_version, params.digest, state.covariates.digest)
    if (made["data_version"], made["params_digest"], made.get("covariates_digest")) != now:
        raise StepError(
            f"the forecast of {key} was made from other data or parameters than there are now: materialize its partition of "
            "forecasts again"
        )
    window = window_for_key(key, group.settings.partitions)
    model = state.model_in_use
    if _reads_covariates_itself(made) and made["model"]["digest"] != model.digest:
        raise StepError(
            f"the forecast of {key} was made by another model than the one in use now, {model.label}: materialize its "
            "partition of forecasts again"
        )
    request = JobRequest(
        workload="explain",
        name=job_name("explain", *group.settings.key_prefix, key),
        parameters=forecast_parameters(state, [window]),
        inputs=forecast_inputs(state),
        # Not an input, whose URI would have the `%3A` of an hourly folder: see `partition_folders.job_folder`.
        remote={"forecast": history_key(key)},
        outputs=("explanations",),
    )
    with group.jobs.run(context, request) as result, staging(group):
        folder = result.outputs["explanations"]
        manifest = json.loads((folder / MANIFEST).read_bytes()) | {EXPLAINED_VERSION: version}
        write_json(folder / MANIFEST, manifest, sort_keys=True)
        group.store.publish(explanations_key(key), folder, data=EXPLANATIONS)
    return Explained(key, manifest, result.seconds, result.facts)


def _reads_covariates_itself(manifest: Mapping[str, Any]) -> bool:
    """Whether a forecast has members that are networks which read covariates, so that explaining it takes the network."""
    return any(reads_natively(name) for name in (manifest.get("predictor") or {}).get("weights") or ())
