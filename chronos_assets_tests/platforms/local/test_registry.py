"""The local registry: numbers, statuses, files that people may edit, writers at once, and kills."""

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from chronos_assets.platforms.local.registry import LocalRegistry
from chronos_assets.platforms.local.store import open_store
from chronos_assets.platforms.registry import RegistryError, approved_version


@pytest.fixture
def registry(tmp_path):
    return LocalRegistry(open_store(tmp_path))


def register(registry, identity="one", group="retail", **changes):
    document = {"base_model": "bundled", "metrics": {"wql": 0.25, "mase": None}, "note": "größer"}
    values = {"model": f"models/{identity}", "document": document, "status": "Approved", "reason": "good"}
    return registry.register(group, identity=identity, **values | changes)


def file_of(folder: Path, number: int) -> Path:
    return folder / "packages" / "retail" / f"{number}.json"


def test_a_version_is_read_as_it_was_registered(registry):
    made = register(registry, document={"metrics": {"wql": 0.25}, "levels": (0.1, 0.9)})
    assert registry.versions("retail") == [made]
    assert (made.name, made.status, made.reason, made.model) == ("retail/1", "Approved", "good", "models/one")
    assert made.document == {"metrics": {"wql": 0.25}, "levels": [0.1, 0.9]}
    (first,) = made.history
    assert (first["status"], first["reason"], first["by"]) == ("Approved", "good", "registration")
    assert datetime.fromisoformat(first["at"]).utcoffset().total_seconds() == 0


def test_the_file_can_be_read_by_people(registry, tmp_path):
    register(registry)
    text = file_of(tmp_path, 1).read_text()
    assert "größer" in text
    assert text.splitlines()[1:6] == [
        '  "format_version": 1,',
        '  "group": "retail",',
        '  "version": 1,',
        '  "status": "Approved",',
        '  "reason": "good",',
    ]


def test_the_same_identity_is_the_same_version_as_it_is_now(registry):
    register(registry)
    registry.set_status("retail", 1, "Rejected", reason="bad", by="ann")
    again = register(registry, status="Approved", document={})
    assert (again.version, again.status) == (1, "Rejected")
    assert again.document["base_model"] == "bundled"
    assert register(registry, "two").version == 2
    assert register(registry, "one", group="wholesale").version == 1
    assert [item.version for item in registry.versions("retail")] == [1, 2]


def test_a_number_is_never_used_again(registry, tmp_path):
    register(registry, "one")
    register(registry, "two")
    file_of(tmp_path, 2).unlink()
    assert register(registry, "three").version == 3
    # Also where only the files tell it.
    (tmp_path / "packages" / "retail" / ".lock").unlink()
    assert register(registry, "four").version == 4


def test_more_than_nine_versions_are_in_order(registry, tmp_path):
    for number in range(1, 13):
        assert register(registry, str(number)).version == number
    assert [item.version for item in registry.versions("retail")] == list(range(1, 13))
    (tmp_path / "packages" / "retail" / ".lock").unlink()
    assert register(registry, "13").version == 13
    assert (tmp_path / "packages" / "retail" / ".lock").read_text() == "13\n"


def test_a_status_adds_to_the_history_and_keeps_the_rest(registry):
    made = register(registry, status="Rejected", reason="worse than seasonal naive")
    changed = registry.set_status("retail", 1, "Approved", reason="needed\n now", by="ann", expected="Rejected")
    assert (changed.status, changed.reason) == ("Approved", "needed now")
    assert changed.history[0] == made.history[0]
    assert changed.history[0]["reason"] == "worse than seasonal naive"
    assert [entry["by"] for entry in changed.history] == ["registration", "ann"]
    assert changed.document == made.document
    assert registry.versions("retail") == [changed]


def test_in_use_is_the_approved_version_with_the_highest_number(registry):
    assert approved_version(registry.versions("retail")) is None
    for identity, status in (("one", "Approved"), ("two", "Approved"), ("three", "PendingManualApproval")):
        register(registry, identity, status=status)
    assert approved_version(registry.versions("retail")).version == 2


def test_what_is_not_there_is_reported_with_what_is(registry):
    with pytest.raises(RegistryError, match="nothing was registered as retail yet"):
        registry.set_status("retail", 1, "Approved", reason="", by="ann")
    register(registry)
    with pytest.raises(RegistryError, match=r"no version 2 of retail: there is 1 \(Approved\)"):
        registry.set_status("retail", 2, "Approved", reason="", by="ann")
    with pytest.raises(RegistryError, match="status 'approved' is none: use Approved, Rejected"):
        registry.set_status("retail", 1, "approved", reason="", by="ann")
    with pytest.raises(RegistryError, match="retail/1 is Approved, no longer Rejected"):
        registry.set_status("retail", 1, "Approved", reason="", by="ann", expected="Rejected")
    assert len(registry.versions("retail")[0].history) == 1


