"""The workload learn: what it leaves of a version's predictor, and what has to be beside it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from chronos_assets.container.contract import Workspace
from chronos_assets.models.checkpoints import describe_model
from chronos_assets.predictors.opening import Network
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.workloads import learn
from chronos_assets_tests.models import tiny
from chronos_assets_tests.workloads.listener import Listener
from chronos_assets_tests.workloads.small_dataset import write_dataset

HOURS = np.arange(240)
SERIES = {
    (f"item {number}",): ("2024-01-01T00:00:00", 20 + 5 * np.sin(2 * np.pi * HOURS / 24 + number))
    for number in range(4)
}


def learned(root: Path, base: str | None, members: list[str]) -> Path:
    """What the job leaves for a tiny checkpoint with this base model beside it."""
    channels = root / "processing" / "input"
    channels.mkdir(parents=True)
    write_dataset(channels / "dataset", SERIES)
    shutil.copytree(tiny.folder_of("bolt"), channels / "model")
    (root / "input" / "config").mkdir(parents=True)
    parameters = {
        "model": "candidate",
        "base": base,
        "horizon": 6,
        "frequency": "H",
        "predictor": {"members": members, "per_item": False},
    }
    (root / "input" / "config" / "parameters.json").write_text(json.dumps(parameters))
    workspace = Workspace(root)
    learn.main(workspace, Listener())
    return workspace.output("predictors")


@pytest.mark.parametrize("family", ["bolt", "chronos2"])
def test_another_base_model_is_a_member_and_goes_with_the_version(tmp_path: Path, family: str) -> None:
    base = tmp_path / "base model"
    shutil.copytree(tiny.folder_of(family), base)
    folder = learned(tmp_path / "job", str(base), ["chronos/1"])
    digest = describe_model(base).digest
    shutil.rmtree(base)  # on another machine
    version = tmp_path / "version"
    shutil.copytree(tiny.folder_of("bolt"), version)
    shutil.copytree(folder, version, dirs_exist_ok=True)
    predictor = Predictor.load(version)
    assert predictor is not None
    assert predictor.members == ("chronos/1",)
    network = Network(describe_model(version), 6, (0.1, 0.5, 0.9))
    assert network.forecasters(predictor)["chronos"].model.description.digest == digest
    made = network.ensemble(predictor).forecast([SERIES["item 0",][1]])
    assert np.isfinite(made.quantiles).all()


def test_the_bundled_model_and_one_without_a_weight_are_not_copied(tmp_path: Path) -> None:
    folder = learned(tmp_path / "bundled", "bundled", ["chronos/1"])
    assert [path.name for path in folder.iterdir()] == ["predictor.json"]
    folder = learned(tmp_path / "unused", str(tiny.folder_of("bolt")), ["tuned/1"])
    assert [path.name for path in folder.iterdir()] == ["predictor.json"]
