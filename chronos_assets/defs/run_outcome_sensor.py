"""The sensor that sends a notice of every run that ended.

Here: finding those runs, each once. Elsewhere: what a notice says (`outcomes`), sending it (`measurements`).
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from chronos_assets.defs import measurements
from chronos_assets.defs.jobs import DECISIONS, SELECTIONS
from chronos_assets.defs.outcomes import OUTCOMES, is_of_group, notice_of
from chronos_assets.defs.sensor_parts import running_sensor
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.platforms.notices import NoticeError

NOTICES_PER_TICK = 100
# Runs of one second may be recorded in any order: look back a little, notices are sent once per run anyway.
OUTCOME_OVERLAP = timedelta(seconds=60)
RUN_OUTCOME_SENSOR = (
    """Every run that ended → one notice: what was made and how accurate it is, or which asset failed and why."""
)


def run_outcome_sensor(group: Group) -> dg.SensorDefinition:
    """See the module."""
    names = frozenset(group.named(name) for name, _, _ in (*SELECTIONS, *DECISIONS))

    @running_sensor(group, "run_outcome_sensor", RUN_OUTCOME_SENSOR)
    def run_outcome(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.fromtimestamp(0, UTC)
        # Notices are sent before the cursor moves: after a crash they are tried again, and sent once.
        records = context.instance.get_run_records(
            dg.RunsFilter(statuses=list(OUTCOMES), updated_after=since),
            order_by="update_timestamp",
            ascending=True,
            limit=NOTICES_PER_TICK,
        )
        sent, refused, state = 0, [], GroupState(group)
        for record in records:
            if not is_of_group(record.dagster_run, group, names):
                continue
            notice = notice_of(context.instance, record, group, state.name)
            try:
                sent += measurements.send_notice(group, context.log, notice)
            except NoticeError as error:
                # The others are reported all the same; this one is tried again, since the cursor stays before it.
                refused.append((_utc(record.update_timestamp), str(error)))
        full = len(records) == NOTICES_PER_TICK
        newest = max((_utc(record.update_timestamp) for record in records), default=since)
        # A full page may hold one second's runs only: then looking back would never get past it.
        cursor = newest if full else max(since, newest - OUTCOME_OVERLAP)
        if refused:
            cursor = max(since, min(cursor, refused[0][0] - OUTCOME_OVERLAP))
        message = f"{sent} notices sent" if sent else "no run ended since the last look"
        message += f"; {len(refused)} to be sent again: {refused[0][1]}" if refused else ""
        return dg.SensorResult(skip_reason=message, cursor=cursor.isoformat())

    return run_outcome


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
