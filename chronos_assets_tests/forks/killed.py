"""`python -m chronos_assets_tests.forks.killed FUNCTION NUMBER MODULE ARGUMENT ...`, for `forks.start`.

The program of a module, killed as it makes the call of that number of a function. A test that kills it from outside is too late
where the machine is slow.
"""

import os
import pkgutil
import runpy
import signal
import sys
from itertools import count
from typing import Any


def kill_at(function: str, number: int) -> None:
    """Let this process be killed as it makes a call.

    Args:
        function: `package.module:Class.method` or `package.module:function`, looked up by its callers at each call.
        number: of the call, from 1.
    """
    module, _, path = function.partition(":")
    outer, _, name = path.rpartition(".")
    owner = pkgutil.resolve_name(f"{module}:{outer}")
    original, calls = getattr(owner, name), count(1)

    def called(*arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, name, called)


if __name__ == "__main__":
    _, function, number, module, *arguments = sys.argv
    kill_at(function, int(number))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
