"""Refreshing the SQL tables of a group."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.staging import memory_limit_named
from chronos_assets.pipeline.state import GroupState

# --- tables -----------------------------------------------------------------------------------------------------------


def refresh_tables(state: GroupState) -> Mapping[str, int]:
    """Bring the SQL tables up to date; rows of each."""
    group = state.group
    params = state.params
    with memory_limit_named(group):
        return group.tables.refresh(group.store, params)


def tables_are_current(group: Group, instance: dg.DagsterInstance) -> bool:
    """Whether the SQL tables are there, and were refreshed after whatever they show was made."""
    keys = [group.key(n) for n in ("forecast_tables", "target_time_series", "forecasts", "forecast_accuracy")]
    events = [instance.get_latest_materialization_event(key) for key in keys]
    refreshed, *made = [event.timestamp if event is not None else 0.0 for event in events]
    return refreshed > 0 and refreshed >= max(made) and bool(group.tables.place(group.store))
