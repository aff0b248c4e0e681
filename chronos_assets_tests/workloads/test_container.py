"""The container's command as a process, under a root laid out as SageMaker lays out /opt/ml.

A job that fails starts it cold, the job and the server that succeed fork it, see `forks`.
"""

import json
import os
import pkgutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

from chronos_assets import workloads
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import load_model
from chronos_assets.workloads.__main__ import NAMES
from chronos_assets_tests import forks
from chronos_assets_tests.models import tiny
from chronos_assets_tests.ports import free_port
from chronos_assets_tests.workloads.training_root import SMALL, lay_out


def under(root, **more):
    """Variables of the image's command under `root`."""
    return {**os.environ, "CHRONOS_ML_ROOT": str(root), **more}


def container(root, *arguments):
    """Run the image's command under `root`; the finished process."""
    command = [sys.executable, "-W", "ignore", "-m", "chronos_assets.workloads", *arguments]
    return subprocess.run(command, env=under(root), capture_output=True, text=True, timeout=240, check=False)


@contextmanager
def served(root):
    """The URL of the container's server, which has to end well when it is told to."""
    port = free_port()
    environment = under(root, SAGEMAKER_BIND_TO_PORT=str(port))
    command = ("chronos_assets.workloads", "serve")
    with forks.reading(*command, folder=root, environment=environment, kind=forks.CONTAINER) as (process, errors):
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while not healthy(url):
            assert process.poll() is None, errors.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield url
        process.terminate()
        assert process.wait(timeout=60) == 0


def healthy(url):
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5) as response:  # noqa: S310
            return response.status == 200
    except OSError:
        return False


def post(url, body):
    request = urllib.request.Request(  # noqa: S310
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        return json.loads(response.read())


def test_every_workload_has_a_name():
    modules = {module.name for module in pkgutil.iter_modules(workloads.__path__)}
    assert set(NAMES) == modules - {"__main__"}


@pytest.mark.parametrize("arguments", [(), ("trains",), ("train", "serve"), ("contract",)], ids=str)
def test_an_unknown_name_fails_with_the_names_that_there_are(tmp_path, arguments):
    done = container(tmp_path, *arguments)
    assert done.returncode == 1
    reason = (tmp_path / "output" / "failure").read_text()
    assert reason == done.stderr.strip()
    assert "is not a workload: give one of" in reason
    assert all(name in reason for name in NAMES)


def test_train_leaves_a_model_and_nothing_beside_it_and_serve_serves_it(tmp_path):
    root = lay_out(tmp_path, {**SMALL, "base_model": "bundled"}, synthetic=True, model=tiny.folder_of("bolt"))
    command = ("chronos_assets.workloads", "train")
    done = forks.run(*command, folder=root, environment=under(root), kind=forks.CONTAINER)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (root / "model").iterdir()} == {"config.json", "model.safetensors"}
    assert load_model(root / "model").description.family == "bolt"
    assert not (root / "output" / "failure").exists()
    report = json.loads((root / "output" / "data" / "training.json").read_text())
    # Values came as strings, and were taken as what they are.
    assert report["hyperparameters"]["learning_rate"] == SMALL["learning_rate"]
    assert report["hyperparameters"]["frequency"] == "H"
    assert "'validation_wql': " in done.stderr
    assert json.loads(done.stdout)["training"] == report

    context = [50.0 + 10 * (hour % 8) for hour in range(64)]
    with served(root) as url:
        answer = post(f"{url}/invocations", {"inputs": [{"target": context}], "parameters": {"prediction_length": 4}})
    model = load_model(root / "model")
    expected = Forecaster(model, 4, (0.1, 0.5, 0.9)).forecast([np.array(context)])
    # The context is never below zero, so the answer isn't either.
    median = np.maximum(expected.quantiles[0, :, 1], 0)
    assert answer["predictions"][0]["0.5"] == pytest.approx(median.tolist(), rel=1e-5)
    assert {path.name for path in (root / "model").iterdir()} == {"config.json", "model.safetensors"}


def test_a_failed_job_does_not_exit_with_0(tmp_path):
    """A defect of the blueprint: SageMaker took its failed jobs for completed."""
    root = lay_out(tmp_path, {**SMALL, "learning_rate": "much", "max_steps": 0})
    done = container(root, "train")
    assert done.returncode == 1
    reason = (root / "output" / "failure").read_text()
    assert "learning_rate is 'much': it must be a number above 0" in reason
    assert "max_steps is 0: it must be a whole number from 1" in reason
    assert "Traceback" not in done.stderr
    assert not (root / "model").exists()
