"""When the endpoint follows a decision that was made in SageMaker: the rule, by what is served and what was tried."""

import pytest

from chronos_assets.planning.cursor import RunState, RunStatus
from chronos_assets.planning.redeployment import ServedVersion, plan_redeployment, recorded_token, requested_run_key
from chronos_assets.platforms.news_queue import QueueNews

OLD = ServedVersion(deployed=True, current=False, wanted="v2", model="Shop/2")
CURRENT = ServedVersion(deployed=True, current=True, wanted="v2", model="Shop/2")
NOTHING, NEWS = QueueNews(), QueueNews(token="t1", keys=("Shop/2",))  # noqa: S106 - a receipt of messages
RUNNING, FAILED, SUCCEEDED = (RunState(status) for status in (RunStatus.RUNNING, RunStatus.FAILED, RunStatus.SUCCEEDED))


class Sensor:
    """A sensor that keeps its cursor, and counts its looks."""

    def __init__(self, served=CURRENT):
        self.cursor, self.served, self.looks = None, served, 0

    def tick(self, news=NOTHING, last_run=None):
        def look():
            self.looks += 1
            return self.served

        plan = plan_redeployment(news, self.cursor, look=look, last_run=last_run, reconcile_ticks=10)
        self.cursor = plan.cursor
        return plan


def test_a_decision_elsewhere_is_followed_once():
    sensor = Sensor()
    assert sensor.tick().message == "the endpoint answers with Shop/2"
    sensor.served = OLD
    assert sensor.tick().run_key is None
    plan = sensor.tick(NEWS)
    assert plan.run_key is not None
    assert plan.message == "decided elsewhere: Shop/2; Shop/2 is in use, the endpoint follows"
    assert requested_run_key(plan.cursor) == plan.run_key
    assert recorded_token(plan.cursor) == "t1"
    assert sensor.tick(last_run=RUNNING).message == "Shop/2 is being deployed"
    sensor.served = CURRENT
    done = sensor.tick(last_run=SUCCEEDED)
    assert done.run_key is None
    assert requested_run_key(done.cursor) is None
    # The same version, once it comes back, is deployed by another run.
    sensor.served = OLD
    again = sensor.tick(NEWS).run_key
    assert again not in (None, plan.run_key)


def test_without_news_it_looks_now_and_then_only():
    sensor = Sensor()
    for _ in range(21):
        sensor.tick()
    assert sensor.looks == 3


def test_a_lost_message_is_made_up_for():
    sensor = Sensor()
    sensor.tick()
    sensor.served = OLD
    assert [bool(sensor.tick().run_key) for _ in range(10)] == [False] * 9 + [True]


def test_a_run_that_deploys_anyway_is_waited_for():
    sensor = Sensor(ServedVersion(deployed=True, current=False, wanted="v2", model="Shop/2", busy="run 1 of retrain"))
    assert sensor.tick(NEWS).message.endswith("Shop/2 is in use: waiting for run 1 of retrain")
    sensor.served = OLD
    assert sensor.tick().run_key is not None


def test_an_endpoint_that_nobody_deployed_stays_away():
    sensor = Sensor(ServedVersion(deployed=False, current=False, wanted="", model=""))
    assert sensor.tick(NEWS).message == "decided elsewhere: Shop/2; no endpoint is deployed"
    assert sensor.tick().run_key is None
    assert sensor.looks == 1


@pytest.mark.parametrize(
    ("last", "runs"), [(FAILED, 3), (SUCCEEDED, 3), (RunState(RunStatus.FAILED, reason="no quota", retry=False), 1)]
)
def test_it_gives_up_after_some_runs_or_one_that_no_other_can_do_better(last, runs):
    sensor = Sensor(OLD)
    keys = [sensor.tick(NEWS if not number else NOTHING, last if number else None).run_key for number in range(5)]
    assert len(set(filter(None, keys))) == runs
    plan = sensor.tick(NEWS, last)
    assert plan.run_key is None
    assert f"runs failed: {runs}{', the last with: no quota' if last.reason else ''}; materialize" in plan.message
    # Another model is another matter.
    sensor.served = ServedVersion(deployed=True, current=False, wanted="v3", model="Shop/3")
    assert sensor.tick(NEWS, last).run_key is not None


@pytest.mark.parametrize("cursor", [None, "", "no JSON", "[]", '{"version": 9}', '{"version": 1, "other": 2}'])
def test_a_cursor_that_can_not_be_read_starts_afresh(cursor):
    plan = plan_redeployment(QueueNews(), cursor, look=lambda: OLD, last_run=None, reconcile_ticks=10)
    assert plan.run_key is not None


def test_trouble_with_the_queue_is_reported():
    sensor = Sensor()
    sensor.tick()
    assert "can't be read" in sensor.tick(QueueNews(trouble="queue q can't be read")).message
