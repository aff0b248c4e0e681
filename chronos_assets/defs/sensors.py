"""The sensors of a group: each looks at the store and at runs, asks a pure plan of `planning` what to do, tells Dagster."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from chronos_assets.defs.dead_run_sensor import dead_run_sensor
from chronos_assets.defs.forecast_age_sensor import forecast_age_sensor
from chronos_assets.defs.new_data_sensor import new_data_sensor
from chronos_assets.defs.redeploy_sensor import redeploy_sensor
from chronos_assets.defs.run_outcome_sensor import run_outcome_sensor
from chronos_assets.defs.train_files_sensor import train_files_sensor
from chronos_assets.defs.what_if_sensor import what_if_sensor
from chronos_assets.pipeline.group import Group


def sensors(group: Group, jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """The sensors of a group, running by default; `jobs` are the group's."""
    made = [
        train_files_sensor(group, jobs),
        new_data_sensor(group, jobs),
        run_outcome_sensor(group),
        what_if_sensor(group, jobs),
    ]
    # Where runs are tasks of ECS, Dagster's monitoring asks ECS whether they live.
    if group.settings.deployment == "aws":
        from chronos_assets.defs.orphan_job_sensor import reaper_sensor

        return [*made, redeploy_sensor(group, jobs), forecast_age_sensor(group), reaper_sensor(group)]
    return [*made, dead_run_sensor(group)]
