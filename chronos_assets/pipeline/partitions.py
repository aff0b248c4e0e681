"""Partition definitions of the forecasts: time windows whose end is the *as-of*."""

from __future__ import annotations

import dagster as dg

from chronos_assets.settings import Settings


def forecast_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """Windows of `settings.partitions` length from `settings.partition_start`, the one under way included.

    There is no end date: with one in the past, Dagster's plots over partitions stay empty. `end_offset=1` adds the
    window under way, because today's file must be able to make today's forecast.
    """
    start = settings.partition_start_time()
    match settings.partitions:
        case "hourly":
            return dg.HourlyPartitionsDefinition(start_date=start, end_offset=1)
        case "daily":
            return dg.DailyPartitionsDefinition(start_date=start, end_offset=1)
        case "weekly":
            return dg.WeeklyPartitionsDefinition(start_date=start, end_offset=1)
        case "monthly":
            return dg.MonthlyPartitionsDefinition(start_date=start, end_offset=1)
