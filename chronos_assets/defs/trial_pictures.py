"""Pictures of a search for the run's metadata: PNG, small enough for the event log.

Here: what is drawn of trials. Elsewhere: what a trial is (`platforms.tuning`), pictures of forecasts and series
(`timeseries.forecast.sparkline`), where they stand on an asset's page (`metadata`, `training_metadata`).

Matplotlib is imported where it draws: loading the definitions must not wait for it. No figure is known to `pyplot`,
which would keep it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chronos_assets.benchmark.matplotlib_png import to_small_png
from chronos_assets.platforms.tuning import Trial

_SIZE = (8.0, 3.6)  # inches
_POINTS = 60  # of a curve; more are not distinguished
_NAMED = 6  # trials that the legend names

_BEST, _BASE, _CROWD = "#d9480f", "#212529", "#adb5bd"
_OTHERS = ("#1971c2", "#2f9e44", "#9c36b5", "#0c8599", "#e8a400")

_CROSS: Mapping[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "linestyle": "none", "zorder": 6}

Curve = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class _Line:
    """How a trial is drawn."""

    trial: Trial
    color: str
    width: float
    label: str


def loss_curves_png(trials: Sequence[Trial], *, base_validation: float | None = None) -> bytes:
    """Training loss and validation wQL over the steps of every trial, the best one emphasised; at most 30 KB.

    A cross ends the curve of a trial that was given up or failed. What is far above all others is cut off at the top.
    The same trials give the same bytes.

    Args:
        trials: of one search.
        base_validation: the base model's validation wQL, drawn as a dashed line.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=_SIZE, layout="constrained", facecolor="white")
    losses, validation = figure.subplots(1, 2)
    lines = _lines(trials)
    handles = {}
    for line in lines:
        (handles[line.label],) = _draw(losses, line, _thin(line.trial.losses))
        _draw(validation, line, _trained(line.trial), marker="o")
    if any(trial.state != "Completed" for trial in trials):
        handles["given up, or failed"] = Line2D([], [], color=_BASE, **_CROSS)
    if base_validation is not None:
        dashed = (0, (5, 3))
        handles["base model, untrained"] = validation.axhline(
            base_validation, color=_BASE, linewidth=1.2, linestyle=dashed, zorder=1
        )
    best = next((line.trial for line in lines if line.color == _BEST), None)
    _finish(losses, "Training loss", [trial.losses for trial in trials], best.losses if best else ())
    _finish(
        validation,
        "Validation wQL, lower is better",
        [_trained(trial) for trial in trials],
        [*(_trained(best) if best else ()), *([(0, base_validation)] if base_validation is not None else [])],
    )
    if handles:
        names = sorted(handles, key=lambda name: not name.startswith("best"))
        figure.legend(
            [handles[name] for name in names],
            names,
            loc="outside lower center",
            ncols=3,
            fontsize=8,
            frameon=False,
        )
    return to_small_png(figure)


def _lines(trials: Sequence[Trial]) -> list[_Line]:
    """What is drawn, from back to front: a few trials on a broader line of the best, or the best on a crowd in grey."""
    done = [trial for trial in trials if trial.state == "Completed" and trial.objective is not None]
    best = min(done, key=lambda trial: (trial.objective, trial.number), default=None)
    others = [trial for trial in trials if trial is not best]
    crowd = len(others) >= _NAMED
    emphasised = [] if best is None else [_Line(best, _BEST, 2.4 if crowd else 3.2, f"best: {_label(best)}")]
    if crowd:
        return [*(_Line(trial, _CROWD, 0.9, f"the {len(others)} other trials") for trial in others), *emphasised]
    return [
        *emphasised,
        *(_Line(trial, color, 1.3, _label(trial)) for trial, color in zip(others, _OTHERS, strict=False)),
    ]


def _label(trial: Trial) -> str:
    """A trial by its number and what was chosen for it, the learning rate first, in so many characters."""
    chosen = sorted(trial.hyperparameters.items(), key=lambda item: item[0] != "learning_rate")
    facts = [
        f"{name.replace('_', ' ')} {f'{value:.2g}' if isinstance(value, float) else value}" for name, value in chosen
    ]
    text = ", ".join([f"trial {trial.number}", *facts])
    return text if len(text) <= 44 else text[:43] + "…"


def _trained(trial: Trial) -> Curve:
    """Validation after the first step: that before is the base model's."""
    return _thin([(step, value) for step, value in trial.validation if step > 0])


def _thin(curve: Curve) -> Curve:
    """At most `_POINTS` points of a curve, first and last among them."""
    if len(curve) <= _POINTS:
        return curve
    return [curve[round(index)] for index in np.linspace(0, len(curve) - 1, _POINTS)]


def _draw(axes: Any, line: _Line, curve: Curve, marker: str | None = None) -> Any:
    steps, values = [step for step, _ in curve], [value for _, value in curve]
    drawn = axes.plot(
        steps,
        values,
        color=line.color,
        linewidth=line.width,
        marker=marker,
        markersize=1.5 + line.width,
        zorder=3,
    )
    if curve and line.trial.state != "Completed":
        axes.plot(steps[-1:], values[-1:], color=line.color, **_CROSS)
    return drawn


def _finish(axes: Any, title: str, curves: Iterable[Curve], shown: Curve) -> None:
    """Title, grid, and an axis that one diverging trial doesn't stretch: `shown` and most of the others are in it."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e9ecef", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    values = [value for curve in curves for _, value in curve]
    if not values:
        axes.text(0.5, 0.5, "none reported", transform=axes.transAxes, ha="center", color=_BASE, fontsize=9)
        return
    certain = [value for _, value in shown]
    low = min(values + certain)
    high = max([min(max(values), low + 2 * (float(np.quantile(values, 0.95)) - low)), *certain])
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - room, high + room)
