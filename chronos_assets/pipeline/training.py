"""What the assets of the training line up to the registry do, as functions of a `Group`: generate, search, gate, register.

Here: the order of things and where results go. Elsewhere: Dagster's decorators (`defs.assets`), what
the UI shows (`defs.training_metadata`), when a training is due (`planning.retraining`), what becomes of a registered version
(`pipeline.serving`), what the jobs compute (`workloads`).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from chronos_assets.params.training import TrainingParams
from chronos_assets.pipeline.accuracy import live_wqls
from chronos_assets.pipeline.dataset import reading_parameters
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.package_document import image, package_document
from chronos_assets.pipeline.predictors import learn_version
from chronos_assets.pipeline.staging import latest_metadata, staging
from chronos_assets.pipeline.state import GroupState, Setup
from chronos_assets.planning.retraining import LiveAccuracy, NewestVersion, training_due
from chronos_assets.platforms.jobs import JobRequest, job_name
from chronos_assets.platforms.registry import PackageVersion, RegistryError
from chronos_assets.platforms.tuning import Trial, TuningRequest
from chronos_assets.settings import model_reference
from chronos_assets.store_layout import DATASET_KEY, MODELS_KEY, SYNTHETIC_KEY, TUNED_KEY

if TYPE_CHECKING:
    from chronos_assets.models.checkpoints import ModelDescription
    from chronos_assets.timeseries.scoring.gate import GateDecision

# Without a dataset there is nothing to be forecast, but a model can be tuned and served all the same.
_CANDIDATE_KEYS = frozenset(
    {"base_model", "started_from", "model", "digest", "trial", "objective", "chosen", "report", "trials"}
)


# --- what is trained --------------------------------------------------------------------------------------------------


def package_group(state: GroupState) -> str:
    """Name of the model package group; see `ForecastParams.package_group`."""
    return state.setup.name


def why_not_trainable(state: GroupState) -> str:
    """Why no model can be trained on the dataset that is there; empty if one can."""
    from chronos_assets.pipeline.training_limits import beyond_the_model
    from chronos_assets.timeseries.dataset.holdout import HoldoutError, plan_holdout

    setup, manifest = state.setup, state.manifest
    if setup.params is None or manifest is None:
        return ""
    try:
        plan_holdout(
            *manifest.span(setup.params.grid),
            setup.horizon,
            validation_windows=setup.training.validation_windows,
            test_windows=setup.training.test_windows,
            training_periods=2 * setup.horizon,
        )
    except HoldoutError as error:
        return str(error)
    return "; ".join(beyond_the_model(setup.training, state.group.settings.base_model))


def is_due(state: GroupState, now: datetime) -> tuple[bool, str]:
    """Whether the policy asks for a training, and why (not); see `planning.retraining`.

    Args:
        state: what is known of the group.
        now: naive, UTC.

    Raises:
        dg.Failure: parameters or registry can't be read.
    """
    group = state.group
    setup = state.setup
    newest, usable = _newest(state.versions), state.version_in_use
    # Scores are looked at once the data changed, not at each tick of a sensor: there is a file for every partition.
    changed = newest is not None and newest.data_version != setup.data_version
    due, reason = training_due(
        setup.training,
        data_version=setup.data_version or None,
        newest=newest,
        usable=usable is not None,
        deletes=setup.params is not None and setup.params.perform_delete,
        live=_live_accuracy(group, usable) if changed else None,
        now=now,
    )
    impossible = why_not_trainable(state) if due else ""
    return (False, f"no model can be trained: {impossible}") if impossible else (due, reason)


def request_identity(state: GroupState) -> str:
    """Identity of the training that would be requested now: the same for as long as it is under way.

    Raises:
        dg.Failure: parameters or registry can't be read.
    """
    setup = state.setup
    versions = state.versions
    digest = setup.params.digest if setup.params is not None else ""
    newest = versions[-1].name if versions else ""
    return "\0".join([setup.name, setup.data_version, digest, setup.training.search_digest, newest])


def _newest(versions: Sequence[PackageVersion]) -> NewestVersion | None:
    if not versions:
        return None
    newest = versions[-1]
    created = datetime.fromisoformat(str(newest.document["created"])).astimezone(UTC).replace(tzinfo=None)
    return NewestVersion(newest.name, newest.status, created, str(newest.document["data_version"]))


def _live_accuracy(group: Group, version: PackageVersion | None) -> LiveAccuracy | None:
    wql = version.document["metrics"].get("wql") if version is not None else None
    if version is None or wql is None:
        return None
    scores = list(live_wqls(group, version.name))
    naive = [naive for _, naive in scores if naive is not None]
    return LiveAccuracy(
        version.name, float(wql), tuple(own for own, _ in scores), tuple(naive) if len(naive) == len(scores) else ()
    )


# --- synthetic series -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Synthetic:
    """What `synthetic_dataset` made: the manifest beside the files, what the workload reported, in how long, by which job."""

    manifest: Mapping[str, Any]
    message: Mapping[str, Any]
    seconds: float
    facts: Mapping[str, Any]


def make_synthetic(state: GroupState, context: dg.AssetExecutionContext) -> Synthetic:
    """Draw the three splits and publish them."""
    group = state.group
    request = JobRequest(
        workload="generate",
        name=job_name("generate", *group.settings.key_prefix),
        parameters=synthetic_parameters(state.setup.training),
        outputs=("synthetic",),
    )
    with group.jobs.run(context, request) as result:
        manifest = json.loads((result.outputs["synthetic"] / "manifest.json").read_bytes())
        group.store.publish(SYNTHETIC_KEY, result.outputs["synthetic"])
    message: Mapping[str, Any] = next((item["synthetic"] for item in result.messages if "synthetic" in item), {})
    return Synthetic(manifest, message, result.seconds, result.facts)


def synthetic_parameters(training: TrainingParams) -> dict[str, Any]:
    """The JSON document that the generate workload reads."""
    synthetic = training.synthetic
    return {
        "seed": synthetic.seed,
        "length": synthetic.length,
        "max_kernels": synthetic.max_kernels,
        "sizes": {"train": synthetic.train, "validation": synthetic.validation, "test": synthetic.test},
    }


def synthetic_manifest(group: Group) -> dict[str, Any] | None:
    """Manifest of the synthetic dataset; None if there is none, or a damaged one."""
    manifest = _read_json(group, f"{SYNTHETIC_KEY}/manifest.json")
    return manifest if manifest is not None and manifest.keys() >= {"data_version", "files", "parameters"} else None


def synthetic_is_current(state: GroupState, instance: dg.DagsterInstance) -> bool:
    """Whether the synthetic series that are there are those that the parameters ask for."""
    group = state.group
    manifest = synthetic_manifest(group)
    if manifest is None or not latest_metadata(instance, group.key("synthetic_dataset")):
        return False
    wanted = synthetic_parameters(state.setup.training)
    listed = group.store.list(SYNTHETIC_KEY)
    sizes = {info.key.rpartition("/")[2]: info.size for info in listed if info.key.endswith(".arrow")}
    return sizes == {name: file["bytes"] for name, file in manifest["files"].items()} and all(
        manifest["parameters"].get(name) == value for name, value in wanted.items()
    )


# --- search -----------------------------------------------------------------------------------------------------------


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
        dg.Failure: a base model can't be had, the series are too short, or every trial failed.
    """
    group = state.group
    setup = state.setup
    reason = why_not_trainable(state)
    if reason:
        raise dg.Failure(f"no model can be trained: {reason}")
    synthetic = synthetic_manifest(group)
    if synthetic is None:
        raise dg.Failure("there are no synthetic series yet: materialize synthetic_dataset first")
    search, before = search_identity(state), read_tuned(group)
    trials: dict[str, tuple[Trial, ...]] = {}
    candidates, resumed = [], 0
    facts: list[Mapping[str, Any]] = []
    # A search lets go of its trials when its block ends: none does before all that came of them is written.
    with ExitStack() as searches:
        for reference, start in _starting_points(state, setup).items():
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


