"""The plan of the train files' sensor: examples of each rule, and a machine of random histories.

`pytest --hypothesis-show-statistics` tells how many histories ran and what happened in them.
"""

import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chronos_assets.planning import imports
from chronos_assets.planning.cursor import RunState, RunStatus, ticks
from chronos_assets.planning.imports import ImportRecord, TrainPolicy, plan_train_files, requested_run_key, resume_after
from chronos_assets.planning.listing import listing_digest
from chronos_assets.platforms.store import ObjectInfo

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = TrainPolicy(settle_ticks=1, max_wait_ticks=5, max_attempts=3)
RUNNING, SUCCEEDED, FAILED = (RunState(status) for status in (RunStatus.RUNNING, RunStatus.SUCCEEDED, RunStatus.FAILED))


def info(key, etag="e", seconds=0.0, size=1):
    return ObjectInfo(f"train/{key}", size, etag, NOON + timedelta(seconds=seconds))


class Sensor:
    """A sensor that keeps its cursor, as Dagster would."""

    def __init__(self, policy=POLICY):
        self.cursor = None
        self.policy = policy

    def tick(self, *infos, imported=None, last_run=None, **more):
        plan = plan_train_files(infos, self.cursor, imported=imported, last_run=last_run, policy=self.policy, **more)
        self.cursor = plan.cursor
        return plan


def requested(plan):
    (request,) = plan.requests
    return request


def test_a_new_file_is_imported_once_it_has_settled():
    sensor = Sensor()
    first = sensor.tick(info("a.csv"))
    assert not first.requests
    assert first.message == (
        "1 file, newest train/a.csv in train/, none imported yet: waiting until nothing changes any more"
    )
    request = requested(sensor.tick(info("a.csv")))
    content = listing_digest([info("a.csv")])
    assert request.content == content
    assert request.attempt == 1
    assert sensor.tick(info("a.csv"), last_run=RUNNING).message.endswith(
        "waiting for the end of the import that is running"
    )
    done = sensor.tick(info("a.csv"), last_run=SUCCEEDED, imported=ImportRecord(content, "run 1"))
    assert not done.requests
    assert done.message == "nothing new in train/: 1 file, newest train/a.csv, all imported"


def test_a_batch_of_files_makes_one_run():
    sensor = Sensor(replace(POLICY, max_wait_ticks=50))
    files = [info(f"{number}.csv") for number in range(20)]
    for number in range(1, 21):
        assert not sensor.tick(*files[:number]).requests
    assert requested(sensor.tick(*files)).content == listing_digest(files)


def test_files_that_change_all_the_time_are_imported_in_the_end():
    sensor = Sensor()
    made = [bool(sensor.tick(info("a.csv", etag=str(number))).requests) for number in range(POLICY.max_wait_ticks)]
    assert made == [False] * (POLICY.max_wait_ticks - 1) + [True]


def test_nothing_to_import_is_said_as_it_is():
    sensor = Sensor()
    empty = sensor.tick(info(""), info("a.csv.part"), info("b.csv", size=0))
    assert empty.message == (
        "no files in train/ yet: put *.csv, *.csv.gz or *.parquet files there; "
        "ignored: 1 empty (b.csv), 1 temporary (a.csv.part)"
    )
    gone = sensor.tick(imported=ImportRecord(listing_digest([info("a.csv")]), "run 1"))
    assert gone.message == "no files in train/ any more: the dataset stays as it is"


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ([info("a.csv"), info("b.csv", seconds=-(10**9))], "changes to files with other modification times"),
        ([info("a.csv"), info("b.csv", seconds=10**9)], "1 new (b.csv)"),
        ([info("a.csv"), info("b.csv")], "1 new (b.csv)"),
        ([info("a.csv", etag="f")], "1 changed (a.csv)"),
        ([info("b.csv")], "1 new (b.csv), 1 deleted (a.csv)"),
    ],
    ids=["time in the past", "time in the future", "same second", "rewritten with the same time", "renamed"],
)
def test_a_change_is_found_whatever_its_modification_time(after, words):
    sensor = Sensor()
    imported = ImportRecord(listing_digest([info("a.csv")]), "run 1")
    sensor.tick(info("a.csv"), imported=imported)
    assert not sensor.tick(*after, imported=imported).requests
    request = requested(sensor.tick(*after, imported=imported))
    assert request.reason == f"train/: {words}"
    assert request.content == listing_digest(after)


