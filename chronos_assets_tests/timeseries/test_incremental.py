"""An import of changes gives the bytes of an import of everything, and reads and writes only what has changed."""

import shutil
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.timeseries.dataset import file_changes, import_memory, importing, incremental
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.checks import check_dataset
from chronos_assets.timeseries.dataset.dataset_before import Before
from chronos_assets.timeseries.dataset.importing import import_target_time_series
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.shard_files import FolderFiles
from chronos_assets.timeseries.dataset.shard_writing import tail_start
from chronos_assets.timeseries.dataset.shards import (
    DatasetError,
    iter_series,
    list_files,
    list_shards,
    shard_name,
    shard_number,
    tail_name,
)
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets_tests.timeseries.builders import DatasetFolder
from chronos_assets_tests.timeseries.train_drop import START, Drop, params_for, rows

pytestmark = pytest.mark.process  # several imports each

DAY = datetime(2024, 1, 1)


class History:
    """A train/ folder that changes, imported again after each change."""

    def __init__(self, folder: Path, params=None, shard_bytes=700, **options):
        self.folder = folder
        self.params = params or params_for(frequency="D", pattern="yyyy-MM-dd")
        self.options = {"resources": Resources(threads=1), "shard_bytes": shard_bytes, **options}
        self.files: dict[str, TrainFile] = {}
        self.writes = 0
        (folder / "train").mkdir()

    def put(self, name, data):
        self.writes += 1
        path = self.folder / "train" / f"{self.writes}"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        self.files[name] = TrainFile(path, f"train/{name}", START + timedelta(minutes=self.writes), f"e{self.writes}")
        return self

    def drop(self, name):
        del self.files[name]
        return self

    def rename(self, name, other):
        file = self.files.pop(name)
        self.files[other] = TrainFile(file.path, f"train/{other}", file.last_modified, file.etag)
        return self

    @property
    def dataset(self):
        return self.folder / "dataset"

    @property
    def memory(self):
        return self.folder / "memory"

    def run(self, *, killed=False):
        """Import what has changed, and everything: the report of the first, once both are the same.

        killed: before what is noted for the next import is written.
        """
        before = Before(lambda: FolderFiles(self.dataset), self.memory) if self.memory.exists() else None
        changes, everything = self._run("changes", before), self._run("everything", None)
        assert type(changes) is type(everything)
        assert tree(self.folder / "changes-rejected") == tree(self.folder / "everything-rejected")
        if isinstance(changes, ImportFailure):
            assert str(changes) == str(everything)
            return changes
        assert tree(self.folder / "changes") == tree(self.folder / "everything")
        assert (changes.manifest, changes.files, changes.notes) == (
            everything.manifest,
            everything.files,
            everything.notes,
        )
        shutil.rmtree(self.dataset, ignore_errors=True)
        (self.folder / "changes").rename(self.dataset)
        if not killed:
            changes.memory.save(self.memory)
        return changes

    def only_changes(self, before):
        return self._run("changes", before)

    def _run(self, name, before):
        try:
            return import_target_time_series(
                list(self.files.values()),
                self.params,
                output=self.folder / name,
                rejected=self.folder / f"{name}-rejected",
                before=before,
                **self.options,
            )
        except ImportFailure as failure:
            return failure


class Elsewhere(FolderFiles):
    """A dataset of which every file has to be fetched; `was_read` names those that were."""

    @cached_property
    def was_read(self):
        return set()

    def read(self, name):
        self.was_read.add(name)
        return super().read(name)

    def keep(self, name, target):
        return f"there/{name}"


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def day(number, items=range(40), value=0.0):
    """One row of each item on a day; the stores take turns."""
    when = f"{DAY + timedelta(days=number):%Y-%m-%d}"
    return rows(*(f"{when},{number + item / 8 + value},item {item},{('north', 'south')[item % 2]}" for item in items))


@pytest.fixture(autouse=True)
def read_any_share(monkeypatch):
    """Small files beside smaller ones: by default everything would be read."""
    monkeypatch.setattr(file_changes, "MOST_READ", 1.0)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """32 days of 40 items in one file, two more in files of their own; two stores in each file, and a bad row."""
    columns = ("timestamp", "target_value", "item_id", "store")
    params = params_for(
        frequency="D", pattern="yyyy-MM-dd", columns=columns, dimensions=("store",), chronos={"BadRows": "quarantine"}
    )
    made = History(tmp_path_factory.mktemp("imported"), params, shard_bytes=4000)
    made.put("old.csv", "".join(day(number) for number in range(32)) + "2024-01-01,oops,item 1,north\n")
    for number in (32, 33):
        made.put(f"{number}.csv", day(number))
    assert made.run().reason == "there is no earlier import to build on"
    return made


