"""An import of what has changed of related time series gives the bytes of one of everything."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chronos_assets.params.attributes import RelatedFilling
from chronos_assets.timeseries.dataset import file_changes
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.covariate_files import related_source
from chronos_assets.timeseries.dataset.dataset_before import Before
from chronos_assets.timeseries.dataset.import_report import ImportReport
from chronos_assets.timeseries.dataset.related_checks import check_related_rows
from chronos_assets.timeseries.dataset.related_importing import import_related
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.shard_files import FolderFiles
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.dataset.train_files import TrainFile
from chronos_assets_tests.timeseries.builders import MadeSeries, write_dataset
from chronos_assets_tests.timeseries.test_related_importing import daily, read_all

pytestmark = pytest.mark.process  # several imports each

START = datetime(2024, 2, 1, tzinfo=UTC)
FIRST, DAYS = datetime(2024, 1, 1), 66  # the tails begin with the 60th day
PARAMS = replace(daily(columns={"price": "float", "event": "string"}), bad_rows="quarantine")


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def line(item: str, day: int, price: object, event: str = "") -> str:
    return f"{item},{FIRST + timedelta(days=day):%Y-%m-%d},{price},{event}\n"


class History:
    """Files of related time series beside a dataset, imported again after each change."""

    def __init__(self, folder: Path, params: Any = PARAMS) -> None:
        self.folder, self.params = folder, params
        self.files: dict[str, TrainFile] = {}
        self.writes, self.days = 0, DAYS
        self.items = ["a", "b", "c", "d"]

    def put(self, name: str, *lines: str) -> History:
        self.writes += 1
        path = self.folder / f"{self.writes}.csv"
        path.write_text("item_id,timestamp,price,event\n" + "".join(lines))
        when = START + timedelta(minutes=self.writes)
        self.files[name] = TrainFile(path, f"related/{name}", when, f"e{self.writes}")
        return self

    def run(self, *, killed: bool = False, alone: bool = False) -> ImportReport[Any, Any] | ImportFailure:
        """Import what has changed, and everything: the report of the first, once both are the same.

        killed: before what is noted for the next import is written. alone: without the import of everything.
        """
        shutil.rmtree(self.folder / "dataset", ignore_errors=True)
        series = [MadeSeries((item,), "2024-01-01", [1.0] * self.days) for item in self.items]
        write_dataset(self.folder / "dataset", self.params, series, shards=3)
        there, memory = self.folder / "related", self.folder / "memory"
        before = Before(lambda: FolderFiles(there), memory) if memory.exists() else None
        changes = self._run("changes", before)
        everything = changes if alone else self._run("everything", None)
        if isinstance(changes, ImportFailure) or isinstance(everything, ImportFailure):
            assert str(changes) == str(everything)
            return changes
        for name in ("", "-rejected"):
            assert alone or tree(self.folder / f"changes{name}") == tree(self.folder / f"everything{name}")
        assert changes.manifest == everything.manifest
        shutil.rmtree(there, ignore_errors=True)
        (self.folder / "changes").rename(there)
        if not killed:
            changes.memory.save(memory)
        return changes

    def _run(self, name: str, before: Before | None) -> ImportReport[Any, Any] | ImportFailure:
        source = related_source(list(self.files.values()), self.params)
        assert source is not None
        shutil.rmtree(self.folder / name, ignore_errors=True)
        try:
            return import_related(
                [source],
                self.params,
                FolderFiles(self.folder / "dataset"),
                output=self.folder / name,
                rejected=self.folder / f"{name}-rejected",
                resources=Resources(threads=1),
                before=before,
            )
        except ImportFailure as failure:
            return failure


def old(history: History, *more: str) -> History:
    """With prices of all days; of some items they begin late, end early, or have gaps."""
    days = {"a": range(DAYS), "b": range(0, DAYS, 3), "c": range(5, 40), "x": range(50, DAYS)}
    lines = [line(item, day, day / 8, "7" if day % 9 == 0 else "") for item, those in days.items() for day in those]
    history.put("old.csv", *lines, *more)
    return history


def said(report: ImportReport[Any, Any] | ImportFailure) -> tuple[str, int, int, int]:
    """Why everything was read; how many files and shards stay, and how many have a new tail."""
    assert isinstance(report, ImportReport), report
    return report.reason, len(report.kept_files), len(report.kept_shards), len(report.extended_shards)


def test_what_is_touched(tmp_path: Path) -> None:
    history = old(
        History(tmp_path), "a,oops,1,\n", line("z", -3, 1)
    )  # of `z` there is something before the dataset begins
    assert said(history.run()) == ("there is no earlier import to build on", 0, 0, 0)
    assert any(name.startswith("tail-") for name in tree(tmp_path / "related"))

    # A day more of the dataset alone: nothing is read, and no file is written.
    history.days += 1
    reason, files, _, extended = said(history.run())
    assert (reason, files, extended) == ("", 1, 0)
    # Prices of the next day: only their file is read, only tails are written.
    before = tree(tmp_path / "related")
    history.put("day.csv", *(line(item, DAYS + 1, 2, "sale") for item in ("a", "b", "c", "new", "z")))
    assert said(history.run())[:2] == ("", 1)
    after = tree(tmp_path / "related")
    changed = {name for name in before if name.startswith("p") and before[name] != after.get(name)}
    assert not changed
    # The same day of one item again: the other shards stay as they are.
    history.put("late.csv", line("a", DAYS + 1, 5))
    report = history.run()
    assert isinstance(report, ImportReport)
    assert said(report) == ("", 1, len(report.manifest.shards) - 1, 1)
    assert check_related_rows(tmp_path / "related", report.manifest, Manifest.read(tmp_path / "dataset")).passed
    found = read_all(tmp_path / "related")
    np.testing.assert_equal(found["a",].values["price"][-3:], [(DAYS - 1) / 8, np.nan, 5.0])
    # A new text in a file that is older than all others, and prices long after the horizon.
    history.put("early.csv", line("b", DAYS + 1, 4, "a feast"), line("a", 3 * DAYS, 2), line("far", 3 * DAYS, 2))
    history.files["early.csv"] = replace(history.files["early.csv"], last_modified=START)
    assert said(history.run())[0] == ""
    del history.files["early.csv"]
    assert said(history.run())[0] == ""
    # `c` has nothing between its 40th day, which lies before the tails, and the last one.
    assert len(found["c",]) == DAYS + 2 - 5
    assert found["c",].values["event"].tolist()[-3:] == [None, None, "sale"]


def test_what_is_not_known_from_changes_is_imported_from_everything(tmp_path: Path) -> None:
    history = old(History(tmp_path))
    history.run(alone=True)
    history.put("day.csv", line("a", DAYS, 2)).run(alone=True)
    history.put("past.csv", line("a", 3, 2))
    assert (
        said(history.run(alone=True))[0] == "rows have changed before the last periods, which lie in files of their own"
    )
    history.files["old.csv"] = replace(history.files["old.csv"], last_modified=START + timedelta(days=1))
    assert said(history.run(alone=True))[0] == "most of the data has to be read"
    history.days += 8
    assert (
        said(history.run(alone=True))[0] == "the last periods, which lie in files of their own, begin elsewhere by now"
    )
    history.params = replace(history.params, horizon=4)
    assert said(history.run(alone=True))[0] == "the parameters, the program or the dataset's shards have changed"
    related = replace(history.params.related, filling=(("price", RelatedFilling(middlefill="zero")),))
    history.params = replace(history.params, related=related)
    history.run(alone=True)
    assert said(history.run(alone=True))[0].startswith("attributes are filled or apply to several series")


LATE = st.tuples(
    st.sampled_from(["a", "b", "c", "d", "new", "x"]),
    st.integers(60, DAYS + 7) | st.just(3 * DAYS),
    st.sampled_from(["", "1", "2.5", "-3", "oops"]),
    st.sampled_from(["", "7", "8", "9"]),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "drop", "grow", "item"]),
        st.sampled_from(["p.csv", "q.csv", "r.csv"]),
        st.lists(LATE, min_size=1, max_size=6),
        st.booleans(),
    ),
    min_size=2,
    max_size=4,
)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, event=st.sampled_from(["string", "float"]))
def test_any_history_equals_an_import_of_everything(steps: Any, event: str) -> None:
    params = replace(daily(columns={"price": "float", "event": event}), bad_rows="quarantine")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_changes, "MOST_READ", 1.0)
        history = old(History(Path(folder), params))
        history.run()
        for what, name, rows, killed in steps:
            if what == "put":
                history.put(name, *(line(*row) for row in rows))
            elif what == "drop":
                history.files.pop(name, None)
            elif what == "grow":
                history.days += 1
            else:
                history.items = [*history.items, "e"] if "e" not in history.items else ["a", "e", "new"]
            history.run(killed=killed)
