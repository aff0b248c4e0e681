"""Files of every form give the rows they mean: CSV, gzip, Parquet, names, time zones."""

import csv
import gzip
import io
from datetime import UTC, datetime
from threading import Barrier
from typing import ClassVar

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos_assets.timeseries.dataset.bad_rows import BadRows
from chronos_assets.timeseries.dataset.casting import Cast, CastValue, sql_rows
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.shards import Manifest
from chronos_assets.timeseries.dataset.train_file_reader import TrainFileReader
from chronos_assets.timeseries.dataset.train_files import TrainFile, bring
from chronos_assets_tests.timeseries.train_drop import HOURS, START, Drop, params_for, rows

NAN = float("nan")


@pytest.fixture
def drop(tmp_path):
    return Drop(tmp_path)


class TestForms:
    def test_no_header_and_the_schemas_order(self, drop):
        report = drop.put(HOURS).run()
        assert drop.targets() == {"a": [1, 2, 3]}
        assert not report.files[0].contents.header

    def test_a_header_in_another_order_with_columns_to_ignore(self, drop):
        text = "price,Item_ID,timestamp,TARGET_VALUE\n9,a,2024-01-01 00:00:00,1\n9,a,2024-01-01 01:00:00,2\n"
        report = drop.put(text).run()
        assert drop.targets() == {"a": [1, 2]}
        assert report.files[0].contents.ignored == ("price",)
        assert "price" in report.notes[0]

    @pytest.mark.parametrize(
        "data",
        [
            HOURS.replace("\n", "\r\n"),
            HOURS.replace("\n", "\r"),
            HOURS.replace(",", ";"),
            HOURS.replace(",", "\t"),
            HOURS.rstrip("\n"),
            "\n\n" + HOURS + "\n\n",
            HOURS.replace("\n", ",\n"),
            "timestamp,target_value,item_id,\n" + HOURS.replace("\n", ",\n"),
            "\ufeff" + HOURS,
            "\ufefftimestamp,target_value,item_id\r\n" + HOURS.replace("\n", "\r\n"),
            '"timestamp","target_value","item_id"\n'
            + HOURS.replace(",a", ',"a"').replace("2024", '"2024', 1).replace("00:00:00,", '00:00:00",', 1),
            gzip.compress(HOURS.encode(), mtime=0),  # a part of the test's name, which workers must agree on
            HOURS.replace("01:00:00,2", "01:00:00,  2 ").replace("2024-01-01 02", " 2024-01-01 02"),
        ],
    )
    def test_the_same_rows_in_every_form(self, drop, data):
        report = drop.put(data).run()
        assert drop.targets() == {"a": [1, 2, 3]}
        told = [note for note in report.notes if "ForecastHorizon" not in note]  # which is long for three rows
        assert told == [note for note in told if "rows end in a delimiter" in note]

    def test_names_of_files_and_items_are_data(self, drop, tmp_path):
        folder = tmp_path / "it's [a] *?{x}"
        folder.mkdir()
        path = folder / "'; DROP TABLE x; --.csv"
        path.write_text('timestamp,target_value,item_id\n2024-01-01 00:00:00,1,"\'; DROP TABLE x; --"\n')
        drop.files.append(TrainFile(path, "train/'; DROP TABLE x; --.csv", START))
        drop.run()
        assert drop.targets() == {"'; DROP TABLE x; --": [1]}

    @pytest.mark.parametrize(
        "item",
        [
            "007",
            "../../etc/passwd",
            'say "hi"',
            "Grüße, 世界 🌍",
            " padded ",
            "NULL",
            "two\nlines",
            "a\\b",
            "%s",
            "nan",
        ],
    )
    def test_item_ids_are_kept_as_they_are(self, drop, item):
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerow(["2024-01-01 00:00:00", "1", item])
        drop.put(text.getvalue()).run()
        assert drop.targets() == {item: [1]}

    def test_rows_in_any_order_are_sorted_by_key_and_time(self, drop):
        drop.put(
            rows(
                "2024-01-01 01:00:00,2,é",
                "2024-01-01 00:00:00,4,z",
                "2024-01-01 00:00:00,1,é",
                "2024-01-01 01:00:00,3,B",
            )
        ).run()
        assert list(drop.targets().items()) == [("B", [3]), ("z", [4, pytest.approx(NAN, nan_ok=True)]), ("é", [1, 2])]

    def test_dimensions_make_series(self, drop):
        params = params_for(columns=("item_id", "store", "timestamp", "target_value"), dimensions=("store",))
        drop.put(rows("a,x,2024-01-01 00:00:00,1", "a,y,2024-01-01 00:00:00,2", "b,x,2024-01-01 01:00:00,3")).run(
            params
        )
        found = drop.series()
        assert {key: target[0] for key, (_, target, _) in found.items()} == {
            ("a", "x"): 1,
            ("a", "y"): 2,
            ("b", "x"): 3,
        }
        assert duckdb.sql(f"SELECT store FROM '{drop.output}/*.parquet' WHERE item_id = 'b'").fetchall() == [("x",)]

    def test_a_schema_column_that_is_no_dimension_is_summed_over(self, drop):
        params = params_for(columns=("item_id", "store", "timestamp", "target_value"))
        drop.put(rows("a,x,2024-01-01 00:00:00,1", "a,y,2024-01-01 00:00:00,2")).run(params)
        assert drop.targets() == {"a": [3]}

    def test_files_without_an_item_column_hold_one_series(self, drop):
        params = params_for(columns=("timestamp", "target_value"), chronos={"Columns": {"item_id": None}})
        drop.put(rows("2024-01-01 00:00:00,1")).run(params)
        assert drop.targets() == {"ElectricitySample": [1]}


