"""Predictors in the store: learning them in jobs, and keeping them beside the models that they need.

Here: when a predictor is learned, and where it is put. Elsewhere: how it is learned (`workloads.learn`,
`predictors`), when it is used (`pipeline.forecasts`, `pipeline.serving`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from chronos_assets.models.checkpoints import describe_model
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.pipeline.covariates import CovariateInputs, item_categories
from chronos_assets.pipeline.dataset import reading_parameters
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.staging import staging
from chronos_assets.pipeline.state import GroupState, Setup
from chronos_assets.platforms.jobs import JobRequest, job_name
from chronos_assets.predictors.predictor import BASE_FOLDER, PREDICTOR_FILE, Predictor
from chronos_assets.store_layout import (
    DATASET_KEY,
    FORECAST_KEY,
    LEARNED_KEY,
    METADATA_KEY,
    ZERO_SHOT_KEY,
    history_key,
    members_key,
)
from chronos_assets.timeseries.forecast.files import cold_start_keys, series_traits
from chronos_assets.timeseries.published_files import LAST_OBSERVED, MANIFEST


def learned_before(state: GroupState, context: dg.AssetExecutionContext, parameters: Mapping[str, Any]) -> str | None:
    """What zero-shot predictors of a forecast are known; where several instances make it, they are all learned here first.

    Returns:
        Store key of the folder; None where nothing is known, or the model in use is a registered version.
    """
    group = state.group
    if state.model_in_use.key is not None:
        return None
    known = LEARNED_KEY if group.store.shown(LEARNED_KEY) is not None else None
    if group.settings.aws.forecast_instances < 2:
        return known
    windows = parameters["windows"]
    request = JobRequest(
        workload="learn",
        name=job_name("learn", *group.settings.key_prefix, windows[0]["key"], windows[-1]["key"]),
        parameters=parameters,
        inputs={"dataset": DATASET_KEY, **state.covariates.channels, **({"predictors": known} if known else {})},
        outputs=("predictors",),
    )
    with group.jobs.run(context, request) as result, staging(group) as folder:
        files = sorted(result.outputs["predictors"].glob("*.json"))
        keep_learned(group, [path.read_bytes() for path in files], folder)
    return LEARNED_KEY


def keep_learned(group: Group, learned: Sequence[bytes], folder: Path) -> None:
    """Keep zero-shot predictors beside those that were learned from the same dataset; those of other data are dropped.

    Args:
        group: whose store it is.
        learned: content of the predictors' files; those that were not learned for a forecast are skipped.
        folder: for what is staged.
    """
    found = {}
    for content in learned:
        if name := json.loads(content)["learned"].get("key"):
            found[f"{name}.json"] = content
    if not found:
        return
    version = json.loads(next(iter(found.values())))["learned"]["data_version"]
    before = group.store.snapshot(LEARNED_KEY) if group.store.shown(LEARNED_KEY) is not None else None
    kept = {path.name: path.read_bytes() for path in sorted(before.glob("*.json"))} if before is not None else {}
    kept = {name: content for name, content in kept.items() if _data_version(content) == version}
    if found.items() <= kept.items():
        return
    staged = folder / "learned"
    staged.mkdir()
    for name, content in (kept | found).items():
        (staged / name).write_bytes(content)
    group.store.publish(LEARNED_KEY, staged)


def _data_version(predictor: bytes) -> str | None:
    """Version of the dataset that a predictor was learned from; None where the file is damaged."""
    try:
        return str(json.loads(predictor)["learned"]["data_version"])
    except (ValueError, KeyError, TypeError):
        return None


def learn_version(
    group: Group, context: dg.AssetExecutionContext, setup: Setup, candidate: Mapping[str, Any]
) -> Predictor | None:
    """Learn the predictor of a candidate, and put it beside its checkpoint; None without a dataset to learn from."""
    if setup.params is None:
        return None
    request = JobRequest(
        workload="learn",
        name=job_name("learn", *group.settings.key_prefix, setup.name),
        parameters=learning_parameters(setup, setup.params, candidate),
        inputs={
            "dataset": DATASET_KEY,
            "model": candidate["model"],
            **setup.covariates.channels,
        },
        outputs=("predictors",),
    )
    with group.jobs.run(context, request) as result, staging(group) as folder:
        learned = result.outputs["predictors"]
        content = (learned / PREDICTOR_FILE).read_bytes()
        source = group.store.snapshot(str(candidate["model"]))
        _publish(group, str(candidate["model"]), source, content, folder, setup.covariates, learned)
    return Predictor.from_json(content)


def learning_parameters(setup: Setup, params: ForecastParams, candidate: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON document that the learn workload reads for a candidate: its `model` and `base_model`."""
    return {
        "model": candidate["model"],
        "base": candidate["base_model"],
        "horizon": setup.horizon,
        **reading_parameters(params),
        "context_length": params.context_length,
        "batch_size": params.batch_size,
        "precision": params.precision,
        "seed": params.seed,
        "predictor": params.predictor.to_document(),
        "validation_windows": setup.training.validation_windows,
        "test_windows": setup.training.test_windows,
        **setup.covariates.parameters,
    }


