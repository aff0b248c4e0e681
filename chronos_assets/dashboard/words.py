"""Numbers, times and names as the pages write them.

Here: pure functions from a value to a text, and texts that are safe where they go: markdown, CSV.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from chronos_assets.timeseries.forecast.sparkline import escape_markdown
from chronos_assets.timeseries.formulas import harmless
from chronos_assets.wording import counted

if TYPE_CHECKING:
    import pandas as pd

_UNITS = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3600, "hour"), (60, "minute"))


def plain(text: object) -> str:
    """A text that markdown shows as it is: no heading, no link, no picture, no HTML."""
    return escape_markdown(str(text))


def ago(moment: datetime, now: datetime) -> str:
    """How long ago a moment was, in the largest unit that fits: "3 hours ago"."""
    seconds = (now - moment).total_seconds()
    for size, unit in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{counted(count, unit)} ago"
    return "just now"


def number(value: float | None) -> str:
    """Four digits at most, with thousands apart; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def percent(value: float | None, digits: int = 0) -> str:
    """A fraction as percent; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def moment(text: str) -> str:
    """An ISO time without the midnight that says nothing."""
    return text.replace("T", " ").removesuffix(" 00:00:00").removesuffix(":00")


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV; texts that a spreadsheet would run as a formula begin with a quote."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([harmless(name) for name in frame.columns])
    writer.writerows([_cell(value) for value in row] for row in frame.itertuples(index=False, name=None))
    return text.getvalue()


def csv_name(words: Sequence[str]) -> str:
    """A name for a download of CSV, of letters, digits and hyphens."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(words)).strip("-")[:80] or "forecast"
    return f"{slug}.csv"


def _cell(value: object) -> object:
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, float) and math.isnan(value):
        return ""
    return value
