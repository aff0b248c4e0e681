"""Runs workloads as local processes that see the folders of a SageMaker container.

Belongs here: a job's folder, process, log, end and clean-up. Does not belong here: what a workload does, where its
results are published.

Dagster's own `PipesSubprocessClient` hands the whole environment to the child, signals the child alone and tells its
exit status only; this opens the same Pipes session (`open_pipes_session`, the documented way to do without a client)
and adds what a job needs:

- Folder `<store>/.jobs/<name>/`, made anew for each run and locked for as long as the run, its child or the caller that
  publishes the outputs lives: what a killed run left is removed by the next run of the same name.
- The child leads a process group of its own, which is ended as a whole when the run is cancelled; if this process is
  killed, the child sees the end of its standard input and ends itself.
- The child gets the variables of `PASSED` and no other: no credentials, no settings.
- The reason that the workload left in `output/failure`, or the signal that killed it, with the end of its stderr,
  becomes the description of a `dagster.Failure`.

https://docs.dagster.io/guides/build/external-pipelines/dagster-pipes-details-and-customization
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import PipesTempFileContextInjector, open_pipes_session

from chronos_assets.platforms.base import JobRequest, JobResult, Store, check_job_name
from chronos_assets.platforms.local.locks import lock_file
from chronos_assets.platforms.local.messages import WholeLinesMessageReader
from chronos_assets.platforms.notice import MAX_REASON, one_line, redact
from chronos_assets.workloads.contract import LIFELINE_VARIABLE, ROOT_VARIABLE, Workspace

JOBS_KEY = ".jobs"
WORKLOADS = "chronos_assets.workloads"

# How a program finds its interpreter's parts, its caches, its mirror, its threads, its language. Nothing else.
PASSED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHASHSEED", "PYTHONWARNINGS",
    "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TRANSFORMERS_OFFLINE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip

TAIL_LINES = 20
TAIL_BYTES = 8192


class LocalJobs:
    """The laptop's `Jobs`.

    Args:
        store: a store on this machine.
        package: package that holds the workloads.
        env: variables for the workloads beside `PASSED`.
        busy_seconds: how long to wait for another run of a job of the same name.
        grace_seconds: how long a workload may take to end once asked to.
    """

    def __init__(
        self,
        store: Store,
        *,
        package: str = WORKLOADS,
        env: Mapping[str, str] | None = None,
        busy_seconds: float = 60.0,
        grace_seconds: float = 10.0,
    ) -> None:
        self._store = store
        self._package = package
        self._env = dict(env or {})
        self._busy_seconds = busy_seconds
        self._grace_seconds = grace_seconds

    def run(self, context: Any, request: JobRequest) -> JobResult:
        """See `Jobs.run`.

        Args:
            context: the asset's or op's execution context; an asset must return or yield a `MaterializeResult`.
            request: what to run. An input channel shows the folder as it is now, even if it is published anew.
        """
        folder = self._store.local_path(JOBS_KEY) / check_job_name(request.name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        files = _JobFolder(folder, self._lock(folder))
        try:
            workspace = self._lay_out(folder, request)
            context.log.info(f"job {request.name}: {self._package}.{request.workload} in {folder}")
            started = time.monotonic()
            messages = self._execute(context, request, workspace, files.descriptor)
            seconds = time.monotonic() - started
        except BaseException:
            files.close(keep=True)
            raise
        outputs = {channel: workspace.output(channel) for channel in request.outputs}
        return JobResult(outputs=outputs, messages=messages, seconds=seconds, files=files)

    def _lock(self, folder: Path) -> int:
        """Descriptor that holds the lock of a job's name; the child inherits it, so it also outlives this process."""
        path = _lock_path(folder)
        try:
            return lock_file(path, seconds=self._busy_seconds)
        except TimeoutError:
            raise dg.Failure(
                f"job {folder.name} is already running (another run holds {path}): wait for it or cancel it"
            ) from None

    def _lay_out(self, folder: Path, request: JobRequest) -> Workspace:
        """Make the job's folder anew: inputs are links, so that nothing is copied."""
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
            source = self._store.local_path(key).resolve()
            if not source.is_dir():
                raise dg.Failure(
                    f"job {request.name}: nothing at {self._store.uri(key)} for input channel {channel!r}: "
                    "materialize the asset that makes it"
                )
            (inputs / channel).symlink_to(source, target_is_directory=True)
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
            env = {**self._environment(workspace), **session.get_bootstrap_env_vars()}
            with stderr.open("wb") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-m", f"{self._package}.{request.workload}"],
                    cwd=workspace.root,
                    env=env,
                    stdin=subprocess.PIPE,  # the lifeline: never written, closed by the end of this process
                    stderr=errors,
                    start_new_session=True,
                    pass_fds=(lock,),
                )
            try:
                status = process.wait()
            except BaseException:
                context.log.warning(f"job {request.name}: the run is being stopped, and its process with it")
                self._end(process)
                raise
            finally:
                assert process.stdin is not None  # noqa: S101 - a pipe was asked for
                process.stdin.close()
                _echo(stderr)
        if status != 0:
            self._kill_group(process)  # helpers that the workload may have started
            raise _failure(request, workspace, status, _tail(stderr))
        return tuple(session.get_custom_messages())

    def _environment(self, workspace: Workspace) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in PASSED if name in os.environ},
            # The child imports what this process would, wherever that was installed; '' is the working directory.
            "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
            "PYTHONSAFEPATH": "1",
            "PYTHONUNBUFFERED": "1",
            **self._env,
            ROOT_VARIABLE: str(workspace.root),
            LIFELINE_VARIABLE: "stdin",
        }

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Ask the workload to stop, then stop it and whatever it started."""
        try:
            process.terminate()
            process.wait(timeout=self._grace_seconds)
        except subprocess.TimeoutExpired:
            pass  # it had its chance
        finally:
            self._kill_group(process)
            process.wait()

    @staticmethod
    def _kill_group(process: subprocess.Popen[bytes]) -> None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # all gone; macOS says EPERM of a group of zombies
            return


class _JobFolder:
    """A job's folder and the lock on its name."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.descriptor = descriptor
        self._folder = folder
        # A result that nobody closed must not block the name for as long as this process lives.
        self._unlock = weakref.finalize(self, os.close, descriptor)

    def close(self, *, keep: bool = False) -> None:
        """Remove the folder, unless it is to be kept, and let the next job of the name in. Once is enough."""
        if not self._unlock.alive:
            return
        if not keep:
            if self._folder.exists():
                shutil.rmtree(self._folder)
            _lock_path(self._folder).unlink(missing_ok=True)
        self._unlock()


