"""Files as people have them: preambles, foreign headers, blank stretches, other encodings, archives that swell."""

import gzip
import math
import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_assets.params.columns import InferenceError
from chronos_assets.timeseries.dataset.csv_records import FileProblem, scan_records
from chronos_assets.timeseries.dataset.folder_columns import folder_notes, refuse_folders
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.sampling import sample_files
from chronos_assets.timeseries.dataset.train_files import FileContents, TrainFile
from chronos_assets_tests.timeseries.train_drop import HOURS, START, Drop, params_for, rows

HEADER = "timestamp,target_value,item_id\n"


@pytest.fixture
def drop(tmp_path):
    return Drop(tmp_path)


class TestPreambles:
    @pytest.mark.parametrize(
        ("text", "note"),
        [
            ("sep=,\n" + HEADER + HOURS, "line 1 (sep=,) names the delimiter"),
            ('"sep=;"\r\n' + (HEADER + HOURS).replace(",", ";"), "names the delimiter"),
            ("sep=^\n" + (HEADER + HOURS).replace(",", "^"), "names the delimiter"),
            ("sep=;\n" + HOURS.replace(",", ";"), "names the delimiter"),
            ("# made by a meter\n" + HEADER + HOURS, "a comment above the rows left out, to line 1"),
            ("# a, b and c: d\n#\n\n" + HEADER + HOURS, "2 comments above the rows left out"),
            ("# no header below\n" + HOURS, "a comment above the rows left out"),
        ],
    )
    def test_is_left_out_and_said(self, drop, text, note):
        report = drop.put(text).run()
        assert drop.targets() == {"a": [1, 2, 3]}
        assert [found for found in report.notes if note in found and found.startswith("train/0.csv: ")]

    def test_an_item_that_starts_with_a_hash_is_no_comment(self, drop):
        params = params_for(columns=("item_id", "timestamp", "target_value"))
        drop.put(rows("#1,2024-01-01 00:00:00,1", "#1,2024-01-01 01:00:00,2", "a,2024-01-01 01:00:00,3")).run(params)
        assert drop.targets() == {"#1": [1, 2], "a": [3]}

    def test_a_header_that_starts_with_a_hash_is_a_header(self, drop):
        drop.put("#" + HEADER + HOURS).run()
        assert drop.targets() == {"a": [1, 2, 3]}

    def test_lines_are_counted_from_the_top_of_the_file(self, drop):
        failure = drop.put("sep=,\n# x\n" + HEADER + HOURS + "2024-01-01 03:00:00,x,a\n").fail()
        assert [row.line for row in failure.rows] == [7]


class TestTitles:
    @pytest.mark.parametrize(
        ("above", "count"),
        [
            ("Sales report\nExported on 2024-03-01\n\n", 2),
            ('Sales report,,\n"by Anna, Bob",,\n,,\n', 2),
            ("Meter,4711,\nName,,\nPeriod,2024-01-01,\n", 3),
            ("latitude,longitude,height,zone\n52.5,13.4,38,0\n\n", 2),
        ],
    )
    def test_above_the_header_are_left_out_and_said(self, drop, above, count):
        report = drop.put(above + HEADER + HOURS).run()
        assert drop.targets() == {"a": [1, 2, 3]}
        assert any(f"{count} lines of text above the header left out, to line" in note for note in report.notes)
        assert sample_files(drop.files).header == HEADER.strip().split(",")
        assert sample_files(drop.files).odd == ()

    def test_of_decimal_commas_hide_no_delimiter(self, drop):
        drop.put("Verbrauch, Haus 1\n\nDatum;kWh\n" + rows(*(f"{day:02d}.01.2024;{day},5" for day in range(1, 29))))
        assert sample_files(drop.files).header == ["Datum", "kWh"]

    def test_decimal_commas_are_read_where_they_are_declared(self, drop):
        comma = params_for(chronos={"DecimalComma": True})
        values = ['"1,5"', "2", '",25"', "n/a", '"-0,125"']
        drop.put(HEADER + rows(*(f"2024-01-01 {hour:02d}:00:00,{value},a" for hour, value in enumerate(values))))
        drop.run(comma)
        assert drop.targets()["a"] == pytest.approx([1.5, 2, 0.25, math.nan, -0.125], nan_ok=True)
        for bad in ("1.5", '"1,234,567"', '"1.234,5"'):
            drop.put(HEADER + f"2024-01-01 00:00:00,{bad},a\n")
            assert "write digits with a decimal comma, as Chronos.DecimalComma says" in str(drop.fail(comma))

    @pytest.mark.parametrize("second", ["date,kWh,id", ",kWh,id"])
    def test_a_second_line_of_names_is_refused(self, drop, second):
        drop.put(HEADER + second + "\n" + HOURS)
        with pytest.raises(FileProblem, match=r"lines 1 and 2 both look like the header.*keep one of them"):
            sample_files(drop.files)

    def test_a_first_row_of_missing_values_is_no_header(self, drop):
        sample = sample_files(drop.put(HEADER + "NA,none,b\n" + HOURS).files)
        assert (sample.header, len(sample.rows)) == (HEADER.strip().split(","), 4)

    def test_rows_above_a_header_are_no_titles(self, drop):
        failure = drop.put(HOURS + HEADER + HOURS).fail()
        assert [row.line for row in failure.rows] == [4]


