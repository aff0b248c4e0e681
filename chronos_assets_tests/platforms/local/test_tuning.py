"""Local searches: trials, their folders, what is given up, what a kill leaves, through real training processes."""

import json
import logging
import os
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.training import ContinuousRange
from chronos_assets.platforms.jobs import JobError
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.local.tuning import LocalTuning, _environment
from chronos_assets.platforms.tuning import Tuning, TuningRequest
from chronos_assets.store_layout import TUNING_KEY
from chronos_assets.timeseries.dataset.gluonts_arrow import write_arrow
from chronos_assets_tests import forks
from chronos_assets_tests.workloads.test_contract import gone, wait_for

PACKAGE = "chronos_assets_tests.platforms.local"
RATES = {"learning_rate": ContinuousRange(1e-6, 1e-2, "log")}


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "st ore?")
    store.put("dataset/part-0", b"shard 0")
    return store


@pytest.fixture
def tuning(store) -> Tuning:
    return LocalTuning(store, package=PACKAGE, busy_seconds=0.3, grace_seconds=5.0)


class Log:
    """What a run writes to its log."""

    def __init__(self):
        self.lines = []
        self.log = SimpleNamespace(info=self.lines.append, warning=self.lines.append, error=self.lines.append)

    def those(self, pattern):
        return [line for line in self.lines if re.search(pattern, line)]


def request(max_jobs=2, ranges=RATES, name="search-1", inputs=None, more=None, **hyperparameters):
    return TuningRequest(name, hyperparameters, ranges, inputs or {}, max_jobs=max_jobs, **(more or {}))


def tune(tuning, asked, *, keep=False):
    """Trials of a search, its log, how many were resumed, what `read` makes of its folder."""
    log = Log()
    result = tuning.tune(log, asked)
    result.files.close(keep=keep)
    return result, log


def folder(store, name="search-1"):
    return store.local_path(TUNING_KEY) / name


def attempts(store, number):
    """(first step, number of attempts) of a trial, as it wrote them down itself."""
    lines = (folder(store) / f"trial-{number}" / "output" / "attempts").read_text().splitlines()
    return [json.loads(line) for line in lines]


def proposals(result):
    return [dict(trial.hyperparameters) for trial in result.trials]


def test_a_search_tells_every_trial_and_hands_out_the_best_model(tuning, store):
    log = Log()
    result = tuning.tune(log, request(3, inputs={"target": "dataset"}, max_steps=3))
    assert [trial.number for trial in result.trials] == [0, 1, 2]
    assert [trial.state for trial in result.trials] == ["Completed"] * 3
    assert result.best.objective == min(trial.objective for trial in result.trials)
    assert sorted(path.name for path in result.best.model.iterdir()) == ["config.json", "model.safetensors"]
    for trial in result.trials:
        assert [step for step, _ in trial.losses] == [1, 2, 3]
        assert [step for step, _ in trial.validation] == [0, 1, 2, 3]
        assert trial.objective == trial.validation[-1][1]
        assert trial.report["steps"] == 3
        assert 0 < trial.seconds < 60
        root = trial.model.parent
        given = json.loads((root / "input/config/hyperparameters.json").read_text())
        assert given == {"max_steps": "3", "learning_rate": json.dumps(trial.hyperparameters["learning_rate"])}
        assert set(json.loads((root / "input/config/inputdataconfig.json").read_text())) == {"target"}
        assert json.loads((root / "input/config/resourceconfig.json").read_text())["current_host"] == "algo-1"
        assert (root / "input/data/target/part-0").read_bytes() == b"shard 0"
        assert "'validation_wql': 9.0" in (root / "output/stderr.log").read_text()  # standard output
        assert not (root / "checkpoints").exists()
    # A trial is reported once in five seconds, at the step that it has reached by then: the first look may come at any.
    assert log.those(r"^trial 0: step [1-3], loss [\d.]+, validation [\d.]+, learning rate 0.0001, 7 s left$")
    assert log.those("^trial 2 completed after")
    with result:
        assert folder(store).exists()
    assert list(store.local_path(TUNING_KEY).iterdir()) == []