class TestParquet:
    COLUMNS: ClassVar = {"item_id": ["01", "01"], "target_value": [1.5, 2.5]}
    TIMES: ClassVar = [datetime(2024, 1, 1), datetime(2024, 1, 1, 1)]

    @pytest.mark.parametrize(
        "times",
        [
            pa.array(TIMES, pa.timestamp("us")),
            pa.array(TIMES, pa.timestamp("ns")),
            pa.array(TIMES, pa.timestamp("s")),
            pa.array([time.replace(tzinfo=UTC) for time in TIMES], pa.timestamp("us", tz="Asia/Tokyo")),
            pa.array([str(time) for time in TIMES]),
            pa.array([str(time) for time in TIMES]).cast(pa.binary()),
        ],
        ids=lambda times: str(times.type),
    )
    def test_timestamps_typed_or_text(self, drop, times):
        drop.put_table(pa.table({**self.COLUMNS, "timestamp": times})).run()
        timestamps, target, _ = drop.series()["01"]
        assert target.tolist() == [1.5, 2.5]
        assert str(timestamps[0]) == "2024-01-01T00:00:00.000000"

    def test_dates_and_whole_numbers(self, drop):
        table = pa.table(
            {
                "ITEM_ID": pa.array([7, 7], pa.int64()),
                "timestamp": pa.array(self.TIMES[:1] * 2, pa.timestamp("us")).cast(pa.date32()),
                "target_value": pa.array([3, None], pa.int32()),
                "extra": ["x", "y"],
            }
        )
        report = drop.put_table(table).run()
        assert drop.targets() == {"7": [3]}
        assert (report.files[0].contents.ignored, report.manifest.missing) == (("extra",), 1)

    def test_bad_rows_are_reported_by_their_number(self, drop):
        table = pa.table(
            {
                "timestamp": pa.array([*self.TIMES, None], pa.timestamp("us")),
                "target_value": [1.0, float("inf"), 2.0],
                "item_id": ["a", "b,c", "d"],
            }
        )
        failure = drop.put_table(table).fail()
        assert [(row.line, row.column, row.reason) for row in failure.rows] == [
            (2, "target_value", "not_finite"),
            (3, "timestamp", "empty_timestamp"),
        ]

    def test_text_targets_are_checked_like_those_of_csv(self, drop):
        table = pa.table({"timestamp": pa.array(self.TIMES), "target_value": ["1", "one"], "item_id": ["a", "a"]})
        failure = drop.put_table(table).fail()
        assert [(row.line, row.value, row.reason) for row in failure.rows] == [(2, "one", "not_a_number")]

    @pytest.mark.parametrize(
        ("column", "values", "reason"),
        [
            ("timestamp", [1, 2], "the timestamps in 'timestamp' are of type BIGINT"),
            ("target_value", [True, False], "the targets in 'target_value' are of type BOOLEAN"),
            ("item_id", [["a"], ["b"]], "the column 'item_id' is of type"),
        ],
    )
    def test_types_that_can_not_be_meant_are_refused(self, drop, column, values, reason):
        table = pa.table({**self.COLUMNS, "timestamp": pa.array(self.TIMES), column: values})
        assert reason in str(drop.put_table(table).fail())

    def test_a_missing_column_names_file_and_column(self, drop):
        failure = drop.put_table(pa.table(self.COLUMNS)).fail()
        assert str(failure.files[0]).startswith("train/x.parquet: there is no column 'timestamp'")

    def test_a_damaged_file_is_an_error_by_its_key(self, drop):
        failure = drop.put(b"PAR1" + b"x" * 50, "broken.parquet").fail()
        assert "train/broken.parquet: the Parquet file can't be read" in str(failure)
        assert str(drop.folder) not in str(failure)


