"""Tiny pictures of a forecast: the end of a history, the median and a band, as SVG small enough to be metadata.

Dagster's UI draws markdown in place when it is shorter than 1,000 characters, and hides it behind a click otherwise.
An image has to be in the text itself, as a base64 data URI, so an SVG may take about 700 bytes: coordinates are
integers, paths are relative, and the points are thinned by averaging equal buckets.

No text of the data gets into the SVG. The label of a series becomes the image's alternative text, escaped.
"""

from __future__ import annotations

import base64
import math
import string
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chronos_assets.timeseries.arrays import Floats

MARKDOWN_LIMIT = 999  # characters that are still drawn in place
MAX_POINTS = 40

_WIDTH, _HEIGHT = 240, 60  # of the drawing's own coordinates
_LEFT = 34  # room for the numbers at the left
_TOP, _BOTTOM = 2, 58  # lines keep off the edge, where half of their stroke would be lost
_LABEL_LENGTH = 40
_HISTORY, _FORECAST = "#888", "#36f"  # legible on the light and on the dark theme


@dataclass(frozen=True)
class Outlook:
    """What is drawn of one series: its history (n,), NaN where missing, and its forecast, (steps,) each.

    low and high bound the band; both may be None. Raises ValueError for forecasts of different lengths.
    """

    history: Floats
    median: Floats
    low: Floats | None = None
    high: Floats | None = None

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError("a band has two sides: give both low and high, or neither")
        for name in ("low", "high"):
            side = getattr(self, name)
            if side is not None and side.shape != self.median.shape:
                raise ValueError(f"{name} has {side.shape[0]} steps where the median has {self.median.shape[0]}")


def sparkline_markdown(label: str, outlook: Outlook, *, limit: int = MARKDOWN_LIMIT) -> str:
    """A markdown image of an outlook, at most `limit` characters long.

    At the data's own resolution if the forecast has few enough steps, with as much history as fits; else points are
    averaged until it fits.

    Raises:
        ValueError: when even four points don't fit.
    """
    alternative = escape_markdown(label if len(label) <= _LABEL_LENGTH else label[: _LABEL_LENGTH - 1] + "…")
    for cut, points in (*_crops(outlook), *((outlook, points) for points in range(MAX_POINTS, 3, -1))):
        encoded = base64.b64encode(sparkline_svg(cut, points=points).encode()).decode()
        markdown = f"![{alternative}](data:image/svg+xml;base64,{encoded})"
        if len(markdown) <= limit:
            return markdown
    raise ValueError(f"a sparkline does not fit into {limit} characters; give it at least {MARKDOWN_LIMIT}")


