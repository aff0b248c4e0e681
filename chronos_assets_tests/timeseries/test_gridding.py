"""From rows to series: newest file first, aggregation to periods, gaps."""

from datetime import timedelta

import numpy as np
import pytest

from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets_tests.timeseries.train_drop import HOURS, Drop, params_for, rows

NAN = float("nan")


@pytest.fixture
def drop(tmp_path):
    return Drop(tmp_path)


class TestGaps:
    def test_the_default_leaves_gaps_as_nan_and_says_so(self, drop):
        report = drop.put(rows("2024-01-01 00:00:00,1,a", "2024-01-01 02:00:00,3,a", "2024-01-01 03:00:00,9,b")).run()
        timestamps, target, filled = drop.series()["a"]
        np.testing.assert_array_equal(target, [1, NAN, 3, NAN])
        assert filled.tolist() == [False, True, False, True]
        assert np.diff(timestamps).tolist() == [timedelta(hours=1)] * 3
        assert (report.manifest.observed, report.manifest.filled, report.manifest.rows) == (3, 2, 5)

    def test_a_series_starts_at_its_own_first_observation(self, drop):
        drop.put(rows("2024-01-01 00:00:00,,b", "2024-01-01 00:00:00,1,a", "2024-01-01 02:00:00,5,b")).run()
        assert drop.targets()["b"] == [5]

    def test_rows_without_a_value_do_not_move_the_end(self, drop):
        drop.put(HOURS + rows("2024-01-05 00:00:00,,a", "2024-01-05 00:00:00,NaN,a")).run()
        assert drop.targets() == {"a": [1, 2, 3]}

    @pytest.mark.parametrize("word", ["", "NaN", "nan", "NA", "n/a", "null", "None", "\\N", '""', " "])
    def test_words_for_a_missing_value(self, drop, word):
        report = drop.put(HOURS + f"2024-01-01 01:30:00,{word},a\n").run()
        assert report.manifest.missing == 1
        assert drop.targets() == {"a": [1, 2, 3]}

    def test_a_series_without_any_value_is_kept_and_named(self, drop):
        report = drop.put(HOURS + rows("2024-01-01 01:00:00,,b", "2030-01-01 01:00:00,,c")).run()
        targets = drop.targets()
        np.testing.assert_array_equal(targets["b"], [NAN, NAN])
        np.testing.assert_array_equal(targets["c"], [NAN])
        assert "series without any observed value: 2 of 3" in report.notes

    def test_a_gap_filled_by_the_service_s_names(self, drop):
        params = params_for(filling={"middlefill": "median", "backfill": "value", "backfill_value": "-1"})
        drop.put(HOURS + rows("2024-01-01 04:00:00,9,a", "2024-01-01 06:00:00,1,b")).run(params)
        assert drop.targets()["a"] == [1, 2, 3, 2, 9, -1, -1]

    def test_a_lonely_late_timestamp_is_noted(self, drop):
        lines = [f"2024-01-01 {hour:02d}:00:00,1,{item}" for hour in range(3) for item in "abc"]
        report = drop.put(rows(*lines, "2042-01-01 00:00:00,1,d")).run(params_for(frequency="D"))
        assert any("3 of 4 series end more than a forecast horizon before" in note for note in report.notes)
        assert any("series d" in note for note in report.notes)

    def test_a_timestamp_that_would_make_an_absurd_grid_is_refused(self, drop):
        failure = drop.put(rows("1700-01-01 00:00:00,1,old", "2200-01-01 00:00:00,1,new")).fail(
            params_for(frequency="1min")
        )
        assert "1700-01-01T00:00:00 (series old) to 2200-01-01T00:00:00 (series new)" in str(failure)


class TestTies:
    """Many rows of one series and instant: their order in the file decides, not a sorting algorithm."""

    def tied(self, first):
        lines = [f"2024-01-01 00:00:00,{first + number},{item}" for number in range(300) for item in "ba"]
        return rows("2024-01-01 01:00:00,-1,b", *lines)

    def test_first_is_the_first_of_the_file(self, drop):
        drop.put(self.tied(7)).run(params_for(aggregation="first"))
        assert drop.targets() == {"a": [7, pytest.approx(NAN, nan_ok=True)], "b": [7, -1]}

    def test_all_rows_of_the_newest_file_stay_in_their_order(self, drop):
        report = drop.put(self.tied(7)).put(self.tied(5)).put(self.tied(6)).run(params_for(aggregation="first"))
        assert drop.targets() == {"a": [6, pytest.approx(NAN, nan_ok=True)], "b": [6, -1]}
        assert report.manifest.duplicates == 2 * 601
        assert [file.replaced for file in report.files] == [{"train/2.csv": 601}, {"train/2.csv": 601}, {}]


class TestOverlap:
    def test_the_newer_file_wins_a_timestamp_and_the_count_is_reported(self, drop):
        drop.put(HOURS, "new.csv", minutes=9)
        drop.put(rows("2024-01-01 01:00:00,20,a", "2024-01-01 03:00:00,40,a"), "old.csv", minutes=5)
        report = drop.run()
        assert drop.targets() == {"a": [1, 2, 3, 40]}
        assert report.manifest.duplicates == 1
        assert {file.key: file.replaced for file in report.files} == {
            "train/old.csv": {"train/new.csv": 1},
            "train/new.csv": {},
        }
        assert "1 row of train/old.csv gave way to train/new.csv, which is newer" in report.notes

    def test_of_files_of_the_same_moment_the_later_name_is_newer(self, drop):
        drop.put("2024-01-01 00:00:00,2,a\n", "b.csv", minutes=0).put("2024-01-01 00:00:00,1,a\n", "a.csv", minutes=0)
        drop.run()
        assert drop.targets() == {"a": [2]}

    def test_rows_of_one_file_are_aggregated_never_dropped(self, drop):
        drop.put("2024-01-01 00:00:00,1,a\n").put(rows("2024-01-01 00:00:00,2,a", "2024-01-01 00:00:00,3,a"))
        report = drop.run()
        assert drop.targets() == {"a": [5]}
        assert (report.manifest.duplicates, report.manifest.aggregated) == (1, 1)

    def test_the_same_instant_in_another_offset_is_the_same(self, drop):
        drop.put("2024-01-01 12:00:00,1,a\n").put("2024-01-01T13:00:00+01:00,2,a\n").run()
        assert drop.targets() == {"a": [2]}

    def test_a_newer_file_can_take_a_value_back_even_the_last(self, drop):
        drop.put(HOURS).put("2024-01-01 02:00:00,,a\n").run()
        assert drop.targets() == {"a": [1, 2]}
        assert Manifest.read(drop.output).last == "2024-01-01T01:00:00"

    def test_files_that_differ_in_a_column_beside_the_series_do_not_replace_each_other(self, drop):
        params = params_for(columns=("item_id", "store", "timestamp", "target_value"))
        drop.put("a,x,2024-01-01 00:00:00,1\n").put("a,y,2024-01-01 00:00:00,2\n").put("a,x,2024-01-01 00:00:00,10\n")
        report = drop.run(params)
        assert drop.targets() == {"a": [12]}
        assert report.manifest.duplicates == 1
