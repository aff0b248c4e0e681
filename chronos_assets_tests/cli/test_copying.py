"""The store against a user's folder: what is copied, what leaves the store again, and that a copy is one moment of a file."""

import json
import os
import random
import re
import shutil
import stat
import threading
from pathlib import Path

import pytest

from chronos_assets.cli import copying
from chronos_assets.cli.common import UsageError
from chronos_assets.cli.copying import copy_data
from chronos_assets.cli.doctor import doctor
from chronos_assets.cli.user_files import validate
from chronos_assets.pipeline.group import Group
from chronos_assets.settings import Settings
from chronos_assets.timeseries.dataset.sample import sample_params


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(Settings(store=str(tmp_path / "store")))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write(folder / "train" / "a.csv", "one")
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def stored(group: Group, folder: str = "train") -> dict[str, str]:
    root = group.store.local_path(folder)
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_what_is_new_or_changed_is_copied_with_its_time_and_the_rest_is_left(group: Group, data: Path) -> None:
    assert copy_data(data, group).copied == ("train/a.csv",)
    copy = group.store.local_path("train/a.csv")
    assert copy.stat().st_mtime_ns == (data / "train" / "a.csv").stat().st_mtime_ns
    inode = copy.stat().st_ino
    assert copy_data(data, group).copied == ()
    assert copy.stat().st_ino == inode
    write(data / "train" / "sub" / "b.csv", "two")
    write(data / "train" / "a.csv", "one and more")
    write(data / "params.json", "{}")
    assert set(copy_data(data, group).copied) == {"train/sub/b.csv", "train/a.csv", "params.json"}
    assert stored(group) == {"a.csv": "one and more", "sub/b.csv": "two"}


def test_another_content_of_the_same_size_and_time_is_seen(group: Group, data: Path) -> None:
    copy_data(data, group)
    path = data / "train" / "a.csv"
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    etag = group.store.head("train/a.csv").etag
    assert copy_data(data, group).copied == ("train/a.csv",)
    assert stored(group) == {"a.csv": "two"}
    assert group.store.head("train/a.csv").etag != etag  # so that sensors and imports see it


def test_the_same_content_put_there_again_is_no_change(group: Group, data: Path) -> None:
    copy_data(data, group)
    path = data / "train" / "a.csv"
    other = shutil.copy2(path, data / "other")
    Path(other).replace(path)
    assert copy_data(data, group).copied == ()


@pytest.mark.parametrize("renamed", [False, True])
def test_a_file_that_leaves_the_folder_leaves_the_store(group: Group, data: Path, renamed: bool) -> None:
    bad = write(data / "train" / "bad.csv", "bad")
    copy_data(data, group)
    if renamed:
        bad.rename(data / "train" / "good.csv")
    else:
        bad.unlink()
    mirrored = copy_data(data, group)
    assert mirrored.removed == ("train/bad.csv",)
    assert "train/bad.csv" in " ".join(mirrored.lines())
    assert stored(group) == {"a.csv": "one"} | ({"good.csv": "bad"} if renamed else {})


def test_params_that_leave_the_folder_leave_the_store(group: Group, data: Path) -> None:
    params = write(data / "params.json", "{}")
    copy_data(data, group)
    params.unlink()
    assert copy_data(data, group).removed == ("params.json",)
    assert not group.store.exists("params.json")


def test_what_was_dropped_into_the_store_stays_and_is_named(group: Group, data: Path) -> None:
    copy_data(data, group)
    write(group.store.local_path("train/dropped.csv"), "mine")
    mirrored = copy_data(data, group)
    assert mirrored.kept == ("train/dropped.csv",)
    assert "train/dropped.csv" in " ".join(mirrored.lines())
    assert stored(group) == {"a.csv": "one", "dropped.csv": "mine"}


def test_what_was_put_in_the_place_of_a_copy_stays_once_the_file_is_gone(group: Group, data: Path) -> None:
    write(data / "train" / "b.csv", "two")
    copy_data(data, group)
    write(group.store.local_path("train/b.csv"), "changed by hand")
    (data / "train" / "b.csv").unlink()
    assert copy_data(data, group).removed == ()
    assert stored(group)["b.csv"] == "changed by hand"


def test_another_folder_takes_the_place_of_the_one_before(group: Group, data: Path, tmp_path: Path) -> None:
    copy_data(data, group)
    write(tmp_path / "other" / "train" / "z.csv", "other")
    assert copy_data(tmp_path / "other", group).removed == ("train/a.csv",)
    assert stored(group) == {"z.csv": "other"}


