"""Workers of a parallel run, forked from the process that hands them their tests.

Here: what is imported before the fork, and the fork. Elsewhere: what workers do, which is pytest-xdist's; the programs that
tests start (`chronos_assets_tests.forks`).

Each of them would import Dagster, torch and all test modules on its own: fifteen seconds of computing, for each. What is
imported here is what they would import. A worker that takes the place of one that crashed is an interpreter of its own, as
pytest-xdist has it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import logging
import os
import random
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
from execnet import gateway_io
from execnet.gateway_base import Popen2IO

from chronos_assets_tests.forks import import_ahead
from chronos_assets_tests.forks.server import PRELOADED

REPOSITORY = Path(__file__).resolve().parents[2]


def fork_workers(
    config: pytest.Config, count: int, *, ignored: Callable[[Path], bool], ready: Callable[[], None]
) -> None:
    """Import what `count` workers need, and let pytest-xdist find them started.

    Args:
        config: of the process that hands out the tests.
        ignored: whether a test file isn't collected.
        ready: called before the fork, when all is imported.
    """
    starting_programs = config.getoption("markexpr") != "unit"
    if starting_programs:
        import_ahead()  # on another core, as no test runs yet
    _import(_test_modules(config.args, ignored))
    if starting_programs:
        _import(PRELOADED)
    ready()
    workers: deque[_Worker] = deque()
    for _ in range(count):
        workers.append(_Worker(workers))
    start = gateway_io.create_io

    def create_io(spec: Any, execmodel: Any) -> Any:
        return workers.popleft().connected(execmodel) if spec.popen and workers else start(spec, execmodel)

    gateway_io.create_io = create_io


def _test_modules(arguments: Iterable[str], ignored: Callable[[Path], bool]) -> list[str]:
    files: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument.partition("::")[0]).resolve()
        files |= dict.fromkeys(sorted(path.rglob("test_*.py")) if path.is_dir() else [path])
    return [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in files if not ignored(path)]


def _import(modules: Iterable[str]) -> None:
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001 - the workers import it again, and report why they can't
            logging.getLogger(__name__).debug("workers import %s themselves: %s", module, error)


class _Worker:
    """A forked process that waits for what pytest-xdist lets an interpreter do.

    Args:
        others: those forked before, whose pipes it must not hold: they end when their ends close.
    """

    def __init__(self, others: Iterable[_Worker]) -> None:
        stdin, self._write = os.pipe()
        self._read, stdout = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for worker in (self, *others):
                os.close(worker._write)
                os.close(worker._read)
            _become(stdin, stdout)
        os.close(stdin)
        os.close(stdout)

    def connected(self, execmodel: Any) -> _WorkerIO:
        """What execnet speaks to it by."""
        return _WorkerIO(self.pid, os.fdopen(self._write, "wb"), os.fdopen(self._read, "rb"), execmodel)


class _WorkerIO(Popen2IO):
    """What `execnet.gateway_io.Popen2IOMaster` is for a process of `subprocess`."""

    def __init__(self, pid: int, outfile: Any, infile: Any, execmodel: Any) -> None:
        super().__init__(outfile, infile, execmodel)
        self.wait = partial(_wait, pid)
        self.kill = partial(os.kill, pid, signal.SIGKILL)


def _wait(pid: int) -> int | None:
    with suppress(ChildProcessError):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None


def _become(stdin: int, stdout: int) -> NoReturn:
    """Be what `python -u -c 'import sys; exec(eval(sys.stdin.readline()))'` is with these descriptors."""
    status = 1
    try:
        for descriptor, place in ((stdin, 0), (stdout, 1)):
            os.dup2(descriptor, place)
            os.close(descriptor)
        sys.stdin, sys.stdout = os.fdopen(0, "r", closefd=False), os.fdopen(1, "w", closefd=False)
        random.seed()
        gc.disable()  # as in an interpreter that collects tests, see conftest.py
        exec(eval(sys.stdin.readline()))  # noqa: S102, S307 - execnet's own first line
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined] # threads that are no daemons end first
            atexit._run_exitfuncs()
            sys.stderr.flush()
        os._exit(status)
