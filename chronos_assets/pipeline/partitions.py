"""Partition definitions: time windows whose end is the *as-of*, and scenarios."""

from __future__ import annotations

import dagster as dg

from chronos_assets.settings import Settings

# The clock that is furthest ahead of UTC: Kiribati's.
_HOURS_AHEAD = 14


def forecast_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """Windows of `settings.partitions` length from `settings.partition_start`, the one under way included.

    There is no end date: with one in the past, Dagster's plots over partitions stay empty. Dagster counts windows in UTC,
    the data may come from a place whose clock is ahead, by 14 hours at most: windows that are under way there exist, too,
    because today's file must be able to make today's forecast. Which one is the last is decided by
    `pipeline.forecast_windows.all_windows`.
    """
    start = settings.partition_start_time()
    match settings.partitions:
        case "hourly":
            return dg.HourlyPartitionsDefinition(start_date=start, end_offset=1 + _HOURS_AHEAD)
        case "daily":
            return dg.DailyPartitionsDefinition(start_date=start, end_offset=2)
        case "weekly":
            return dg.WeeklyPartitionsDefinition(start_date=start, end_offset=2)
        case "monthly":
            return dg.MonthlyPartitionsDefinition(start_date=start, end_offset=2)


def scenario_partitions(name: str) -> dg.DynamicPartitionsDefinition:
    """One partition for each scenario; the sensor of scenarios adds them."""
    return dg.DynamicPartitionsDefinition(name=name)
