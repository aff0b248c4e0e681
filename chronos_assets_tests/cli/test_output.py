"""What is for the user goes to the user, what jobs and libraries write goes to the log, and the log's folder stays small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chronos_assets.cli.output import LOGS_KEPT, new_log, raw_output_to


def test_raw_output_of_this_process_and_its_children_goes_to_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "run.log"
    sys.stdout.write("before\n")
    with raw_output_to(log) as user:
        sys.stdout.write("printed\n")
        sys.stderr.write("warned\n")
        os.write(1, b"written\n")
        subprocess.run([sys.executable, "-c", "import sys; print('child'); sys.exit('failed')"], check=False)
        user.write("for the user\n")
    sys.stdout.write("after\n")
    out, errors = capfd.readouterr()
    assert out == "before\nafter\n"
    assert errors == "for the user\n"
    assert sorted(log.read_text().splitlines()) == ["child", "failed", "printed", "warned", "written"]


def test_the_streams_come_back_after_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), raw_output_to(tmp_path / "run.log"):
        raise KeyError
    os.write(2, b"here again\n")
    assert capfd.readouterr().err == "here again\n"


def test_a_full_disk_takes_the_log_and_not_the_last_words(capfd: pytest.CaptureFixture[str]) -> None:
    with raw_output_to(Path("/dev/full")) as user:
        sys.stdout.write("no room\n")
        user.write("for the user\n")
    os.write(2, b"last words\n")
    assert capfd.readouterr().err == "for the user\nlast words\n"


def test_the_newest_logs_are_kept(tmp_path: Path) -> None:
    made = [new_log(tmp_path) for _ in range(LOGS_KEPT + 5)]
    assert sorted(tmp_path.iterdir()) == sorted(made)[-LOGS_KEPT:]