@pytest.fixture
def history(imported, tmp_path):
    """A copy, to be changed."""
    shutil.copytree(imported.folder, tmp_path / "copy")
    made = copy(imported)
    made.folder, made.files, made.options = tmp_path / "copy", dict(imported.files), dict(imported.options)
    return made


OLD = frozenset({"train/old.csv", "train/32.csv", "train/33.csv"})


class TestWhatIsTouched:
    def test_of_a_new_day_only_its_file_is_read(self, history):
        report = history.put("34.csv", day(34)).run()
        assert (report.reason, report.kept_files, report.kept_shards) == ("", OLD, frozenset())

    def test_a_day_in_the_tails_leaves_what_lies_before_it_alone(self, history):
        report = history.put("34.csv", day(34)).run()
        assert report.extended_shards == {shard.name for shard in report.manifest.shards}
        for shard in report.manifest.shards:
            assert shard.tail.rows < shard.rows / 8

    def test_a_new_file_touches_only_the_shards_whose_items_it_names(self, history):
        report = history.put("more.csv", day(33, items=[3], value=9)).run()
        [rewritten] = {shard.name for shard in report.manifest.shards} - report.kept_shards
        number = shard_number(("item 3", "south"), report.manifest.n_shards)
        assert rewritten == shard_name(number)
        # The rows that it replaces are in the file of that day, the others aren't read.
        assert report.kept_files == OLD - {"train/33.csv"}

    def test_of_a_dataset_elsewhere_only_what_changes_is_read_and_written(self, history):
        history.put("more.csv", day(33, items=[3], value=9))
        there = Elsewhere(history.dataset)
        report = history.only_changes(Before(lambda: there, history.memory))
        name = shard_name(shard_number(("item 3", "south"), report.manifest.n_shards))
        # The day lies in the tails: only the tail of that shard is read.
        tail = tail_name(name)
        assert there.was_read == {"_manifest.json", tail}
        made = tree(history.folder / "changes")
        assert made.keys() == {"_manifest.json", tail}
        assert report.elsewhere == {kept: f"there/{kept}" for kept in tree(history.dataset) if kept not in made}
        kept = {name: (history.dataset / name).read_bytes() for name in report.elsewhere}
        history.run()
        assert made | kept == tree(history.dataset)

    def test_a_deleted_file_touches_only_those_it_had(self, history):
        history.put("more.csv", day(33, items=[3], value=9)).run()
        report = history.drop("more.csv").run()
        assert len({shard.name for shard in report.manifest.shards} - report.kept_shards) == 1

    def test_the_dataset_becomes_shorter_with_its_last_file(self, history):
        report = history.drop("33.csv").run()
        assert (report.reason, report.manifest.last) == ("", "2024-02-02T00:00:00")
        assert report.kept_files == OLD - {"train/33.csv"}

    def test_a_changed_file_and_bad_rows_of_a_new_one(self, history):
        history.put("32.csv", day(32, items=range(5, 45), value=0.5)).put(
            "bad.csv", day(20, [2]) + "x,1,item 1,north\n"
        )
        report = history.run()
        assert report.reason == ""
        assert report.manifest.rejected == {"bad_timestamp": 1, "not_a_number": 1}
        assert report.kept_files == OLD - {"train/32.csv", "train/old.csv"}

    def test_nothing_at_all(self, history):
        report = history.run()
        assert (report.kept_files, len(report.kept_shards)) == (OLD, len(report.manifest.shards))

    def test_files_whose_bad_rows_are_no_longer_set_aside_are_read_again(self, history):
        before = Before(lambda: FolderFiles(history.dataset), history.memory, set_aside=frozenset())
        report = history.only_changes(before)
        assert report.kept_files == OLD - {"train/old.csv"}
        assert set(report.rejected_files) == {"train/old.csv"}


