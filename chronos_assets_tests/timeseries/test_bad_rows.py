"""Bad rows: told by line, column and reason, or set aside."""

import csv
import gzip
import math
import pickle
from dataclasses import replace

import pytest

from chronos_assets.timeseries.dataset.bad_rows import rejected_name
from chronos_assets_tests.timeseries.train_drop import HOURS, Drop, params_for, rows


@pytest.fixture
def drop(tmp_path):
    return Drop(tmp_path)


BAD = (
    '2024-01-01 00:00:00,1,"a\nb"\n'  # lines 1 and 2, good
    "2024-13-01 00:00:00,1,a\n"
    "\n"
    "2024-01-01 01:00:00,one,a\n"
    "2024-01-01 01:00:00,inf,a\n"
    "2024-01-01 01:00:00,1\n"
    "2024-01-01 01:00:00,1,a,z\n"
    "2024-01-01 01:00:00,1,\n"
    ",1,a\n"
    "3024-01-01 01:00:00,1,a\n"
    '2024-01-01 01:00:00,"1,5",a\n'
    "2024-01-01 01:00:00,1_0,a\n"
    f"2024-01-01 01:00:00,1,{'x' * 257}\n"
    '2024-01-01 02:00:00,1,"a"b\n'
    "2024-01-01 02:00:00,1e400,a\n"
    '"2024-01-01 03:00:00,1,a\n'
    "2024-01-01 04:00:00,7,a\n"  # line 18, good
).encode() + b"2024-01-01 05:00:00,1,\xff\n"
EXPECTED = [
    (3, "timestamp", "bad_timestamp"),
    (5, "target_value", "not_a_number"),
    (6, "target_value", "not_finite"),
    (7, None, "wrong_columns"),
    (8, None, "wrong_columns"),
    (9, "item_id", "empty_identifier"),
    (10, "timestamp", "empty_timestamp"),
    (11, "timestamp", "timestamp_out_of_range"),
    (12, "target_value", "not_a_number"),
    (13, "target_value", "not_a_number"),
    (14, "item_id", "long_identifier"),
    (15, None, "misplaced_quote"),
    (16, "target_value", "not_finite"),
    (17, None, "misplaced_quote"),
    (19, None, "not_utf8"),
]


