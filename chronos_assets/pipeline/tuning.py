"""What `tuned_checkpoints` does: a search for each base model, its best checkpoint published, and the document of them all.

Elsewhere: what a training job does (`workloads.train`), how trials are run (`platforms`), what becomes of the best candidate
(`pipeline.packaging`).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import dagster as dg

from chronos_assets.models.checkpoints import ModelDescription, ModelError, check_quantiles, describe_model
from chronos_assets.pipeline.dataset import reading_parameters
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.materializations import latest_metadata
from chronos_assets.pipeline.staging import staging
from chronos_assets.pipeline.state import GroupState, Setup
from chronos_assets.pipeline.synthetic import synthetic_manifest
from chronos_assets.pipeline.training import why_not_trainable
from chronos_assets.platforms.jobs import job_name
from chronos_assets.platforms.tuning import Trial, TuningRequest
from chronos_assets.settings import model_reference
from chronos_assets.store_layout import DATASET_KEY, MODELS_KEY, SYNTHETIC_KEY, TUNED_KEY
from chronos_assets.system import text_digest

# What each candidate of the document has.
_CANDIDATE_KEYS = frozenset(
    {"base_model", "started_from", "model", "digest", "trial", "objective", "chosen", "report", "trials"}
)


@dataclass(frozen=True)
class Tuned:
    """What `tuned_checkpoints` made: for each base model its trials; the document that the next asset reads.

    Attributes:
        facts: of the search for the best of them.
    """

    trials: Mapping[str, tuple[Trial, ...]]
    document: Mapping[str, Any]
    resumed: int
    facts: Mapping[str, Any]

    @property
    def version(self) -> str:
        """Data version: the digest of the best checkpoint."""
        return str(self.document["candidates"][self.document["best"]]["digest"])


def tune(state: GroupState, context: dg.AssetExecutionContext) -> Tuned:
    """Search for the best hyperparameters of each base model, and publish its best checkpoint.

    Raises:
        ChronosAssetsError: a base model can't be had, the series are too short, or every trial failed.
    """
    group = state.group
    setup = state.setup
    reason = why_not_trainable(state)
    if reason:
        raise StepError(f"no model can be trained: {reason}")
    synthetic = synthetic_manifest(group)
    if synthetic is None:
        raise StepError("there are no synthetic series yet: materialize synthetic_dataset first")
    search, before = search_identity(state), read_tuned(group)
    trials: dict[str, tuple[Trial, ...]] = {}
    candidates, resumed = [], 0
    facts: list[Mapping[str, Any]] = []
    # A search lets go of its trials when its block ends: none does before all that came of them is written.
    with ExitStack() as searches:
        for reference, start in _starting_points(state).items():
            result = searches.enter_context(group.tuning.tune(context, _search(group, setup, search, reference, start)))
            trials[reference] = result.trials
            resumed += result.resumed
            facts.append(result.facts)
            candidate = _publish_candidate(group, setup, reference, start, result.best)
            candidates.append(candidate | {"trials": [_trial_document(trial) for trial in result.trials]})
        document: dict[str, Any] = {
            "search": search,
            "data_version": setup.data_version,
            "synthetic_version": synthetic["data_version"],
            "best": min(range(len(candidates)), key=lambda number: candidates[number]["objective"]),
            "candidates": candidates,
        }
        group.store.put(TUNED_KEY, (json.dumps(document, indent=1) + "\n").encode())
    # The search took its time: versions may have been registered since.
    _remove_losers(GroupState(group), setup.name, before, kept={candidate["model"] for candidate in candidates})
    return Tuned(trials, document, resumed, facts[int(document["best"])])


def _remove_losers(state: GroupState, package: str, before: Mapping[str, Any] | None, kept: set[str]) -> None:
    """Delete the checkpoints of an earlier search that went to no gate: of other base models than the best one."""
    group = state.group
    candidates = before["candidates"] if before is not None else []
    losers = {item["model"] for number, item in enumerate(candidates) if before and number != before["best"]}
    for key in losers - kept - {item.model for item in state.versions}:
        if made_here(package, key):
            group.store.withdraw(key)


def made_here(package: str, key: str) -> bool:
    """Whether a store key is that of a checkpoint which a search of the package group published."""
    return re.fullmatch(rf"{MODELS_KEY}/{re.escape(package)}-[0-9a-f]{{12}}", key) is not None


def _search(group: Group, setup: Setup, search: str, reference: str, start: StartingPoint) -> TuningRequest:
    """The request for one base model."""
    name = job_name("tune", *group.settings.key_prefix, setup.name, reference, search)
    return search_request(setup, reference, name=name, start=start.key)


def search_request(setup: Setup, reference: str, *, name: str, start: str | None = None) -> TuningRequest:
    """The search for the hyperparameters of one base model.

    Args:
        setup: what the training is about.
        reference: the base model.
        name: of the search.
        start: store key of the version that the training starts from, if not from the base model itself.
    """
    training = setup.training
    return TuningRequest(
        name=name,
        hyperparameters=training_hyperparameters(setup, reference),
        ranges=training.ranges,
        inputs={**_training_inputs(setup), **({"model": start} if start else {})},
        max_jobs=training.max_jobs,
        max_parallel_jobs=training.max_parallel_jobs,
        random_seed=training.random_seed,
    )


def training_hyperparameters(setup: Setup, reference: str) -> dict[str, Any]:
    """Hyperparameters of every trial, the searched ones aside: how to read the user's data, and the user's own."""
    training, params = setup.training, setup.params
    share = training.synthetic_share if setup.on_data else 1.0
    values: dict[str, Any] = {
        "base_model": reference,
        "horizon": setup.horizon,
        "quantiles": list(setup.quantiles),
        "mixture": {
            name: value for name, value in (("synthetic", share), ("target", round(1 - share, 12))) if value > 0
        },
        "validation_windows": training.validation_windows,
        "test_windows": training.test_windows,
    }
    if params is not None:
        values |= reading_parameters(params)
    return values | dict(training.hyperparameters)


def _training_inputs(setup: Setup) -> dict[str, str]:
    # Synthetic series come along even at a share of 0: where there are no data of the user's, they validate.
    return {"synthetic": SYNTHETIC_KEY, **({"target": DATASET_KEY} if setup.on_data else {})}


@dataclass(frozen=True)
class StartingPoint:
    """What a training starts from.

    Attributes:
        model: its description.
        key: store key of a version's folder; None for a base model.
    """

    model: ModelDescription
    key: str | None = None


def _starting_points(state: GroupState) -> dict[str, StartingPoint]:
    """Base model -> what its training starts from: itself, or with RETRAIN the version in use that came from it.

    Raises:
        ChronosAssetsError: one can't be had, or forecasts not all of the quantiles: the gate would refuse it after the search.
    """
    group, setup = state.group, state.setup
    in_use = state.version_in_use if setup.training.strategy == "RETRAIN" else None
    points = {}
    for reference in map(model_reference, setup.training.base_models or (group.settings.base_model,)):
        warm = in_use.model if in_use is not None and in_use.document.get("base_model") == reference else None
        described = describe_model(group.store.snapshot(warm) if warm else reference)
        check_quantiles(described, setup.quantiles)
        points[reference] = StartingPoint(described, warm)
    return points


def _publish_candidate(group: Group, setup: Setup, reference: str, start: StartingPoint, best: Trial) -> dict[str, Any]:
    """Publish the best trial's checkpoint, and only the checkpoint; what the next asset must know of it."""
    if best.model is None:  # the protocol's promise for a completed trial
        raise StepError(f"trial {best.number} of {reference} completed without a model")
    digest = describe_model(best.model).digest
    key = f"{MODELS_KEY}/{setup.name}-{digest[:12]}"
    with staging(group) as folder:
        staged = folder / "model"
        shutil.copytree(best.model, staged)
        group.store.publish(key, staged)
    return {
        "base_model": reference,
        "started_from": start.model.digest,
        "model": key,
        "digest": digest,
        "trial": best.number,
        "objective": best.objective,
        "chosen": dict(best.hyperparameters),
        "report": dict(best.report),
    }


