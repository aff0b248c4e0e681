"""`python -m chronos_assets_tests.forks.code CODE ARGUMENT ...`: what `python -c CODE ARGUMENT ...` does, for `forks.start`."""

import sys

if __name__ == "__main__":
    _, code, *arguments = sys.argv
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - a test's own