class TestWhenEverythingIsRead:
    def test_most_of_the_data_changed(self, history, monkeypatch):
        monkeypatch.setattr(file_changes, "MOST_READ", 0.5)
        history.put("old.csv", "".join(day(number, value=1) for number in range(32)))
        assert history.run().reason == "most of the data has to be read"

    def test_other_parameters(self, history):
        history.params = replace(history.params, aggregation="max")
        assert history.run().reason == "the parameters or the program have changed"

    def test_periods_start_elsewhere(self, history):
        history.params = replace(history.params, frequency=Frequency.parse("W"), data_frequency=Frequency.parse("W"))
        assert history.run().reason == "the parameters or the program have changed"

    @pytest.mark.parametrize(("name", "end"), [("tail-00000.parquet", b"TAIL"), ("part-00000.parquet", b"")])
    def test_a_file_of_the_dataset_that_was_edited(self, history, name, end):
        path = history.dataset / name
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:-4] + end)
        assert f"{name} of the dataset " in history.put("34.csv", day(34)).run().reason

    def test_notes_that_are_damaged_or_of_another_dataset(self, history):
        notes = history.memory.read_bytes()
        history.put("34.csv", day(34)).run()
        history.memory.write_bytes(notes)
        assert history.run().reason == "the last import noted nothing of the dataset that is there"
        notes = history.memory.read_bytes()
        history.memory.write_bytes(notes[: len(notes) // 2])
        assert history.run().reason.startswith("what the last import noted can't be read")

    def test_a_row_far_ahead_is_left_out_as_by_an_import_of_everything(self, history):
        report = history.put("typo.csv", "2042-01-01,1,item 1,north\n").run()
        assert (report.reason, report.manifest.ahead) == ("some rows lie far ahead of all others, or none is left", 1)

    def test_more_shards_are_asked_for(self, history):
        history.options |= {"min_shards": 100}
        assert history.run().reason == "the series are dealt out over another number of shards"

    def test_files_that_nobody_can_tell_apart_are_always_read(self, history):
        history.files = {name: replace(file, etag="") for name, file in history.files.items()}
        assert history.run().kept_files == frozenset()


cell_rows = st.tuples(st.integers(0, 5), st.integers(0, 7), st.sampled_from([None, 1.0, 2.5, -3.25]))
tables = st.lists(cell_rows, min_size=1, max_size=8)
names = st.sampled_from("abcd")
operations = st.one_of(
    st.tuples(st.just("put"), names, tables),
    st.tuples(st.just("put"), names, tables),
    st.tuples(st.just("drop"), names, st.none()),
    st.tuples(st.just("rename"), names, names),
    # The import is killed once its dataset is published.
    st.tuples(st.just("killed"), names, tables),
)


def csv_of(table, first=0):
    """Rows of (item, day, value)."""
    return rows(
        *(
            f"{DAY + timedelta(days=first + when):%Y-%m-%d},{'' if value is None else value},i{item}"
            for item, when, value in table
        )
    )


# 2024-05-13 is a multiple of 16 days after 1970-01-01, and the tails of 128 to 255 days begin at such multiples.
TAIL = 133


@settings(max_examples=6, deadline=None)
@given(
    st.lists(operations, min_size=3, max_size=7),
    st.sampled_from(["sum", "avg", "first", "max"]),
    st.sampled_from([("nan", "nan"), ("zero", "zero"), ("nan", "zero"), ("mean", "median")]),
    st.sampled_from([{"shard_bytes": 400}, {"shard_bytes": 1200, "min_shards": 3}]),
    # The first day of the changes: alone, around the day from which on rows go to the tails, after it.
    st.sampled_from([0, TAIL - 2, TAIL, TAIL]),
)
def test_any_history_equals_an_import_of_everything(tmp_path_factory, changes, aggregation, fills, options, first):
    filling = dict(zip(("middlefill", "backfill"), fills, strict=True))
    params = params_for(frequency="D", pattern="yyyy-MM-dd", aggregation=aggregation, filling=filling)
    drop = History(tmp_path_factory.mktemp("history"), params, **options)
    if first:
        ends = range(TAIL - 9, TAIL + 3, 2)
        drop.put(
            "old", csv_of([(item, when, item + 1.0) for item, end in enumerate(ends) for when in range(9 * item, end)])
        )
        drop.run()
    for kind, name, what in changes:
        match kind:
            case "put" | "killed":
                drop.put(name, csv_of(what, first))
            case "drop" if name in drop.files:
                drop.drop(name)
            case "rename" if name in drop.files:
                drop.rename(name, what)
        if drop.files:
            drop.run(killed=kind == "killed")


blocks = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 60), st.integers(1, 14), st.sampled_from([None, 1.0, 2.5, -3.25])),
    min_size=1,
    max_size=4,
)
fine_operations = st.one_of(
    st.tuples(st.sampled_from(["put", "put", "killed"]), names, blocks),
    st.tuples(st.just("drop"), names, st.none()),
    st.tuples(st.just("rename"), names, names),
)
QUARTERS = timedelta(hours=6)