class TestPlaces:
    """A header that lacks names of the schema is read by place, as Amazon Forecast did."""

    @pytest.mark.parametrize(
        ("header", "renamed"),
        [
            ("Timestamp,Order_Quantity,Model_ID\n", "'Order_Quantity' as target_value, 'Model_ID' as item_id"),
            ("ds,y,unique_id\n", "'ds' as timestamp, 'y' as target_value, 'unique_id' as item_id"),
            (",target_value,item_id\n", "'' as timestamp"),
            ("日付,売上,商品\n", "'日付' as timestamp, '売上' as target_value, '商品' as item_id"),
        ],
    )
    def test_where_count_and_types_fit(self, drop, header, renamed):
        report = drop.put(header + HOURS).run()
        assert drop.targets() == {"a": [1, 2, 3]}
        assert any("read by their place" in note and renamed in note for note in report.notes)

    @pytest.mark.parametrize(
        "text",
        [
            "when,who,how much\n2024-01-01 00:00:00,a,1\n",  # the numbers stand elsewhere
            "day,sku,units\n2024-01-01 00:00:00,1001,5\n",  # numbers stand elsewhere, as the names say
            "item_id,how much,when\n2024-01-01 00:00:00,1,a\n",  # a known name in the wrong place
            "when,how much,who\n",  # nothing to judge by
        ],
    )
    def test_not_otherwise(self, drop, text):
        assert "there is no column" in str(drop.put(text).fail())

    def test_files_that_disagree_on_the_order_are_refused(self, drop):
        params = params_for(columns=("timestamp", "target_value", "item_id", "store"), dimensions=("store",))
        drop.put("ds,y,sku,shop\n2024-01-01 00:00:00,1,a,x\n", "a.csv")
        drop.put("ds,y,shop,sku\n2024-01-01 00:00:00,1,x,a\n", "b.csv")
        failure = drop.fail(params)
        assert "train/b.csv: its header has the names of train/a.csv in another order" in str(failure)


class TestNothing:
    @pytest.mark.parametrize("text", [HEADER, "\n \r\n\n", "", "\ufeff", "sep=,\n", HEADER.rstrip("\n")])
    def test_a_file_without_rows_is_left_out_and_said(self, drop, text):
        report = drop.put(HOURS, "full.csv").put(text, "none.csv").run()
        assert drop.targets() == {"a": [1, 2, 3]}
        assert any(note.startswith("train/none.csv: left out: the file") for note in report.notes)
        assert report.rows_read == 3

    def test_parquet_without_rows_is_left_out(self, drop):
        table = pa.table({"timestamp": pa.array([], pa.timestamp("us")), "target_value": [], "item_id": []})
        report = drop.put(HOURS).put_table(table.cast(table.schema)).run()
        assert any("x.parquet: left out: the file has no rows" in note for note in report.notes)

    def test_no_file_with_rows_is_an_error(self, drop):
        assert "no good row of any file has a value" in str(drop.put(HEADER).fail())


