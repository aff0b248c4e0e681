"""A reporter for tests of workloads that run in the test's process."""

import json
from collections.abc import Mapping
from typing import Any

from chronos_assets.container.contract import Reporter


class Listener(Reporter):
    """Keeps what a workload says."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)

    def message(self, document: Mapping[str, Any]) -> None:
        self.messages.append(json.loads(json.dumps(document, allow_nan=False)))