def quarters_csv(found, pattern="%Y-%m-%d %H:%M:%S"):
    """Rows of (item, first, count, value): so many quarters of a day, one after another."""
    return rows(
        *(
            f"{DAY + QUARTERS * place:{pattern}},{'' if value is None else value + place / 8},i{item}"
            for item, first, count, value in found
            for place in range(first, first + count)
        )
    )


@settings(max_examples=5, deadline=None)
@given(
    st.lists(fine_operations, min_size=2, max_size=5),
    st.sampled_from(["sum", "avg", "first", "max"]),
    st.sampled_from([("nan", "nan"), ("nan", "zero"), ("mean", "median")]),
    st.sampled_from(["D", "6H", "H"]),
    # Where the history begins: with an unfinished first day or not, and long enough for tails or not.
    st.sampled_from([(0, 40), (2, 43), (0, 4 * 70 + 1)]),
)
def test_any_history_of_finer_rows_equals_an_import_of_everything(tmp_path_factory, changes, method, fills, data, old):
    filling = dict(zip(("middlefill", "backfill"), fills, strict=True))
    params = replace(
        params_for(frequency="D", aggregation=method, filling=filling), data_frequency=Frequency.parse(data)
    )
    drop = History(tmp_path_factory.mktemp("finer"), params, shard_bytes=600)
    first, last = old
    drop.put("old", quarters_csv([(item, first + 3 * item, last - first - 3 * item, item + 1.0) for item in range(6)]))
    drop.run()
    for kind, name, what in changes:
        match kind:
            case "put" | "killed":
                late = last - 30
                drop.put(name, quarters_csv([(item, late + start, *others) for item, start, *others in what]))
            case "drop" if name in drop.files:
                drop.drop(name)
            case "rename" if name in drop.files:
                drop.rename(name, what)
        drop.run(killed=kind == "killed")


@pytest.fixture
def finer(tmp_path):
    """72 days of six items, four rows a day."""
    params = replace(params_for(frequency="D"), data_frequency=Frequency.parse("6H"))
    made = History(tmp_path, params, shard_bytes=600)
    made.put("old", quarters_csv((item, 0, 4 * 72, item + 1.0) for item in range(6)))
    made.run()
    return made


class TestFinerRows:
    def test_of_a_new_day_only_its_file_is_read_and_only_tails_are_written(self, finer):
        report = finer.put("new", quarters_csv((item, 4 * 72, 4, 1.0) for item in range(6))).run()
        assert (report.reason, report.kept_files) == ("", {"train/old"})
        assert report.extended_shards == {shard.name for shard in report.manifest.shards}

    def test_shards_whose_series_stay_as_they_are_are_kept(self, finer):
        report = finer.put("more", quarters_csv([(2, 4 * 30 + 1, 1, 9.0)])).run()
        assert report.reason == ""
        assert len(report.kept_shards) == len(report.manifest.shards) - 1

    def test_an_unfinished_day_is_there_once_another_one_follows(self, finer):
        report = finer.put("morning", quarters_csv((item, 4 * 72, 1, 1.0) for item in range(6))).run()
        assert (report.reason, report.manifest.last, report.manifest.unfinished) == ("", "2024-03-12T00:00:00", 6)
        report = finer.put("next", quarters_csv((item, 4 * 73, 4, 1.0) for item in range(6))).run()
        assert (report.reason, report.kept_files) == ("", {"train/old", "train/morning"})
        assert report.manifest.last == "2024-03-14T00:00:00"

    def test_timestamps_may_be_many(self, finer, monkeypatch):
        for module in (incremental, importing, import_memory):
            monkeypatch.setattr(module, "MOST_INSTANTS", 300)
        finer.params = replace(finer.params, data_frequency=Frequency.parse("min"))
        times = np.random.default_rng(0).integers(0, 86_400, size=400)
        late = [DAY + timedelta(days=71, seconds=int(seconds)) for seconds in times]
        finer.put("sales", rows(*(f"{when:%Y-%m-%d %H:%M:%S},1,i1" for when in late))).run()
        report = finer.put("new", quarters_csv([(1, 4 * 72, 4, 1.0)])).run()
        assert (report.reason, report.kept_files) == ("", {"train/old", "train/sales"})

    def test_notes_that_are_too_long_are_not_kept(self, finer, monkeypatch):
        monkeypatch.setattr(import_memory, "MOST_NOTED", 10)
        finer.put("new", quarters_csv([(1, 4 * 72, 4, 1.0)])).run()
        report = finer.put("other", quarters_csv([(1, 4 * 73, 4, 1.0)])).run()
        assert report.reason == "there is too much to note of the rows of each period"

    def test_hours_that_clocks_show_twice_are_told_by_all_rows(self, tmp_path):
        params = params_for(chronos={"TimeZone": "Europe/Berlin"})
        history = History(tmp_path, replace(params, data_frequency=Frequency.parse("15min")))
        quarters = [f"2024-10-{27 + n // 96} {n // 4 % 24:02}:{n % 4 * 15:02}:00,1,a" for n in range(2 * 96)]
        history.put("old", rows(*quarters)).run()
        assert history.run().reason == "which hours clocks show twice is told by all rows"


