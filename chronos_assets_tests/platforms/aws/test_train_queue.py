"""The queue of a bucket's notifications: what messages are understood to say, and when they are deleted."""

import json
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.inbox import UnreadableMessageError
from chronos_assets.platforms.aws.train_queue import SqsTrainQueue, read_notification
from chronos_assets.platforms.news_queue import QueueError
from chronos_assets_tests.aws.cloud import ACCOUNT, REGION
from chronos_assets_tests.platforms.aws.fake_sqs import FakeSqs

URL = "https://sqs.us-east-1.amazonaws.com/123456789012/train"


def notification(*keys, event="ObjectCreated:Put", bucket="b", encode=quote_plus):
    return json.dumps(
        {
            "Records": [
                {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": encode(key), "size": 1}}}
                for key in keys
            ]
        }
    )


def bridge(key, kind="Object Created"):
    detail = {"bucket": {"name": "b"}, "object": {"key": key, "size": 1}}
    return json.dumps({"version": "0", "source": "aws.s3", "detail-type": kind, "detail": detail})


def in_sns(body):
    return json.dumps({"Type": "Notification", "TopicArn": "arn", "Message": body})


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (notification("p/q/train/a.csv"), ["train/a.csv"]),
        (notification("p/q/train/a b+c%20ü.csv"), ["train/a b+c%20ü.csv"]),
        (notification("p/q/train/a.csv", "p/q/train/sub/b.csv"), ["train/a.csv", "train/sub/b.csv"]),
        (notification("p/q/train/a.csv", event="ObjectRemoved:DeleteMarkerCreated"), ["train/a.csv"]),
        (notification("p/q/train/a.csv", event="s3:ObjectRemoved:Delete"), ["train/a.csv"]),
        (notification("p/q/train/a.csv", event="LifecycleExpiration:Delete"), ["train/a.csv"]),
        (in_sns(notification("p/q/train/a.csv")), ["train/a.csv"]),
        (bridge("p/q/train/a b+%20.csv"), ["train/a b+%20.csv"]),
        (bridge("p/q/train/a.csv", "Object Deleted"), ["train/a.csv"]),
        (in_sns(bridge("p/q/train/a.csv")), ["train/a.csv"]),
    ],
    ids=["put", "encoded", "several", "delete marker", "delete", "expired", "sns", "bridge", "bridge delete", "both"],
)
def test_notifications_of_every_kind_tell_the_keys_below_train(body, keys):
    assert read_notification(body, "b", "p/q") == (tuple(keys), ())


def test_a_store_at_the_root_of_its_bucket_has_its_keys_as_they_are():
    assert read_notification(notification("train/a.csv", "p/train/a.csv"), "b", "") == (
        ("train/a.csv",),
        ("outside of train/",),
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}), "a test event"),
        (notification("p/q/train/a.csv", event="ObjectRestore:Post"), "event ObjectRestore:Post"),
        (notification("p/q/train/a.csv", bucket="other"), "of another bucket"),
        (notification("train/a.csv"), "outside of train/"),
        (notification("p/q/trains/a.csv"), "outside of train/"),
        (notification("p/q/forecast/forecast.csv"), "outside of train/"),
        (notification("p/q/train/../params.json"), "a key that no store may have"),
        (notification("p/q/train//a.csv"), "a key that no store may have"),
        (notification("p/q/train/a\nb.csv"), "a key that no store may have"),
        (bridge("p/q/train/\ud800.csv"), "a key that no store may have"),
        (notification(f"p/q/train/{'x' * 2000}.csv"), "a key that no store may have"),
    ],
    ids=lambda value: value[:24] if value.startswith("{") else value,
)
def test_what_plays_no_part_is_ignored_for_a_reason(body, reason):
    assert read_notification(body, "b", "p/q") == ((), (reason,))


@pytest.mark.parametrize(
    "body",
    [
        "", "no JSON", "[]", "7", "null", "{}", "[" * 100_000, '{"Records": 3}', '{"Records": [3]}',
        '{"Records": [{"eventName": "ObjectCreated:Put"}]}', '{"Records": [{"eventName": 1, "s3": {}}]}',
        '{"source": "aws.s3"}', '{"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": []}}',
        in_sns("no JSON"), notification("%ff", encode=str),
        '{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": 1}, "object": {"key": "a"}}}]}',
    ],
    ids=lambda body: body[:30],
)  # fmt: skip
def test_what_is_no_notification_is_not_understood(body):
    with pytest.raises(UnreadableMessageError):
        read_notification(body, "b", "p/q")


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Records", "s3", "eventName", "Event", "detail", "source"]), inner, max_size=3
        )
    ),
)


@given(trees.map(json.dumps) | st.text(max_size=20))
def test_no_message_breaks_the_reader(body):
    try:
        keys, _ = read_notification(body, "b", "")
    except UnreadableMessageError:
        return
    assert all(key.startswith("train/") for key in keys)