def test_a_folder_that_lost_all_its_files_empties_no_store(group: Group, data: Path) -> None:
    copy_data(data, group)
    (data / "train" / "a.csv").unlink()
    with pytest.raises(UsageError, match="no data files any more"):
        copy_data(data, group)
    assert stored(group) == {"a.csv": "one"}


def test_files_that_are_no_data_are_named_with_the_reason_and_not_copied(group: Group, data: Path) -> None:
    for name in ("c.xlsx", "d.txt", "_sales.csv", "x.zip"):
        write(data / "train" / name, "x")
    write(data / "train" / "empty.csv", "")
    write(data / "train" / "part-0000", "rows")
    write(data / "train" / "b.PARQ", "rows")
    said = " ".join(copy_data(data, group).lines())
    for name in ("c.xlsx", "d.txt", "_sales.csv", "x.zip", "empty.csv"):
        assert name in said
    assert set(stored(group)) == {"a.csv", "part-0000", "b.PARQ"}


def test_covariates_are_mirrored_too(group: Group, data: Path) -> None:
    path = write(data / "related" / "prices.csv", "rows")
    write(data / "item_metadata" / "items.csv", "rows")
    copy_data(data, group)
    assert stored(group, "related") == {"prices.csv": "rows"}
    path.unlink()
    assert copy_data(data, group).removed == ("related/prices.csv",)
    assert stored(group, "item_metadata") == {"items.csv": "rows"}


@pytest.mark.parametrize(("mode", "kept"), [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644), (0o644, 0o644)])
def test_a_copy_is_readable_by_no_more_people_than_the_file(group: Group, data: Path, mode: int, kept: int) -> None:
    (data / "train" / "a.csv").chmod(mode)
    copy_data(data, group)
    assert stat.S_IMODE(group.store.local_path("train/a.csv").stat().st_mode) == kept


