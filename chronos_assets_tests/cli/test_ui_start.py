"""`ui` stops before a second server or a second daemon starts; it starts Dagster with the package's own configuration."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chronos_assets.cli import main, ui
from chronos_assets.platforms.file_locks import lock_file
from chronos_assets_tests.ports import free_port


class Started(BaseException):
    """In place of the program that takes this process's place."""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `ui` would have started; its store is empty."""
    calls: list[Any] = []

    def execve(program: Path, arguments: list[str], environment: dict[str, str]) -> None:
        calls.append((program, arguments, environment))
        raise Started

    monkeypatch.setattr(ui.os, "execve", execve)
    monkeypatch.setattr(ui.dashboard, "start_beside", lambda settings, port: calls.append(("dashboard", port)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("CHRONOS_STORE", str(tmp_path / "store"))
    return calls


@contextmanager
def _beside_a_taken_one() -> Iterator[int]:
    """A free port whose next one is taken while the block lasts."""
    while True:
        port = free_port()
        with socket.socket() as other:
            try:
                other.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue  # by another program, or there is none
            other.listen()
            yield port
            return


def test_a_busy_port_stops_it_before_anything_is_started(
    started: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 1
    errors = capsys.readouterr().err
    assert f"port {port} can't be used: another program listens there" in errors
    assert f"make ui PORT={port + 1}" in errors
    assert not started
    assert not (tmp_path / "store" / ".dagster" / "storage").exists()


def test_a_second_ui_on_a_store_says_where_the_first_one_is(
    started: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "store" / ".dagster"
    home.mkdir(parents=True)
    descriptor = lock_file(home / ".ui.lock")
    (home / ".ui.lock").write_text("http://127.0.0.1:3000, process 4242\n")
    try:
        assert main(["ui", "--port", str(free_port())]) == 1
    finally:
        os.close(descriptor)
    assert "http://127.0.0.1:3000, process 4242" in capsys.readouterr().err
    assert not started


def test_dagster_is_started_with_what_belongs_to_the_package_wherever_that_is(
    started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    (tmp_path / "workspace.yaml").write_text("load_from:\n  - python_module: somebody_elses\n")
    port = free_port()
    with pytest.raises(Started):
        main(["ui", "--port", str(port)])
    _, (_, arguments, environment) = started
    workspace = Path(arguments[arguments.index("-w") + 1])
    assert "chronos_assets.definitions" in workspace.read_text()
    assert environment["DAGSTER_HOME"] == str(tmp_path / "store" / ".dagster")
    assert int(environment["DAGSTER_GRPC_TIMEOUT_SECONDS"]) > 60
    assert "enabled: false" in (tmp_path / "store" / ".dagster" / "dagster.yaml").read_text()
    assert arguments[arguments.index("-h") + 1] == "127.0.0.1"


def test_the_lock_lives_as_long_as_the_program_that_takes_over(tmp_path: Path) -> None:
    lock = tmp_path / ".ui.lock"
    program = (
        "import os, sys; from pathlib import Path; from chronos_assets.cli import ui\n"
        f"ui._take_store(Path({str(lock)!r}), 3000)\n"
        "os.execv(sys.executable, [sys.executable, '-c', 'print(1, flush=True); input()'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        with pytest.raises(TimeoutError):
            lock_file(lock, seconds=0)
        process.communicate("\n")
    os.close(lock_file(lock, seconds=0))


def test_the_dashboard_starts_beside_dagster_on_a_free_port_and_both_addresses_are_printed(
    started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with _beside_a_taken_one() as port, pytest.raises(Started):
        main(["ui", "--port", str(port)])
    (name, chosen), _ = started
    assert name == "dashboard"
    assert chosen > port + 1
    printed = capsys.readouterr().out
    assert f"Dagster:   http://127.0.0.1:{port}\n" in printed
    assert f"dashboard: http://127.0.0.1:{chosen}\n" in printed


def test_without_the_extra_dagster_starts_alone_and_says_how_to_get_the_dashboard(
    started: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui.dashboard, "installed", lambda: False)
    with pytest.raises(Started):
        main(["ui", "--port", str(free_port())])
    assert len(started) == 1
    assert "pip install 'chronos-assets[dashboard]'" in capsys.readouterr().out
    assert main(["dashboard"]) == 1
    assert "pip install 'chronos-assets[dashboard]'" in capsys.readouterr().err


def test_the_dashboard_alone_takes_the_place_of_the_command(started: list[Any]) -> None:
    port = free_port()
    with pytest.raises(Started):
        main(["dashboard", "--port", str(port)])
    ((_, arguments, environment),) = started
    assert arguments[1:] == ["-m", "chronos_assets.dashboard.server", "--host", "127.0.0.1", "--port", str(port)]
    assert Path(environment["CHRONOS_STORE"]).is_absolute()
    assert environment["STREAMLIT_BROWSER_GATHER_USAGE_STATS"] == "false"
