"""The sample that inference sees of a train file: header, delimiter, gzip, Parquet; and that its params import the file."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from chronos_assets.params.forecast import to_document
from chronos_assets.params.inference import infer
from chronos_assets.params.reader import parse_params
from chronos_assets.timeseries.dataset.csv_records import FileProblem
from chronos_assets.timeseries.dataset.importing import TrainFile, import_target_time_series
from chronos_assets.timeseries.dataset.sampling import sample_rows

ROWS = [[f"2024-01-{day:02d}", item, str(day)] for item in ("a", "b") for day in range(1, 21)]


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [None, ["date", "shop", "sales"]])
def test_rows_and_header_whatever_the_delimiter(tmp_path: Path, delimiter: str, header: list[str] | None) -> None:
    lines = [delimiter.join(row) for row in ([header] if header else []) + ROWS]
    path = _write(tmp_path / "demand.csv", "\n".join(lines) + "\n")
    assert sample_rows(path, "demand.csv") == (header, ROWS)
    assert sample_rows(path, "demand.csv", limit=7) == (header, ROWS[:7])


def test_gzip_bom_and_quotes_are_seen_through(tmp_path: Path) -> None:
    path = tmp_path / "demand.csv.gz"
    path.write_bytes(gzip.compress('\ufeffdate,shop\n2024-01-01,"a, b"\n2024-01-02,"c"\n'.encode()))
    assert sample_rows(path, "demand.csv.gz") == (["date", "shop"], [["2024-01-01", "a, b"], ["2024-01-02", "c"]])


def test_parquet_cells_come_as_text(tmp_path: Path) -> None:
    path = tmp_path / "demand.parquet"
    duckdb.sql(f"COPY (SELECT DATE '2024-01-01' AS day, 1.5 AS sales, NULL AS note) TO '{path}' (FORMAT parquet)")
    assert sample_rows(path, "demand.parquet") == (["day", "sales", "note"], [["2024-01-01", "1.5", ""]])


@pytest.mark.parametrize(("text", "reason"), [("", "empty"), ("a,b\n", "no rows"), ("a\nb\n1\n", "one column")])
def test_a_file_that_says_nothing_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = _write(tmp_path / "demand.csv", text)
    with pytest.raises(FileProblem, match=reason) as error:
        sample_rows(path, "train/demand.csv")
    assert "train/demand.csv" in str(error.value)


def test_a_header_with_blanks_is_inferred_and_imported(tmp_path: Path) -> None:
    text = "Order Date,Shop Name,Order Quantity\n" + "\n".join(",".join(row) for row in ROWS) + "\n"
    path = _write(tmp_path / "demand.csv", text)
    header, rows = sample_rows(path, "demand.csv")
    params = parse_params(json.loads(json.dumps(to_document(infer(header, rows)))))
    train = TrainFile(path, "train/demand.csv", datetime(2024, 2, 1, tzinfo=UTC))
    report = import_target_time_series([train], params, output=tmp_path / "out", rejected=tmp_path / "rejected")
    assert (report.manifest.series, report.manifest.observed) == (2, 40)
