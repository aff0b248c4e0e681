"""Signals to a real `run`: in a training it ends there, and forecasts and publishes nothing afterwards."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import dagster as dg
import pytest

from chronos_assets.defs.instance import open_instance
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_training_ends_the_run(tmp_path: Path, data: Path, number: signal.Signals) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CHRONOS_", "DAGSTER_"))}
    store = tmp_path / "store"
    process = subprocess.Popen(
        [sys.executable, "-m", "chronos_assets.cli", "run", "--data", str(data), "--backtest-windows", "0"],
        cwd=tmp_path,
        env={**inherited, "CHRONOS_BASE_MODEL": str(folder_of("bolt")), "CHRONOS_STORE": str(store)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        # A run that never gets there is ended, and fails below.
        watchdog = threading.Timer(240, process.kill)
        watchdog.start()
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "trial 0: step" in line:
                process.send_signal(number)
                break
        _, rest = process.communicate()
        watchdog.cancel()
    errors = "".join(lines) + rest
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "chronos-assets: interrupted"
    assert "Traceback" not in errors
    assert not (store / "forecast").exists()
    with open_instance(store / ".dagster") as instance:
        records = instance.get_run_records()
        assert all(record.dagster_run.is_finished for record in records)
        assert records[0].dagster_run.status == dg.DagsterRunStatus.FAILURE
        assert not instance.event_log_storage.get_concurrency_run_ids()
