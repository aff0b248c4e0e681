"""Jobs: named selections of assets that people and sensors launch together, and what people decide about versions."""

from typing import Any

import dagster as dg
from pydantic import Field

from chronos_assets.defs import training_metadata
from chronos_assets.defs.dead_runs import tagged_executor
from chronos_assets.defs.failures import failures
from chronos_assets.pipeline.decisions import decide_version
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState

# (name, assets, description). The selections only wait on other processes, so their steps run in the run's process: a
# process per step would import the code location again, a few seconds each.
SELECTIONS = (
    (
        "refresh_forecasts",
        ("target_time_series", "related_time_series", "item_metadata", "forecasts", "forecast_tables"),
        "Import the train files and covariates, forecast the chosen partition, refresh the SQL tables.",
    ),
    (
        "forecast_scenarios",
        ("what_if_forecasts", "forecast_tables"),
        "Forecast the chosen scenario beside the current forecast, refresh the SQL tables.",
    ),
    (
        "retrain",
        ("synthetic_dataset", "tuned_checkpoints", "model_package", "endpoint"),
        "Draw synthetic series, search for hyperparameters, gate and register the best model, serve the version in use.",
    ),
    (
        "score_forecasts",
        ("forecast_accuracy", "forecast_tables"),
        "Score the chosen partitions against what was observed since, refresh the SQL tables.",
    ),
)


# (name, what it does to the registry, description)
DECISIONS = (
    (
        "approve_model",
        "approve",
        "Make a version the one in use: newer approved ones get rejected. The endpoint follows.",
    ),
    ("reject_model", "reject", "Reject a version; if it was in use, the approved one before it takes its place."),
    ("roll_back_model", "roll_back", "Reject the version in use; the approved one before it takes its place."),
)


class RollBack(dg.Config):
    """What somebody decides about the version in use: a roll-back takes no number, which would be taken for its target.

    Attributes:
        reason: for the version's history.
    """

    reason: str = Field(default="", description="why, for the version's history")


class Decision(RollBack):
    """What somebody decides about a version of the model.

    Attributes:
        version: its number.
    """

    version: int = Field(default=0, description="number of the version; 0 is the newest")


def jobs(group: Group) -> list[Any]:
    """`refresh_forecasts`, `retrain`, `score_forecasts`, and a job for each decision about a version."""
    return [*_selections(group), *(_decision(group, *decision) for decision in DECISIONS)]


def _decision(group: Group, name: str, action: str, description: str) -> dg.JobDefinition:
    asked: type[RollBack] = RollBack if action == "roll_back" else Decision

    @dg.op(name=group.named(f"{name}_op"), description=description)
    def decide(context: dg.OpExecutionContext, config: asked) -> None:  # type: ignore[valid-type]
        decision: RollBack = config
        version = decision.version or None if isinstance(decision, Decision) else None
        with failures():
            made = decide_version(
                GroupState(group),
                action,
                version,
                by=f"job {name}, run {_first_run(context)[:8]}",
                reason=decision.reason,
                once=True,
                log=context.log,
            )
        context.add_output_metadata(training_metadata.decision(made))

    @dg.job(name=group.named(name), description=description, executor_def=tagged_executor)
    def decision_job() -> None:
        decide()

    return decision_job


def _first_run(context: dg.OpExecutionContext) -> str:
    """The run that a decision began with: Dagster repeats a run that crashed, and people re-execute one that failed.

    Re-executing one that succeeded is a decision of its own.
    """
    run = context.run
    while parent_id := run.get_parent_run_id():
        parent = context.instance.get_run_by_id(parent_id)
        if parent is None or parent.status == dg.DagsterRunStatus.SUCCESS:
            break
        run = parent
    return run.run_id


def _selections(group: Group) -> list[Any]:
    return [
        dg.define_asset_job(
            group.named(name),
            selection=dg.AssetSelection.assets(*(group.key(asset) for asset in assets)),
            description=description,
            executor_def=tagged_executor,
        )
        for name, assets, description in SELECTIONS
    ]