@pytest.mark.parametrize("group", ["", "..", "a/b", "/a", "a.b", "-a", "a" * 64, "ä", "a\n"])
def test_a_group_is_never_a_path(registry, group, tmp_path):
    with pytest.raises(RegistryError, match="up to 63 letters"):
        register(registry, group=group)
    with pytest.raises(RegistryError, match="up to 63 letters"):
        registry.versions(group)
    with pytest.raises(RegistryError, match="up to 63 letters"):
        registry.set_status(group, 1, "Approved", reason="", by="ann")
    assert not (tmp_path / "packages").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "good"}, "status 'good' is none"),
        ({"identity": ""}, "without an identity"),
        ({"model": "../elsewhere"}, "must lie in the store"),
        ({"model": "/tmp/model"}, "must lie in the store"),
        ({"document": {"wql": float("nan")}}, "is not JSON"),
        ({"document": {"folder": Path("a")}}, "is not JSON"),
        ({"document": {"text": "\ud800"}}, "is not JSON"),
    ],
)
def test_what_can_not_be_registered_leaves_nothing(registry, changes, said, tmp_path):
    with pytest.raises(RegistryError, match=said):
        register(registry, **changes)
    assert not (tmp_path / "packages").exists()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda text: text[:40], "can't be read"),
        (lambda text: "[]", "not a JSON object"),
        (lambda text: "\udcff", "can't be read"),
        (lambda text: text.replace('"Approved"', '"approved"', 1), "status 'approved' is none"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "says that it is retail/2"),
        (lambda text: text.replace('"retail"', '"other"'), "says that it is other/1"),
        (lambda text: text.replace('"identity"', '"id"'), "identity is missing"),
        (lambda text: text.replace('"reason": "good"', '"reason": 3', 1), "reason is not a text"),
        (lambda text: text.replace("models/one", "../../etc"), "'..' part"),
        (lambda text: text.replace("0.25", "NaN"), "NaN is no JSON number"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 2'), "format_version is 2"),
    ],
)
def test_a_file_that_was_broken_by_hand_is_named_with_the_fix(registry, edit, said, tmp_path):
    register(registry)
    path = file_of(tmp_path, 1)
    path.write_text(edit(path.read_text()), errors="surrogateescape")
    broken = path.read_bytes()
    for call in (
        lambda: registry.versions("retail"),
        lambda: register(registry, "two"),
        lambda: registry.set_status("retail", 1, "Rejected", reason="", by="ann"),
    ):
        with pytest.raises(RegistryError, match="correct it, or move it away") as error:
            call()
        assert said in str(error.value)
        assert str(path) in str(error.value)
    assert path.read_bytes() == broken
    path.rename(tmp_path / "aside")
    assert register(registry, "two").version == 2


def test_a_status_that_was_edited_by_hand_counts(registry, tmp_path):
    register(registry)
    path = file_of(tmp_path, 1)
    path.write_text(path.read_text().replace('"Approved"', '"Rejected"', 1))
    assert approved_version(registry.versions("retail")) is None


def test_other_files_in_the_folder_are_no_versions(registry, tmp_path):
    register(registry)
    folder = tmp_path / "packages" / "retail"
    for name in ("01.json", "0.json", "1.json~", "notes.json", "1.JSON"):
        (folder / name).write_text("mine")
    assert [item.version for item in registry.versions("retail")] == [1]
    assert register(registry, "two").version == 2
    assert (folder / "notes.json").read_text() == "mine"


def test_things_in_the_way_are_named(registry, tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "retail").write_text("")
    with pytest.raises(RegistryError, match="is a file"):
        registry.versions("retail")
    register(registry, group="other")
    (tmp_path / "packages" / "other" / ".lock").write_text("many")
    with pytest.raises(RegistryError, match="holds 'many'"):
        register(registry, "two", group="other")
    (tmp_path / "packages" / "other" / "2.json").mkdir()
    with pytest.raises(RegistryError, match="can't be read"):
        registry.versions("other")


def test_a_killed_writers_leftover_never_changes_a_version(registry, tmp_path):
    made = register(registry)
    # Linked to its name, and killed before the other name was removed: both are one file.
    os.link(file_of(tmp_path, 1), file_of(tmp_path, 1).parent / ".incoming")
    assert register(registry, "two").version == 2
    assert registry.versions("retail")[0] == made


def test_a_copied_store_goes_on(registry, tmp_path):
    register(registry)
    shutil.copytree(tmp_path / "packages", tmp_path / "copy" / "packages")
    copy = LocalRegistry(open_store(tmp_path / "copy"))
    assert register(copy, "two").version == 2
    assert len(registry.versions("retail")) == 1


@pytest.mark.parametrize(
    ("scenario", "least"), [("first", 20), ("next", 20), ("status", 15), ("approve", 60), ("roll_back", 25)]
)
def test_killed_at_every_step_nothing_is_half_written_and_a_rerun_completes(
    scenario, least, memory_folder, record_property
):
    counts = drive(scenario, memory_folder)
    record_property("counts", counts)
    assert counts["kills"] >= least
    assert counts["saw_old"] > 0
    assert counts["saw_new"] > 0


def test_six_processes_at_once_share_no_number_and_lose_none(memory_folder, record_property):
    counts = drive("together", memory_folder)
    record_property("counts", counts)
    assert counts == {"versions": 61, "highest": 61}


def drive(scenario: str, folder: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "chronos_assets_tests.platforms.local.registry_driver", scenario, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
