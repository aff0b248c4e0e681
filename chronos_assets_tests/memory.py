"""Temporary files of a test session: in memory, where there is enough of it.

Tests write, sync and remove many thousand small files. On a disk that takes a twelfth of what they compute, and waits besides.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import psutil

FOLDER = Path("/dev/shm")
NEEDED = 8 << 30  # bytes, of which a session uses a part
_PREFIX = "tests-"


def temporary_files_in_memory() -> Path | None:
    """Have the temporary files of this process, and of those that it starts, in a folder in memory.

    Returns:
        The folder, for who removes it at the end; None where `TMPDIR` says where the files are to be, or this machine has no
        such folder, or too little memory.
    """
    if "TMPDIR" in os.environ or not _is_usable():
        return None
    for left in FOLDER.glob(f"{_PREFIX}*"):  # by a session that was killed
        if not psutil.pid_exists(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=FOLDER))
    folder.chmod(0o1777)  # as /tmp: servers that may not run as root have theirs in it
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # looked up again
    return folder


def _is_usable() -> bool:
    if not os.access(FOLDER, os.W_OK | os.X_OK) or os.statvfs(FOLDER).f_flag & os.ST_NOEXEC:
        return False
    return min(shutil.disk_usage(FOLDER).free, psutil.virtual_memory().available) >= NEEDED
