"""One file that can't be read among good ones, and series that end early: what is imported, and what is said."""

from pathlib import Path

import pytest

from chronos_assets_tests.timeseries.train_drop import HOURS, Drop, params_for, rows

LEAVE_OUT = params_for(chronos={"BadFiles": "quarantine"})


@pytest.fixture
def drop(tmp_path: Path) -> Drop:
    return Drop(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("sheet.csv", b"PK\x03\x04" + b"\0" * 40, "a zip archive (or an Excel file)"),
        ("x.parquet", b"not Parquet", "the name says Parquet but the content is not"),
        ("bad.csv", b"2024-13-45 00:00:00,1,a\n", "line 1"),
        ("ragged.csv", b"2024-01-01 05:00:00,1\n", "line 1"),
    ],
)
def test_a_bad_file_is_left_out_as_a_whole_and_named_and_the_others_are_imported(
    drop: Drop, name: str, content: bytes, reason: str
) -> None:
    drop.put(HOURS).put(content, name)
    assert name in str(drop.fail())
    report = drop.run(LEAVE_OUT)
    assert drop.targets() == {"a": [1, 2, 3]}
    assert set(report.manifest.files) == {"train/0.csv"}
    assert any(f"train/{name} was left out as a whole: " in note and reason in note for note in report.notes)


def test_rows_of_a_bad_file_that_were_read_before_the_fault_are_not_imported(drop: Drop) -> None:
    drop.put(HOURS).put(rows("2024-01-01 03:00:00,4,a", "2024-01-01 04:00:00,x,a"))
    drop.run(LEAVE_OUT)
    assert drop.targets() == {"a": [1, 2, 3]}


def test_several_bad_files_are_all_named(drop: Drop) -> None:
    drop.put(b"PK\x03\x04", "one.csv").put(HOURS).put("x,y\n", "two.csv").put("2024-01-01 00:00:00,x,b\n", "three.csv")
    notes = " ".join(drop.run(LEAVE_OUT).notes)
    assert all(f"train/{name}.csv was left out" in notes for name in ("one", "two", "three"))


def test_where_no_file_is_good_the_import_fails(drop: Drop) -> None:
    drop.put(b"PK\x03\x04", "one.csv").put("x,y\n", "two.csv")
    failure = drop.fail(LEAVE_OUT)
    assert "one.csv" in str(failure) or "two.csv" in str(failure)


def test_bad_rows_that_are_set_aside_cost_no_file(drop: Drop) -> None:
    params = params_for(chronos={"BadFiles": "quarantine", "BadRows": "quarantine"})
    report = drop.put(HOURS + rows("2024-01-01 04:00:00,x,a")).put(b"PK\x03\x04", "one.csv").run(params)
    assert sum(report.manifest.rejected.values()) == 1
    assert drop.targets() == {"a": [1, 2, 3]}


def test_series_that_end_early_are_named_with_their_last_date(drop: Drop) -> None:
    lines = [
        f"2024-01-{day:02d} 00:00:00,1,{item}"
        for item, end in (("a", 20), ("b", 20), ("old", 9))
        for day in range(1, end)
    ]
    report = drop.put(rows(*lines)).run(params_for(frequency="D"))
    (note,) = [note for note in report.notes if "series end more than" in note]
    assert note.startswith("1 of 3 series end more than a forecast horizon before the last observation of the dataset")
    assert note.endswith("old on 2024-01-08")


def test_of_many_series_that_end_early_the_earliest_are_named(drop: Drop) -> None:
    lines = [f"2024-01-{day:02d} 00:00:00,1,{item:02d}" for item in range(1, 9) for day in range(1, item + 1)]
    report = drop.put(rows(*lines, *(f"2024-01-{day:02d} 00:00:00,1,z" for day in range(1, 29)))).run(
        params_for(frequency="D")
    )
    (note,) = [note for note in report.notes if "series end more than" in note]
    assert "01 on 2024-01-01, 02 on 2024-01-02, 03 on 2024-01-03, 04 on 2024-01-04, 05 on 2024-01-05 and 3 more" in note


def test_nothing_is_said_of_series_that_go_on(drop: Drop) -> None:
    assert not any("series end more than" in note for note in drop.put(HOURS).run().notes)
