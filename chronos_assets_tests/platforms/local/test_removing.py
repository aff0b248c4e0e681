"""What was published can be removed again, and nothing else."""

from pathlib import Path

import pytest

from chronos_assets.platforms.local import store as local_store
from chronos_assets.platforms.local.publishing import (
    VERSIONS,
    PublishError,
    publish_directory,
    put_aside,
    remove_directory,
)
from chronos_assets.store_layout import history_key

FORMER, OWN = "as_of=2026-01-01-10:00", "as_of=2026-01-01-10%3A00"


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


@pytest.mark.parametrize("copied_by_hand", [False, True])
def test_what_is_put_aside_stays_for_readers_until_the_next_time(tmp_path: Path, *, copied_by_hand: bool) -> None:
    publish(tmp_path / FORMER, "1")
    if copied_by_hand:
        (tmp_path / FORMER).unlink()
        (tmp_path / FORMER).mkdir()
        (tmp_path / FORMER / "file").write_text("2")
    put_aside(tmp_path / FORMER)
    assert not (tmp_path / FORMER).exists()
    kept = {(tmp_path / VERSIONS / name / "file").read_text() for name in left(tmp_path)}
    assert ("2" if copied_by_hand else "1") in kept
    put_aside(tmp_path / FORMER)
    assert not left(tmp_path)
    (tmp_path / FORMER).write_text("a file of somebody else")
    with pytest.raises(PublishError, match="is a file"):
        put_aside(tmp_path / FORMER)


def test_killed_between_a_folder_and_its_former_one_the_new_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_target: Path) -> None:
        raise KeyboardInterrupt

    store = local_store.open_store(tmp_path)
    publish(tmp_path / "history" / FORMER, "1")
    (tmp_path / "history" / FORMER / "manifest.json").write_text("{}")
    for number in (1, 2):
        staged = store.scratch / "staged"
        staged.mkdir()
        (staged / "manifest.json").write_text('{"new": true}')
        with monkeypatch.context() as patch:
            if number == 1:
                patch.setattr(local_store, "put_aside", killed)
                with pytest.raises(KeyboardInterrupt):
                    store.publish(history_key("2026-01-01-10:00"), staged)
            else:
                store.publish(history_key("2026-01-01-10:00"), staged)
        assert [(name, manifest) for name, _, manifest in store.manifests("history")] == [(OWN, {"new": True})]
        assert (tmp_path / "history" / FORMER).exists() == (number == 1)
