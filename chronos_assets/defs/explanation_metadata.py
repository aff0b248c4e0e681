"""What the UI shows of explanations: the attributes as bars."""

from __future__ import annotations

from typing import Any

import dagster as dg

from chronos_assets.defs.metadata import Metadata, job, rounded, table
from chronos_assets.pipeline.explanations import Explained
from chronos_assets.pipeline.group import Group
from chronos_assets.store_layout import explanations_key

_BARS = 12
_WIDTH = 12  # characters on each side


def explanation(group: Group, made: Explained) -> Metadata:
    """Of one partition of `forecast_explanations`."""
    attributes = made.manifest["attributes"]
    return {
        "impacts": dg.MetadataValue.md(_bars(attributes)),
        "attributes": table(
            {"attribute": "string", "impact": "float", "mean_units": "float", "mean_absolute_units": "float"},
            (
                {
                    "attribute": str(row["attribute"]),
                    **{name: rounded(row[name]) for name in ("impact", "mean_units", "mean_absolute_units")},
                }
                for row in attributes
            ),
        ),
        "weight_of_covariates": float(made.manifest["weight"]),
        "effects": "factors" if made.manifest["link"] == "log" else "added",
        "series": made.manifest["series"],
        "dagster/partition_row_count": made.manifest["rows"],
        "dagster/uri": group.place(explanations_key(made.key)),
        "seconds_in_run": round(made.seconds, 2),
        **job(made.facts),
    }


def _bars(attributes: list[dict[str, Any]]) -> str:
    """The largest impacts as bars of text, which the UI draws in place: to the left what lowers the forecast.

    Beside each bar what it is as long as: the mean size of the attribute's impact on a period, in units of the target.
    """
    lines = [f"{'':<18} {'lowers':>{_WIDTH}}|{'raises':<{_WIDTH}} per period"]
    for row in attributes[:_BARS]:
        length = round(_WIDTH * abs(row["impact"]))
        bar = "█" * length
        left, right = (bar, "") if row["impact"] < 0 else ("", bar)
        name = str(row["attribute"])[:18].replace("`", " ")
        lines.append(f"{name:<18} {left:>{_WIDTH}}|{right:<{_WIDTH}} {row['mean_absolute_units']:.4g}")
    return "```\n" + "\n".join(lines) + "\n```"