class TestBlankLines:
    """From some megabytes of CR LF on, DuckDB 2.0 answers with fewer rows and no error."""

    @pytest.mark.parametrize(
        ("end", "where", "count"),
        [
            pytest.param("\r\n", "between", 5 << 20, marks=pytest.mark.process),
            *((end, where, 100_000) for end in ("\n", "\r\n", "\r") for where in ("above", "between", "below")),
        ],
    )
    def test_megabytes_of_them_drop_no_row(self, drop, end, where, count):
        lines = [HEADER, *HOURS.splitlines(keepends=True)]
        place = {"above": 0, "between": 2, "below": 4}[where]
        text = "".join(line.replace("\n", end) for line in lines[:place]) + end * count
        report = drop.put(text + "".join(line.replace("\n", end) for line in lines[place:])).run()
        assert (report.rows_read, drop.targets()) == (3, {"a": [1, 2, 3]})
        with drop.files[0].path.open("rb") as stream:
            numbers = [record.line for record in scan_records(stream, ",")]
        assert numbers == [number + count * (number > place) for number in range(1, 5)]

    @pytest.mark.process
    def test_lines_of_blanks_and_tabs_are_no_rows(self, drop):
        assert drop.put(HOURS + "   \n" * 50_000 + HOURS.replace(",a", ",b")).run().rows_read == 6


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
    def test_utf_16_is_named(self, drop, encoding):
        assert "the file is UTF-16" in str(drop.put((HEADER + HOURS).encode(encoding)).fail())

    @pytest.mark.parametrize(
        ("text", "line"), [("Dátum,Menge\n2024-01-01,1\n", 1), ("date,who,n\n2024-01-01,a,1\n2024-01-01,Süd,1\n", 3)]
    )
    def test_other_letters_are_named_before_anything_is_inferred(self, drop, text, line):
        with pytest.raises(FileProblem, match=f"line {line} is not UTF-8.*CSV UTF-8"):
            sample_files(drop.put(text.encode("cp1252")).files)

    def test_zero_bytes_are_no_text(self, drop):
        assert "holds zero bytes" in str(drop.put(HOURS.encode() + b"\0\0").fail())

    def test_utf_16_within_gzip_is_named(self, drop):
        assert "the file is UTF-16" in str(drop.put(gzip.compress(HOURS.encode("utf-16-le"))).fail())

    @pytest.mark.parametrize(
        ("start", "kind"),
        [('{"timestamp": "2024-01-01"}', "JSON"), ('[{"a": 1}]', "JSON"), ("<html><table>", "HTML or XML")],
    )
    def test_other_kinds_of_text_are_named(self, drop, start, kind):
        assert f"the file is {kind}" in str(drop.put(start + "\n" + HOURS).fail())


class TestMarksOfByteOrder:
    @pytest.mark.parametrize(
        "columns", [("item_id", "timestamp", "target_value"), ("timestamp", "item_id", "target_value")]
    )
    @pytest.mark.parametrize("bad", ["", "a,b\n"])  # with a bad row, lines are read one by one
    def test_of_a_file_that_was_appended_are_no_part_of_a_name(self, drop, columns, bad):
        item = columns.index("item_id")
        form = "a,2024-01-01 0{0}:00:00,{0}\n" if item == 0 else "2024-01-01 0{0}:00:00,a,{0}\n"
        texts = [form.format(hour) for hour in range(4)]
        quoted = '"' + texts[2].replace(",", '",', 1)
        drop.put("\ufeff" + "".join(texts[:2]) + "\ufeff" + quoted + texts[3] + bad)
        drop.run(params_for(columns=columns, chronos={"BadRows": "quarantine"}))
        assert drop.targets() == {"a": [0, 1, 2, 3]}


