"""Parts of a group that take a run less time: jobs in this process, and SQL tables with nothing in them."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from chronos_assets.container.remote_files import REMOTE_FILES, remote_files_document
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.forecast import ForecastParams
from chronos_assets.platforms.jobs import JobError, JobRequest, JobResult
from chronos_assets.platforms.store import Store
from chronos_assets.platforms.tables import TABLES
from chronos_assets.workloads import explain, forecast, import_dataset
from chronos_assets_tests.workloads.listener import Listener
from chronos_assets_tests.workloads.processing_root import processing_root

NETWORK = "chronos/1"  # without its other rates, which are members, too

_WORKLOADS = {"forecast": forecast, "explain": explain, "import_dataset": import_dataset}


class NoTables:
    """`Tables` of a test that asks them nothing: to refresh real ones takes a quarter of a small run's time."""

    def refresh(self, store: Store, params: ForecastParams) -> Mapping[str, int]:
        return dict.fromkeys(TABLES, 0)

    def place(self, store: Store) -> str:
        return ""

    def is_whole(self, store: Store) -> bool:
        return True


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def close(self, *, keep: bool = False) -> None:
        shutil.rmtree(self._root, ignore_errors=True)


class QuickJobs:
    """`Jobs` for a store in a folder; `calls` has the partition keys of each job, `lines` what the last one said.

    Args:
        store: of the jobs' files.
        members: of a zero-shot predictor for which `params.json` names none; to learn the weights of all that there are
            takes a third of a small forecast's time.
    """

    def __init__(self, store: Store, members: Sequence[str] = (NETWORK,)) -> None:
        self._store, self._members = store, members
        self.calls: list[list[str]] = []
        self.lines: list[str] = []
        self.requests: list[JobRequest] = []

    def expect(self, workload: str) -> None:
        pass

    def run(self, context: Any, request: JobRequest) -> JobResult:
        workload = _WORKLOADS[request.workload]
        self.calls.append([window["key"] for window in request.parameters.get("windows", ())])
        self.requests.append(request)
        place = f".jobs/quick-{uuid4().hex}"
        root = self._store.local_path(place)
        channels = {channel: self._store.snapshot(key) for channel, key in request.inputs.items()}
        workspace = processing_root(root, self._with_members(request.parameters), channels)
        for channel, objects in request.objects.items():
            for info in objects:
                path = workspace.inputs / channel / info.key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(self._store.local_path(info.key))
        for channel, key in request.remote.items():
            (workspace.inputs / channel).mkdir()
            document = remote_files_document(self._store.addresses(key)[1])
            (workspace.inputs / channel / REMOTE_FILES).write_text(document)
        listener = Listener()
        self.lines = listener.lines
        try:
            workload.main(workspace, listener)
        except ChronosAssetsError as error:
            raise JobError(str(error)) from error
        output = {channel: workspace.output(channel) for channel in request.outputs if channel not in request.stored}
        stored = {channel: f"{place}/processing/output/{channel}" for channel in request.stored}
        return JobResult(output, tuple(listener.messages), 0.0, files=_Folder(root), stored=stored)

    def _with_members(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        zero_shot = parameters.get("zero_shot")
        if not zero_shot or zero_shot["members"]:
            return parameters
        return {**parameters, "zero_shot": {**zero_shot, "members": self._members}}