def _starting_points(state: GroupState, setup: Setup) -> dict[str, StartingPoint]:
    """Base model -> what its training starts from: itself, or with RETRAIN the version in use that came from it.

    Raises:
        dg.Failure: one can't be had, or forecasts not all of the quantiles: the gate would refuse it after the search.
    """
    from chronos_assets.models.checkpoints import ModelError, check_quantiles, describe_model

    group = state.group
    in_use = state.version_in_use if setup.training.strategy == "RETRAIN" else None
    points = {}
    for reference in map(model_reference, setup.training.base_models or (group.settings.base_model,)):
        warm = in_use.model if in_use is not None and in_use.document.get("base_model") == reference else None
        try:
            described = describe_model(group.store.snapshot(warm) if warm else reference)
            check_quantiles(described, setup.quantiles)
            points[reference] = StartingPoint(described, warm)
        except ModelError as error:
            raise dg.Failure(str(error)) from error
    return points


def _publish_candidate(group: Group, setup: Setup, reference: str, start: StartingPoint, best: Trial) -> dict[str, Any]:
    """Publish the best trial's checkpoint, and only the checkpoint; what the next asset must know of it."""
    from chronos_assets.models.checkpoints import describe_model

    if best.model is None:  # the protocol's promise for a completed trial
        raise dg.Failure(f"trial {best.number} of {reference} completed without a model")
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
    from chronos_assets.models.checkpoints import ModelError, describe_model

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
    tuned = _read_json(group, TUNED_KEY)
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
        *(f"{name}={start.model.digest}" for name, start in _starting_points(state, setup).items()),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