class TestTimestamps:
    @pytest.mark.parametrize("fraction", [".0000000", ".123456789", ".12345678Z", ".1234567+02:00", ".1"])
    @pytest.mark.parametrize("between", [" ", "T"])
    def test_nanoseconds_are_read(self, drop, fraction, between):
        report = drop.put(f"2024-01-02{between}06:00:00{fraction},1,a\n").run()
        assert report.manifest.first in {"2024-01-02T06:00:00", "2024-01-02T04:00:00"}


class TestIds:
    TIMES = pa.array([f"2024-01-01 0{hour}:00:00" for hour in range(3)])

    def table(self, ids):
        return pa.table({"timestamp": self.TIMES, "target_value": [1.0, 2.0, 3.0], "item_id": ids})

    @pytest.mark.parametrize(
        "ids",
        [
            pa.array([123.0] * 3),
            pa.array([123.0] * 3, pa.float32()),
            pa.array([123] * 3, pa.uint8()),
            pa.array([123] * 3, pa.int64()),
            pa.array([123] * 3).cast(pa.decimal128(22, 2)),
            pa.array(["123"] * 3).dictionary_encode(),
        ],
        ids=lambda ids: str(ids.type)[:10],
    )
    def test_one_item_is_one_series_across_csv_and_parquet(self, drop, ids):
        drop.put("2024-01-01 03:00:00,4,123\n").put_table(self.table(ids)).run()
        assert drop.targets() == {"123": [1, 2, 3, 4]}

    def test_a_float_with_a_fraction_is_kept(self, drop):
        drop.put_table(self.table(pa.array([12.5, 12.5, -7.0]))).run()
        assert set(drop.targets()) == {"12.5", "-7"}

    @pytest.mark.parametrize(("kind", "number"), [("f8", 2**53 + 2), ("f4", 2**24 + 2), ("f8", 1e300)])
    def test_a_float_that_can_not_tell_ids_apart_is_refused(self, drop, kind, number):
        failure = drop.put_table(self.table(pa.array(np.array([1.0, number, 2.0], kind)))).fail()
        assert [(row.line, row.column, row.reason) for row in failure.rows] == [(2, "item_id", "imprecise_identifier")]
        assert "store the column as text or as whole numbers" in str(failure)

    def test_the_largest_exact_float_is_taken(self, drop):
        drop.put_table(self.table(pa.array([float(2**53)] * 3))).run()
        assert set(drop.targets()) == {str(2**53)}

    def test_a_missing_id_is_empty(self, drop):
        failure = drop.put_table(self.table(pa.array([1.0, None, 2.0]))).fail()
        assert [(row.line, row.reason) for row in failure.rows] == [(2, "empty_identifier")]

    @pytest.mark.parametrize("item", ["NA", "null", "None", "nan", "N/A", "-", "?"])
    def test_words_for_missing_are_ids_like_any_other(self, drop, item):
        drop.put(f"2024-01-01 00:00:00,1,{item}\n").put_table(self.table(pa.array([item] * 3))).run()
        assert drop.targets() == {item: [1, 2, 3]}

    def test_an_unused_column_may_be_nested(self, drop):
        params = params_for(columns=("timestamp", "target_value", "item_id", "tags"))
        drop.put_table(self.table(pa.array(["a"] * 3)).append_column("tags", pa.array([["x"]] * 3))).run(params)
        assert drop.targets() == {"a": [1, 2, 3]}

    @pytest.mark.parametrize("names", [("target_value", "target_value"), ("target_value", "Target_Value")])
    def test_two_columns_of_one_name_are_refused_where_they_are_needed(self, drop, names):
        columns = [pa.array(["a"] * 3), self.TIMES, pa.array([1.0, 2.0, 3.0]), pa.array([4.0, 5.0, 6.0])]
        failure = drop.put_table(pa.table(columns, names=["item_id", "timestamp", *names])).fail()
        assert "the column 'target_value' is there more than once" in str(failure)

    @pytest.mark.parametrize("names", [("tags", "tags"), ("tags", "Tags")])
    def test_two_unused_columns_of_one_name_are_ignored(self, drop, names):
        params = params_for(columns=("timestamp", "target_value", "item_id", "tags"))
        table = self.table(pa.array(["a"] * 3))
        for name in names:
            table = table.append_column(name, pa.array([name] * 3))
        manifest = drop.put_table(table).run(params)
        assert drop.targets() == {"a": [1, 2, 3]}
        assert any(f"ignored: {names[0]} (there more than once)" in note for note in manifest.notes)


