"""Dagster shells: assets, checks, sensors, jobs. Thin; decisions are made by pure functions elsewhere."""