# --- gate and registry ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packaged:
    """What `model_package` made: the version as registered, the gate's decision, in how long, by which job."""

    version: PackageVersion
    decision: GateDecision
    seconds: float
    facts: Mapping[str, Any]

    @property
    def not_worse(self) -> bool:
        """Whether the candidate is not worse than any that it was compared with, whoever decides."""
        return all(row.difference is None or row.difference <= 0 for row in self.decision.rows)


def package(state: GroupState, context: dg.AssetExecutionContext) -> Packaged:
    """Hold the best candidate against base, version in use and seasonal naive, and register it with the verdict.

    Raises:
        dg.Failure: there is no candidate, the evaluation failed, or the registry refuses the version.
    """
    from chronos_assets.timeseries.scoring.evaluation_files import read_evaluation
    from chronos_assets.timeseries.scoring.gate import decide

    group = state.group
    setup, tuned = state.setup, read_tuned(group)
    if tuned is None:
        raise dg.Failure("there is no candidate yet: materialize tuned_checkpoints first")
    candidate = tuned["candidates"][tuned["best"]]
    in_use = state.version_in_use
    predictor = learn_version(group, context, setup, candidate)
    request = JobRequest(
        workload="evaluate",
        name=job_name("evaluate", *group.settings.key_prefix, setup.name),
        parameters=evaluation_parameters(setup, candidate, in_use),
        inputs={
            **({"dataset": DATASET_KEY} if setup.on_data else {"synthetic": SYNTHETIC_KEY}),
            **(setup.covariates.channels if setup.covariates is not None else {}),
            "candidate": candidate["model"],
            **({"approved": in_use.model} if in_use is not None else {}),
        },
        outputs=("evaluation",),
    )
    with group.jobs.run(context, request) as result:
        try:
            evaluation = read_evaluation(result.outputs["evaluation"])
            decision = decide(evaluation, approval=setup.training.approval)
        except ValueError as error:
            raise dg.Failure(f"the gate can't decide: {error}") from error
    identity = hashlib.sha256(
        "\0".join(
            [candidate["digest"], tuned["search"], tuned["data_version"], *([predictor.digest] if predictor else [])]
        ).encode()
    ).hexdigest()
    try:
        version = group.registry.register(
            setup.name,
            model=candidate["model"],
            identity=identity,
            document=package_document(tuned, candidate, decision, evaluation, image(group), predictor),
            status=decision.status,
            reason=decision.reason,
        )
    except RegistryError as error:
        raise dg.Failure(str(error)) from error
    return Packaged(version, decision, result.seconds, result.facts)


def evaluation_parameters(setup: Setup, candidate: Mapping[str, Any], in_use: PackageVersion | None) -> dict[str, Any]:
    """The JSON document that the evaluate workload reads."""
    params = setup.params
    models = {"candidate": candidate["model"], "base": candidate["base_model"]}
    values: dict[str, Any] = {
        "models": models | ({"approved": in_use.name} if in_use is not None else {}),
        "horizon": setup.horizon,
        "quantiles": list(setup.quantiles),
        "validation_windows": setup.training.validation_windows,
        "test_windows": setup.training.test_windows,
    }
    if params is None:
        return values
    return values | {
        **reading_parameters(params),
        "context_length": params.context_length,
        "batch_size": params.batch_size,
        "seed": params.seed,
        "non_negative": params.non_negative,
        "integers": params.integers,
        "zero_shot": params.predictor.to_document(),
        **(setup.covariates.parameters if setup.covariates is not None else {}),
    }


def _read_json(group: Group, key: str) -> dict[str, Any] | None:
    """The object in a file; None if there is no file, or none that holds one."""
    try:
        document = json.loads(group.store.get(key))
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None
