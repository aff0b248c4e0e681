"""The train files' sensor with a queue: when it lists, and that it imports what the sensor without one imports.

`pytest --hypothesis-show-statistics` tells how many histories ran and what happened in them.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from chronos_assets.planning.cursor import RunState, RunStatus
from chronos_assets.planning.imports import ImportRecord, TrainPolicy, plan_train_files
from chronos_assets.planning.listing import listing_digest
from chronos_assets.planning.queue import plan_with_queue, recorded_token
from chronos_assets.platforms.aws.clients import AwsClients
from chronos_assets.platforms.aws.train_queue import SqsTrainQueue
from chronos_assets.platforms.news_queue import QueueError, QueueNews
from chronos_assets.platforms.store import ObjectInfo
from chronos_assets_tests.defs.line import Line, make_line
from chronos_assets_tests.defs.test_plan_train import NAMES, History
from chronos_assets_tests.defs.test_sensors import Daemon
from chronos_assets_tests.models.tiny import folder_of
from chronos_assets_tests.platforms.aws.fake_sqs import FakeSqs
from chronos_assets_tests.platforms.aws.test_train_queue import bridge, in_sns, notification

URL = "https://sqs.us-east-1.amazonaws.com/123456789012/train"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = TrainPolicy(settle_ticks=1, max_wait_ticks=5)
SUCCEEDED = RunState(RunStatus.SUCCEEDED)


def connect(sqs, visible=3, most=25):
    return SqsTrainQueue(
        AwsClients(sqs=sqs), URL, bucket="b", prefix="", wait_seconds=0, visibility_seconds=visible, most=most
    )


def told(key, removed=False):
    return notification(key, event="ObjectRemoved:Delete" if removed else "ObjectCreated:Put")


class Sensor:
    """A sensor that keeps its cursor, whose imports succeed at once; with a queue, or without."""

    def __init__(self, files, sqs=None, reconcile_ticks=1000, most=25):
        self.files = files  # key -> ObjectInfo, changed by the test
        self.queue = None if sqs is None else connect(sqs, visible=10, most=most)
        self.reconcile_ticks = reconcile_ticks
        self.cursor = None
        self.imported = None
        self.imports = []
        self.listings = 0

    def tick(self, params=""):
        def look():
            self.listings += 1
            infos = (self.files[key] for key in sorted(self.files))
            last_run = SUCCEEDED if self.imports else None
            return plan_train_files(
                infos, self.cursor, imported=self.imported, last_run=last_run, params=params, policy=POLICY
            )

        if self.queue is None:
            plan = look()
        else:
            self.queue.settle(recorded_token(self.cursor))
            plan = plan_with_queue(
                self.queue.receive(),
                self.cursor,
                imported=self.imported,
                params=params,
                look=look,
                reconcile_ticks=self.reconcile_ticks,
            )
        self.cursor = plan.cursor
        for request in plan.requests:
            self.imports.append(request.content)
            self.imported = ImportRecord(request.content, f"import {len(self.imports)}", params)
        return plan

    def ticks(self, number):
        return [self.tick() for _ in range(number)][-1]


def info(key, etag="e", size=1):
    return ObjectInfo(f"train/{key}", size, etag, NOON)


@pytest.fixture
def sqs():
    return FakeSqs()


@pytest.fixture
def sensor(sqs):
    """One that has imported a file, and has nothing to do."""
    sensor = Sensor({"train/a.csv": info("a.csv")}, sqs)
    sensor.ticks(6)
    assert len(sensor.imports) == 1
    sensor.listings = 0
    return sensor


def test_without_news_nothing_is_listed_and_it_says_since_when(sensor):
    plan = sensor.ticks(7)
    assert sensor.listings == 0
    assert not plan.requests
    assert plan.message.startswith("no news of train/ for ")
    assert plan.message.endswith(
        "; at the last listing: nothing new in train/: 1 file, newest train/a.csv, all imported"
    )


def test_a_message_wakes_it_and_no_other_is_needed_until_the_file_is_imported(sensor, sqs):
    sensor.files["train/b.csv"] = info("b.csv")
    sqs.send(told("train/b.csv"))
    first = sensor.tick()
    assert not first.requests
    assert first.message.startswith("the queue reported train/b.csv; train/: 1 new (b.csv): waiting until")
    assert sqs.deleted == []
    (request,) = sensor.tick().requests
    assert request.content == listing_digest(sensor.files.values())
    assert len(sqs) == 0
    sensor.ticks(4)
    assert len(sensor.imports) == 2
    sensor.listings = 0
    sensor.ticks(4)
    assert sensor.listings == 0


def test_a_dataset_that_is_outdated_wakes_it_without_news(sensor):
    sensor.ticks(3)
    sensor.imported = replace(sensor.imported, outdated="too few shards")
    (request,) = sensor.tick().requests
    assert request.reason == "too few shards"


def test_what_is_there_is_observed_once_it_has_settled_without_another_message(sensor, sqs):
    sensor.files["train/b.csv"] = info("b.csv")
    content = listing_digest(sensor.files.values())
    sensor.imported = ImportRecord(content, "by hand")
    sqs.send(told("train/b.csv"))
    observed = [plan.observed for plan in (sensor.tick() for _ in range(4)) if plan.observed]
    assert [seen.content for seen in observed] == [content]


def test_a_message_is_deleted_only_once_the_tick_that_reported_it_is_recorded(sensor, sqs):
    sensor.files["train/b.csv"] = info("b.csv")
    sqs.send(told("train/b.csv"))
    before = sensor.cursor
    for _ in range(3):
        sensor.tick()
        sensor.cursor = before  # it was lost on its way
    assert sqs.deleted == []
    sensor.tick()
    sensor.tick()
    assert len(sqs.deleted) == 1


def test_a_message_that_was_lost_is_made_up_for_by_a_listing_now_and_then(sqs):
    files = {"train/a.csv": info("a.csv")}
    sensor = Sensor(files, sqs, reconcile_ticks=5)
    sensor.ticks(5)
    files["train/b.csv"] = info("b.csv")
    sensor.listings = 0
    sensor.ticks(8)
    assert len(sensor.imports) == 2
    sensor.ticks(5)
    sensor.listings = 0
    sensor.ticks(10)
    assert sensor.listings == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (told("train/_SUCCESS"), "messages ignored: 1 no data"),
        (told("train/a.csv.part"), "messages ignored: 1 no data"),
        (told("forecast/forecast.csv"), "messages ignored: 1 outside of train/"),
        (told("train/../a.csv"), "messages ignored: 1 a key that no store may have"),
        (in_sns(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})), "messages ignored: 1 a test event"),
        ("{", "1 messages that can't be read are left to the dead-letter queue: message-1: not JSON"),
    ],
)
def test_what_plays_no_part_is_named_and_wakes_nobody(sensor, sqs, body, words):
    sqs.send(body)
    assert words in sensor.tick().message
    sensor.tick()
    assert sensor.listings == 0
    assert len(sqs) == (1 if body == "{" else 0)


def test_other_parameters_and_an_import_by_hand_need_no_message(sensor):
    sensor.tick(params="other")
    assert sensor.tick(params="other").requests
    sensor.ticks(3)
    sensor.listings = 0
    sensor.imported = replace(sensor.imported, id="by hand")
    sensor.tick()
    assert sensor.listings == 1


def test_a_queue_that_can_not_be_read_leaves_the_listing(sensor):
    plan = plan_with_queue(
        QueueNews(trouble="queue x can't be read"),
        sensor.cursor,
        imported=sensor.imported,
        params="",
        look=lambda: plan_train_files(sensor.files.values(), sensor.cursor, imported=sensor.imported, last_run=None),
        reconcile_ticks=1000,
    )
    assert plan.message == "queue x can't be read; nothing new in train/: 1 file, newest train/a.csv, all imported"


@pytest.mark.parametrize("damage", [None, "", "{", '{"version":1}', '{"version":1,"queue":7}', '{"version":2}'])
def test_a_cursor_without_news_or_one_that_is_damaged_lists(sensor, damage):
    sensor.cursor = damage
    assert recorded_token(damage) == ""
    sensor.tick()
    assert sensor.listings == 1


@pytest.mark.parametrize(
    "entry",
    [
        {"version": 2},
        {"version": 1},
        {"version": 1, "token": "", "settled": True, "idle": "x", "basis": 3, "message": 1},
    ],
)
def test_an_entry_of_the_cursor_that_can_not_be_read_lists(sensor, entry):
    sensor.cursor = json.dumps({**json.loads(sensor.cursor), "queue": entry})
    sensor.tick()
    assert sensor.listings == 1


def test_each_kind_of_sensor_goes_on_with_the_others_cursor(sensor, sqs):
    sensor.files["train/b.csv"] = info("b.csv")
    queue = sensor.queue
    sensor.queue = None
    sensor.tick()
    assert "queue" not in json.loads(sensor.cursor)
    sensor.queue = queue
    assert sensor.tick().requests  # it had waited a tick already
    sensor.queue = None
    assert "all imported" in sensor.ticks(4).message
    assert len(sensor.imports) == 2


# --- random histories -------------------------------------------------------------------------------------------------

FATES = st.sampled_from(["told", "told", "told twice", "late", "lost", "bridge", "sns"])


class QueueHistory(History):
    """The histories of the listing sensor, for one with a queue: all that must hold of the one holds of the other."""

    QUIET_TICKS = 30

    @initialize(reconcile=st.sampled_from([2, 5]), visible=st.sampled_from([1, 3]), fate=FATES)
    def start_queue(self, reconcile, visible, fate):
        self.sqs = FakeSqs(max_receives=4)
        self.visible = visible
        self.reconcile_ticks = reconcile
        self.fate = fate
        self.late = []
        self.known = {}
        self.recorded, self.poison = set(), set()
        self.process_restarts()

    @rule()
    def process_restarts(self):
        event("a process restarts")
        self.queue = connect(self.sqs, self.visible)

    @rule(fate=FATES)
    def the_fate_of_events_changes(self, fate):
        self.fate = fate

    @rule(chance=st.randoms(use_true_random=False))
    def late_events_come_in_any_order(self, chance):
        chance.shuffle(self.late)
        while self.late:
            event("a late event")
            self.sqs.send(self.late.pop())

    @rule(poison=st.sampled_from(["", "{}", "[1]", '{"Records":[{}]}']))
    def a_message_is_poison(self, poison):
        event("a message is poison")
        self.poison.add(self.sqs.send(poison))

    @rule(name=st.sampled_from(NAMES))
    def a_message_tells_of_what_did_not_happen(self, name):
        self.sqs.send(told(f"train/{name}", removed=True))

    def emit(self):
        """Events of what changed since the last time, as fate has it."""
        for name in sorted(self.known.keys() | self.files.keys()):
            if self.known.get(name) == self.files.get(name):
                continue
            body = told(f"train/{name}", removed=name not in self.files)
            event(f"an event is {self.fate}")
            if self.fate == "late":
                self.late.append(body)
            elif self.fate == "bridge":
                self.sqs.send(bridge(f"train/{name}"))
            elif self.fate == "sns":
                self.sqs.send(in_sns(body))
            elif self.fate != "lost":
                for _ in range(2 if self.fate == "told twice" else 1):
                    self.sqs.send(body)
        self.known = dict(self.files)

    def plan(self, listing, **seen):
        self.emit()
        self.sqs.now += 1
        self.queue.settle(recorded_token(self.cursor))
        assert set(self.sqs.deleted) <= self.recorded, "deleted before it was recorded"
        return plan_with_queue(
            self.queue.receive(),
            self.cursor,
            imported=seen["imported"],
            params=seen["params"],
            look=lambda: plan_train_files(listing, self.cursor, **seen),
            reconcile_ticks=self.reconcile_ticks,
        )

    def save(self, cursor):
        super().save(cursor)
        # What this process holds; a message that came again counts, too.
        self.recorded |= set(self.queue._held)

    def teardown(self):
        super().teardown()
        if hasattr(self, "sqs"):
            assert not self.poison & set(self.sqs.deleted), "poison was deleted"


TestQueueHistories = QueueHistory.TestCase
TestQueueHistories.settings = settings(stateful_step_count=40)

changes = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from("wxyz"), st.booleans(), FATES), min_size=1, max_size=6
)


@given(st.lists(changes, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_sensors_with_and_without_a_queue_make_the_same_imports_of_the_same_events(epochs, chance):
    files, sqs = {}, FakeSqs()
    listing, queue = Sensor(files), Sensor(files, sqs, reconcile_ticks=7)
    for epoch in epochs:
        bodies = []
        for name, etag, removed, fate in epoch:
            key = f"train/{name}"
            if removed:
                files.pop(key, None)
            else:
                files[key] = info(name, etag, size=0 if name == "empty.csv" else 1)
            if fate != "lost":
                bodies += [told(key, removed)] * (2 if fate == "told twice" else 1)
        chance.shuffle(bodies)
        late = bodies[: chance.randrange(len(bodies) + 1)]
        for body in bodies[len(late) :]:
            sqs.send(body)
        for sensor in (listing, queue):
            sensor.ticks(3)
        for body in late:
            sqs.send(body)
        for sensor in (listing, queue):
            sensor.ticks(12)
        sqs.now += 20
    assert queue.imports == listing.imports
    assert len(sqs) == 0


def test_many_files_are_listed_only_when_something_happened():
    files = {f"train/{number:06d}.csv": info(f"{number:06d}.csv", str(number)) for number in range(20_000)}
    sqs = FakeSqs()
    listing, queue = Sensor(files), Sensor(files, sqs, most=2000)
    chance = random.Random(1)
    for sensor in (listing, queue):
        sensor.ticks(3)
    changed = chance.sample(sorted(files), 300)
    for number, key in enumerate(changed):
        if number % 3:
            files[key] = replace(files[key], etag="new")
        else:
            del files[key]
        sqs.send(told(key, removed=number % 3 == 0))
    for sensor in (listing, queue):
        sensor.ticks(3)
    queue.ticks(30)
    assert queue.imports == listing.imports
    assert len(queue.imports) == 2
    assert queue.listings == 6
    assert len(sqs) == 0
    assert len(queue.cursor) < 12_800  # no more than half a byte a file


# --- the sensor itself ------------------------------------------------------------------------------------------------


class BrokenQueue:
    def receive(self):
        raise QueueError("queue x can't be read: fix it")

    def settle(self, token):
        return 0


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield make_line(
            tmp_path / "store",
            instance,
            model=str(folder_of("bolt")),
            days=2,
            settle_seconds=15,
            sensor_interval_seconds=15,
        )


def test_a_dropped_file_becomes_an_import_by_a_queue_on_a_server(line: Line, aws) -> None:
    clients = aws.clients()
    url = clients("sqs").create_queue(QueueName="train")["QueueUrl"]
    queue = SqsTrainQueue(clients, url, bucket="b", prefix="shop", wait_seconds=0)
    vars(line.group)["train_queue"] = queue
    daemon = Daemon(line)
    (request,) = daemon.until_request("train_files_sensor")
    assert daemon.launch(request).success
    assert not daemon.until_request("train_files_sensor")
    line.put("train/more.csv", "2024-01-03 00:00:00,5,client_a\n")
    assert not daemon.until_request("train_files_sensor")
    clients("sqs").send_message(QueueUrl=url, MessageBody=notification("shop/train/more.csv"))
    (request,) = daemon.until_request("train_files_sensor")
    assert "more.csv" in request.tags["chronos/reason"]
    assert daemon.launch(request).success
    assert not daemon.until_request("train_files_sensor")
    assert line.metadata("target_time_series")["last"] == "2024-01-03T00:00:00"
    waiting = clients("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (waiting["ApproximateNumberOfMessages"], waiting["ApproximateNumberOfMessagesNotVisible"]) == ("0", "0")


def test_a_broken_queue_does_not_break_the_sensor(line: Line) -> None:
    vars(line.group)["train_queue"] = BrokenQueue()
    daemon = Daemon(line)
    assert "queue x can't be read: fix it; 1 file" in str(daemon.tick("train_files_sensor").skip_reason)
    (request,) = daemon.until_request("train_files_sensor")
    assert request.asset_selection == [line.group.key("target_time_series")]
