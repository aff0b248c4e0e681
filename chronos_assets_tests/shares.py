"""In which order the workers of a parallel run have the tests.

pytest-xdist cuts all tests into as many stretches as there are workers. A worker that has run its own takes what another one
would come to last. In alphabetical order the last test may be a browser's, while other cores idle, and a worker may take half
of a file whose server or run another worker has made already. Here each stretch begins with what takes long and ends with quick
tests, which are what is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

SLOW = ("browser", "aws", "process")
QUICK = "unit"

Test = TypeVar("Test")


def in_shares(
    tests: Sequence[Test], workers: int, *, kind: Callable[[Test], str], file: Callable[[Test], object]
) -> list[Test]:
    """All tests, in the order of their workers.

    The slow tests of a file stay together. Those that need the AWS servers go to half of the workers: the others start none.

    Args:
        tests: in the order in which they were collected.
        workers: how many there are.
        kind: one of `SLOW`, or `QUICK`.
        file: where a test stands.
    """
    shares: list[list[Test]] = [[] for _ in range(workers)]
    for slow in SLOW:
        allowed = shares[: max(1, workers // 2)] if slow == "aws" else shares
        files: dict[object, list[Test]] = {}
        for test in tests:
            if kind(test) == slow:
                files.setdefault(file(test), []).append(test)
        for together in files.values():
            min(allowed, key=len).extend(together)
    quick = [test for test in tests if kind(test) == QUICK]
    left = len(tests)
    for number, share in enumerate(shares):
        length = left // (workers - number)  # as pytest-xdist cuts them
        missing = max(0, length - len(share))
        share.extend(quick[:missing])
        del quick[:missing]
        left -= length
    return [*(test for share in shares for test in share), *quick]
