"""Signals to a real `run`: in a training it ends there, and forecasts and publishes nothing afterwards."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets.defs.dead_run_sensor import dead_run_sensor
from chronos_assets.defs.instance import open_instance
from chronos_assets.pipeline.group import Group
from chronos_assets.platforms.local.warm_workers import WARM_WORKERS
from chronos_assets.settings import Settings
from chronos_assets_tests import forks
from chronos_assets_tests.defs.line import PARAMS
from chronos_assets_tests.defs.test_training_line import TRAINING, noisy_rows
from chronos_assets_tests.models.tiny import folder_of


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder whose training would take hours."""
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    endless = TRAINING | {"MaxJobs": 1, "Hyperparameters": {"max_steps": 10_000_000, "eval_every": 10_000_000}}
    (folder / "params.json").write_text(json.dumps(PARAMS | {"Chronos": {"Training": endless}}))
    (folder / "train" / "demand.csv").write_text(noisy_rows(10))
    return folder


def _run_until_it_trains(tmp_path: Path, data: Path, then: Callable[[int], None]) -> tuple[int, str]:
    """Start `run`, do something with its number once the first trial trains, and wait for its end.

    Returns:
        Its exit status, and what it wrote to standard error.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name == WARM_WORKERS or not name.startswith(("CHRONOS_", "DAGSTER_"))
    }
    environment = {
        **inherited,
        "CHRONOS_BASE_MODEL": str(folder_of("bolt")),
        "CHRONOS_STORE": str(tmp_path / "store"),
    }
    command = ("chronos_assets.cli", "run", "--data", str(data), "--backtest-windows", "0")
    with forks.reading(*command, folder=tmp_path, environment=environment) as (process, errors):
        # A run that never gets there is ended, and fails below.
        watchdog = threading.Timer(240, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        lines = []
        for line in errors:
            lines.append(line)
            if "trial 0: step" in line:
                then(process.pid)
                break
        lines += errors
        watchdog.cancel()
        return process.wait(), "".join(lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_training_ends_the_run(tmp_path: Path, data: Path, number: signal.Signals) -> None:
    status, errors = _run_until_it_trains(tmp_path, data, lambda pid: os.kill(pid, number))
    store = tmp_path / "store"
    assert status == 130, errors
    assert errors.splitlines()[-1] == "chronos-assets: interrupted"
    assert "Traceback" not in errors
    assert not (store / "forecast").exists()
    with open_instance(store / ".dagster") as instance:
        records = instance.get_run_records()
        assert all(record.dagster_run.is_finished for record in records)
        assert records[0].dagster_run.status == dg.DagsterRunStatus.FAILURE
        assert not instance.event_log_storage.get_concurrency_run_ids()


def test_a_closed_terminal_leaves_nothing_that_the_sensor_of_a_running_ui_does_not_end(
    tmp_path: Path, data: Path
) -> None:
    # All processes of the terminal get the signal.
    status, errors = _run_until_it_trains(tmp_path, data, lambda pid: os.killpg(pid, signal.SIGHUP))
    assert status == -signal.SIGHUP, errors
    assert not _processes_of(tmp_path)
    with open_instance(tmp_path / "store" / ".dagster") as instance:
        (unfinished,) = [r.dagster_run.run_id for r in instance.get_run_records() if not r.dagster_run.is_finished]
        sensor = dead_run_sensor(Group(Settings(store=str(tmp_path / "store"))))
        told = sensor(dg.build_sensor_context(instance=instance))
        assert isinstance(told, dg.SkipReason)
        assert unfinished in str(told.skip_message)
        assert all(record.dagster_run.is_finished for record in instance.get_run_records())
        assert not instance.event_log_storage.get_concurrency_run_ids()


def _processes_of(folder: Path, seconds: float = 20) -> list[str]:
    """Commands of the processes that still work in a folder, after as long as a job has to end."""
    end = time.monotonic() + seconds
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                # A forked process has the folder, but the environment of its server there.
                told = os.readlink(path / "cwd") + (path / "environ").read_text(errors="replace")
                if str(folder) in told and "Z" not in _state(path):
                    found.append((path / "cmdline").read_text(errors="replace").replace("\0", " "))
            except OSError:
                continue  # it has ended meanwhile, or is none of ours
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.2)


def _state(process: Path) -> str:
    return (process / "stat").read_text().rpartition(")")[2].split()[0]
