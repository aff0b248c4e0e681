"""The one place where the parts are joined into Dagster definitions.

`build_definitions` is what production, tests and scripts call; `defs` is what Dagster loads, from the environment.
Nothing here touches the store, a model or a network.
"""

from __future__ import annotations

import warnings
from typing import Any

import dagster as dg

from chronos_assets.defs.assets.benchmark import benchmark_assets
from chronos_assets.defs.assets.dataset import dataset_assets
from chronos_assets.defs.assets.evaluation import evaluation_assets
from chronos_assets.defs.assets.explanations import explanation_assets
from chronos_assets.defs.assets.forecasts import forecast_assets
from chronos_assets.defs.assets.training import training_assets, version_assets
from chronos_assets.defs.assets.what_if import what_if_assets
from chronos_assets.defs.checks import checks
from chronos_assets.defs.console import console_logger
from chronos_assets.defs.covariate_checks import covariate_checks
from chronos_assets.defs.dead_runs import tagged_executor
from chronos_assets.defs.jobs import jobs
from chronos_assets.defs.sensors import sensors
from chronos_assets.pipeline.group import Group
from chronos_assets.settings import Settings


def build_definitions(settings: Settings | None = None, **overrides: Any) -> dg.Definitions:
    """Definitions of one dataset group.

    Args:
        settings: from the environment if not given.
        overrides: parts of the platform to use instead of the settings' (`Group.overrides`).
    """
    return group_definitions(Group(settings or Settings.from_env(), overrides))


def group_definitions(group: Group) -> dg.Definitions:
    """Definitions of `group`; several groups with different key prefixes can be merged into one code location."""
    with warnings.catch_warnings():
        # Single-run backfills (beta) and partitioned checks (preview) are used on purpose; the lock pins the version.
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        group_jobs = jobs(group)
        return dg.Definitions(
            assets=[
                *dataset_assets(group),
                *training_assets(group),
                *version_assets(group),
                *forecast_assets(group),
                *what_if_assets(group),
                *explanation_assets(group),
                *evaluation_assets(group),
                *benchmark_assets(group),
            ],
            asset_checks=[*checks(group), *covariate_checks(group)],
            jobs=group_jobs,
            sensors=sensors(group, group_jobs),
            loggers={"console": console_logger},
            executor=tagged_executor,
        )


defs = build_definitions()