def _lock_path(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.lock"


def _failure(request: JobRequest, workspace: Workspace, status: int, tail: str) -> dg.Failure:
    reason = _reason(workspace, status)
    description = f"{request.workload} job {request.name} failed: {reason}"
    if tail:
        description += f"\nLast lines of its stderr:\n{tail}"
    return dg.Failure(
        description,
        metadata={
            "reason": dg.MetadataValue.text(reason),
            "job_folder": dg.MetadataValue.path(str(workspace.root)),
            "exit_status": dg.MetadataValue.int(status),
        },
    )


def _reason(workspace: Workspace, status: int) -> str:
    """Why it failed in one line: its own word, or the signal that it died of."""
    if status < 0:
        # A killed workload had no chance to write a reason; what lies there would be about something else.
        name = signal.Signals(-status).name
        hint = " (was it out of memory? the system's log tells)" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    try:
        told = workspace.failure_file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        told = ""
    return one_line(told, MAX_REASON) or f"exit status {status} and no reason given"


def _tail(path: Path) -> str:
    """The last lines of a log, without secrets and terminal escapes."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    lines = [line for line in redact(text).splitlines() if line.strip()][-TAIL_LINES:]
    return "\n".join("".join(c if c.isprintable() or c == "\t" else " " for c in line) for line in lines)


def _echo(path: Path) -> None:
    """Show a workload's stderr on this process's, where Dagster keeps it with the step; at most its last MiB."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - (1 << 20)))
        sys.stderr.write(file.read().decode("utf-8", "replace"))
        sys.stderr.flush()
