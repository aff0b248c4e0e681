"""The queue in which a bucket reports changes below `train/`: what its messages say.

Here: what a notification looks like. Elsewhere: receiving and deleting messages (`inbox`), what a change
means (`planning.queue`), and what is below `train/`, which only a listing knows: a message is a reason to look, no more.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.inbox import SqsInbox, UnreadableMessageError, json_object
from chronos_assets.platforms.store import StoreKeyError, check_key
from chronos_assets.store_layout import TRAIN_KEY

TRAIN = f"{TRAIN_KEY}/"
_CHANGES = ("ObjectCreated:", "ObjectRemoved:", "LifecycleExpiration:")  # of S3's own notifications
_CHANGES_BRIDGE = ("Object Created", "Object Deleted")  # EventBridge's words for them


class SqsTrainQueue(SqsInbox):
    """`NewsQueue` of a store's bucket.

    Args:
        clients: of AWS.
        url: of the queue.
        bucket: of the store.
        prefix: of the store in the bucket, without slashes around it.
        **timing: see `SqsInbox`.
    """

    def __init__(self, clients: AwsClients, url: str, *, bucket: str, prefix: str, **timing: Any) -> None:
        read = partial(read_notification, bucket=bucket, prefix=prefix)
        super().__init__(clients, url, read, variable="CHRONOS_TRAIN_QUEUE", **timing)


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
    document = json_object(body)
    if document.get("Type") == "Notification" and isinstance(document.get("Message"), str):
        document = json_object(document["Message"])  # SNS
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
