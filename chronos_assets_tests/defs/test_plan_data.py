"""The plan of the new data's sensor: examples of each rule, and a machine of random histories."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chronos_assets.planning.cursor import RunState, RunStatus
from chronos_assets.planning.forecasts import (
    MAX_TRIES,
    AccuracyState,
    DataPolicy,
    DatasetState,
    ForecastState,
    plan_new_data,
    requested_run_keys,
)
from chronos_assets.planning.windows import WindowRange, next_window, window_for_key, window_of

FIRST = datetime(2026, 1, 1)
END = datetime(2027, 1, 1)
DAYS = WindowRange("daily", FIRST, END)
HORIZON = timedelta(days=2)
RUNNING = RunState(RunStatus.RUNNING)


def dataset(last, number=1, first=FIRST):
    return DatasetState(id=f"import {number}", data_version=f"data {number}", first=first, last=last)


def forecast(key, data=1, recipe="model", version=None):
    context_end = window_for_key(key, "daily").end - timedelta(hours=1)
    name = version or f"{key}/{data}/{recipe}"
    return ForecastState(name, f"data {data}", recipe, context_end + HORIZON, context_end)


def plain(last_step):
    """A forecast of which only the last step matters."""
    return ForecastState("v", "data 1", "model", last_step, FIRST)


def days(first, count):
    window = window_for_key(first, "daily")
    for _ in range(count):
        yield window.key
        window = next_window(window, "daily")


class Sensor:
    """A sensor that keeps its cursor."""

    def __init__(self, **policy):
        self.cursor = None
        self.policy = DataPolicy(**policy)

    def tick(self, data, forecasts=None, accuracy=None, runs=None, **more):
        options = {"recipe": "model", "windows": DAYS, **more}
        # No forecast sees more than there is, and what is shown is right unless a test says otherwise.
        if data and forecasts and "shown" not in more:
            forecasts = {
                key: replace(made, context_end=min(made.context_end, data.last)) for key, made in forecasts.items()
            }
            options["shown"] = forecasts.get(window_of(min(data.last, END), options["windows"].cadence).key)
        options = {"shown": None, **options, **more}
        plan = plan_new_data(
            data, forecasts or {}, accuracy or {}, self.cursor, runs=runs or {}, policy=self.policy, **options
        )
        self.cursor = plan.cursor
        return plan


def asked(plan):
    return [(request.kind, request.first, request.last, request.attempt) for request in plan.requests]


def test_without_a_dataset_there_is_nothing_to_do():
    plan = Sensor().tick(None)
    assert not plan.requests
    assert "no dataset yet" in plan.message


def test_a_moment_without_a_dataset_forgets_no_run():
    sensor = Sensor()
    keys = [request.run_key for request in sensor.tick(dataset(datetime(2026, 3, 4))).requests]
    sensor.tick(None, runs=dict.fromkeys(keys, RUNNING))
    assert requested_run_keys(sensor.cursor) == tuple(keys)
    assert not sensor.tick(dataset(datetime(2026, 3, 4)), runs=dict.fromkeys(keys, RUNNING)).requests


@pytest.mark.parametrize(
    ("cadence", "key"),
    [("hourly", "2026-03-04-13:00"), ("daily", "2026-03-04"), ("weekly", "2026-03-01"), ("monthly", "2026-03-01")],
)
def test_an_import_asks_for_the_window_that_holds_the_last_observation(cadence, key):
    sensor = Sensor()
    last = datetime(2026, 3, 4, 13, 30)
    plan = sensor.tick(dataset(last), windows=replace(DAYS, cadence=cadence))
    assert asked(plan) == [("forecasts", key, key, 1)]
    assert f"requested forecasts of {key}: the window that holds the last observation" in plan.message
    running = sensor.tick(
        dataset(last), windows=replace(DAYS, cadence=cadence), runs={plan.requests[0].run_key: RUNNING}
    )
    assert not running.requests
    assert "waiting for the end of 1 run requested before" in running.message
    done = plain(END)
    ended = sensor.tick(dataset(last), {key: done}, windows=replace(DAYS, cadence=cadence), runs={})
    assert not ended.requests
    assert f"the forecast of {key} is up to date" in ended.message


def test_the_first_instant_of_a_window_is_in_it():
    assert asked(Sensor().tick(dataset(datetime(2026, 3, 4)))) == [("forecasts", "2026-03-04", "2026-03-04", 1)]


@pytest.mark.parametrize("change", [{"data": 2}, {"recipe": "another model"}])
def test_a_forecast_from_other_data_or_another_model_is_made_again(change):
    made = {"2026-03-04": forecast("2026-03-04", **change)}
    assert asked(Sensor().tick(dataset(datetime(2026, 3, 4)), made)) == [("forecasts", "2026-03-04", "2026-03-04", 1)]


def test_data_beyond_the_last_partition_is_forecast_from_there():
    for end in (datetime(2026, 3, 3), datetime(2026, 3, 3, 12)):
        plan = Sensor().tick(dataset(datetime(2026, 3, 4, 5)), windows=replace(DAYS, end=end))
        assert asked(plan) == [("forecasts", "2026-03-02", "2026-03-02", 1)]


def test_data_without_a_partition_is_reported():
    early = Sensor().tick(dataset(datetime(2025, 12, 31), first=datetime(2025, 1, 1)))
    assert not early.requests
    assert "before the first partition: set CHRONOS_PARTITION_START" in early.message
    late = Sensor().tick(dataset(datetime(2030, 1, 2), first=datetime(2030, 1, 1)))
    assert not late.requests
    assert "after the last partition, 2026-12-31" in late.message


def test_scores_are_asked_for_once_the_horizon_is_observed():
    made = {key: forecast(key) for key in ("2026-03-02", "2026-03-04")}
    last_step = made["2026-03-02"].last_step
    sensor = Sensor()
    assert not sensor.tick(dataset(last_step - timedelta(hours=1)), made).requests
    plan = sensor.tick(dataset(last_step), made)
    assert asked(plan) == [("forecast_accuracy", "2026-03-02", "2026-03-02", 1)]
    assert "2026-03-02: the horizon is observed" in plan.message
    scores = {"2026-03-02": AccuracyState(made["2026-03-02"].version, "data 1")}
    assert "every observed forecast has its scores" in sensor.tick(dataset(last_step), made, scores).message


def test_windows_side_by_side_are_scored_in_one_run_newest_first_and_not_too_many():
    made = {key: forecast(key) for key in [*days("2026-03-01", 5), *days("2026-03-10", 10)]}
    last = datetime(2026, 6, 1)
    made["2026-06-01"] = forecast("2026-06-01")
    sensor = Sensor(max_partitions=8, max_ranges=2)
    plan = sensor.tick(dataset(last), made)
    assert asked(plan) == [
        ("forecast_accuracy", "2026-03-12", "2026-03-19", 1),
        ("forecast_accuracy", "2026-03-10", "2026-03-11", 1),
    ]
    running = {plan.requests[0].run_key: RUNNING}
    assert not sensor.tick(dataset(last), made, runs=running).requests
    scores = {key: AccuracyState(made[key].version, "data 1") for key in days("2026-03-10", 10)}
    assert asked(sensor.tick(dataset(last), made, scores)) == [("forecast_accuracy", "2026-03-01", "2026-03-05", 1)]


def test_new_data_has_the_newest_scored_again_and_a_new_forecast_any():
    keys = list(days("2026-03-01", 10))
    made = {key: forecast(key) for key in keys}
    scores = {key: AccuracyState(made[key].version, "data 1") for key in keys}
    made["2026-06-01"] = forecast("2026-06-01", data=2)
    data = dataset(datetime(2026, 6, 1), number=2)
    assert asked(Sensor(revisit=3).tick(data, made, scores)) == [("forecast_accuracy", "2026-03-08", "2026-03-10", 1)]
    assert asked(Sensor(revisit=0).tick(data, made, scores)) == []
    assert asked(Sensor(revisit=None).tick(data, made, scores)) == [
        ("forecast_accuracy", "2026-03-01", "2026-03-10", 1)
    ]
    made["2026-03-02"] = forecast("2026-03-02", version="made by hand")
    plan = Sensor(revisit=0).tick(data, made, scores)
    assert asked(plan) == [("forecast_accuracy", "2026-03-02", "2026-03-02", 1)]
    assert "the forecast was rebuilt" in plan.requests[0].reason


def test_forecasts_of_another_cadence_or_before_the_first_partition_are_left_alone():
    other = plain(FIRST)
    made = {"2026-03-01-10:00": other, "1999-01-01": other, "2026-03-04": forecast("2026-03-04")}
    assert not Sensor().tick(dataset(datetime(2026, 3, 4)), made).requests


def test_a_partition_that_cannot_be_scored_keeps_no_others_back():
    sensor = Sensor(max_partitions=64)
    made = {key: forecast(key) for key in days("2026-02-01", 40)}
    made["2026-06-01"] = forecast("2026-06-01")
    scores, runs, asked_for = {}, {}, []
    for _ in range(200):
        plan = sensor.tick(dataset(datetime(2026, 6, 1)), made, scores, runs)
        runs = {}
        for request in plan.requests:
            keys = [key for key in made if request.first <= key <= request.last]
            asked_for.append((len(keys), request.attempt))
            if "2026-02-20" in keys:
                runs[request.run_key] = RunState(RunStatus.FAILED, "2026-02-20: the file is broken")
            else:
                scores |= {key: AccuracyState(made[key].version, "data 1") for key in keys}
    assert set(made) - set(scores) == {"2026-02-20", "2026-06-01"}
    assert "gave up on forecast_accuracy of 1 partition (2026-02-20) after 3 runs" in plan.message
    assert "the last with: 2026-02-20: the file is broken" in plan.message
    assert len(asked_for) < 40
    made["2026-02-20"] = forecast("2026-02-20", version="fixed")
    assert asked(sensor.tick(dataset(datetime(2026, 6, 1)), made, scores)) == [
        ("forecast_accuracy", "2026-02-20", "2026-02-20", 1)
    ]


def test_a_forecast_that_fails_is_tried_again_after_pauses_and_then_left_to_people():
    sensor = Sensor()
    runs, made = {}, []
    for tick in range(40):
        plan = sensor.tick(dataset(datetime(2026, 3, 4)), runs=runs)
        made += [(tick, request.attempt) for request in plan.requests]
        runs = {request.run_key: RunState(RunStatus.FAILED, "no model") for request in plan.requests}
    assert made == [(0, 1), (2, 2), (6, 3)]
    assert "gave up on forecasts of 1 partition (2026-03-04) after 3 runs, the last with: no model" in plan.message
    assert asked(sensor.tick(dataset(datetime(2026, 3, 4), number=2))) == [("forecasts", "2026-03-04", "2026-03-04", 1)]


def test_a_tick_repeated_after_a_crash_asks_for_the_same_runs():
    made = {key: forecast(key) for key in days("2026-03-01", 3)}
    plans = [Sensor().tick(dataset(datetime(2026, 6, 1)), made) for _ in range(2)]
    assert len(plans[0].requests) == 2
    assert plans[0] == plans[1]


def test_data_that_comes_back_asks_under_a_new_key():
    keys = [
        Sensor().tick(replace(dataset(datetime(2026, 3, 4)), id=f"import {number}")).requests[0].run_key
        for number in range(2)
    ]
    assert len(set(keys)) == 2


@pytest.mark.parametrize(
    "cursor", ["x", "[]", '{"version":2}', '{"version":1,"tries":{"a":1}}', '{"version":1,"pending":3}']
)
def test_a_cursor_that_cannot_be_read_starts_afresh_and_says_so(cursor):
    sensor = Sensor()
    sensor.cursor = cursor
    assert requested_run_keys(cursor) == ()
    plan = sensor.tick(dataset(datetime(2026, 3, 4)))
    assert len(plan.requests) == 1
    assert "cursor can't be read" in plan.message


@pytest.mark.process
def test_the_cursor_stays_small_with_thousands_of_partitions_that_fail():
    sensor = Sensor(max_partitions=1000, max_ranges=5, max_attempts=2)
    made = {
        window.key: plain(window.end)
        for window in (window_of(FIRST + timedelta(hours=hour), "hourly") for hour in range(1500))
    }
    runs = {}
    for _ in range(25):
        plan = sensor.tick(dataset(END), made, windows=replace(DAYS, cadence="hourly"), runs=runs)
        runs = {request.run_key: RunState(RunStatus.FAILED, "broken " * 200) for request in plan.requests}
        assert len(plan.cursor) < 64_000
    assert len(json.loads(plan.cursor)["tries"]) <= MAX_TRIES


SHOWN = [
    ("what saw data that are gone", {"context_end": datetime(2026, 3, 5)}, True),
    ("what saw less", {"context_end": datetime(2026, 3, 3, 23)}, True),
    ("what is of other data", {"data_version": "data 0"}, True),
    ("what another model made", {"recipe": "other"}, True),
    ("a partition beyond the data, of the same data and model", {"version": "2026-06-01/1/model"}, False),
    ("the forecast itself", {}, False),
]


@pytest.mark.parametrize(("what", "changes", "due"), SHOWN, ids=[case[0] for case in SHOWN])
def test_what_is_shown_is_held_against_the_data_that_are_there(what, changes, due):
    data = dataset(datetime(2026, 3, 4, 23))
    made = {"2026-03-04": forecast("2026-03-04")}
    plan = Sensor().tick(data, made, shown=replace(made["2026-03-04"], **changes))
    assert asked(plan) == ([("forecasts", "2026-03-04", "2026-03-04", 1)] if due else [])
    assert ("what is shown is not the forecast of the data that are there" in plan.message) == due


def test_a_forecast_that_is_not_shown_at_all_is_made_again_and_one_of_nothing_is_not():
    data = dataset(datetime(2026, 3, 4, 23))
    made = {"2026-03-04": forecast("2026-03-04")}
    assert len(Sensor().tick(data, made, shown=None).requests) == 1
    empty = {"2026-03-04": replace(made["2026-03-04"], series=0)}
    assert not Sensor().tick(data, empty, shown=None).requests


# --- random histories -------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """A run of a range of partitions."""

    kind: str
    keys: tuple[str, ...]
    state: RunState = RUNNING
    remembered: bool = False


class History(RuleBasedStateMachine):
    """Imports, backfills, runs that fail, and a sensor that crashes."""

    @initialize(revisit=st.sampled_from([None, 0, 3]), partitions=st.sampled_from([2, 64]))
    def start(self, revisit, partitions):
        self.policy = DataPolicy(max_partitions=partitions, max_ranges=2, revisit=revisit)
        self.data = dataset(FIRST + timedelta(days=3), number=0)
        self.imports = 0
        self.made = 0
        self.recipe = "model"
        self.forecasts = {}
        self.shown = None
        self.accuracy = {}
        self.runs: dict[str, Run] = {}
        self.cursor = None
        self.launched: list[str] = []
        self.broken = ""

    @rule(day=st.integers(0, 20), same=st.booleans())
    def data_is_imported(self, day, same):
        self.imports += 1
        last = self.data.last if same else FIRST + timedelta(days=day, hours=5)
        version = self.data.data_version if same else f"data {self.imports}"
        self.data = DatasetState(f"import {self.imports}", version, FIRST, last)
        event("the same data was imported again" if same else "data was imported")

    def make(self, kind, keys):
        for key in keys:
            self.made += 1
            if kind == "forecasts":
                window = window_for_key(key, "daily")
                context_end = min(window.end - timedelta(hours=1), self.data.last)
                self.forecasts[key] = ForecastState(
                    f"f{self.made}", self.data.data_version, self.recipe, context_end + HORIZON, context_end
                )
            elif key in self.forecasts and self.forecasts[key].last_step <= self.data.last:
                self.accuracy[key] = AccuracyState(self.forecasts[key].version, self.data.data_version)
        if kind == "forecasts":
            self.publish(max(keys))

    def publish(self, key):
        """As the asset does with the newest of its partitions."""
        gone = self.shown is not None and self.shown.context_end > self.data.last
        main = key == window_of(self.data.last, "daily").key
        if self.shown is None or self.shown.context_end <= self.forecasts[key].context_end or (gone and main):
            self.shown = self.forecasts[key]

    @rule()
    def somebody_deletes_the_current_forecast(self):
        self.shown = None

    @rule(day=st.integers(0, 18), count=st.integers(1, 4))
    def people_backfill(self, day, count):
        event("a backfill by hand")
        self.make("forecasts", list(days(window_of(FIRST + timedelta(days=day), "daily").key, count)))

    @rule(what=st.sampled_from(["recipe", "cursor", "purge", "broken", "fixed"]), day=st.integers(0, 20))
    def something_else_happens(self, what, day):
        event(f"something else: {what}")
        if what == "recipe":
            self.recipe += "'"
        elif what == "cursor":
            self.cursor = None
            for run in self.runs.values():
                run.remembered = False
        elif what == "purge":
            self.runs = {key: run for key, run in self.runs.items() if run.state == RUNNING}
        else:
            moment = self.data.last if day % 2 else FIRST + timedelta(days=day)
            self.broken = window_of(moment, "daily").key if what == "broken" else ""

    @rule(outcome=st.sampled_from(["succeeds", "succeeds", "fails", "canceled"]))
    def a_run_ends(self, outcome):
        for run in [run for run in self.runs.values() if run.state == RUNNING][:1]:
            self.end(run, outcome)

    def end(self, run, outcome="succeeds"):
        if outcome == "succeeds" and self.broken not in run.keys:
            self.make(run.kind, run.keys)
            run.state = RunState(RunStatus.SUCCEEDED)
        else:
            run.state = RunState(RunStatus.CANCELED if outcome == "canceled" else RunStatus.FAILED, "reason")
        event(f"a run {run.state.status}")

    def tick(self, crash=False):
        runs = {key: self.runs[key].state for key in requested_run_keys(self.cursor) if key in self.runs}
        plan = plan_new_data(
            self.data,
            self.forecasts,
            self.accuracy,
            self.cursor,
            runs=runs,
            recipe=self.recipe,
            windows=DAYS,
            shown=self.shown,
            policy=self.policy,
        )
        assert plan.message
        for request in plan.requests:
            keys = tuple(days(request.first, 100))
            keys = keys[: keys.index(request.last) + 1]
            assert len(keys) <= self.policy.max_partitions
            for key in keys:
                self.check_due(request.kind, key)
            assert not any(
                run.kind == request.kind and run.remembered and run.state == RUNNING for run in self.runs.values()
            )
            if request.run_key not in self.runs:
                self.launched.append(request.kind)
                self.runs[request.run_key] = Run(request.kind, keys)
        if not crash:
            self.cursor = plan.cursor
            for key in requested_run_keys(self.cursor):
                if key in self.runs:
                    self.runs[key].remembered = True
        return plan

    def check_due(self, kind, key):
        """Nothing is asked for that already exists."""
        if kind == "forecasts":
            assert key == window_of(self.data.last, "daily").key
            seen = self.forecasts.get(key)
            made = seen is not None and (seen.data_version, seen.recipe) == (self.data.data_version, self.recipe)
            assert not made or not self.shown_is_right()
        else:
            assert self.forecasts[key].last_step <= self.data.last
            assert self.accuracy.get(key) != AccuracyState(self.forecasts[key].version, self.data.data_version)

    @rule(number=st.integers(1, 4))
    def sensor_ticks(self, number):
        for _ in range(number):
            self.tick()

    @rule()
    def sensor_crashes(self):
        event("a crash")
        self.tick(crash=True)

    @invariant()
    def cursor_is_small(self):
        assert len(getattr(self, "cursor", None) or "") < 64_000

    def teardown(self):
        if not getattr(self, "data", None):
            return
        self.quiet_down()
        if self.left():
            # Only what failed as often as it may; an import brings it back.
            event("in the end: given up, and made after an import")
            self.broken = ""
            self.data_is_imported(20, same=False)
            self.quiet_down()
        assert not self.left()
        event("in the end: all made")

    def quiet_down(self):
        for run in self.runs.values():
            if run.state == RUNNING:
                self.end(run)
        launched = len(self.launched)
        for _ in range(60):
            plan = self.tick()
            for run in self.runs.values():
                if run.state == RUNNING:
                    self.end(run)
        assert not plan.requests
        if not self.broken:
            assert self.launched[launched:].count("forecasts") <= 1, "forecast twice"
        if self.left():
            assert "gave up" in plan.message

    def shown_is_right(self):
        """Whether what is shown is what a fresh import of these data would show."""
        right = (self.data.last, self.data.data_version, self.recipe)
        shown = self.shown
        return shown is not None and (shown.context_end, shown.data_version, shown.recipe) == right

    def left(self):
        key = window_of(self.data.last, "daily").key
        seen = self.forecasts.get(key)
        left = [] if seen and (seen.data_version, seen.recipe) == (self.data.data_version, self.recipe) else [key]
        left += [] if self.shown_is_right() or left else [key]
        for key, made in self.forecasts.items():
            scores = self.accuracy.get(key)
            if made.last_step <= self.data.last and (scores is None or scores.forecast != made.version):
                left.append(key)
        return left


TestHistories = pytest.mark.process(History.TestCase)  # takes seconds
TestHistories.settings = settings(stateful_step_count=30)
