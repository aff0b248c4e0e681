"""`python -m chronos_assets_tests.forks.after_shell COMMANDS MODULE ARGUMENT ...`, for `forks.start`.

What `sh -c 'COMMANDS && exec python -m MODULE "$@"'` does, without an interpreter that imports all over again.
"""

import runpy
import subprocess
import sys

if __name__ == "__main__":
    _, commands, module, *arguments = sys.argv
    if status := subprocess.run(["sh", "-c", commands], check=False).returncode:
        sys.exit(status)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