def tuned_is_current(state: GroupState, instance: dg.DagsterInstance) -> bool:
    """Whether the last search was the one that would be made now, its checkpoints are there, and Dagster knows of it."""
    group = state.group
    tuned = read_tuned(group)
    return (
        tuned is not None
        and tuned["search"] == search_identity(state)
        and all(_is_there(group, item) for item in tuned["candidates"])
        and bool(latest_metadata(instance, group.key("tuned_checkpoints")))
    )


def _is_there(group: Group, candidate: Mapping[str, Any]) -> bool:
    """Whether a candidate's checkpoint is there, with the files that it was published with."""
    try:
        return describe_model(group.store.snapshot(candidate["model"])).digest == str(candidate["digest"])
    except (ModelError, FileNotFoundError):
        return False


def _trial_document(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "objective": trial.objective,
        "hyperparameters": dict(trial.hyperparameters),
        "reason": trial.reason,
    }


def read_tuned(group: Group) -> dict[str, Any] | None:
    """The document of the last search; None if there is none, or a damaged one: it is rebuilt then."""
    tuned = group.read_json(TUNED_KEY)
    return tuned if tuned is not None and _is_whole(tuned) else None


def _is_whole(tuned: Mapping[str, Any]) -> bool:
    candidates, best = tuned.get("candidates"), tuned.get("best")
    return (
        tuned.keys() >= {"search", "data_version", "synthetic_version"}
        and isinstance(candidates, list)
        and all(isinstance(item, dict) and item.keys() >= _CANDIDATE_KEYS for item in candidates)
        and isinstance(best, int)
        and 0 <= best < len(candidates)
    )


def search_identity(state: GroupState) -> str:
    """Digest of all that a search depends on: data, parameters, synthetic series, base models."""
    group = state.group
    setup = state.setup
    synthetic = synthetic_manifest(group) or {}
    parts = [
        setup.data_version,
        setup.params.digest if setup.params is not None else "",
        setup.training.search_digest,
        str(synthetic.get("data_version", "")),
        *(f"{name}={start.model.digest}" for name, start in _starting_points(state).items()),
    ]
    return text_digest("\0".join(parts))[:16]
