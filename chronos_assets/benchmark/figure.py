"""The Chronos paper's figure: models sorted by their scores relative to seasonal naive, coloured by their kind.

Here belongs the picture of `scores.Aggregate`s. matplotlib is imported when it is drawn, and without pyplot,
which would keep figures alive and look for a screen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from chronos_assets.benchmark.scores import Aggregate, Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _MUTED, _GRID = "#1f2933", "#66727f", "#d5dbe1"
# Distinguished by the colour blind, too. A bar of one colour also keeps the picture small.
_COLOURS: Final[Mapping[Kind, str]] = {
    "ours": "#d9480f",
    "foundation": "#1c7293",
    "published": "#a9cbd9",
    "local statistical": "#adb5bd",
}
_DARK: Final[frozenset[Kind]] = frozenset({"ours", "foundation"})
_LEGEND: Final[Mapping[Kind, str]] = {
    "ours": "ours",
    "foundation": "foundation, measured",
    "published": "foundation, published",
    "local statistical": "local statistical",
}
_PANELS = (("relative_wql", "wQL: probabilistic forecast"), ("relative_mase", "MASE: point forecast"))
_BAR = 0.72
_WIDTH, _ROW, _FRAME = 8.0, 0.245, 1.25  # inches: whole figure, a bar, everything but the bars


def draw(aggregates: Sequence[Aggregate], *, sets: int) -> Figure:
    """Two panels of bars, best on top, 8 inches wide.

    Args:
        aggregates: of one benchmark; those without a score are left out of its panel.
        sets: number of sets that the benchmark has here; a model measured on fewer is marked.
    """
    from matplotlib.figure import Figure

    rows = max([1, *(len(_drawn(aggregates, name)) for name, _ in _PANELS)])
    figure = Figure(figsize=(_WIDTH, _FRAME + _ROW * rows), facecolor="white")
    panels: Sequence[Axes] = figure.subplots(1, 2)
    for axes, (name, title) in zip(panels, _PANELS, strict=True):
        _draw_panel(axes, _drawn(aggregates, name), name, title, rows, sets)
    _draw_legend(figure, [kind for kind in _COLOURS if any(item.kind == kind for item in aggregates)])
    _draw_note(figure, starred=any(_label(item, sets) != item.model for item in aggregates))
    figure.text(
        0.012,
        1 - 0.2 / figure.get_figheight(),
        f"Zero-shot forecasts of {sets} data sets",
        fontsize=11,
        fontweight="bold",
        color=_INK,
        va="center",
    )
    figure.subplots_adjust(
        left=0.158,
        right=0.985,
        wspace=0.52,
        top=1 - 0.62 / figure.get_figheight(),
        bottom=0.6 / figure.get_figheight(),
    )
    return figure


def _drawn(aggregates: Sequence[Aggregate], name: str) -> list[Aggregate]:
    """Those with a score, best first."""
    found = [item for item in aggregates if math.isfinite(getattr(item, name))]
    return sorted(found, key=lambda item: (getattr(item, name), item.model))


def _draw_panel(axes: Axes, items: Sequence[Aggregate], name: str, title: str, rows: int, sets: int) -> None:
    values = [getattr(item, name) for item in items]
    for place, (item, value) in enumerate(zip(items, values, strict=True)):
        axes.barh(place, value, height=_BAR, color=_COLOURS[item.kind])
        ink = "white" if item.kind in _DARK else _INK
        axes.text(value - 0.015, place, f"{value:.3f}", va="center_baseline", ha="right", fontsize=7.5, color=ink)
    axes.axvline(1.0, color=_MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlim(0, 1.03 * max([1.0, *values]))
    axes.set_yticks(range(len(items)), [_label(item, sets) for item in items], fontsize=8, color=_INK)
    for tick, item in zip(axes.get_yticklabels(), items, strict=True):
        tick.set_fontweight("bold" if item.kind == "ours" else "normal")
    axes.set_title(title, fontsize=9, color=_INK, loc="left")
    axes.tick_params(axis="x", labelsize=7.5, labelcolor=_MUTED, color=_GRID)
    axes.tick_params(axis="y", length=0, pad=4)
    for side in axes.spines.values():
        side.set_visible(False)


def _label(item: Aggregate, sets: int) -> str:
    """The model's name; a star where it was measured on a part of the benchmark only."""
    return f"{item.model}{'*' if item.sampled or item.sets < sets else ''}"


def _draw_legend(figure: Figure, kinds: Sequence[Kind]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=_COLOURS[kind], label=_LEGEND[kind]) for kind in kinds]
    legend = figure.legend(
        handles=patches,
        loc="upper right",
        bbox_to_anchor=(0.99, 1 - 0.05 / figure.get_figheight()),
        ncols=len(patches) or 1,
        fontsize=7.5,
        frameon=False,
        handlelength=1.2,
        handleheight=0.9,
        columnspacing=1.1,
    )
    for text in legend.get_texts():
        text.set_color(_INK)


def _draw_note(figure: Figure, *, starred: bool) -> None:
    note = "Geometric mean over the sets of the score relative to seasonal naive's (dashed line); less is better."
    if starred:
        note += "   * some of the series of large sets, or fewer sets"
    figure.text(0.012, 0.15 / figure.get_figheight(), note, fontsize=7, color=_MUTED, va="center")
