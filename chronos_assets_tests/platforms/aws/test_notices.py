"""Notices by SNS: what arrives, once, whoever sends and whatever dies."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chronos_assets.platforms.aws.notices import SnsNotices, message_of
from chronos_assets.platforms.aws.store import S3Store
from chronos_assets.platforms.notices import Notice, NoticeError
from chronos_assets_tests.aws.moto_server import AwsServer
from chronos_assets_tests.aws.request_limits import violations
from chronos_assets_tests.aws.s3_server import S3Server


def notice(run_id: str = "r1", outcome: Any = "failure", **facts: Any) -> Notice:
    return Notice(outcome=outcome, group="shop", run_id=run_id, time=datetime(2026, 1, 2, tzinfo=UTC), **facts)


class Mailbox:
    """A topic with one queue as its subscriber."""

    def __init__(self, aws: AwsServer, url: str, folder: Path) -> None:
        self.aws = aws
        self.clients = aws.clients()
        self.store = S3Store(url, cache=folder / "cache")
        self.topic = self.clients("sns").create_topic(Name="notices")["TopicArn"]
        sqs = self.clients("sqs")
        self.queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.clients("sns").subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn)

    def notices(self, **options: Any) -> SnsNotices:
        """Those of a daemon that was just started."""
        return SnsNotices(self.clients, self.store, self.topic, **options)

    def read(self) -> list[dict[str, Any]]:
        """What arrived since the last look."""
        sqs, found = self.clients("sqs"), []
        while messages := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return found


@pytest.fixture(scope="session")
def bucket(s3_server: S3Server) -> str:
    """One for all tests, each of which has a prefix: a bucket's first write takes the server a second."""
    s3_server.client().create_bucket(Bucket="notices")
    return "notices"


@pytest.fixture
def mailbox(aws: AwsServer, tmp_path: Path, bucket: str) -> Mailbox:
    return Mailbox(aws, f"s3://{bucket}/{tmp_path.name}", tmp_path)


def test_a_notice_arrives_with_subject_document_and_attributes(mailbox: Mailbox) -> None:
    accuracy = {"wql": 0.5, "mase": float("nan")}
    facts = {
        "asset": "forecasts",
        "reason": "first\npassword=hunter22",
        "accuracy": accuracy,
        "job": "refresh_forecasts",
    }
    assert mailbox.notices().send(notice(**facts))
    (arrived,) = mailbox.read()
    assert arrived["Subject"] == "shop: refresh_forecasts FAILED in forecasts"
    document = json.loads(arrived["Message"])
    assert (document["outcome"], document["dataset_group"], document["run_id"]) == ("failure", "shop", "r1")
    assert document["reason"] == "first; password***"
    assert document["accuracy"] == {"wql": 0.5, "mase": None}
    attributes = {name: value["Value"] for name, value in arrived["MessageAttributes"].items()}
    assert attributes == {
        "outcome": "failure", "dataset_group": "shop", "job": "refresh_forecasts", "run_id": "r1", "asset": "forecasts",
        "wql": "0.5",
    }  # fmt: skip


def test_a_run_gives_each_outcome_once(mailbox: Mailbox) -> None:
    assert mailbox.notices().send(notice())
    assert not mailbox.notices().send(notice(reason="another try of the same tick"))
    assert mailbox.notices().send(notice(outcome="success"))
    assert mailbox.notices().send(notice("r2"))
    assert len(mailbox.read()) == 3
    kept = mailbox.notices().recent(2)
    assert [(one["run_id"], one["outcome"]) for one in kept] == [("r2", "failure"), ("r1", "success")]
    assert len(mailbox.notices().recent(9)) == 3


def test_of_several_daemons_one_sends(mailbox: Mailbox) -> None:
    barrier = threading.Barrier(4)
    sent: list[bool] = []

    def daemon() -> None:
        notices = mailbox.notices()
        barrier.wait()
        for number in range(5):
            try:
                sent.append(notices.send(notice(f"r{number}")))
            except NoticeError:
                sent.append(False)

    threads = [threading.Thread(target=daemon) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sent) == 5
    assert sorted(json.loads(message["Message"])["run_id"] for message in mailbox.read()) == [f"r{n}" for n in range(5)]
    assert {one["run_id"] for one in mailbox.notices().recent(9)} == {f"r{n}" for n in range(5)}