def test_what_is_worse_than_the_median_is_given_up_and_says_why(tuning):
    # The third rate is the worst of the three: its trial would wait for ever in its second step.
    ranges = {"learning_rate": ContinuousRange(1e-5, 1e-4)}
    result, log = tune(tuning, request(3, ranges, max_steps=3, waiting=[2], more={"random_seed": 1}))
    assert [trial.state for trial in result.trials] == ["Completed", "Completed", "Stopped"]
    first, second, stopped = result.trials
    step, best, median = re.fullmatch(
        r"given up at step (\d+): its best validation so far, ([\d.]+), is above ([\d.]+), the median of the "
        r"completed trials at that step",
        stopped.reason,
    ).groups()
    assert int(step) == 1
    assert float(best) == pytest.approx(stopped.objective, rel=1e-5)
    assert float(median) == pytest.approx((dict(first.validation)[1] + dict(second.validation)[1]) / 2, rel=1e-5)
    assert float(best) > float(median)
    assert stopped.losses[-1][0] == 1
    assert stopped.model is None
    assert log.those("trial 2 stopped after .* given up at step 1")


def test_nobody_is_given_up_after_the_last_step(tuning):
    ranges = {"learning_rate": ContinuousRange(1e-5, 1e-4)}
    result, _ = tune(tuning, request(3, ranges, max_steps=1, more={"random_seed": 1}))
    assert [trial.state for trial in result.trials] == ["Completed"] * 3
    assert result.trials[2].objective > max(trial.objective for trial in result.trials[:2])


def test_a_trial_that_fails_does_not_stop_the_others(tuning):
    result, log = tune(tuning, request(4, max_steps=2, failing=[0], dying=[1]))
    assert [trial.state for trial in result.trials[:2]] == ["Failed", "Failed"]
    assert result.trials[0].reason == "loss is nan at step 1 of trial 0; lower the learning rate"
    assert result.trials[1].reason.startswith("killed by SIGKILL")
    assert result.trials[0].objective is None
    assert {trial.state for trial in result.trials[2:]} == {"Completed"}
    assert log.those("trial 0 failed .*lower the learning rate\nLast lines of its log")
    assert len(log.those("trial 1 killed by SIGKILL .*it is tried again")) == 1


def test_a_trial_that_is_killed_goes_on_from_its_checkpoint(tuning):
    result, log = tune(tuning, request(2, max_steps=4, dying_once=[1]))
    assert [trial.state for trial in result.trials] == ["Completed"] * 2
    # Its log is that of both attempts: no step was made twice.
    assert [step for step, _ in result.trials[1].losses] == [1, 2, 3, 4]
    assert len(log.those("trial 1 continues")) == 1
    assert len(log.those("trial 1 killed by SIGKILL .*it is tried again")) == 1


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [({"save": False}, "it left no config.json and no *.safetensors"), ({"validate": False}, "reports its validation")],
)
def test_a_training_job_that_leaves_nothing_has_failed(tuning, hyperparameters, reason):
    with pytest.raises(ChronosAssetsError, match=re.escape(reason)):
        tuning.tune(Log(), request(1, max_steps=1, **hyperparameters))


def test_a_search_of_which_all_fails_says_why_and_starts_afresh_when_asked_again(tuning, store):
    asked = request(2, max_steps=1, failing=[0, 1])
    with pytest.raises(JobError) as failure:
        tuning.tune(Log(), asked)
    assert str(failure.value).splitlines()[0] == (
        "search search-1 failed: loss is nan at step 1 of trial 0; lower the learning rate "
        "(trial 0; none of 2 completed)"
    )
    assert failure.value.facts["search_folder"] == folder(store)
    log = Log()
    with pytest.raises(ChronosAssetsError):
        tuning.tune(log, asked)
    assert log.those("starts over: every trial had failed")
    assert log.those("trial 1 starts")