class TestTails:
    @pytest.mark.parametrize("fills", [("nan", "nan"), ("zero", "nan"), ("mean", "median"), ("max", "zero")])
    def test_series_are_the_same_with_and_without(self, tmp_path, fills):
        filling = dict(zip(("middlefill", "backfill"), fills, strict=True))
        params = params_for(frequency="D", pattern="yyyy-MM-dd", filling=filling)
        random = np.random.default_rng(0)
        cells = [(item, when, item + when / 7) for item in range(12) for when in range(5 * item, 60 - item % 7)]
        table = [cell for cell in cells if random.random() < 0.6] + [(20, 3, None), (21, 58, 2.0), (22, 60, None)]
        drop = Drop(tmp_path).put(csv_of(table))
        drop.run(params)
        assert len(list_files(drop.output)) == 1
        plain = drop.series()
        manifest = drop.run(params, shard_bytes=1000).manifest
        assert (manifest.format_version, len(list_files(drop.output))) == (2, 2 * len(manifest.shards))
        assert len(manifest.shards) > 2
        rows = f"FROM read_parquet({[str(path) for path in list_files(drop.output)]})"
        assert duckdb.sql(f"SELECT count(*), count_if(NOT filled) {rows}").fetchall() == [
            (manifest.rows, manifest.observed)
        ]
        assert plain.keys() == drop.series().keys()
        for key, arrays in drop.series().items():
            for one, other in zip(arrays, plain[key], strict=True):
                np.testing.assert_array_equal(one, other)
        assert check_dataset(DatasetFolder(drop.output), params).passed

        start = DAY + timedelta(days=59)
        for until in (start - timedelta(days=20), start):
            cut = {
                one.key[0]: one
                for path in list_shards(drop.output)
                for one in iter_series(path, until=np.datetime64(until))
            }
            for key, (timestamps, target, _) in plain.items():
                before = int((timestamps < np.datetime64(until)).sum())
                assert (key in cut) == (before > 0)
                if before:
                    np.testing.assert_array_equal(cut[key].target, target[:before])

        tail_of_first = list_files(drop.output)[1]
        tail_of_first.unlink()
        with pytest.raises(DatasetError, match=f"without {tail_of_first.name}: import the train files again"):
            list(iter_series(list_shards(drop.output)[0]))
        assert not check_dataset(DatasetFolder(drop.output), params).passed

    def test_begin_where_a_growing_dataset_keeps_them(self):
        starts = [tail_start(0, last, 2) for last in range(300)]
        assert starts[:16] == [None] * 15 + [14]
        for last, start in enumerate(starts[16:], start=16):
            assert start is not None
            assert 0 < last - start + 1 <= (last + 1) / 8
        assert len(set(starts[130:255])) < 10
        assert tail_start(0, 300, 1) is None


def test_names_that_look_alike_are_reported_as_by_an_import_of_everything(tmp_path):
    history = History(tmp_path, params_for(frequency="D", pattern="yyyy-MM-dd"))
    history.put("a.csv", rows(*(f"2024-01-01,1,item {number}" for number in range(5)))).run()
    report = history.put("b.csv", "2024-01-02,1,Item  1\n").run()
    assert "look alike" in report.reason
    assert any("series of their own: 'Item  1' and 'item 1'; give" in note for note in report.notes)
    assert "look alike" in history.put("c.csv", "2024-01-03,1,item 1\n").run().reason
