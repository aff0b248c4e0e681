"""Tests of `chronos_assets.calendar`."""
