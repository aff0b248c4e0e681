"""The root of the package's errors.

Here: the root and the picture of the tree. Each error is defined beside what raises it; its message says what is
wrong, where, and how to fix it, in words for the user. It is translated once, at the edge that it reaches: to `dg.Failure`
by a step (`defs.failures`), to an exit code and one line by a workload (`container.contract`) or a command (`cli`), to a
status code by a request (`serving.app`). Elsewhere: errors of libraries, which are raised again as one of these
where they first appear.
"""

import errno
import re
from tempfile import gettempdir

_FULL = re.compile(r"database or disk is full|No space left on device")  # as SQLite and DuckDB say it
_FREE_SPACE = "free some, and run again; what is published stays as it was"


class ChronosAssetsError(Exception):
    """Something that the user can fix; the message says what, where and how.

    Attributes:
        transient: whether the same may succeed later, though nobody changes anything: a store is out of reach, for example.
    """

    transient: bool = False


def disk_trouble(error: Exception) -> str:
    """What is wrong, and how to fix it, where a disk is full or can't be written to; empty for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        place = error.filename2 or error.filename
        # Of a file that is open already the system doesn't say which: it may be in the store or a temporary one.
        word = f"{place}: {error.strerror}" if place else f"{error.strerror} (in the store, or in {gettempdir()})"
        if error.errno == errno.EROFS:
            return f"{word}: make it writable, or set CHRONOS_STORE to another folder"
        return f"{word}: {_FREE_SPACE}"
    return f"no space is left on the disk of the store: {_FREE_SPACE}" if _FULL.search(str(error)) else ""
