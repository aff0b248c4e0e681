"""What the UI shows of `zero_shot_benchmark`: the figure, the aggregates, and the scores of every set.

Elsewhere: measuring (`pipeline.benchmark`), drawing (`benchmark.figure`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from chronos_assets.defs import metadata
from chronos_assets.pipeline.benchmark import Benchmark
from chronos_assets.pipeline.group import Group
from chronos_assets.store_layout import BENCHMARK_KEY

MAX_ROWS = 200  # sets times models, and then some

_COLUMN_TYPES = {
    "relative_wql": "float", "relative_mase": "float", "wql": "float", "mase": "float", "coverage_80": "float",
    "seconds": "float", "series_per_second": "float", "series": "int", "set_series": "int", "fallbacks": "int",
    "sets": "int", "sampled": "boolean",
}  # fmt: skip


def benchmark_metadata(group: Group, made: Benchmark) -> metadata.Metadata:
    """The figure first, then the aggregates, then the scores of every set."""
    from chronos_assets.benchmark.report import small_figure
    from chronos_assets.benchmark.scores import AGGREGATE_COLUMNS, RESULT_COLUMNS, aggregate, aggregate_row, result_row

    aggregates = aggregate([*made.results, *made.published])
    values: metadata.Metadata = {
        "figure": metadata.png("scores relative to seasonal naive", small_figure(made.results, made.published)),
        "aggregate": _table(AGGREGATE_COLUMNS, [aggregate_row(item) for item in aggregates]),
        "scores": _table(RESULT_COLUMNS, [result_row(result) for result in made.results]),
        "sets": len({result.set for result in made.results}),
        "models": len({result.model for result in made.results}),
        "kept_results": made.kept,
        "seconds": round(sum(result.seconds for result in made.results), 1),
        "dagster/uri": group.place(BENCHMARK_KEY),
        **{
            name.replace(".", "_"): dg.MetadataValue.path(group.place(f"{BENCHMARK_KEY}/{name}"))
            for name in ("results.csv", "aggregate.csv", "figure.png", "figure.svg")
        },
        "data": group.settings.benchmark_data or "Hugging Face Hub",
    }
    for item in aggregates:
        if item.kind == "ours" and item.benchmark == "zero-shot":
            row = aggregate_row(item)
            values |= {
                f"{item.model}_{name}": row[name]
                for name in ("relative_wql", "relative_mase", "coverage_80")
                if row[name] is not None
            }
    return values


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    return metadata.table({name: _COLUMN_TYPES.get(name, "string") for name in columns}, rows, limit=MAX_ROWS)
