"""What was published can be removed again, and nothing else."""

from pathlib import Path

import pytest

from chronos_assets.platforms.local.publishing import VERSIONS, PublishError, publish_directory, remove_directory


def publish(target: Path, text: str) -> None:
    staged = target.parent / "staged"
    staged.mkdir(parents=True)
    (staged / "file").write_text(text)
    publish_directory(target, staged)


def left(folder: Path) -> set[str]:
    return {path.name for path in (folder / VERSIONS).iterdir()} - {"lock"}


def test_every_version_goes_and_the_neighbours_stay(tmp_path: Path) -> None:
    for text in ("1", "2"):
        publish(tmp_path / "model", text)
    publish(tmp_path / "model-b", "3")
    assert len(left(tmp_path)) == 3
    assert remove_directory(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert (tmp_path / "model-b" / "file").read_text() == "3"
    assert len(left(tmp_path)) == 1
    assert not remove_directory(tmp_path / "model")


def test_what_a_killed_removal_left_goes_with_the_next(tmp_path: Path) -> None:
    publish(tmp_path / "model", "1")
    (tmp_path / "model").unlink()
    assert remove_directory(tmp_path / "model")
    assert not left(tmp_path)


def test_somebody_else_s_folder_stays(tmp_path: Path) -> None:
    publish(tmp_path / "other", "1")
    (tmp_path / "model").mkdir()
    with pytest.raises(PublishError, match="was not published by this code"):
        remove_directory(tmp_path / "model")
    assert (tmp_path / "model").is_dir()


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert not remove_directory(tmp_path / "models" / "model")
