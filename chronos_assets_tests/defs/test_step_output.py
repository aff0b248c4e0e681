"""What a step writes is kept for the UI and shown, by no process beside the run's."""

import os
import sys
import time

import psutil
import pytest
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from chronos_assets.defs import step_output

LONG = "a line\n" * 40_000  # longer than a pipe


@pytest.fixture(autouse=True)
def threads():
    step_output.show_by_threads()


def test_it_is_kept_and_shown_to_the_last_line(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(step_output, "_SECONDS", 600)  # whatever the thread's turn is
    logs = LocalComputeLogManager(str(tmp_path))
    for number in range(2):  # of the same step, as if it was tried again
        children = psutil.Process().children()
        with logs.capture_logs(["run", "step"]):
            assert psutil.Process().children() == children
            sys.stdout.write(f"{LONG}{number}\n")
            sys.stderr.write(f"an error {number}\n")
        out, err = capfd.readouterr()
        assert (out, err) == (f"{LONG}{number}\n", f"an error {number}\n")
    assert (tmp_path / "run" / "step.err").read_text() == "an error 0\nan error 1\n"
    assert (tmp_path / "run" / "step.out").read_text() == f"{LONG}0\n{LONG}1\n"


def test_it_is_shown_while_the_step_runs_and_kept_when_nobody_reads_it_any_more(tmp_path):
    path = tmp_path / "step.out"
    path.touch()
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as read, os.fdopen(theirs, "wb") as stream, step_output.shown(str(path), stream):
        path.write_text("first\n")
        assert read.readline() == b"first\n"
        read.close()
        path.write_text("first\nsecond\n")
        time.sleep(2 * step_output._SECONDS)
    assert path.read_text() == "first\nsecond\n"


def test_a_reader_that_stops_reading_holds_up_no_step_and_gets_the_rest_later(tmp_path, monkeypatch):
    monkeypatch.setattr(step_output, "_PATIENCE_SECONDS", 0.05)
    path = tmp_path / "step.out"
    path.touch()
    ours, theirs = os.pipe()
    with os.fdopen(theirs, "wb") as stream, step_output.shown(str(path), stream):
        path.write_text(LONG)
    kept = path.read_text()
    assert kept == f"{LONG}[not shown to its end within 0.05 s: its reader stopped]\n"
    with os.fdopen(ours, "rb") as read:
        assert read.read().decode() in (LONG, kept)
