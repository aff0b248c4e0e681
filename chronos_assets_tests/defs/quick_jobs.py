"""Jobs that run workloads in this process: a test of what is done with forecasts needs no process for each."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from chronos_assets.container.contract import WorkloadError, Workspace
from chronos_assets.platforms.jobs import JobRequest, JobResult
from chronos_assets.platforms.store import Store
from chronos_assets.workloads import explain, forecast
from chronos_assets_tests.workloads.listener import Listener

_WORKLOADS = {"forecast": forecast, "explain": explain}


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def close(self, *, keep: bool = False) -> None:
        shutil.rmtree(self._root, ignore_errors=True)


class QuickJobs:
    """`Jobs` for workloads about windows; `calls` has the partition keys of each job."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: list[list[str]] = []

    def expect(self, workload: str) -> None:
        pass

    def run(self, context: Any, request: JobRequest) -> JobResult:
        workload = _WORKLOADS[request.workload]
        self.calls.append([window["key"] for window in request.parameters["windows"]])
        root = Path(tempfile.mkdtemp(prefix="job-"))
        (root / "input" / "config").mkdir(parents=True)
        (root / "processing" / "input").mkdir(parents=True)
        (root / "input" / "config" / "parameters.json").write_text(json.dumps(request.parameters))
        for channel, key in request.inputs.items():
            (root / "processing" / "input" / channel).symlink_to(self._store.snapshot(key))
        workspace, listener = Workspace(root), Listener()
        try:
            workload.main(workspace, listener)
        except WorkloadError as error:
            raise dg.Failure(str(error)) from error
        output = {channel: workspace.output(channel) for channel in request.outputs}
        return JobResult(output, tuple(listener.messages), 0.0, files=_Folder(root))
