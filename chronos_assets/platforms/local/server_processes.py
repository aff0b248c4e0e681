"""Servers as processes that outlive whoever started them: whether one lives, and how it is ended.

**No other process is ever touched.** A process is ours if its number, its start time and its command line, which holds
the deployment's folder, are those written down; on Linux it is signalled through a descriptor of the process
(`pidfd_open(2)`), opened before that is checked, so that a number used again can't be hit.

Elsewhere: when one is started and ended (`endpoints`), processes of jobs (`processes`).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chronos_assets.platforms.local.processes import ask_ps, start_time
from chronos_assets.store_layout import ENDPOINTS_KEY

# Children of this process, so that one that has ended is seen to have: otherwise its number stays taken.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ServerProcess:
    """A server as it is written down in the state.

    Attributes:
        folder: its deployment, `d<n>`.
        pid: process number; started: its start time, as the system reports it.
        identity, version: of what it serves.
        deployed: when, ISO, UTC.
    """

    folder: str
    pid: int
    started: str
    identity: str
    version: str
    deployed: str


def remembered(child: subprocess.Popen[bytes]) -> str:
    """The start time of a server that was just started; from now on this process sees when it has ended."""
    _children[child.pid] = child
    return _start_time(child.pid) or ""


def lives(process: ServerProcess) -> bool:
    """Whether the process is still that server."""
    return _start_time(process.pid) == process.started


def end_server(home: Path, process: ServerProcess, grace_seconds: float) -> None:
    """End a server and remove its folder in `home`: it is asked to, and after `grace_seconds` made to."""
    with _handle(process.pid) as send:
        if lives(process) and _is_server_of(process, home.name):
            send(signal.SIGTERM)
            send(signal.SIGCONT)  # one that was stopped could not hear
            if not _has_ended(process, grace_seconds):
                send(signal.SIGKILL)
                _has_ended(process, grace_seconds)
    shutil.rmtree(home / process.folder, ignore_errors=True)


def _has_ended(process: ServerProcess, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while lives(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _start_time(pid: int) -> str | None:
    """When a process began, see `processes.start_time`; a child of this one that has ended makes room for its number."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
    return start_time(pid)


def _is_server_of(process: ServerProcess, name: str) -> bool:
    """Whether a process' command line has its deployment's folder, by whatever path to the store."""
    folder = f"{ENDPOINTS_KEY}/{name}/{process.folder}"
    return any(argument.endswith(folder) for argument in _arguments(process.pid))


def _arguments(pid: int) -> list[str]:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        reported = ask_ps(pid, "command=") or ""
        return [reported, *reported.split()]


@contextmanager
def _handle(pid: int) -> Iterator[Any]:
    """A function that signals the process which has this number now, and no later one; gone is fine."""
    if not hasattr(os, "pidfd_open"):

        def send_to_number(number: int) -> None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

        yield send_to_number
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield lambda _number: None
        return

    def send(number: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)

    try:
        yield send
    finally:
        os.close(descriptor)
