"""Runs of what-if forecasts and explanations that are killed: a process of its own, since it forks and kills.

`python -m chronos_assets_tests.defs.scenario_driver <store> <base model> <made> <scenario> <partition>` prints one JSON line of
counts by asset, or ends with a traceback. `made` holds what their jobs left, in folders `what_if` and `explanation`; what the
store shows of them in the beginning is what a whole run leaves.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chronos_assets.pipeline.explanations import explain_forecast
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.what_if import make_what_if
from chronos_assets.platforms.folder_files import folder_digest
from chronos_assets.platforms.jobs import JobRequest, JobResult
from chronos_assets.settings import Settings
from chronos_assets.store_layout import explanations_key, scenario_key
from chronos_assets_tests.platforms.local.publishing_driver import die_at, fork, wait

SPREAD = 6  # points at which a run is killed on its way; the last calls of all are tried more closely
NO_CONTEXT: Any = None  # these jobs read none


class DoneJobs:
    """`Jobs` whose one job has left its output already."""

    def __init__(self, made: Path, scratch: Path) -> None:
        self.made, self.scratch = made, scratch

    def run(self, context: Any, request: JobRequest) -> JobResult:
        folder = self.scratch / f"job-{os.getpid()}"
        shutil.copytree(self.made, folder)
        (channel,) = request.outputs
        return JobResult({channel: folder}, (), 0.0)


def every_point(group: Group, key: str, publish: Callable[[], object], scratch: Path) -> dict[str, int]:
    """Kill a run at points all along: the store shows what it did before, or all of the new; the last run has its bytes."""
    expected = folder_digest(group.store.snapshot(key))
    counts = scratch / "calls"

    def before(number: int) -> str:
        """Something else that was published earlier."""
        folder = scratch / "before"
        shutil.copytree(group.store.snapshot(key), folder)
        (folder / "manifest.json").write_text(json.dumps({"made_from": [str(number)]}))
        digest = folder_digest(folder)
        group.store.publish(key, folder)
        return digest

    def counted() -> None:
        calls = die_at(sys.maxsize)
        publish()
        counts.write_text(str(calls()))

    before(0)
    assert wait(fork(counted)) == 0
    assert folder_digest(group.store.snapshot(key)) == expected
    last = int(counts.read_text())
    points = {last * part // SPREAD for part in range(1, SPREAD)} | {last - 2**power for power in range(6)}
    saw = {"old": 0, "new": 0}
    old = before(1)
    for point in sorted(points):

        def killed(point: int = point) -> None:
            die_at(point)
            publish()

        assert wait(fork(killed)) == -signal.SIGKILL
        digest = folder_digest(group.store.snapshot(key))
        assert digest in (old, expected), f"killed at call {point} of {last}, it shows half of something"
        saw["new" if digest == expected else "old"] += 1
        if digest == expected:
            old = before(point)
    assert wait(fork(lambda: publish() and None)) == 0
    assert folder_digest(group.store.snapshot(key)) == expected, "another run left other bytes"
    assert not list(group.store.scratch.glob("staging-*")), "what a killed run left is still there"
    return saw


def main() -> None:
    """Kill both assets' runs."""
    store, model, made, scenario, partition = sys.argv[1:]
    # Here, for every child: no thread is started by importing.
    for name in (
        "duckdb",
        "pyarrow.parquet",
        "chronos_assets.models.checkpoints",
        "chronos_assets.predictors.scenario",
    ):
        importlib.import_module(name)
    group = Group(Settings(store=store, base_model=model, partition_start="2023-12-01"))
    report = {}
    runs: dict[str, tuple[str, Callable[[], object]]] = {
        "what_if": (scenario_key(scenario), lambda: make_what_if(GroupState(group), NO_CONTEXT, scenario)),
        "explanation": (
            explanations_key(partition),
            lambda: explain_forecast(GroupState(group), NO_CONTEXT, partition),
        ),
    }
    for name, (key, publish) in runs.items():
        scratch = Path(made) / f"scratch-{name}"
        scratch.mkdir()
        group.overrides["jobs"] = DoneJobs(Path(made) / name, scratch)
        report[name] = every_point(group, key, publish, scratch)
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
