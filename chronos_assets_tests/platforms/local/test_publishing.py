"""Publishing is atomic, monotonic and completes after any kill."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from chronos_assets.platforms.folder_files import folder_digest
from chronos_assets.platforms.local import publishing
from chronos_assets.platforms.local.publishing import (
    AS_OF_FILE,
    VERSIONS,
    PublishError,
    current,
    publish_directory,
    publish_forecast,
    published_as_of,
)

NOON = datetime(2026, 1, 1, 12)


@pytest.fixture
def stage(tmp_path):
    """Make a staged folder with the given files."""

    def make(**files: str) -> Path:
        staged = tmp_path / "staged"
        staged.mkdir()
        for name, text in files.items():
            (staged / name).write_text(text)
        return staged

    return make


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def versions(target: Path) -> list[str]:
    return sorted(path.name for path in (target.parent / VERSIONS).iterdir() if path.name != "lock")


def test_a_folder_is_shown_through_a_relative_link_and_the_staged_one_is_used_up(tmp_path, stage):
    target = tmp_path / "store" / "forecast"
    staged = stage(a="1", b="1")
    version = publish_directory(target, staged)
    assert files(target) == {"a": "1", "b": "1"}
    assert not staged.exists()
    assert current(target) == version == target.resolve()
    assert os.readlink(target) == f"{VERSIONS}/{version.name}"
    moved = target.parent.rename(tmp_path / "moved")
    assert files(moved / "forecast") == {"a": "1", "b": "1"}


def test_files_that_are_gone_in_the_new_version_are_gone(tmp_path, stage):
    target = tmp_path / "forecast"
    publish_directory(target, stage(a="1", b="1"))
    publish_directory(target, stage(a="2"))
    assert files(target) == {"a": "2"}


def test_the_version_before_stays_for_readers_under_way_and_older_ones_go(tmp_path, stage):
    target = tmp_path / "forecast"
    publish_directory(target, stage(a="1"))
    second = publish_directory(target, stage(a="2"))
    reader = os.open(target, os.O_RDONLY)
    third = publish_directory(target, stage(a="3"))
    with open(os.open("a", os.O_RDONLY, dir_fd=reader)) as file:
        assert file.read() == "2"
    os.close(reader)
    assert versions(target) == sorted([second.name, third.name])


def test_the_same_content_again_changes_nothing(tmp_path, stage):
    target = tmp_path / "forecast"
    publish_directory(target, stage(a="1"))
    first = publish_directory(target, stage(a="2"))
    before = os.lstat(target), first.stat(), versions(target)
    staged = stage(a="2")
    assert publish_directory(target, staged) == first
    assert (os.lstat(target), first.stat(), versions(target)) == before
    assert not staged.exists()


def test_content_of_an_older_version_comes_back(tmp_path, stage):
    target = tmp_path / "forecast"
    first = publish_directory(target, stage(a="1"))
    publish_directory(target, stage(a="2"))
    assert publish_directory(target, stage(a="1")) == first
    assert files(target) == {"a": "1"}


def test_a_version_edited_by_hand_is_not_taken_for_its_content(tmp_path, stage):
    target = tmp_path / "forecast"
    publish_directory(target, stage(a="1"))
    (target / "a").write_text("edited")
    publish_directory(target, stage(a="1"))
    assert files(target) == {"a": "1"}
    publish_directory(target, stage(a="2"))
    assert len(versions(target)) == 2
    (tmp_path / VERSIONS / versions(target)[0] / "a").write_text("edited too")
    publish_directory(target, stage(a="1"))
    assert files(target) == {"a": "1"}


def test_targets_side_by_side_keep_their_own_versions(tmp_path, stage):
    names = ["as_of=2026-01-01", "as_of=2026-01-01-10:00", "as_of=2026-01-01-11:00"]
    for round_ in "123":
        for name in names:
            publish_directory(tmp_path / name, stage(a=name + round_))
    assert [files(tmp_path / name) for name in names] == [{"a": f"{name}3"} for name in names]
    assert len(versions(tmp_path / "x")) == 6


def test_an_ordinary_folder_in_the_way_becomes_the_version_before(tmp_path, stage):
    target = tmp_path / "forecast"
    target.mkdir()
    (target / "a").write_text("by hand")
    new = publish_directory(target, stage(a="1"))
    assert target.is_symlink()
    assert files(target) == {"a": "1"}
    (aside,) = set(versions(target)) - {new.name}
    assert files(tmp_path / VERSIONS / aside) == {"a": "by hand"}
    publish_directory(target, stage(a="2"))
    assert aside not in versions(target)


def test_where_folders_cannot_be_exchanged_an_ordinary_folder_is_an_error_that_says_what_to_do(
    tmp_path, stage, monkeypatch
):
    target = tmp_path / "forecast"
    target.mkdir()
    (target / "a").write_text("by hand")

    class NoLibrary:
        def __init__(self, *_, **__):
            pass

    monkeypatch.setattr(publishing.ctypes, "CDLL", NoLibrary)
    with pytest.raises(PublishError, match="move it away") as error:
        publish_directory(target, stage(a="1"))
    assert str(target) in str(error.value)
    assert files(target) == {"a": "by hand"}
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "staged", ignore_errors=True)
    publish_directory(target, stage(a="1"))
    assert files(target) == {"a": "1"}


def test_what_must_not_be_replaced_or_published_is_refused(tmp_path, stage):
    (tmp_path / "file").write_text("x")
    os.symlink("/somewhere/else", tmp_path / "foreign")
    staged = stage(a="1")
    with pytest.raises(PublishError, match="is a file"):
        publish_directory(tmp_path / "file", staged)
    with pytest.raises(PublishError, match="made by someone else"):
        publish_directory(tmp_path / "foreign", staged)
    with pytest.raises(PublishError, match="is a file"):
        publish_forecast(tmp_path / "file", staged, NOON)
    with pytest.raises(PublishError, match="not a folder"):
        publish_directory(tmp_path / "forecast", tmp_path / "nothing")
    os.symlink("a", staged / "link")
    with pytest.raises(PublishError, match="only plain files"):
        publish_directory(tmp_path / "forecast", staged)
    assert files(tmp_path / "staged")["a"] == "1"
    assert os.readlink(tmp_path / "foreign") == "/somewhere/else"
    assert not (tmp_path / "forecast").exists()


def test_the_digest_is_of_names_and_contents_only(tmp_path):
    digests = []
    for number, (name, text) in enumerate([("a", "1"), ("a", "1"), ("a", "2"), ("b", "1")]):
        folder = tmp_path / str(number)
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / name).write_text(text)
        os.utime(folder / "sub" / name, (number, number))
        digests.append(folder_digest(folder))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_forecast_never_goes_back_in_time(tmp_path, stage):
    target = tmp_path / "forecast"
    assert published_as_of(target) is None
    assert publish_forecast(target, stage(a="noon"), NOON)
    assert published_as_of(target) == NOON
    staged = stage(a="before")
    assert not publish_forecast(target, staged, NOON - timedelta(microseconds=1))
    assert files(staged)["a"] == "before"
    shutil.rmtree(staged)
    assert (target / "a").read_text() == "noon"
    assert publish_forecast(target, stage(a="noon again"), NOON)
    assert publish_forecast(target, stage(a="after"), NOON + timedelta(days=1))
    assert (target / "a").read_text() == "after"


def test_instants_with_and_without_a_zone_compare(tmp_path, stage):
    target = tmp_path / "forecast"
    assert publish_forecast(target, stage(a="1"), NOON.replace(tzinfo=UTC))
    east = datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=2)))
    staged = stage(a="earlier")
    assert not publish_forecast(target, staged, east)
    shutil.rmtree(staged)
    assert publish_forecast(target, stage(a="2"), NOON + timedelta(seconds=1))


def test_an_instant_that_cannot_be_read_is_reported(tmp_path, stage):
    target = tmp_path / "forecast"
    publish_forecast(target, stage(a="1"), NOON)
    (target / AS_OF_FILE).write_text("yesterday")
    with pytest.raises(PublishError, match=r"\.as_of holds no ISO time"):
        publish_forecast(target, stage(a="2"), NOON)


@pytest.mark.parametrize(
    ("scenario", "least"),
    [
        ("first", 60),
        ("replace", 80),
        ("new_version", 70),
        ("ordinary_folder", 60),
        ("other_file_system", 100),
        ("forecast", 70),
    ],
)
def test_killed_at_every_step_readers_see_old_or_new_and_a_rerun_completes(
    scenario, least, memory_folder, record_property
):
    counts = drive(scenario, memory_folder)
    record_property("counts", counts)
    assert counts["kills"] >= least
    assert counts["saw_old"] > 0
    assert counts["saw_new"] > 0
    assert counts["saw_old"] + counts["saw_new"] == counts["kills"]


def test_killed_at_random_moments_readers_never_see_a_mix(memory_folder, record_property):
    counts = drive("random", memory_folder)
    record_property("counts", counts)
    assert counts["kills"] == 60
    assert counts["reads"] > 40
    assert counts["versions"] > 2


def test_publishers_at_the_same_time_leave_the_latest_as_of_and_never_go_back(memory_folder, record_property):
    counts = drive("together", memory_folder)
    record_property("counts", counts)
    assert counts["publishings"] == 120
    assert counts["reads"] > 100


def drive(scenario: str, folder: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "chronos_assets_tests.platforms.local.publishing_driver", scenario, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
