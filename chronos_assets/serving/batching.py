"""Requests that arrive together are answered together: a queue in front of one worker thread.

Here: who waits, for how long, who shares a pass, who is turned away. Elsewhere: what a pass is; to
this module it is a function from a list of items to a list of answers.

- **Bounded wait.** The first item waits for others up to `wait_seconds`, and not at all while a pass is under way (what
  arrives meanwhile is the next batch) or after a pass that had no company: a lone client never waits twice.
- **Bounded queue.** Beyond `queue_length` a request is turned away at once (`Overloaded`, with the seconds after which
  it is worth another try). One that is larger than the queue gets in only when nobody waits.
- **Fair.** A request of many items gives way after `share` of them to those that came later.
- **Nobody pays for a neighbour.** Items of different keys never share a pass. Where a pass raises, its items are tried
  one by one, and only those that fail alone fail. What nobody waits for any more is dropped before its pass.

All methods are to be called in the event loop; only the function runs in a thread.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from chronos_assets.errors import ChronosAssetsError

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Answer = TypeVar("Answer")

_LONGEST_RETRY = 60


class Overloaded(ChronosAssetsError):
    """The queue is full.

    Attributes:
        retry_after: whole seconds until the queue should have room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full, try again in {retry_after} s")
        self.retry_after = retry_after


@dataclass
class _Entry(Generic[Key, Item, Answer]):
    """One request's items: which are still to be taken, and the answers that have come."""

    key: Key
    items: Sequence[Item]
    arrived: float
    done: asyncio.Future[list[Answer]]
    answers: list[Answer | None] = field(default_factory=list)
    taken: int = 0
    answered: int = 0

    @property
    def left(self) -> int:
        return len(self.items) - self.taken


class MicroBatcher(Generic[Key, Item, Answer]):
    """See the module's notes.

    Args:
        run: answers of some items of one key, in their order; called in the worker thread.
        batch_size: items of a pass, at most; 1: no batching.
        wait_seconds: how long a first item waits for others.
        queue_length: items that may wait.
        share: items of one request in a pass, while others wait.
    """

    def __init__(
        self,
        run: Callable[[Key, list[Item]], list[Answer]],
        *,
        batch_size: int = 64,
        wait_seconds: float = 0.002,
        queue_length: int = 512,
        share: int = 16,
    ) -> None:
        self._run = run
        self._batch_size = batch_size
        self._wait_seconds = wait_seconds if batch_size > 1 else 0.0
        self._queue_length = queue_length
        self._share = share
        self._entries: deque[_Entry[Key, Item, Answer]] = deque()
        self._arrival = asyncio.Event()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forecast")
        self._seconds_per_item = 0.01
        self._task: asyncio.Task[None] | None = None
        self._busy = 0
        self._company = True

    @property
    def waiting(self) -> int:
        """Items that no pass has taken yet."""
        return sum(entry.left for entry in self._entries if not entry.done.done())

    def start(self) -> None:
        """Begin to answer; inside a running event loop."""
        self._task = asyncio.create_task(self._loop(), name="batches")

    async def stop(self) -> None:
        """Answer what waits, then end."""
        while self._busy or self.waiting:
            await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
        self._worker.shutdown(wait=True)

    async def submit(self, key: Key, items: Sequence[Item]) -> list[Answer]:
        """The answers of one request's items. Cancelling the call drops the items that no pass has taken.

        Raises:
            Overloaded: the queue is full.
            Exception: whatever `run` raised for one of the items alone.
        """
        waiting = self.waiting
        if waiting and waiting + len(items) > self._queue_length:
            seconds = (waiting + self._busy) * self._seconds_per_item
            raise Overloaded(min(_LONGEST_RETRY, max(1, math.ceil(seconds))))
        loop = asyncio.get_running_loop()
        entry: _Entry[Key, Item, Answer] = _Entry(key, items, loop.time(), loop.create_future(), [None] * len(items))
        self._entries.append(entry)
        self._arrival.set()
        return await entry.done

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrival.wait()
            await self._gather(loop.time())
            batch = self._take()
            if not batch:
                continue
            items = [entry.items[index] for entry, index in batch]
            self._busy = len(items)
            started = loop.time()
            answers = await loop.run_in_executor(self._worker, self._answers, batch[0][0].key, items)
            self._seconds_per_item += 0.2 * ((loop.time() - started) / len(items) - self._seconds_per_item)
            self._busy = 0
            self._company = len({id(entry) for entry, _ in batch}) > 1 or bool(self._entries)
            for (entry, index), answer in zip(batch, answers, strict=True):
                _give(entry, index, answer)

    async def _gather(self, now: float) -> None:
        """Wait until the oldest item has waited long enough, or a batch is full."""
        wait_seconds = self._wait_seconds if self._company else 0.0
        until = min((entry.arrived for entry in self._entries), default=now) + wait_seconds
        while (left := until - asyncio.get_running_loop().time()) > 0 and self.waiting < self._batch_size:
            self._arrival.clear()
            try:
                await asyncio.wait_for(self._arrival.wait(), left)
            except TimeoutError:
                break
        self._arrival.set()

    def _take(self) -> list[tuple[_Entry[Key, Item, Answer], int]]:
        """Entries with the numbers of their items for the next pass: all of the key that has waited longest."""
        alive = [entry for entry in self._entries if not entry.done.done() and entry.left]
        batch: list[tuple[_Entry[Key, Item, Answer], int]] = []
        same = [entry for entry in alive if entry.key == alive[0].key]
        share = self._share if len(same) > 1 else self._batch_size
        while len(batch) < self._batch_size and any(entry.left for entry in same):
            for entry in same:
                count = min(share, entry.left, self._batch_size - len(batch))
                batch += [(entry, entry.taken + place) for place in range(count)]
                entry.taken += count
        cut = {id(entry) for entry, _ in batch if entry.left}
        self._entries = deque(
            [entry for entry in alive if entry.left and id(entry) not in cut]
            + [entry for entry in alive if id(entry) in cut]
        )
        if not self._entries:
            self._arrival.clear()
        return batch

    def _answers(self, key: Key, items: list[Item]) -> list[Answer | Exception]:
        """In the worker thread: an answer or an error for each item."""
        try:
            return list(self._run(key, items))
        except Exception as error:  # noqa: BLE001 - it belongs to the item that caused it
            if len(items) == 1:
                return [error]
        return [answer for item in items for answer in self._answers(key, [item])]


def _give(entry: _Entry[Key, Item, Answer], index: int, answer: Answer | Exception) -> None:
    """Put an answer in its place; the last one ends the wait, an error does at once."""
    if entry.done.done():
        return
    if isinstance(answer, Exception):
        entry.done.set_exception(answer)
        return
    entry.answers[index] = answer
    entry.answered += 1
    if entry.answered == len(entry.items):
        entry.done.set_result([answer for answer in entry.answers if answer is not None])