@pytest.mark.parametrize("parallel", [1, 2])
def test_no_more_trials_run_at_once_than_asked_for_and_these_do(tuning, store, parallel):
    asked = request(4, max_steps=4, seconds_per_step=0.1, companions=parallel, more={"max_parallel_jobs": parallel})
    # All as good as another, so that none is given up.
    asked = TuningRequest(**{**vars(asked), "ranges": {"unused": ContinuousRange(0, 1)}})
    tune(tuning, asked, keep=True)
    spans = []
    for number in range(4):
        first, last = attempts(store, number)
        spans.append((first["began"], last["ended"]))
    most = max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)
    assert most == parallel


def test_trials_that_share_the_machine_share_its_threads(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert _environment(1) == {}
    assert _environment(2) == {"OMP_NUM_THREADS": "3"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"max_jobs": 0}, "max_jobs is 0"), ({"inputs": {"target": "nowhere"}}, "for input channel 'target'")],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(tuning, store, changes, problem):
    with pytest.raises(ChronosAssetsError, match=re.escape(problem)):
        tuning.tune(Log(), TuningRequest(**{**vars(request()), **changes}))
    assert not store.local_path(TUNING_KEY).exists()


def test_asked_for_again_a_kept_search_gives_the_same_without_training(tuning, store):
    asked = request(3, max_steps=1, failing=[1])
    first, _ = tune(tuning, asked, keep=True)
    again, log = tune(tuning, asked, keep=True)
    assert again.trials == first.trials
    assert (first.resumed, again.resumed) == (0, 3)
    assert not log.those("starts|continues:? step")
    assert len(attempts(store, 0)) == 2  # began, ended
    longer, _ = tune(tuning, request(4, max_steps=1, failing=[1]), keep=True)
    assert longer.trials[:3] == first.trials
    assert len(longer.trials) == 4
    shorter, _ = tune(tuning, request(1, max_steps=1, failing=[1]))
    assert shorter.trials == first.trials[:1]


def test_another_search_of_the_same_name_starts_afresh(tuning, store):
    store.put("other/part-0", b"shard 0")
    asked = request(1, max_steps=1, inputs={"target": "dataset"})
    tune(tuning, asked, keep=True)
    for changes in (
        {"ranges": {"learning_rate": ContinuousRange(1e-6, 1e-3, "log")}},
        {"hyperparameters": {"max_steps": 2}},
        {"random_seed": 11},
        {"inputs": {"target": "other"}},
    ):
        (folder(store) / "trial-0" / "of before").touch()
        asked = TuningRequest(**{**vars(asked), **changes})
        result, log = tune(tuning, asked, keep=True)
        assert log.those(f"starts over: other {next(iter(changes))} than")
        assert result.resumed == 0
        assert not (folder(store) / "trial-0" / "of before").exists()


def test_a_search_without_its_models_starts_afresh(tuning, store):
    tune(tuning, request(1, max_steps=1), keep=True)
    (folder(store) / "trial-0" / "model" / "model.safetensors").unlink()
    result, log = tune(tuning, request(1, max_steps=1), keep=True)
    assert log.those("the model of trial 0 is gone")
    assert result.best.model.joinpath("model.safetensors").exists()


def test_a_second_run_of_the_same_name_is_refused_while_the_first_is_not_done(tuning):
    with tuning.tune(Log(), request(1, max_steps=1)):
        with pytest.raises(ChronosAssetsError, match="already running"):
            tuning.tune(Log(), request(1, max_steps=1))
        tune(tuning, request(1, name="search-2", max_steps=1))


