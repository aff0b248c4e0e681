"""What a process takes, as the kernel counts it (wait4): Python, libraries and start-up included."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One process: seconds by the clock and on all cores, peak resident memory in MB, and what it printed."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str = ""

    @property
    def answer(self) -> dict[str, Any]:
        """What it printed, as JSON."""
        found: dict[str, Any] = json.loads(self.output)
        return found


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measurement:
    """Run a command, with more variables if there are any; ends this program where it fails."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(command[1:])} failed")
        output.seek(0)
        return Measurement(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output.read())