def queue_of(sqs, **options):
    options = {"wait_seconds": 0, "visibility_seconds": 3, **options}
    return SqsTrainQueue(AwsClients(sqs=sqs), URL, bucket="b", prefix="", **options)


def test_a_message_is_reported_until_it_is_settled_and_then_deleted():
    sqs = FakeSqs()
    queue = queue_of(sqs)
    sqs.send(notification("train/a.csv"))
    first = queue.receive()
    assert (first.keys, first.messages) == (("train/a.csv",), 1)
    assert queue.settle("of another look") == 0
    assert queue.settle("") == 0
    sqs.send(notification("train/a.csv", "train/b.csv"))
    second = queue.receive()
    assert (second.keys, second.messages) == (("train/a.csv", "train/b.csv"), 2)
    assert queue.settle(first.token) == 0
    assert sqs.deleted == []
    assert queue.settle(second.token) == 2
    assert len(sqs) == 0
    assert queue.settle(second.token) == 0
    nothing = queue.receive()
    assert (nothing.token, nothing.keys, nothing.messages) == ("", (), 0)


def test_a_process_that_dies_loses_no_message_and_its_token_deletes_none():
    sqs = FakeSqs()
    sqs.send(notification("train/a.csv"))
    token = queue_of(sqs).receive().token
    after = queue_of(sqs)
    assert after.settle(token) == 0
    assert after.receive().messages == 0
    sqs.now += 3
    again = after.receive()
    assert again.keys == ("train/a.csv",)
    assert after.settle(again.token) == 1
    assert len(sqs) == 0


def test_a_message_that_came_again_is_deleted_by_the_receipt_that_came_last():
    sqs = FakeSqs()
    queue = queue_of(sqs)
    sqs.send(notification("train/a.csv"))
    queue.receive()
    sqs.now += 3
    news = queue.receive()
    assert news.messages == 1
    assert queue.settle(news.token) == 1
    assert len(sqs) == 0


def test_what_is_not_understood_is_reported_but_not_deleted_and_ends_in_the_dead_letter_queue():
    sqs = FakeSqs(max_receives=2)
    queue = queue_of(sqs)
    for number in range(5):
        sqs.send(f"poison {number}")
    sqs.send(notification("train/a.csv"))
    news = queue.receive()
    assert news.keys == ("train/a.csv",)
    assert news.unreadable_count == 5
    assert news.unreadable[0] == "message-1: not JSON (JSONDecodeError)"
    assert len(news.unreadable) == 3
    queue.settle(news.token)
    for _ in range(3):
        sqs.now += 3
        news = queue.receive()
        assert news.token == ""
    assert sqs.dead == [f"poison {number}" for number in range(5)]
    assert len(sqs) == 0


def test_a_look_takes_a_bounded_number_of_messages_and_time():
    sqs = FakeSqs()
    for number in range(100):
        sqs.send(notification(f"train/{number}.csv"))
    assert queue_of(sqs, most=35).receive().messages == 40
    sqs.now += 3
    clock = iter(range(100))
    assert queue_of(sqs, seconds=3, clock=lambda: next(clock)).receive().messages == 30


def test_a_queue_that_is_not_there_says_how_to_fix_it(aws):
    queue = SqsTrainQueue(aws.clients(), f"{aws.url}/123456789012/none", bucket="b", prefix="", wait_seconds=0)
    with pytest.raises(QueueError, match=r"can't be read \(.*\): correct CHRONOS_TRAIN_QUEUE"):
        queue.receive()


def test_against_a_server_messages_are_deleted_once_settled_and_poison_goes_to_the_dead_letter_queue(aws):
    clients = aws.clients()
    sqs = clients("sqs")
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    url = sqs.create_queue(QueueName="train", Attributes={"RedrivePolicy": redrive})["QueueUrl"]

    def connect():
        return SqsTrainQueue(clients, url, bucket="b", prefix="p", wait_seconds=0, visibility_seconds=600)

    def let_visibility_end():
        from moto.sqs.models import sqs_backends

        for message in sqs_backends[ACCOUNT][REGION].queues["train"]._messages:
            message.visible_at = 0

    queue = connect()
    for start in range(0, 30, 10):
        bodies = [notification(f"p/train/{number} ü.csv") for number in range(start, start + 10)]
        sqs.send_message_batch(
            QueueUrl=url, Entries=[{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        )
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    news = queue.receive()
    assert sorted(news.keys) == sorted(f"train/{number} ü.csv" for number in range(30))
    assert news.unreadable_count == 1
    queue = connect()  # another process, after a crash: nothing was recorded
    assert queue.settle(news.token) == 0
    let_visibility_end()
    again = queue.receive()
    assert again.messages == 30
    assert queue.settle(again.token) == 30
    let_visibility_end()
    assert queue.receive().messages == 0
    waiting = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (waiting["ApproximateNumberOfMessages"], waiting["ApproximateNumberOfMessagesNotVisible"]) == ("0", "0")
    (letter,) = sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10)["Messages"]
    assert letter["Body"] == "poison"