def shown_predictor(state: GroupState) -> Predictor | None:
    """The predictor that the current forecast was made with, if the base model in use now is in it; None if not."""
    try:
        manifest = json.loads(state.group.store.read(FORECAST_KEY, MANIFEST))
        content = state.group.store.read(history_key(manifest["as_of"]), PREDICTOR_FILE)
    except (FileNotFoundError, KeyError, ValueError):  # none, or a damaged one, which is published again
        return None
    same = manifest["model"]["digest"] == state.model_in_use.digest
    return Predictor.from_json(content, f"{history_key(manifest['as_of'])}/{PREDICTOR_FILE}") if same else None


def predictor_that_made(group: Group, key: str | None) -> tuple[dict[str, Any], Predictor | None]:
    """Manifest and predictor of a partition's forecast, or of the current one; no predictor where a model made it alone.

    Raises:
        FileNotFoundError: there is no such forecast.
        PredictorError: its predictor's file is damaged.
    """
    manifest = json.loads(group.store.read(history_key(key) if key is not None else FORECAST_KEY, MANIFEST))
    folder = history_key(manifest["as_of"])
    if "predictor" not in manifest:
        return manifest, None
    predictor = Predictor.from_json(group.store.read(folder, PREDICTOR_FILE), f"{folder}/{PREDICTOR_FILE}")
    return manifest, predictor.of_categories(item_categories(group))


def traits_of_item(
    group: Group, manifest: Mapping[str, Any], item_id: str
) -> dict[tuple[str, ...], NDArray[np.float64]]:
    """Traits of an item's series, by key, that the weights of a published forecast followed from."""
    return series_traits(group.store.snapshot(history_key(manifest["as_of"])), manifest["dimensions"], item_id)


def publish_zero_shot(state: GroupState) -> str | None:
    """Publish the base model with the current forecast's predictor as one folder, to be served; its key."""
    predictor = shown_predictor(state)
    if predictor is None:
        return None
    group = state.group
    with staging(group) as folder:
        source = describe_model(group.settings.base_model).folder
        _publish(group, ZERO_SHOT_KEY, source, predictor.to_json(), folder, state.covariates)
    return ZERO_SHOT_KEY


def _publish(
    group: Group,
    key: str,
    source: Path,
    predictor: bytes,
    folder: Path,
    covariates: CovariateInputs,
    learned: Path | None = None,
) -> None:
    """Publish a checkpoint with its predictor, what an endpoint knows beside requests, and the base model that was left."""
    from chronos_assets.predictors.covariates import SERVED_FOLDER, keep_beside

    staged = folder / "predictor"
    shutil.copytree(source, staged, ignore=shutil.ignore_patterns(PREDICTOR_FILE, BASE_FOLDER, SERVED_FOLDER, "*.md"))
    (staged / PREDICTOR_FILE).write_bytes(predictor)
    metadata = group.store.snapshot(METADATA_KEY) if covariates.metadata is not None else None
    keep_beside(staged, metadata, covariates.holidays)
    if learned is not None and (learned / BASE_FOLDER).is_dir():
        shutil.copytree(learned / BASE_FOLDER, staged / BASE_FOLDER)
    group.store.publish(key, staged)


def publish_members(group: Group, key: str, forecast: Path, folder: Path) -> None:
    """Publish which members make a partition's forecast, for the SQL tables; withdraw it where a model makes it alone.

    Args:
        group: whose store it is.
        key: of the partition.
        forecast: folder of its forecast, not yet published: whoever sees the forecast finds its members.
        folder: for what is staged.
    """
    from chronos_assets.predictors.members_file import MEMBERS, write_members

    predictor = Predictor.load(forecast)
    if predictor is None:
        group.store.withdraw(members_key(key))
        return
    dimensions = json.loads((forecast / MANIFEST).read_bytes())["dimensions"]
    staged = folder / f"members-{key}"
    staged.mkdir()
    cold = cold_start_keys(forecast, dimensions)
    known = predictor.of_categories(item_categories(group))
    write_members(staged / MEMBERS, known, forecast / LAST_OBSERVED, dimensions, cold)
    group.store.publish(members_key(key), staged)


def by_weight(weights: Mapping[str, float]) -> list[tuple[str, float]]:
    """Members with their weights, the greatest first."""
    return sorted(weights.items(), key=lambda item: (-item[1], item[0]))


def gain_text(gain: Mapping[str, Any]) -> str:
    """By how much the ensemble is better than its best member, for people."""
    value, low, high = (gain.get(name) for name in ("value", "low", "high"))
    if value is None:
        return "not known: there was no past to learn from"
    word = "better" if value < 0 else "worse"
    gained = f"wQL {abs(value):.4g} {word} than {gain['member']}, the best member"
    if low is None or high is None:
        return gained
    chance = ", which may be chance" if low <= 0 <= high else ""
    return f"{gained}{chance} (95% interval of the difference: {low:+.4g} to {high:+.4g})"


def learned_text(learned: Mapping[str, Any]) -> str:
    """What a predictor was learned from, for people."""
    if learned.get("source") == "prior":
        return "nothing: the weights are those of synthetic series"
    windows = f"{learned.get('windows', 0):,} windows of {learned.get('series', 0):,} series"
    return f"{windows}, up to {learned.get('until', 'an unknown time')}"