def _crops(outlook: Outlook) -> Iterator[tuple[Outlook, int]]:
    """Outlooks with less and less history, at least half as long as the forecast, and their points: one for each period."""
    steps = len(outlook.median)
    longest = min(len(outlook.history), MAX_POINTS - steps)
    for length in range(longest, max(steps // 2, 4) - 1, -2):
        yield replace(outlook, history=outlook.history[-length:]), length + steps


def sparkline_svg(outlook: Outlook, *, points: int = MAX_POINTS) -> str:
    """An SVG document of about `points` points in time: grey history, blue median, pale blue band.

    History and forecast share one time scale. The highest and lowest value drawn are written at the left. A series
    without any value to draw gives an empty picture.
    """
    size = max(1, math.ceil((len(outlook.history) + len(outlook.median)) / points))
    # Whole buckets at the seam: the oldest bucket of the history and the last one of the forecast may be short.
    past = _bucket_means(outlook.history[::-1], size)[::-1]
    future = _bucket_means(outlook.median, size)
    low = None if outlook.low is None else _bucket_means(outlook.low, size)
    high = None if outlook.high is None else _bucket_means(outlook.high, size)

    values = np.concatenate([part for part in (past, future, low, high) if part is not None])
    values = values[np.isfinite(values)]
    bottom, top = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    seam = len(past)
    columns = _LEFT + np.arange(seam + len(future)) * max(1, (_WIDTH - _LEFT) // max(1, seam + len(future) - 1))

    shapes = []
    if low is not None and high is not None:
        ahead = columns[seam:]
        outline = _path(np.concatenate([ahead, ahead[::-1]]), _rows(np.concatenate([high, low[::-1]]), bottom, top))
        if outline:
            shapes.append(f'<path d="{outline}z" fill="{_FORECAST}" opacity=".3"/>')
    # The median begins at the last point of the history, so that the line continues.
    joint = seam - 1 if seam and np.isfinite(past[-1]) else seam
    whole = _rows(np.concatenate([past, future]), bottom, top)
    for part, colour in ((slice(0, seam), _HISTORY), (slice(joint, None), _FORECAST)):
        line = _path(columns[part], whole[part])
        if line:
            shapes.append(f'<path d="{line}" stroke="{colour}"/>')
    if len(values):
        shapes += [_text(7, top)] + ([] if _is_flat(bottom, top) else [_text(_HEIGHT - 1, bottom)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="480" height="120" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'fill="none" font-family="sans-serif" font-size="7">{"".join(shapes)}</svg>'
    )


def escape_markdown(text: str) -> str:
    """Text that markdown shows as it is: punctuation gets a backslash, line breaks and other controls a space."""
    flat = "".join(character if character.isprintable() else " " for character in text)
    return "".join("\\" + character if character in string.punctuation else character for character in flat)


def _bucket_means(values: Floats, size: int) -> Floats:
    """Means of successive buckets, the last of which may be short; NaN for a bucket with no value."""
    if not len(values):
        return np.empty(0)
    starts = np.arange(0, len(values), size)
    known = np.isfinite(values)
    counts = np.add.reduceat(known.astype(np.int64), starts)
    # Shares are added up rather than values, so that a sum of values near the largest float stays one.
    shares = np.where(known, values, 0.0) / np.repeat(np.maximum(counts, 1), np.diff(np.append(starts, len(values))))
    return np.where(counts > 0, np.add.reduceat(shares, starts), np.nan)


def _rows(values: Floats, bottom: float, top: float) -> Floats:
    """Vertical positions, whole numbers, downwards; NaN stays NaN. A flat series runs through the middle."""
    if _is_flat(bottom, top):
        return np.where(np.isfinite(values), (_TOP + _BOTTOM) // 2, np.nan)
    # Halves keep the span finite for values near the largest float.
    share = (values / 2 - bottom / 2) / (top / 2 - bottom / 2)
    return np.round(_BOTTOM - share * (_BOTTOM - _TOP))


def _is_flat(bottom: float, top: float) -> bool:
    """Whether a range is nothing but the rounding of averages, which must not be blown up to the whole height."""
    return top / 2 - bottom / 2 <= 1e-9 * max(abs(bottom), abs(top))


def _path(columns: NDArray[np.int64], rows: Floats) -> str:
    """Relative path commands through the points, with a gap where a row is NaN."""
    commands: list[str] = []
    previous: tuple[int, int] | None = None
    pen_down = False
    for column, row in zip(columns.tolist(), rows.tolist(), strict=True):
        if math.isnan(row):
            pen_down = False
            continue
        point = (column, int(row))
        if previous is None:
            commands.append(f"M{_pair(*point)}")
        else:
            move = _pair(point[0] - previous[0], point[1] - previous[1])
            if not pen_down:
                commands.append(f"m{move}")
            else:
                # A letter only where the command changes; after it, numbers follow each other.
                continues = commands[-1].startswith(("l", " ", "-"))
                commands.append((move if move.startswith("-") else f" {move}") if continues else f"l{move}")
        previous, pen_down = point, True
    return "".join(commands)


def _pair(x: int, y: int) -> str:
    """Two numbers with no more between them than SVG needs: a minus separates as well as a space."""
    return f"{x}{y}" if y < 0 else f"{x} {y}"


def _text(y: int, value: float) -> str:
    return f'<text y="{y}" fill="{_HISTORY}">{value:.3g}</text>'
