"""The container's command in subprocesses, under a root laid out as SageMaker lays out /opt/ml."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from chronos_assets.models.loading import load_model
from chronos_assets.workloads.__main__ import NAMES
from chronos_assets_tests.models import tiny
from chronos_assets_tests.workloads.training_root import SMALL, lay_out


def container(root, *arguments):
    """Run the image's command under `root`; the finished process."""
    environment = {**os.environ, "CHRONOS_ML_ROOT": str(root)}
    command = [sys.executable, "-W", "ignore", "-m", "chronos_assets.workloads", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_every_name_is_a_workload():
    assert all(importlib.util.find_spec(f"chronos_assets.workloads.{name}") for name in NAMES)


@pytest.mark.parametrize("arguments", [(), ("trains",), ("train", "serve"), ("contract",)], ids=str)
def test_an_unknown_name_fails_with_the_names_that_there_are(tmp_path, arguments):
    done = container(tmp_path, *arguments)
    assert done.returncode == 1
    reason = (tmp_path / "output" / "failure").read_text()
    assert reason == done.stderr.strip()
    assert "is not a workload: give one of" in reason
    assert all(name in reason for name in NAMES)


def test_train_leaves_a_model_that_can_be_served_and_nothing_beside_it(tmp_path):
    root = lay_out(tmp_path, {**SMALL, "base_model": "bundled"}, synthetic=True, model=tiny.folder_of("bolt"))
    done = container(root, "train")
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