class TestSwelling:
    """Small files that become large ones."""

    def test_gzip_beyond_the_limit_is_refused(self, drop):
        failure = drop.put(gzip.compress(HOURS.encode() * 10_000), "x.csv.gz").fail(
            resources=Resources(unpacked=100_000)
        )
        assert "train/x.csv.gz: the gzip data unpack to more than that" in str(failure)
        assert "CHRONOS_MAX_UNPACKED" in str(failure)

    def test_gzip_within_the_limit_is_read(self, drop):
        assert drop.put(gzip.compress(HOURS.encode() * 10)).run(resources=Resources(unpacked=100_000)).rows_read == 30

    def test_parquet_beyond_the_limit_is_refused(self, drop):
        many = 100_000
        table = pa.table({"timestamp": ["2024-01-01"] * many, "target_value": [1.0] * many, "item_id": ["a"] * many})
        failure = drop.put_table(table).fail(resources=Resources(unpacked=100_000))
        assert "its 100,000 rows unpack to" in str(failure)

    @pytest.mark.process
    def test_long_texts_that_a_dictionary_repeats_take_no_memory(self, drop):
        text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * (1 << 20)]))
        path = drop.folder / "long.parquet"
        pq.write_table(
            pa.table({"timestamp": ["2024-01-01"] * 20_000, "target_value": [1.0] * 20_000, "item_id": text}), path
        )
        drop.put(path.read_bytes(), "long.parquet")
        failure = drop.fail()
        assert failure.counts == {"long_identifier": 20_000}


class TestGone:
    def test_what_can_not_be_read_names_the_setting_that_leaves_it_out(self, drop):
        text = str(drop.put(HOURS).put(HOURS, "b.parquet").fail())
        assert "train/b.parquet: the name says Parquet but the content is not" in text
        assert '"BadFiles": "quarantine"' in text

    def test_a_file_removed_before_it_is_read_is_an_error_by_its_key(self, drop):
        drop.put(HOURS, "a.csv").put(HOURS, "b.csv")
        drop.files[1].path.unlink()
        assert "train/b.csv: the file can't be opened" in str(drop.fail())

    @pytest.mark.parametrize("what", ["removed", "emptied", "cut"])
    def test_a_file_that_changes_while_it_is_read_is_an_error_or_empty(self, drop, monkeypatch, what):
        drop.put(HEADER + HOURS * 100, "a.csv")
        path = drop.files[0].path
        change = {"removed": path.unlink, "emptied": lambda: os.truncate(path, 0), "cut": lambda: os.truncate(path, 50)}
        from chronos_assets.timeseries.dataset import train_file_reader

        def changing(path):
            change[what]()
            return False

        monkeypatch.setattr(train_file_reader, "has_long_blanks", changing)
        text = str(drop.fail())
        assert "train/a.csv" in text or "no good row" in text
        assert "Traceback" not in text


class TestTakenNames:
    """A dimension whose name the forecast files use themselves has another in the schema, and is found in the files."""

    @pytest.mark.parametrize("name", ["level", "Type"])
    def test_in_csv_and_parquet(self, drop, name):
        columns = ("item_id", f"c_{name}", "timestamp", "target_value")
        params = params_for(columns=columns, dimensions=(f"c_{name}",))
        drop.put(f"item_id,{name},timestamp,target_value\na,x,2024-01-01 00:00:00,1\na,y,2024-01-01 00:00:00,2\n")
        table = {"item_id": ["a"], name: ["x"], "timestamp": ["2024-01-01 01:00:00"], "target_value": [3.0]}
        drop.put_table(pa.table(table)).run(params)
        assert drop.targets()["a", "x"] == [1, 3]


