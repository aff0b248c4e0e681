"""A queue that reports changes: of train files, of approved versions. The protocol and its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chronos_assets.errors import ChronosAssetsError


class QueueError(ChronosAssetsError):
    """A queue can't be read; the message says why and how to fix it."""


@dataclass(frozen=True)
class QueueNews:
    """What the queue reported.

    Attributes:
        token: of everything reported here, for `settle`; empty if that is nothing.
        keys: what changed, each once: keys, below the store's root, of objects below `train/`; or names of versions.
        messages: how many messages there were.
        ignored: why some of what they reported is left out -> how often.
        unreadable: messages that were not understood, and why; a few of them.
        unreadable_count: how many there were.
        trouble: why the queue can't be read; empty if it can.
    """

    token: str = ""
    keys: tuple[str, ...] = ()
    messages: int = 0
    ignored: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    unreadable_count: int = 0
    trouble: str = ""


class NewsQueue(Protocol):
    """Reports changes: late, twice, in any order, or not at all. What is there now only a look says."""

    def receive(self) -> QueueNews:
        """What the queue reports now, and what it reported before that was not settled.

        Raises:
            QueueError: it can't be reached, or refuses.
        """

    def settle(self, token: str) -> int:
        """Drop what was reported under `token`, now that it is recorded; the number of messages.

        A token that isn't that of the last `receive` is fine.

        Raises:
            QueueError: it can't be reached, or refuses.
        """