def test_a_dataset_that_is_outdated_is_imported_again_though_nothing_changed():
    sensor = Sensor()
    imported = ImportRecord(listing_digest([info("a.csv")]), "run 1", params="p")
    assert not sensor.tick(info("a.csv"), imported=imported, params="p").requests
    outdated = replace(imported, outdated="too few shards")
    # It has settled long ago.
    assert requested(sensor.tick(info("a.csv"), imported=outdated, params="p")).reason == "too few shards"
    done = sensor.tick(info("a.csv"), imported=replace(imported, id="run 2"), params="p", last_run=SUCCEEDED)
    assert done.message.startswith("nothing new in train/")
    # A sensor that has just begun says the same.
    fresh = Sensor()
    fresh.tick(info("a.csv"), imported=outdated, params="p")
    assert requested(fresh.tick(info("a.csv"), imported=outdated, params="p")).reason == "too few shards"


def test_a_change_of_the_parameters_is_imported_too():
    sensor = Sensor()
    imported = ImportRecord(listing_digest([info("a.csv")]), "run 1", params="p")
    assert not sensor.tick(info("a.csv"), imported=imported, params="p").requests
    sensor.tick(info("a.csv"), imported=imported, params="q")
    assert requested(sensor.tick(info("a.csv"), imported=imported, params="q")).reason == "params.json changed"


@pytest.mark.parametrize(("now", "words"), [("q", "params.json changed"), ("p+2", "files of covariates changed")])
def test_what_changed_beside_the_train_files_is_said_by_a_sensor_that_never_saw_them_quiet(now, words):
    sensor = Sensor()
    imported = ImportRecord(listing_digest([info("a.csv")]), "run 1", params="p+1")
    assert not sensor.tick(info("a.csv"), imported=imported, params=now).requests
    assert requested(sensor.tick(info("a.csv"), imported=imported, params=now)).reason == words


def test_content_that_comes_back_is_imported_again_under_a_new_key():
    sensor = Sensor()
    contents = {"one": [info("a.csv")], "two": [info("a.csv"), info("b.csv")]}
    imported, keys = None, []
    for number, name in enumerate(["one", "two", "one", "two", "one"]):
        sensor.tick(*contents[name], imported=imported, last_run=SUCCEEDED)
        request = requested(sensor.tick(*contents[name], imported=imported, last_run=SUCCEEDED))
        keys.append(request.run_key)
        assert request.attempt == 1
        imported = ImportRecord(listing_digest(contents[name]), f"run {number}")
    assert len(set(keys)) == 5


def test_a_failed_import_is_tried_again_after_pauses_and_then_left_to_people():
    sensor = Sensor()
    failed = RunState(RunStatus.FAILED, reason="disk full")
    attempts = []
    for tick in range(60):
        plan = sensor.tick(info("a.csv"), last_run=failed)
        attempts += [(tick, request.attempt) for request in plan.requests]
    assert attempts == [(1, 1), (4, 2), (9, 3)]
    assert "3 runs of it failed, the last with: disk full; change a file, or run the import by hand" in plan.message
    sensor.tick(info("a.csv", etag="fixed"), last_run=failed)
    assert requested(sensor.tick(info("a.csv", etag="fixed"), last_run=failed)).attempt == 1


def test_an_import_that_would_fail_again_waits_for_a_change():
    sensor = Sensor()
    bad_rows = RunState(RunStatus.FAILED, reason="a.csv, line 3: 'x' is not a number", retry=False)
    requests = [request for _ in range(30) for request in sensor.tick(info("a.csv"), last_run=bad_rows).requests]
    assert len(requests) == 1
    sensor.tick(info("a.csv", etag="fixed"), last_run=bad_rows)
    assert requested(sensor.tick(info("a.csv", etag="fixed"), last_run=bad_rows)).attempt == 1