def test_rows_of_another_folder_name_are_said_to_be_no_column_of_it(drop):
    report = drop.put(HOURS, "region=EU/a.csv").put(HOURS, "region=US/a.csv").run()
    assert any("gave way" in note and "region=EU is a folder and no column" in note for note in report.notes)


@pytest.mark.parametrize(
    ("folders", "columns", "names"),
    [
        (("store=n", "store=s"), "sku,day,qty", "store=n and train/store=s"),
        (("year=2024/store=n", "year=2025/store=s"), "sku,day,qty", "year=2024/store=n and train/year=2025/store=s"),
        (("store=n", "store=s"), "sku,day,Store,qty", ""),
        (("year=2024", "year=2025"), "sku,day,qty", ""),
        (("load_date=2024-01-01", "load_date=2024-01-02"), "sku,day,qty", ""),
        (("store=n", "store=n/year=2024"), "sku,day,qty", ""),
    ],
)
def test_folders_that_may_tell_series_apart_are_refused_unless_a_column_does(tmp_path, folders, columns, names):
    files = [TrainFile(tmp_path, f"train/{folder}/a.csv", datetime(2024, 1, 1, tzinfo=UTC)) for folder in folders]
    contents = [FileContents(file.key, "csv", 9, 0, True, ("Store",) * ("Store" in columns)) for file in files]
    notes = list(folder_notes(contents, ["sku", "day", "qty"]))
    if names:
        with pytest.raises(InferenceError, match=f"train/{names} are folders, and the files have no column store"):
            refuse_folders(files, columns.split(","))
        assert notes == [f"train/{names} are folders and no column: write it into the rows if it distinguishes them"]
    else:
        refuse_folders(files, columns.split(","))
        assert notes == []


def test_files_of_one_folder_replace_each_other_without_a_hint(drop):
    report = drop.put(HOURS, "region=EU/a.csv").put(HOURS, "region=EU/b.csv").run()
    assert [note for note in report.notes if "gave way to train" in note] == [
        "3 rows of train/region=EU/a.csv gave way to train/region=EU/b.csv, which is newer"
    ]


def test_quotes_with_backslashes_are_named(tmp_path):
    path = tmp_path / "a.csv"
    rows = "".join(rf'"5\" pipe",2024-01-{day:02d},1' + "\n" for day in range(1, 9))
    path.write_text(f"item_id,timestamp,target_value\n{rows}")
    with pytest.raises(FileProblem, match="line 2 has a quote that closes no value"):
        sample_files([TrainFile(path, "train/a.csv", START)])