class TestTime:
    @pytest.mark.parametrize(
        ("text", "zone", "expected"),
        [
            ("2024-06-01 12:00:00", None, "2024-06-01T12"),
            ("2024-06-01 12:00:00", "Europe/Zurich", "2024-06-01T12"),
            ("2024-06-01T12:00:00Z", None, "2024-06-01T12"),
            ("2024-06-01T12:00:00Z", "Europe/Zurich", "2024-06-01T14"),
            ("2024-06-01 12:00:00+02:00", None, "2024-06-01T10"),
            ("2024-06-01T12:00:00.5 +0200", "Europe/Zurich", "2024-06-01T12"),
            ("2024-06-01 12:00-03", "America/New_York", "2024-06-01T11"),
            ("2024-06-01", None, "2024-06-01T00"),
        ],
    )
    def test_offsets_become_the_clock_of_the_zone_and_naive_times_stay(self, drop, text, zone, expected):
        drop.put(f"{text},1,a\n").run(params_for(chronos={"TimeZone": zone} if zone else None))
        timestamps, _, _ = drop.series()["a"]
        assert str(timestamps[0]) == f"{expected}:00:00.000000"

    def test_one_file_may_mix_them_row_by_row(self, drop):
        drop.put(rows("2024-01-01 00:00:00,1,a", "2024-01-01T03:00:00+02:00,2,a")).run()
        assert drop.targets() == {"a": [1, 2]}

    def test_a_declared_format_that_is_not_iso_is_the_only_one(self, drop):
        params = params_for(pattern="dd/MM/yyyy HH:mm")
        failure = drop.put(rows("01/02/2024 00:00,1,a", "2024-02-01 00:00,1,a")).fail(params)
        assert [row.line for row in failure.rows] == [2]
        drop.files.clear()
        drop.put(rows("01/02/2024 00:00,1,a")).run(params)
        assert Manifest.read(drop.output).first == "2024-02-01T00:00:00"

    @pytest.mark.parametrize(
        ("frequency", "boundary", "expected"),
        [
            ("D", None, [3, 4]),
            ("D", {"Hour": 6}, [1, 2, 4]),
            ("W", {"DayOfWeek": "TUESDAY"}, [3, 4]),
            ("M", None, [7]),
        ],
    )
    def test_rows_are_aggregated_to_periods_from_the_boundary(self, drop, frequency, boundary, expected):
        drop.put(rows("2024-01-01 05:00:00,1,a", "2024-01-01 07:00:00,2,a", "2024-01-02 06:30:00,4,a")).run(
            params_for(frequency=frequency, boundary=boundary)
        )
        assert drop.targets() == {"a": expected}

    @pytest.mark.parametrize(
        ("method", "expected"), [("sum", 6.0), ("avg", 2.0), ("first", 3.0), ("min", 1.0), ("max", 3.0)]
    )
    def test_aggregation(self, drop, method, expected):
        report = drop.put(
            rows(
                "2024-01-01 00:40:00,1,a",
                "2024-01-01 00:10:00,3,a",
                "2024-01-01 00:10:00,2,a",
                "2024-01-01 00:00:00,,a",
            )
        ).run(params_for(aggregation=method))
        assert drop.targets() == {"a": [expected]}
        assert (report.manifest.aggregated, report.manifest.missing) == (2, 1)


