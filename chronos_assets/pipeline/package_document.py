"""The document of a registered version: where its model comes from, what the gate measured, what serves it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from chronos_assets.container.contract import CONTENT_TYPES, RESPONSE_TYPES
from chronos_assets.pipeline.group import Group
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.timeseries.scoring.gate import CANDIDATE, Evaluation, GateDecision


def package_document(
    tuned: Mapping[str, Any],
    candidate: Mapping[str, Any],
    decision: GateDecision,
    evaluation: Evaluation,
    image: str,
    predictor: Predictor | None = None,
) -> dict[str, Any]:
    """What the registry keeps of a version beside its status; the names are those of SageMaker's model packages."""
    report = candidate["report"]
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "base_model": candidate["base_model"],
        "model_digest": candidate["digest"],
        "started_from": candidate["started_from"],
        "data_version": tuned["data_version"],
        "synthetic_version": tuned["synthetic_version"],
        "hyperparameters": report.get("hyperparameters", {}) | candidate["chosen"],
        "validation_wql": candidate["objective"],
        "training_cutoff": report.get("training_cutoff"),
        "validation_end": report.get("validation_end"),
        "metrics": {
            name: value
            for name, value in (
                ("wql", decision.rows[0].wql),
                ("mase", decision.rows[0].mase),
                (decision.band or "coverage", decision.rows[0].coverage),
            )
            if value is not None
        },
        "gate": decision.to_document(),
        "test": {
            "series": len(evaluation.scale),
            "windows": evaluation.windows,
            "metrics": dict(evaluation.scores[CANDIDATE].measures),
        },
        **(
            {"predictor_digest": predictor.digest, "predictor": _with_speeds(predictor)}
            if predictor is not None
            else {}
        ),
        "image": image,
        "content_types": list(CONTENT_TYPES),
        "response_types": list(RESPONSE_TYPES),
        "framework": "PYTORCH",
        "task": "OTHER",
        "domain": "MACHINE_LEARNING",
    }


def _with_speeds(predictor: Predictor) -> dict[str, Any]:
    """A predictor's summary with how fast each member was when it was learned: a version is made once, unlike a forecast."""
    return predictor.summary() | {"leaderboard": [row.to_document() for row in predictor.leaderboard]}


def image(group: Group) -> str:
    """What serves and forecasts with a version: a container image, on a laptop this package itself."""
    return (
        group.settings.aws.image
        if group.settings.deployment == "aws"
        else f"chronos-assets:{version('chronos-assets')}"
    )