def test_a_model_that_could_not_be_published_stays(tuning, store):
    with pytest.raises(RuntimeError, match="publishing"), tuning.tune(Log(), request(1, max_steps=1)):
        raise RuntimeError("publishing failed")
    assert (folder(store) / "trial-0" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_cancelled_run_ends_all_its_trials_and_can_be_gone_on_with(store, stubborn):
    tuning = LocalTuning(store, package=PACKAGE, grace_seconds=0.5)
    asked = request(2, max_steps=3, waiting=[0, 1], stubborn=stubborn, more={"max_parallel_jobs": 2})
    running = [folder(store) / f"trial-{number}" / "output" / "running" for number in range(2)]

    def look(*_):
        if all(path.exists() for path in running):
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise DagsterExecutionInterruptedError

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    log = Log()
    try:
        with pytest.raises(DagsterExecutionInterruptedError):
            tuning.tune(log, asked)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert log.those("is being stopped")
    assert all(gone(int(pid)) for path in running for pid in path.read_text().split())
    assert [len(attempts(store, number)) for number in range(2)] == [1, 1]


DRIVER = """
import json, logging, sys
from types import SimpleNamespace
from chronos_assets.params.training import ContinuousRange
from chronos_assets.platforms.tuning import TuningRequest
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.local.tuning import LocalTuning, _environment
_, root, package, jobs, parallel, low, high, hyperparameters = sys.argv
asked = TuningRequest("search-1", json.loads(hyperparameters),
    {"learning_rate": ContinuousRange(float(low), float(high), "log")}, {},
    max_jobs=int(jobs), max_parallel_jobs=int(parallel))
LocalTuning(open_store(root), package=package).tune(SimpleNamespace(log=logging.getLogger()), asked)
"""


def kill_when(store, sign, jobs, parallel, **hyperparameters):
    """Run a search in a process of its own and kill that, and only that, with SIGKILL when a file appears."""
    (rates,) = RATES.values()
    arguments = [store.root, PACKAGE, jobs, parallel, rates.low, rates.high, json.dumps(hyperparameters)]
    started = {"folder": store.root, "environment": os.environ}
    with forks.reading(forks.CODE, DRIVER, *map(str, arguments), **started) as (launcher, _):
        try:
            return wait_for(sign)
        finally:
            os.kill(launcher.pid, signal.SIGKILL)
            launcher.wait()


def test_a_killed_search_goes_on_where_it_was(store, tmp_path):
    tuning = LocalTuning(store, package=PACKAGE, busy_seconds=20)
    hyperparameters = {"max_steps": 4, "waiting": [2]}
    root = folder(store) / "trial-2"
    pids = kill_when(store, root / "output" / "running", 7, 1, **hyperparameters).split()
    with (root / "output" / "stderr.log").open("a") as log:
        log.write("{'step': 2, 'validation_wql': 0.000001")  # cut off while it was written
    # What the trial waits for is over: it would wait for ever.
    (folder(store) / "trial-2" / "checkpoints" / "last.json").write_text("2")

    result, log = tune(tuning, request(7, **hyperparameters), keep=True)
    assert all(gone(int(pid)) for pid in pids)
    assert result.resumed == 2
    assert log.those("continues: 2 of 7 trials are finished, 1 were cut off")
    assert [len([line for line in attempts(store, number) if "began" in line]) for number in range(4)] == [1, 1, 2, 1]
    assert attempts(store, 2)[1]["from"] == 2
    assert [trial.number for trial in result.trials] == list(range(7))
    assert all(value > 0.01 for _, value in result.trials[2].validation)
    assert result.trials[2].seconds > 0

    # Without a kill the same is tried: the same hyperparameters, and objectives.
    whole = LocalTuning(open_store(tmp_path / "another store"), package=PACKAGE)
    undisturbed, _ = tune(whole, request(7, max_steps=4, waiting=[99]))
    assert proposals(undisturbed) == proposals(result)
    assert [trial.objective for trial in undisturbed.trials] == [trial.objective for trial in result.trials]


def test_trials_that_ran_side_by_side_when_the_search_was_killed_all_go_on(store):
    tuning = LocalTuning(store, package=PACKAGE, busy_seconds=20)
    hyperparameters = {"max_steps": 3, "waiting": [0, 1]}
    waited = [folder(store) / f"trial-{number}" for number in range(2)]
    kill_when(store, waited[0] / "output" / "running", 3, 2, **hyperparameters)
    for root in waited:
        for part in ("checkpoints", "output"):
            (root / part).mkdir(parents=True, exist_ok=True)
        (root / "checkpoints" / "last.json").write_text("2")
    result, log = tune(tuning, request(3, more={"max_parallel_jobs": 2}, **hyperparameters))
    assert len(result.trials) == 3
    assert {trial.state for trial in result.trials} <= {"Completed", "Stopped"}
    assert log.those("0 of 3 trials are finished, [12] were cut off")


def test_a_study_that_was_being_made_when_killed_is_made_anew(tuning, store):
    half = folder(store) / ".study.db.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"SQLite format 3\0 and no more")
    (folder(store) / "trial-0").mkdir()
    result, _ = tune(tuning, request(1, max_steps=1))
    assert result.best.number == 0


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: b"x" * 100, lambda content: content[:20_000]])
def test_a_search_whose_file_is_damaged_starts_afresh(tuning, store, damage):
    tune(tuning, request(1, max_steps=1), keep=True)
    path = folder(store) / "study.db"
    path.write_bytes(damage(path.read_bytes()))
    result, log = tune(tuning, request(1, max_steps=1))
    assert log.those("starts over: .*study.db is damaged")
    assert (result.resumed, result.best.number) == (0, 0)


