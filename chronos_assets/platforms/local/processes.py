"""Workloads as local processes: what they are given, how they end, why they failed.

Here: environment, start, end, reason and log of a workload's process. Elsewhere: the folder that it
works in (`platforms/locked_folder.py`) and what that holds (`jobs.py`, `trials.py`), when a process is started and what
becomes of its results.

- The child leads a process group of its own, which is ended as a whole; if this process is killed, the child sees the
  end of its standard input and ends itself.
- The child gets the variables of `PASSED` and no other: no credentials, no settings.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from chronos_assets.container.contract import LIFELINE_VARIABLE, ROOT_VARIABLE, Workspace
from chronos_assets.platforms.local.warm_workers import NoWarmWorkersError, WorkloadProcess, start_warm
from chronos_assets.platforms.notices import MAX_REASON, one_line, redact

# How a program finds its interpreter's parts, its caches, its mirror, its threads, its language. Nothing else.
PASSED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHASHSEED", "PYTHONWARNINGS",
    "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "TRANSFORMERS_OFFLINE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip

log = logging.getLogger(__name__)

TAIL_LINES = 20
TAIL_BYTES = 8192


def workload_environment(
    root: Path, extra: Mapping[str, str] = MappingProxyType({}), *, lifeline: bool = True
) -> dict[str, str]:
    """Variables of a workload's process.

    Args:
        root: its folder, what a container sees as `/opt/ml`.
        extra: variables beside `PASSED`.
        lifeline: whether the end of its standard input is to end it.
    """
    return {
        **{name: os.environ[name] for name in PASSED if name in os.environ},
        # The child imports what this process would, wherever that was installed; '' is the working directory. What is not
        # there, such as the mark of an editable installation, would only differ from one working directory to the next, and
        # what is there twice, as in a process that was given such a path itself, from one process to another.
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(os.path.exists, map(os.path.abspath, sys.path)))),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        **extra,
        ROOT_VARIABLE: str(root),
        **({LIFELINE_VARIABLE: "stdin"} if lifeline else {}),
    }


def start_workload(
    module: str, root: Path, env: Mapping[str, str], *, stderr: BinaryIO, lock: int, stdout: BinaryIO | None = None
) -> WorkloadProcess:
    """Start `python -m <module>` in its folder, as the leader of a process group: warm where there is a fork server.

    Args:
        module: of the workload, as `python -m` takes it.
        root: the folder that the workload sees as `/opt/ml`.
        env: see `workload_environment`; it names the lifeline.
        stderr: file for its log.
        lock: descriptor that it shall hold for as long as it lives.
        stdout: file for its standard output; without one that of this process.
    """
    try:
        return start_warm(
            module,
            root.absolute(),
            env,
            stdout=1 if stdout is None else stdout.fileno(),
            stderr=stderr.fileno(),
            lock=lock,
        )
    except NoWarmWorkersError as error:
        log.debug("%s starts as a plain process: %s", module, error)
    return subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=root,
        env=env,
        stdin=subprocess.PIPE,  # the lifeline: never written, closed by the end of this process
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        pass_fds=(lock,),
    )


def close_lifeline(process: WorkloadProcess) -> None:
    """Close our end of a workload's standard input; one that still runs ends."""
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    process.stdin.close()


def end_group(process: WorkloadProcess, grace_seconds: float) -> None:
    """Ask a workload to stop, then stop it and whatever it started."""
    try:
        process.terminate()
        process.wait(timeout=grace_seconds)
    except subprocess.TimeoutExpired:
        pass  # it had its chance
    finally:
        kill_group(process)
        process.wait()


def kill_group(process: WorkloadProcess) -> None:
    """Kill a workload and whatever it started; what is gone already is fine."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # all gone; macOS says EPERM of a group of zombies
        return


def failure_reason(workspace: Workspace, status: int) -> str:
    """Why a workload failed in one line: its own word, or the signal that it died of."""
    if status < 0:
        # A killed workload had no chance to write a reason; what lies there would be about something else.
        name = signal.Signals(-status).name
        hint = " (was it out of memory? the system's log says)" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    try:
        reported = workspace.failure_file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        reported = ""
    return one_line(reported, MAX_REASON) or f"exit status {status} and no reason given"


def log_tail(path: Path) -> str:
    """The last lines of a log, without secrets and terminal escapes."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    lines = [line for line in redact(text).splitlines() if line.strip()][-TAIL_LINES:]
    return "\n".join("".join(c if c.isprintable() or c == "\t" else " " for c in line) for line in lines)


def echo_log(path: Path) -> None:
    """Show a workload's log on this process's stderr, where Dagster keeps it with the step; at most its last MiB."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - (1 << 20)))
        sys.stderr.write(file.read().decode("utf-8", "replace"))
        sys.stderr.flush()


def start_time(pid: int) -> str | None:
    """When a process began, as the system reports it; None for one that is gone or has ended.

    A number is given to another process sooner or later, in a container at once; number and start together are not.
    """
    try:
        # The name, in parentheses, may hold anything; after it: state is field 3, the start time field 22.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else f"{_boot_id()} {fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else ask_ps(pid, "lstart=")


def _boot_id() -> str:
    """What tells apart the times since the start of one machine from those since its next start."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def ask_ps(pid: int, column: str) -> str | None:
    """A column of `ps`, where there is no /proc; None for a process that is gone or has ended."""
    reported = subprocess.run(
        ["ps", "-o", "stat=", "-o", column, "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    status, _, rest = reported.partition(" ")
    return None if not reported or status.startswith("Z") else rest.strip()