class TestBadRows:
    @pytest.mark.parametrize(("header", "lines"), [(b"", 0), (b"timestamp,target_value,item_id\r\n", 1)])
    def test_each_is_reported_by_line_column_and_reason(self, drop, header, lines):
        failure = drop.put(header + BAD).fail()
        found = [(row.line - lines, row.column, row.reason) for row in failure.rows]
        assert found == EXPECTED
        assert failure.total == len(EXPECTED)
        assert failure.counts["wrong_columns"] == 2
        text = str(failure)
        assert f"train/0.csv, line {5 + lines}, column target_value: 'one' is not a number; write digits" in text
        assert "15 bad rows (" in text
        assert '"BadRows": "quarantine"' in text

    def test_the_first_twenty_are_shown_and_all_are_counted(self, drop):
        failure = (
            drop.put(rows(*["2024-01-01 00:00:00,x,a"] * 30)).put(rows("nonsense", *["2024-01-01,y,a"] * 12)).fail()
        )
        assert (len(failure.rows), failure.total) == (20, 43)
        assert failure.counts == {"not_a_number": 42, "wrong_columns": 1}
        assert "… and 23 more" in str(failure)

    def test_flags_are_to_be_written_as_numbers(self, drop):
        assert "'TRUE' is not a number; write 1 or 0" in str(drop.put(rows("2024-01-01 00:00:00,TRUE,a")).fail())

    def test_nothing_is_left_behind_by_a_failure(self, drop):
        drop.put(HOURS).run()
        drop.put(BAD).fail()
        assert list(drop.output.iterdir()) == []
        assert not drop.rejected.exists()
        assert not [path for path in drop.folder.iterdir() if path.name.startswith(".")]

    def test_quarantine_sets_them_aside_and_goes_on(self, drop):
        report = drop.put(BAD, "june.csv").put(HOURS, "fine.csv").run(params_for(chronos={"BadRows": "quarantine"}))
        assert [value for value in drop.targets()["a"] if not math.isnan(value)] == [1, 2, 3, 7]
        assert drop.targets()["a\nb"][0] == 1
        with report.rejected_files["train/june.csv"].open(encoding="utf-8", newline="") as stream:
            found = list(csv.DictReader(stream))
        assert [(int(row["line"]), row["column"] or None, row["reason"]) for row in found] == EXPECTED
        assert found[3]["row"] == "2024-01-01 01:00:00,1"
        assert found[-1]["row"].endswith(r"\xff")
        assert sum(report.manifest.rejected.values()) == len(EXPECTED)
        assert sorted(path.name for path in drop.rejected.iterdir()) == ["june.csv"]
        manifest = report.manifest
        parts = manifest.observed + manifest.aggregated + manifest.missing + manifest.duplicates
        assert report.rows_read == parts + len(EXPECTED)

    def test_what_was_mended_is_no_longer_set_aside(self, drop):
        params = params_for(chronos={"BadRows": "quarantine"})
        drop.put(BAD, "june.csv").run(params)
        drop.files.clear()
        drop.put(HOURS, "june.csv").run(params)
        assert list(drop.rejected.iterdir()) == []

    def test_quarantine_of_every_row_fails_and_shows_them(self, drop):
        failure = drop.put("2024-01-01 00:00:00,x,a\n").fail(params_for(chronos={"BadRows": "quarantine"}))
        assert "no good row" in str(failure)
        assert failure.rows[0].value == "x"

    @pytest.mark.process
    def test_a_flaw_far_into_a_file_has_its_line(self, drop):
        lines = [f"2024-01-01 00:00:00,{number},item {number % 7}" for number in range(70_000)]
        lines[65_432] = "2024-01-01 00:00:00,oops,item"
        failure = drop.put("timestamp,target_value,item_id\n" + rows(*lines)).fail()
        assert [(row.line, row.value) for row in failure.rows] == [(65_434, "oops")]

    def test_unreadable_files_are_reported_all_at_once_beside_bad_rows(self, drop):
        drop.put(b"", "empty.csv").put("timestamp,target_value,item_id\n", "header.csv").put("2024-01-01,x,a\n")
        drop.put(gzip.compress(HOURS.encode())[:-5], "cut.csv.gz").put(b"x", "x.parquet")
        failure = drop.fail()
        assert [problem.file for problem in failure.files] == [
            "train/cut.csv.gz",
            "train/x.parquet",
        ]
        assert failure.total == 1
        assert str(pickle.loads(pickle.dumps(failure))) == str(failure)  # noqa: S301

    def test_a_file_that_is_gone_is_an_error_by_its_key(self, drop):
        drop.put(HOURS)
        drop.files[0].path.unlink()
        assert str(drop.fail().files[0]).startswith("train/0.csv: the file can't be opened (No such file")

        def fetch():
            raise FileNotFoundError("there is no object s3://shop/train/0.csv")

        drop.files[0] = replace(drop.files[0], source=fetch)
        assert "(there is no object s3://shop/train/0.csv)" in str(drop.fail().files[0])

    def test_no_files_and_no_values_are_errors(self, drop):
        assert "there are no files" in str(drop.fail())
        assert "no good row of any file has a value" in str(drop.put("2024-01-01,,a\n").fail())

    def test_an_aggregate_beyond_a_double_names_series_and_period(self, drop):
        failure = drop.put(rows("2024-01-01 00:00:00,1e308,a", "2024-01-01 00:01:00,1e308,a")).fail()
        assert "series a: the sum of the period 2024-01-01T00:00:00 is beyond a double" in str(failure)


class TestNames:
    def test_a_plain_name_stays(self):
        assert rejected_name("train/june-2024.csv") == "june-2024.csv"

    @pytest.mark.parametrize(
        "key", ["train/../../etc/passwd", "train/a/b.csv", "train/.hidden.csv", "train/ä ö.csv.gz"]
    )
    def test_any_other_becomes_one_safe_name(self, key):
        name = rejected_name(key)
        assert name.endswith(".csv")
        assert "/" not in name
        assert not name.startswith(".")
        assert name.isascii()

    def test_names_of_different_keys_differ(self):
        keys = [
            "train/a.csv",
            "train/a/b.csv",
            "train/a-b.csv",
            "train/a b.csv",
            "train/" + "x" * 300 + "1",
            "train/" + "x" * 300,
        ]
        assert len({rejected_name(key) for key in keys}) == len(keys)
