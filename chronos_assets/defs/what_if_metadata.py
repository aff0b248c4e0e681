"""What the UI shows of scenarios: the difference in total and by item."""

from __future__ import annotations

from typing import Any

import dagster as dg

from chronos_assets.defs.metadata import Metadata, job, rounded, table
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.what_if import WhatIfForecast
from chronos_assets.store_layout import scenario_key
from chronos_assets.timeseries.dataset.series_keys import series_name

_BARS = 8  # items drawn
_WIDTH = 16  # characters


def what_if(group: Group, made: WhatIfForecast) -> Metadata:
    """Of one partition of `what_if_forecasts`."""
    found = made.comparison
    before, difference = found.total["baseline"], found.total["difference"]
    share = difference / before if before else None
    return {
        "difference": dg.MetadataValue.md(_bars(found.items)),
        "total_baseline": before,
        "total_what_if": found.total["what_if"],
        "total_difference": difference,
        **({"relative_difference": float(share)} if share is not None else {}),
        "compared": f"sums of {found.measured} over the horizon",
        "series": found.series,
        "series_changed": found.moved,
        "items": table(
            {"series": "string", "baseline": "float", "what_if": "float", "difference": "float"},
            (
                {
                    "series": series_name(row["key"]),
                    **{name: rounded(row[name]) for name in ("baseline", "what_if", "difference")},
                }
                for row in found.items
            ),
        ),
        "as_of": made.as_of,
        "scenario": dg.MetadataValue.json(_shown(made.manifest.get("scenario", {}))),
        "dagster/partition_row_count": found.rows,
        "dagster/uri": group.place(scenario_key(made.scenario)),
        "seconds_in_run": round(made.seconds, 2),
        **job(made.facts),
    }


def _bars(items: list[dict[str, Any]]) -> str:
    """The largest differences as bars of text, which the UI draws in place."""
    drawn = [row for row in items[:_BARS] if row["difference"]]
    if not drawn:
        return "no series changes"
    largest = max(abs(row["difference"]) for row in drawn)
    lines = []
    for row in drawn:
        length = max(1, round(_WIDTH * abs(row["difference"]) / largest))
        name = series_name(row["key"])[:24].replace("|", " ").replace("`", " ")
        lines.append(f"{name:<24} {row['difference']:>+11.4g} {'█' * length}")
    return "```\n" + "\n".join(lines) + "\n```"


def _shown(scenario: Any) -> dict[str, Any]:
    """A scenario without more rows than anybody reads."""
    document = dict(scenario)
    rows = document.get("Replacements") or []
    return document | {"Replacements": rows[:20], "replaced_rows": len(rows)}
