"""What the latest materialization of an asset says: the metadata that its step left with Dagster."""

from __future__ import annotations

from typing import Any

import dagster as dg


def latest_metadata(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> dict[str, Any]:
    """Metadata values of an asset's (or partition's) latest materialization; empty if there is none."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return {}
    return materialization_values(records[0].asset_materialization)


def materialization_values(materialization: dg.AssetMaterialization) -> dict[str, Any]:
    """The values of a materialization's metadata."""
    return {name: value.value for name, value in materialization.metadata.items()}
