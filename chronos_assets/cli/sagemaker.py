"""`sagemaker-pipeline`: the training line for runs without Dagster."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_assets.cli.common import UsageError, open_group, settings_for


def sagemaker_pipeline(
    upsert: Annotated[bool, typer.Option("--upsert", help="Create or update the pipeline.")] = False,
    name: Annotated[
        str, typer.Option(help="Name of the pipeline (default: made from the model package group's).")
    ] = "",
    base_model: Annotated[str, typer.Option(help="Model to tune (default: the first of BaseModels).")] = "",
) -> None:
    """Print the training line as a SageMaker Pipelines definition, for runs without Dagster."""
    from chronos_assets.pipeline.sagemaker_pipeline import training_pipeline
    from chronos_assets.pipeline.state import GroupState

    settings = settings_for(None)
    if settings.deployment != "aws":
        raise UsageError("a pipeline runs on AWS: set CHRONOS_DEPLOYMENT=aws, and CHRONOS_STORE to s3://bucket/prefix")
    pipeline = training_pipeline(GroupState(open_group(settings)), base_model=base_model, name=name)
    print(pipeline.upsert() if upsert else pipeline.definition())
