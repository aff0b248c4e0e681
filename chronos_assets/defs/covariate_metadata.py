"""What the UI shows of covariates: `related_time_series` and `item_metadata`."""

from __future__ import annotations

import dagster as dg

from chronos_assets.defs.metadata import Metadata, counts_table, job, list_markdown, table
from chronos_assets.pipeline.covariate_imports import CovariateImport
from chronos_assets.pipeline.covariate_kinds import METADATA_KIND
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState


def covariates(group: Group, state: GroupState, made: CovariateImport) -> Metadata:
    """Of an import of covariates; what `pipeline.covariate_imports` reads again is among it."""
    manifest = made.manifest
    values: Metadata = {
        "files_digest": made.digest,
        "dataset_version": state.require_manifest().data_version,
        "data_version": "" if manifest is None else manifest.data_version,
        "notes": list_markdown(made.notes),
        **job(made.facts),
    }
    if manifest is None:
        return {"dagster/row_count": 0, **values}
    columns = {"attribute": "string", "kind": "string", "known in advance": "bool", "last": "string"}
    attributes = (
        {
            "attribute": attribute.name,
            "kind": attribute.kind,
            "known in advance": attribute.known_in_advance,
            "last": attribute.last or "",
        }
        for attribute in manifest.attributes
    )
    return {
        "dagster/row_count": getattr(manifest, "items", None) or getattr(manifest, "rows", 0),
        "dagster/uri": group.place(made.kind.key),
        "attributes": table(
            columns if made.kind is not METADATA_KIND else {"attribute": "string", "kind": "string"},
            attributes
            if made.kind is not METADATA_KIND
            else ({"attribute": each.name, "kind": each.kind} for each in manifest.attributes),
        ),
        "uncovered": manifest.uncovered,
        "files": counts_table("file", sorted(manifest.files.items())),
        "rejected_rows": sum(manifest.rejected.values()),
        "dagster/column_schema": dg.TableSchema(
            [
                dg.TableColumn("item_id", "string", "item"),
                *(
                    dg.TableColumn(attribute.name, "double" if attribute.kind == "number" else "string")
                    for attribute in manifest.attributes
                ),
            ]
        ),
        **values,
    }
