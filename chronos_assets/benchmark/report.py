"""The files of a benchmark: tables of results and aggregates, and the figure.

Here belong names and order of what is written; values are from `scores`, the picture from `figure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chronos_assets.benchmark.scores import (
    AGGREGATE_COLUMNS,
    RESULT_COLUMNS,
    Result,
    aggregate,
    aggregate_row,
    result_row,
    write_csv,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(folder: Path, results: Sequence[Result], published: Sequence[Result]) -> None:
    """Write results.csv, aggregate.csv, figure.png and figure.svg to a new folder.

    Args:
        folder: made by this.
        results: measured ones.
        published: those of other people on the same sets, with no number where theirs is not known.
    """
    from chronos_assets.benchmark.matplotlib_png import to_png, to_svg

    folder.mkdir(parents=True, exist_ok=True)
    every = [*results, *published]
    write_csv(folder / "results.csv", RESULT_COLUMNS, [result_row(result) for result in every])
    write_csv(folder / "aggregate.csv", AGGREGATE_COLUMNS, [aggregate_row(item) for item in aggregate(every)])
    figure = _figure(every)
    (folder / "figure.png").write_bytes(to_png(figure))
    (folder / "figure.svg").write_bytes(to_svg(figure))


def small_figure(results: Sequence[Result], published: Sequence[Result]) -> bytes:
    """The figure as a PNG that fits into metadata."""
    from chronos_assets.benchmark.matplotlib_png import to_small_png

    return to_small_png(_figure([*results, *published]))


def _figure(results: Sequence[Result]) -> Figure:
    """Of the zero-shot sets; of the others where there are no such."""
    from chronos_assets.benchmark.figure import draw

    aggregates = aggregate(results)
    benchmark = aggregates[0].benchmark if aggregates else "zero-shot"
    sets = {result.set for result in results if result.benchmark == benchmark}
    return draw([item for item in aggregates if item.benchmark == benchmark], sets=len(sets))