class Dead(BaseException):
    """What a daemon's end looks like from within."""


@pytest.mark.parametrize("after", [False, True], ids=["before it is sent", "after it was sent"])
def test_a_daemon_that_dies_between_claim_and_mark_loses_nothing(mailbox: Mailbox, after: bool) -> None:
    dying = mailbox.notices()
    publish = dying._publish

    def killed(*arguments: Any) -> str:
        if after:
            publish(*arguments)
        raise Dead

    dying._publish = killed  # type: ignore[assignment]
    with pytest.raises(Dead):
        dying.send(notice())
    assert len(mailbox.read()) == int(after)
    with pytest.raises(NoticeError, match="being sent by another process"):
        mailbox.notices().send(notice())
    assert mailbox.read() == []
    later = {"now": lambda: datetime.now(UTC) + timedelta(minutes=6)}
    assert mailbox.notices(**later).send(notice())
    assert not mailbox.notices().send(notice())
    # Nobody can know whether the first one went out: twice is better than never.
    assert len(mailbox.read()) == 1


def test_of_two_that_take_over_a_dead_ones_notice_one_sends(mailbox: Mailbox) -> None:
    mailbox.store.put(".notices/r1-failure.json", b'{"state": "claimed"}')
    first, second = (mailbox.notices(claim_seconds=-60) for _ in range(2))
    marker = mailbox.store.get_tagged(".notices/r1-failure.json")
    assert first.send(notice())
    second._store = type("Late", (), {"get_tagged": lambda _, key: marker, "put_if": mailbox.store.put_if})()
    with pytest.raises(NoticeError, match="another process"):
        second.send(notice())
    assert len(mailbox.read()) == 1


def test_what_sns_refuses_is_tried_again_at_once(mailbox: Mailbox) -> None:
    mailbox.store.put(".notices/recent.json", b"[")  # damaged: begun again
    mailbox.aws.faults.refuse("Publish", "AuthorizationError", "not allowed")
    with pytest.raises(NoticeError, match=r"SNS refused .*not allowed; set CHRONOS_TOPIC"):
        mailbox.notices().send(notice())
    assert mailbox.notices().recent(9) == []
    assert mailbox.notices().send(notice())
    assert len(mailbox.read()) == 1
    assert [one["run_id"] for one in mailbox.notices().recent(9)] == ["r1"]


def test_without_a_topic_a_notice_is_logged_once(mailbox: Mailbox, caplog: pytest.LogCaptureFixture) -> None:
    notices = SnsNotices(mailbox.clients, mailbox.store, "")
    with caplog.at_level(logging.WARNING):
        assert notices.send(notice())
        assert not notices.send(notice())
    assert [(record.levelname, "FAILED" in record.message) for record in caplog.records] == [("ERROR", True)]


def test_a_message_keeps_the_limits_of_sns() -> None:
    long = notice(
        job="prognose_für_köln_…_東京" * 9,
        reason="é" * 9000,
        files=tuple(f"s3://data/{'x' * 900}/{number}" for number in range(500)),
    )
    message = message_of(long)
    assert message["Subject"].isascii()
    assert message["Subject"].startswith("shop: prognose_fur_koln_..._??")
    assert len(message["Subject"]) < 100
    assert len(message["Message"].encode()) < 200_000
    bodies = json.loads(message["Message"])
    assert bodies["email"] == bodies["default"]
    assert "Reason: éé" in bodies["email"]
    document = json.loads(bodies["sqs"])
    assert (len(document["files"]), document["files_left_out"]) == (20, 480)
    assert len(message["MessageAttributes"]) <= 10
    assert violations("sns", "Publish", {"TopicArn": "arn:aws:sns:us-east-1:123456789012:t", **message}) == []
