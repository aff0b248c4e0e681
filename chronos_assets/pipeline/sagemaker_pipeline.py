"""What the training line would do now, for a pipeline that does it without Dagster.

Here: gathering the parameters of the line's jobs, from the functions that Dagster's own line has them of.
Elsewhere: the pipeline (`platforms.aws.pipeline_definition`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chronos_assets.pipeline.packaging import evaluation_parameters
from chronos_assets.pipeline.predictors import learning_parameters
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.synthetic import synthetic_parameters
from chronos_assets.pipeline.tuning import search_request
from chronos_assets.platforms.jobs import job_name
from chronos_assets.settings import model_reference

if TYPE_CHECKING:
    from chronos_assets.platforms.aws.pipeline_definition import TrainingLine, TrainingPipeline


def training_line(state: GroupState, *, base_model: str = "", name: str = "") -> TrainingLine:
    """The line of one base model.

    Args:
        state: what is known of the group.
        base_model: reference; if not given, the first of those that the parameters name.
        name: of the pipeline; made from the model package group's if not given.

    Raises:
        ChronosAssetsError: `params.json` has errors.
    """
    from chronos_assets.platforms.aws.pipeline_definition import TrainingLine

    group = state.group
    setup = state.setup
    references = setup.training.base_models or (group.settings.base_model,)
    reference = model_reference(base_model or references[0])
    candidate = {"model": "candidate", "base_model": reference}
    return TrainingLine(
        name=name or job_name("training", *group.settings.key_prefix, setup.name),
        group=setup.name,
        synthetic=synthetic_parameters(setup.training),
        search=search_request(setup, reference, name=setup.name),
        learning=learning_parameters(setup, setup.params, candidate) if setup.params is not None else None,
        covariates=setup.covariates.channels if setup.covariates is not None else {},
        evaluation=evaluation_parameters(setup, candidate, None),
        approval="Approved" if setup.training.approval == "auto" else "PendingManualApproval",
    )


def training_pipeline(state: GroupState, *, base_model: str = "", name: str = "") -> TrainingPipeline:
    """The line of a group on AWS as a pipeline; see `training_line`.

    Raises:
        ChronosAssetsError: `params.json` has errors.
        PipelineError: SageMaker could not run the line.
    """
    from chronos_assets.platforms.aws.pipeline_definition import TrainingPipeline
    from chronos_assets.platforms.aws.platform import deployment

    line = training_line(state, base_model=base_model, name=name)
    return TrainingPipeline(line, deployment(state.group.settings, state.group.store))