@pytest.mark.parametrize(
    ("last_run", "words"),
    [
        (RunState(RunStatus.CANCELED), "3 runs of it ended early"),
        (None, "3 runs of it can't be found any more"),
        (SUCCEEDED, "3 runs imported other files than those listed"),
    ],
)
def test_runs_without_effect_do_not_go_on_for_ever(last_run, words):
    sensor = Sensor()
    made = []
    for number in range(60):
        # Whatever succeeds imports something else each time, as on a file system that gives new etags at every look.
        imported = ImportRecord(f"other {number}", f"run {number}") if last_run == SUCCEEDED else None
        plan = sensor.tick(info("a.csv"), last_run=last_run, imported=imported)
        made += plan.requests
    assert [request.attempt for request in made] == [1, 2, 3]
    assert len({request.run_key for request in made}) == 3
    assert words in plan.message


def test_a_run_that_imported_more_than_was_listed_needs_no_other():
    sensor = Sensor()
    sensor.tick(info("a.csv"))
    sensor.tick(info("a.csv"))
    both = [info("a.csv"), info("b.csv")]
    plans = [
        sensor.tick(*both, last_run=RUNNING),
        *(
            sensor.tick(*both, last_run=SUCCEEDED, imported=ImportRecord(listing_digest(both), "run 1"))
            for _ in range(5)
        ),
    ]
    assert not any(plan.requests for plan in plans)


def test_an_import_by_hand_is_seen():
    sensor = Sensor()
    imported = ImportRecord(listing_digest([info("a.csv")]), "by hand")
    plans = [sensor.tick(info("a.csv"), imported=imported) for _ in range(5)]
    assert not any(plan.requests for plan in plans)


def at(second):
    """A moment of the clock, for `now`."""
    return NOON.timestamp() + second


BY_CLOCK = TrainPolicy(settle_ticks=5, settle_seconds=10.0, max_wait_ticks=50)


def test_a_listing_settles_by_the_clock_where_ticks_are_slower_than_asked_for():
    sensor = Sensor(BY_CLOCK)
    assert not sensor.tick(now=at(0)).requests
    assert not sensor.tick(info("a.csv", seconds=1), now=at(4)).requests
    assert not sensor.tick(info("a.csv", seconds=1), now=at(10.9)).requests
    assert requested(sensor.tick(info("a.csv", seconds=1), now=at(11.1)))


@pytest.mark.parametrize("second", [-3600, 3600])
def test_a_file_that_kept_another_time_has_settled_since_it_was_first_seen(second):
    """`mv` and `cp -p` keep times, and another machine's clock may be ahead."""
    sensor = Sensor(BY_CLOCK)
    sensor.tick(now=at(0))
    sensor.tick(info("a.csv", seconds=second), now=at(4))
    assert not sensor.tick(info("a.csv", seconds=second), now=at(13.9)).requests
    assert requested(sensor.tick(info("a.csv", seconds=second), now=at(14.1)))


def test_a_file_that_grows_settles_after_its_last_change_and_one_look_is_never_enough():
    sensor = Sensor(BY_CLOCK)
    sensor.tick(now=at(0))
    sensor.tick(info("a.csv", "1", seconds=1), now=at(2))
    sensor.tick(info("a.csv", "2", seconds=30), now=at(60))
    assert not sensor.tick(info("a.csv", "3", seconds=61), now=at(90)).requests
    assert requested(sensor.tick(info("a.csv", "3", seconds=61), now=at(90.5)))


def test_where_the_clock_is_set_back_ticks_count():
    sensor = Sensor(BY_CLOCK)
    sensor.tick(info("a.csv"), now=at(3600))
    plans = [sensor.tick(info("a.csv"), now=at(second)) for second in (0, 2, 4, 6, 8)]
    assert [bool(plan.requests) for plan in plans] == [False, False, False, False, True]


def test_each_settled_content_is_observed_once():
    sensor = Sensor()
    imported = ImportRecord(listing_digest([info("a.csv")]), "run 1")
    seen = [sensor.tick(info("a.csv"), imported=imported).observed for _ in range(4)]
    assert [bool(observed) for observed in seen] == [False, True, False, False]
    assert seen[1].content == imported.content
    assert (seen[1].files, seen[1].size, seen[1].newest) == (1, 1, "train/a.csv")


