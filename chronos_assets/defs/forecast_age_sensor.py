"""The sensor that reports how old the current forecast is, for an alarm outside of Dagster.

Here: looking and reporting. Elsewhere: from which age on somebody is woken (the alarm in
`docker/cloudformation.yaml`).

A number that comes each hour says two things: a growing one that no forecast is made any more, whatever the reason, and a
missing one that nobody is there to make it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from chronos_assets.defs import measurements
from chronos_assets.defs.sensor_parts import running_sensor
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.store_layout import FORECAST_KEY

INTERVAL_SECONDS = 3600

FORECAST_AGE_SENSOR = """The age of the current forecast → a metric, each hour.

An alarm is raised when it is too old for its windows, or when nothing comes, since then this daemon is gone.
"""


def forecast_age_sensor(group: Group) -> dg.SensorDefinition:
    """The sensor of a group that is watched from outside."""

    @running_sensor(group, "forecast_age_sensor", FORECAST_AGE_SENSOR, seconds=INTERVAL_SECONDS)
    def report_age(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        shown = group.store.head(f"{FORECAST_KEY}/forecast.parquet")
        if shown is None:
            return dg.SkipReason("there is no forecast yet")
        (age,) = measured = measurements.of_age(shown.last_modified, datetime.now(UTC))
        measurements.keep(group, context.log, GroupState(group).name, measured)
        return dg.SkipReason(f"the current forecast is {age.value:.1f} days old")

    return report_age
