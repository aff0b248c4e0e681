"""The sample that inference sees: all files, all of each; header, delimiter, gzip, Parquet; and that its params import."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_assets.params.columns import InferenceError
from chronos_assets.params.forecast import to_document
from chronos_assets.params.inference import infer, likely_keys
from chronos_assets.params.reader import parse_params
from chronos_assets.timeseries.dataset.csv_records import FileProblem, NoRows
from chronos_assets.timeseries.dataset.importing import import_target_time_series
from chronos_assets.timeseries.dataset.sampling import Sample, sample_files, sample_series
from chronos_assets.timeseries.dataset.train_files import TrainFile

ROWS = [[f"2024-01-{day:02d}", item, str(day)] for item in ("a", "b") for day in range(1, 21)]


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _sample(*paths: Path, limit: int = 20_000) -> Sample:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    files = [TrainFile(path, f"train/{path.name}", start + timedelta(days=at)) for at, path in enumerate(paths)]
    return sample_files(files, limit)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [None, ["date", "shop", "sales"]])
def test_rows_and_header_whatever_the_delimiter(tmp_path: Path, delimiter: str, header: list[str] | None) -> None:
    lines = [delimiter.join(row) for row in ([header] if header else []) + ROWS]
    path = _write(tmp_path / "demand.csv", "\n".join(lines) + "\n")
    sample = _sample(path)
    assert (sample.header, sample.rows, sample.complete) == (header, ROWS, True)


def test_gzip_bom_and_quotes_are_seen_through(tmp_path: Path) -> None:
    path = tmp_path / "demand.csv.gz"
    path.write_bytes(gzip.compress('\ufeffdate,shop\n2024-01-01,"a, b"\n2024-01-02,"c"\n'.encode()))
    sample = _sample(path)
    assert (sample.header, sample.rows) == (["date", "shop"], [["2024-01-01", "a, b"], ["2024-01-02", "c"]])


def test_parquet_cells_come_as_text(tmp_path: Path) -> None:
    path = tmp_path / "demand.parquet"
    duckdb.sql(f"COPY (SELECT DATE '2024-01-01' AS day, 1.5 AS sales, NULL AS note) TO '{path}' (FORMAT parquet)")
    sample = _sample(path)
    assert (sample.header, sample.rows) == (["day", "sales", "note"], [["2024-01-01", "1.5", ""]])


def test_nested_columns_of_parquet_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "demand.parquet"
    columns = "DATE '2024-01-01' AS day, 1.5 AS sales, {'a': 1} AS s, [1, 2] AS l, MAP {'k': 1} AS m"
    duckdb.sql(f"COPY (SELECT {columns}) TO '{path}' (FORMAT parquet)")
    assert _sample(path).header == ["day", "sales"]


def test_a_row_of_parquet_for_each_series_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "demand.parquet"
    duckdb.sql(
        f"COPY (SELECT 'a' AS item_id, DATE '2024-01-01' AS start, [1.5, 2] AS target) TO '{path}' (FORMAT parquet)"
    )
    with pytest.raises(
        FileProblem, match="target holds lists of numbers, one for each row; write a row for each value"
    ):
        _sample(path)


def test_whole_floats_of_parquet_are_written_as_the_import_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "demand.parquet"
    duckdb.sql(
        f"COPY (SELECT 123.0::DOUBLE AS item_id, unnest([1.5, 'nan'::DOUBLE]) AS y) TO '{path}' (FORMAT parquet)"
    )
    assert _sample(path).rows == [["123", "1.5"], ["123", "nan"]]


@pytest.mark.parametrize("form", ["2024-01-0{}", "1{}.01.2024", "2024-01-0{}T00:00:00", "01/0{}/2024"])
def test_times_of_parquet_are_written_as_the_csv_files_beside_it_write_theirs(tmp_path: Path, form: str) -> None:
    path = tmp_path / "b.parquet"
    duckdb.sql(f"COPY (SELECT TIMESTAMP '2024-01-13' AS date, 1.5 AS y) TO '{path}' (FORMAT parquet)")
    text = _write(tmp_path / "a.csv", "date,y\n" + "".join(f"{form.format(day)},1\n" for day in (1, 2, 3)))
    rows = [row[0] for row in _sample(text, path).rows]
    wanted = {"01/0{}/2024": "2024-01-13 00:00:00"}  # day or month first: nothing is chosen
    assert rows[0] == wanted.get(form, form.replace("0{}", "13").replace("1{}", "13"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("a,b\n", "no rows; put rows into it, or remove it$"),
        ("\n\n", "only empty lines"),
        ("a\nb\n1\n", r"one column only \(line 1 is 'a'\)"),
        ("date,y\n2024-01-01,1,x\n2024-01-02,2,x\n", r"line 2 has 3 columns where the header \(line 1\) has 2"),
    ],
)
def test_a_file_that_says_nothing_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = _write(tmp_path / "demand.csv", text)
    with pytest.raises(FileProblem, match=reason) as error:
        _sample(path)
    assert "train/demand.csv" in str(error.value)


def test_a_header_with_blanks_is_inferred_and_imported(tmp_path: Path) -> None:
    text = "Order Date,Shop Name,Order Quantity\n" + "\n".join(",".join(row) for row in ROWS) + "\n"
    path = _write(tmp_path / "demand.csv", text)
    sample = _sample(path)
    params = parse_params(json.loads(json.dumps(to_document(infer(sample.header, sample.rows)))))
    train = TrainFile(path, "train/demand.csv", datetime(2024, 2, 1, tzinfo=UTC))
    report = import_target_time_series([train], params, output=tmp_path / "out", rejected=tmp_path / "rejected")
    assert (report.manifest.series, report.manifest.observed) == (2, 40)


# --- all files, all of each


def _days(count: int, first: datetime = datetime(2020, 1, 1)) -> list[str]:
    return [str((first + timedelta(days=at)).date()) for at in range(count)]


def test_rows_of_all_files_are_drawn(tmp_path: Path) -> None:
    paths = [
        _write(tmp_path / f"{name}.csv", "item_id,date,y\n" + "".join(f"{name},{day},1.5\n" for day in _days(300)))
        for name in "abc"
    ]
    sample = _sample(*paths, limit=600)
    assert {row[0] for row in sample.rows} == {"a", "b", "c"}
    assert set(sample.files) == {0, 1, 2}
    assert not sample.complete


@pytest.mark.process
def test_a_long_file_is_seen_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    days = _days(20_000, datetime(1970, 1, 1))
    path = _write(tmp_path / "a.csv", "date,y\n" + "".join(f"{day},{at}\n" for at, day in enumerate(days)))
    for file in (path, _gzipped(path), _as_parquet(path)):
        sample = _sample(file, limit=1000)
        places = [int(row[1]) for row in sample.rows]
        assert (min(places), max(places)) >= (0, 19_950)
        assert len(places) == len(set(places)) <= 1001  # no stretch meets another
        assert len(set(sample.stretches)) == 8
        params = infer(sample.header, sample.rows, files=sample.files, stretches=sample.stretches)
        assert str(params.frequency) == "D"


def _gzipped(path: Path) -> Path:
    target = path.with_suffix(".csv.gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


def _as_parquet(path: Path) -> Path:
    target = path.with_suffix(".parquet")
    duckdb.sql(f"COPY (FROM read_csv('{path}', all_varchar=true)) TO '{target}' (FORMAT parquet)")
    return target


@pytest.mark.parametrize("kind", ["csv", "gz", "parquet"])
def test_of_series_side_by_side_whole_ones_are_drawn(tmp_path: Path, kind: str) -> None:
    days = _days(60)
    lines = [f"shop{shop},{day},{shop}.5\n" for day in days for shop in range(400)]
    path = _write(tmp_path / "a.csv", "name,date,y\n" + "".join(lines))
    path = {"csv": lambda p: p, "gz": _gzipped, "parquet": _as_parquet}[kind](path)
    sample = _sample(path, limit=300)
    with pytest.raises(InferenceError, match="two different timestamps"):
        infer(sample.header, sample.rows, files=sample.files, stretches=sample.stretches)
    assert sample.header is not None
    keys = likely_keys(sample.header, sample.rows, sample.files)
    assert keys == ["name"]
    train = [TrainFile(path, "train/a.csv", datetime(2024, 1, 1, tzinfo=UTC))]
    whole = sample_series(train, sample, keys, limit=1000)
    counts = {name: sum(row[0] == name for row in whole.rows) for name in {row[0] for row in whole.rows}}
    assert set(counts.values()) == {60}
    params = infer(whole.header, whole.rows, files=whole.files, stretches=whole.stretches)
    assert (str(params.frequency), params.item_column) == ("D", "name")


def test_rows_of_another_width_are_left_to_the_import(tmp_path: Path) -> None:
    lines = [",".join(row) for row in ROWS]
    lines[7] = "2024-01-08,item, 5mm,1"
    sample = _sample(_write(tmp_path / "a.csv", "\n".join(["date,shop,sales", *lines, "Total"])))
    assert len(sample.rows) == len(ROWS) - 1
    assert sample.odd == ("train/a.csv, line 9 has 4 columns instead of 3: '2024-01-08,item, 5mm,1'",)


@pytest.mark.parametrize(
    "text",
    [
        "sep=,\ndate,shop,sales\n{rows}",
        "# exported\ndate,shop,sales\n{rows}",
        "date,shop,sales,\n{rows}",
        ",date,shop,sales\n{numbered}",
        "date,shop,sales\n{trailing}",
        "date;shop;sales\n{semicolons}",
    ],
)
def test_the_same_columns_in_every_form(tmp_path: Path, text: str) -> None:
    lines = [",".join(row) for row in ROWS]
    forms = {
        "rows": lines,
        "numbered": [f"{at},{line}" for at, line in enumerate(lines)],
        "trailing": [f"{line}," for line in lines],
        "semicolons": [line.replace(",", ";") for line in lines],
    }
    sample = _sample(_write(tmp_path / "a.csv", text.format(**{name: "\n".join(form) for name, form in forms.items()})))
    params = infer(sample.header, sample.rows)
    assert (params.item_column, params.timestamp_column, params.target_column) == ("shop", "date", "sales")


def test_files_without_rows_and_broken_ones_do_not_hide_the_others(tmp_path: Path) -> None:
    good = _write(tmp_path / "a.csv", "date,y\n2024-01-01,1\n2024-01-02,2\n")
    broken = tmp_path / "b.parquet"
    broken.write_bytes(b"x")
    sample = _sample(good, _write(tmp_path / "c.csv", "date,y\n"), broken, tmp_path / "gone.csv")
    assert sample.header == ["date", "y"]
    with pytest.raises(FileProblem, match=r"b\.parquet: the name says Parquet"):
        _sample(_write(tmp_path / "d.csv", ""), broken)
    with pytest.raises(NoRows):
        _sample(_write(tmp_path / "e.csv", ""))


def test_files_with_other_columns_are_named(tmp_path: Path) -> None:
    old = _write(tmp_path / "a.csv", "when,how,who,where\n2024-01-01,1,a,b\n")
    new = _write(tmp_path / "b.csv", "date,y\n2024-01-01,1\n2024-01-02,2\n")
    sample = _sample(old, new)
    assert sample.header == ["date", "y"]
    assert sample.odd == ("train/a.csv has other columns than the newest file",)


def test_long_texts_that_a_dictionary_repeats_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table({"date": ["2024-01-01"] * 20_000, "y": [1.5] * 20_000, "note": long}), path)
    sample = _sample(path)
    assert {len(row[2]) for row in sample.rows} == {1024}
