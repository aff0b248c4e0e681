"""Which model is in use: the approved version of the registry, or the zero-shot base model.

Here: that rule, in one place for forecasts, the endpoint and notices. Elsewhere: how
versions come to be (`pipeline.packaging`), how they are kept (`platforms`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chronos_assets.models.checkpoints import ModelError, describe_model
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.registry import PackageVersion, approved_version
from chronos_assets.predictors.predictor import RECIPE_VERSION, Predictor, PredictorError


@dataclass(frozen=True)
class ModelInUse:
    """What forecasts are made with, and served, now.

    Attributes:
        label: the version's name, or the base model's reference.
        key: store key of the version's folder; None for the zero-shot base model.
        digest: of the model's files.
        trained_until: ISO time of the last period that it was trained on or chosen by; None for the base model.
        predictor: which predictor forecasts: the digest of the version's, the recipe of the zero-shot one; empty where it is
            the model alone.
        note: why it is the zero-shot base model; empty for a version.
        stands_for: digests of models whose forecasts need not be made again because of this one: of an approved
            version whose checkpoint was deleted after publishing.
    """

    label: str
    key: str | None
    digest: str
    trained_until: str | None = None
    predictor: str = ""
    note: str = ""
    stands_for: frozenset[str] = frozenset()


def registered(group: Group, name: str) -> list[PackageVersion]:
    """Every version of the package group `name`, in order.

    Raises:
        ChronosAssetsError: the registry can't be read, or a version lacks what is asked of it here; people may edit its file.
    """
    versions = group.registry.versions(name)
    for version in versions:
        problem = _problem(version.document)
        if problem:
            raise StepError(
                f"{version.name} in the registry can't be used, its document {problem}: "
                "correct it, or move it away, which removes that version"
            )
    return versions


def _problem(document: Mapping[str, Any]) -> str:
    """What a version's document lacks of what decides about trainings and is shown; empty if nothing."""
    try:
        datetime.fromisoformat(document.get("created", ""))
    except (TypeError, ValueError):
        return "has no ISO time as created"
    if not isinstance(document.get("data_version"), str):
        return "has no text as data_version"
    metrics = document.get("metrics")
    if not isinstance(metrics, dict) or not isinstance(metrics.get("wql", 0.0), int | float):
        return "has no object of numbers as metrics"
    return ""


def version_in_use(group: Group, versions: Sequence[PackageVersion]) -> PackageVersion | None:
    """The approved version with the highest number among `versions`, if its checkpoint is still there."""
    version = approved_version(versions)
    return version if version is not None and group.store.exists(f"{version.model}/config.json") else None


def model_in_use(group: Group, versions: Sequence[PackageVersion]) -> ModelInUse:
    """The version in use among `versions`, else the zero-shot base model.

    Raises:
        ChronosAssetsError: the model's files can't be read.
    """
    version = version_in_use(group, versions)
    try:
        if version is None:
            return _zero_shot(group, versions)
        folder = group.store.snapshot(version.model)
        digest = describe_model(folder).digest
        predictor = Predictor.load(folder)
    except (ModelError, PredictorError) as error:
        if version is None:
            raise
        raise StepError(_unusable(group, version, str(error))) from error
    if digest != version.document.get("model_digest", digest):
        raise StepError(_unusable(group, version, "these are not the files that were registered"))
    until = version.document.get("validation_end") or version.document.get("training_cutoff")
    made_by = predictor.digest if predictor is not None else ""
    if made_by != version.document.get("predictor_digest", made_by):
        raise StepError(_unusable(group, version, "its predictor.json is not the one that was registered"))
    return ModelInUse(version.name, version.model, digest, trained_until=until, predictor=made_by)


def _unusable(group: Group, version: PackageVersion, reason: str) -> str:
    return (
        f"the checkpoint of {version.name}, {group.place(version.model)}, can't be used ({reason}): "
        f"reject that version (chronos-assets model reject {version.version}), or put its files back"
    )


def _zero_shot(group: Group, versions: Sequence[PackageVersion]) -> ModelInUse:
    base = group.settings.base_model
    approved = approved_version(versions)
    if approved is not None:
        note = f"zero-shot: the checkpoint of {approved.name} was deleted"
    elif versions:
        note = f"zero-shot: no version is approved, {versions[-1].name} is {versions[-1].status}"
    else:
        note = "zero-shot: no version has been registered yet"
    gone = frozenset({str(approved.document.get("model_digest", ""))} if approved is not None else ())
    return ModelInUse(base, None, describe_model(base).digest, predictor=zero_shot_recipe(), note=note, stands_for=gone)


def zero_shot_recipe() -> str:
    """Name of how the zero-shot predictor is learned now."""
    return f"zero-shot {RECIPE_VERSION}"


def predictor_of(manifest: Mapping[str, Any]) -> str:
    """Which predictor made a forecast, as `ModelInUse.predictor` has it, by the forecast's manifest."""
    made: Mapping[str, Any] = manifest.get("predictor") or {}
    learned: Mapping[str, Any] = made.get("learned") or {}
    if learned.get("source") in ("backtests", "prior"):
        return f"zero-shot {learned.get('recipe')}"
    return str(made.get("digest", ""))
