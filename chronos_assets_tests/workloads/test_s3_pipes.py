"""Messages through S3: all of them, once, in order, or the job fails."""

import json
import time

import pytest

from chronos_assets.container.contract import encryption
from chronos_assets.container.s3_pipes import S3MessageWriter


class Bucket:
    """An S3 client whose first uploads fail."""

    def __init__(self, failures=0, lost_answers=0):
        self.objects = {}
        self.failures = failures
        self.lost_answers = lost_answers

    def put_object(self, *, Body, Bucket, Key, **encryption):  # noqa: N803
        self.encryption = encryption
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no network")
        self.objects.setdefault(Key, []).append(Body)
        if self.lost_answers:
            self.lost_answers -= 1
            raise ConnectionError("no answer")


def messages(bucket):
    chunks = [bucket.objects[f"p/{number + 1}.json"] for number in range(len(bucket.objects))]
    assert all(len(set(bodies)) == 1 for bodies in chunks)  # a chunk never changes
    return [json.loads(line) for bodies in chunks for line in bodies[0].splitlines()]


def written(bucket, count, pause=0.0, kms_key=""):
    writer = S3MessageWriter(bucket, interval=0.01, encryption=encryption(kms_key))
    with writer.open({"bucket": "b", "key_prefix": "p"}) as channel:
        for number in range(count):
            channel.write_message({"number": number})
            time.sleep(pause)


@pytest.mark.parametrize("trouble", [{}, {"failures": 3}, {"lost_answers": 2}])
def test_messages_arrive_once_and_in_order(trouble):
    bucket = Bucket(**trouble)
    written(bucket, 20, pause=0.01)
    assert messages(bucket) == [{"number": number} for number in range(20)]
    assert bucket.encryption == {}


def test_messages_are_encrypted_with_the_key_of_the_job():
    bucket = Bucket()
    written(bucket, 2, kms_key="alias/mine")
    assert len(messages(bucket)) == 2
    assert bucket.encryption == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/mine"}


def test_messages_that_do_not_arrive_fail_the_job():
    with pytest.raises(ConnectionError):
        written(Bucket(failures=10**6), 1)
