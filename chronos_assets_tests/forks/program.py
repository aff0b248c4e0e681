"""What a forked program of a test finds: the module that it runs, as the main program, and all that is its own."""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import signal
import sys
import threading
from typing import Any

import setproctitle

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18


def become(*, lifeline: bool, stdin: bool = False) -> None:
    """Run what the first line of standard input says.

    Args:
        lifeline: whether the end of standard input kills the program and what it started.
        stdin: whether the rest of standard input is the program's.
    """
    program: dict[str, Any] = json.loads(_first_line())
    if lifeline:
        threading.Thread(target=_die_with, args=(os.dup(0),), name="lifeline", daemon=True).start()
    if not stdin:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    if program["mount"] is not None:
        _mount(program["mount"])
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests themselves are to outlive their terminal
    os.environ.clear()
    os.environ.update(program["environment"])
    os.chdir(program["folder"])
    sys.argv = [program["module"], *program["arguments"]]
    setproctitle.setproctitle(" ".join((sys.executable, "-m", *sys.argv)))  # servers of endpoints are known by it
    runpy.run_module(program["module"], run_name="__main__", alter_sys=True)


def _first_line() -> bytes:
    """The first line of standard input, and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise EOFError("whoever started this program is gone")
        line += byte
    return line


def _die_with(launcher: int) -> None:
    """Kill this process group when standard input ends."""
    while os.read(launcher, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def _mount(folder: str) -> None:
    """Show a folder as `/opt/ml`, in a mount namespace of this process: what `unshare -m` and `mount --bind` do."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNS))
    _check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    _check(libc.mount(os.fsencode(folder), b"/opt/ml", None, _MS_BIND, None))


def _check(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
