"""Chronos model families: load, predict, train. No Dagster, no cloud."""
