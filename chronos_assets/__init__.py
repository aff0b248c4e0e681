"""Chronos forecasts as Dagster assets. Nothing is re-exported here, so that importing a part costs only that part."""
