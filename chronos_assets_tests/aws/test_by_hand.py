"""AWS on this machine by hand: what is said at the end can be followed. Servers that are kept start cold, others are forked."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from chronos_assets_tests import forks


def ended(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forks.run("chronos_assets_tests.aws", *arguments, folder=folder, environment=os.environ)


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "chronos_assets_tests.aws", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_servers_that_end_with_the_command_say_so(tmp_path: Path) -> None:
    done = ended(tmp_path, "--", *python("import os; print(os.environ['CHRONOS_STORE'])"))
    assert done.returncode == 0
    assert done.stdout == "s3://chronos-assets/store\n"
    assert "are gone" in done.stderr
    assert "make run-aws KEEP=yes" in done.stderr


def test_a_command_that_fails_ends_with_its_own_status(tmp_path: Path) -> None:
    done = ended(tmp_path, "--keep", "--", *python("import sys; sys.exit(3)"))
    assert done.returncode == 3
    assert "Ctrl-C" not in done.stderr


def test_servers_that_are_kept_are_found_by_the_lines_that_are_printed() -> None:
    process = started("--keep", "--", *python(""))
    assert process.stdout is not None
    lines = []
    while not lines or not lines[-1].startswith("export CHRONOS_CACHE="):
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()[1]
    pairs = [shlex.split(line)[1].split("=", 1) for line in lines]
    code = "import boto3; boto3.client('s3').put_object(Bucket='chronos-assets', Key='a', Body=b'1')"
    done = subprocess.run(python(code), env={**os.environ, **dict(pairs)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "until Ctrl-C" in told
