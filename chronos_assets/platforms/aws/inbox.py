"""A queue in SQS as `NewsQueue`: messages are received, understood, and deleted once what they say is recorded.

Here: SQS. Elsewhere: what a message says (`train_queue`, `model_queue`), and what it means (`planning`).

A message may come twice, late, out of order, or never; none of that may matter to its reader.

- What was received is deleted once it has been recorded (`settle`), at the next look. Until then it is reported again, or
  comes again after the queue's visibility timeout, should this process be gone.
- A message that isn't understood is left alone: the queue's redrive policy moves it to the dead-letter queue.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.news_queue import QueueError, QueueNews

BATCH = 10  # messages that SQS gives or takes at once
MAX_NAMED = 3

# What a message's body says: keys, and why the rest of it plays no part.
Reader = Callable[[str], tuple[tuple[str, ...], tuple[str, ...]]]


class UnreadableMessageError(ChronosAssetsError, ValueError):
    """A message that is none of those which the queue is for."""


@dataclass(frozen=True)
class _MessageNews:
    """What one message reported, and what deletes it."""

    receipt: str
    keys: tuple[str, ...]
    ignored: tuple[str, ...]


class SqsInbox:
    """`NewsQueue` of a queue in SQS.

    Args:
        clients: of AWS.
        url: of the queue.
        read: what a message says; raises `UnreadableMessageError` of one that it doesn't understand.
        variable: the environment variable that names the queue, for messages.
        wait_seconds: how long to wait for a first message. A wait asks all of SQS's servers, none only some of them.
        seconds: for how long to receive more.
        most: messages held at once; the rest waits in the queue.
        visibility_seconds: after how long a message that was not deleted comes again: longer than the time between two
            looks.
        clock: of `seconds`.
    """

    def __init__(
        self,
        clients: AwsClients,
        url: str,
        read: Reader,
        *,
        variable: str,
        wait_seconds: int = 1,
        seconds: float = 10.0,
        most: int = 2000,
        visibility_seconds: int = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._url = url
        self._read = read
        self._variable = variable
        self._wait_seconds = wait_seconds
        self._seconds = seconds
        self._most = most
        self._visibility_seconds = visibility_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _MessageNews] = {}  # by message id
        self._token = ""

    def settle(self, token: str) -> int:
        """See `NewsQueue.settle`. What another process received comes again, to be reported and deleted by this one."""
        with self._lock:
            if not token or token != self._token:
                return 0
            receipts = [reported.receipt for reported in self._held.values()]
            for start in range(0, len(receipts), BATCH):
                entries = [
                    {"Id": str(number), "ReceiptHandle": receipt}
                    for number, receipt in enumerate(receipts[start : start + BATCH])
                ]
                # One that fails alone, as its receipt is too old, comes again.
                self._call("delete_message_batch", Entries=entries)
            self._held.clear()
            self._token = ""
            return len(receipts)

    def receive(self) -> QueueNews:
        """See `NewsQueue.receive`."""
        with self._lock:
            unreadable: dict[str, str] = {}
            end = self._clock() + self._seconds
            while len(self._held) < self._most:
                messages = self._call(
                    "receive_message",
                    MaxNumberOfMessages=BATCH,
                    WaitTimeSeconds=self._wait_seconds,
                    VisibilityTimeout=self._visibility_seconds,
                ).get("Messages", [])
                for message in messages:
                    self._take(message, unreadable)
                if not messages or self._clock() >= end:
                    break
            self._token = uuid.uuid4().hex if self._held else ""
            return self._news(unreadable)

    def _take(self, message: Mapping[str, Any], unreadable: dict[str, str]) -> None:
        identity = str(message["MessageId"])
        try:
            keys, ignored = self._read(str(message.get("Body", "")))
        except UnreadableMessageError as error:
            unreadable[identity] = f"{identity}: {error}"
            return
        # The receipt that came last is the one that counts.
        self._held[identity] = _MessageNews(str(message["ReceiptHandle"]), keys, ignored)

    def _news(self, unreadable: Mapping[str, str]) -> QueueNews:
        held = self._held.values()
        return QueueNews(
            token=self._token,
            keys=tuple(dict.fromkeys(key for reported in held for key in reported.keys)),
            messages=len(held),
            ignored=Counter(reason for reported in held for reason in reported.ignored),
            unreadable=tuple(unreadable.values())[:MAX_NAMED],
            unreadable_count=len(unreadable),
        )

    def _call(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: Mapping[str, Any] = getattr(self._clients("sqs"), operation)(QueueUrl=self._url, **arguments)
            return answer
        except (BotoCoreError, ClientError) as error:
            raise QueueError(
                f"queue {self._url} can't be read ({' '.join(str(error).split())}): correct {self._variable} and "
                "AWS_REGION, and allow this identity sqs:ReceiveMessage and sqs:DeleteMessage"
            ) from error


def json_object(text: str) -> Mapping[str, Any]:
    """The JSON object that a message is.

    Raises:
        UnreadableMessageError: it is none.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableMessageError(f"not JSON ({type(error).__name__})") from error
    if not isinstance(document, dict):
        raise UnreadableMessageError(f"a JSON {type(document).__name__}, no notification")
    return document
