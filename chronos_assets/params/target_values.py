"""The values of a sample's target: what a point in them separates, and those that may stand for a missing one.

Here: what can only be told from the values together. Whether a single text is a number is said in `columns`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from chronos_assets.params.columns import Column, InferenceError, is_number

_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_WHOLE = re.compile(r"[+-]?\d{1,3}")
_LEAST = 3
# Numbers that are written for a missing value.
_MARKER = re.compile(r"-1|-9{2,}|9{3,}")
_FAR = 2  # how many times as large as all others a marker is


def check_point(target: Column) -> None:
    """Refuse numbers like 987 and 1.234, of which the second is above a thousand.

    Raises:
        InferenceError: every number with a point has three digits behind it, and those without are below a thousand.
    """
    dotted = [value for value in target.present if "." in value]
    whole = {value for value in target.present if "." not in value} - {"0"}
    if len(dotted) < _LEAST or len(whole) < 2 or not all(map(_THOUSANDS.fullmatch, dotted)):
        return
    if all(map(_WHOLE.fullmatch, whole)):
        raise InferenceError(
            f"the point in {target.name} seems to separate thousands: all numbers that have one have three digits behind it, "
            f"such as {dotted[0]!r}, and all others are below 1000; write them without thousands separators",
            role="decimals",
            candidates=("point",),
        )


def value_notes(target: Column) -> Iterator[str]:
    """What was taken for a value, a line for each guess."""
    dotted = [value for value in target.present if "." in value]
    if len(dotted) >= _LEAST and all(map(_THOUSANDS.fullmatch, dotted)):
        yield f"Guessed: the point in {target.name} separates decimals: {dotted[0]} is less than {int(float(dotted[0])) + 1}."
    for marker, count in _markers(target):
        yield (
            f"Guessed: {marker} is a value of {target.name} like any other ({count:,} of {len(target.present):,} rows looked "
            "at, unlike all others); if it marks a missing value, leave it empty."
        )


def _markers(target: Column) -> Iterator[tuple[str, int]]:
    """(text, rows) of values that may mark a missing one: -999 where nothing else is negative, 9999 among small numbers."""
    counts = Counter(re.sub(r"\.0*$", "", value) for value in target.present)
    found = [text for text, count in counts.items() if count > 1 and _MARKER.fullmatch(text)]
    others = [float(text) for text in counts if text not in found and is_number(text)]
    if not others:
        return
    low, high = min(others), max(others)
    for text in found:
        if (float(text) < 0 <= low) or float(text) > _FAR * max(high, 0) > 0:
            yield text, counts[text]
