"""The workload learn: what it leaves of a version's predictor, and what has to be beside it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from chronos_assets.container.archives import MODEL_ARCHIVE, ArchiveError, pack_folder, unpack
from chronos_assets.models.checkpoints import describe_model
from chronos_assets.predictors.opening import Network
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.workloads import learn
from chronos_assets_tests.models import tiny
from chronos_assets_tests.workloads.listener import Listener
from chronos_assets_tests.workloads.processing_root import processing_root
from chronos_assets_tests.workloads.small_dataset import write_dataset

HOURS = np.arange(240)
SERIES = {
    (f"item {number}",): ("2024-01-01T00:00:00", 20 + 5 * np.sin(2 * np.pi * HOURS / 24 + number))
    for number in range(4)
}


def learned(root: Path, base: str | None, members: list[str], archive: Path | None = None) -> Path:
    """What the job leaves for a tiny checkpoint, or a packed one, with this base model beside it."""
    channels = root / "processing" / "input"
    channels.mkdir(parents=True)
    write_dataset(channels / "dataset", SERIES)
    if archive is None:
        shutil.copytree(tiny.folder_of("bolt"), channels / "model")
    else:
        (channels / "model").mkdir()
        shutil.copy(archive, channels / "model" / MODEL_ARCHIVE)
    parameters = {
        "model": "candidate",
        "base": base,
        "horizon": 6,
        "frequency": "H",
        "predictor": {"members": members, "per_item": False},
    }
    workspace = processing_root(root, parameters)
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


def test_a_packed_candidate_is_left_packed_with_its_predictor(tmp_path: Path) -> None:
    candidate = tmp_path / "candidate"
    shutil.copytree(tiny.folder_of("bolt"), candidate)
    digest = describe_model(candidate).digest
    (candidate / "predictor.json").write_text("of another model")
    (candidate / "base").mkdir()
    (candidate / "base" / "config.json").write_text("of another model")
    pack_folder(candidate, tmp_path / MODEL_ARCHIVE)
    base = tiny.folder_of("chronos2")
    output = learned(tmp_path / "job", str(base), ["tuned/1", "chronos/1"], archive=tmp_path / MODEL_ARCHIVE)
    version = tmp_path / "version"
    unpack(output / MODEL_ARCHIVE, version)
    assert describe_model(version).digest == digest
    assert (version / "predictor.json").read_bytes() == (output / "predictor.json").read_bytes()
    predictor = Predictor.load(version)
    assert predictor is not None
    assert (version / "base").is_dir() == ("chronos" in predictor.checkpoints) == (output / "base").is_dir()
    if (version / "base").is_dir():
        assert describe_model(version / "base").digest == describe_model(base).digest
    scratch = tmp_path / "job" / "processing" / "scratch"
    assert list(scratch.iterdir()) == []


def test_an_archive_that_can_not_be_trusted_is_refused(tmp_path: Path) -> None:
    (tmp_path / MODEL_ARCHIVE).write_bytes(b"no archive")
    with pytest.raises(ArchiveError, match=r"model\.tar\.gz can't be unpacked"):
        learned(tmp_path / "job", None, ["tuned/1"], archive=tmp_path / MODEL_ARCHIVE)


def test_the_bundled_model_and_one_without_a_weight_are_not_copied(tmp_path: Path) -> None:
    folder = learned(tmp_path / "bundled", "bundled", ["chronos/1"])
    assert [path.name for path in folder.iterdir()] == ["predictor.json"]
    folder = learned(tmp_path / "unused", str(tiny.folder_of("bolt")), ["tuned/1"])
    assert [path.name for path in folder.iterdir()] == ["predictor.json"]
