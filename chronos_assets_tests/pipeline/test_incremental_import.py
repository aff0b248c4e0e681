"""The import of the store's train files: what it takes over, what it says, and what a kill leaves."""

import json
import logging
from datetime import timedelta
from types import SimpleNamespace

import pytest

from chronos_assets.pipeline import dataset_import
from chronos_assets.pipeline.account import import_rows
from chronos_assets.pipeline.dataset_import import import_dataset
from chronos_assets.pipeline.file_remarks import look_at_files
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.pipeline.train_files import train_files
from chronos_assets.platforms.folder_files import folder_digest
from chronos_assets.settings import Settings
from chronos_assets.store_layout import DATASET_KEY, IMPORT_MEMORY_KEY
from chronos_assets_tests.defs.line import FIRST, PARAMS, hourly_rows

LOG = logging.getLogger(__name__)
CONTEXT = SimpleNamespace(log=LOG)


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A store whose train files were imported."""
    made = Group(Settings(store=str(tmp_path_factory.mktemp("store"))))
    quarantine = {**PARAMS, "Chronos": {**PARAMS["Chronos"], "BadRows": "quarantine"}}
    made.store.put("params.json", json.dumps(quarantine).encode())
    put_days(made, "june", 0, 4, "no time,1,client_a")
    put_days(made, "today", 4, 1)
    return made


def put_days(group, name, after, days, *more):
    rows = [*hourly_rows(days, first=FIRST + timedelta(days=after)), *more]
    group.store.put(f"train/{name}.csv", "\n".join(rows).encode())


def imported(group, caplog):
    """What an import said, once it is the same as one of everything."""
    caplog.clear()
    with caplog.at_level(logging.INFO, LOG.name):
        import_dataset(GroupState(group), CONTEXT)
    shown = group.store.shown(DATASET_KEY)
    # The digests that the import knows are those of the files.
    assert shown == f"target_time_series-{folder_digest(group.store.snapshot(DATASET_KEY))[:16]}"
    memory = group.store.get(IMPORT_MEMORY_KEY)
    group.store.delete(IMPORT_MEMORY_KEY)
    import_dataset(GroupState(group), CONTEXT)
    assert group.store.shown(DATASET_KEY) == shown
    group.store.put(IMPORT_MEMORY_KEY, memory)
    reported = [text for text in caplog.messages if "files read" in text or text.startswith("everything read")]
    [found] = [text for text in reported if "no earlier import" not in text] or [None]
    return found


@pytest.mark.process
def test_days_that_come_one_by_one(group, caplog, monkeypatch):
    assert imported(group, caplog) is None
    put_days(group, "tomorrow", 5, 1)
    fetched = []
    with monkeypatch.context() as patch:
        fetch = type(group.store).fetch
        patch.setattr(
            dataset_import, "look_at_files", lambda *_: ()
        )  # which is left out where files have to be fetched for it
        patch.setattr(type(group.store), "fetch", lambda store, key: fetched.append(key) or fetch(store, key))
        assert imported(group, caplog) == "1 of 3 files read, 2 unchanged; 1 of 1 shards rewritten, 0 kept"
    # Of the files only what is read is fetched, until the import of everything.
    assert fetched[:2] == [IMPORT_MEMORY_KEY, "train/tomorrow.csv"]
    assert sorted(fetched[2:]) == ["train/june.csv", "train/today.csv", "train/tomorrow.csv"]
    assert imported(group, caplog) == "0 of 3 files read, 3 unchanged; 0 of 1 shards rewritten, 1 kept"

    group.store.delete("rejected/june.csv")
    put_days(group, "today", 4, 1, "2024-01-05 00:00:00,1,client_new")
    assert imported(group, caplog) == "everything read (3 files) and written (1 shard): most of the data has to be read"
    assert group.store.exists("rejected/june.csv")

    # Killed before the dataset is shown, and before what is noted for the next import is there.
    for place in ("publish", "put_file"):
        put_days(group, place, 6, 1, f"2024-01-07 00:00:00,1,client_{place}")
        with monkeypatch.context() as patch:
            patch.setattr(type(group.store), place, die)
            with pytest.raises(Killed):
                import_dataset(GroupState(group), CONTEXT)
        said = imported(group, caplog)
        if place == "publish":
            assert said.startswith("1 of 4 files read")
        else:
            assert said.endswith("the last import noted nothing of the dataset that is there")


def die(*_arguments, **_options):
    raise Killed


@pytest.mark.process
def test_what_values_look_like_is_said_beside_the_dataset_not_in_it(tmp_path):
    group = Group(Settings(store=str(tmp_path)))
    group.store.put("params.json", json.dumps(PARAMS).encode())
    rows = list(hourly_rows(5))
    group.store.put("train/plain.csv", "\n".join(rows).encode())
    assert not any("-999" in remark for remark in import_dataset(GroupState(group), CONTEXT).remarks)
    cells = [row.split(",", 2) for row in rows]
    marked = [",".join([time, value if at % 13 else "-999", item]) for at, (time, value, item) in enumerate(cells)]
    group.store.put("train/plain.csv", "\n".join(marked).encode())
    made = import_dataset(GroupState(group), CONTEXT)
    assert any("-999" in remark for remark in made.remarks)
    state = GroupState(group)
    assert any("-999" in text for _, text in import_rows(state))
    assert not any("-999" in note for note in state.require_manifest().notes)
    # Where files would have to be fetched they are not looked at, and the dataset is the same.
    elsewhere = SimpleNamespace(settings=SimpleNamespace(deployment="aws"))
    assert look_at_files(elsewhere, made.params, train_files(group)) == ()
    group.store.put("train/plain.csv", "\n".join(rows).encode())
    import_dataset(GroupState(group), CONTEXT)
    assert not any("-999" in text for _, text in import_rows(GroupState(group)))
