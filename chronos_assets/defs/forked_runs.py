"""Processes of the UI's runs, forked from one that has loaded the definitions.

Here: how Dagster's code server starts the process of a run. Elsewhere: what starts the code server
(`ui_server`), the processes of jobs (`platforms.local.warm_workers`).

Dagster starts an interpreter for each run, which imports Dagster and the definitions before the first step, and a dropped file
waits for two runs. The standard library's fork server imports them once. Everything else stays Dagster's: how a run is
cancelled, how one that crashed is found, and what it inherits.

- **A run sees what is on disk.** When a file of the package (or of what the code server has imported) or the environment has
  changed, the next run comes from a new fork server; the old one ends with its last run.
- **It ends with the code server**, or with the last run that outlives it. When a fork server is killed, its runs are killed,
  too: nobody could report their end.
"""

from __future__ import annotations

import contextlib
import os
import signal
from multiprocessing import forkserver, popen_forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

import chronos_assets
from chronos_assets.platforms.local.forkserver import SourceSnapshot, imported_files

PRELOAD = "chronos_assets.defs.run_imports"
_NO_STATUS = 255  # of a process whose fork server is gone


class _ForkServers:
    """The fork server that new runs come from, and when it has to be another one."""

    def __init__(self) -> None:
        self._server: forkserver.ForkServer | None = None
        self._retired: list[int] = []
        self._snapshot = SourceSnapshot()
        self._environment: dict[str, str] = {}

    def renew(self) -> None:
        """Have a fork server that has imported what is on disk now, or is about to."""
        environment = dict(os.environ)
        if self._server is not None:
            if environment == self._environment and self._snapshot.changed() is None:
                return
            self._retire(self._server)
        self._environment = environment
        # Noted before the server imports them: a file that changes meanwhile counts as changed.
        self._snapshot = SourceSnapshot()
        self._snapshot.add(imported_files())
        self._snapshot.add(str(path) for path in Path(chronos_assets.__file__).parent.rglob("*.py"))
        self._server = forkserver.ForkServer()
        self._server.set_forkserver_preload([PRELOAD])
        forkserver.connect_to_new_process = self._server.connect_to_new_process
        self._server.ensure_running()

    def _retire(self, server: forkserver.ForkServer) -> None:
        """Let a server end with its last run; the standard library's `_stop` would wait for that."""
        os.close(server._forkserver_alive_fd)  # type: ignore[attr-defined]
        self._retired.append(server._forkserver_pid)  # type: ignore[attr-defined]
        self._retired = [pid for pid in self._retired if os.waitpid(pid, os.WNOHANG) == (0, 0)]


_servers = _ForkServers()


class ForkedRun(ForkServerProcess):
    """A process as `multiprocessing` makes them, from a fork server that has imported what is on disk."""

    def start(self) -> None:
        """See `multiprocessing.Process.start`."""
        _servers.renew()
        super().start()

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> popen_forkserver.Popen:  # noqa: N802 - the standard library's name
        return _Popen(process_obj)


class _Popen(popen_forkserver.Popen):
    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit status, None while it runs."""
        known = self.returncode is not None
        status = super().poll(flag)
        if status == _NO_STATUS and not known:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        return status


class ForkedRuns(ForkServerContext):
    """A `multiprocessing` context of such processes; the first fork server starts with it."""

    Process = ForkedRun

    def __init__(self) -> None:
        super().__init__()
        _servers.renew()