def test_a_file_rewritten_while_it_is_copied_is_copied_as_it_ends(
    group: Group, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data / "train" / "a.csv"
    path.write_bytes(b"old" * 1000)
    monkeypatch.setattr(copying, "_PIECE", 1000)
    read, rewritten = os.fstat, threading.Event()

    def fstat(descriptor: int) -> os.stat_result:
        status = read(descriptor)
        if status.st_ino == path.stat().st_ino and not rewritten.is_set():
            rewritten.set()
            path.write_bytes(b"new" * 1000)  # the same size, after the state was read and before the content
        return status

    monkeypatch.setattr(copying.os, "fstat", fstat)
    copy_data(data, group)
    copy = group.store.local_path("train/a.csv")
    assert copy.read_bytes() == b"new" * 1000
    assert copy.stat().st_mtime_ns == path.stat().st_mtime_ns


def test_a_file_that_never_rests_is_refused_and_the_old_copy_stays(
    group: Group, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_data(data, group)
    path = data / "train" / "a.csv"
    path.write_text("two")
    monkeypatch.setattr(copying, "_PAUSE", 0.0)
    ticks = iter(range(1000))
    monkeypatch.setattr(copying, "_identity", lambda status: (0, 0, 0, next(ticks)))
    with pytest.raises(UsageError, match="being written to"):
        copy_data(data, group)
    assert stored(group) == {"a.csv": "one"}


def test_a_store_that_was_copied_by_hand_is_the_same_store(group: Group, data: Path, tmp_path: Path) -> None:
    write(data / "train" / "b.csv", "two")
    copy_data(data, group)
    copy = Group(Settings(store=str(shutil.copytree(tmp_path / "store", tmp_path / "copy"))))
    (data / "train" / "b.csv").unlink()
    mirrored = copy_data(data, copy)
    assert (mirrored.copied, mirrored.removed, mirrored.kept) == ((), ("train/b.csv",), ())


def test_a_damaged_record_loses_no_file(group: Group, data: Path) -> None:
    copy_data(data, group)
    group.store.put(".data-folder.json", b"{")
    write(data / "train" / "b.csv", "two")
    copy_data(data, group)
    assert stored(group) == {"a.csv": "one", "b.csv": "two"}


@pytest.mark.parametrize("seed", range(20))
def test_after_any_history_the_store_holds_the_folder_and_what_was_dropped(group: Group, data: Path, seed: int) -> None:
    chance, dropped = random.Random(seed), {}
    for number in range(25):
        files = sorted(path for path in (data / "train").rglob("*.csv") if path.name != "a.csv")
        change = chance.choice(["new", "new", "delete", "rename", "rewrite", "disguise", "drop", "undrop", "copy"])
        if change == "new" or (not files and change in ("delete", "rename", "rewrite", "disguise")):
            write(data / "train" / chance.choice(["", "sub"]) / f"{number}.csv", str(number))
        elif change == "delete":
            chance.choice(files).unlink()
        elif change == "rename":
            chance.choice(files).rename(data / "train" / f"{number}.csv")
        elif change == "rewrite":
            chance.choice(files).write_text(str(number))
        elif change == "disguise":
            path = chance.choice(files)
            status = path.stat()
            path.write_text("x" * status.st_size)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        elif change == "drop":
            dropped[f"dropped-{number}.csv"] = "mine"
            write(group.store.local_path(f"train/dropped-{number}.csv"), "mine")
        elif change == "undrop" and dropped:
            name = chance.choice(sorted(dropped))
            del dropped[name]
            group.store.local_path(f"train/{name}").unlink()
        else:
            copy_data(data, group)
    copy_data(data, group)
    root = data / "train"
    expected = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    assert stored(group) == expected | dropped
    assert copy_data(data, group).copied == ()


def test_covariates_come_along_under_either_name(group: Group, data: Path) -> None:
    write(data / "related" / "prices.csv", "1")
    write(data / "item" / "items.csv", "2")
    write(data / "train" / "a.related.csv", "3")
    assert set(copy_data(data, group).copied) == {
        "train/a.csv",
        "train/a.related.csv",
        "related/prices.csv",
        "item_metadata/items.csv",
    }


def test_a_folder_of_the_pipelines_names_is_taken(group: Group, tmp_path: Path) -> None:
    data = tmp_path / "ml_ops"
    write(data / "tts" / "a.csv", "one")
    write(data / "rts" / "b.csv", "two")
    assert set(copy_data(data, group).copied) == {"train/a.csv", "related/b.csv"}
    (data / "rts" / "b.csv").unlink()
    assert copy_data(data, group).removed == ("related/b.csv",)
    (data / "tts" / "a.csv").unlink()
    with pytest.raises(UsageError, match="no data files any more"):
        copy_data(data, group)


def test_the_holiday_file_that_params_name_comes_along(group: Group, data: Path, tmp_path: Path) -> None:
    params = sample_params() | {"Chronos": {"Holidays": {"File": "days.csv"}}}
    write(data / "params.json", json.dumps(params))
    assert "days.csv" not in copy_data(data, group).copied  # it isn't there yet
    write(data / "days.csv", "2024-01-01")
    assert copy_data(data, group).copied == ("days.csv",)
    write(tmp_path / "outside.csv", "2024-01-01")
    params["Chronos"]["Holidays"]["File"] = "../outside.csv"
    write(data / "params.json", json.dumps(params))
    assert "../outside.csv" not in copy_data(data, group).copied


def test_scenarios_are_copied_whatever_they_are_written_in(group: Group, data: Path) -> None:
    (data / "what_if").mkdir()
    for name in ("cheaper.json", "feast.csv", "notes.txt"):
        (data / "what_if" / name).write_text("{}")
    assert {key for key in copy_data(data, group).copied if key.startswith("what_if/")} == {
        "what_if/cheaper.json",
        "what_if/feast.csv",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("shop/train", "give {root}/shop"),
        ("shop/train/a.csv", "give {root}/shop"),
        ("loose/a.csv", "is a file: put it into a folder called train/"),
        ("loose", "make it, and move those of the target time series into it"),
        ("empty", "make it, and put *.csv, *.csv.gz or *.parquet files into it"),
    ],
)
def test_a_path_that_is_too_deep_or_not_deep_enough_is_refused_with_the_right_one(
    group: Group, tmp_path: Path, given: str, said: str
) -> None:
    for folder in ("shop/train", "loose", "empty"):
        (tmp_path / "given" / folder).mkdir(parents=True)
        if folder != "empty":
            (tmp_path / "given" / folder / "a.csv").write_text("item_id,timestamp,value\n")
    with pytest.raises(UsageError, match=re.escape(said.format(root=tmp_path / "given"))):
        copy_data(tmp_path / "given" / given, group)


def test_doctor_and_validate_say_what_a_folder_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run would be refused: `doctor` said that there was no problem."""
    monkeypatch.chdir(tmp_path)
    assert doctor(tmp_path / "nowhere") == 1
    assert "nowhere is not there: give the folder that has train/" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UsageError, match=r"has no params\.json, so that there is nothing to check"):
        validate(tmp_path)
