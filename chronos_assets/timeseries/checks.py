"""What a check found: its outcome and a table of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_ROWS = 20

Severity = Literal["error", "warn"]
Row = dict[str, Any]


@dataclass(frozen=True)
class CheckOutcome:
    """The answer of a check.

    passed; severity, if it did not. description: one sentence, with the numbers that matter. failing_rows: the first
    `MAX_ROWS` of them, all with the same keys; failing: how many there are. numbers: for plots and tables. fix:
    markdown, what to do about it; empty when there is nothing to do.
    """

    passed: bool
    severity: Severity
    description: str
    failing_rows: tuple[Row, ...] = ()
    failing: int = 0
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    fix: str = ""
