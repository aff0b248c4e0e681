"""Metrics of the deployment: the protocol and its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from chronos_assets.errors import ChronosAssetsError


@dataclass(frozen=True)
class Measurement:
    """One number to be watched over time.

    Attributes:
        name: what it is (`WQL`, `WQL_p90`, `MASE`, `Items`, `Seconds`, `Failures`, ...; see `defs.measurements`).
        value: finite.
        unit: CloudWatch's word for it.
        model: what made the forecast that it is about; empty where it is about none.
        at: when it was so, aware.
    """

    name: str
    value: float
    at: datetime
    unit: Literal["None", "Count", "Seconds"] = "None"
    model: str = ""


class MetricsError(ChronosAssetsError):
    """Measurements could not be kept; the message says why."""


class Metrics(Protocol):
    """Keeps numbers for dashboards and alarms outside of Dagster."""

    def put(self, group: str, measurements: Sequence[Measurement]) -> None:
        """Keep measurements of a dataset group.

        Raises:
            MetricsError: they can't be kept.
        """
