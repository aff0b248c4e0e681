"""What is kept of runs that are long over.

Here: removing their logs from a store's own Dagster folder. Elsewhere: how long ticks are kept (`dagster.yaml`), runs whose
process is gone (`dead_runs`).

SQLite has a database for each run, a quarter of a megabyte and more, beside what its steps printed, and Dagster keeps them for
ever: a year of hourly files would take gigabytes. Without them a run stays in the list with its times and its outcome. What it
materialized, and with it the pages of assets and the state of partitions, is in a database of its own (`index.db`): it stays.
`DagsterInstance.delete_run` would do the opposite: remove that, and keep the run's file.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

LOG_DAYS = 90  # of a run, since the last of its events
_DAY = 86_400.0


def remove_old_logs(home: Path, now: float | None = None) -> int:
    """Remove the logs of runs that had their last event more than `LOG_DAYS` days ago.

    Args:
        home: a Dagster folder with SQLite databases that is the package's own; without any, nothing is removed.
        now: the time, seconds since the epoch.

    Returns:
        How many runs lost their log.
    """
    before = (time.time() if now is None else now) - LOG_DAYS * _DAY
    removed = 0
    for database in _databases(home / "history" / "runs"):
        with suppress(FileNotFoundError):  # another process removes it
            beside = list(database.parent.glob(f"{database.name}-*"))  # SQLite's log, where the newest events may be
            if max(path.stat().st_mtime for path in (database, *beside)) < before:
                shutil.rmtree(home / "storage" / database.stem, ignore_errors=True)
                for path in beside:
                    path.unlink(missing_ok=True)
                database.unlink()  # last: a removal that is cut short is done again
                removed += 1
    return removed


def _databases(folder: Path) -> Iterator[Path]:
    """The databases of single runs; that of the materializations is no run's."""
    for path in folder.glob("*.db"):
        with suppress(ValueError):
            UUID(path.stem)
            yield path
