"""Runs workloads as local processes that see the folders of a SageMaker container.

Here: a job's folder, process, log, end and clean-up. Elsewhere: what a workload does, where its
results are published.

Dagster's own `PipesSubprocessClient` hands the whole environment to the child, signals the child alone and tells its
exit status only; this opens the same Pipes session (`open_pipes_session`, the documented way to do without a client)
and adds what a job needs:

- Folder `<store>/.jobs/<name>/`, rebuilt for each run and locked for as long as the run, its child or the caller that
  publishes the outputs lives: what a killed run left is removed by the next run of the same name.
- The child's process, environment and end are those of `processes.py`.
- The reason that the workload left in `output/failure`, or the signal that killed it, with the end of its stderr,
  becomes the description of a `JobError`.

https://docs.dagster.io/guides/build/external-pipelines/dagster-pipes-details-and-customization
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster import PipesTempFileContextInjector, open_pipes_session

from chronos_assets.container.contract import Workspace
from chronos_assets.container.remote_files import REMOTE_FILES, remote_files_document
from chronos_assets.platforms.jobs import WORKLOADS, JobError, JobRequest, JobResult, check_job_name, nothing_to_read
from chronos_assets.platforms.local.messages import WholeLinesMessageReader
from chronos_assets.platforms.local.processes import (
    close_lifeline,
    echo_log,
    end_group,
    failure_reason,
    kill_group,
    log_tail,
    start_workload,
    workload_environment,
)
from chronos_assets.platforms.local.warm_workers import preload
from chronos_assets.platforms.locked_folder import lock_folder
from chronos_assets.platforms.store import Store
from chronos_assets.store_layout import JOBS_KEY


class LocalJobs:
    """The laptop's `Jobs`.

    Args:
        store: a store on this machine.
        package: package that holds the workloads.
        busy_seconds: how long to wait for another run of a job of the same name.
        grace_seconds: how long a workload may take to end once asked to.
    """

    def __init__(
        self,
        store: Store,
        *,
        package: str = WORKLOADS,
        busy_seconds: float = 60.0,
        grace_seconds: float = 10.0,
    ) -> None:
        self._store = store
        self._package = package
        self._busy_seconds = busy_seconds
        self._grace_seconds = grace_seconds

    def expect(self, workload: str) -> None:
        """See `Jobs.expect`: the fork server imports what the workload needs meanwhile."""
        preload(f"{self._package}.{workload}", workload_environment(Path("/")))

    def run(self, context: Any, request: JobRequest) -> JobResult:
        """See `Jobs.run`.

        Args:
            context: the asset's or op's execution context; an asset must return or yield a `MaterializeResult`.
            request: what to run. An input channel shows the folder as it is now, even if it is published again.
        """
        folder = self._store.local_path(JOBS_KEY) / check_job_name(request.name)
        # The child inherits the lock, so it also outlives this process.
        files = lock_folder(folder, "job", seconds=self._busy_seconds, say=context.log.info)
        try:
            workspace = self._lay_out(folder, request)
            context.log.info(f"job {request.name}: {self._package}.{request.workload} in {folder}")
            started = time.monotonic()
            messages = self._execute(context, request, workspace, files.descriptor)
            seconds = time.monotonic() - started
        except BaseException:
            files.close(keep=True)
            raise
        outputs = {channel: workspace.output(channel) for channel in request.outputs if channel not in request.stored}
        stored = {
            channel: f"{JOBS_KEY}/{request.name}/{workspace.output(channel).relative_to(folder).as_posix()}"
            for channel in request.stored
        }
        return JobResult(outputs=outputs, messages=messages, seconds=seconds, files=files, stored=stored)

    def _lay_out(self, folder: Path, request: JobRequest) -> Workspace:
        """Rebuild the job's folder: inputs are links, so that nothing is copied."""
        if folder.exists():
            shutil.rmtree(folder)
        workspace = Workspace(folder)
        workspace.parameters_file.parent.mkdir(parents=True)
        workspace.parameters_file.write_text(
            json.dumps(request.parameters, ensure_ascii=False, allow_nan=False), encoding="utf-8"
        )
        workspace.failure_file.parent.mkdir(parents=True)
        inputs = folder / "processing" / "input"
        inputs.mkdir(parents=True)
        for channel, key in request.inputs.items():
            # The version that is shown now: one job must not read two versions of a folder.
            try:
                source = self._store.snapshot(key)
            except FileNotFoundError:
                raise JobError(nothing_to_read(f"job {request.name}", self._store.uri(key), channel)) from None
            (inputs / channel).symlink_to(source, target_is_directory=True)
        for channel, objects in request.objects.items():
            for info in objects:
                path = inputs / channel / info.key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(self._store.local_path(info.key).resolve())
        for channel, key in request.remote.items():
            (inputs / channel).mkdir()
            document = remote_files_document(self._store.addresses(key)[1])
            (inputs / channel / REMOTE_FILES).write_text(document, encoding="utf-8")
        for channel in request.outputs:
            workspace.output(channel)
        return workspace

    def _execute(
        self, context: Any, request: JobRequest, workspace: Workspace, lock: int
    ) -> tuple[Mapping[str, Any], ...]:
        stderr = workspace.root / "output" / "stderr.log"
        with open_pipes_session(
            context=context,
            context_injector=PipesTempFileContextInjector(),
            message_reader=WholeLinesMessageReader(),
        ) as session:
            env = {**workload_environment(workspace.root), **session.get_bootstrap_env_vars()}
            with stderr.open("wb") as errors:
                process = start_workload(
                    f"{self._package}.{request.workload}", workspace.root, env, stderr=errors, lock=lock
                )
            try:
                status = process.wait()
            except BaseException:
                context.log.warning(f"job {request.name}: the run is being stopped, and its process with it")
                end_group(process, self._grace_seconds)
                raise
            finally:
                close_lifeline(process)
                echo_log(stderr)
        if status != 0:
            kill_group(process)  # helpers that the workload may have started
            raise _failure(request, workspace, status, log_tail(stderr))
        return tuple(session.get_custom_messages())


def _failure(request: JobRequest, workspace: Workspace, status: int, tail: str) -> JobError:
    reason = failure_reason(workspace, status)
    description = f"{request.workload} job {request.name} failed: {reason}"
    if tail and " ".join(tail.split()) != reason:
        description += f"\nLast lines of its stderr:\n{tail}"
    return JobError(description, {"reason": reason, "job_folder": workspace.root, "exit_status": status})