def test_optuna_keeps_quiet(tuning, caplog, capfd):
    with caplog.at_level(logging.INFO):
        tune(tuning, request(2, max_steps=1))
    told = caplog.text + capfd.readouterr().err
    assert "study created" not in told
    assert "Trial 0 finished" not in told


def test_the_package_s_own_training_job_can_be_searched(tmp_path):
    """Two trials of a few steps, with a model too small to learn anything."""
    from chronos_assets_tests.models.tiny import save_bolt

    store = open_store(tmp_path / "store")
    generator = np.random.default_rng(0)
    synthetic = store.local_path("synthetic")
    synthetic.mkdir()
    for split in ("train", "validation"):
        write_arrow(
            synthetic / f"{split}.arrow",
            [
                (f"{split} {number}", np.datetime64("2024-01-01T00", "s"), generator.normal(10, 1, 64))
                for number in range(4)
            ],
        )
    asked = TuningRequest(
        "search-1",
        {"base_model": "tiny", "max_steps": 4, "batch_size": 2, "context_length": 32, "prediction_length": 8}
        | {"min_past": 8, "eval_every": 2, "log_every": 1, "threads": 1, "mixture": {"synthetic": 1.0}},
        {"learning_rate": ContinuousRange(1e-4, 1e-2, "log")},
        {"synthetic": "synthetic", "model": save_bolt(tmp_path / "tiny")},
        max_parallel_jobs=2,
    )
    result, log = tune(LocalTuning(store), asked, keep=True)
    assert [trial.state for trial in result.trials] == ["Completed"] * 2, log.lines
    for trial in result.trials:
        assert [step for step, _ in trial.losses] == [1, 2, 3, 4]
        assert [step for step, _ in trial.validation] == [2, 4]
        assert trial.report["hyperparameters"]["learning_rate"] == trial.hyperparameters["learning_rate"]
        assert trial.objective == pytest.approx(trial.report["validation_wql"], abs=1e-6)
        assert {path.name for path in trial.model.iterdir()} <= {
            "config.json", "generation_config.json", "model.safetensors",
        }  # fmt: skip
    first, second = result.trials
    assert first.losses != second.losses
