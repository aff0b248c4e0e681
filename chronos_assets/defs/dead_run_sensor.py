"""The sensor that ends runs whose process is gone while the UI is up, and removes the logs of runs that are long over.

Here: when to look. Elsewhere: which run is dead (`dead_runs`), which logs are old (`old_runs`).
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from chronos_assets.defs.dead_runs import end_dead_runs
from chronos_assets.defs.old_runs import LOG_DAYS, remove_old_logs
from chronos_assets.defs.sensor_parts import running_sensor
from chronos_assets.pipeline.group import Group

INTERVAL_SECONDS = 60

DEAD_RUN_SENSOR = f"""Runs whose process is gone (a power cut, a kill, a closed terminal) → failed, their slots freed.

Without it they would look alive forever, and the next forecast would wait for their slot. In the store's own .dagster it also
removes the logs of runs that ended {LOG_DAYS} days ago.
"""


def dead_run_sensor(group: Group) -> dg.SensorDefinition:
    """The sensor of a group; it looks at the runs of this machine, whoever launched them."""

    @running_sensor(group, "dead_run_sensor", DEAD_RUN_SENSOR, seconds=INTERVAL_SECONDS)
    def look(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = end_dead_runs(context.instance)
        for run_id in ended:
            context.log.warning(f"run {run_id} had died; marked as failed")
        if Path(context.instance.root_directory).resolve() == group.own_dagster_home.resolve():
            remove_old_logs(group.own_dagster_home)
        return dg.SkipReason(f"ended {', '.join(ended)}" if ended else "every run has its process")

    return look
