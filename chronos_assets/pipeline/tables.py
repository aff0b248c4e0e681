"""Refreshing the SQL tables of a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import dagster as dg

from chronos_assets.pipeline.materializations import latest_metadata
from chronos_assets.pipeline.staging import memory_limit_named
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.what_if import without_files
from chronos_assets.store_layout import DATASET_KEY, FORECAST_KEY, scenario_of
from chronos_assets.system import document_digest

LINEAGE = "made_from"  # metadata of forecast_tables

# --- tables -----------------------------------------------------------------------------------------------------------


def refresh_tables(state: GroupState) -> Mapping[str, int]:
    """Bring the SQL tables up to date; rows of each."""
    group = state.group
    params = state.params
    with memory_limit_named(group):
        return group.tables.refresh(group.store, params)


def tables_are_current(state: GroupState, instance: dg.DagsterInstance) -> bool:
    """Whether the SQL tables are there, whole, and were made from what is published now.

    Decided by what they were made from, never by when: a clock may be wrong.
    """
    group = state.group
    made_from = latest_metadata(instance, group.key("forecast_tables")).get(LINEAGE)
    return made_from == tables_lineage(state) and group.tables.is_whole(group.store)


def tables_lineage(state: GroupState) -> str:
    """Digest of everything that the tables and exports show: versions of the dataset, forecasts and scores, the parameters."""
    store = state.group.store
    shown = {
        folder: [(name, version) for name, version, _ in store.manifests(folder)]
        for folder in ("history", "accuracy", "anomalies", "what_if_forecasts", "explanations", "levels")
    }
    gone = without_files(state.group, [name for name, _ in shown["what_if_forecasts"]])
    parts = {
        "dataset": store.shown(DATASET_KEY),
        "forecast": store.shown(FORECAST_KEY),
        "params": state.params.digest,
        "backtest": asdict(state.params.backtest),
        **{
            folder: sorted((name, version) for name, version in found if scenario_of(name) not in gone)
            for folder, found in shown.items()
        },
    }
    return document_digest(parts, sort_keys=True)
