"""A trial's folder, process and log."""

import os
import time

import pytest

from chronos_assets.platforms.file_locks import lock_file
from chronos_assets.platforms.local.processes import close_lifeline
from chronos_assets.platforms.local.trials import TrainingJob
from chronos_assets.platforms.tuning import TrialLogFile
from chronos_assets_tests.workloads.test_contract import gone, wait_for

pytestmark = pytest.mark.usefixtures("both_ways")

MODULE = "chronos_assets_tests.platforms.local.train"


def read(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    log = TrialLogFile(path)
    return log, list(log.read())


def test_a_log_is_read_as_it_grows(tmp_path):
    path = tmp_path / "log"
    log = TrialLogFile(path)
    assert list(log.read()) == []
    with path.open("wb", buffering=0) as file:
        file.write(b"{'step': 5, 'loss': 0.5, 'learning_rate': 0.000012, 'eta_seconds': 3}\n{'step': 5, 'valid")
        assert list(log.read()) == []
        assert (log.losses, log.step, log.rate, log.eta_seconds) == ({5: 0.5}, 5, "0.000012", "3")
        file.write(b"ation_wql': 0.2")
        assert list(log.read()) == []
        file.write(b"5}\n")
        assert list(log.read()) == [(5, 0.25)]
        assert list(log.read()) == []
    assert log.validation == {5: 0.25}


def test_a_log_is_read_whatever_else_it_holds(tmp_path):
    text = (
        b"\xff\xfe not text\n"
        b"  10%|#   |\r{'step': 1, 'loss': 1.0}\r{'step': 1, 'validation_wql': 0.5}\r\n"
        b"{'step': 2, 'loss': 1.2.3}\n{'step': 2, 'loss': .}\n{'step': 2, 'loss': nan}\n"
        b"{'step': 2, 'base_validation_wql': 0.1}\n"
        b"{'step': 3, 'validation_wql': 0.4}"
    )
    log, told = read(tmp_path / "log", text)
    assert told == [(1, 0.5)]
    assert log.losses == {1: 1.0}
    assert log.latest == 0.5


def test_a_step_reported_again_counts_as_it_was_reported_last_and_that_before_the_first_not_at_all(tmp_path):
    lines = [(0, 0.9), (1, 0.5), (2, 0.4), (3, 0.6), (2, 0.45)]
    text = "".join(f"{{'step': {step}, 'validation_wql': {value}}}\n" for step, value in lines)
    log, told = read(tmp_path / "log", text)
    assert told == lines[1:]
    assert log.validation == {0: 0.9, 1: 0.5, 2: 0.45, 3: 0.6}
    assert log.latest == 0.45
    assert read(tmp_path / "log", text.splitlines(keepends=True)[0])[0].latest is None


def test_a_log_without_steps_counts_its_values(tmp_path):
    text = "'validation_wql': 3\n'validation_wql': 2 or not\n'validation_wql': .\n"
    log, told = read(tmp_path / "log", text)
    assert told == [(1, 3.0), (2, 2.0)]
    assert log.latest == 2.0


def test_only_checkpoints_and_log_outlive_an_attempt(tmp_path):
    job = TrainingJob(tmp_path / "trial-0")
    data = tmp_path / "data"
    data.mkdir()
    job.lay_out({"a": "text", "b": [1, None], "c": 1e-5}, {"target": data})
    assert job.workspace.hyperparameters() == {"a": "text", "b": [1, None], "c": 1e-5}
    assert job.workspace.channel("target").resolve() == data
    for folder in (job.workspace.checkpoints, job.workspace.model, job.workspace.output_data):
        (folder / "left").touch()
    (data / "file").touch()
    job.workspace.failure_file.write_text("of the attempt before")
    job.log_file.write_text("whole line\nhalf")
    job.lay_out({"a": 1}, {"target": data})
    assert job.workspace.hyperparameters() == {"a": 1}
    assert (data / "file").exists()
    assert [folder.exists() for folder in (job.workspace.checkpoints / "left", job.workspace.model / "left")] == [
        True,
        False,
    ]
    assert not (job.workspace.output_data / "left").exists()
    assert not job.workspace.failure_file.exists()
    assert job.log_file.read_text() == "whole line\n"


def test_a_report_is_an_object(tmp_path):
    job = TrainingJob(tmp_path)
    assert job.report() == {}
    job.workspace.output_data.mkdir(parents=True)
    for text in ("[1]", "no json"):
        (job.workspace.output_data / "training.json").write_text(text)
        with pytest.raises(ValueError, match=r"list|Expecting value"):
            job.report()


def test_a_trial_holds_the_lock_until_it_ends_and_ends_with_its_launcher(tmp_path):
    job = TrainingJob(tmp_path / "trial-0")
    job.lay_out({"waiting": [0]}, {})
    lock = lock_file(tmp_path / "lock")
    job.start(MODULE, {}, lock)
    os.close(lock)
    pids = [int(pid) for pid in wait_for(job.workspace.root / "output" / "running").split()]
    with pytest.raises(TimeoutError):
        lock_file(tmp_path / "lock", seconds=0.2)
    close_lifeline(job._process)  # as the end of this process would
    assert all(gone(pid) for pid in pids)
    os.close(lock_file(tmp_path / "lock", seconds=10))
    assert job._process.wait() == -9


def test_a_stubborn_trial_is_killed_when_its_time_is_over(tmp_path):
    job = TrainingJob(tmp_path / "trial-0")
    job.lay_out({"waiting": [0], "stubborn": True}, {})
    lock = lock_file(tmp_path / "lock")
    job.start(MODULE, {}, lock)
    pids = [int(pid) for pid in wait_for(job.workspace.root / "output" / "running").split()]
    assert job.ended() is None
    job.stop(0.3)
    job.stop(60)  # once is enough
    asked = time.monotonic()
    while job.ended() is None:
        time.sleep(0.02)
    assert 0.2 < time.monotonic() - asked < 30
    assert job.ended() == -9
    assert all(gone(pid) for pid in pids)
    os.close(lock)
