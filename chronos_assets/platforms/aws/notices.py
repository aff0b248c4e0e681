"""Notices by SNS: a mail that people can read, a JSON document for programs, attributes that subscriptions filter by.

Here: delivery, at most once per run and outcome. Elsewhere: what a notice says (`platforms.notices`).

A marker in the store, `.notices/<run id>-<outcome>.json`, is *claimed* by a conditional write before SNS is called, and
says *sent* afterwards. So of several daemons one sends. What a crash leaves:

- before the claim: nothing; the next tick sends.
- between claim and mark: nobody can tell whether the notice went out. It is not forgotten: whoever comes once the claim
  is older than `CLAIM_SECONDS` sends it, which may be a second time; until then `send` raises, so that the sensor, whose
  cursor then stays where it is, comes again.
- SNS refuses: the claim is taken back, and the next tick tries again.

`.notices/recent.json` has the newest ones for the dashboard: written between the call and the mark, so that none is missing;
one that is sent a second time takes the place of the first.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chronos_assets.platforms.aws.bucket import TaggedContent
from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.notices import Notice, NoticeError, document, one_line, render

FOLDER = ".notices"
RECENT, KEPT = f"{FOLDER}/recent.json", 50
REMEMBER_TRIES = 5
CLAIM_SECONDS = 300.0  # longer than a call to SNS takes with its retries, unless there is no network
MAX_SUBJECT = 99  # SNS: less than 100 characters
MAX_FILES = 20  # a message has up to 256 KB, and holds the document once for each protocol
PROTOCOLS = ("sqs", "lambda", "http", "https")  # whose subscribers are programs

logger = logging.getLogger(__name__)


class SnsNotices:
    """`Notices` to a topic.

    Args:
        clients: of the topic's region.
        store: keeps which notices were sent.
        topic: ARN; empty: notices are only logged.
        claim_seconds: age from which a claim is another's no more.
        now: clock.
    """

    def __init__(
        self,
        clients: AwsClients,
        store: S3Store,
        topic: str,
        *,
        claim_seconds: float = CLAIM_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clients = clients
        self._store = store
        self._topic = topic
        self._claim = timedelta(seconds=claim_seconds)
        self._now = now

    def recent(self, count: int) -> list[Mapping[str, Any]]:
        """See `Notices.recent`: those that were sent."""
        return [*_read(self._store.get_tagged(RECENT))[:count]]

    def send(self, notice: Notice) -> bool:
        """See `Notices.send`.

        Raises:
            NoticeError: SNS refused, or another process is sending it or died while it was: send it again later.
        """
        key = f"{FOLDER}/{notice.run_id}-{notice.outcome}.json"
        marker = self._store.get_tagged(key)
        if marker is not None and json.loads(marker.data)["state"] == "sent":
            return False
        if marker is not None and self._now() - marker.last_modified < self._claim:
            raise self._under_way(notice)
        if not self._store.put_if(key, self._marker("claimed"), marker.etag if marker else None):
            raise self._under_way(notice)
        message = self._publish(notice, key) if self._topic else ""
        self._remember(notice)
        self._store.put(key, self._marker("sent", message=message))
        logger.log(logging.ERROR if notice.outcome == "failure" else logging.INFO, "%s", render(notice)[1])
        return True

    def _remember(self, notice: Notice) -> None:
        """Put a notice among the newest ones, whoever else does so now."""
        facts = document(notice)
        for _ in range(REMEMBER_TRIES):
            there = self._store.get_tagged(RECENT)
            others = [one for one in _read(there) if (one["run_id"], one["outcome"]) != (notice.run_id, notice.outcome)]
            newest = sorted([facts, *others], key=lambda one: datetime.fromisoformat(one["time"]), reverse=True)[:KEPT]
            content = json.dumps(newest, ensure_ascii=False, allow_nan=False).encode()
            if self._store.put_if(RECENT, content, there.etag if there is not None else None):
                return
        logger.warning("%s: others write it all the time; the notice of run %s isn't in it", RECENT, notice.run_id)

    def _under_way(self, notice: Notice) -> NoticeError:
        return NoticeError(
            f"the notice of run {notice.run_id} ({notice.outcome}) is being sent by another process; if that one died, "
            f"it is sent again {self._claim.total_seconds():.0f} s after its attempt"
        )

    def _marker(self, state: str, **facts: str) -> bytes:
        return json.dumps({"state": state, "at": self._now().isoformat(), **facts}).encode()

    def _publish(self, notice: Notice, key: str) -> str:
        """Hand the notice to SNS; the message's id."""
        try:
            return str(self._clients("sns").publish(TopicArn=self._topic, **message_of(notice))["MessageId"])
        except ClientError as error:
            self._store.delete(key)
            raise NoticeError(
                f"SNS refused the notice of run {notice.run_id}: {error}; set CHRONOS_TOPIC (now {self._topic}) to a "
                "topic that this identity may publish to (sns:Publish)"
            ) from error
        except BotoCoreError as error:
            raise NoticeError(f"whether the notice of run {notice.run_id} was sent is not known: {error}") from error


def _read(there: TaggedContent | None) -> list[dict[str, Any]]:
    """The notices of `RECENT`; none where it is damaged: it is written again."""
    try:
        return [] if there is None else list(json.loads(there.data))
    except ValueError as error:
        logger.warning("%s is not JSON (%s), and is begun again", RECENT, error)
        return []


def message_of(notice: Notice) -> dict[str, Any]:
    """What Publish takes: subject, the message of each protocol, and the attributes."""
    subject, text = render(notice)
    facts = document(notice)
    left_out = len(facts["files"]) - MAX_FILES
    facts["files"] = [one_line(file) for file in facts["files"][:MAX_FILES]]
    if left_out > 0:
        facts["files_left_out"] = left_out
    body = json.dumps(facts, ensure_ascii=False, allow_nan=False)
    messages = {"default": text, "email": text, **dict.fromkeys(PROTOCOLS, body)}
    attributes = {
        name: {"DataType": "String", "StringValue": one_line(facts[name])}
        for name in ("outcome", "dataset_group", "job", "run_id", "as_of", "asset", "model")
        if facts[name]
    }
    if facts["accuracy"].get("wql") is not None:
        attributes["wql"] = {"DataType": "Number", "StringValue": repr(facts["accuracy"]["wql"])}
    return {
        "Subject": _ascii(subject)[:MAX_SUBJECT].strip(),
        "Message": json.dumps(messages, ensure_ascii=False),
        "MessageStructure": "json",
        "MessageAttributes": attributes,
    }


def _ascii(text: str) -> str:
    """A text as mail subjects take it everywhere: letters without their accents, `?` for what has no such form."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(part for part in parts if not unicodedata.combining(part)).encode("ascii", "replace").decode()