@pytest.mark.parametrize(
    "cursor",
    [
        "garbage",
        "[]",
        "null",
        '{"version":99}',
        '{"version":1,"imported":{"total":"xyz"}}',
        '{"version":1,"imported":[1]}',
        '{"version":1,"requested":{"a":1}}',
        '{"version":1,"requested":7}',
        '{"version":1,"quiet":"x"}',
        '{"version":1,"scan":{"total":"1"}}',
        '{"version":1,"scan":[1,2]}',
        '{"version":1,"scan":{"total":"1","files":1,"size":1,"high":1,"recent":{},"floor":[1,"a"]}}',
    ],
)
def test_a_cursor_that_cannot_be_read_starts_afresh_and_says_so(cursor):
    sensor = Sensor()
    sensor.cursor = cursor
    assert requested_run_key(cursor) is None
    assert resume_after(cursor) is None
    first = sensor.tick(info("a.csv"))
    assert "cursor can't be read" in first.message
    assert requested(sensor.tick(info("a.csv"))).attempt == 1


def test_a_tick_repeated_after_a_crash_asks_for_the_same_run():
    sensor = Sensor()
    sensor.tick(info("a.csv"))
    before = sensor.cursor
    first = requested(sensor.tick(info("a.csv")))
    sensor.cursor = before
    assert requested(sensor.tick(info("a.csv"))).run_key == first.run_key


def test_the_cursor_remembers_times_and_etags_of_the_newest_files_and_stays_small():
    sensor = Sensor()
    files = [info(f"{number:06d}-{'k' * 200}.csv", f"{number:032x}", number) for number in range(3000)]
    imported = ImportRecord(listing_digest(files), "run 1")
    sensor.tick(*files, imported=imported)
    sensor.tick(*files, info("z.csv", seconds=5000), imported=imported)
    document = json.loads(sensor.cursor)
    assert document["version"] == 1
    assert document["imported"]["high"] == int((NOON + timedelta(seconds=2999)).timestamp() * 1_000_000)
    assert files[-1].key in document["imported"]["recent"]
    assert len(sensor.cursor) < 64_000


def steps(limit):
    """A deadline that comes after `limit` looks at the time."""
    looks = iter(range(limit))
    return lambda: next(looks, None) is None


def test_a_huge_prefix_is_listed_over_several_ticks():
    sensor = Sensor()
    files = [info(f"{number:06d}.csv", str(number)) for number in range(2000)]
    messages = []
    for _ in range(12):
        after = resume_after(sensor.cursor)
        page = [item for item in files if after is None or item.key > after]
        plan = sensor.tick(*page, out_of_time=steps(1), resumable=True)
        messages.append(plan.message)
        if plan.requests:
            break
    assert requested(plan).content == listing_digest(files)
    assert "512 objects so far, continues after train/000511.csv" in messages[0]
    assert len(sensor.cursor) < 64_000


def test_a_store_that_lists_in_any_order_cannot_go_on_and_says_so():
    sensor = Sensor()
    files = [info(f"{number:06d}.csv") for number in range(2000, 0, -1)]
    for resumable in (True, False):
        plan = sensor.tick(*files, out_of_time=steps(1), resumable=resumable)
        assert "give the sensor more time" in plan.message
        assert resume_after(sensor.cursor) is None


def test_ticks_span_a_duration():
    assert [ticks(timedelta(seconds=s), timedelta(seconds=15)) for s in (0, 1, 15, 16)] == [0, 1, 1, 2]


# --- random histories -------------------------------------------------------------------------------------------------

DATA = ["a.csv", "b.csv", "sub/c.parquet", "d.csv.gz", "e.csv"]
NAMES = [*DATA, "_SUCCESS", "f.csv.part", "empty.csv"]
TIMES = st.sampled_from([0, 0, 1, 1, 2, -5, -100_000, 10_000_000])  # same second, out of order, skewed
LIMITS = st.sampled_from([None, None, None, 1, 2, 3])
LOST_CURSORS = st.sampled_from([None, "", "{", '{"version":0}'])


@dataclass
class Run:
    """An import: it lists when it starts, and publishes when it ends."""

    params: str  # when requested, then when started
    requested: str = ""  # content it was requested for
    content: str | None = None  # digest of the files it listed, once it started
    files: frozenset[tuple[str, str]] = frozenset()
    status: RunStatus = RunStatus.RUNNING
    retry: bool = True
    remembered: bool = False  # by the sensor's cursor


