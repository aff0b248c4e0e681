"""What each asset does, with a group's store, jobs and registry. Dagster's decorators are in `defs`."""