GOOD = (
    "2024-01-01 00:00:00,1,a",
    "2024-01-02T00:00:00Z,2.5,b",
    '2024-01-01 00:00:00,"1","x ""y"""',
    '2024-01-01 00:00:00, "1" ,"x\ny, z" ',
    '2024-01-01 00:00:00,1,5" pipe',
    "2024-01-01 00:00:00,,a,,",
    '2024-01-01 00:00:00,1,a,""',
    "",
)


class SlowReader(TrainFileReader):
    """Takes every CSV file for one with a flaw."""

    def _flawless(self, key, path, sql, advance):
        return None


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as connection:
        yield connection


SAMPLE = params_for()


def read_with(kind, connection, folder, data):
    """Good rows (with NaN as text) and bad rows of a file, by one of the readers; and whether it went in one go."""
    path = folder / "x.csv"
    path.write_bytes(data)
    bad, good = BadRows(folder, quarantine=False), []
    reader = kind(connection, SAMPLE, bad, several=True)
    contents = reader.read(
        TrainFile(path, "x.csv", START), lambda batch: good.extend(batch.to_pylist()), folder, lambda _: None
    )
    return repr(good), bad.first, bad.counts, contents


@pytest.mark.parametrize("line", GOOD)
def test_a_good_line_goes_in_one_go_and_means_the_same_record_by_record(tmp_path, connection, line, monkeypatch):
    data = f"2024-01-01 00:00:00,1,first\n{line}\n".encode()
    slow = read_with(SlowReader, connection, tmp_path, data)
    monkeypatch.setattr(TrainFileReader, "_records", None)
    assert read_with(TrainFileReader, connection, tmp_path, data) == slow
    assert slow[2] == {}


texts = st.text(alphabet='ab1;" \t', max_size=8)
lines = st.one_of(st.sampled_from(GOOD), texts.map(lambda text: f"2024-01-01 00:00:00,1,a{text}"))
odd = st.one_of(lines, texts, texts.map(lambda text: f"2024-01-01 00:00:00,{text},a"), st.sampled_from(["1,2", ",,"]))


@pytest.mark.process
@given(
    st.one_of(st.lists(lines, max_size=5), st.lists(odd, max_size=5)),
    st.lists(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"]), min_size=5, max_size=5),
)
def test_both_readers_of_csv_find_the_same_rows(tmp_path, connection, lines, ends):
    text = "2024-01-01 00:00:00,1,first\n" + "".join(line + end for line, end in zip(lines, ends, strict=False))
    found = [read_with(kind, connection, tmp_path, text.encode()) for kind in (TrainFileReader, SlowReader)]
    assert found[0] == found[1]


@pytest.mark.process
def test_quoted_line_ends_across_the_parts_that_duckdb_reads_in_parallel(drop):
    number = 120_000
    text = "".join(f'2024-01-01 00:00:00,{at % 9},"item\n{at % 11}\n, ""{"x" * (at % 5)}"""\n' for at in range(number))
    report = drop.put(text).run(resources=Resources(threads=2))
    assert report.rows_read == number
    assert report.manifest.series == 55
    assert sum(target[0] for target in drop.targets().values()) == sum(at % 9 for at in range(number))


def test_files_are_brought_several_at_once_and_each_of_them_once(tmp_path):
    both, asked = Barrier(2, timeout=20), []

    def source():
        asked.append(both.wait())
        return tmp_path

    files = [TrainFile(source, key, datetime.now(UTC)) for key in ("a", "b")]
    bring(files)
    assert [file.path for file in files] == [tmp_path, tmp_path]
    assert len(asked) == 2


def test_rows_keep_the_order_of_the_file_whatever_the_threads():
    values = (CastValue("d", is_number=True), CastValue("d", is_number=False))
    cast = Cast(("a",), "b", "c", values=values)
    sql = sql_rows(
        "(VALUES ('x', '2024-01-01', '1', 'y')) AS t(a, b, c, d)", cast, pattern="yyyy-MM-dd", time_zone=None
    )
    with duckdb.connect() as connection:
        plan = connection.execute(f"EXPLAIN {sql}").fetchall()[0][1].casefold()
    # Of all that DuckDB does here, only a join doesn't keep it: it would show in a file of several times 122,880 rows.
    assert "projection" in plan
    assert "join" not in plan