class TestDayAndMonth:
    """Dates that a declared format reads with day and month exchanged are refused, however few of them are bad rows."""

    @pytest.mark.parametrize(
        ("frequency", "pattern", "written", "right"),
        [
            ("D", "dd/MM/yyyy", "%m/%d/%Y", "MM/dd/yyyy"),
            ("D", "M.d.yyyy", "%d.%m.%Y", "d.M.yyyy"),
            ("M", "dd/MM/yyyy HH:mm:ss", "%m/%d/%Y 00:00:00", "MM/dd/yyyy HH:mm:ss"),
            ("M", "MM/dd/yy", "%d/%m/%y", "dd/MM/yy"),
        ],
    )
    def test_exchanged_are_refused_though_bad_rows_may_be_set_aside(self, drop, frequency, pattern, written, right):
        params = params_for(frequency=frequency, pattern=pattern, chronos={"BadRows": "quarantine"})
        failure = drop.put(HEADER + rows(*(f"{day:{written}},1,a" for day in dates(frequency)))).fail(params)
        assert "0.csv: day and month seem to be exchanged" in str(failure)
        assert f"set TimestampFormat to {right}" in str(failure)

    @pytest.mark.parametrize(
        ("frequency", "kept"),
        [("D", slice(400)), ("D", slice(12)), ("M", slice(40)), ("D", slice(0, 400, 31))],
    )
    def test_right_ones_are_read(self, drop, frequency, kept):
        lines = [f"{day:%d/%m/%Y},1,a" for day in dates(frequency)[kept]]
        params = params_for(frequency=frequency, pattern="dd/MM/yyyy", chronos={"BadRows": "quarantine"})
        report = drop.put(HEADER + rows(*lines, "32/01/2024,1,a")).run(params)
        assert report.manifest.observed == len(lines)

    def test_first_days_of_months_and_a_bad_row_are_read(self, drop):
        lines = [f"{day:02d}/{month:02d}/2024,1,a" for month in range(1, 7) for day in range(1, 11)]
        params = params_for(frequency="D", pattern="dd/MM/yyyy", chronos={"BadRows": "quarantine"})
        assert drop.put(HEADER + rows(*lines, "Total,60,a")).run(params).manifest.observed == 60

    def test_right_dates_that_look_exchanged_may_be_written_otherwise(self, drop):
        days = [datetime(2024, month, 1) for month in range(1, 13)]  # the other way round, the first days of January
        params = params_for(frequency="D", pattern="dd/MM/yyyy")
        assert "if the dates are right, write yyyy-MM-dd" in str(
            drop.put(HEADER + rows(*(f"{day:%d/%m/%Y},1,a" for day in days))).fail(params)
        )

    def test_years_of_two_digits_are_named(self, drop):
        failure = drop.put(HEADER + "01.02.24,1,a\n").fail(params_for(frequency="D", pattern="dd.MM.yyyy"))
        assert "write it with four digits, or yy in TimestampFormat" in str(failure)


@pytest.mark.parametrize("pattern", ["yyyy-MM-dd hh:mm", "yyyy-MM-dd HH:mm"])
def test_hours_of_half_days_are_refused(drop, pattern):
    hours = [START + timedelta(hours=number) for number in range(96)]
    drop.put(HEADER + rows(*(f"{hour:%Y-%m-%d %I:%M},1,a" for hour in hours)))
    assert "0.csv: its hours go from 1 to 12" in str(drop.fail(params_for(pattern=pattern)))


@pytest.mark.parametrize(
    "kept", [range(1, 13), [at for at in range(240) if 1 <= at % 24 <= 12]]
)  # a market in the morning
def test_half_a_day_of_hours_is_read(drop, kept):
    lines = [f"{START + timedelta(hours=number):%Y-%m-%d %H:%M},1,a" for number in kept]
    assert drop.put(HEADER + rows(*lines)).run(params_for(pattern="yyyy-MM-dd HH:mm")).manifest.observed == len(lines)


def dates(frequency):
    """The first days of 48 months, or 400 days."""
    if frequency == "M":
        return [datetime(2020 + number // 12, number % 12 + 1, 1) for number in range(48)]
    return [datetime(2024, 1, 1) + timedelta(days=number) for number in range(400)]


@pytest.mark.parametrize(("text", "said"), [("+02:00", True), (" -0500", True), ("Z", False), ("", False)])
def test_offsets_that_the_format_does_not_have_are_reported(drop, text, said):
    day = "2024-01-01T03:00:00"
    report = drop.put(HEADER + f"{day}{text},1,a\n").run()
    assert any(f"timestamps such as '{day}{text}' become times in UTC" in note for note in report.notes) == said


def test_the_end_of_a_day_is_named(drop):
    failure = drop.put(HEADER + HOURS + "2024-01-01 24:00,1,a\n").fail(params_for(pattern="yyyy-MM-dd HH:mm"))
    assert "'2024-01-01 24:00' is not a timestamp in the format yyyy-MM-dd HH:mm; write 00:00 of the next day" in str(
        failure
    )
