"""What an import works with: memory, workers, and whom it tells how far it is.

Here: the values, and work that several threads share. Elsewhere: what is worked on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from chronos_assets.system import usable_cores

T = TypeVar("T")

Progress = Callable[[str, float], None]
DEFAULT_MEMORY_LIMIT = "2GB"


def no_progress(stage: str, done: float) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Resources:
    """What an import works with.

    Attributes:
        memory_limit: of DuckDB; the whole process needs up to a gigabyte more.
        threads: workers, one for each core by default.
        unpacked: the bytes that a compressed file may unpack to; see `csv_records.unpacked_limit` for None.
        progress: called with "read", "aggregate" or "write", and how much of that is done, 0 to 1.
    """

    memory_limit: str = DEFAULT_MEMORY_LIMIT
    threads: int = field(default_factory=usable_cores)
    unpacked: int | None = None
    progress: Progress = no_progress

    def each(self, stage: str, work: Callable[[int], T], count: int) -> Iterator[T]:
        """The answers of `work` for 0 … count - 1, in order, made by several threads."""
        self.progress(stage, 0.0)
        with ThreadPoolExecutor(self.threads, thread_name_prefix=f"import-{stage}") as pool:
            try:
                for done, answer in enumerate(pool.map(work, range(count)), start=1):
                    self.progress(stage, done / count)
                    yield answer
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
