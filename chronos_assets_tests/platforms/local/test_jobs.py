"""Local jobs: a workload's folders, log, messages, failures and end, run through Dagster."""

import gc
import json
import os
import signal

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from chronos_assets.defs.failures import failures
from chronos_assets.platforms.jobs import JobRequest
from chronos_assets.platforms.local.jobs import LocalJobs
from chronos_assets.platforms.local.publishing import publish_directory
from chronos_assets.platforms.local.store import open_store
from chronos_assets.store_layout import JOBS_KEY
from chronos_assets_tests import forks
from chronos_assets_tests.workloads.test_contract import gone, wait_for

pytestmark = pytest.mark.usefixtures("both_ways")

PACKAGE = "chronos_assets_tests.platforms.local"


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "store")
    store.put("dataset/part-0", b"shard 0")
    store.put("dataset/part-1", b"shard 1")
    return store


@pytest.fixture
def jobs(store):
    return LocalJobs(store, package=PACKAGE, busy_seconds=0.3, grace_seconds=5.0)


def request(name="echo-1", **parameters):
    return JobRequest("echo", name, parameters, inputs={"dataset": "dataset"}, outputs=("copied",))


def run(jobs, job_request, use=lambda result: None):
    """Run a job inside an asset; the events' log and what `use` made of the result."""
    made = []

    @dg.asset
    def asset_with_a_job(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures(), jobs.run(context, job_request) as result:
            made.append(use(result))
        return dg.MaterializeResult(metadata={"seconds": result.seconds})

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([asset_with_a_job], instance=instance, raise_on_error=False)
        log = [record.user_message for record in instance.all_logs(done.run_id)]
    failed = [event.step_failure_data for event in done.get_step_failure_events()]
    return done.success, log, made[0] if made else None, failed[0] if failed else None


def read(result):
    return {path.name: path.read_text() for path in result.outputs["copied"].iterdir()}, result.messages


def test_a_job_reads_its_input_fills_its_output_and_reports(jobs, store):
    messages = [{"series": 3, "skipped": []}, {"name": "ü", "value": 0.25}]
    success, log, made, _ = run(jobs, request(text="hello", copy="dataset", messages=messages, progress=2), read)
    assert success
    assert made == ({"part-0": "shard 0", "part-1": "shard 1"}, tuple(messages))
    assert "echo hello" in log
    assert "series: 2 / 2 (100%)" in log
    assert list(store.local_path(JOBS_KEY).iterdir()) == []
    assert store.get("dataset/part-0") == b"shard 0"


def test_parameters_may_be_large_and_the_environment_is_small(jobs, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never")
    monkeypatch.setenv("CHRONOS_STORE", "s3://elsewhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    windows = [{"key": f"2026-01-{number:05d}", "end": "2026-01-01T00:00:00"} for number in range(10_000)]
    success, log, messages, _ = run(jobs, request(windows=windows, environment=True), lambda result: result.messages)
    assert success
    (message,) = messages
    assert message["parameters"] > 500_000
    assert message["environment"]["HF_HUB_OFFLINE"] == "1"
    assert not {"AWS_SECRET_ACCESS_KEY", "CHRONOS_STORE"} & set(message["environment"])
    assert max(len(line) for line in log) < 5_000


@pytest.mark.parametrize(
    ("end", "first_line", "last_lines"),
    [
        ("user error", "train/a.csv, line 3: 'x' is not a number; fix the file", "fix the file"),
        ("bug", "ZeroDivisionError: division by zero", "password***"),
        ("exit", "exit status 7 and no reason given", ""),
        ("killed", "killed by SIGKILL (was it out of memory? the system's log says)", "using a lot of memory"),
    ],
)
def test_a_failure_says_why_in_one_line_and_shows_the_end_of_stderr(jobs, store, end, first_line, last_lines):
    success, _, _, failure = run(jobs, request(end=end))
    assert not success
    description = failure.user_failure_data.description
    assert description.splitlines()[0] == f"echo job echo-1 failed: {first_line}"
    assert last_lines in description
    assert ("stderr" in description) == (end in ("bug", "killed"))  # where it says more than the reason
    assert "hunter22" not in description
    assert failure.user_failure_data.metadata["reason"].value == first_line
    folder = store.local_path(JOBS_KEY) / "echo-1"
    assert failure.user_failure_data.metadata["job_folder"].value == str(folder)
    assert json.loads((folder / "input/config/parameters.json").read_text()) == {"end": end}


def test_a_missing_program_is_a_failure_with_pythons_own_words(store):
    success, _, _, failure = run(LocalJobs(store, package=PACKAGE), JobRequest("nothing_here", "echo-1", {}))
    assert not success
    assert "No module named" in failure.user_failure_data.description


def test_a_missing_input_is_reported_before_anything_runs(jobs):
    success, _, _, failure = run(jobs, JobRequest("echo", "echo-1", {}, inputs={"dataset": "no/such"}))
    assert not success
    assert "nothing at" in failure.user_failure_data.description
    assert "no/such" in failure.user_failure_data.description


def test_parameters_that_are_not_json_are_refused(jobs):
    success, _, _, failure = run(jobs, request(value=float("nan")))
    assert not success
    assert "not JSON compliant" in failure.error.cause.message


def test_a_job_reads_the_version_that_was_shown_when_it_started(jobs, store, tmp_path):
    target = store.local_path("published")
    for text in ("1", "2"):
        staged = tmp_path / "staged"
        staged.mkdir()
        (staged / "a").write_text(text)
        publish_directory(target, staged)
    first = target.resolve()
    job = JobRequest(
        "echo",
        "echo-1",
        {"copy": "channel", "write": "kept"},
        inputs={"channel": "published"},
        outputs=("copied", "left"),
        objects={"files": (store.head("dataset/part-0"),)},
        stored=("left",),
    )

    def use(result):
        inputs = store.local_path(JOBS_KEY) / "echo-1" / "processing" / "input"
        assert (inputs / "files" / "dataset" / "part-0").read_text() == "shard 0"
        assert result.outputs.keys() == {"copied"}
        assert store.local_path(result.stored["left"]).is_dir()
        return os.readlink(inputs / "channel"), read(result)[0]

    assert run(jobs, job, use)[2] == (str(first), {"a": "2", "text": "kept"})


def test_outputs_stay_when_they_could_not_be_published(jobs, store):
    def fail(_result):
        raise RuntimeError("publishing failed")

    success, _, _, _ = run(jobs, request(write="kept"), fail)
    assert not success
    kept = store.local_path(JOBS_KEY) / "echo-1" / "processing" / "output" / "copied" / "text"
    assert kept.read_text() == "kept"
    assert run(jobs, request(copy="dataset"), read)[2][0] == {"part-0": "shard 0", "part-1": "shard 1"}


def test_a_second_run_of_the_same_name_is_refused_while_the_first_is_not_done(jobs, store):
    def run_again(_result):
        success, _, _, failure = run(jobs, request(write="second"))
        other, *_ = run(jobs, request("echo-2", write="second"))
        return success, failure.user_failure_data.description, other

    _, _, (success, description, other), _ = run(jobs, request(write="first"), run_again)
    assert not success
    assert "already running" in description
    assert other


def test_a_result_nobody_closed_does_not_block_its_name(jobs):
    @dg.op
    def forgets(context: dg.OpExecutionContext) -> None:
        jobs.run(context, request(write="x"))

    @dg.job
    def forgetful():
        forgets()

    gc.freeze()  # a collection looks at what this run leaves, not at all that the tests before left
    assert forgetful.execute_in_process().success
    gc.collect()
    assert run(jobs, request(write="y"), read)[2][0] == {"text": "y"}


@pytest.mark.parametrize("end", ["wait", "stubborn"])
def test_a_cancelled_run_ends_its_process_and_all_that_started(store, end):
    jobs = LocalJobs(store, package=PACKAGE, grace_seconds=0.5)
    running = store.local_path(JOBS_KEY) / "echo-1" / "processing" / "output" / "copied" / "running"

    class Interrupted:
        """Dagster's way to cancel: an exception in the main thread, here from a timer."""

        def __enter__(self):
            self.before = signal.signal(signal.SIGALRM, self.look)
            signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)

        def look(self, *_):
            if running.exists():
                signal.setitimer(signal.ITIMER_REAL, 0)
                raise DagsterExecutionInterruptedError

        def __exit__(self, *_):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.before)

    @dg.op
    def cancelled(context: dg.OpExecutionContext) -> None:
        with pytest.raises(DagsterExecutionInterruptedError), Interrupted():
            jobs.run(context, request(end=end))

    @dg.job
    def job():
        cancelled()

    assert job.execute_in_process().success
    assert all(gone(int(pid)) for pid in running.read_text().split())
    failure = running.parents[3] / "output" / "failure"
    assert failure.exists() == (end == "wait")
    assert run(LocalJobs(store, package=PACKAGE, busy_seconds=0), request(write="after"), read)[2][0] == {
        "text": "after"
    }


def test_a_killed_run_takes_its_process_with_it_and_the_next_run_of_the_name_cleans_up(store, tmp_path):
    script = (
        "import sys, dagster as dg\n"
        "from chronos_assets.platforms.jobs import JobRequest\n"
        "from chronos_assets.platforms.local.jobs import LocalJobs\n"
        "from chronos_assets.platforms.local.store import open_store\n"
        f"jobs = LocalJobs(open_store(sys.argv[1]), package={PACKAGE!r})\n"
        "@dg.op\n"
        "def waits(context):\n"
        "    jobs.run(context, JobRequest('echo', 'echo-1', {'end': 'stubborn'}, outputs=('copied',)))\n"
        "@dg.job\n"
        "def job(): waits()\n"
        "job.execute_in_process()\n"
    )
    copied = store.local_path(JOBS_KEY) / "echo-1" / "processing" / "output" / "copied"
    with forks.reading(forks.CODE, script, str(store.root), folder=tmp_path, environment=os.environ) as (launcher, _):
        pids = [int(pid) for pid in wait_for(copied / "running").split()]
        (copied / "half written").write_text("by the killed run")
        os.kill(launcher.pid, signal.SIGKILL)
        launcher.wait()
    made = run(LocalJobs(store, package=PACKAGE, busy_seconds=20), request(write="after the kill"), read)[2]
    assert made[0] == {"text": "after the kill"}
    assert all(gone(pid) for pid in pids)
