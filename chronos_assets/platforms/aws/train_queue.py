"""The queue in which a bucket reports changes below `train/`: receiving its messages, understanding and deleting them.

Belongs here: SQS, and what a notification looks like. Does not belong here: what a change means (`planning.queue`), and
what is below `train/`, which only a listing knows: a message is a reason to look, no more.

A message may come twice, late, out of order, or never; none of that may matter to whoever reads the queue.

- What was received is deleted once it has been recorded (`settle`), at the next look. Until then it is reported again, or
  comes again after the queue's visibility timeout, should this process be gone.
- A message that isn't understood is left alone: the queue's redrive policy moves it to the dead-letter queue.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.store import StoreKeyError, check_key
from chronos_assets.platforms.train_queue import QueueError, TrainNews

if TYPE_CHECKING:
    from chronos_assets.platforms.aws.clients import AwsClients

TRAIN = "train/"
BATCH = 10  # messages that SQS gives or takes at once
MAX_NAMED = 3
_CHANGES = ("ObjectCreated:", "ObjectRemoved:", "LifecycleExpiration:")  # of S3's own notifications
_CHANGES_BRIDGE = ("Object Created", "Object Deleted")  # EventBridge's words for them


class UnreadableMessageError(ChronosAssetsError, ValueError):
    """A message that is no notification of a bucket."""


@dataclass(frozen=True)
class _MessageNews:
    """What one message reported, and what deletes it."""

    receipt: str
    keys: tuple[str, ...]
    ignored: tuple[str, ...]


class SqsTrainQueue:
    """`TrainQueue` of a store's bucket, in SQS.

    Args:
        clients: of AWS.
        url: of the queue.
        bucket, prefix: of the store, the prefix without slashes around it.
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
        *,
        bucket: str,
        prefix: str,
        wait_seconds: int = 1,
        seconds: float = 10.0,
        most: int = 2000,
        visibility_seconds: int = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._url = url
        self._bucket = bucket
        self._prefix = prefix
        self._wait_seconds = wait_seconds
        self._seconds = seconds
        self._most = most
        self._visibility_seconds = visibility_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _MessageNews] = {}  # by message id
        self._token = ""

    def settle(self, token: str) -> int:
        """See `TrainQueue.settle`. What another process received comes again, to be reported and deleted by this one."""
        with self._lock:
            if not token or token != self._token:
                return 0
            receipts = [told.receipt for told in self._held.values()]
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

    def receive(self) -> TrainNews:
        """See `TrainQueue.receive`."""
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
            keys, ignored = read_notification(str(message.get("Body", "")), self._bucket, self._prefix)
        except UnreadableMessageError as error:
            unreadable[identity] = f"{identity}: {error}"
            return
        # The receipt that came last is the one that counts.
        self._held[identity] = _MessageNews(str(message["ReceiptHandle"]), keys, ignored)

    def _news(self, unreadable: Mapping[str, str]) -> TrainNews:
        held = self._held.values()
        return TrainNews(
            token=self._token,
            keys=tuple(dict.fromkeys(key for told in held for key in told.keys)),
            messages=len(held),
            ignored=Counter(reason for told in held for reason in told.ignored),
            unreadable=tuple(unreadable.values())[:MAX_NAMED],
            unreadable_count=len(unreadable),
        )

    def _call(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._clients("sqs"), operation)(QueueUrl=self._url, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise QueueError(
                f"queue {self._url} can't be read ({' '.join(str(error).split())}): correct CHRONOS_TRAIN_QUEUE and "
                "AWS_REGION, and allow this identity sqs:ReceiveMessage and sqs:DeleteMessage"
            ) from error


def read_notification(body: str, bucket: str, prefix: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys below `train/` that a message reports, and why the rest of it plays no part.

    Understood are the notifications that S3 sends itself, the same through SNS, those of EventBridge, and S3's test event.

    Args:
        body: of the message.
        bucket: of the store.
        prefix: of the store in the bucket.

    Raises:
        UnreadableMessageError: it is none of these.
    """
    document = _object(body)
    if document.get("Type") == "Notification" and isinstance(document.get("Message"), str):
        document = _object(document["Message"])  # SNS
    if document.get("Event") == "s3:TestEvent":
        return (), ("a test event",)
    keys: list[str] = []
    ignored: list[str] = []
    for name, where, key in _events(document):
        reason = None
        if not (name.removeprefix("s3:").startswith(_CHANGES) or name in _CHANGES_BRIDGE):
            reason = f"event {name[:40]}"
        elif where != bucket:
            reason = "of another bucket"
        elif (below := _below_train(key, prefix)) is None:
            reason = f"outside of {TRAIN}"
        else:
            try:
                keys.append(check_key(below))
            except StoreKeyError:
                reason = "a key that no store may have"
        if reason:
            ignored.append(reason)
    return tuple(keys), tuple(ignored)


def _events(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, bucket and key of each event of a notification."""
    try:
        if document.get("source") == "aws.s3":
            detail = document["detail"]
            return [_texts(document["detail-type"], detail["bucket"]["name"], detail["object"]["key"])]
        return [
            _texts(
                record["eventName"],
                record["s3"]["bucket"]["name"],
                # As in the query of a URL, where EventBridge has the key itself.
                unquote_plus(record["s3"]["object"]["key"], errors="strict"),
            )
            for record in document["Records"]
        ]
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise UnreadableMessageError(f"no notification of S3 ({type(error).__name__}: {error})") from error


def _texts(*values: Any) -> tuple[str, str, str]:
    name, bucket, key = values
    if not (isinstance(name, str) and isinstance(bucket, str) and isinstance(key, str)):
        raise TypeError("a name is not text")
    return name, bucket, key


def _below_train(key: str, prefix: str) -> str | None:
    """`key` below the store's root, if it is below `train/` there."""
    root = f"{prefix}/" if prefix else ""
    if not key.startswith(root + TRAIN):
        return None
    return key.removeprefix(root)


def _object(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableMessageError(f"not JSON ({type(error).__name__})") from error
    if not isinstance(document, dict):
        raise UnreadableMessageError(f"a JSON {type(document).__name__}, no notification")
    return document