class History(RuleBasedStateMachine):
    """A store, runs and a sensor that crashes, against the plan. Every listing is taken in order of keys."""

    QUIET_TICKS = 20  # without a change, after which all is done

    def __init__(self):
        super().__init__()
        # Time may run out between any two of the few files.
        self.look_always = mock.patch.object(imports, "DEADLINE_EVERY", 1)
        self.look_always.start()

    @initialize(local=st.booleans(), settle=st.sampled_from([0, 1, 2]), wait=st.sampled_from([3, 6]))
    def start(self, local, settle, wait):
        self.local = local  # etags of a file system change with the time, those of S3 with the content
        self.policy = TrainPolicy(
            settle_ticks=settle, max_wait_ticks=wait, max_attempts=3, overlap=timedelta(seconds=3)
        )
        self.files = {}
        self.params = "p0"
        self.writes = 0
        self.runs: dict[str, Run] = {}
        self.without_effect: Counter[tuple[str, str]] = Counter()
        self.imported = None
        self.imported_files = None
        self.imports = 0
        self.cursor = None
        self.launched = 0
        self.failed_for_good = False

    # the store

    def object(self, name):
        content, seconds = self.files[name]
        etag = f"{content}@{seconds}" if self.local else str(content)
        return info(name, etag, seconds, size=0 if name == "empty.csv" else 1)

    def listing(self):
        return [self.object(name) for name in sorted(self.files)]

    def truth(self):
        """What an import would read, as names and etags: independent of any digest."""
        return frozenset((item.key, item.etag) for item in self.listing() if item.key.removeprefix("train/") in DATA)

    def digest(self):
        return listing_digest(self.listing())

    def write(self, name, seconds):
        self.writes += 1
        self.files[name] = (self.writes, seconds)

    @rule(
        change=st.sampled_from(["write", "write", "touch", "rewrite with the same time", "delete", "rename"]),
        name=st.sampled_from(NAMES),
        to=st.sampled_from(NAMES),
        seconds=TIMES,
    )
    def files_change(self, change, name, to, seconds):
        if name not in self.files or change == "write":
            event("a new file" if name not in self.files else "another file of the same name")
            self.write(name, seconds)
            return
        event(f"a file: {change}")
        if change == "touch":
            self.files[name] = (self.files[name][0], seconds)
        elif change == "delete":
            del self.files[name]
        elif change == "rename":
            self.files[to] = self.files.pop(name)
        else:
            self.write(name, self.files[name][1])

    # the runs

    def running(self, started):
        return [r for r in self.runs.values() if r.status == RunStatus.RUNNING and (r.content is not None) == started]

    @rule(outcome=st.sampled_from(["starts", "starts", "succeeds", "succeeds", "fails", "fails for good", "canceled"]))
    def a_run(self, outcome):
        for run in self.running(started=outcome == "succeeds")[:1]:
            event(f"a run {outcome}")
            if outcome == "starts":
                self.begin(run)
            elif outcome == "succeeds":
                self.publish(run)
            else:
                run.status = RunStatus.CANCELED if outcome == "canceled" else RunStatus.FAILED
                run.retry = outcome != "fails for good"
                self.failed_for_good |= not run.retry

    def begin(self, run):
        run.content, run.files, run.params = self.digest(), self.truth(), self.params

    def publish(self, run):
        run.status = RunStatus.SUCCEEDED
        if run.requested == run.content:
            self.without_effect[run.requested, run.params] -= 1
        self.imports += 1
        self.imported_files = run.files
        self.imported = ImportRecord(run.content, f"import {self.imports}", run.params)

    @rule(looks=st.integers(5, 25))
    def nothing_works_for_a_while(self, looks):
        event("every run failed for a while")
        for _ in range(looks):
            self.tick()
            for run in self.running(started=False) + self.running(started=True):
                run.status = RunStatus.FAILED

    @rule(what=st.sampled_from(["parameters", "purge", "by hand", "cursor", "cursor"]), cursor=LOST_CURSORS)
    def something_else_happens(self, what, cursor):
        event(f"something else: {what}")
        if what == "parameters":
            self.params = "p1" if self.params == "p0" else "p0"
        elif what == "purge":
            self.runs = {key: run for key, run in self.runs.items() if run.status == RunStatus.RUNNING}
        elif what == "cursor":
            self.cursor = cursor
            for run in self.runs.values():
                run.remembered = False
        elif self.files:
            run = Run(self.params)
            self.begin(run)
            self.publish(run)

    # the sensor

    def tick(self, limit=None, crash=None, change=None):
        """One evaluation; `crash` is where: before launching, or after it but before the cursor is saved."""
        key = requested_run_key(self.cursor)
        run = self.runs.get(key)
        imported, params = self.imported, self.params
        last_run = RunState(run.status, "reason", run.retry) if run else None
        after = resume_after(self.cursor)
        whole = after is None and limit is None and change is None

        def page():
            for number, name in enumerate(NAMES_IN_ORDER):
                if change is not None and number == len(NAMES_IN_ORDER) // 2:
                    change()
                if name in self.files and (after is None or f"train/{name}" > after):
                    yield self.object(name)

        plan = self.plan(
            page(),
            imported=imported,
            last_run=last_run,
            params=params,
            policy=self.policy,
            out_of_time=steps(limit) if limit else lambda: False,
            resumable=True,
        )
        assert plan.message
        assert len(plan.requests) <= 1
        for request in plan.requests:
            # Never what already exists, never beside a run that this sensor asked for.
            assert (imported.content, imported.params) != (request.content, params) if imported else True
            assert not any(r.remembered for r in self.running(started=True) + self.running(started=False))
            if whole:
                assert request.content == self.digest()
                assert (self.imported_files, imported.params if imported else None) != (self.truth(), params)
        if crash == "before launching":
            return plan
        for request in plan.requests:
            if request.run_key not in self.runs:  # as Dagster does
                self.launched += 1
                self.without_effect[request.content, self.params] += 1
                self.runs[request.run_key] = Run(self.params, requested=request.content)
        if crash is None:
            self.save(plan.cursor)
            if (key := requested_run_key(plan.cursor)) in self.runs:
                self.runs[key].remembered = True
        return plan

    def plan(self, listing, **seen):
        return plan_train_files(listing, self.cursor, **seen)

    def save(self, cursor):
        self.cursor = cursor

    @rule(number=st.integers(1, 4), limit=LIMITS)
    def sensor_ticks(self, number, limit):
        for _ in range(number):
            message = self.tick(limit).message
            event("a tick ran out of time" if "continues after" in message else "a tick")

    @rule(crash=st.sampled_from(["before launching", "before saving"]))
    def sensor_crashes(self, crash):
        event(f"a crash {crash}" + (" a request" if self.tick(crash=crash).requests else ""))

    @rule(name=st.sampled_from(NAMES), seconds=TIMES, gone=st.booleans())
    def files_change_while_listing(self, name, seconds, gone):
        def change():
            self.write(name, seconds)
            if gone:
                del self.files[name]

        event("a change while listing")
        self.tick(change=change)

    @invariant()
    def cursor_is_small_and_versioned(self):
        if getattr(self, "cursor", None) and self.cursor.startswith('{"version":1'):
            assert len(self.cursor) < 64_000
            json.loads(self.cursor)

    # what must hold in the end

    def teardown(self):
        self.look_always.stop()
        if not hasattr(self, "files"):
            return
        self.finish_runs()
        if self.quiet_down():
            event("in the end: imported, or nothing to import")
            return
        # Only what failed as often as it may is left, and any change brings it back.
        event("in the end: given up, and imported after a change")
        self.write("e.csv", 0)
        assert self.quiet_down()

    def finish_runs(self):
        for run in self.runs.values():
            if run.status == RunStatus.RUNNING:
                if run.content is None:
                    self.begin(run)
                self.publish(run)

    def quiet_down(self):
        """Tick without changes until nothing is asked for any more; whether the dataset is what is listed."""
        before, plan = self.launched, None
        for _ in range(self.QUIET_TICKS):
            plan = self.tick()
            self.finish_runs()
        assert self.launched - before <= 1, "imported twice"
        assert not plan.requests
        if not self.truth():
            assert self.launched == before
            return True
        if self.imported and (self.imported_files, self.imported.params) == (self.truth(), self.params):
            assert "all imported" in plan.message
            return True
        assert "run the import by hand" in plan.message, plan.message
        assert self.failed_for_good or self.without_effect[self.digest(), self.params] >= self.policy.max_attempts
        return False


NAMES_IN_ORDER = sorted(NAMES)

TestHistories = pytest.mark.process(History.TestCase)  # takes seconds
TestHistories.settings = settings(stateful_step_count=40)
