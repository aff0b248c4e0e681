"""What the answer to a golden request must look like, whoever serves it.

Belongs here: that rule. Does not belong here: asking (`local/endpoints`, `aws/endpoints`), what to ask (`defs.serving`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def golden_problem(answer: Mapping[str, Any]) -> str | None:
    """What is wrong with the answer to a golden request, if anything is."""
    predictions = answer.get("predictions")
    if not isinstance(predictions, list) or not predictions:
        return "has no predictions"
    for prediction in predictions:
        if not isinstance(prediction, dict) or not prediction.get("mean"):
            return "has a prediction without a mean"
        for name, values in prediction.items():
            if isinstance(values, list) and not all(_is_finite(value) for value in values):
                return f"has values in {name!r} that are not finite numbers"
    return None


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_finite(item) for item in value)
    return isinstance(value, int | float) and math.isfinite(value)
