"""What `model_package` does: the best candidate held against what is there, and registered with the gate's verdict.

Elsewhere: the errors that are compared (`workloads.evaluate`), the rule (`timeseries.scoring.gate`), the document that is
registered (`pipeline.package_document`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from chronos_assets.pipeline.dataset import reading_parameters
from chronos_assets.pipeline.errors import StepError
from chronos_assets.pipeline.package_document import image, package_document
from chronos_assets.pipeline.predictors import learn_version
from chronos_assets.pipeline.state import GroupState, Setup
from chronos_assets.pipeline.tuning import read_tuned
from chronos_assets.platforms.jobs import JobRequest, job_name
from chronos_assets.platforms.registry import PackageVersion
from chronos_assets.store_layout import DATASET_KEY, SYNTHETIC_KEY
from chronos_assets.system import text_digest
from chronos_assets.timeseries.scoring.gate import GateDecision, decide


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
        ChronosAssetsError: there is no candidate, the evaluation failed, or the registry refuses the version.
    """
    from chronos_assets.timeseries.scoring.evaluation_files import read_evaluation

    group = state.group
    setup, tuned = state.setup, read_tuned(group)
    if tuned is None:
        raise StepError("there is no candidate yet: materialize tuned_checkpoints first")
    candidate = tuned["candidates"][tuned["best"]]
    in_use = state.version_in_use
    predictor = learn_version(group, context, setup, candidate)
    request = JobRequest(
        workload="evaluate",
        name=job_name("evaluate", *group.settings.key_prefix, setup.name),
        parameters=evaluation_parameters(setup, candidate, in_use),
        inputs={
            **({"dataset": DATASET_KEY} if setup.on_data else {"synthetic": SYNTHETIC_KEY}),
            **setup.covariates.channels,
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
            raise StepError(f"the gate can't decide: {error}") from error
    identity = text_digest(
        "\0".join(
            [candidate["digest"], tuned["search"], tuned["data_version"], *([predictor.digest] if predictor else [])]
        )
    )
    version = group.registry.register(
        setup.name,
        model=candidate["model"],
        identity=identity,
        document=package_document(tuned, candidate, decision, evaluation, image(group), predictor),
        status=decision.status,
        reason=decision.reason,
    )
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
        **setup.covariates.parameters,
    }
